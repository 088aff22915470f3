//! What could not be carried over, as lines of JSON: written as it is found, as there may be much of it.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use efd_shared_store::{LaneName, Position};
use serde_json::{Value, json};

use crate::outcome::InspectError;

/// Something that the new store does not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Lost {
    /// A file, or what is in it besides blocks.
    File(String),
    /// An epoch or some of its streams.
    Declaration(String),
    Value {
        lane: LaneName,
        key: String,
        reason: String,
    },
    Blocks(LostBlocks),
}

/// Neighbours that are lost for the same reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LostBlocks {
    pub(super) lane: LaneName,
    pub(super) first: Position,
    pub(super) last: Position,
    /// `edge/epoch/lane/number`, where it is known; such a block stands alone.
    pub(super) id: Option<String>,
    pub(super) reason: String,
}

impl LostBlocks {
    /// Takes `next` in, if it goes on where this ends.
    pub(super) fn join(&mut self, next: &Self) -> bool {
        let goes_on = self.lane == next.lane
            && self.last.next() == next.first
            && self.id.is_none()
            && next.id.is_none()
            && self.reason == next.reason;
        if goes_on {
            self.last = next.last;
        }
        goes_on
    }
}

impl std::fmt::Display for LostBlocks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            lane,
            first,
            last,
            id,
            reason,
        } = self;
        write!(f, "lane {lane}, ")?;
        if first == last {
            write!(f, "position {first}")?;
        } else {
            write!(f, "positions {first} to {last}")?;
        }
        if let Some(id) = id {
            write!(f, ", block {id}")?;
        }
        write!(f, ": {reason}")
    }
}

impl Lost {
    fn json(&self) -> Value {
        match self {
            Self::File(what) => json!({"lost": "file", "reason": what}),
            Self::Declaration(what) => json!({"lost": "declaration", "reason": what}),
            Self::Value { lane, key, reason } => {
                json!({"lost": "value", "lane": lane.as_str(), "key": key, "reason": reason})
            }
            Self::Blocks(blocks) => {
                let LostBlocks {
                    lane,
                    first,
                    last,
                    id,
                    reason,
                } = blocks;
                json!({
                    "lost": "blocks", "lane": lane.as_str(), "first_position": first.0, "last_position": last.0,
                    "block": id, "reason": reason,
                })
            }
        }
    }
}

/// Of everything that was carried over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sum {
    pub(super) blocks: u64,
    pub(super) records: u64,
    /// Stored.
    pub(super) bytes: u64,
    /// Lines of the report.
    pub(super) lost: u64,
}

#[derive(Debug)]
pub(super) struct Report {
    path: PathBuf,
    file: BufWriter<File>,
    pub(super) sum: Sum,
}

impl Report {
    pub(super) fn create(path: PathBuf) -> Result<Self, InspectError> {
        match File::create_new(&path) {
            Ok(file) => Ok(Self {
                path,
                file: BufWriter::new(file),
                sum: Sum::default(),
            }),
            Err(source) => Err(InspectError::Export { path, source }),
        }
    }

    pub(super) fn lost(&mut self, lost: &Lost) -> Result<(), InspectError> {
        self.sum.lost += 1;
        let written = writeln!(self.file, "{}", lost.json());
        written.map_err(|source| self.failed(source))
    }

    fn failed(&self, source: io::Error) -> InspectError {
        InspectError::Export {
            path: self.path.clone(),
            source,
        }
    }

    /// Everything is on the disk.
    pub(super) fn finish(mut self, source: &Path) -> Result<Sum, InspectError> {
        let Sum {
            blocks,
            records,
            bytes,
            lost,
        } = self.sum;
        let line = json!({
            "source": source.display().to_string(), "blocks": blocks, "records": records, "bytes": bytes, "lost": lost,
        });
        let written = writeln!(self.file, "{line}")
            .and_then(|()| self.file.flush())
            .and_then(|()| self.file.get_ref().sync_all());
        written.map_err(|source| self.failed(source))?;
        Ok(self.sum)
    }
}
