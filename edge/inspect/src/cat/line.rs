//! A record as one line of JSON, written straight from the datum.

use std::collections::BTreeSet;
use std::fmt::{Arguments, Write as _};
use std::io::Write as _;

use efd_shared_avro::{DatumError, Decoder, Nested, Sink};
use efd_shared_model::{EpochLane, Fingerprint, RecordId, RecordRef};

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
    /// `,"name":`, the first that is shown without its comma.
    name: Vec<u8>,
    is_array: bool,
    is_shown: bool,
}

impl Layout {
    /// `only`: names of the fields that are shown; all where `None`.
    pub(super) fn new(topic: &str, decoder: Decoder, only: Option<&BTreeSet<String>>) -> Self {
        let mut fields = Vec::new();
        let mut is_first = true;
        for field in &decoder.schema().fields {
            let is_shown = only.is_none_or(|only| only.contains(&field.name));
            let mut name = Vec::new();
            if is_shown && !std::mem::take(&mut is_first) {
                name.push(b',');
            }
            put_text(&mut name, &field.name);
            name.push(b':');
            fields.push(FieldLayout {
                name,
                is_array: field.field_type.is_array(),
                is_shown,
            });
        }
        Self {
            head: head(topic),
            fields,
            decoder,
        }
    }

    pub(super) fn has_fields(&self) -> bool {
        self.fields.iter().any(|field| field.is_shown)
    }

    pub(super) fn write_line(
        &self,
        id: &str,
        record: &RecordRef<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), DatumError> {
        put_stamps(out, &self.head, id, record);
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

/// The datum as it is, for whoever reads it with a library of his own.
pub(super) fn raw_line(
    topic: &str,
    id: &str,
    record: &RecordRef<'_>,
    schema: &Fingerprint,
    out: &mut Vec<u8>,
) {
    put_stamps(out, &head(topic), id, record);
    put(out, format_args!(",\"schema\":\"{schema}\",\"datum\":\""));
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in record.datum {
        out.push(DIGITS[usize::from(byte >> 4)]);
        out.push(DIGITS[usize::from(byte & 15)]);
    }
    out.extend_from_slice(b"\"}\n");
}

/// `{"topic":"…","time":"`
fn head(topic: &str) -> Vec<u8> {
    let mut head = b"{\"topic\":".to_vec();
    put_text(&mut head, topic);
    head.extend_from_slice(b",\"time\":\"");
    head
}

fn put_stamps(out: &mut Vec<u8>, head: &[u8], id: &str, record: &RecordRef<'_>) {
    out.extend_from_slice(head);
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
}

struct Line<'a> {
    fields: &'a [FieldLayout],
    /// The bracket of the array is written, its items are to come.
    is_in_array: bool,
    out: &'a mut Vec<u8>,
}

impl Line<'_> {
    /// `false` of a field that is not shown.
    #[inline]
    fn begin(&mut self, field: usize) -> bool {
        let layout = &self.fields[field];
        if !layout.is_shown {
            return false;
        }
        if self.is_in_array {
            self.out.push(b',');
            return true;
        }
        self.out.extend_from_slice(&layout.name);
        if layout.is_array {
            self.out.push(b'[');
            self.is_in_array = true;
        }
        true
    }
}

impl Sink for Line<'_> {
    fn boolean(&mut self, field: usize, value: bool) {
        if self.begin(field) {
            put(self.out, format_args!("{value}"));
        }
    }

    fn long(&mut self, field: usize, value: i64) {
        if self.begin(field) {
            put_number(self.out, value);
        }
    }

    fn double(&mut self, field: usize, value: f64) {
        if !self.begin(field) {
            return;
        }
        if value.is_finite() {
            put_double(self.out, value);
        } else if value.is_nan() {
            self.out.extend_from_slice(b"\"NaN\"");
        } else if value > 0.0 {
            self.out.extend_from_slice(b"\"Infinity\"");
        } else {
            self.out.extend_from_slice(b"\"-Infinity\"");
        }
    }

    fn string(&mut self, field: usize, value: &str) {
        if self.begin(field) {
            put_text(self.out, value);
        }
    }

    fn bytes(&mut self, field: usize, value: &[u8]) {
        if self.begin(field) {
            put(self.out, format_args!("{{\"bytes\":{}}}", value.len()));
        }
    }

    fn null(&mut self, field: usize) {
        if self.begin(field) {
            self.out.extend_from_slice(b"null");
        }
    }

    fn nested(&mut self, field: usize, value: Nested<'_>) {
        if self.begin(field) {
            value.put_json(self.out);
        }
    }

    fn end_array(&mut self, field: usize) {
        let layout = &self.fields[field];
        if !layout.is_shown {
            return;
        }
        if !self.is_in_array {
            self.out.extend_from_slice(&layout.name);
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

/// The text of record ids: what those of one log have in common is written once.
#[derive(Debug, Default)]
pub(crate) struct IdText {
    log: Option<EpochLane>,
    text: String,
    common: usize,
}

impl IdText {
    pub(crate) fn of(&mut self, id: RecordId) -> &str {
        if self.log != Some(id.block.lane) {
            self.log = Some(id.block.lane);
            self.text = format!("{}/", id.block.lane);
            self.common = self.text.len();
        }
        self.text.truncate(self.common);
        let written = write!(self.text, "{}/{}", id.block.number, id.index);
        debug_assert!(written.is_ok(), "memory takes all");
        &self.text
    }
}

pub(crate) fn put_number(out: &mut Vec<u8>, value: i64) {
    let written = serde_json::to_writer(out, &value);
    debug_assert!(written.is_ok(), "memory takes all");
}

/// A finite one: the fewest digits that read back to the same bits, several times as fast as by `Display`.
pub(crate) fn put_double(out: &mut Vec<u8>, value: f64) {
    let written = serde_json::to_writer(out, &value);
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
        layout_of(types, None)
    }

    fn layout_of(types: &[&str], only: Option<&BTreeSet<String>>) -> Layout {
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
            only,
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
        let mut text = IdText::default();
        text.of(RecordId { index: 99, ..id });
        let is_ok = layout.write_line(text.of(id), &record, &mut out).is_ok();
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

    /// What types have that are not SAL's.
    #[test]
    fn enums_nulls_and_nested_values() {
        let text = r#"{"type":"record","name":"T","fields":[
            {"name":"pose","type":{"type":"record","name":"P","fields":[{"name":"x","type":["null","long"]},{"name":"y","type":["null","long"]}]}},
            {"name":"mode","type":{"type":"enum","name":"E","symbols":["A","B"]}},
            {"name":"points","type":{"type":"array","items":"P"}},{"name":"end","type":"long"}]}"#;
        let schema = Arc::new(RecordSchema::parse(text).unwrap());
        let layout = Layout::new("t", Decoder::new(schema), None);
        let (line, is_ok) = line(&layout, &[0, 2, 8, 2, 2, 2, 2, 0, 0, 10], None);
        assert!(is_ok);
        let (_, fields) = line.split_once("\"fields\":").unwrap();
        let expected =
            r#"{"pose.x":null,"pose.y":4,"mode":"B","points":[{"x":1,"y":null}],"end":5}}"#;
        assert_eq!(fields.trim_end(), expected);
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
            r#"{"f0":"NaN","f1":"Infinity","f2":"-Infinity","f3":-0.0,"f4":1e+300,"f5":0.1}"#,
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
    fn only_some_fields() {
        use Value::{Array, Long, String};
        let types = ["long[]", "string", "double[]", "long"];
        let values = [
            Array(vec![Long(1), Long(2)]),
            String("x".into()),
            Array(vec![]),
            Long(4),
        ];
        let mut datum = Vec::new();
        encode_values(&values, &mut datum);
        let check = |only: &[&str], expected: &str| {
            let only = only.iter().map(|&name| name.to_owned()).collect();
            let layout = layout_of(&types, Some(&only));
            let (line, is_ok) = line(&layout, &datum, None);
            assert!(
                is_ok && line.ends_with(&format!(",\"fields\":{expected}}}\n")),
                "{line}"
            );
            assert_eq!(layout.has_fields(), expected != "{}");
        };
        check(&["f1", "f3"], r#"{"f1":"x","f3":4}"#);
        check(&["f2"], r#"{"f2":[]}"#);
        check(&["f0", "f2"], r#"{"f0":[1,2],"f2":[]}"#);
        check(&["f9"], "{}");
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
