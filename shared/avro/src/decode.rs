//! Walks a datum once, by its schema.

use std::sync::Arc;

use crate::schema::{FieldType, RecordSchema, Scalar};

/// What is wrong with a datum, in which field, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("field `{field}` at byte {at}: {fault}")]
pub struct DatumError {
    /// Empty where the fault is behind the last field.
    pub field: String,
    /// Counted from the begin of the datum.
    pub at: usize,
    pub fault: Fault,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("the datum ends, {needed} more bytes needed")]
    Truncated { needed: usize },
    #[error("a varint of more than 64 bits")]
    Varint,
    #[error("a boolean of {0}, not 0 or 1")]
    Boolean(u8),
    #[error("a length of {0}")]
    Length(i64),
    #[error("an array block of {count} items in {left} bytes")]
    Count { count: i64, left: usize },
    #[error("an array block says {stated} bytes and has {found}")]
    BlockBytes { stated: i64, found: usize },
    #[error("text is not UTF-8")]
    Utf8,
    #[error("{left} bytes after the last field")]
    Trailing { left: usize },
    #[error("columns would hold {found} bytes of datums, at most {max} are taken")]
    Full { found: usize, max: usize },
}

/// Takes what a datum holds, in its order. For an array: its items one after the other, then [`Self::end_array`].
///
/// On an error of the datum the sink has had a part of it: what it does with that is its own affair.
pub trait Sink {
    fn boolean(&mut self, field: usize, value: bool);
    fn long(&mut self, field: usize, value: i64);
    fn double(&mut self, field: usize, value: f64);
    fn string(&mut self, field: usize, value: &str);
    fn bytes(&mut self, field: usize, value: &[u8]);
    fn end_array(&mut self, field: usize);

    /// Items of an array of doubles, little-endian: the way to take them at the speed of a copy.
    fn doubles(&mut self, field: usize, items: &[[u8; 8]]) {
        for &item in items {
            self.double(field, f64::from_le_bytes(item));
        }
    }
}

/// Takes nothing: for [`Decoder::check`].
struct Nothing;

impl Sink for Nothing {
    fn boolean(&mut self, _: usize, _: bool) {}
    fn long(&mut self, _: usize, _: i64) {}
    fn double(&mut self, _: usize, _: f64) {}
    fn string(&mut self, _: usize, _: &str) {}
    fn bytes(&mut self, _: usize, _: &[u8]) {}
    fn end_array(&mut self, _: usize) {}
    fn doubles(&mut self, _: usize, _: &[[u8; 8]]) {}
}

/// Reads datums of one schema. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Decoder {
    schema: Arc<RecordSchema>,
    /// Two bytes a field, so that the walk stays in cache.
    plan: Arc<[FieldType]>,
}

impl Decoder {
    pub fn new(schema: Arc<RecordSchema>) -> Self {
        let plan = schema.fields.iter().map(|field| field.field_type).collect();
        Self { schema, plan }
    }

    pub fn schema(&self) -> &Arc<RecordSchema> {
        &self.schema
    }

    /// The whole datum, no byte more.
    pub fn decode(&self, datum: &[u8], sink: &mut impl Sink) -> Result<(), DatumError> {
        let mut cursor = Cursor { datum, at: 0 };
        for (field, field_type) in self.plan.iter().enumerate() {
            let read = match *field_type {
                FieldType::Scalar(scalar) => cursor.scalar(scalar, field, sink),
                FieldType::Array(scalar) => cursor.array(scalar, field, sink),
            };
            if let Err(fault) = read {
                return Err(self.error(field, cursor.at, fault));
            }
        }
        match cursor.left() {
            0 => Ok(()),
            left => Err(self.error(self.plan.len(), cursor.at, Fault::Trailing { left })),
        }
    }

    /// Whether [`Self::decode`] would succeed.
    pub fn check(&self, datum: &[u8]) -> Result<(), DatumError> {
        self.decode(datum, &mut Nothing)
    }

    #[cold]
    fn error(&self, field: usize, at: usize, fault: Fault) -> DatumError {
        let field = self.schema.fields.get(field);
        DatumError {
            field: field.map_or_else(String::new, |field| field.name.clone()),
            at,
            fault,
        }
    }
}

/// Stands behind the last value read; on a fault, before the one that could not be.
struct Cursor<'a> {
    datum: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn left(&self) -> usize {
        self.datum.len() - self.at
    }

    #[inline]
    fn take(&mut self, length: usize) -> Result<&'a [u8], Fault> {
        match self.datum[self.at..].get(..length) {
            Some(taken) => {
                self.at += length;
                Ok(taken)
            }
            None => Err(Fault::Truncated {
                needed: length - self.left(),
            }),
        }
    }

    #[inline]
    fn long(&mut self) -> Result<i64, Fault> {
        let raw = match self.datum.get(self.at) {
            Some(&byte) if byte < 0x80 => {
                self.at += 1;
                u64::from(byte)
            }
            Some(_) | None => self.long_varint()?,
        };
        Ok((raw >> 1) as i64 ^ -((raw & 1) as i64))
    }

    fn long_varint(&mut self) -> Result<u64, Fault> {
        let mut value = 0u64;
        for (index, &byte) in self.datum[self.at..].iter().take(10).enumerate() {
            // The tenth byte has room for the 64th bit only.
            if index == 9 && byte > 1 {
                return Err(Fault::Varint);
            }
            value |= u64::from(byte & 0x7f) << (7 * index);
            if byte < 0x80 {
                self.at += index + 1;
                return Ok(value);
            }
        }
        Err(Fault::Truncated { needed: 1 })
    }

    fn blob(&mut self) -> Result<&'a [u8], Fault> {
        let begin = self.at;
        let length = self.long()?;
        let taken = match usize::try_from(length) {
            Ok(length) => self.take(length),
            Err(_) => Err(Fault::Length(length)),
        };
        if taken.is_err() {
            self.at = begin;
        }
        taken
    }

    #[inline]
    fn scalar(&mut self, scalar: Scalar, field: usize, sink: &mut impl Sink) -> Result<(), Fault> {
        match scalar {
            Scalar::Boolean => match self.datum.get(self.at) {
                Some(&byte @ (0 | 1)) => {
                    self.at += 1;
                    sink.boolean(field, byte == 1);
                }
                Some(&byte) => return Err(Fault::Boolean(byte)),
                None => return Err(Fault::Truncated { needed: 1 }),
            },
            Scalar::Long => sink.long(field, self.long()?),
            Scalar::Double => {
                let mut bytes = [0; 8];
                bytes.copy_from_slice(self.take(8)?);
                sink.double(field, f64::from_le_bytes(bytes));
            }
            Scalar::String => {
                let begin = self.at;
                let text = std::str::from_utf8(self.blob()?).map_err(|_| {
                    self.at = begin;
                    Fault::Utf8
                })?;
                sink.string(field, text);
            }
            Scalar::Bytes => sink.bytes(field, self.blob()?),
        }
        Ok(())
    }

    /// Blocks of items until an empty one. A negative count is followed by the block's length in bytes.
    fn array(&mut self, scalar: Scalar, field: usize, sink: &mut impl Sink) -> Result<(), Fault> {
        loop {
            let begin = self.at;
            let stated = self.long()?;
            if stated == 0 {
                sink.end_array(field);
                return Ok(());
            }
            let bytes = if stated < 0 { Some(self.long()?) } else { None };
            let items = self.at;
            let count = usize::try_from(stated.unsigned_abs())
                .ok()
                .filter(|&count| count <= self.left() / scalar.bytes_min());
            let Some(count) = count else {
                let left = self.left();
                self.at = begin;
                return Err(Fault::Count {
                    count: stated,
                    left,
                });
            };
            if scalar == Scalar::Double {
                let (doubles, _) = self.take(count * 8)?.as_chunks::<8>();
                sink.doubles(field, doubles);
            } else {
                for _ in 0..count {
                    self.scalar(scalar, field, sink)?;
                }
            }
            let found = self.at - items;
            if let Some(stated) = bytes.filter(|&stated| usize::try_from(stated) != Ok(found)) {
                self.at = begin;
                return Err(Fault::BlockBytes { stated, found });
            }
        }
    }
}
