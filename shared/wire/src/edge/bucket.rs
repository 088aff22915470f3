use std::time::Duration;

use crate::moment::Moment;

const NANOS: i128 = 1_000_000_000;
/// What a bucket holds when full.
const BURST: Duration = Duration::from_millis(100);

/// A rate in bytes a second. Open while it holds anything at all: the sender takes what the block turns out to need and
/// may so run into debt, which it pays off before the next one. No block is too large, and the mean rate holds.
#[derive(Clone, Debug)]
pub(super) struct TokenBucket {
    /// Bytes per second; `None` is no limit.
    rate: Option<u64>,
    /// In billionths of a byte, so that nothing is lost to rounding.
    tokens: i128,
    filled_at: Moment,
}

impl TokenBucket {
    /// Begins full. A rate of 0 counts as 1: a link that is never to be used is not configured.
    pub(super) fn new(rate: Option<u64>, now: Moment) -> Self {
        let rate = rate.map(|rate| rate.max(1));
        let mut bucket = Self {
            rate,
            tokens: 0,
            filled_at: now,
        };
        bucket.tokens = bucket.burst();
        bucket
    }

    fn burst(&self) -> i128 {
        i128::from(self.rate.unwrap_or(0)) * BURST.as_nanos() as i128
    }

    fn fill(&mut self, now: Moment) {
        let Some(rate) = self.rate else { return };
        let elapsed = now.since(self.filled_at).as_nanos() as i128;
        self.tokens = (self.tokens + elapsed * i128::from(rate)).min(self.burst());
        self.filled_at = self.filled_at.max(now);
    }

    pub(super) fn is_open(&mut self, now: Moment) -> bool {
        self.fill(now);
        self.rate.is_none() || self.tokens > 0
    }

    pub(super) fn take(&mut self, bytes: u64) {
        self.tokens -= i128::from(bytes) * NANOS;
    }

    /// After a block turned out smaller than was taken for it, or never left.
    pub(super) fn give_back(&mut self, bytes: u64) {
        self.tokens = (self.tokens + i128::from(bytes) * NANOS).min(self.burst());
    }

    /// When it opens; `None` where it is open already.
    pub(super) fn opens_at(&self) -> Option<Moment> {
        let rate = i128::from(self.rate?);
        if self.tokens > 0 {
            return None;
        }
        let nanos = -self.tokens / rate + 1;
        Some(self.filled_at + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Moment {
        Moment(ms * 1_000_000)
    }

    #[test]
    fn holds_its_rate_whatever_the_size_of_blocks() {
        for block in [50u64, 700, 64 << 10, 3 << 20] {
            let rate = 1_000_000;
            let mut bucket = TokenBucket::new(Some(rate), at(0));
            let (mut now, mut sent) = (at(0), 0);
            while now < at(20_000) {
                if bucket.is_open(now) {
                    bucket.take(block);
                    sent += block;
                    assert!(sent <= rate / 10 + now.0 / 1000 + block, "block of {block}");
                } else {
                    let opens_at = bucket.opens_at().unwrap();
                    assert!(now < opens_at, "would spin");
                    now = opens_at;
                }
            }
            assert!(
                sent + block >= 20_000_000,
                "{sent} bytes in 20 s in blocks of {block}"
            );
        }
    }

    #[test]
    fn gives_back_no_more_than_it_holds() {
        let mut bucket = TokenBucket::new(Some(1000), at(0));
        bucket.give_back(1 << 40);
        bucket.take(101);
        assert!(!bucket.is_open(at(0)));
        assert!(bucket.is_open(at(2)));
        assert_eq!(bucket.opens_at(), None);
    }

    #[test]
    fn no_rate_is_no_limit() {
        let mut bucket = TokenBucket::new(None, at(0));
        bucket.take(u64::MAX);
        assert!(bucket.is_open(at(0)));
        assert_eq!(bucket.opens_at(), None);
    }

    #[test]
    fn time_that_goes_back_gives_nothing() {
        let mut bucket = TokenBucket::new(Some(1000), at(50));
        bucket.take(100);
        assert!(!bucket.is_open(at(0)));
        assert!(!bucket.is_open(at(50)));
        assert!(bucket.is_open(at(51)));
    }
}
