//! Numbers of one kind as bytes: what is committed lies in planes of equal weight, which zstd finds quickly; what is kept for
//! long is packed by Pcodec (Loncaric, Jeppesen and Zinberg 2025), close to what the noise in it has of information.

use efd_shared_model::bytes::{ByteError, Reader, Writer};
use pco::ChunkConfig;
use pco::data_types::Number;
use pco::errors::PcoError;
use pco::standalone::{simple_compress, simple_decompress_into};

/// Of Pcodec: what more finds is below a per cent.
const PACKED_LEVEL: usize = 8;

/// What a column's bytes are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Packing {
    /// To be written at once, and again when their file is settled.
    Quick,
    /// To be kept: half as quick and a fifth smaller.
    Small,
}

/// How a column is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Form {
    /// All values have the same bits, which are written once.
    Constant = 0,
    /// Each value is what an `f32` can be: four planes.
    Narrow = 1,
    /// As `Narrow`, the steps from value to value.
    NarrowSteps = 2,
    /// Eight planes.
    Wide = 3,
    WideSteps = 4,
    /// `f32`s, a length and as many bytes of Pcodec.
    NarrowPacked = 5,
    /// As `NarrowPacked`, of `f64`s.
    WidePacked = 6,
}

impl Form {
    fn read(reader: &mut Reader<'_>) -> Result<Self, ByteError> {
        match reader.u8()? {
            0 => Ok(Self::Constant),
            1 => Ok(Self::Narrow),
            2 => Ok(Self::NarrowSteps),
            3 => Ok(Self::Wide),
            4 => Ok(Self::WideSteps),
            5 => Ok(Self::NarrowPacked),
            6 => Ok(Self::WidePacked),
            _ => Err(reader.invalid("form of a column")),
        }
    }
}

/// Whether all of it survives as `f32`.
fn is_narrow(values: &[f64]) -> bool {
    let survives = |value: &f64| f64::from(*value as f32).to_bits() == value.to_bits();
    values.iter().all(survives)
}

/// What [`encode_columns`] makes of so many is never longer.
pub(crate) fn columns_bytes_max(columns: usize, length: usize) -> usize {
    // Of each of two parts: its form, and what is around packed numbers that cannot be packed.
    const AROUND: usize = 256;
    columns.div_ceil(8) + columns * length * 8 + 2 * AROUND
}

/// Columns of `length` values each, one after the other. Those that are narrow lie together, and so do the others.
pub(crate) fn encode_columns(
    values: &[f64],
    length: usize,
    packing: Packing,
    out: &mut Vec<u8>,
) -> Result<(), PcoError> {
    let mut parts = [Vec::new(), Vec::new()];
    for group in values.chunks(length * 8) {
        let mut wide = 0u8;
        for (index, column) in group.chunks(length).enumerate() {
            let is_wide = !is_narrow(column);
            wide |= u8::from(is_wide) << index;
            parts[usize::from(is_wide)].extend_from_slice(column);
        }
        out.push(wide);
    }
    parts.iter().try_for_each(|part| encode(part, packing, out))
}

/// `columns` columns of `length` values, as [`encode_columns`] wrote them.
pub(crate) fn decode_columns(
    reader: &mut Reader<'_>,
    columns: usize,
    length: usize,
) -> Result<Vec<f64>, ByteError> {
    let marks = reader.take(columns.div_ceil(8))?.to_vec();
    let is_wide = |column: usize| marks[column / 8] >> (column % 8) & 1 == 1;
    let wide = (0..columns).filter(|&column| is_wide(column)).count();
    let narrow = decode(reader, (columns - wide) * length)?;
    let wide = decode(reader, wide * length)?;
    let (mut narrow, mut wide) = (narrow.chunks(length), wide.chunks(length));
    let mut all = Vec::with_capacity(columns * length);
    for column in 0..columns {
        let next = if is_wide(column) {
            wide.next()
        } else {
            narrow.next()
        };
        all.extend_from_slice(next.unwrap_or_default());
    }
    Ok(all)
}

fn encode(values: &[f64], packing: Packing, out: &mut Vec<u8>) -> Result<(), PcoError> {
    let Some(&first) = values.first() else {
        return Ok(());
    };
    if values
        .iter()
        .all(|value| value.to_bits() == first.to_bits())
    {
        out.push(Form::Constant as u8);
        out.extend_from_slice(&first.to_le_bytes());
        return Ok(());
    }
    let is_narrow = is_narrow(values);
    match packing {
        Packing::Quick => put_quick(values, is_narrow, out),
        Packing::Small if is_narrow => {
            let values: Vec<f32> = values.iter().map(|&value| value as f32).collect();
            put_packed(Form::NarrowPacked, &values, out)?;
        }
        Packing::Small => put_packed(Form::WidePacked, values, out)?,
    }
    Ok(())
}

fn put_packed<T: Number>(form: Form, values: &[T], out: &mut Vec<u8>) -> Result<(), PcoError> {
    let config = ChunkConfig::default().with_compression_level(PACKED_LEVEL);
    let mut writer = Writer::new();
    writer.u8(form as u8);
    writer.blob(&simple_compress(values, &config)?);
    out.extend_from_slice(writer.as_bytes());
    Ok(())
}

fn take_packed<T: Number + Default>(
    reader: &mut Reader<'_>,
    count: usize,
) -> Result<Vec<T>, ByteError> {
    let bytes = reader.blob("bytes of packed numbers", reader.remaining())?;
    let mut values = vec![T::default(); count];
    match simple_decompress_into(bytes, &mut values) {
        Ok(progress) if progress.finished && progress.n_processed == count => Ok(values),
        Ok(_) | Err(_) => Err(reader.invalid("packed numbers")),
    }
}

fn put_quick(values: &[f64], is_narrow: bool, out: &mut Vec<u8>) {
    if is_narrow {
        let bits = values.iter().map(|&value| (value as f32).to_bits());
        let steps = || steps(bits.clone().map(|bits| order_narrow(bits).into()));
        if bits_from_first(bits.clone().map(u64::from)) <= bits_of(steps()) {
            out.push(Form::Narrow as u8);
            put_planes::<4>(bits.map(u32::to_le_bytes), out);
        } else {
            out.push(Form::NarrowSteps as u8);
            // Ordered numbers of 32 bits differ by 33: the step wraps, and so does the way back.
            put_planes::<4>(
                steps().map(|step| zigzag_narrow(step as i32).to_le_bytes()),
                out,
            );
        }
    } else {
        let bits = values.iter().map(|value| value.to_bits());
        let steps = || steps(bits.clone().map(order_wide));
        if bits_from_first(bits.clone()) <= bits_of(steps()) {
            out.push(Form::Wide as u8);
            put_planes::<8>(bits.map(u64::to_le_bytes), out);
        } else {
            out.push(Form::WideSteps as u8);
            put_planes::<8>(steps().map(|step| zigzag(step).to_le_bytes()), out);
        }
    }
}

fn decode(reader: &mut Reader<'_>, count: usize) -> Result<Vec<f64>, ByteError> {
    if count == 0 {
        return Ok(Vec::new());
    }
    let mut narrow_before = 0i32;
    let mut wide_before = 0i64;
    Ok(match Form::read(reader)? {
        Form::Constant => vec![f64::from_le_bytes(reader.array()?); count],
        Form::Narrow => take_planes::<4>(reader, count)?
            .map(|bytes| f32::from_le_bytes(bytes).into())
            .collect(),
        Form::NarrowSteps => take_planes::<4>(reader, count)?
            .map(|bytes| {
                narrow_before =
                    narrow_before.wrapping_add(unzigzag_narrow(u32::from_le_bytes(bytes)));
                f32::from_bits(order_narrow(narrow_before as u32) as u32).into()
            })
            .collect(),
        Form::NarrowPacked => take_packed::<f32>(reader, count)?
            .into_iter()
            .map(f64::from)
            .collect(),
        Form::WidePacked => take_packed(reader, count)?,
        Form::Wide => take_planes::<8>(reader, count)?
            .map(f64::from_le_bytes)
            .collect(),
        Form::WideSteps => take_planes::<8>(reader, count)?
            .map(|bytes| {
                wide_before = wide_before.wrapping_add(unzigzag(u64::from_le_bytes(bytes)));
                f64::from_bits(order_wide(wide_before as u64) as u64)
            })
            .collect(),
    })
}

/// Ascending as the numbers are, and its own inverse: the bits of a negative number count down.
fn order_narrow(bits: u32) -> i32 {
    let bits = bits as i32;
    bits ^ ((bits >> 31) & i32::MAX)
}

fn order_wide(bits: u64) -> i64 {
    let bits = bits as i64;
    bits ^ ((bits >> 63) & i64::MAX)
}

fn steps(ordered: impl Iterator<Item = i64> + Clone) -> impl Iterator<Item = i64> + Clone {
    ordered.scan(0i64, |before, now| {
        Some(now.wrapping_sub(std::mem::replace(before, now)))
    })
}

fn zigzag(step: i64) -> u64 {
    ((step << 1) ^ (step >> 63)) as u64
}

fn unzigzag(bits: u64) -> i64 {
    (bits >> 1) as i64 ^ -((bits & 1) as i64)
}

fn zigzag_narrow(step: i32) -> u32 {
    ((step << 1) ^ (step >> 31)) as u32
}

fn unzigzag_narrow(bits: u32) -> i32 {
    (bits >> 1) as i32 ^ -((bits & 1) as i32)
}

/// Bits that the planes of the values themselves leave to be written, about.
fn bits_from_first(mut bits: impl Iterator<Item = u64>) -> u64 {
    let first = bits.next().unwrap_or_default();
    bits.map(|bits| u64::from(64 - (bits ^ first).leading_zeros()))
        .sum()
}

/// As [`bits_from_first`], of the steps; the first is no step.
fn bits_of(steps: impl Iterator<Item = i64>) -> u64 {
    steps
        .skip(1)
        .map(|step| u64::from(64 - zigzag(step).leading_zeros()))
        .sum()
}

fn put_planes<const N: usize>(values: impl Iterator<Item = [u8; N]> + Clone, out: &mut Vec<u8>) {
    for plane in 0..N {
        out.extend(values.clone().map(|value| value[plane]));
    }
}

fn take_planes<'a, const N: usize>(
    reader: &mut Reader<'a>,
    count: usize,
) -> Result<impl Iterator<Item = [u8; N]> + use<'a, N>, ByteError> {
    let planes = reader.take(count.saturating_mul(N))?;
    Ok((0..count).map(move |index| std::array::from_fn(|plane| planes[plane * count + index])))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn value() -> impl Strategy<Value = f64> {
        prop_oneof![
            any::<f64>(),
            any::<f32>().prop_map(f64::from),
            (-1000..1000i64).prop_map(|value| value as f64),
            prop::sample::select(vec![
                0.0,
                -0.0,
                f64::NAN,
                f64::INFINITY,
                f64::MIN,
                f64::MAX,
                5e-324
            ]),
        ]
    }

    fn bits(values: &[f64]) -> Vec<u64> {
        values.iter().map(|value| value.to_bits()).collect()
    }

    proptest! {
        #[test]
        fn columns_come_back_to_the_bit(
            columns in (1..20usize, 1..40usize).prop_flat_map(|(columns, length)| {
                let column = prop_oneof![
                    prop::collection::vec(value(), length),
                    any::<f32>().prop_map(move |it| vec![f64::from(it); length]),
                    (any::<f32>(), prop::collection::vec(-1.0..1.0f32, length))
                        .prop_map(|(base, noise)| noise.iter().map(|it| f64::from(base + it)).collect::<Vec<_>>()),
                    (any::<i32>(), prop::collection::vec(0..9i32, length))
                        .prop_map(|(base, noise)| noise.iter().map(|it| f64::from(base) + 0.1 * f64::from(*it)).collect()),
                ];
                prop::collection::vec(column, columns)
            }),
            packing in prop::sample::select(vec![Packing::Quick, Packing::Small]),
        ) {
            let length = columns[0].len();
            let all = columns.concat();
            let mut bytes = Vec::new();
            encode_columns(&all, length, packing, &mut bytes).unwrap();
            prop_assert!(bytes.len() <= columns_bytes_max(columns.len(), length));
            let mut reader = Reader::new(&bytes);
            let back = decode_columns(&mut reader, columns.len(), length).unwrap();
            prop_assert_eq!(bits(&back), bits(&all));
            prop_assert!(reader.finish().is_ok());
        }

        #[test]
        fn any_bytes_are_columns_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..300), columns in 0..20usize, length in 1..20usize) {
            if let Ok(values) = decode_columns(&mut Reader::new(&bytes), columns, length) {
                prop_assert_eq!(values.len(), columns * length);
            }
        }
    }

    proptest! {
        /// Bytes that are nearly right come further into the reading than any others.
        #[test]
        fn packed_bytes_with_a_fault_are_columns_or_an_error(
            values in prop::collection::vec(value(), 2..400),
            faults in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
            cut in prop::option::of(any::<prop::sample::Index>()),
        ) {
            let mut bytes = Vec::new();
            encode_columns(&values, values.len(), Packing::Small, &mut bytes).unwrap();
            for (at, byte) in faults {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            if let Some(cut) = cut {
                bytes.truncate(cut.index(bytes.len()));
            }
            if let Ok(back) = decode_columns(&mut Reader::new(&bytes), 1, values.len()) {
                prop_assert_eq!(back.len(), values.len());
            }
        }
    }

    #[test]
    fn order_is_that_of_the_numbers() {
        let numbers = [
            f64::NEG_INFINITY,
            -1e300,
            -1.0,
            -0.0,
            0.0,
            5e-324,
            1.0,
            f64::INFINITY,
        ];
        assert!(numbers.map(|it| order_wide(it.to_bits())).is_sorted());
        assert!(
            numbers
                .map(|it| order_narrow((it as f32).to_bits()))
                .is_sorted()
        );
    }
}
