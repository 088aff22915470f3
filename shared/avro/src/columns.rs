//! Columns that grow row by row, laid out as Arrow lays them out.

use std::sync::Arc;

use crate::decode::{DatumError, Decoder, Fault, Sink};
use crate::nested::Nested;
use crate::schema::{Field, FieldType, RecordSchema, Scalar};

/// Offsets are `i32`, and no column has more items than its datums have bytes.
const DATUM_BYTES_MAX: usize = i32::MAX as usize;

/// Values one after the other; texts and blobs as offsets (one more than values, the first 0) into one buffer.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    Boolean(Vec<bool>),
    Long(Vec<i64>),
    Double(Vec<f64>),
    String {
        offsets: Vec<i32>,
        bytes: Vec<u8>,
    },
    Bytes {
        offsets: Vec<i32>,
        bytes: Vec<u8>,
    },
    /// Values as the datums have them: see [`Nested`].
    Nested {
        offsets: Vec<i32>,
        bytes: Vec<u8>,
    },
}

impl Values {
    fn new(field_type: &FieldType) -> Self {
        let (offsets, bytes) = (vec![0], Vec::new());
        match field_type.scalar() {
            Some(Scalar::Boolean) => Self::Boolean(Vec::new()),
            Some(Scalar::Long) => Self::Long(Vec::new()),
            Some(Scalar::Double) => Self::Double(Vec::new()),
            Some(Scalar::String) => Self::String { offsets, bytes },
            Some(Scalar::Bytes) => Self::Bytes { offsets, bytes },
            None => Self::Nested { offsets, bytes },
        }
    }

    pub fn len(&self) -> usize {
        match self {
            Self::Boolean(values) => values.len(),
            Self::Long(values) => values.len(),
            Self::Double(values) => values.len(),
            Self::String { offsets, .. }
            | Self::Bytes { offsets, .. }
            | Self::Nested { offsets, .. } => offsets.len() - 1,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// About what they occupy.
    fn bytes(&self) -> usize {
        match self {
            Self::Boolean(values) => values.len(),
            Self::Long(values) => size_of_val(values.as_slice()),
            Self::Double(values) => size_of_val(values.as_slice()),
            Self::String { offsets, bytes }
            | Self::Bytes { offsets, bytes }
            | Self::Nested { offsets, bytes } => size_of_val(offsets.as_slice()) + bytes.len(),
        }
    }

    fn truncate(&mut self, length: usize) {
        match self {
            Self::Boolean(values) => values.truncate(length),
            Self::Long(values) => values.truncate(length),
            Self::Double(values) => values.truncate(length),
            Self::String { offsets, bytes }
            | Self::Bytes { offsets, bytes }
            | Self::Nested { offsets, bytes } => {
                offsets.truncate(length + 1);
                bytes.truncate(end_of(offsets));
            }
        }
    }
}

/// One field of all rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    pub values: Values,
    /// Of an array field: rows + 1 offsets into `values`, the first 0.
    pub offsets: Option<Vec<i32>>,
    /// Of a field that may be null, by row: whether it is not. Where it is null `values` have a filler.
    pub is_present: Option<Vec<bool>>,
}

impl Column {
    fn new(field: &Field) -> Self {
        Self {
            values: Values::new(&field.field_type),
            offsets: field.field_type.is_array().then(|| vec![0]),
            is_present: field.is_nullable.then(Vec::new),
        }
    }

    fn truncate(&mut self, rows: usize) {
        if let Some(is_present) = &mut self.is_present {
            is_present.truncate(rows);
        }
        match &mut self.offsets {
            None => self.values.truncate(rows),
            Some(offsets) => {
                offsets.truncate(rows + 1);
                let items = end_of(offsets);
                self.values.truncate(items);
            }
        }
    }
}

/// The rows of one schema.
#[derive(Clone, Debug)]
pub struct Columns {
    decoder: Decoder,
    columns: Vec<Column>,
    rows: usize,
    datum_bytes: usize,
}

impl Columns {
    pub fn new(decoder: Decoder) -> Self {
        let fields = &decoder.schema().fields;
        let columns = fields.iter().map(Column::new).collect();
        Self {
            columns,
            decoder,
            rows: 0,
            datum_bytes: 0,
        }
    }

    pub fn schema(&self) -> &Arc<RecordSchema> {
        self.decoder.schema()
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Adds a row; on an error nothing of it stays.
    pub fn push(&mut self, datum: &[u8]) -> Result<(), DatumError> {
        let found = self.datum_bytes.saturating_add(datum.len());
        if found > DATUM_BYTES_MAX {
            let max = DATUM_BYTES_MAX;
            return Err(DatumError {
                field: String::new(),
                at: 0,
                fault: Fault::Full { found, max },
            });
        }
        let decoded = self.decoder.decode(datum, &mut Rows(&mut self.columns));
        match &decoded {
            Ok(()) => {
                self.rows += 1;
                self.datum_bytes = found;
            }
            Err(_) => {
                let rows = self.rows;
                self.columns
                    .iter_mut()
                    .for_each(|column| column.truncate(rows));
            }
        }
        decoded
    }

    /// About what the values occupy.
    pub fn bytes(&self) -> usize {
        let more = |column: &Column| {
            let offsets = column.offsets.as_ref();
            let is_present = column.is_present.as_ref();
            offsets.map_or(0, |it| size_of_val(it.as_slice())) + is_present.map_or(0, Vec::len)
        };
        self.columns
            .iter()
            .map(|column| column.values.bytes() + more(column))
            .sum()
    }

    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// In the order of the schema's fields.
    pub fn into_columns(self) -> Vec<Column> {
        self.columns
    }
}

fn end_of(offsets: &[i32]) -> usize {
    offsets.last().map_or(0, |&end| end as usize)
}

struct Rows<'a>(&'a mut [Column]);

/// The decoder and the columns are of one schema, so a value always meets its own kind.
impl Sink for Rows<'_> {
    #[inline]
    fn boolean(&mut self, field: usize, value: bool) {
        if let Values::Boolean(values) = &mut self.0[field].values {
            values.push(value);
        }
    }

    #[inline]
    fn long(&mut self, field: usize, value: i64) {
        if let Values::Long(values) = &mut self.0[field].values {
            values.push(value);
        }
    }

    #[inline]
    fn double(&mut self, field: usize, value: f64) {
        if let Values::Double(values) = &mut self.0[field].values {
            values.push(value);
        }
    }

    #[inline]
    fn string(&mut self, field: usize, value: &str) {
        self.bytes(field, value.as_bytes());
    }

    #[inline]
    fn bytes(&mut self, field: usize, value: &[u8]) {
        if let Values::String { offsets, bytes } | Values::Bytes { offsets, bytes } =
            &mut self.0[field].values
        {
            bytes.extend_from_slice(value);
            offsets.push(bytes.len() as i32);
        }
    }

    fn null(&mut self, field: usize) {
        let Column {
            values, is_present, ..
        } = &mut self.0[field];
        match values {
            Values::Boolean(values) => values.push(false),
            Values::Long(values) => values.push(0),
            Values::Double(values) => values.push(0.0),
            Values::String { offsets, bytes }
            | Values::Bytes { offsets, bytes }
            | Values::Nested { offsets, bytes } => offsets.push(bytes.len() as i32),
        }
        is_present.get_or_insert_default().push(false);
    }

    fn present(&mut self, field: usize) {
        self.0[field].is_present.get_or_insert_default().push(true);
    }

    fn nested(&mut self, field: usize, value: Nested<'_>) {
        if let Values::Nested { offsets, bytes } = &mut self.0[field].values {
            bytes.extend_from_slice(value.bytes());
            offsets.push(bytes.len() as i32);
        }
    }

    fn end_array(&mut self, field: usize) {
        let Column {
            values, offsets, ..
        } = &mut self.0[field];
        if let Some(offsets) = offsets {
            offsets.push(values.len() as i32);
        }
    }

    fn doubles(&mut self, field: usize, items: &[[u8; 8]]) {
        if let Values::Double(values) = &mut self.0[field].values {
            values.extend(items.iter().map(|&item| f64::from_le_bytes(item)));
        }
    }
}
