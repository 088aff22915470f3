//! How many bytes topics make: of the last ten seconds, and usually.

use super::Limits;
use super::finding::Found;

const SECONDS: usize = 10;
/// Known after so many seconds.
const KNOWN_AFTER: f64 = 30.0;
/// What is usual follows in about so many seconds, and slowly while a flood lasts.
const FOLLOWS: f64 = 600.0;
const FOLLOWS_FLOOD: f64 = 36_000.0;
/// Of ten seconds: less floods nothing.
const BYTES_MIN: u64 = 64 << 10;
/// Of the limits: where a finding ends.
const ENDS_AT: f64 = 0.5;

#[derive(Debug, Default)]
pub(super) struct Traffic {
    /// The last seconds, in a circle.
    seconds: [u64; SECONDS],
    next: usize,
    sum: u64,
    now: u64,
    /// Of one publisher in this second.
    most: u64,
    loudest: Option<String>,
}

/// As of a tick.
#[derive(Debug)]
pub(super) struct TenSeconds {
    pub(super) sum: u64,
    /// Of the second that is over ten seconds old.
    pub(super) left: u64,
    pub(super) loudest: Option<String>,
}

impl Traffic {
    pub(super) fn add(&mut self, bytes: u64, who: impl FnOnce() -> String) {
        self.now += bytes;
        // A name costs memory: not for every second of every topic.
        if self.most < bytes && BYTES_MIN <= bytes * SECONDS as u64 {
            (self.most, self.loudest) = (bytes, Some(who()));
        }
    }

    pub(super) fn turn(&mut self) -> TenSeconds {
        let (now, left) = (std::mem::take(&mut self.now), self.seconds[self.next]);
        self.seconds[self.next] = now;
        self.next = (self.next + 1) % SECONDS;
        self.sum = self.sum - left + now;
        self.most = 0;
        let loudest = self.loudest.take();
        TenSeconds {
            sum: self.sum,
            left,
            loudest,
        }
    }
}

/// Of a topic, bytes a second.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Usual {
    bytes: f64,
    seconds: f64,
}

impl Usual {
    /// `left`: what is not of the ten seconds that are judged, so that a flood is not taken for usual at once.
    pub(super) fn learn(&mut self, left: u64, is_flooding: bool) {
        self.seconds += 1.0;
        let follows = match is_flooding {
            true => FOLLOWS_FLOOD,
            // The first ten have no second before them.
            false => FOLLOWS.min(self.seconds - SECONDS as f64),
        };
        if follows >= 1.0 {
            self.bytes += (left as f64 - self.bytes) / follows;
        }
    }

    pub(super) fn judge(
        &self,
        ten_seconds: &TenSeconds,
        all: u64,
        is_flooding: bool,
        limits: Limits,
    ) -> Option<Found> {
        let part = if is_flooding { ENDS_AT } else { 1.0 };
        let sum = ten_seconds.sum as f64;
        let share = sum / all.max(1) as f64;
        let usual = self.bytes * SECONDS as f64;
        let is_flood = KNOWN_AFTER <= self.seconds
            && BYTES_MIN <= ten_seconds.sum
            && limits.flood_share * part < share
            && limits.flood_factor * part * usual < sum;
        is_flood.then(|| Found {
            value: share,
            limit: limits.flood_share,
            text: format!(
                "{:.0} % of all bytes of the last {SECONDS} s: {:.1} kB/s, usually {:.1} kB/s",
                share * 100.0,
                sum / SECONDS as f64 / 1e3,
                self.bytes / 1e3
            ),
        })
    }
}
