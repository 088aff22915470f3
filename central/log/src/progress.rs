//! How far a consumer is: its next place in each partition, and the blocks that its output already has.

use std::collections::BTreeMap;

use efd_shared_model::ids::EpochLane;
use efd_shared_model::{BlockId, RangeSet, SealedBlock};
use serde_json::{Map, Value, json};

use crate::{BlockLog, Partition, Place};

/// Kept by each consumer *with its output*, written in the same act. Its JSON form is part of the lake's commits and the feed's checkpoints.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Progress {
    /// The next place to read.
    pub places: BTreeMap<Partition, Place>,
    /// Blocks whose records are in the output.
    pub seen: BTreeMap<EpochLane, RangeSet>,
    /// Places were passed whose blocks are gone: what is missing is looked for when the consumer has caught up.
    pub has_passed: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("progress: {what} `{value}` cannot be read")]
pub struct ProgressError {
    what: &'static str,
    value: String,
}

impl Progress {
    pub fn next_place(&self, partition: &Partition) -> Place {
        self.places.get(partition).copied().unwrap_or(Place::FIRST)
    }

    pub fn has(&self, block: &SealedBlock) -> bool {
        self.has_block(&block.id())
    }

    pub fn has_block(&self, id: &BlockId) -> bool {
        self.seen
            .get(&id.lane)
            .is_some_and(|set| set.contains(id.number.0))
    }

    /// `false` if the block was already there.
    pub fn insert(&mut self, block: &SealedBlock) -> bool {
        let id = block.id();
        self.seen.entry(id.lane).or_default().insert(id.number.0)
    }

    /// The next place is this one at least. `false` if it was already.
    pub fn reach(&mut self, partition: &Partition, next: Place) -> bool {
        let is_news = self.places.get(partition).is_none_or(|known| *known < next);
        if is_news {
            self.places.insert(partition.clone(), next);
        }
        is_news
    }

    /// Takes over the places of a follower whose every delivery was taken: it has also passed entries that it did not
    /// deliver. `false` if nothing of that is news.
    pub fn pass(&mut self, follower: &Self) -> bool {
        let mut is_news = self.has_passed != follower.has_passed;
        self.has_passed = follower.has_passed;
        for (partition, place) in &follower.places {
            is_news |= self.reach(partition, *place);
        }
        is_news
    }

    /// Places of the log that are to be read.
    pub fn behind<L: BlockLog + ?Sized>(&self, log: &L) -> u64 {
        let behind = |partition| {
            let (_, end) = log.bounds(partition).ok()?;
            Some(end.0.saturating_sub(self.next_place(partition).0))
        };
        let partitions = log.partitions().unwrap_or_default();
        partitions.iter().filter_map(behind).sum()
    }

    /// `{"places": {"summit.0.live": 17}, "seen": {"<edge>/<epoch>/telemetry": [[1, 16]]}}`
    pub fn to_json(&self) -> Value {
        let places: Map<_, _> = self
            .places
            .iter()
            .map(|(partition, place)| (partition.to_string(), place.0.into()))
            .collect();
        let ranges = |set: &RangeSet| {
            set.iter()
                .map(|range| json!([range.start(), range.end()]))
                .collect::<Vec<_>>()
        };
        let seen: Map<_, _> = self
            .seen
            .iter()
            .map(|(lane, set)| (lane.to_string(), ranges(set).into()))
            .collect();
        let mut progress = json!({ "places": places, "seen": seen });
        // Seldom, and unknown to older builds.
        if self.has_passed {
            progress["has_passed"] = true.into();
        }
        progress
    }

    pub fn from_json(value: &Value) -> Result<Self, ProgressError> {
        let bad = |what, value: &dyn std::fmt::Display| ProgressError {
            what,
            value: value.to_string().chars().take(120).collect(),
        };
        let object = |key: &'static str| {
            value
                .get(key)
                .and_then(Value::as_object)
                .ok_or_else(|| bad("object", &key))
        };
        let mut progress = Self {
            has_passed: value.get("has_passed").and_then(Value::as_bool) == Some(true),
            ..Self::default()
        };
        for (name, place) in object("places")? {
            let partition = name.parse().map_err(|_| bad("partition", name))?;
            let place = place.as_u64().ok_or_else(|| bad("place", place))?;
            progress.places.insert(partition, Place(place));
        }
        for (name, ranges) in object("seen")? {
            let lane = name.parse().map_err(|_| bad("lane", name))?;
            let mut set = RangeSet::new();
            for range in ranges.as_array().ok_or_else(|| bad("ranges", ranges))? {
                let end = |index: usize| {
                    range
                        .get(index)
                        .and_then(Value::as_u64)
                        .ok_or_else(|| bad("range", range))
                };
                set.insert_range(end(0)?..=end(1)?);
            }
            progress.seen.insert(lane, set);
        }
        Ok(progress)
    }
}
