//! Windows of some channels of a series as one value in a tier's file: the unit that is read and checked.
//!
//! Layout, little-endian, varints LEB128: windows `n`, channels `c`, the statistics that are there (bits); `n` window
//! indices as varint steps, counted from the begin of the file's span; `n` row counts; 0, or `n` and as many commits that
//! the windows came with, as varints: these three in a zstd frame behind its length where a bit says so; for each statistic
//! the length of a zstd frame and the frame, which holds `c` columns of `n` values; the XXH3 (64 bits) of all before it,
//! and of the key.

use std::collections::BTreeMap;
use std::fmt;

use efd_shared_model::bytes::{ByteError, Reader, Writer};
use efd_shared_stats::{Quartiles, Summary};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::column::{Packing, columns_bytes_max, decode_columns, encode_columns};
use crate::statistic::{Statistic, Statistics};

/// Of a row as it is committed: a few windows of so many channels are compressed together.
pub(crate) const CHANNELS_MAX: usize = 128;
pub(crate) const WINDOWS_MAX: usize = 1 << 16;
/// zstd: of planes a quick one; packed numbers leave nothing to find.
const LEVEL: i32 = 1;
const SUM_BYTES: usize = 8;
const MERGED_BITS: u32 = 42;
/// Beside the bits of the statistics.
const PACKED: u64 = 1 << 15;
/// Of a window's index, rows and commit, as varints.
const WHICH_BYTES_MAX: usize = 5 + 10 + 5;

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Piece {
    /// Which windows, counted from the begin of the file's span; ascending.
    pub(crate) windows: Vec<u32>,
    /// Samples in each window.
    pub(crate) rows: Vec<u64>,
    /// Of a settled piece that tells it: the commit that each window came with.
    pub(crate) origins: Vec<u32>,
    pub(crate) channels: usize,
    /// By [`Statistic`]; a column of each channel, one after the other. `None`: not there, or not wanted.
    columns: [Option<Vec<f64>>; Statistic::ALL.len()],
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PieceError {
    #[error("the checksum is not that of the bytes")]
    Checksum,
    #[error(transparent)]
    Bytes(#[from] ByteError),
    #[error("the frame of windows, rows and commits: {0}")]
    Which(String),
    #[error("the frame of {statistic}: {reason}")]
    Frame {
        statistic: Statistic,
        reason: String,
    },
}

impl Piece {
    /// `summaries`: of each channel, its windows one after the other.
    pub(crate) fn new(
        windows: Vec<u32>,
        rows: Vec<u64>,
        summaries: &[Summary],
        kept: Statistics,
    ) -> Self {
        let columns = Statistic::ALL.map(|statistic| {
            let column = || {
                summaries
                    .iter()
                    .map(|summary| statistic.of(summary))
                    .collect()
            };
            kept.has(statistic).then(column)
        });
        Self {
            channels: summaries.len() / windows.len().max(1),
            windows,
            rows,
            origins: Vec::new(),
            columns,
        }
    }

    /// One channel out of pieces that each have it, with all their windows. `None` of none.
    pub(crate) fn merged<'a>(sources: impl Iterator<Item = (&'a Self, usize)>) -> Option<Self> {
        let newest = newest(sources);
        if newest.is_empty() {
            return None;
        }
        let columns = Statistic::ALL.map(|statistic| {
            let mut is_there = false;
            let column = newest.values().map(|&(piece, channel, index)| {
                let column = piece.column(statistic, channel);
                is_there |= column.is_some();
                column.map_or(f64::NAN, |column| column[index])
            });
            let column: Vec<f64> = column.collect();
            is_there.then_some(column)
        });
        let rows = newest.values().map(|&(piece, _, index)| piece.rows[index]);
        Some(Self {
            rows: rows.collect(),
            windows: newest.into_keys().collect(),
            origins: Vec::new(),
            channels: 1,
            columns,
        })
    }

    pub(crate) fn column(&self, statistic: Statistic, channel: usize) -> Option<&[f64]> {
        let column = self.columns[statistic as usize].as_ref()?;
        let length = self.windows.len();
        column.get(channel * length..(channel + 1) * length)
    }

    /// Of a piece that was read whole.
    pub(crate) fn summary(&self, channel: usize, window: usize) -> Summary {
        let value = |statistic: Statistic| {
            let column = self.column(statistic, channel);
            column.map_or(f64::NAN, |column| column[window])
        };
        let nan_count = value(Statistic::NanCount) as u64;
        let (q1, median, q3) = (
            value(Statistic::Q1),
            value(Statistic::Median),
            value(Statistic::Q3),
        );
        let is_there = !(q1.is_nan() && median.is_nan() && q3.is_nan());
        Summary {
            count: self.rows[window].saturating_sub(nan_count),
            nan_count,
            min: value(Statistic::Min),
            max: value(Statistic::Max),
            mean: value(Statistic::Mean),
            spread: value(Statistic::Spread),
            first: value(Statistic::First),
            last: value(Statistic::Last),
            quartiles: is_there.then_some(Quartiles { q1, median, q3 }),
        }
    }

    /// Mean and spread of windows without quartiles, to [`MERGED_BITS`]: a relative error of 2⁻⁴² (2.3e-13), where each
    /// merge of windows may make one of 1e-15. The bits that are left out would be a fifth of a file.
    pub(crate) fn round_merged(&mut self) {
        let length = self.windows.len() * self.channels;
        let quartiles = [Statistic::Q1, Statistic::Median, Statistic::Q3];
        let quartiles = quartiles.map(|one| self.columns[one as usize].as_deref());
        let has_quartiles = |index: usize| {
            let mut all = quartiles.iter().flatten();
            all.any(|column| !column[index].is_nan())
        };
        let is_merged: Vec<bool> = (0..length).map(|index| !has_quartiles(index)).collect();
        let [_, min, max, mean, spread, ..] = &mut self.columns;
        let merged = |index: &usize| is_merged[*index];
        if let Some(spread) = spread {
            for index in (0..length).filter(merged) {
                spread[index] = round(spread[index]);
            }
        }
        if let (Some(min), Some(max), Some(mean)) = (min, max, mean) {
            for index in (0..length).filter(merged) {
                // No mean is beyond what occurred, and that of a constant is the constant. Of infinities there is none.
                if mean[index].is_finite() {
                    mean[index] = round(mean[index]).max(min[index]).min(max[index]);
                }
            }
        }
    }

    pub(crate) fn kept(&self) -> Statistics {
        let is_kept = |one: &Statistic| self.columns[*one as usize].is_some();
        Statistic::ALL.into_iter().filter(is_kept).collect()
    }

    /// `key` is where it will be found.
    pub(crate) fn encode(&self, key: u64, packing: Packing) -> Result<Vec<u8>, PieceError> {
        let length = self.windows.len();
        let mut out = Writer::new();
        out.varint(length as u64);
        out.varint(self.channels as u64);
        let kept = u64::from(self.kept().bits());
        match packing {
            Packing::Quick => {
                out.varint(kept);
                out.raw(&self.which());
            }
            Packing::Small => {
                out.varint(kept | PACKED);
                let frame = zstd::bulk::compress(&self.which(), LEVEL);
                out.blob(&frame.map_err(|error| PieceError::Which(error.to_string()))?);
            }
        }
        let mut planes = Vec::new();
        for statistic in Statistic::ALL {
            if let Some(column) = &self.columns[statistic as usize] {
                planes.clear();
                let failed = |error: &dyn fmt::Display| PieceError::Frame {
                    statistic,
                    reason: error.to_string(),
                };
                encode_columns(column, length, packing, &mut planes).map_err(|it| failed(&it))?;
                let frame = zstd::bulk::compress(&planes, LEVEL);
                out.blob(&frame.map_err(|it| failed(&it))?);
            }
        }
        out.u64(xxh3_64_with_seed(out.as_bytes(), key));
        Ok(out.into_bytes())
    }

    /// Windows, rows and commits.
    fn which(&self) -> Vec<u8> {
        let mut out = Writer::new();
        let mut before = 0;
        for &window in &self.windows {
            out.varint(u64::from(window - before));
            before = window;
        }
        for &rows in &self.rows {
            out.varint(rows);
        }
        out.varint(self.origins.len() as u64);
        for &commit in &self.origins {
            out.varint(commit.into());
        }
        out.into_bytes()
    }

    /// Only the `wanted` statistics are decompressed.
    pub(crate) fn decode(bytes: &[u8], key: u64, wanted: Statistics) -> Result<Self, PieceError> {
        let body = bytes
            .len()
            .checked_sub(SUM_BYTES)
            .ok_or(PieceError::Checksum)?;
        let (body, sum) = bytes.split_at(body);
        if xxh3_64_with_seed(body, key).to_le_bytes() != *sum {
            return Err(PieceError::Checksum);
        }
        let mut reader = Reader::new(body);
        let length = reader.count("windows", WINDOWS_MAX)?;
        let channels = reader.count("channels", CHANNELS_MAX)?;
        if length == 0 {
            return Err(reader.invalid("number of windows").into());
        }
        let bits = reader.varint()?;
        let kept = Statistics::from_bits(bits & !PACKED);
        let kept = kept.ok_or_else(|| reader.invalid("statistics"))?;
        let which = if bits & PACKED == 0 {
            take_which(&mut reader, length)?
        } else {
            let frame = reader.blob("bytes of a frame", body.len())?;
            let bytes = zstd::bulk::decompress(frame, WHICH_BYTES_MAX * (length + 1))
                .map_err(|error| PieceError::Which(error.to_string()))?;
            let mut inner = Reader::new(&bytes);
            let which = take_which(&mut inner, length)?;
            inner.finish()?;
            which
        };
        let mut columns = [const { None }; Statistic::ALL.len()];
        for statistic in Statistic::ALL.into_iter().filter(|&one| kept.has(one)) {
            let frame = reader.blob("bytes of a frame", body.len())?;
            if wanted.has(statistic) {
                columns[statistic as usize] =
                    Some(frame_columns(statistic, frame, channels, length)?);
            }
        }
        reader.finish()?;
        let Which {
            windows,
            rows,
            origins,
        } = which;
        Ok(Self {
            windows,
            rows,
            origins,
            channels,
            columns,
        })
    }
}

/// As in a [`Piece`].
struct Which {
    windows: Vec<u32>,
    rows: Vec<u64>,
    origins: Vec<u32>,
}

/// What [`Piece::which`] wrote of so many windows.
fn take_which(reader: &mut Reader<'_>, length: usize) -> Result<Which, ByteError> {
    let mut windows = Vec::with_capacity(length);
    let mut window = 0u64;
    for index in 0..length {
        let step = reader.varint()?;
        window = window.saturating_add(step);
        let is_next = index == 0 || step > 0;
        let fits = u32::try_from(window).ok().filter(|_| is_next);
        windows.push(fits.ok_or_else(|| reader.invalid("window"))?);
    }
    let rows = (0..length).map(|_| reader.varint());
    let rows = rows.collect::<Result<_, _>>()?;
    let count = reader.count("commits", length)?;
    let mut origins = Vec::with_capacity(count);
    for _ in 0..count {
        let commit = u32::try_from(reader.varint()?);
        origins.push(commit.map_err(|_| reader.invalid("commit"))?);
    }
    if !origins.is_empty() && origins.len() != length {
        return Err(reader.invalid("number of commits"));
    }
    Ok(Which {
        windows,
        rows,
        origins,
    })
}

/// Pieces that have a channel, and where in each it is; those that win come last.
pub(crate) fn sources<'a>(
    settled: Option<&'a Piece>,
    rows: impl IntoIterator<Item = &'a Piece>,
    channel: usize,
) -> impl Iterator<Item = (&'a Piece, usize)> {
    let settled = settled.into_iter().map(|piece| (piece, 0));
    settled.chain(rows.into_iter().map(move |piece| (piece, channel)))
}

/// By window: in which piece it is, of that which channel, at which place. Later pieces win.
pub(crate) fn newest<'a>(
    sources: impl Iterator<Item = (&'a Piece, usize)>,
) -> BTreeMap<u32, (&'a Piece, usize, usize)> {
    let mut all = BTreeMap::new();
    for (piece, channel) in sources {
        let windows = piece.windows.iter().enumerate();
        all.extend(windows.map(|(index, &window)| (window, (piece, channel, index))));
    }
    all
}

/// To the nearest number of [`MERGED_BITS`].
fn round(value: f64) -> f64 {
    const LEFT_OUT: u32 = f64::MANTISSA_DIGITS - MERGED_BITS;
    let half = 1u64 << (LEFT_OUT - 1);
    let rounded = f64::from_bits((value.to_bits().wrapping_add(half)) >> LEFT_OUT << LEFT_OUT);
    // The smallest numbers have fewer bits to leave out, the largest would become infinite.
    if value.is_normal() && rounded.is_finite() {
        rounded
    } else {
        value
    }
}

fn frame_columns(
    statistic: Statistic,
    frame: &[u8],
    channels: usize,
    length: usize,
) -> Result<Vec<f64>, PieceError> {
    let bytes_max = columns_bytes_max(channels, length);
    let planes = zstd::bulk::decompress(frame, bytes_max).map_err(|error| PieceError::Frame {
        statistic,
        reason: error.to_string(),
    })?;
    let mut reader = Reader::new(&planes);
    let values = decode_columns(&mut reader, channels, length)?;
    reader.finish()?;
    Ok(values)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn summary() -> impl Strategy<Value = Summary> {
        let quartiles = prop::option::of(any::<[f64; 3]>());
        let numbers = prop_oneof![
            prop::array::uniform6(-1e3..1e3f64),
            prop::array::uniform6(any::<f32>().prop_map(f64::from)),
        ];
        (0..9u64, numbers, quartiles).prop_map(|(nan_count, numbers, quartiles)| {
            let [min, max, mean, spread, first, last] = numbers;
            Summary {
                count: 9 - nan_count,
                nan_count,
                min,
                max,
                mean,
                spread,
                first,
                last,
                quartiles: quartiles.map(|[q1, median, q3]| Quartiles { q1, median, q3 }),
            }
        })
    }

    fn packing() -> impl Strategy<Value = Packing> {
        prop::sample::select(vec![Packing::Quick, Packing::Small])
    }

    fn piece() -> impl Strategy<Value = (Vec<u32>, Vec<Summary>)> {
        let windows = prop::collection::btree_set(0..70_000u32, 1..12);
        (windows, 1..20usize).prop_flat_map(|(windows, channels)| {
            let count = windows.len() * channels;
            let windows: Vec<u32> = windows.into_iter().collect();
            (Just(windows), prop::collection::vec(summary(), count))
        })
    }

    proptest! {
        #[test]
        fn a_piece_comes_back((windows, summaries) in piece(), key in any::<u64>(), bits in 0..1u64 << 10, packing in packing()) {
            let rows = vec![9; windows.len()];
            let piece = Piece::new(windows.clone(), rows, &summaries, Statistics::ALL);
            let bytes = piece.encode(key, packing).unwrap();
            let back = Piece::decode(&bytes, key, Statistics::ALL).unwrap();
            for (index, summary) in summaries.iter().enumerate() {
                let (channel, window) = (index / windows.len(), index % windows.len());
                // NaN is not equal to itself: by its text.
                prop_assert_eq!(format!("{:?}", back.summary(channel, window)), format!("{summary:?}"));
            }
            let wanted = Statistics::from_bits(bits).unwrap();
            let part = Piece::decode(&bytes, key, wanted).unwrap();
            for statistic in Statistic::ALL {
                let whole = back.column(statistic, 0).filter(|_| wanted.has(statistic));
                prop_assert_eq!(format!("{:?}", part.column(statistic, 0)), format!("{whole:?}"));
            }
            prop_assert_eq!(part.kept(), wanted);
            prop_assert_eq!(Piece::decode(&bytes, key ^ 1, wanted), Err(PieceError::Checksum));
        }

        #[test]
        fn every_flipped_bit_is_seen((windows, summaries) in piece(), at in any::<prop::sample::Index>(), bit in 0..8u32, packing in packing()) {
            let rows = vec![9; windows.len()];
            let mut bytes = Piece::new(windows, rows, &summaries, Statistics::ALL).encode(7, packing).unwrap();
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            prop_assert_eq!(Piece::decode(&bytes, 7, Statistics::ALL), Err(PieceError::Checksum));
        }

        #[test]
        fn bytes_with_a_right_checksum_are_a_piece_or_an_error(mut bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let sum = xxh3_64_with_seed(&bytes, 7);
            bytes.extend_from_slice(&sum.to_le_bytes());
            let _either = Piece::decode(&bytes, 7, Statistics::ALL);
        }
    }
}
