//! Statistics of many columns at once: eight columns of a window are a tile that stays in the processor's nearest cache.
//! What a column of ordinary numbers needs is done for all eight together; a column with NaN, infinities, or very large or
//! small values is done by itself.

use crate::network::{LANES, Network, Row};
use crate::summary::{Quartiles, Summary};

/// Squares of these neither overflow nor lose their digits.
const ORDINARY: std::ops::RangeInclusive<f64> = 1e-140..=1e150;
/// Squares are summed by parts: the error grows with a part's length, not with the window's.
const PART: usize = 128;

/// Memory for the work, kept from window to window.
#[derive(Clone, Debug, Default)]
pub struct Kernel {
    tile: Vec<Row>,
    network: Network,
    /// Of one column.
    values: Vec<f64>,
}

impl Kernel {
    pub fn new() -> Self {
        Self::default()
    }

    /// Summaries of `width` columns, appended to `out`. `rows`: `width` values a row, the rows ascending by event time.
    ///
    /// # Panics
    /// If `rows` is not a whole number of rows.
    pub fn rows(&mut self, rows: &[f64], width: usize, out: &mut Vec<Summary>) {
        let Some(count) = rows.len().checked_div(width) else {
            assert!(rows.is_empty(), "values, and no columns");
            return;
        };
        assert_eq!(count * width, rows.len(), "whole rows of {width} values");
        for begin in (0..width).step_by(LANES) {
            let lanes = LANES.min(width - begin);
            self.tile.clear();
            self.tile.extend(rows.chunks_exact(width).map(|row| {
                let mut all = [0.0; LANES];
                all[..lanes].copy_from_slice(&row[begin..begin + lanes]);
                all
            }));
            self.summarise(lanes, out);
        }
    }

    /// As [`Self::rows`], of columns that lie apart.
    ///
    /// # Panics
    /// If the columns are not of one length.
    pub fn columns(&mut self, columns: &[&[f64]], out: &mut Vec<Summary>) {
        for group in columns.chunks(LANES) {
            let count = group.first().map_or(0, |column| column.len());
            self.tile.clear();
            self.tile.resize(count, [0.0; LANES]);
            for (lane, column) in group.iter().enumerate() {
                assert_eq!(column.len(), count, "columns of one length");
                for (row, value) in self.tile.iter_mut().zip(*column) {
                    row[lane] = *value;
                }
            }
            self.summarise(group.len(), out);
        }
    }

    /// Of the tile's first `lanes` columns.
    fn summarise(&mut self, lanes: usize, out: &mut Vec<Summary>) {
        let (Some(first), Some(last)) = (self.tile.first().copied(), self.tile.last().copied())
        else {
            return out.extend((0..lanes).map(|_| Summary::empty(0)));
        };
        let rows = self.tile.len();
        let begin = out.len();
        let moments = Moments::of(&self.tile);
        out.extend((0..lanes).map(|lane| Summary {
            count: rows as u64,
            nan_count: 0,
            min: f64::NAN,
            max: f64::NAN,
            mean: moments.mean[lane],
            spread: moments.spread[lane],
            first: first[lane],
            last: last[lane],
            quartiles: None,
        }));
        let is_ordinary = |lane: &usize| moments.is_ordinary(*lane);
        for lane in (0..lanes).filter(|lane| !is_ordinary(lane)) {
            self.values.clear();
            self.values.extend(self.tile.iter().map(|row| row[lane]));
            out[begin + lane] = alone(&mut self.values);
        }
        let is_network = rows <= Network::ROWS_MAX;
        if is_network && (0..lanes).any(|lane| is_ordinary(&lane)) {
            self.network.sort(&mut self.tile);
        }
        for lane in (0..lanes).filter(is_ordinary) {
            let summary = &mut out[begin + lane];
            let column = |row: usize| self.tile[row][lane];
            if is_network {
                (summary.min, summary.max) = (column(0) + 0.0, column(rows - 1) + 0.0);
                summary.quartiles = Some(Quartiles::of(rows, column));
            } else {
                self.values.clear();
                self.values.extend(self.tile.iter().map(|row| row[lane]));
                order(&mut self.values, summary);
            }
            // What is the mean of equal values is one of them.
            summary.mean = summary.mean.clamp(summary.min, summary.max) + 0.0;
        }
    }
}

/// Mean and spread of each column of a tile.
struct Moments {
    sum: Row,
    /// The largest absolute value.
    magnitude: Row,
    mean: Row,
    spread: Row,
}

impl Moments {
    fn of(tile: &[Row]) -> Self {
        let (mut sum, mut error, mut magnitude) = ([0.0; LANES], [0.0; LANES], [0.0f64; LANES]);
        for row in tile {
            for lane in 0..LANES {
                // What is lost by the addition is exact (Knuth's TwoSum), and without a branch.
                let (value, before) = (row[lane], sum[lane]);
                let after = before + value;
                let added = after - before;
                error[lane] += (before - (after - added)) + (value - added);
                sum[lane] = after;
                let (size, largest) = (value.abs(), magnitude[lane]);
                magnitude[lane] = if size > largest { size } else { largest };
            }
        }
        let count = tile.len() as f64;
        let mut mean = [0.0; LANES];
        for lane in 0..LANES {
            mean[lane] = (sum[lane] + error[lane]) / count;
        }
        let (mut squares, mut rest) = ([0.0; LANES], [0.0; LANES]);
        for part in tile.chunks(PART) {
            let mut of_part = [0.0; LANES];
            for row in part {
                for lane in 0..LANES {
                    let deviation = row[lane] - mean[lane];
                    rest[lane] += deviation;
                    of_part[lane] += deviation * deviation;
                }
            }
            for lane in 0..LANES {
                squares[lane] += of_part[lane];
            }
        }
        let mut spread = [0.0; LANES];
        for lane in 0..LANES {
            // The mean is rounded; what the deviations sum up to tells by how much.
            let corrected = squares[lane] - rest[lane] * rest[lane] / count;
            spread[lane] = (corrected.max(0.0) / count).sqrt();
        }
        Self {
            sum,
            magnitude,
            mean,
            spread,
        }
    }

    fn is_ordinary(&self, lane: usize) -> bool {
        let magnitude = self.magnitude[lane];
        self.sum[lane].is_finite() && (magnitude == 0.0 || ORDINARY.contains(&magnitude))
    }
}

/// Of one column, whatever is in it.
fn alone(values: &mut Vec<f64>) -> Summary {
    let all = values.len();
    values.retain(|value| !value.is_nan());
    let nan_count = (all - values.len()) as u64;
    let (Some(&first), Some(&last)) = (values.first(), values.last()) else {
        return Summary::empty(nan_count);
    };
    let magnitude = values
        .iter()
        .fold(0.0f64, |max, value| max.max(value.abs()));
    let (mean, spread) = if magnitude.is_finite() {
        // Exact but where a value vanishes beside the largest.
        let exponent = exponent(magnitude);
        let tile: Vec<Row> = values
            .iter()
            .map(|&value| [scale(value, -exponent); LANES])
            .collect();
        let moments = Moments::of(&tile);
        (
            scale(moments.mean[0], exponent),
            scale(moments.spread[0], exponent),
        )
    } else {
        (values.iter().sum(), f64::NAN)
    };
    let mut summary = Summary {
        count: values.len() as u64,
        mean,
        spread,
        first,
        last,
        ..Summary::empty(nan_count)
    };
    order(values, &mut summary);
    if mean.is_finite() {
        summary.mean = mean.clamp(summary.min, summary.max) + 0.0;
    }
    summary
}

/// Minimum, maximum and quartiles of values without NaN, which change places.
fn order(values: &mut [f64], summary: &mut Summary) {
    let fold = |(min, max): (f64, f64), &value: &f64| (value.min(min), value.max(max));
    let (min, max) = values.iter().fold((f64::INFINITY, f64::NEG_INFINITY), fold);
    (summary.min, summary.max) = (min + 0.0, max + 0.0);
    summary.quartiles = Some(Quartiles::of(values.len(), |index| {
        *values.select_nth_unstable_by(index, f64::total_cmp).1
    }));
}

/// `e` such that the value is less than 2^e and not much smaller; 0 of 0.
fn exponent(value: f64) -> i32 {
    const BIAS: i32 = 1022;
    // A subnormal number has no exponent of its own.
    let (value, shifted) = if value < f64::MIN_POSITIVE {
        (value * power(54), 54)
    } else {
        (value, 0)
    };
    if value == 0.0 {
        return 0;
    }
    (value.to_bits() >> 52 & 0x7ff) as i32 - BIAS - shifted
}

/// value · 2^exponent, in two steps: neither of them leaves what a number can be.
fn scale(value: f64, exponent: i32) -> f64 {
    let half = exponent / 2;
    value * power(half) * power(exponent - half)
}

/// 2^exponent, for the exponents of normal numbers.
fn power(exponent: i32) -> f64 {
    f64::from_bits(((exponent + 1023) as u64) << 52)
}
