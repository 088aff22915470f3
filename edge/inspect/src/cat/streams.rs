//! What streams are, by epoch: asked once, from the catalogue; where that does not know, from each segment itself.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use efd_shared_avro::{Decoder, RecordSchema};
use efd_shared_model::{
    EpochId, Fingerprint, RecordId, RecordRef, Schema, StreamDeclaration, StreamNumber,
};
use efd_shared_store::{ReadOnlyStore, Reader};

use super::line::Layout;
use crate::pattern::Pattern;

pub(super) struct Streams {
    pattern: Option<Pattern>,
    epochs: BTreeMap<EpochId, Epoch>,
}

/// Why a record's stream cannot be told.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum Missing {
    #[error("its epoch or stream is not declared here")]
    Stream,
    #[error("its schema {} is not here", .0.short())]
    Schema(Fingerprint),
    #[error("{0}")]
    Unreadable(String),
}

#[derive(Default)]
struct Epoch {
    streams: BTreeMap<StreamNumber, Known>,
    /// Of those that match the pattern.
    first_wanted: Option<StreamNumber>,
    /// Segments that have been asked as well: each declares what its own blocks need.
    asked: BTreeSet<PathBuf>,
}

struct Known {
    declaration: StreamDeclaration,
    is_wanted: bool,
    opened: Option<Result<Arc<Stream>, Missing>>,
}

/// A stream that is shown.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) topic: String,
    layout: Layout,
}

impl Stream {
    /// Appends the record as one line. Where its datum does not fit the schema the line says so, and the reason is given.
    pub(super) fn write_line(
        &self,
        id: RecordId,
        record: &RecordRef<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), String> {
        self.layout
            .write_line(id, record, out)
            .map_err(|error| error.to_string())
    }
}

impl Streams {
    pub(super) fn new(pattern: Option<Pattern>) -> Self {
        Self {
            pattern,
            epochs: BTreeMap::new(),
        }
    }

    /// Whether anything of the epoch may be wanted. What is not known may be.
    pub(super) fn may_want(&mut self, epoch: EpochId, segment: &Path, reader: &mut Reader) -> bool {
        if self.pattern.is_none() {
            return true;
        }
        let epoch = self.epoch(epoch, segment, reader);
        epoch.first_wanted.is_some() || epoch.streams.is_empty()
    }

    /// Whether a block that uses streams up to `through` may hold anything wanted.
    pub(super) fn may_want_through(
        &mut self,
        epoch: EpochId,
        through: StreamNumber,
        segment: &Path,
        reader: &mut Reader,
    ) -> bool {
        if self.pattern.is_none() {
            return true;
        }
        let epoch = self.epoch(epoch, segment, reader);
        let knows_all = epoch.streams.contains_key(&through);
        !knows_all || epoch.first_wanted.is_some_and(|first| first <= through)
    }

    /// `None` where the stream does not match the pattern.
    pub(super) fn get(
        &mut self,
        id: EpochId,
        number: StreamNumber,
        segment: &Path,
        reader: &mut Reader,
    ) -> Result<Option<Arc<Stream>>, Missing> {
        let known = self
            .epoch(id, segment, reader)
            .streams
            .contains_key(&number);
        if !known {
            self.ask_segment(id, segment);
        }
        let epoch = self.epoch(id, segment, reader);
        let known = epoch.streams.get_mut(&number).ok_or(Missing::Stream)?;
        if !known.is_wanted {
            return Ok(None);
        }
        let declaration = &known.declaration;
        let opened = known
            .opened
            .get_or_insert_with(|| open(declaration, segment, reader));
        opened.clone().map(Some)
    }

    fn epoch(&mut self, id: EpochId, segment: &Path, reader: &mut Reader) -> &mut Epoch {
        if !self.epochs.contains_key(&id) {
            let streams = reader.streams(id).unwrap_or_default();
            let is_empty = streams.is_empty();
            self.add(id, streams);
            if is_empty {
                self.ask_segment(id, segment);
            }
        }
        self.epochs.entry(id).or_default()
    }

    /// A catalogue whose `-wal` is missing is older than its segments, which carry their own declarations.
    fn ask_segment(&mut self, id: EpochId, segment: &Path) {
        let asked = &mut self.epochs.entry(id).or_default().asked;
        if !asked.insert(segment.to_owned()) {
            return;
        }
        let streams = ReadOnlyStore::open(segment).and_then(|store| store.reader().streams(id));
        self.add(id, streams.unwrap_or_default());
    }

    fn add(&mut self, id: EpochId, streams: Vec<StreamDeclaration>) {
        let epoch = self.epochs.entry(id).or_default();
        for declaration in streams {
            let pattern = self.pattern.as_ref();
            let is_wanted = pattern.is_none_or(|pattern| pattern.matches(&declaration.topic));
            let number = declaration.number;
            if is_wanted && epoch.first_wanted.is_none_or(|first| number < first) {
                epoch.first_wanted = Some(number);
            }
            epoch.streams.entry(number).or_insert(Known {
                declaration,
                is_wanted,
                opened: None,
            });
        }
    }
}

fn open(
    declaration: &StreamDeclaration,
    segment: &Path,
    reader: &mut Reader,
) -> Result<Arc<Stream>, Missing> {
    let fingerprint = declaration.schema;
    let schema = find_schema(&fingerprint, segment, reader).ok_or(Missing::Schema(fingerprint))?;
    let unreadable = |error: efd_shared_avro::SchemaError| Missing::Unreadable(error.to_string());
    let schema = RecordSchema::parse(schema.text()).map_err(unreadable)?;
    Ok(Arc::new(Stream {
        topic: declaration.topic.clone(),
        layout: Layout::new(&declaration.topic, Decoder::new(Arc::new(schema))),
    }))
}

fn find_schema(fingerprint: &Fingerprint, segment: &Path, reader: &mut Reader) -> Option<Schema> {
    let known = reader.schema(fingerprint).ok().flatten();
    known.or_else(|| {
        let alone = ReadOnlyStore::open(segment).ok()?;
        alone.reader().schema(fingerprint).ok().flatten()
    })
}
