//! CSV (RFC 4180): a header, then a line for each record.

use std::fmt::Arguments;
use std::io::Write as _;
use std::path::PathBuf;

use efd_shared_avro::{DatumError, Decoder, FieldType, Sink};
use efd_shared_model::RecordRef;

use super::files::Appending;
use crate::cat::{put_double, put_number};
use crate::outcome::InspectError;

/// Of the memory for lines, from one write to the next.
const KEPT_BYTES: usize = 16 << 10;

#[derive(Debug)]
pub(super) struct CsvFile {
    decoder: Decoder,
    is_array: Vec<bool>,
    file: Appending,
    text: Vec<u8>,
}

impl CsvFile {
    pub(super) fn new(decoder: Decoder, file: Appending) -> Self {
        let mut text = b"time".to_vec();
        let fields = &decoder.schema().fields;
        for field in fields {
            text.push(b',');
            put_text(&mut text, &field.name);
        }
        text.extend_from_slice(b",efd_id,efd_implausible\r\n");
        Self {
            is_array: fields
                .iter()
                .map(|field| matches!(field.field_type, FieldType::Array(_)))
                .collect(),
            decoder,
            file,
            text,
        }
    }

    /// `line` is memory to write in: one place that stays in the processor's cache, where the files are thousands.
    pub(super) fn add(
        &mut self,
        id: &str,
        record: &RecordRef<'_>,
        line: &mut Vec<u8>,
    ) -> Result<(), DatumError> {
        line.clear();
        put(line, format_args!("{}", record.stamps.event_time));
        let mut cells = Line {
            text: line,
            is_array: &self.is_array,
            cell: None,
        };
        let decoded = self.decoder.decode(record.datum, &mut cells);
        if decoded.is_ok() {
            let is_implausible: &[u8] = match record.stamps.implausible {
                true => b",true\r\n",
                false => b",false\r\n",
            };
            for part in [b",", id.as_bytes(), is_implausible] {
                line.extend_from_slice(part);
            }
            self.text.extend_from_slice(line);
        }
        decoded
    }

    pub(super) fn waiting_bytes(&self) -> usize {
        self.text.len()
    }

    pub(super) fn write(&mut self) -> Result<(), InspectError> {
        let written = self.file.append(&self.text);
        self.text.clear();
        self.text.shrink_to(KEPT_BYTES);
        written.map_err(|error| self.file.failed(error))
    }

    pub(super) fn finish(mut self) -> Result<PathBuf, InspectError> {
        self.write()?;
        self.file.finish()
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
