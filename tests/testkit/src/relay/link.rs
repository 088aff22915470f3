//! What happens to a datagram on one direction of a link. Pure: no sockets, no clock.

use std::time::Duration;

/// One direction of a link. The default is a perfect one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Shape {
    /// Probability, 0 to 1, that a datagram is lost; each by itself.
    pub loss: f64,
    /// Time of flight, one way.
    pub delay: Duration,
    /// A further time, evenly distributed from 0 to this. It does not reorder.
    pub jitter: Duration,
    /// Probability that a datagram arrives twice.
    pub duplicate: f64,
    /// Probability that a datagram is held back by [`reorder_by`](Self::reorder_by) while later ones overtake.
    pub reorder: f64,
    pub reorder_by: Duration,
    /// Bits of payload per second; `None` is no cap.
    pub rate: Option<u64>,
    /// The queue before the cap, in time to drain: what would wait longer is dropped (tail drop). 0 with a cap lets
    /// pass only what finds the link idle.
    pub queue: Duration,
}

impl Shape {
    /// `delay` one way, nothing else.
    pub fn delayed(delay: Duration) -> Self {
        Self {
            delay,
            ..Self::default()
        }
    }
}

/// The decision on one datagram. Times are since whatever the caller counts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Lost,
    /// The queue before the rate cap is full.
    QueueFull,
    Deliver {
        at: Duration,
        /// When the second copy arrives, if there is one.
        again_at: Option<Duration>,
        /// Held back so that later ones overtake.
        held_back: bool,
    },
}

/// One direction with its memory: the seeded randomness, when the rate cap is free again, the last delivery.
#[derive(Debug)]
pub struct Link {
    random: Random,
    free_at: Duration,
    last_at: Duration,
}

impl Link {
    pub fn new(seed: u64) -> Self {
        Self {
            random: Random::new(seed),
            free_at: Duration::ZERO,
            last_at: Duration::ZERO,
        }
    }

    /// Decides on a datagram of `bytes` that arrives at `now`; `now` never runs backwards.
    pub fn admit(&mut self, shape: &Shape, bytes: usize, now: Duration) -> Fate {
        // All dice are thrown for every datagram, so that a change of one probability leaves the others' course alone.
        let [lost, twice, held, late] = std::array::from_fn(|_| self.random.unit());

        // The queue is in front of the line that loses: a lost datagram has used the link.
        let sent_at = match shape.rate {
            None => now,
            Some(rate) => {
                let start = self.free_at.max(now);
                if start - now > shape.queue {
                    return Fate::QueueFull;
                }
                self.free_at =
                    start + Duration::from_secs_f64(bytes as f64 * 8.0 / rate.max(1) as f64);
                self.free_at
            }
        };
        if lost < shape.loss {
            return Fate::Lost;
        }
        let flight = shape.delay + shape.jitter.mul_f64(late);
        if held < shape.reorder {
            let at = sent_at + flight + shape.reorder_by;
            return Fate::Deliver {
                at,
                again_at: None,
                held_back: true,
            };
        }
        let at = (sent_at + flight).max(self.last_at);
        self.last_at = at;
        Fate::Deliver {
            at,
            again_at: (twice < shape.duplicate).then_some(at),
            held_back: false,
        }
    }
}

/// SplitMix64: tiny, seeded, good enough for dice.
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// 0 to just below 1.
    fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        (z >> 11) as f64 / (1_u64 << 53) as f64
    }
}
