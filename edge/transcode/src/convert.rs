//! Runs of equal values from CDR to Avro. Loops over whole chunks, so that the compiler vectorises.

use efd_shared_types::sal::Scalar;

use crate::cdr::native;
use crate::error::Cause;

/// Values per chunk: two to four vector registers of input.
const CHUNK: usize = 16;

/// Of a 64-bit number.
pub(crate) const VARINT_BYTES_MAX: usize = 10;

/// What `append` puts behind what `out` holds; nothing on an error.
pub(crate) fn all_or_nothing<T, E>(
    out: &mut Vec<u8>,
    append: impl FnOnce(&mut Vec<u8>) -> Result<T, E>,
) -> Result<T, E> {
    let start = out.len();
    let result = append(out);
    if result.is_err() {
        out.truncate(start);
    }
    result
}

/// A value that Avro cannot hold, by its position in the run.
#[derive(Debug)]
pub(crate) struct BadValue {
    pub index: usize,
    pub cause: Cause,
}

/// `source` holds whole values of `scalar`, which is not text.
#[inline]
pub(crate) fn run<const BE: bool>(
    scalar: Scalar,
    source: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), BadValue> {
    match scalar {
        Scalar::F64 => doubles::<BE>(source, out),
        Scalar::F32 => floats::<BE>(source, out),
        Scalar::Boolean => return booleans(source, out),
        Scalar::I8 => longs(source, out, |value: [u8; 1]| {
            i8::from_ne_bytes(value).into()
        }),
        Scalar::U8 => longs(source, out, |value: [u8; 1]| value[0].into()),
        Scalar::I16 => longs::<2>(source, out, |value| {
            i16::from_ne_bytes(native::<BE, 2>(&value)).into()
        }),
        Scalar::U16 => longs::<2>(source, out, |value| {
            u16::from_ne_bytes(native::<BE, 2>(&value)).into()
        }),
        Scalar::I32 => longs::<4>(source, out, |value| {
            i32::from_ne_bytes(native::<BE, 4>(&value)).into()
        }),
        Scalar::U32 => longs::<4>(source, out, |value| {
            u32::from_ne_bytes(native::<BE, 4>(&value)).into()
        }),
        Scalar::I64 => longs::<8>(source, out, |value| {
            i64::from_ne_bytes(native::<BE, 8>(&value))
        }),
        Scalar::U64 => return unsigned_longs::<BE>(source, out),
        Scalar::Text => debug_assert!(false, "text has no fixed size"),
    }
    Ok(())
}

/// Avro's doubles are little-endian, as CDR's mostly are.
fn doubles<const BE: bool>(source: &[u8], out: &mut Vec<u8>) {
    if !BE {
        return out.extend_from_slice(source);
    }
    let (chunks, rest) = source.as_chunks::<{ 8 * CHUNK }>();
    for chunk in chunks {
        let mut swapped = *chunk;
        swapped
            .as_chunks_mut::<8>()
            .0
            .iter_mut()
            .for_each(|value| value.reverse());
        out.extend_from_slice(&swapped);
    }
    for value in rest.as_chunks::<8>().0 {
        let mut value = *value;
        value.reverse();
        out.extend_from_slice(&value);
    }
}

fn floats<const BE: bool>(source: &[u8], out: &mut Vec<u8>) {
    let (chunks, rest) = source.as_chunks::<{ 4 * CHUNK }>();
    for chunk in chunks {
        let mut wide = [[0_u8; 8]; CHUNK];
        let mut any_nan = false;
        for (wide, value) in wide.iter_mut().zip(chunk.as_chunks::<4>().0) {
            let value = f32::from_ne_bytes(native::<BE, 4>(value));
            any_nan |= value.is_nan();
            *wide = f64::from(value).to_le_bytes();
        }
        // Processors turn a signalling NaN into a quiet one when they widen it.
        if any_nan {
            for (wide, value) in wide.iter_mut().zip(chunk.as_chunks::<4>().0) {
                *wide = widen(f32::from_ne_bytes(native::<BE, 4>(value)));
            }
        }
        out.extend_from_slice(wide.as_flattened());
    }
    for value in rest.as_chunks::<4>().0 {
        out.extend_from_slice(&widen(f32::from_ne_bytes(native::<BE, 4>(value))));
    }
}

/// Exact for every value; of a NaN sign, quiet bit and payload stay.
#[inline(always)]
fn widen(value: f32) -> [u8; 8] {
    if value.is_nan() {
        let bits = u64::from(value.to_bits());
        let (sign, fraction) = (bits >> 31, bits & 0x007f_ffff);
        (sign << 63 | 0x7ff << 52 | fraction << 29).to_le_bytes()
    } else {
        f64::from(value).to_le_bytes()
    }
}

/// How many of the floating-point values in `source` are NaN or infinite: those whose exponent has all bits set.
#[inline]
pub(crate) fn not_finite<const BE: bool>(scalar: Scalar, source: &[u8]) -> u32 {
    const SINGLE: u32 = 0x7f80_0000;
    // Its upper half tells: 32-bit lanes are compared four at once on any processor.
    const DOUBLE: u32 = 0x7ff0_0000;
    if scalar == Scalar::F32 {
        let bits = |value| u32::from_ne_bytes(native::<BE, 4>(value));
        let values = source.as_chunks::<4>().0.iter();
        values
            .map(|value| u32::from(bits(value) & SINGLE == SINGLE))
            .sum()
    } else {
        let upper = |value| (u64::from_ne_bytes(native::<BE, 8>(value)) >> 32) as u32;
        let values = source.as_chunks::<8>().0.iter();
        values
            .map(|value| u32::from(upper(value) & DOUBLE == DOUBLE))
            .sum()
    }
}

fn booleans(source: &[u8], out: &mut Vec<u8>) -> Result<(), BadValue> {
    if source.iter().fold(0, |all, &value| all | value) > 1 {
        let bad = source.iter().enumerate().find(|(_, value)| **value > 1);
        let (index, &value) = bad.unwrap_or((0, &0));
        return Err(BadValue {
            index,
            cause: Cause::Boolean(value),
        });
    }
    out.extend_from_slice(source);
    Ok(())
}

fn unsigned_longs<const BE: bool>(source: &[u8], out: &mut Vec<u8>) -> Result<(), BadValue> {
    let read = |value: &[u8; 8]| u64::from_ne_bytes(native::<BE, 8>(value));
    let mut values = source.as_chunks::<8>().0.iter().map(read).enumerate();
    if let Some((index, value)) = values.find(|(_, value)| i64::try_from(*value).is_err()) {
        return Err(BadValue {
            index,
            cause: Cause::Unsigned(value),
        });
    }
    longs(source, out, |value: [u8; 8]| read(&value).cast_signed());
    Ok(())
}

#[inline(always)]
fn longs<const N: usize>(source: &[u8], out: &mut Vec<u8>, read: impl Fn([u8; N]) -> i64) {
    for values in source.as_chunks::<N>().0.chunks(CHUNK) {
        let mut encoded = [0_u8; CHUNK * VARINT_BYTES_MAX];
        let mut len = 0;
        for value in values {
            len += varint(&mut encoded[len..], read(*value));
        }
        out.extend_from_slice(&encoded[..len]);
    }
}

/// Zigzag, seven bits a byte, the lowest first. Returns how many bytes of `to` it took.
#[inline(always)]
fn varint(to: &mut [u8], value: i64) -> usize {
    let mut rest = (value << 1 ^ value >> 63).cast_unsigned();
    let mut len = 0;
    while rest >= 0x80 {
        to[len] = rest as u8 | 0x80;
        rest >>= 7;
        len += 1;
    }
    to[len] = rest as u8;
    len + 1
}

#[inline(always)]
pub(crate) fn put_long(out: &mut Vec<u8>, value: i64) {
    let mut encoded = [0; VARINT_BYTES_MAX];
    let len = varint(&mut encoded, value);
    out.extend_from_slice(&encoded[..len]);
}

/// A text as it was written: where in `out` it begins (it ends where `out` does), and whether it
/// had to be taken as ISO-8859-1.
pub(crate) struct WrittenText {
    pub start: usize,
    pub is_latin1: bool,
}

#[inline(always)]
pub(crate) fn put_text(out: &mut Vec<u8>, text: &[u8]) -> WrittenText {
    if std::str::from_utf8(text).is_ok() {
        put_long(out, text.len() as i64);
        let start = out.len();
        out.extend_from_slice(text);
        return WrittenText {
            start,
            is_latin1: false,
        };
    }
    put_latin1(out, text)
}

/// Bytes from 0x80 become two.
#[cold]
fn put_latin1(out: &mut Vec<u8>, text: &[u8]) -> WrittenText {
    let high = text.iter().filter(|byte| **byte >= 0x80).count();
    put_long(out, (text.len() + high) as i64);
    let start = out.len();
    for run in text.split_inclusive(|byte| *byte >= 0x80) {
        match run.split_last() {
            Some((&last, ascii)) if last >= 0x80 => {
                out.extend_from_slice(ascii);
                out.extend_from_slice(&[0xc0 | last >> 6, 0x80 | last & 0x3f]);
            }
            _ => out.extend_from_slice(run),
        }
    }
    WrittenText {
        start,
        is_latin1: true,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// By what each value says of itself, in both byte orders.
        #[test]
        fn what_is_no_number_is_counted(
            bits in prop::collection::vec(prop_oneof![
                any::<u64>(),
                Just(f64::INFINITY.to_bits()),
                Just(f64::NEG_INFINITY.to_bits()),
                any::<u64>().prop_map(|bits| 0x7ff << 52 | bits),
                any::<u32>().prop_map(|bits| u64::from(0x7f80_0000 | bits)),
            ], 0..70),
        ) {
            let doubles = bits.iter().filter(|bits| !f64::from_bits(**bits).is_finite()).count();
            let little: Vec<u8> = bits.iter().flat_map(|bits| bits.to_le_bytes()).collect();
            let big: Vec<u8> = bits.iter().flat_map(|bits| bits.to_be_bytes()).collect();
            prop_assert_eq!(not_finite::<false>(Scalar::F64, &little), doubles as u32);
            prop_assert_eq!(not_finite::<true>(Scalar::F64, &big), doubles as u32);
            let singles: Vec<u32> = bits.iter().map(|bits| *bits as u32).collect();
            let floats = singles.iter().filter(|bits| !f32::from_bits(**bits).is_finite()).count();
            let little: Vec<u8> = singles.iter().flat_map(|bits| bits.to_le_bytes()).collect();
            let big: Vec<u8> = singles.iter().flat_map(|bits| bits.to_be_bytes()).collect();
            prop_assert_eq!(not_finite::<false>(Scalar::F32, &little), floats as u32);
            prop_assert_eq!(not_finite::<true>(Scalar::F32, &big), floats as u32);
        }
    }
}
