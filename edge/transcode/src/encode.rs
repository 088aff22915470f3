//! The way back: from the datum of a record to a sample that a publisher could have written.

use std::sync::Arc;

use efd_shared_types::sal::{SalField, SalTopic, Scalar};

use crate::cdr::HEADER_BYTES;
use crate::convert::all_or_nothing;

/// XCDR1, little-endian, no options: as SAL's publishers write.
const ENCAPSULATION: [u8; HEADER_BYTES] = [0, 1, 0, 0];
/// Stamps that stand before the topic's fields: `private_efdStamp` and `private_kafkaStamp`.
const STAMPS: [&str; 2] = ["private_efdStamp", "private_kafkaStamp"];
/// Bits of a double's fraction that a float has no room for.
const NARROWED: u32 = 52 - 23;

/// Makes samples out of the datums of one topic. [`Plan::transcode`](crate::Plan::transcode) of what it makes gives
/// the same datum again, but for the stamps that whoever records fills himself. Immutable; share it between threads.
#[derive(Debug)]
pub struct Encoder {
    fields: Vec<SalField>,
    snd_stamp: usize,
    rcv_stamp: usize,
}

/// A sample that was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// Where in the payload the eight bytes of `private_sndStamp` are (TAI seconds, a little-endian double), for who
    /// wants it to have been sent at another time.
    pub snd_stamp_at: usize,
}

/// A datum that is not of the topic, or not one of its samples'.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("field `{field}` at byte {offset}: {cause}")]
pub struct NotEncodable {
    /// Empty behind the last field.
    pub field: Arc<str>,
    /// From the first byte of the datum.
    pub offset: usize,
    pub cause: NoSample,
}

#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum NoSample {
    #[error("the datum ends, {need} bytes needed, {left} left")]
    Truncated { need: usize, left: usize },
    #[error("a varint of more than 64 bits")]
    Varint,
    #[error("a boolean of {0}, not 0 or 1")]
    Boolean(u8),
    #[error("a text of length {0}")]
    Length(i64),
    #[error("text is not UTF-8")]
    Utf8,
    #[error("{value} is not a value of {scalar:?}")]
    OutOfRange { value: i64, scalar: Scalar },
    #[error("{0:e} is not a single-precision value")]
    NotSingle(f64),
    #[error("an array of {expected} has {found} items, or more")]
    Items { expected: u32, found: u64 },
    #[error("{0} bytes too many")]
    Trailing(usize),
}

impl Encoder {
    pub fn compile(topic: &SalTopic) -> Self {
        Self {
            fields: topic.fields.clone(),
            snd_stamp: topic.private.snd_stamp,
            rcv_stamp: topic.private.rcv_stamp,
        }
    }

    /// Appends the payload, encapsulation header included, that `datum` was made of. Every field is as recorded, but
    /// for `private_rcvStamp`, which a publisher leaves 0. Padding is 0. On error `out` is as before.
    pub fn encode(&self, datum: &[u8], out: &mut Vec<u8>) -> Result<Encoded, NotEncodable> {
        all_or_nothing(out, |out| self.append(datum, out))
    }

    fn append(&self, datum: &[u8], out: &mut Vec<u8>) -> Result<Encoded, NotEncodable> {
        let start = out.len();
        let mut source = Datum { datum, at: 0 };
        for name in STAMPS {
            let skipped = source.take(8).map(drop);
            skipped.map_err(|cause| source.fault(&Arc::from(name), cause))?;
        }
        out.extend_from_slice(&ENCAPSULATION);
        let mut body = Body {
            begin: out.len(),
            out,
        };
        let mut snd_stamp_at = 0;
        for (position, field) in self.fields.iter().enumerate() {
            let done = if position == self.rcv_stamp {
                body.number(0_f64.to_le_bytes());
                source.take(8).map(drop)
            } else {
                match field.count {
                    None => value(field.scalar, &mut source, &mut body),
                    Some(count) => array(field.scalar, count, &mut source, &mut body),
                }
            };
            done.map_err(|cause| source.fault(&field.name, cause))?;
            if position == self.snd_stamp {
                snd_stamp_at = body.out.len() - start - 8;
            }
        }
        match source.left() {
            0 => Ok(Encoded { snd_stamp_at }),
            left => Err(source.fault(&Arc::from(""), NoSample::Trailing(left))),
        }
    }
}

fn value(scalar: Scalar, source: &mut Datum<'_>, body: &mut Body<'_>) -> Result<(), NoSample> {
    match scalar {
        Scalar::Boolean => match source.take(1)?[0] {
            value @ (0 | 1) => body.number([value]),
            other => {
                source.at -= 1;
                return Err(NoSample::Boolean(other));
            }
        },
        Scalar::F64 => body.number(source.double()?),
        Scalar::F32 => {
            let value = f64::from_le_bytes(source.double()?);
            body.number(narrow(value)?.to_le_bytes());
        }
        Scalar::Text => {
            let text = source.text()?;
            // Its length counts the terminator. No datum is as long as 4 GiB.
            body.number((text.len() as u32).saturating_add(1).to_le_bytes());
            body.out.extend_from_slice(text);
            body.out.push(0);
        }
        Scalar::I8 => body.number(integer::<i8>(scalar, source)?.to_le_bytes()),
        Scalar::U8 => body.number(integer::<u8>(scalar, source)?.to_le_bytes()),
        Scalar::I16 => body.number(integer::<i16>(scalar, source)?.to_le_bytes()),
        Scalar::U16 => body.number(integer::<u16>(scalar, source)?.to_le_bytes()),
        Scalar::I32 => body.number(integer::<i32>(scalar, source)?.to_le_bytes()),
        Scalar::U32 => body.number(integer::<u32>(scalar, source)?.to_le_bytes()),
        Scalar::I64 => body.number(source.long()?.to_le_bytes()),
        Scalar::U64 => body.number(integer::<u64>(scalar, source)?.to_le_bytes()),
    }
    Ok(())
}

fn integer<T: TryFrom<i64>>(scalar: Scalar, source: &mut Datum<'_>) -> Result<T, NoSample> {
    let begin = source.at;
    let value = source.long()?;
    T::try_from(value).map_err(|_| {
        source.at = begin;
        NoSample::OutOfRange { value, scalar }
    })
}

/// The float that was widened to `value`: of a NaN sign, quiet bit and payload are kept.
fn narrow(value: f64) -> Result<f32, NoSample> {
    let bits = value.to_bits();
    let single = if value.is_nan() {
        let fraction = (bits >> NARROWED) as u32 & 0x007f_ffff;
        let single = f32::from_bits((bits >> 63 << 31) as u32 | 0x7f80_0000 | fraction);
        (single.is_nan() && bits.trailing_zeros() >= NARROWED).then_some(single)
    } else {
        let single = value as f32;
        (f64::from(single).to_bits() == bits).then_some(single)
    };
    single.ok_or(NoSample::NotSingle(value))
}

/// Avro writes an array as blocks of items until an empty one; a negative count is followed by the block's bytes.
fn array(
    scalar: Scalar,
    expected: u32,
    source: &mut Datum<'_>,
    body: &mut Body<'_>,
) -> Result<(), NoSample> {
    let mut found = 0_u64;
    loop {
        let begin = source.at;
        let count = source.long()?;
        if count < 0 {
            source.long()?;
        }
        found = found.saturating_add(count.unsigned_abs());
        if u64::from(expected) < found || (count == 0 && found < u64::from(expected)) {
            source.at = begin;
            return Err(NoSample::Items { expected, found });
        }
        if count == 0 {
            return Ok(());
        }
        if scalar == Scalar::F64 {
            let items = source.take(8 * count.unsigned_abs() as usize)?;
            body.align(8);
            body.out.extend_from_slice(items);
        } else {
            for _ in 0..count.unsigned_abs() {
                value(scalar, source, body)?;
            }
        }
    }
}

/// Stands behind the last value read; on a fault, before the one that could not be.
struct Datum<'a> {
    datum: &'a [u8],
    at: usize,
}

impl<'a> Datum<'a> {
    fn left(&self) -> usize {
        self.datum.len() - self.at
    }

    fn take(&mut self, need: usize) -> Result<&'a [u8], NoSample> {
        let left = self.left();
        let taken = self.datum[self.at..].get(..need);
        let taken = taken.ok_or(NoSample::Truncated { need, left })?;
        self.at += need;
        Ok(taken)
    }

    fn double(&mut self) -> Result<[u8; 8], NoSample> {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(self.take(8)?);
        Ok(bytes)
    }

    /// Zigzag, seven bits a byte, the lowest first.
    fn long(&mut self) -> Result<i64, NoSample> {
        let mut value = 0_u64;
        for (index, &byte) in self.datum[self.at..].iter().take(10).enumerate() {
            // The tenth byte has room for the 64th bit only.
            if index == 9 && byte > 1 {
                return Err(NoSample::Varint);
            }
            value |= u64::from(byte & 0x7f) << (7 * index);
            if byte < 0x80 {
                self.at += index + 1;
                return Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed());
            }
        }
        let left = self.left();
        Err(NoSample::Truncated {
            need: left + 1,
            left,
        })
    }

    fn text(&mut self) -> Result<&'a [u8], NoSample> {
        let begin = self.at;
        let stated = self.long()?;
        let length = usize::try_from(stated).map_err(|_| NoSample::Length(stated));
        let text = length.and_then(|length| self.take(length));
        // What is not UTF-8 would come back as ISO-8859-1.
        let text = text.and_then(|text| match std::str::from_utf8(text) {
            Ok(_) => Ok(text),
            Err(_) => Err(NoSample::Utf8),
        });
        if text.is_err() {
            self.at = begin;
        }
        text
    }

    fn fault(&self, field: &Arc<str>, cause: NoSample) -> NotEncodable {
        NotEncodable {
            field: Arc::clone(field),
            offset: self.at,
            cause,
        }
    }
}

/// The members of a sample. Alignment counts from the body's first byte.
struct Body<'a> {
    out: &'a mut Vec<u8>,
    begin: usize,
}

impl Body<'_> {
    fn align(&mut self, to: usize) {
        let length = (self.out.len() - self.begin).next_multiple_of(to);
        self.out.resize(self.begin + length, 0);
    }

    fn number<const N: usize>(&mut self, bytes: [u8; N]) {
        self.align(N);
        self.out.extend_from_slice(&bytes);
    }
}
