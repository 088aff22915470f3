//! Sorting many columns at once: the comparisons do not depend on the values, so that each is done for all columns.

/// Columns side by side in one row of a tile.
pub(crate) const LANES: usize = 8;

/// Of one row, a value of each column.
pub(crate) type Row = [f64; LANES];

/// Batcher's merge exchange for any number of rows (Knuth, The Art of Computer Programming 3, algorithm 5.2.2M), kept
/// for the number of rows that came last.
#[derive(Clone, Debug, Default)]
pub(crate) struct Network {
    rows: usize,
    pairs: Vec<(u16, u16)>,
}

impl Network {
    /// The pairs are as many as n log² n / 4; above this selecting in each column is faster.
    pub(crate) const ROWS_MAX: usize = 512;

    /// Sorts each column, ascending. A column with a NaN ends in some order of its values; the others are not touched by it.
    pub(crate) fn sort(&mut self, tile: &mut [Row]) {
        debug_assert!(tile.len() <= Self::ROWS_MAX);
        if self.rows != tile.len() {
            self.rows = tile.len();
            self.pairs = pairs(tile.len());
        }
        for &(low, high) in &self.pairs {
            let (low, high) = (usize::from(low), usize::from(high));
            let (before, from_high) = tile.split_at_mut(high);
            exchange(&mut before[low], &mut from_high[0]);
        }
    }
}

/// On copies, and each half by itself: compiles to minima and maxima of as many columns as a register holds.
#[inline]
fn exchange(low: &mut Row, high: &mut Row) {
    let (a, b) = (*low, *high);
    for lane in 0..LANES {
        low[lane] = if b[lane] < a[lane] { b[lane] } else { a[lane] };
    }
    for lane in 0..LANES {
        high[lane] = if a[lane] > b[lane] { a[lane] } else { b[lane] };
    }
}

fn pairs(rows: usize) -> Vec<(u16, u16)> {
    let mut pairs = Vec::new();
    if rows < 2 {
        return pairs;
    }
    let top = rows.next_power_of_two() / 2;
    let mut p = top;
    while p > 0 {
        let (mut q, mut r, mut d) = (top, 0, p);
        loop {
            let chosen = (0..rows - d).filter(|i| i & p == r);
            pairs.extend(chosen.map(|i| (i as u16, (i + d) as u16)));
            if q == p {
                break;
            }
            (d, r, q) = (q - p, p, q / 2);
        }
        p /= 2;
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The zero-one principle: a network that sorts every sequence of zeros and ones sorts everything.
    #[test]
    fn every_network_sorts_zeros_and_ones() {
        let mut network = Network::default();
        for rows in 1..=16usize {
            for bits in 0..1u32 << rows {
                let value = |row: usize| f64::from(bits >> row & 1);
                let mut tile: Vec<Row> = (0..rows).map(|row| [value(row); LANES]).collect();
                network.sort(&mut tile);
                assert!(tile.is_sorted(), "{rows} rows, {bits:b}");
                let ones = tile.iter().filter(|row| row[0] == 1.0).count();
                assert_eq!(ones, bits.count_ones() as usize);
            }
        }
    }

    #[test]
    fn large_networks_sort_steps_and_noise() {
        let mut network = Network::default();
        for rows in (17..=Network::ROWS_MAX).step_by(13) {
            for step in 0..rows {
                // A step down at each place, noise, and a NaN in the last column, which is nobody else's.
                let noise = |row: usize| ((row * 7919 + step * 104_729) % 1009) as f64;
                let mut tile: Vec<Row> = (0..rows)
                    .map(|row| {
                        let mut all = [noise(row); LANES];
                        all[0] = f64::from(u8::from(row < step));
                        all[LANES - 1] = if row == step { f64::NAN } else { noise(row) };
                        all
                    })
                    .collect();
                let mut expected: Vec<f64> = (0..rows).map(noise).collect();
                expected.sort_by(f64::total_cmp);
                network.sort(&mut tile);
                assert!(
                    tile.is_sorted_by_key(|row| row[0]),
                    "{rows} rows, step {step}"
                );
                let sorted: Vec<f64> = tile.iter().map(|row| row[1]).collect();
                assert_eq!(sorted, expected);
            }
        }
    }
}
