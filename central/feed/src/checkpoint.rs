//! The durable form of the account: what is wholly in the topics, and where to read back from.
//!
//! ```json
//! { "version": 1,
//!   "progress": { "places": {"summit.0.live": 17}, "seen": {"<edge>/<epoch>/telemetry": [[1, 16]]} },
//!   "outputs": { "summit.lsst.sal.Test.scalars": { "end": 4711, "parked": "reason", "owed": { … } } },
//!   "routes": [ { "name": "…", "fingerprint": "…", "topic": "…", "schema": 5, "refused": false } ] }
//! ```
//! `parked` and `owed` stand only where something is owed; `"shard": 4`, a [`Shard::number`], where several workers share the
//! work.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::Utf8Error;

use efd_central_log::{Partition, Place, Progress, ProgressError};
use efd_shared_model::{BlockId, RangeSet, RecordId, Shard};
use serde_json::{Map, Value, json};

use crate::route::{Route, RouteKey, Routes};
use crate::wire::SchemaId;

pub const VERSION: u64 = 1;

#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Checkpoint {
    /// The components whose topics it is about.
    pub shard: Shard,
    pub progress: Progress,
    /// By topic.
    pub outputs: BTreeMap<String, Mark>,
    pub routes: Routes,
}

/// What a checkpoint says of one topic.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Mark {
    /// Every record before this offset belongs to a block that `progress` has and that is not owed here.
    pub end: i64,
    /// Why the topic takes nothing; `None` where it is open.
    pub parked: Option<String>,
    pub owed: Owed,
}

/// Records that a topic refused, of blocks that are otherwise delivered.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Owed {
    /// Blocks of which nothing is in the topic. A block that has no record for it may be listed: it costs nothing, and
    /// keeps the ranges few. `places`: where to begin looking for them.
    pub blocks: Progress,
    /// Single records of blocks, others of which are in the topic.
    pub records: BTreeMap<BlockId, OwedRecords>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwedRecords {
    pub partition: Partition,
    pub place: Place,
    /// Indexes within the block.
    pub indexes: RangeSet,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    #[error(transparent)]
    Utf8(#[from] Utf8Error),
    #[error("not JSON: {0}")]
    Json(String),
    #[error("version {found}, this build reads {VERSION}")]
    Version { found: u64 },
    #[error("{what} `{value}` cannot be read")]
    Field { what: &'static str, value: String },
    #[error(transparent)]
    Progress(#[from] ProgressError),
}

impl CheckpointError {
    /// The version, where it is of a newer build: then it is not damaged.
    pub(crate) fn newer(&self) -> Option<u64> {
        match self {
            Self::Version { found } => (VERSION < *found).then_some(*found),
            Self::Utf8(_) | Self::Json(_) | Self::Field { .. } | Self::Progress(_) => None,
        }
    }
}

fn bad(what: &'static str, value: &dyn Display) -> CheckpointError {
    CheckpointError::Field {
        what,
        value: value.to_string().chars().take(120).collect(),
    }
}

impl Owed {
    pub fn is_empty(&self) -> bool {
        self.records.is_empty() && !self.has_blocks()
    }

    pub fn has_blocks(&self) -> bool {
        self.blocks.seen.values().any(|set| !set.is_empty())
    }

    pub fn has_block(&self, id: BlockId) -> bool {
        let set = self.blocks.seen.get(&id.lane);
        set.is_some_and(|set| set.contains(id.number.0))
    }

    /// Ranges and entries: what it takes in memory.
    pub fn size(&self) -> usize {
        let ranges = self.blocks.seen.values().map(RangeSet::range_count);
        let records = self.records.values().map(|owed| owed.indexes.range_count());
        ranges.chain(records).sum()
    }

    fn to_json(&self) -> Value {
        let records: Map<_, _> = self
            .records
            .iter()
            .map(|(id, owed)| {
                let OwedRecords {
                    partition,
                    place,
                    indexes,
                } = owed;
                let ranges: Vec<_> = indexes.iter().map(|r| json!([r.start(), r.end()])).collect();
                let entry = json!({"partition": partition.to_string(), "place": place.0, "indexes": ranges});
                (id.to_string(), entry)
            })
            .collect();
        json!({ "blocks": self.blocks.to_json(), "records": records })
    }

    fn from_json(value: &Value) -> Result<Self, CheckpointError> {
        let mut owed = Self {
            blocks: Progress::from_json(field(value, "blocks")?)?,
            records: BTreeMap::new(),
        };
        for (name, entry) in object(value, "records")? {
            let id: RecordId = format!("{name}/0")
                .parse()
                .map_err(|_| bad("block", name))?;
            let partition = text(entry, "partition")?;
            let ranges = field(entry, "indexes")?;
            let end = |range: &Value, at: usize| {
                let number = range.get(at).and_then(Value::as_u64);
                number.ok_or_else(|| bad("range", range))
            };
            let ranges = ranges.as_array().ok_or_else(|| bad("indexes", ranges))?;
            let indexes = ranges
                .iter()
                .map(|range| Ok(end(range, 0)?..=end(range, 1)?))
                .collect::<Result<_, CheckpointError>>()?;
            let records = OwedRecords {
                partition: partition
                    .parse()
                    .map_err(|_| bad("partition", &partition))?,
                place: Place(number(entry, "place")?),
                indexes,
            };
            owed.records.insert(id.block, records);
        }
        Ok(owed)
    }
}

impl Checkpoint {
    pub fn to_text(&self) -> String {
        let Self {
            shard,
            progress,
            outputs,
            routes,
        } = self;
        let mark = |mark: &Mark| {
            let Mark { end, parked, owed } = mark;
            let mut entry = json!({ "end": end });
            if let Some(reason) = parked {
                entry["parked"] = json!(reason);
            }
            if !owed.is_empty() {
                entry["owed"] = owed.to_json();
            }
            entry
        };
        let route = |(key, route): (&RouteKey, &Route)| {
            let RouteKey { name, fingerprint } = key;
            let Route {
                topic,
                schema,
                refused,
            } = route;
            json!({
                "name": name, "fingerprint": fingerprint.to_string(), "topic": topic,
                "schema": schema.map(|id| id.0), "refused": refused,
            })
        };
        let outputs: Map<_, _> = outputs
            .iter()
            .map(|(topic, m)| (topic.clone(), mark(m)))
            .collect();
        let mut value = json!({
            "version": VERSION,
            "progress": progress.to_json(),
            "outputs": outputs,
            "routes": routes.iter().map(route).collect::<Vec<_>>(),
        });
        // Unknown to older builds, which have no others.
        if *shard != Shard::WHOLE {
            value["shard"] = json!(shard.number());
        }
        value.to_string()
    }

    pub fn from_bytes(source: &[u8]) -> Result<Self, CheckpointError> {
        Self::from_text(str::from_utf8(source)?)
    }

    pub fn from_text(source: &str) -> Result<Self, CheckpointError> {
        let value: Value = serde_json::from_str(source)
            .map_err(|error| CheckpointError::Json(error.to_string()))?;
        let found = number(&value, "version")?;
        if found != VERSION {
            return Err(CheckpointError::Version { found });
        }
        let shard = match value.get("shard") {
            None => Shard::WHOLE,
            Some(number) => {
                let number = number
                    .as_u64()
                    .and_then(|number| u16::try_from(number).ok());
                Shard::from_number(number.ok_or_else(|| bad("shard", &value["shard"]))?)
            }
        };
        let mut checkpoint = Self {
            shard,
            progress: Progress::from_json(field(&value, "progress")?)?,
            ..Self::default()
        };
        for (topic, entry) in object(&value, "outputs")? {
            let end = field(entry, "end")?;
            let mark = Mark {
                end: end.as_i64().ok_or_else(|| bad("end", end))?,
                parked: entry
                    .get("parked")
                    .and_then(Value::as_str)
                    .map(str::to_owned),
                owed: entry
                    .get("owed")
                    .map_or_else(|| Ok(Owed::default()), Owed::from_json)?,
            };
            checkpoint.outputs.insert(topic.clone(), mark);
        }
        let routes = field(&value, "routes")?;
        for entry in routes.as_array().ok_or_else(|| bad("routes", routes))? {
            let fingerprint = text(entry, "fingerprint")?;
            let key = RouteKey {
                name: text(entry, "name")?,
                fingerprint: fingerprint
                    .parse()
                    .map_err(|_| bad("fingerprint", &fingerprint))?,
            };
            let schema = field(entry, "schema")?;
            let id = schema.as_u64().and_then(|id| u32::try_from(id).ok());
            if id.is_none() && !schema.is_null() {
                return Err(bad("schema", schema));
            }
            let refused = field(entry, "refused")?;
            let route = Route {
                topic: text(entry, "topic")?,
                schema: id.map(SchemaId),
                refused: refused.as_bool().ok_or_else(|| bad("refused", refused))?,
            };
            checkpoint.routes.insert(key, route);
        }
        Ok(checkpoint)
    }
}

fn field<'a>(value: &'a Value, name: &'static str) -> Result<&'a Value, CheckpointError> {
    value.get(name).ok_or_else(|| bad("field", &name))
}

fn object<'a>(
    value: &'a Value,
    name: &'static str,
) -> Result<&'a Map<String, Value>, CheckpointError> {
    let found = field(value, name)?;
    found.as_object().ok_or_else(|| bad(name, found))
}

fn text(value: &Value, name: &'static str) -> Result<String, CheckpointError> {
    let found = field(value, name)?;
    found
        .as_str()
        .map(str::to_owned)
        .ok_or_else(|| bad(name, found))
}

fn number(value: &Value, name: &'static str) -> Result<u64, CheckpointError> {
    let found = field(value, name)?;
    found.as_u64().ok_or_else(|| bad(name, found))
}

#[cfg(test)]
mod tests {
    use efd_shared_model::{
        BlockNumber, EdgeId, EpochId, Fingerprint, Lane, LaneKind, ids::EpochLane,
    };

    use super::*;

    fn full() -> Checkpoint {
        let lane = EpochLane {
            edge: EdgeId([1; 16]),
            epoch: EpochId([2; 16]),
            lane: Lane::new(LaneKind::Telemetry),
        };
        let partition: Partition = "summit.0.live".parse().unwrap();
        let mut progress = Progress::default();
        progress.places.insert(partition.clone(), Place(17));
        progress
            .seen
            .insert(lane, [1..=16, 20..=20].into_iter().collect());
        let records = OwedRecords {
            partition,
            place: Place(3),
            indexes: [4..=5].into_iter().collect(),
        };
        let parked = Mark {
            end: 5,
            parked: Some("it is \"gone\"".into()),
            owed: Owed {
                blocks: progress.clone(),
                records: [(lane.block(BlockNumber(3)), records)].into(),
            },
        };
        let key = |name: &str| RouteKey {
            name: name.into(),
            fingerprint: Fingerprint::of(name),
        };
        let route = |schema: Option<u32>, refused| Route {
            topic: "t".into(),
            schema: schema.map(SchemaId),
            refused,
        };
        Checkpoint {
            shard: Shard::of("a", 4),
            progress,
            outputs: [
                (
                    "a".into(),
                    Mark {
                        end: i64::MAX,
                        ..Mark::default()
                    },
                ),
                ("b".into(), parked),
            ]
            .into(),
            routes: [
                (key("a"), route(Some(7), false)),
                (key("b"), route(None, true)),
            ]
            .into(),
        }
    }

    #[test]
    fn reads_back() {
        for checkpoint in [Checkpoint::default(), full()] {
            assert_eq!(Checkpoint::from_text(&checkpoint.to_text()), Ok(checkpoint));
        }
    }

    #[test]
    fn anything_else_is_an_error_with_a_name() {
        let text = full().to_text();
        for end in 0..text.len() {
            assert!(Checkpoint::from_text(&text[..end]).is_err(), "{end}");
        }
        let check = |from: &str, to: &str, expected: &str| {
            assert!(text.contains(from), "{from}");
            let error = Checkpoint::from_text(&text.replacen(from, to, 1)).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
        };
        check(
            "\"version\":1",
            "\"version\":2",
            "version 2, this build reads 1",
        );
        check("\"end\":5", "\"end\":\"5\"", "end");
        check("\"schema\":7", "\"schema\":-7", "schema");
        check("\"indexes\":[[4,5]]", "\"indexes\":[[4]]", "range");
        check("summit.0.live", "summit.live", "partition");
    }
}
