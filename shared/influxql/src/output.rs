//! Answers as InfluxDB writes them: JSON documents of a line each.

mod number;

use std::io::Write as _;
use std::ops::ControlFlow;

use crate::epoch::Epoch;
use crate::error::StatementError;
use crate::limits::Limits;
use crate::scalar::Scalar;

type Out<'a> = &'a mut dyn FnMut(Vec<u8>) -> ControlFlow<()>;

/// Chunked, a document goes out as soon as its rows are together and it is known what follows; otherwise all is one
/// document.
pub(crate) struct Writer<'a> {
    out: Out<'a>,
    epoch: Option<Epoch>,
    chunk_rows: Option<u64>,
    limits: &'a Limits,
    statement: usize,
    /// Of the statement, as JSON; not chunked.
    finished: Vec<u8>,
    series: Option<Series>,
    /// Of the series that begins with the next row.
    next: Option<Vec<u8>>,
    messages: Vec<String>,
    /// Results of statements; not chunked.
    results: Vec<u8>,
    rows: u64,
    is_closed: bool,
}

/// What a series begins with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head<'a, C = String> {
    pub(crate) name: Option<&'a str>,
    pub(crate) tags: &'a [String],
    pub(crate) columns: &'a [C],
}

impl<'a, C> Head<'a, C> {
    pub(crate) fn new(name: Option<&'a str>, columns: &'a [C]) -> Self {
        Self {
            name,
            tags: &[],
            columns,
        }
    }
}

/// Its rows so far, as JSON.
struct Series {
    head: Vec<u8>,
    rows: Vec<u8>,
    count: u64,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Cell<'a> {
    Text(&'a str),
    Integer(i64),
    Boolean(bool),
}

impl<'a> Writer<'a> {
    pub(crate) fn new(
        out: Out<'a>,
        epoch: Option<Epoch>,
        chunk_rows: Option<u64>,
        limits: &'a Limits,
    ) -> Self {
        Self {
            out,
            epoch,
            chunk_rows: chunk_rows.map(|it| it.max(1)),
            limits,
            statement: 0,
            finished: Vec::new(),
            series: None,
            next: None,
            messages: Vec::new(),
            results: Vec::new(),
            rows: 0,
            is_closed: false,
        }
    }

    /// Nobody takes what comes.
    pub(crate) fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// A new series of the statement: it is written if it gets a row.
    pub(crate) fn series<C: AsRef<str>>(&mut self, head: Head<'_, C>) {
        self.next = Some(head_json(&head));
    }

    pub(crate) fn row<'s>(
        &mut self,
        time: i64,
        cells: impl Iterator<Item = Option<Scalar<'s>>>,
    ) -> Result<ControlFlow<()>, StatementError> {
        self.make_room()?;
        let (epoch, rows) = (self.epoch, self.open_row());
        match epoch {
            Some(epoch) => text(rows, format_args!("[{}", epoch.of(time))),
            None => text(
                rows,
                format_args!("[\"{}\"", crate::instant::Rfc3339(i128::from(time))),
            ),
        }
        for cell in cells {
            rows.push(b',');
            match cell {
                None => rows.extend(b"null"),
                Some(Scalar::Float(value)) => number::write(rows, value),
                Some(Scalar::Integer(value)) => text(rows, format_args!("{value}")),
                Some(Scalar::Boolean(value)) => text(rows, format_args!("{value}")),
                Some(Scalar::String(value)) => string(rows, value),
            }
        }
        rows.push(b']');
        Ok(if self.is_closed {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        })
    }

    /// A row without a time.
    pub(crate) fn cells(&mut self, cells: &[Cell<'_>]) -> Result<(), StatementError> {
        self.make_room()?;
        let rows = self.open_row();
        let mut separator = b'[';
        for cell in cells {
            rows.push(separator);
            separator = b',';
            match cell {
                Cell::Text(value) => string(rows, value),
                Cell::Integer(value) => text(rows, format_args!("{value}")),
                Cell::Boolean(value) => text(rows, format_args!("{value}")),
            }
        }
        rows.push(b']');
        Ok(())
    }

    /// A series that is shown even without rows, and never in chunks.
    pub(crate) fn table<'c, C: AsRef<str>>(
        &mut self,
        head: &Head<'_, C>,
        rows: impl Iterator<Item = Vec<Cell<'c>>>,
    ) -> Result<(), StatementError> {
        self.series = Some(Series {
            head: head_json(head),
            rows: Vec::new(),
            count: 0,
        });
        let chunk_rows = self.chunk_rows.take();
        let outcome = rows.into_iter().try_for_each(|it| self.cells(&it));
        self.chunk_rows = chunk_rows;
        outcome
    }

    pub(crate) fn message(&mut self, message: String) {
        self.messages.push(message);
    }

    /// What a statement gave is complete, or the error is in its place.
    pub(crate) fn end_statement(&mut self, outcome: Result<(), StatementError>) {
        let series = self.series.take();
        self.next = None;
        if outcome.is_err() {
            self.finished.clear();
        } else if let Some(series) = series {
            self.append(&series, false);
        }
        let error = outcome.err().map(|it| it.to_string());
        let result = self.result(false, error.as_deref());
        self.emit(result);
        self.messages.clear();
        self.statement += 1;
    }

    /// After the last statement.
    pub(crate) fn end(self) {
        if self.is_closed || self.chunk_rows.is_some() {
            return;
        }
        let is_empty = self.statement == 0;
        let document = if is_empty {
            b"{}\n".to_vec()
        } else {
            document(&self.results)
        };
        // Nothing follows that could be spared.
        let (ControlFlow::Continue(()) | ControlFlow::Break(())) = (self.out)(document);
    }

    /// Before another row: a full chunk goes out.
    fn make_room(&mut self) -> Result<(), StatementError> {
        if let Some(head) = self.next.take() {
            self.end_series();
            self.series = Some(Series {
                head,
                rows: Vec::new(),
                count: 0,
            });
        }
        self.rows += 1;
        let Some(chunk_rows) = self.chunk_rows else {
            StatementError::at_most(
                "rows of an answer that is not chunked",
                self.rows,
                self.limits.rows,
            )?;
            return self.check_size();
        };
        if let Some(series) = self.series.as_mut().filter(|it| it.count >= chunk_rows) {
            let full = Series {
                head: series.head.clone(),
                rows: std::mem::take(&mut series.rows),
                count: std::mem::take(&mut series.count),
            };
            self.append(&full, true);
            let result = self.result(true, None);
            self.emit(result);
        }
        Ok(())
    }

    fn check_size(&self) -> Result<(), StatementError> {
        if self.chunk_rows.is_some() {
            return Ok(());
        }
        let open = self.series.as_ref().map_or(0, |it| it.rows.len());
        let bytes = self.results.len() + self.finished.len() + open;
        StatementError::at_most(
            "bytes of an answer that is not chunked",
            bytes as u64,
            self.limits.answer_bytes,
        )
    }

    /// Where the next row is written.
    fn open_row(&mut self) -> &mut Vec<u8> {
        let series = self.series.get_or_insert_with(|| Series {
            head: Vec::new(),
            rows: Vec::new(),
            count: 0,
        });
        if series.count > 0 {
            series.rows.push(b',');
        }
        series.count += 1;
        &mut series.rows
    }

    /// It is followed by another.
    fn end_series(&mut self) {
        let Some(series) = self.series.take() else {
            return;
        };
        self.append(&series, false);
        if self.chunk_rows.is_some() {
            let result = self.result(true, None);
            self.emit(result);
        }
    }

    fn append(&mut self, series: &Series, is_partial: bool) {
        if !self.finished.is_empty() {
            self.finished.push(b',');
        }
        self.finished.extend(&series.head);
        if series.count > 0 {
            self.finished.extend(b",\"values\":[");
            self.finished.extend(&series.rows);
            self.finished.push(b']');
        }
        if is_partial {
            self.finished.extend(b",\"partial\":true");
        }
        self.finished.push(b'}');
    }

    /// Takes the series that are finished.
    fn result(&mut self, is_partial: bool, error: Option<&str>) -> Vec<u8> {
        let mut result = Vec::new();
        text(
            &mut result,
            format_args!("{{\"statement_id\":{}", self.statement),
        );
        let mut separator = "";
        if !is_partial && !self.messages.is_empty() {
            result.extend(b",\"messages\":[");
            for message in &self.messages {
                text(
                    &mut result,
                    format_args!("{separator}{{\"level\":\"info\",\"text\":"),
                );
                string(&mut result, message);
                result.push(b'}');
                separator = ",";
            }
            result.push(b']');
        }
        if !self.finished.is_empty() {
            result.extend(b",\"series\":[");
            result.append(&mut self.finished);
            result.push(b']');
        }
        if is_partial {
            result.extend(b",\"partial\":true");
        }
        if let Some(error) = error {
            result.extend(b",\"error\":");
            string(&mut result, error);
        }
        result.push(b'}');
        result
    }

    fn emit(&mut self, result: Vec<u8>) {
        if self.chunk_rows.is_some() {
            if !self.is_closed {
                self.is_closed = (self.out)(document(&result)).is_break();
            }
            return;
        }
        if !self.results.is_empty() {
            self.results.push(b',');
        }
        self.results.extend(result);
    }
}

fn document(results: &[u8]) -> Vec<u8> {
    [&b"{\"results\":["[..], results, b"]}\n"].concat()
}

fn head_json<C: AsRef<str>>(head: &Head<'_, C>) -> Vec<u8> {
    let mut json = b"{".to_vec();
    if let Some(name) = head.name {
        json.extend(b"\"name\":");
        string(&mut json, name);
        json.push(b',');
    }
    if !head.tags.is_empty() {
        json.extend(b"\"tags\":");
        let mut separator = b'{';
        for tag in head.tags {
            json.push(separator);
            separator = b',';
            string(&mut json, tag);
            json.extend(b":\"\"");
        }
        json.extend(b"},");
    }
    json.extend(b"\"columns\":");
    let mut separator = b'[';
    for column in head.columns {
        json.push(separator);
        separator = b',';
        string(&mut json, column.as_ref());
    }
    json.push(b']');
    json
}

fn text(out: &mut Vec<u8>, arguments: std::fmt::Arguments<'_>) {
    let written = out.write_fmt(arguments);
    debug_assert!(written.is_ok(), "memory takes everything");
}

fn string(out: &mut Vec<u8>, value: &str) {
    let written = serde_json::to_writer(out, value);
    debug_assert!(
        written.is_ok(),
        "a string is JSON, and memory takes everything"
    );
}
