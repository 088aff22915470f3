/// Who sends next, of `N` in order of precedence: the first that has something, except that each one that is waiting is
/// owed its guaranteed share of every byte sent, and goes first once what it is owed pays for its next block.
///
/// So the present never waits behind the past for long, and the past is never starved by the present.
#[derive(Clone, Debug)]
pub(super) struct Shares<const N: usize> {
    /// In percent.
    guaranteed: [u8; N],
    /// Hundredths of bytes. Nobody saves up while there is nothing to send.
    owed: [u64; N],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pick {
    pub(super) index: usize,
    /// By its guarantee, ahead of one that takes precedence.
    pub(super) owed: bool,
}

impl<const N: usize> Shares<N> {
    /// `guaranteed` sums to at most 100.
    pub(super) fn new(guaranteed: [u8; N]) -> Self {
        debug_assert!(guaranteed.iter().map(|&g| u32::from(g)).sum::<u32>() <= 100);
        Self {
            guaranteed,
            owed: [0; N],
        }
    }

    /// `next` has the bytes of each one's next block, `None` where it has none.
    pub(super) fn pick(&self, next: [Option<u64>; N]) -> Option<Pick> {
        let first = next.iter().position(Option::is_some)?;
        let owed = (0..N).find(|&index| {
            self.guaranteed[index] > 0
                && next[index].is_some_and(|bytes| bytes.saturating_mul(100) <= self.owed[index])
        });
        let index = owed.unwrap_or(first);
        Some(Pick {
            index,
            owed: index != first,
        })
    }

    /// After `sent` (an index of [`Self::pick`] with the same `next`) sent that many bytes.
    pub(super) fn charge(&mut self, sent: usize, bytes: u64, next: [Option<u64>; N]) {
        for (index, waiting) in next.iter().enumerate() {
            let earned = bytes.saturating_mul(self.guaranteed[index].into());
            let owed = &mut self.owed[index];
            *owed = match waiting {
                None => 0,
                Some(_) => owed.saturating_add(earned),
            };
            if index == sent {
                *owed = owed.saturating_sub(bytes.saturating_mul(100));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What each one has, in bytes per block and number of blocks, and what it gets of the first `bytes` sent.
    fn check<const N: usize>(
        guaranteed: [u8; N],
        has: [(u64, u64); N],
        bytes: u64,
        percent: [u64; N],
    ) {
        let mut shares = Shares::new(guaranteed);
        let (mut left, mut sent) = (has, [0u64; N]);
        while sent.iter().sum::<u64>() < bytes {
            let next = left.map(|(size, count)| (count > 0).then_some(size));
            let Some(pick) = shares.pick(next) else { break };
            shares.charge(pick.index, left[pick.index].0, next);
            left[pick.index].1 -= 1;
            sent[pick.index] += left[pick.index].0;
        }
        let total: u64 = sent.iter().sum();
        for (index, expected) in percent.into_iter().enumerate() {
            let found = (sent[index] * 100 + total / 2) / total;
            assert!(
                found.abs_diff(expected) <= 1,
                "{guaranteed:?} {has:?}: {index} got {found} %, {expected} % expected"
            );
        }
    }

    const MANY: u64 = 1_000_000;

    #[test]
    fn everyone_gets_the_guaranteed_share_and_the_first_gets_the_rest() {
        check([10, 30, 30], [(100, MANY); 3], 1_000_000, [40, 30, 30]);
        check([0, 10], [(1000, MANY), (1000, MANY)], 10_000_000, [90, 10]);
        // Sizes do not matter, to either side.
        check([0, 10], [(100, MANY), (50_000, MANY)], 50_000_000, [90, 10]);
        check([0, 25], [(50_000, MANY), (100, MANY)], 50_000_000, [75, 25]);
    }

    #[test]
    fn what_one_leaves_the_next_in_precedence_takes() {
        check(
            [10, 30, 30],
            [(100, 0), (100, MANY), (100, MANY)],
            1_000_000,
            [0, 70, 30],
        );
        check(
            [10, 30, 30],
            [(100, 0), (100, 0), (100, MANY)],
            1_000_000,
            [0, 0, 100],
        );
        check(
            [10, 30, 30],
            [(100, 1000), (100, MANY), (100, 0)],
            1_000_000,
            [10, 90, 0],
        );
    }

    #[test]
    fn without_a_guarantee_precedence_is_strict() {
        check([0, 0], [(100, MANY), (100, MANY)], 100_000, [100, 0]);
    }

    #[test]
    fn nobody_saves_up_while_there_is_nothing_to_send() {
        let mut shares = Shares::new([0, 50]);
        for _ in 0..1000 {
            shares.charge(0, 1000, [Some(1000), None]);
        }
        let both = [Some(1000), Some(1000)];
        let first = shares.pick(both).unwrap();
        assert_eq!(
            first,
            Pick {
                index: 0,
                owed: false
            }
        );
        shares.charge(0, 1000, both);
        shares.charge(0, 1000, both);
        assert_eq!(
            shares.pick(both),
            Some(Pick {
                index: 1,
                owed: true
            })
        );
    }

    #[test]
    fn sizes_of_any_kind() {
        let mut shares = Shares::new([1, 99]);
        let next = [Some(u64::MAX), Some(u64::MAX)];
        for _ in 0..10 {
            let pick = shares.pick(next).unwrap();
            shares.charge(pick.index, u64::MAX, next);
        }
    }
}
