//! Walks a datum once, by its schema.

use std::sync::Arc;

use crate::cursor::Cursor;
use crate::nested::{Group, Nested, Visit};
use crate::schema::{Field, FieldType, RecordSchema, Scalar};

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
    #[error("branch {0} of a union of null and a type")]
    Branch(i64),
    #[error("symbol {position} of an enum of {count}")]
    Symbol { position: i64, count: usize },
    #[error("more than {max} levels of values within values")]
    Depth { max: usize },
    #[error("{left} bytes after the last field")]
    Trailing { left: usize },
    #[error("columns would hold {found} bytes of datums, at most {max} are taken")]
    Full { found: usize, max: usize },
}

/// Takes what a datum holds, in its order. For an array: its items one after the other, then [`Self::end_array`]. For an
/// enum: the text of its symbol. For what may be null: [`Self::null`], or [`Self::present`] and the value.
///
/// On an error of the datum the sink has had a part of it: what it does with that is its own affair.
pub trait Sink {
    fn boolean(&mut self, field: usize, value: bool);
    fn long(&mut self, field: usize, value: i64);
    fn double(&mut self, field: usize, value: f64);
    fn string(&mut self, field: usize, value: &str);
    fn bytes(&mut self, field: usize, value: &[u8]);
    fn end_array(&mut self, field: usize);
    fn null(&mut self, field: usize);
    /// A value that is made of others, checked to its end.
    fn nested(&mut self, field: usize, value: Nested<'_>);

    /// The field may be null, and its value comes next.
    fn present(&mut self, _field: usize) {}

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
    fn null(&mut self, _: usize) {}
    fn nested(&mut self, _: usize, _: Nested<'_>) {}
    fn doubles(&mut self, _: usize, _: &[[u8; 8]]) {}
}

impl Visit for Nothing {
    fn null(&mut self) {}
    fn boolean(&mut self, _: bool) {}
    fn long(&mut self, _: i64) {}
    fn double(&mut self, _: f64) {}
    fn string(&mut self, _: &str) {}
    fn bytes(&mut self, _: &[u8]) {}
    fn fixed(&mut self, _: &[u8]) {}
    fn symbol(&mut self, _: usize, _: &str) {}
    fn begin(&mut self, _: Group) {}
    fn name(&mut self, _: &str) {}
    fn end(&mut self, _: Group) {}
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Scalar(Scalar),
    Array(Scalar),
    /// By the field of the schema.
    General,
}

impl Step {
    fn of(field: &Field) -> Self {
        match &field.field_type {
            FieldType::Scalar(scalar) if !field.is_nullable => Self::Scalar(*scalar),
            FieldType::Array(scalar) if !field.is_nullable => Self::Array(*scalar),
            FieldType::Scalar(_) | FieldType::Array(_) => Self::General,
            FieldType::Enum(_) | FieldType::Nested(_) => Self::General,
        }
    }
}

/// Reads datums of one schema. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Decoder {
    schema: Arc<RecordSchema>,
    /// Two bytes a field, so that the walk stays in cache.
    plan: Arc<[Step]>,
}

impl Decoder {
    pub fn new(schema: Arc<RecordSchema>) -> Self {
        let plan = schema.fields.iter().map(Step::of).collect();
        Self { schema, plan }
    }

    pub fn schema(&self) -> &Arc<RecordSchema> {
        &self.schema
    }

    /// The whole datum, no byte more.
    pub fn decode(&self, datum: &[u8], sink: &mut impl Sink) -> Result<(), DatumError> {
        let mut cursor = Cursor::new(datum);
        for (field, step) in self.plan.iter().enumerate() {
            let read = match *step {
                Step::Scalar(scalar) => cursor.scalar(scalar, field, sink),
                Step::Array(scalar) => cursor.array(scalar, field, sink),
                Step::General => cursor.general(&self.schema.fields[field], field, sink),
            };
            if let Err(fault) = read {
                return Err(self.error(field, cursor.at(), fault));
            }
        }
        match cursor.left() {
            0 => Ok(()),
            left => Err(self.error(self.plan.len(), cursor.at(), Fault::Trailing { left })),
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

impl Cursor<'_> {
    #[inline]
    fn scalar(&mut self, scalar: Scalar, field: usize, sink: &mut impl Sink) -> Result<(), Fault> {
        match scalar {
            Scalar::Boolean => sink.boolean(field, self.boolean()?),
            Scalar::Long => sink.long(field, self.long()?),
            Scalar::Double => sink.double(field, self.double()?),
            Scalar::String => sink.string(field, self.text()?),
            Scalar::Bytes => sink.bytes(field, self.blob()?),
        }
        Ok(())
    }

    /// Blocks of items until an empty one. A negative count is followed by the block's length in bytes.
    fn array(&mut self, scalar: Scalar, field: usize, sink: &mut impl Sink) -> Result<(), Fault> {
        while let Some(block) = self.begin_block(|left| left / scalar.bytes_min())? {
            if scalar == Scalar::Double {
                let (doubles, _) = self.take(block.count * 8)?.as_chunks::<8>();
                sink.doubles(field, doubles);
            } else {
                for _ in 0..block.count {
                    self.scalar(scalar, field, sink)?;
                }
            }
            self.end_block(&block)?;
        }
        sink.end_array(field);
        Ok(())
    }

    /// What SAL does not have.
    fn general(&mut self, of: &Field, field: usize, sink: &mut impl Sink) -> Result<(), Fault> {
        if of.is_nullable {
            if !self.is_present()? {
                sink.null(field);
                return Ok(());
            }
            sink.present(field);
        }
        match &of.field_type {
            FieldType::Scalar(scalar) => self.scalar(*scalar, field, sink),
            FieldType::Array(scalar) => self.array(*scalar, field, sink),
            FieldType::Enum(symbols) => {
                let (_, text) = self.symbol(symbols)?;
                sink.string(field, text);
                Ok(())
            }
            FieldType::Nested(of) => {
                let begin = self.at();
                of.walk(self, &mut Nothing)?;
                sink.nested(field, Nested::new(of, self.since(begin)));
                Ok(())
            }
        }
    }
}
