//! Sets of block numbers as ranges: what has been received, acknowledged, written.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;

use crate::bytes::{ByteError, Reader, Writer};

/// A set of `u64` kept as disjoint, non-adjacent, inclusive ranges. Memory is by gaps, not by members.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct RangeSet {
    /// first → last
    ranges: BTreeMap<u64, u64>,
}

impl RangeSet {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    pub fn contains(&self, number: u64) -> bool {
        self.ranges
            .range(..=number)
            .next_back()
            .is_some_and(|(_, &last)| number <= last)
    }

    /// Whether every member of `range` is here; an empty range is.
    pub fn contains_range(&self, range: RangeInclusive<u64>) -> bool {
        let (first, last) = range.into_inner();
        last < first
            || self
                .ranges
                .range(..=first)
                .next_back()
                .is_some_and(|(_, &end)| last <= end)
    }

    /// `true` if the number was not yet a member.
    pub fn insert(&mut self, number: u64) -> bool {
        if self.contains(number) {
            return false;
        }
        self.insert_range(number..=number);
        true
    }

    pub fn insert_range(&mut self, range: RangeInclusive<u64>) {
        let (mut first, mut last) = range.into_inner();
        if last < first {
            return;
        }
        // Absorb every range that touches or is adjacent, from the right end leftwards.
        while let Some((&begin, &end)) = self.ranges.range(..=last.saturating_add(1)).next_back() {
            if end.saturating_add(1) < first {
                break;
            }
            first = first.min(begin);
            last = last.max(end);
            self.ranges.remove(&begin);
        }
        self.ranges.insert(first, last);
    }

    pub fn remove_range(&mut self, range: RangeInclusive<u64>) {
        let (first, last) = range.into_inner();
        if last < first {
            return;
        }
        while let Some((&begin, &end)) = self.ranges.range(..=last).next_back() {
            if end < first {
                break;
            }
            self.ranges.remove(&begin);
            if last < end {
                self.ranges.insert(last + 1, end);
            }
            if begin < first {
                self.ranges.insert(begin, first - 1);
            }
        }
    }

    pub fn union(&mut self, other: &Self) {
        for range in other.iter() {
            self.insert_range(range);
        }
    }

    /// Without what is in `other`.
    pub fn subtract(&mut self, other: &Self) {
        for range in other.iter() {
            self.remove_range(range);
        }
    }

    /// What is in both. By merging: as many steps as both have ranges.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        let mut common = Self::new();
        let (mut left, mut right) = (self.iter().peekable(), other.iter().peekable());
        while let (Some(x), Some(y)) = (left.peek(), right.peek()) {
            common.insert_range(*x.start().max(y.start())..=*x.end().min(y.end()));
            if x.end() <= y.end() {
                left.next();
            } else {
                right.next();
            }
        }
        common
    }

    /// What is here and not in `other`.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Self {
        let mut rest = self.clone();
        rest.subtract(&self.intersection(other));
        rest
    }

    /// Ascending.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = RangeInclusive<u64>> + '_ {
        self.ranges.iter().map(|(&first, &last)| first..=last)
    }

    /// What of `within` is not here, ascending.
    pub fn missing(&self, within: RangeInclusive<u64>) -> Vec<RangeInclusive<u64>> {
        let (mut next, last) = within.into_inner();
        let mut holes = Vec::new();
        for range in self.iter() {
            if last < *range.start() || last < next {
                break;
            }
            if *range.end() < next {
                continue;
            }
            if next < *range.start() {
                holes.push(next..=range.start() - 1);
            }
            match range.end().checked_add(1) {
                Some(after) => next = after,
                None => return holes,
            }
        }
        if next <= last {
            holes.push(next..=last);
        }
        holes
    }

    /// How many ranges, not how many members.
    pub fn range_count(&self) -> usize {
        self.ranges.len()
    }

    /// How many members; saturates at `u64::MAX`.
    pub fn member_count(&self) -> u64 {
        self.iter().fold(0, |sum: u64, r| {
            sum.saturating_add((r.end() - r.start()).saturating_add(1))
        })
    }

    pub fn last(&self) -> Option<u64> {
        self.ranges.last_key_value().map(|(_, &last)| last)
    }

    /// `n` such that 1..=n are all members; 0 if 1 is not.
    pub fn through(&self) -> u64 {
        match self.ranges.first_key_value() {
            Some((&first, &last)) if first <= 1 => last,
            _ => 0,
        }
    }

    pub fn write(&self, out: &mut Writer) {
        out.varint(self.ranges.len() as u64);
        let mut previous = 0;
        for (&first, &last) in &self.ranges {
            out.varint(first.wrapping_sub(previous));
            out.varint(last - first);
            previous = last;
        }
    }

    /// Reads at most `ranges_max` ranges; what is not ascending is refused.
    pub fn read(reader: &mut Reader<'_>, ranges_max: usize) -> Result<Self, ByteError> {
        let count = reader.count("ranges", ranges_max)?;
        let mut set = Self::new();
        let mut previous = 0u64;
        for index in 0..count {
            let first = reader.varint()?.checked_add(previous);
            let length = reader.varint()?;
            let last = first.and_then(|first| first.checked_add(length));
            match (first, last) {
                (Some(first), Some(last)) if index == 0 || previous < first => {
                    set.insert_range(first..=last);
                    previous = last;
                }
                _ => return Err(reader.invalid("range")),
            }
        }
        Ok(set)
    }
}

impl fmt::Display for RangeSet {
    /// `{1-5 7 9-12}`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (index, range) in self.iter().enumerate() {
            let gap = if index == 0 { "" } else { " " };
            if range.start() == range.end() {
                write!(f, "{gap}{}", range.start())?;
            } else {
                write!(f, "{gap}{}-{}", range.start(), range.end())?;
            }
        }
        f.write_str("}")
    }
}

impl fmt::Debug for RangeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromIterator<RangeInclusive<u64>> for RangeSet {
    fn from_iter<T: IntoIterator<Item = RangeInclusive<u64>>>(ranges: T) -> Self {
        let mut set = Self::new();
        for range in ranges {
            set.insert_range(range);
        }
        set
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn agrees_with_a_plain_set(steps in prop::collection::vec((any::<bool>(), 0u64..60, 0u64..12), 0..60)) {
            let (mut set, mut naive) = (RangeSet::new(), BTreeSet::new());
            for (add, first, length) in steps {
                let range = first..=first + length;
                if add {
                    set.insert_range(range.clone());
                    naive.extend(range);
                } else {
                    set.remove_range(range.clone());
                    naive.retain(|n| !range.contains(n));
                }
                prop_assert_eq!(set.iter().flatten().collect::<Vec<_>>(), naive.iter().copied().collect::<Vec<_>>());
                let ranges: Vec<_> = set.iter().collect();
                prop_assert!(ranges.windows(2).all(|pair| pair[0].end() + 1 < *pair[1].start()), "{set}");
            }
            let holes: Vec<u64> = set.missing(5..=50).into_iter().flatten().collect();
            prop_assert_eq!(holes, (5..=50).filter(|n| !naive.contains(n)).collect::<Vec<_>>());
            prop_assert_eq!(set.member_count(), naive.len() as u64);
            prop_assert_eq!(set.through(), (1..).take_while(|n| naive.contains(n)).count() as u64);

            let mut out = Writer::new();
            set.write(&mut out);
            let bytes = out.into_bytes();
            prop_assert_eq!(RangeSet::read(&mut Reader::new(&bytes), 100).unwrap(), set);
        }

        #[test]
        fn both_and_one_agree_with_plain_sets(
            a in prop::collection::vec((0u64..60, 0u64..12), 0..20),
            b in prop::collection::vec((0u64..60, 0u64..12), 0..20),
        ) {
            let set = |ranges: &[(u64, u64)]| -> RangeSet {
                ranges.iter().map(|(first, length)| *first..=first + length).collect()
            };
            let plain = |set: &RangeSet| set.iter().flatten().collect::<BTreeSet<u64>>();
            let (a, b) = (set(&a), set(&b));
            prop_assert_eq!(plain(&a.intersection(&b)), &plain(&a) & &plain(&b));
            prop_assert_eq!(plain(&a.difference(&b)), &plain(&a) - &plain(&b));
        }

        #[test]
        fn hostile_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _unused = RangeSet::read(&mut Reader::new(&bytes), 16);
        }
    }

    #[test]
    fn the_ends_of_u64() {
        let mut set = RangeSet::new();
        set.insert(u64::MAX);
        set.insert(0);
        assert_eq!(set.missing(0..=u64::MAX), vec![1..=u64::MAX - 1]);
        set.insert_range(1..=u64::MAX - 1);
        assert_eq!(set.range_count(), 1);
        assert!(set.missing(0..=u64::MAX).is_empty());
        assert_eq!(set.to_string(), "{0-18446744073709551615}");
    }
}
