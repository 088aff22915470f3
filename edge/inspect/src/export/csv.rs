//! CSV (RFC 4180): a header, then a line for each record.

use std::fmt::Arguments;
use std::io::{self, Write as _};

use efd_shared_avro::{DatumError, Decoder, Nested, Sink};
use efd_shared_model::{RecordId, RecordStamps};

use super::files::Output;
use super::spill::SpilledRows;
use crate::cat::{IdText, put_double, put_number};
use crate::outcome::InspectError;
use crate::walk::Stream;

/// Text is written so many bytes at a time.
const WRITE_BYTES: usize = 1 << 20;

pub(super) fn write(
    stream: &Stream,
    mut rows: SpilledRows<'_>,
    file: &mut Output,
) -> Result<(), InspectError> {
    let mut text = Text::new(&stream.decoder);
    while let Some((id, stamps, datum)) = rows.next_row()? {
        // What was whole when it came has been altered on the way through the disk.
        text.add(id, stamps, datum)
            .map_err(|error| rows.failed(io::Error::other(error.to_string())))?;
        if WRITE_BYTES <= text.bytes.len() {
            text.write(file)?;
        }
    }
    text.write(file)
}

/// The lines of one topic.
struct Text<'a> {
    decoder: &'a Decoder,
    is_array: Vec<bool>,
    ids: IdText,
    bytes: Vec<u8>,
}

impl<'a> Text<'a> {
    fn new(decoder: &'a Decoder) -> Self {
        let mut bytes = b"time".to_vec();
        let fields = &decoder.schema().fields;
        for field in fields {
            bytes.push(b',');
            put_text(&mut bytes, &field.name);
        }
        bytes.extend_from_slice(b",efd_id,efd_implausible\r\n");
        let is_array = |field: &efd_shared_avro::Field| field.field_type.is_array();
        Self {
            is_array: fields.iter().map(is_array).collect(),
            decoder,
            ids: IdText::default(),
            bytes,
        }
    }

    fn write(&mut self, file: &mut Output) -> Result<(), InspectError> {
        let written = file.write_all(&self.bytes);
        self.bytes.clear();
        written.map_err(|error| file.failed(error))
    }

    fn add(&mut self, id: RecordId, stamps: RecordStamps, datum: &[u8]) -> Result<(), DatumError> {
        put(&mut self.bytes, format_args!("{}", stamps.event_time));
        let mut line = Line {
            text: &mut self.bytes,
            is_array: &self.is_array,
            cell: None,
        };
        self.decoder.decode(datum, &mut line)?;
        let is_implausible: &[u8] = match stamps.implausible {
            true => b",true\r\n",
            false => b",false\r\n",
        };
        for part in [b",", self.ids.of(id).as_bytes(), is_implausible] {
            self.bytes.extend_from_slice(part);
        }
        Ok(())
    }
}

struct Line<'a> {
    text: &'a mut Vec<u8>,
    is_array: &'a [bool],
    /// Of an array whose items come: JSON.
    cell: Option<Vec<u8>>,
}

impl Line<'_> {
    /// Where a value goes: to the line, or into the cell of its array.
    fn place(&mut self, field: usize) -> &mut Vec<u8> {
        if self.is_array[field] {
            return self.item();
        }
        self.text.push(b',');
        self.text
    }

    fn item(&mut self) -> &mut Vec<u8> {
        match &mut self.cell {
            Some(cell) => cell.push(b','),
            None => self.cell = Some(Vec::new()),
        }
        self.cell.get_or_insert_default()
    }
}

impl Sink for Line<'_> {
    fn boolean(&mut self, field: usize, value: bool) {
        put(self.place(field), format_args!("{value}"));
    }

    fn long(&mut self, field: usize, value: i64) {
        put_number(self.place(field), value);
    }

    fn double(&mut self, field: usize, value: f64) {
        // JSON has no such number: in an array it is a text.
        let quote = if self.is_array[field] { "\"" } else { "" };
        let out = self.place(field);
        if value.is_finite() {
            put_double(out, value);
        } else if value.is_nan() {
            put(out, format_args!("{quote}NaN{quote}"));
        } else {
            let sign = if value > 0.0 { "" } else { "-" };
            put(out, format_args!("{quote}{sign}Infinity{quote}"));
        }
    }

    fn string(&mut self, field: usize, value: &str) {
        if self.is_array[field] {
            let written = serde_json::to_writer(self.item(), value);
            debug_assert!(written.is_ok(), "memory takes all");
        } else {
            self.text.push(b',');
            put_text(self.text, value);
        }
    }

    fn bytes(&mut self, field: usize, value: &[u8]) {
        let mut hex = String::with_capacity(value.len() * 2);
        for byte in value {
            hex.push_str(&format!("{byte:02x}"));
        }
        self.string(field, &hex);
    }

    /// An empty cell.
    fn null(&mut self, _field: usize) {
        self.text.push(b',');
    }

    /// JSON.
    fn nested(&mut self, _field: usize, value: Nested<'_>) {
        let mut cell = Vec::new();
        value.put_json(&mut cell);
        self.text.push(b',');
        put_text(self.text, &String::from_utf8_lossy(&cell));
    }

    fn end_array(&mut self, _field: usize) {
        let items = self.cell.take().unwrap_or_default();
        self.text.push(b',');
        let cell = [b"[".as_slice(), &items, b"]"].concat();
        put_text(self.text, &String::from_utf8_lossy(&cell));
    }
}

fn put(out: &mut Vec<u8>, text: Arguments<'_>) {
    let written = out.write_fmt(text);
    debug_assert!(written.is_ok(), "memory takes all");
}

/// Quoted where it has to be.
fn put_text(out: &mut Vec<u8>, text: &str) {
    if !text.contains([',', '"', '\r', '\n']) {
        return out.extend_from_slice(text.as_bytes());
    }
    out.push(b'"');
    out.extend_from_slice(text.replace('"', "\"\"").as_bytes());
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use efd_shared_avro::RecordSchema;
    use efd_shared_model::{
        BlockNumber, EdgeId, EpochId, EpochLane, EventTimeOrigin, Lane, LaneKind, UtcNanos,
    };

    use super::*;

    /// What types have that are not SAL's: a null is an empty cell, nested values are JSON.
    #[test]
    fn enums_nulls_and_nested_values() {
        let text = r#"{"type":"record","name":"T","fields":[
            {"name":"pose","type":{"type":"record","name":"P","fields":[{"name":"x","type":["null","long"]},{"name":"y","type":["null","long"]}]}},
            {"name":"mode","type":{"type":"enum","name":"E","symbols":["A","B"]}},
            {"name":"points","type":{"type":"array","items":"P"}},{"name":"end","type":"long"}]}"#;
        let decoder = Decoder::new(Arc::new(RecordSchema::parse(text).unwrap()));
        let mut text = Text::new(&decoder);
        let lane = EpochLane {
            edge: EdgeId([1; 16]),
            epoch: EpochId([2; 16]),
            lane: Lane::new(LaneKind::Events),
        };
        let id = RecordId {
            block: lane.block(BlockNumber(7)),
            index: 3,
        };
        let stamps = RecordStamps {
            event_time: UtcNanos(1),
            origin: EventTimeOrigin::Source,
            implausible: false,
            latin1: false,
            instance: None,
        };
        text.add(id, stamps, &[0, 2, 8, 2, 2, 2, 2, 0, 0, 10])
            .unwrap();
        let lines = String::from_utf8(text.bytes).unwrap();
        let (head, line) = lines.split_once("\r\n").unwrap();
        assert_eq!(
            head,
            "time,pose.x,pose.y,mode,points,end,efd_id,efd_implausible"
        );
        let begin = r#"1970-01-01T00:00:00.000000001Z,,4,B,"[{""x"":1,""y"":null}]",5,"#;
        assert!(line.starts_with(begin), "{line}");
    }
}
