//! `export`: records as files for other tools, one for each topic and schema.
//!
//! Rows wait in memory until all of them together reach a limit; then those of the topics with the most go to a file that
//! all topics share. When all are there, each topic's file is made at once from its rows: side by side on several cores,
//! with few files open, and it has its name only when it is whole.

mod avro;
mod csv;
mod files;
mod parquet;
mod spill;

use std::io::Write;
use std::path::{Path, PathBuf};

use efd_shared_model::{RecordId, RecordRef};
use serde_json::json;

use crate::open::open;
use crate::outcome::{Exit, InspectError};
use crate::screen::{Screen, printable};
use crate::table::size;
use crate::walk::{Filter, Stream, Taker, Walk};
use files::Files;
pub(crate) use files::UNFINISHED;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Columns `time`, the topic's fields, then `efd_*`: which record it is.
    Parquet,
    /// The same columns as text; an array is a JSON array in one cell, bytes are hexadecimal.
    Csv,
    /// Object container files: the datums as they are, with the topic's own schema.
    Avro,
}

impl Format {
    fn extension(self) -> &'static str {
        match self {
            Self::Parquet => "parquet",
            Self::Csv => "csv",
            Self::Avro => "avro",
        }
    }
}

#[derive(Clone, Debug)]
pub struct Options {
    /// A folder that is not there yet, or empty.
    pub to: PathBuf,
    pub format: Format,
}

/// Writes what `filter` wants of the buffer at `path`. A record that cannot be read by its schema is named and left out.
pub fn export(
    path: &Path,
    filter: &Filter,
    options: &Options,
    json: bool,
    screen: &mut Screen<impl Write, impl Write>,
) -> Result<Exit, InspectError> {
    let store = open(path, screen)?;
    let mut walk = Walk::new(&store, filter)?;
    let mut exporting = Exporting {
        files: Files::create(path, options)?,
    };
    walk.run(&store, &mut exporting, screen)?;
    let files = exporting
        .files
        .finish(|done, of| screen.progress(format_args!("{done} of {of} files are whole")))?;
    screen.clear_progress()?;
    let (records, bytes) = files.iter().fold((0, 0), |(records, bytes), file| {
        (records + file.records, bytes + file.bytes)
    });
    if json {
        let files: Vec<_> = files
            .iter()
            .map(|file| {
                json!({
                    "topic": file.topic, "schema": file.schema.to_string(), "file": file.name,
                    "records": file.records, "bytes": file.bytes,
                })
            })
            .collect();
        let all = json!({"folder": options.to.display().to_string(), "files": files, "records": records, "bytes": bytes});
        writeln!(screen.out, "{all}")?;
    } else {
        let width = files.iter().map(|file| file.name.len()).max().unwrap_or(0);
        for file in &files {
            let size = size(file.bytes);
            writeln!(
                screen.out,
                "{:width$}  {:>10} records  {size:>10}",
                file.name, file.records
            )?;
        }
        let size = size(bytes);
        let folder = printable(&options.to.display().to_string());
        writeln!(
            screen.out,
            "{records} records, {size}, {} files in {folder}",
            files.len()
        )?;
    }
    Ok(screen.end()?)
}

struct Exporting {
    files: Files,
}

impl<O: Write> Taker<O> for Exporting {
    fn record(
        &mut self,
        stream: &Stream,
        id: RecordId,
        record: &RecordRef<'_>,
    ) -> Result<Result<(), String>, InspectError> {
        let added = self.files.add(stream, id, record)?;
        Ok(added.map_err(|error| error.to_string()))
    }

    fn block_done(&mut self, _out: &mut O) -> Result<(), InspectError> {
        Ok(())
    }
}
