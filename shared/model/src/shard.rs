//! Components shared out: lanes of an edge, and workers of a consumer, that are too much for one.
//!
//! Counts are powers of two, so that a shard of four lies within one of two: whoever takes a part of the components can
//! tell from a lane's number alone whether it has any of them, however often the counts have changed.

use std::fmt;

use xxhash_rust::xxh3::xxh3_64;

/// One of how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Shard {
    index: u16,
    count: u16,
}

pub const SHARDS_MAX: u16 = 64;

/// A lane of one topic alone is a shard of so many, which nobody splits a kind into. Its index is that of the topic's
/// component among [`SHARDS_MAX`], plus [`SHARDS_MAX`] times its slot: so it meets just the shards that the component is in,
/// for programs too that know nothing of diversion.
const DIVERTED_COUNT: u16 = 1 << 15;
/// Topics whose components share an index can be diverted at one time.
pub const DIVERTED_SLOTS: u16 = DIVERTED_COUNT / SHARDS_MAX;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0} shards: 1, 2, 4, 8, 16, 32 or {SHARDS_MAX} can be had")]
pub struct ShardCountError(pub u16);

impl Shard {
    pub const WHOLE: Self = Self { index: 0, count: 1 };

    /// All of so many.
    pub fn all(count: u16) -> Result<impl Iterator<Item = Self>, ShardCountError> {
        if !count.is_power_of_two() || SHARDS_MAX < count {
            return Err(ShardCountError(count));
        }
        Ok((0..count).map(move |index| Self { index, count }))
    }

    /// That of a component.
    pub fn of(component: &str, count: u16) -> Self {
        let count = count.max(1);
        let index = (xxh3_64(component.as_bytes()) % u64::from(count)) as u16;
        Self { index, count }
    }

    /// The lane of a topic of that component which is over its budget; `slot` tells it from others.
    pub fn diverted(component: &str, slot: u16) -> Self {
        let home = Self::of(component, SHARDS_MAX).index;
        Self {
            index: home + SHARDS_MAX * (slot % DIVERTED_SLOTS),
            count: DIVERTED_COUNT,
        }
    }

    /// Whether it is the lane of one topic that is over its budget.
    pub fn is_diverted(self) -> bool {
        self.count == DIVERTED_COUNT
    }

    /// Counted from 0.
    pub fn index(self) -> u16 {
        self.index
    }

    /// As a lane has it: `count - 1 + index`. No two shards have the same, whatever their counts.
    pub fn number(self) -> u16 {
        self.count - 1 + self.index
    }

    /// The inverse of [`Self::number`], for any number.
    pub fn from_number(number: u16) -> Self {
        let place = u32::from(number) + 1;
        let count = 1 << place.ilog2();
        Self {
            index: (place - count) as u16,
            // Of the last number there are twice as many as fit.
            count: count.min(1 << 15) as u16,
        }
    }

    pub fn has(self, component: &str) -> bool {
        Self::of(component, self.count) == self
    }

    /// Whether some component may be in both.
    pub fn meets(self, other: Self) -> bool {
        let least = self.count.min(other.count);
        self.index % least == other.index % least
    }
}

impl Default for Shard {
    fn default() -> Self {
        Self::WHOLE
    }
}

impl fmt::Display for Shard {
    /// `2 of 4`, counted from 1.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.index + 1, self.count)
    }
}

/// What of a topic's name is shared out as one: of SAL's `lsst.sal.MTMount.elevation` the component, `MTMount`; of others
/// all.
pub fn component_of(topic: &str) -> &str {
    let sal = topic.strip_prefix("lsst.sal.");
    let component = sal.and_then(|rest| rest.split_once('.'));
    component.map_or(topic, |(component, _)| component)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const COUNTS: [u16; 7] = [1, 2, 4, 8, 16, 32, 64];

    #[test]
    fn components() {
        for (topic, component) in [
            ("lsst.sal.MTMount.elevation", "MTMount"),
            ("lsst.sal.MTMount.logevent_summaryState", "MTMount"),
            ("efd.losses", "efd.losses"),
            ("rt.chatter", "rt.chatter"),
            ("lsst.sal.odd", "lsst.sal.odd"),
        ] {
            assert_eq!(component_of(topic), component);
        }
    }

    /// Lanes in buffers and logs are called so.
    #[test]
    fn numbers_are_fixed() {
        let numbers =
            |count| -> Vec<u16> { Shard::all(count).unwrap().map(Shard::number).collect() };
        assert_eq!(numbers(1), [0]);
        assert_eq!(numbers(2), [1, 2]);
        assert_eq!(numbers(4), [3, 4, 5, 6]);
        assert_eq!(Shard::of("MTMount", 4).index(), 3);
        assert_eq!(Shard::of("MTM1M3", 64).index(), 18);
        for bad in [0, 3, 128] {
            assert!(Shard::all(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn every_number_is_one_shard() {
        for number in 0..=u16::MAX - 1 {
            let shard = Shard::from_number(number);
            assert!(shard.index < shard.count, "{number}");
            assert_eq!(shard.number(), number);
        }
        let last = Shard::from_number(u16::MAX);
        assert!(last.meets(Shard::WHOLE));
    }

    proptest! {
        #[test]
        fn a_component_is_in_one_shard_of_each_count(name in ".{0,12}") {
            let shards: Vec<Shard> = COUNTS
                .into_iter()
                .map(|count| {
                    let all: Vec<Shard> = Shard::all(count).unwrap().filter(|s| s.has(&name)).collect();
                    assert_eq!(all, [Shard::of(&name, count)]);
                    all[0]
                })
                .collect();
            for a in &shards {
                for b in &shards {
                    prop_assert!(a.meets(*b));
                }
            }
        }

        /// Whoever takes a part of the components finds those that are diverted, and reads no other's.
        #[test]
        fn a_diverted_lane_meets_the_shards_of_its_component(name in ".{0,12}", slot in 0..DIVERTED_SLOTS) {
            let diverted = Shard::diverted(&name, slot);
            prop_assert!(diverted.is_diverted());
            prop_assert_eq!(Shard::from_number(diverted.number()), diverted);
            for count in COUNTS {
                for shard in Shard::all(count).unwrap() {
                    prop_assert!(!shard.is_diverted());
                    prop_assert_eq!(diverted.meets(shard), shard.has(&name));
                }
            }
        }

        #[test]
        fn slots_are_lanes_of_their_own(name in ".{0,12}", a in 0..DIVERTED_SLOTS, b in 0..DIVERTED_SLOTS) {
            let number = |slot| Shard::diverted(&name, slot).number();
            prop_assert_eq!(number(a) == number(b), a == b);
        }

        /// Two that do not meet have no component in common: of many names none is in both.
        #[test]
        fn those_that_do_not_meet_share_nothing(a in 0u16..127, b in 0u16..127, names in prop::collection::vec(".{1,8}", 50)) {
            let (a, b) = (Shard::from_number(a), Shard::from_number(b));
            if !a.meets(b) {
                prop_assert!(!names.iter().any(|name| a.has(name) && b.has(name)));
            }
        }
    }
}
