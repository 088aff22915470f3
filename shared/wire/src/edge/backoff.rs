use std::time::Duration;

/// Waits that double from `first` to `longest`, each drawn from its upper half: edges that lost one centre together do
/// not come back together.
#[derive(Clone, Debug)]
pub(super) struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
    random: SplitMix,
}

impl Backoff {
    pub(super) fn new(first: Duration, longest: Duration, seed: u64) -> Self {
        let first = first.max(Duration::from_millis(1)).min(longest);
        Self {
            first,
            longest,
            next: first,
            random: SplitMix(seed),
        }
    }

    pub(super) fn next_wait(&mut self) -> Duration {
        let wait = self.next;
        self.next = wait.saturating_mul(2).min(self.longest);
        self.jittered(wait)
    }

    /// For a peer that said no: trying soon again changes nothing.
    pub(super) fn longest_wait(&mut self) -> Duration {
        self.next = self.longest;
        self.jittered(self.longest)
    }

    pub(super) fn reset(&mut self) {
        self.next = self.first;
    }

    fn jittered(&mut self, wait: Duration) -> Duration {
        let half = u64::try_from(wait.as_nanos() / 2).unwrap_or(u64::MAX);
        Duration::from_nanos(half.saturating_add(self.random.next() % half.max(1)))
    }
}

/// Steele, Lea, Flood: "Fast splittable pseudorandom number generators". Enough to spread reconnects.
#[derive(Clone, Debug)]
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_within_its_bounds_and_begins_anew() {
        let (first, longest) = (Duration::from_millis(200), Duration::from_secs(30));
        let mut backoff = Backoff::new(first, longest, 7);
        let mut expected = first;
        for _ in 0..20 {
            let wait = backoff.next_wait();
            assert!(
                expected / 2 <= wait && wait < expected,
                "{wait:?}, {expected:?} expected"
            );
            expected = (expected * 2).min(longest);
        }
        backoff.reset();
        assert!(backoff.next_wait() < first);
        assert!(backoff.longest_wait() >= longest / 2);
    }

    #[test]
    fn two_edges_do_not_wait_alike() {
        let wait =
            |seed| Backoff::new(Duration::from_secs(1), Duration::from_secs(9), seed).next_wait();
        assert_ne!(wait(1), wait(2));
        assert_eq!(wait(3), wait(3));
    }
}
