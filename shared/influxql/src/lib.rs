//! The subset of InfluxQL that the observatory's tools send, answered as InfluxDB 1.x answers it.
//!
//! In:  statements as text, with the parameters of `/query`; a [`Source`] that has the data. Out: JSON documents, one or,
//! chunked, many. `INFLUXQL.md` beside this crate's manifest has the subset, and where it differs from InfluxDB.
//!
//! Absent: HTTP, clocks (`now` is an argument), storage, tags: a measurement is a topic, and has fields alone.
//!
//! Invariants:
//! - What is outside the subset is an error that names it; no answer is wrong for being unexpected.
//! - No statement makes it panic, recurse without bound or hold more than the [`Limits`] say. Chunked, an answer of points
//!   holds one chunk.
//! - Sums and deviations keep the digits of values that are large against their differences.

mod accumulate;
mod ast;
mod catalog;
mod display;
mod epoch;
mod error;
mod expand;
mod fill;
mod function;
mod groups;
mod instant;
mod lexer;
mod limits;
mod output;
mod parser;
mod plan;
mod points;
mod predicate;
mod reading;
mod scalar;
mod select;
mod show;
mod source;
mod streams;
mod times;
mod transform;

use std::ops::ControlFlow;

pub use epoch::Epoch;
pub use error::ParseError;
pub use limits::Limits;
pub use source::{
    Batch, Column, Database, Field, FieldKind, Grid, Order, Policy, Scan, Source, Summary,
};

use ast::Statement;
use error::StatementError;
use output::Writer;

/// One request to `/query`.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Its parameter `q`.
    pub statements: &'a str,
    /// Its parameter `db`: of statements that name none.
    pub database: Option<&'a str>,
    /// `None`: times are RFC 3339.
    pub epoch: Option<Epoch>,
    /// Rows of a document, if the answer is chunked. InfluxDB's are 10 000 where nothing else is asked for.
    pub chunk_rows: Option<u64>,
    /// ns since 1970, UTC.
    pub now: i64,
    pub limits: Limits,
}

/// Answers all statements, document by document, until `out` breaks off. An error of a statement is in its answer; if what
/// was sent cannot be read, nothing is answered.
pub fn answer<S: Source>(
    request: &Request<'_>,
    source: &mut S,
    out: &mut dyn FnMut(Vec<u8>) -> ControlFlow<()>,
) -> Result<(), ParseError> {
    let statements = parser::parse(request.statements, &request.limits)?;
    let mut writer = Writer::new(out, request.epoch, request.chunk_rows, &request.limits);
    let mut has_failed = false;
    for statement in &statements {
        // As in InfluxDB: what follows may have been meant to build upon it.
        let outcome = if has_failed {
            Err(StatementError::invalid("not executed"))
        } else {
            execute(statement, request, source, &mut writer)
        };
        has_failed |= outcome.is_err();
        writer.end_statement(outcome);
        if writer.is_closed() {
            break;
        }
    }
    writer.end();
    Ok(())
}

fn execute<S: Source>(
    statement: &Statement,
    request: &Request<'_>,
    source: &mut S,
    writer: &mut Writer<'_>,
) -> Result<(), StatementError> {
    match statement {
        Statement::Select(it) => select::select(it, request, source, writer),
        Statement::ShowDatabases => show::databases(source, writer),
        Statement::ShowPolicies { database } => {
            show::policies(database.as_deref(), request, source, writer)
        }
        Statement::ShowMeasurements(it) => show::measurements(it, request, source, writer),
        Statement::ShowFieldKeys(it) => show::field_keys(it, request, source, writer),
        Statement::ShowTagKeys(it) | Statement::ShowTagValues(it) => {
            show::tags(it, request, source)
        }
        Statement::ShowSeries(it) => show::series(it, request, source, writer),
        Statement::Outside(name) => Err(StatementError::Outside(name.clone())),
    }
}
