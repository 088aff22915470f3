//! Publishers' numbers: which were recorded, which were named as lost, and which neither.

use std::collections::{BTreeMap, HashMap};

use efd_shared_avro::Numbers;
use efd_shared_model::RangeSet;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Publisher {
    pub(super) topic: String,
    /// `salIndex`, −1 where there is none.
    pub(super) instance: i64,
    pub(super) identity: Vec<u8>,
    pub(super) origin: i64,
}

/// Losses come first, then what was recorded: a gap between old numbers can be settled while numbers still come.
#[derive(Debug)]
pub(super) struct Sequences {
    by_publisher: HashMap<Publisher, Ranges>,
    /// Of all that is recorded and not settled.
    ranges: usize,
    ranges_max: usize,
}

/// A few tens of bytes each. Publishers number without gaps; one that does not must not fill the memory.
const RANGES_MAX: usize = 400_000;
/// What every publisher may keep for numbers that come late.
const RANGES_KEPT: usize = 16;

impl Default for Sequences {
    fn default() -> Self {
        Self::limited_to(RANGES_MAX)
    }
}

#[derive(Debug, Default)]
struct Ranges {
    seen: RangeSet,
    named: RangeSet,
    /// The last number before `seen` that is settled: what is missing up to it is counted. A number below it that comes
    /// later changes nothing: the count is then too high.
    settled: Option<u64>,
    unnamed: u64,
}

impl Ranges {
    /// Counts the gaps between all ranges but the last `keep` of them.
    fn settle(&mut self, keep: usize) {
        let Some(count) = self.seen.range_count().checked_sub(keep) else {
            return;
        };
        let Some(last) = self.seen.iter().take(count).last() else {
            return;
        };
        self.unnamed += self.holes(*last.end());
        self.settled = Some(*last.end());
        self.seen.remove_range(0..=*last.end());
        self.named.remove_range(0..=*last.end());
    }

    /// Numbers up to `last` that are neither recorded nor named, and not yet counted.
    fn holes(&self, last: u64) -> u64 {
        let begin = self.settled.map(|settled| settled.saturating_add(1));
        let first = self.seen.iter().next().map(|first| *first.start());
        let Some(begin) = begin.or(first) else {
            return 0;
        };
        let mut holes = RangeSet::new();
        holes.insert_range(begin..=last);
        holes.subtract(&self.seen);
        holes.subtract(&self.named);
        holes.member_count()
    }
}

impl Sequences {
    fn limited_to(ranges_max: usize) -> Self {
        Self {
            by_publisher: HashMap::new(),
            ranges: 0,
            ranges_max,
        }
    }

    pub(super) fn seen(&mut self, topic: &str, instance: i64, read: &Numbers) {
        let publisher = Publisher {
            topic: topic.to_owned(),
            instance,
            identity: read.identity.clone().into_bytes(),
            origin: read.origin,
        };
        let Ok(number) = u64::try_from(read.sequence) else {
            return;
        };
        let numbers = self.by_publisher.entry(publisher).or_default();
        if numbers.settled.is_some_and(|settled| number <= settled) {
            return;
        }
        let before = numbers.seen.range_count();
        numbers.seen.insert(number);
        self.ranges = self.ranges + numbers.seen.range_count() - before;
        if self.ranges_max < self.ranges {
            self.settle();
        }
    }

    /// Leaves half of what there may be.
    fn settle(&mut self) {
        let publishers = self.by_publisher.len().max(1);
        let keep = (self.ranges_max / 2 / publishers).max(RANGES_KEPT);
        self.ranges = 0;
        for numbers in self.by_publisher.values_mut() {
            numbers.settle(keep);
            self.ranges += numbers.seen.range_count();
        }
        // So many publishers that each has its few.
        self.ranges_max = self.ranges_max.max(2 * self.ranges);
    }

    pub(super) fn named(&mut self, publisher: Publisher, first: i64, last: i64) {
        if let (Ok(first), Ok(last)) = (u64::try_from(first), u64::try_from(last)) {
            let numbers = self.by_publisher.entry(publisher).or_default();
            numbers.named.insert_range(first..=last);
        }
    }

    /// By topic: numbers between the first and the last recorded ones of each publisher, neither recorded nor named.
    pub(super) fn unnamed(&self) -> BTreeMap<String, u64> {
        let mut unnamed = BTreeMap::new();
        for (publisher, numbers) in &self.by_publisher {
            let rest = numbers.seen.last().map_or(0, |last| numbers.holes(last));
            let count = numbers.unnamed.saturating_add(rest);
            if count > 0 {
                *unnamed.entry(publisher.topic.clone()).or_insert(0) += count;
            }
        }
        unnamed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_neither_recorded_nor_named_is_counted() {
        let mut sequences = Sequences::default();
        let read = |sequence| Numbers {
            sequence,
            identity: "Test:1".to_owned(),
            origin: 7,
        };
        for number in [3, 4, 8, 12, -1] {
            sequences.seen("t", 1, &read(number));
        }
        assert_eq!(sequences.unnamed(), BTreeMap::from([("t".to_owned(), 6)]));
        let publisher = Publisher {
            topic: "t".into(),
            instance: 1,
            identity: b"Test:1".to_vec(),
            origin: 7,
        };
        sequences.named(publisher.clone(), 1, 6);
        sequences.named(publisher, 10, 10);
        // 7, 9 and 11 are left; what comes before the first and after the last is nobody's.
        assert_eq!(sequences.unnamed(), BTreeMap::from([("t".to_owned(), 3)]));
        sequences.seen("t", 2, &read(50));
        assert_eq!(sequences.unnamed(), BTreeMap::from([("t".to_owned(), 3)]));
    }

    /// However little memory there is, the count is that of all numbers in a set, as long as none comes very late.
    #[test]
    fn settling_early_does_not_change_the_count() {
        let publisher = Publisher {
            topic: "t".into(),
            instance: 1,
            identity: b"Test:1".to_vec(),
            origin: 7,
        };
        let read = |sequence| Numbers {
            sequence,
            identity: "Test:1".to_owned(),
            origin: 7,
        };
        let numbers = (0..4000i64).map(|index| 5 + index * 7 / 2);
        // Neighbours change places, some are there twice.
        let swapped: Vec<i64> = numbers.map(|number| number ^ 2).collect();
        let named = [(0, 2), (100, 140), (5000, 5001), (9000, 20_000)];
        let mut counts = Vec::new();
        for ranges_max in [40, 200, RANGES_MAX] {
            let mut sequences = Sequences::limited_to(ranges_max);
            for (first, last) in named {
                sequences.named(publisher.clone(), first, last);
            }
            for &number in &swapped {
                sequences.seen("t", 1, &read(number));
                assert!(sequences.ranges <= ranges_max + 1);
            }
            counts.push(sequences.unnamed()["t"]);
        }
        let (first, last) = (
            *swapped.iter().min().unwrap(),
            *swapped.iter().max().unwrap(),
        );
        let is_known = |number: &i64| {
            swapped.contains(number) || named.iter().any(|(a, b)| a <= number && number <= b)
        };
        let expected = (first..=last).filter(|number| !is_known(number)).count() as u64;
        assert_eq!(counts, [expected; 3]);
    }
}
