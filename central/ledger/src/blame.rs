//! Which absent samples a loss of blocks explains: it names a lane, a span and how many records, and no topics. Pure.

use std::collections::BTreeMap;

use efd_shared_model::LaneKind;

use crate::Hour;

/// Samples of a topic that numbers show to be absent in an hour, and that no loss names by number.
#[derive(Clone, Debug)]
pub(crate) struct Hole {
    pub(crate) lane: LaneKind,
    pub(crate) hour: Hour,
    pub(crate) absent: u64,
    /// By reason.
    pub(crate) explained: BTreeMap<String, u64>,
}

impl Hole {
    fn explain(&mut self, reason: &str, samples: u64) {
        self.absent -= samples;
        *self.explained.entry(reason.to_owned()).or_default() += samples;
    }
}

/// Of blocks that are nowhere.
#[derive(Clone, Debug)]
pub(crate) struct Blocks {
    pub(crate) lane: LaneKind,
    pub(crate) reason: String,
    /// Records in them; `None` where nobody can tell.
    pub(crate) records: Option<u64>,
    /// Inclusive; `None` where nobody can tell.
    pub(crate) hours: Option<(Hour, Hour)>,
}

impl Blocks {
    fn touches(&self, hole: &Hole) -> bool {
        // The last samples before the span's end are missed by the first after it.
        let is_within = |(first, last): (Hour, Hour)| {
            first <= hole.hour && hole.hour.0 <= last.0.saturating_add(1)
        };
        self.lane == hole.lane && self.hours.is_none_or(is_within)
    }
}

/// What is left of each of `blocks`: records of topics without numbers, or whose numbers show nothing. Those that tell most
/// go first, so that who tells nothing gets what remains.
pub(crate) fn explain(holes: &mut [Hole], blocks: &[Blocks]) -> Vec<Option<u64>> {
    let mut order: Vec<usize> = (0..blocks.len()).collect();
    order.sort_by_key(|&index| {
        (
            blocks[index].hours.is_none(),
            blocks[index].records.is_none(),
        )
    });
    let mut left: Vec<Option<u64>> = blocks.iter().map(|blocks| blocks.records).collect();
    for index in order {
        let loss = &blocks[index];
        for hole in holes.iter_mut().filter(|hole| loss.touches(hole)) {
            let samples = left[index].map_or(hole.absent, |records| records.min(hole.absent));
            if samples > 0 {
                hole.explain(&loss.reason, samples);
                left[index] = left[index].map(|records| records - samples);
            }
        }
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hole(hour: i64, absent: u64) -> Hole {
        Hole {
            lane: LaneKind::Telemetry,
            hour: Hour(hour),
            absent,
            explained: BTreeMap::new(),
        }
    }

    fn blocks(reason: &str, records: Option<u64>, hours: Option<(i64, i64)>) -> Blocks {
        Blocks {
            lane: LaneKind::Telemetry,
            reason: reason.into(),
            records,
            hours: hours.map(|(first, last)| (Hour(first), Hour(last))),
        }
    }

    #[test]
    fn what_is_known_best_explains_first() {
        let mut holes = [hole(1, 10), hole(2, 5), hole(9, 4)];
        let losses = [
            blocks("corrupt", None, None),
            blocks("evicted", Some(12), Some((1, 2))),
            blocks("evicted", Some(7), Some((20, 21))),
        ];
        assert_eq!(explain(&mut holes, &losses), [None, Some(0), Some(7)]);
        assert_eq!(holes.each_ref().map(|hole| hole.absent), [0, 0, 0]);
        let text = |hole: &Hole| format!("{:?}", hole.explained);
        let expected = [
            r#"{"evicted": 10}"#,
            r#"{"corrupt": 3, "evicted": 2}"#,
            r#"{"corrupt": 4}"#,
        ];
        assert_eq!(holes.each_ref().map(text), expected);
    }

    #[test]
    fn another_lane_explains_nothing() {
        let mut holes = [hole(1, 10)];
        let mut other = blocks("evicted", Some(10), Some((1, 1)));
        other.lane = LaneKind::Events;
        assert_eq!(explain(&mut holes, &[other]), [Some(10)]);
        assert_eq!(holes[0].absent, 10);
    }
}
