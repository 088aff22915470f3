//! Which values of a topic have statistics: a channel is a field that is one number, or one element of an array of them.

use std::sync::Arc;

use efd_shared_avro::{DatumError, Decoder, Field, Nested, RecordSchema, Scalar, Sink};

/// Of all channels of a series; M1M3's widest topic has 1,500.
pub const CHANNELS_MAX: usize = 1 << 16;

/// The fields that are measured: numbers and booleans (0 and 1), but neither stamps (`private_…` of SAL, and whatever has
/// the type of one) nor what tells instances apart (`salIndex`, `<Component>ID`). A number that is null is NaN: it has a
/// place among the channels, and counts as no value.
#[derive(Clone, Debug)]
pub struct Measured {
    decoder: Decoder,
    /// By the number of the field in the schema.
    is_measured: Vec<bool>,
}

/// By the rule of [`Measured`].
pub fn is_measured(schema: &RecordSchema, field: &Field) -> bool {
    let is_number = match field.field_type.scalar() {
        Some(Scalar::Boolean | Scalar::Long | Scalar::Double) => true,
        Some(Scalar::String | Scalar::Bytes) | None => false,
    };
    let component = schema.name.rsplit('.').nth(1).unwrap_or_default();
    let is_own_id = field.name.strip_suffix("ID") == Some(component);
    let is_own = field.name.starts_with("private_") || field.name == "salIndex" || is_own_id;
    is_number && !field.is_timestamp && !is_own
}

impl Measured {
    pub fn new(schema: Arc<RecordSchema>) -> Self {
        let fields = schema.fields.iter();
        Self {
            is_measured: fields.map(|field| is_measured(&schema, field)).collect(),
            decoder: Decoder::new(schema),
        }
    }

    /// Nothing to measure: the topic has no series.
    pub fn is_empty(&self) -> bool {
        !self.is_measured.contains(&true)
    }

    /// The values of a record, channel by channel, in `row`, whose memory is used again.
    ///
    /// # Errors
    /// The datum is not one of the schema; `row` is then of no use.
    pub fn read(&self, datum: &[u8], row: &mut Row) -> Result<(), DatumError> {
        row.values.clear();
        row.shape.0.clear();
        let mut taking = Taking {
            is_measured: &self.is_measured,
            row,
            field: usize::MAX,
        };
        self.decoder.decode(datum, &mut taking)
    }

    /// The channels of records of that shape.
    pub fn channels(&self, shape: &Shape) -> Vec<Channel> {
        let fields = &self.decoder.schema().fields;
        let measured = fields.iter().zip(&self.is_measured);
        let names = measured.filter(|(_, is_measured)| **is_measured);
        let mut first = 0;
        let of_field = |((field, _), &elements): ((&Field, &bool), &u32)| {
            let channel = Channel {
                field: field.name.clone(),
                first,
                elements: elements as usize,
                is_array: field.length.is_some() || field.field_type.is_array(),
            };
            first += elements as usize;
            channel
        };
        names.zip(&shape.0).map(of_field).collect()
    }
}

/// A measured field, and where its elements are among the channels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Channel {
    pub field: String,
    pub first: usize,
    /// 1 of a field that is no array.
    pub elements: usize,
    pub is_array: bool,
}

/// How many elements each measured field has: always the same in SAL. Records of other lengths are another series.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Shape(pub Vec<u32>);

impl Shape {
    pub fn channels(&self) -> usize {
        self.0.iter().map(|&elements| elements as usize).sum()
    }
}

/// One record's values.
#[derive(Clone, Debug, Default)]
pub struct Row {
    pub values: Vec<f64>,
    pub shape: Shape,
}

struct Taking<'a> {
    is_measured: &'a [bool],
    row: &'a mut Row,
    /// Whose elements come.
    field: usize,
}

impl Taking<'_> {
    #[inline]
    fn put(&mut self, field: usize, value: f64) {
        if self.is_measured[field] {
            if self.field != field {
                self.field = field;
                self.row.shape.0.push(0);
            }
            if let Some(elements) = self.row.shape.0.last_mut() {
                *elements += 1;
            }
            self.row.values.push(value);
        }
    }
}

impl Sink for Taking<'_> {
    fn boolean(&mut self, field: usize, value: bool) {
        self.put(field, f64::from(u8::from(value)));
    }

    /// The nearest `f64`: exact up to 2^53.
    fn long(&mut self, field: usize, value: i64) {
        self.put(field, value as f64);
    }

    fn double(&mut self, field: usize, value: f64) {
        self.put(field, value);
    }

    fn string(&mut self, _field: usize, _value: &str) {}

    fn bytes(&mut self, _field: usize, _value: &[u8]) {}

    fn null(&mut self, field: usize) {
        self.put(field, f64::NAN);
    }

    fn nested(&mut self, _field: usize, _value: Nested<'_>) {}

    fn end_array(&mut self, field: usize) {
        // An empty one has a place in the shape, too.
        if self.is_measured[field] && self.field != field {
            self.field = field;
            self.row.shape.0.push(0);
        }
    }

    fn doubles(&mut self, field: usize, items: &[[u8; 8]]) {
        let Some(first) = items.first() else {
            return;
        };
        if self.is_measured[field] {
            self.put(field, f64::from_le_bytes(*first));
            let rest = &items[1..];
            self.row
                .values
                .extend(rest.iter().map(|&item| f64::from_le_bytes(item)));
            if let Some(elements) = self.row.shape.0.last_mut() {
                *elements += rest.len() as u32;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use efd_shared_avro::{Value, encode_values};

    use super::*;

    fn schema() -> Arc<RecordSchema> {
        let field = |name: &str, kind: &str| format!(r#"{{"name":"{name}","type":{kind}}}"#);
        let array = |of: &str| format!(r#"{{"type":"array","items":"{of}"}}"#);
        let fields = [
            field("private_efdStamp", r#""double""#),
            field("salIndex", r#""long""#),
            field("MTMountID", r#""long""#),
            field("position", r#""double""#),
            field("forces", &array("double")),
            field("name", r#""string""#),
            field("isOn", r#""boolean""#),
            field("counts", &array("long")),
            field("raw", r#""bytes""#),
        ];
        let text = format!(
            r#"{{"type":"record","name":"elevation","namespace":"lsst.sal.MTMount","fields":[{}]}}"#,
            fields.join(",")
        );
        Arc::new(RecordSchema::parse(&text).unwrap())
    }

    #[test]
    fn numbers_are_measured_and_stamps_are_not() {
        let schema = schema();
        let measured = Measured::new(Arc::clone(&schema));
        let mut row = Row::default();
        for (forces, counts) in [(vec![1.5, f64::NAN], vec![7]), (vec![], vec![])] {
            let doubles = forces.iter().map(|&value| Value::Double(value)).collect();
            let longs = counts.iter().map(|&value| Value::Long(value)).collect();
            let values = [
                Value::Double(1e9),
                Value::Long(1),
                Value::Long(1),
                Value::Double(-2.5),
                Value::Array(doubles),
                Value::String("x".into()),
                Value::Boolean(true),
                Value::Array(longs),
                Value::Bytes(vec![1]),
            ];
            let mut datum = Vec::new();
            encode_values(&values, &mut datum);
            measured.read(&datum, &mut row).unwrap();
            let expected: Vec<f64> = [-2.5]
                .into_iter()
                .chain(forces.iter().copied())
                .chain([1.0])
                .chain(counts.iter().map(|&value| value as f64))
                .collect();
            assert_eq!(format!("{:?}", row.values), format!("{expected:?}"));
            let lengths = [1, forces.len() as u32, 1, counts.len() as u32];
            assert_eq!(row.shape.0, lengths);
            assert_eq!(row.shape.channels(), expected.len());
        }
        let channels = measured.channels(&Shape(vec![1, 2, 1, 1]));
        let places: Vec<_> = channels
            .iter()
            .map(|it| (it.field.as_str(), it.first, it.elements, it.is_array))
            .collect();
        assert_eq!(
            places,
            [
                ("position", 0, 1, false),
                ("forces", 1, 2, true),
                ("isOn", 3, 1, false),
                ("counts", 4, 1, true)
            ]
        );
    }

    /// Of types that are not SAL's: numbers of records within are channels, a null is NaN, and all else is left out.
    #[test]
    fn numbers_within_records_are_measured() {
        let text = r#"{"type":"record","name":"dds.t","fields":[
            {"name":"efd_sourceTime","type":["null",{"type":"long","logicalType":"timestamp-nanos"}]},
            {"name":"pose","type":{"type":"record","name":"a.P","fields":[{"name":"x","type":["null","long"]},{"name":"y","type":["null","long"]}]}},
            {"name":"mode","type":{"type":"enum","name":"a.E","symbols":["A","B"]}},
            {"name":"points","type":{"type":"array","items":"a.P"}},{"name":"end","type":"long"}]}"#;
        let measured = Measured::new(Arc::new(RecordSchema::parse(text).unwrap()));
        let mut row = Row::default();
        let datum = [2, 20, 0, 2, 8, 2, 2, 2, 2, 0, 0, 10];
        measured.read(&datum, &mut row).unwrap();
        assert_eq!(format!("{:?}", row.values), "[NaN, 4.0, 5.0]");
        let channels = measured.channels(&row.shape);
        let places: Vec<_> = channels
            .iter()
            .map(|it| (it.field.as_str(), it.first))
            .collect();
        assert_eq!(places, [("pose.x", 0), ("pose.y", 1), ("end", 2)]);
    }
}
