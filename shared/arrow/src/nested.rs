//! Values that are made of others: their Arrow types, and arrays of them out of the bytes of datums.
//!
//! Invariant: [`Builder::new`] is given what [`data_type`] made of the same type, and follows it.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryBuilder, BooleanBuilder, FixedSizeBinaryBuilder, Float64Builder, Int64Builder,
    ListArray, MapArray, NullBufferBuilder, StringArray, StringBuilder, StructArray,
    TimestampNanosecondBuilder,
};
use arrow::buffer::{OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, Field, Fields};
use arrow::error::ArrowError;
use efd_shared_avro::{
    Cursor, EnumType, FIXED_BYTES, Fault, NestedType, Node, NodeId, RecordNode, Scalar,
};

use crate::{described, free_name, item_field, scalar_type, time_type};

/// Of one nested value. One with more is text: a datum's byte may be a row of all of them, and a table of thousands of
/// columns is no help.
pub const LEAVES_MAX: usize = 256;

/// And whether it may be null. What would go on for ever, has no bytes, or too many leaves, is text: JSON.
pub(crate) fn data_type(of: &NestedType) -> (DataType, bool) {
    let mut typing = Typing {
        of,
        open: Vec::new(),
        leaves: 0,
    };
    let (data_type, is_nullable) = typing.of(of.root());
    match typing.leaves {
        0..=LEAVES_MAX => (data_type, is_nullable),
        _ => (DataType::Utf8, is_nullable),
    }
}

struct Typing<'a> {
    of: &'a NestedType,
    /// Records around what is typed.
    open: Vec<NodeId>,
    leaves: usize,
}

impl Typing<'_> {
    fn leaf(&mut self, data_type: DataType) -> DataType {
        self.leaves += 1;
        data_type
    }

    fn of(&mut self, id: NodeId) -> (DataType, bool) {
        // Enough to know that it will be text.
        if self.leaves > LEAVES_MAX {
            return (DataType::Utf8, false);
        }
        let of = self.of;
        let data_type = match of.node(id) {
            Node::Nullable(inner) => return (self.of(*inner).0, true),
            Node::Scalar(scalar) => self.leaf(scalar_type(*scalar)),
            Node::Timestamp => self.leaf(time_type()),
            Node::Enum(_) => self.leaf(DataType::Utf8),
            Node::Fixed => self.leaf(DataType::FixedSizeBinary(FIXED_BYTES as i32)),
            Node::Array(item) => {
                let (item, is_nullable) = self.of(*item);
                DataType::List(item_field(item, is_nullable))
            }
            Node::Map(value) => {
                let key = self.leaf(DataType::Utf8);
                let (value, is_nullable) = self.of(*value);
                let entries = Fields::from(vec![
                    Field::new("key", key, false),
                    Field::new("value", value, is_nullable),
                ]);
                let entries = Field::new("key_value", DataType::Struct(entries), false);
                DataType::Map(Arc::new(entries), false)
            }
            Node::Record(_) if of.is_empty(id) || self.open.contains(&id) => {
                self.leaf(DataType::Utf8)
            }
            Node::Record(record) => {
                self.open.push(id);
                let data_type = DataType::Struct(self.members(record));
                self.open.pop();
                data_type
            }
        };
        (data_type, false)
    }

    fn members(&mut self, record: &RecordNode) -> Fields {
        let mut taken = BTreeSet::new();
        let member = |field: &efd_shared_avro::RecordField| {
            let (data_type, is_nullable) = self.of(field.node);
            let name = free_name(&field.name, &mut taken);
            let (units, description) = (field.units.as_deref(), field.description.as_deref());
            described(name, data_type, units, description).with_nullable(is_nullable)
        };
        record.fields.iter().map(member).collect()
    }
}

/// The values of `bytes` between the `offsets`.
pub(crate) fn array(
    of: &NestedType,
    offsets: &[i32],
    bytes: &[u8],
) -> Result<ArrayRef, ArrowError> {
    let (data_type, _) = data_type(of);
    let mut builder = Builder::new(of.clone(), &data_type);
    for ends in offsets.windows(2) {
        let (begin, end) = (ends[0] as usize, ends[1] as usize);
        let value = bytes.get(begin..end).ok_or_else(|| {
            ArrowError::InvalidArgumentError(format!("no bytes {begin}..{end} of a column"))
        })?;
        let appended = builder.append(&mut Cursor::new(value));
        appended.map_err(|fault| ArrowError::InvalidArgumentError(fault.to_string()))?;
    }
    builder.finish(&data_type)
}

struct Builder {
    is_nullable: bool,
    kind: Kind,
}

enum Kind {
    Boolean(BooleanBuilder),
    Long(Int64Builder),
    Timestamp(TimestampNanosecondBuilder),
    Double(Float64Builder),
    Text(StringBuilder),
    Bytes(BinaryBuilder),
    Fixed(FixedSizeBinaryBuilder),
    Enum(Arc<EnumType>, StringBuilder),
    Json(NestedType, StringBuilder),
    List {
        ends: Ends,
        items: Box<Builder>,
    },
    Map {
        ends: Ends,
        keys: StringBuilder,
        values: Box<Builder>,
    },
    Struct {
        rows: NullBufferBuilder,
        members: Vec<Builder>,
    },
}

/// Where lists end among their items, and which of them are there.
struct Ends {
    offsets: Vec<i32>,
    rows: NullBufferBuilder,
}

impl Ends {
    fn new() -> Self {
        Self {
            offsets: vec![0],
            rows: NullBufferBuilder::new(0),
        }
    }

    /// A list of the items since the last.
    fn push(&mut self, items: usize) {
        self.offsets.push(items as i32);
        self.rows.append_non_null();
    }

    fn push_empty(&mut self, is_there: bool) {
        let end = self.offsets.last().copied().unwrap_or_default();
        self.offsets.push(end);
        self.rows.append(is_there);
    }

    fn offsets(self) -> OffsetBuffer<i32> {
        OffsetBuffer::new(ScalarBuffer::from(self.offsets))
    }
}

impl Builder {
    fn new(of: NestedType, data_type: &DataType) -> Self {
        let inner = |id: NodeId, data_type: &DataType| Self::new(of.at(id), data_type);
        let kind = match (of.node(of.root()), data_type) {
            (Node::Nullable(id), data_type) => {
                let Self { kind, .. } = inner(*id, data_type);
                return Self {
                    is_nullable: true,
                    kind,
                };
            }
            (Node::Scalar(Scalar::Boolean), _) => Kind::Boolean(BooleanBuilder::new()),
            (Node::Scalar(Scalar::Long), _) => Kind::Long(Int64Builder::new()),
            (Node::Scalar(Scalar::Double), _) => Kind::Double(Float64Builder::new()),
            (Node::Scalar(Scalar::String), _) => Kind::Text(StringBuilder::new()),
            (Node::Scalar(Scalar::Bytes), _) => Kind::Bytes(BinaryBuilder::new()),
            (Node::Timestamp, _) => Kind::Timestamp(TimestampNanosecondBuilder::new()),
            (Node::Enum(symbols), _) => Kind::Enum(Arc::clone(symbols), StringBuilder::new()),
            (Node::Fixed, DataType::FixedSizeBinary(size)) => {
                Kind::Fixed(FixedSizeBinaryBuilder::new(*size))
            }
            (Node::Array(id), DataType::List(item)) => Kind::List {
                ends: Ends::new(),
                items: Box::new(inner(*id, item.data_type())),
            },
            (Node::Map(id), DataType::Map(entries, _)) => Kind::Map {
                ends: Ends::new(),
                keys: StringBuilder::new(),
                values: Box::new(inner(*id, value_of(entries).data_type())),
            },
            (Node::Record(record), DataType::Struct(fields)) => {
                let members = record.fields.iter().zip(fields);
                let member = |(field, column): (&efd_shared_avro::RecordField, &Arc<Field>)| {
                    inner(field.node, column.data_type())
                };
                Kind::Struct {
                    rows: NullBufferBuilder::new(0),
                    members: members.map(member).collect(),
                }
            }
            (Node::Fixed | Node::Array(_) | Node::Map(_) | Node::Record(_), _) => {
                Kind::Json(of, StringBuilder::new())
            }
        };
        Self {
            is_nullable: false,
            kind,
        }
    }

    fn append(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Fault> {
        if self.is_nullable && !cursor.is_present()? {
            self.fill(false);
            return Ok(());
        }
        match &mut self.kind {
            Kind::Boolean(values) => values.append_value(cursor.boolean()?),
            Kind::Long(values) => values.append_value(cursor.long()?),
            Kind::Timestamp(values) => values.append_value(cursor.long()?),
            Kind::Double(values) => values.append_value(cursor.double()?),
            Kind::Text(values) => values.append_value(cursor.text()?),
            Kind::Bytes(values) => values.append_value(cursor.blob()?),
            Kind::Enum(of, values) => values.append_value(cursor.symbol(of)?.1),
            Kind::Fixed(values) => {
                let appended = values.append_value(cursor.take(FIXED_BYTES)?);
                debug_assert!(appended.is_ok(), "they are as many as the type has");
            }
            Kind::Json(of, values) => values.append_value(json(of, cursor)?),
            Kind::List { ends, items } => {
                loop {
                    let count = cursor.items()?;
                    if count == 0 {
                        break;
                    }
                    for _ in 0..count {
                        items.append(cursor)?;
                    }
                }
                ends.push(items.len());
            }
            Kind::Map { ends, keys, values } => {
                loop {
                    let count = cursor.items()?;
                    if count == 0 {
                        break;
                    }
                    for _ in 0..count {
                        keys.append_value(cursor.text()?);
                        values.append(cursor)?;
                    }
                }
                ends.push(values.len());
            }
            Kind::Struct { rows, members } => {
                for member in members {
                    member.append(cursor)?;
                }
                rows.append_non_null();
            }
        }
        Ok(())
    }

    /// A row that is null, or that stands below one. Nothing in it is null that may not be.
    fn fill(&mut self, is_there: bool) {
        macro_rules! scalar {
            ($values:expr, $filler:expr) => {
                match is_there {
                    true => $values.append_value($filler),
                    false => $values.append_null(),
                }
            };
        }
        match &mut self.kind {
            Kind::Boolean(values) => scalar!(values, false),
            Kind::Long(values) => scalar!(values, 0),
            Kind::Timestamp(values) => scalar!(values, 0),
            Kind::Double(values) => scalar!(values, 0.0),
            Kind::Text(values) | Kind::Enum(_, values) => scalar!(values, ""),
            Kind::Json(_, values) => scalar!(values, ""),
            Kind::Bytes(values) => scalar!(values, b""),
            Kind::Fixed(values) if is_there => {
                let appended = values.append_value([0; FIXED_BYTES]);
                debug_assert!(appended.is_ok(), "they are as many as the type has");
            }
            Kind::Fixed(values) => values.append_null(),
            Kind::List { ends, .. } | Kind::Map { ends, .. } => ends.push_empty(is_there),
            Kind::Struct { rows, members } => {
                for member in members {
                    member.fill(!member.is_nullable);
                }
                rows.append(is_there);
            }
        }
    }

    fn len(&self) -> usize {
        use arrow::array::ArrayBuilder as _;
        match &self.kind {
            Kind::Boolean(values) => values.len(),
            Kind::Long(values) => values.len(),
            Kind::Timestamp(values) => values.len(),
            Kind::Double(values) => values.len(),
            Kind::Text(values) | Kind::Enum(_, values) | Kind::Json(_, values) => values.len(),
            Kind::Bytes(values) => values.len(),
            Kind::Fixed(values) => values.len(),
            Kind::List { ends, .. } | Kind::Map { ends, .. } => ends.rows.len(),
            Kind::Struct { rows, .. } => rows.len(),
        }
    }

    fn finish(self, data_type: &DataType) -> Result<ArrayRef, ArrowError> {
        Ok(match (self.kind, data_type) {
            (Kind::Boolean(mut values), _) => Arc::new(values.finish()),
            (Kind::Long(mut values), _) => Arc::new(values.finish()),
            (Kind::Double(mut values), _) => Arc::new(values.finish()),
            (Kind::Bytes(mut values), _) => Arc::new(values.finish()),
            (Kind::Fixed(mut values), _) => Arc::new(values.finish()),
            (Kind::Timestamp(mut values), _) => Arc::new(values.finish().with_timezone("UTC")),
            (Kind::Text(mut values), _) => Arc::new(values.finish()),
            (Kind::Enum(_, mut values) | Kind::Json(_, mut values), _) => Arc::new(values.finish()),
            (Kind::List { mut ends, items }, DataType::List(item)) => {
                let nulls = ends.rows.finish();
                let items = items.finish(item.data_type())?;
                let item = Arc::clone(item);
                Arc::new(ListArray::try_new(item, ends.offsets(), items, nulls)?)
            }
            (
                Kind::Map {
                    mut ends,
                    keys,
                    values,
                },
                DataType::Map(entries, is_sorted),
            ) => {
                let nulls = ends.rows.finish();
                let keys: StringArray = { keys }.finish();
                let value = value_of(entries);
                let values = values.finish(value.data_type())?;
                let DataType::Struct(fields) = entries.data_type() else {
                    return Err(unlike(entries.data_type()));
                };
                let pairs: Vec<ArrayRef> = vec![Arc::new(keys), values];
                let pairs = StructArray::try_new(fields.clone(), pairs, None)?;
                let (offsets, entries) = (ends.offsets(), Arc::clone(entries));
                Arc::new(MapArray::try_new(
                    entries, offsets, pairs, nulls, *is_sorted,
                )?)
            }
            (Kind::Struct { mut rows, members }, DataType::Struct(fields)) => {
                let columns = members.into_iter().zip(fields);
                let columns = columns.map(|(member, field)| member.finish(field.data_type()));
                let columns = columns.collect::<Result<Vec<_>, _>>()?;
                let nulls = rows.finish();
                Arc::new(StructArray::try_new(fields.clone(), columns, nulls)?)
            }
            (Kind::List { .. } | Kind::Map { .. } | Kind::Struct { .. }, other) => {
                return Err(unlike(other));
            }
        })
    }
}

fn unlike(data_type: &DataType) -> ArrowError {
    ArrowError::SchemaError(format!("{data_type} is not what the column was made for"))
}

fn json(of: &NestedType, cursor: &mut Cursor<'_>) -> Result<String, Fault> {
    let mut text = Vec::new();
    of.put_json(cursor, &mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// Of the entries of a map.
fn value_of(entries: &Field) -> Arc<Field> {
    let null = || Arc::new(Field::new("value", DataType::Null, true));
    if let DataType::Struct(fields) = entries.data_type() {
        return fields.get(1).map_or_else(null, Arc::clone);
    }
    null()
}
