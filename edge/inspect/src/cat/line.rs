//! A record as one line of JSON, written straight from the datum.

use std::fmt::Arguments;
use std::io::Write;

use efd_shared_avro::{DatumError, Decoder, FieldType, Sink};
use efd_shared_model::{RecordId, RecordRef};

/// How the lines of one stream look: everything that is the same in all of them, escaped once.
#[derive(Debug)]
pub(super) struct Layout {
    decoder: Decoder,
    /// `{"topic":"…","time":"`
    head: Vec<u8>,
    fields: Vec<FieldLayout>,
}

#[derive(Debug)]
struct FieldLayout {
    /// `,"name":`, the first without its comma.
    name: Vec<u8>,
    is_array: bool,
}

impl Layout {
    pub(super) fn new(topic: &str, decoder: Decoder) -> Self {
        let mut head = b"{\"topic\":".to_vec();
        put_text(&mut head, topic);
        head.extend_from_slice(b",\"time\":\"");
        let fields = decoder.schema().fields.iter().enumerate();
        let fields = fields.map(|(index, field)| {
            let mut name = if index == 0 {
                Vec::new()
            } else {
                b",".to_vec()
            };
            put_text(&mut name, &field.name);
            name.push(b':');
            FieldLayout {
                name,
                is_array: matches!(field.field_type, FieldType::Array(_)),
            }
        });
        Self {
            head,
            fields: fields.collect(),
            decoder,
        }
    }

    pub(super) fn write_line(
        &self,
        id: RecordId,
        record: &RecordRef<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), DatumError> {
        out.extend_from_slice(&self.head);
        put(
            out,
            format_args!("{}\",\"id\":\"{id}\"", record.stamps.event_time),
        );
        if let Some(instance) = record.stamps.instance {
            put(out, format_args!(",\"instance\":{instance}"));
        }
        if record.stamps.implausible {
            out.extend_from_slice(b",\"implausible\":true");
        }
        let begin = out.len();
        out.extend_from_slice(b",\"fields\":{");
        let mut line = Line {
            fields: &self.fields,
            is_in_array: false,
            out,
        };
        let decoded = self.decoder.decode(record.datum, &mut line);
        match &decoded {
            Ok(()) => out.extend_from_slice(b"}}\n"),
            Err(error) => {
                out.truncate(begin);
                out.extend_from_slice(b",\"error\":");
                put_text(out, &error.to_string());
                out.extend_from_slice(b"}\n");
            }
        }
        decoded
    }
}

struct Line<'a> {
    fields: &'a [FieldLayout],
    /// The bracket of the array is written, its items are to come.
    is_in_array: bool,
    out: &'a mut Vec<u8>,
}

impl Line<'_> {
    #[inline]
    fn begin(&mut self, field: usize) {
        if self.is_in_array {
            self.out.push(b',');
            return;
        }
        let layout = &self.fields[field];
        self.out.extend_from_slice(&layout.name);
        if layout.is_array {
            self.out.push(b'[');
            self.is_in_array = true;
        }
    }
}

impl Sink for Line<'_> {
    fn boolean(&mut self, field: usize, value: bool) {
        self.begin(field);
        put(self.out, format_args!("{value}"));
    }

    fn long(&mut self, field: usize, value: i64) {
        self.begin(field);
        put(self.out, format_args!("{value}"));
    }

    fn double(&mut self, field: usize, value: f64) {
        self.begin(field);
        if value.is_finite() {
            // The fewest digits that read back to the same bits.
            put(self.out, format_args!("{value:?}"));
        } else if value.is_nan() {
            self.out.extend_from_slice(b"\"NaN\"");
        } else if value > 0.0 {
            self.out.extend_from_slice(b"\"Infinity\"");
        } else {
            self.out.extend_from_slice(b"\"-Infinity\"");
        }
    }

    fn string(&mut self, field: usize, value: &str) {
        self.begin(field);
        put_text(self.out, value);
    }

    fn bytes(&mut self, field: usize, value: &[u8]) {
        self.begin(field);
        put(self.out, format_args!("{{\"bytes\":{}}}", value.len()));
    }

    fn end_array(&mut self, field: usize) {
        if !self.is_in_array {
            self.out.extend_from_slice(&self.fields[field].name);
            self.out.push(b'[');
        }
        self.is_in_array = false;
        self.out.push(b']');
    }
}

fn put(out: &mut Vec<u8>, text: Arguments<'_>) {
    let written = out.write_fmt(text);
    debug_assert!(written.is_ok(), "memory takes all");
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    let written = serde_json::to_writer(out, text);
    debug_assert!(written.is_ok(), "memory takes all");
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use efd_shared_avro::{RecordSchema, Value, encode_values};
    use efd_shared_model::{
        BlockNumber, EdgeId, EpochId, EpochLane, EventTimeOrigin, Lane, LaneKind, RecordStamps,
        UtcNanos,
    };

    use super::*;

    fn layout(types: &[&str]) -> Layout {
        let fields = types.iter().enumerate().map(|(index, kind)| {
            let kind = match kind.strip_suffix("[]") {
                Some(items) => format!(r#"{{"type":"array","items":"{items}"}}"#),
                None => format!("{kind:?}"),
            };
            format!(r#"{{"name":"f{index}","type":{kind}}}"#)
        });
        let fields = fields.collect::<Vec<_>>().join(",");
        let text = format!(r#"{{"type":"record","name":"T","fields":[{fields}]}}"#);
        Layout::new(
            "a\"b",
            Decoder::new(Arc::new(RecordSchema::parse(&text).unwrap())),
        )
    }

    fn line(layout: &Layout, datum: &[u8], instance: Option<i32>) -> (String, bool) {
        let log = EpochLane {
            edge: EdgeId([1; 16]),
            epoch: EpochId([2; 16]),
            lane: Lane::new(LaneKind::Events),
        };
        let record = RecordRef {
            index: 3,
            stamps: RecordStamps {
                event_time: UtcNanos(1),
                origin: EventTimeOrigin::SndStamp,
                implausible: instance == Some(-1),
                latin1: false,
                instance,
            },
            datum,
        };
        let id = RecordId {
            block: log.block(BlockNumber(7)),
            index: record.index,
        };
        let mut out = Vec::new();
        let is_ok = layout.write_line(id, &record, &mut out).is_ok();
        (String::from_utf8(out).unwrap(), is_ok)
    }

    const ID: &str =
        "01010101-0101-0101-0101-010101010101/02020202-0202-0202-0202-020202020202/events/7/3";

    fn check(types: &[&str], values: &[Value], fields: &str) {
        let mut datum = Vec::new();
        encode_values(values, &mut datum);
        let expected = format!(
            "{{\"topic\":\"a\\\"b\",\"time\":\"1970-01-01T00:00:00.000000001Z\",\"id\":\"{ID}\",\"fields\":{fields}}}\n"
        );
        let (line, is_ok) = line(&layout(types), &datum, None);
        assert_eq!(line, expected);
        assert!(is_ok);
        serde_json::from_str::<serde_json::Value>(&line).unwrap();
    }

    #[test]
    fn values() {
        use Value::{Array, Boolean, Bytes, Double, Long, String};
        check(&[], &[], "{}");
        check(
            &["boolean", "long", "string", "bytes"],
            &[
                Boolean(true),
                Long(i64::MIN),
                String("ü\"\n".into()),
                Bytes(vec![1, 2, 3]),
            ],
            r#"{"f0":true,"f1":-9223372036854775808,"f2":"ü\"\n","f3":{"bytes":3}}"#,
        );
        check(
            &["double", "double", "double", "double", "double", "double"],
            &[
                Double(f64::NAN),
                Double(f64::INFINITY),
                Double(f64::NEG_INFINITY),
                Double(-0.0),
                Double(1e300),
                Double(0.1),
            ],
            r#"{"f0":"NaN","f1":"Infinity","f2":"-Infinity","f3":-0.0,"f4":1e300,"f5":0.1}"#,
        );
        check(
            &["double[]", "long[]", "string[]", "long"],
            &[
                Array(vec![Double(1.0), Double(2.5)]),
                Array(vec![]),
                Array(vec![String("x".into())]),
                Long(4),
            ],
            r#"{"f0":[1.0,2.5],"f1":[],"f2":["x"],"f3":4}"#,
        );
    }

    #[test]
    fn what_does_not_fit_its_schema_is_a_line_too() {
        let (line, is_ok) = line(&layout(&["long[]", "double"]), &[4, 2, 4, 0, 9], Some(-1));
        assert!(!is_ok);
        assert_eq!(
            line,
            format!(
                "{{\"topic\":\"a\\\"b\",\"time\":\"1970-01-01T00:00:00.000000001Z\",\"id\":\"{ID}\",\"instance\":-1,\
                 \"implausible\":true,\"error\":\"field `f1` at byte 4: the datum ends, 7 more bytes needed\"}}\n"
            )
        );
    }
}
