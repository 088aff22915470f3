//! How long what went out live took, from its commit at the edge to the acknowledgement: durable in the central log.

use std::time::Duration;

const MILLIS: [u64; 14] = [
    20, 50, 100, 150, 200, 250, 300, 400, 500, 700, 1000, 1500, 2000, 5000,
];

/// Blocks by delay; monotonic, over all connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LiveDelays {
    counts: [u64; MILLIS.len() + 1],
}

impl LiveDelays {
    pub(super) fn note(&mut self, delay: Duration) {
        let place = MILLIS.partition_point(|&bound| Duration::from_millis(bound) < delay);
        if let Some(count) = self.counts.get_mut(place) {
            *count += 1;
        }
    }

    /// How many took no longer than each bound, and how many there are.
    pub fn within(&self) -> impl Iterator<Item = (Option<Duration>, u64)> {
        let bounds = MILLIS
            .iter()
            .map(|&bound| Some(Duration::from_millis(bound)));
        let sums = self.counts.iter().scan(0, |sum, count| {
            *sum += count;
            Some(*sum)
        });
        bounds.chain([None]).zip(sums)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_counted_in_all_bounds_that_it_keeps() {
        let mut delays = LiveDelays::default();
        for millis in [0, 20, 21, 1000, 9999] {
            delays.note(Duration::from_millis(millis));
        }
        let within: Vec<_> = delays.within().collect();
        assert_eq!(within[0], (Some(Duration::from_millis(20)), 2));
        assert_eq!(within[1].1, 3);
        assert_eq!(within[10], (Some(Duration::from_millis(1000)), 4));
        assert_eq!(within[MILLIS.len()], (None, 5));
    }
}
