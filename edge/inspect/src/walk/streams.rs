//! What streams are, by epoch: asked once, from the catalogue; where that does not know, from each segment itself.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use efd_shared_avro::{Decoder, RecordSchema};
use efd_shared_model::loss::LOSS_SCHEMA;
use efd_shared_model::{EpochId, Fingerprint, Schema, StreamDeclaration, StreamNumber};
use efd_shared_store::{ReadOnlyStore, Reader};

use crate::pattern::Pattern;

pub(super) struct Streams {
    pattern: Option<Pattern>,
    opened: usize,
    epochs: BTreeMap<EpochId, Epoch>,
    /// Of [`Self::look_again`].
    round: u64,
    recent: Recent,
}

/// What was answered last: a block has a section for each of hundreds of streams, and the next has them again.
#[derive(Default)]
struct Recent {
    epoch: Option<EpochId>,
    /// By stream number; `None` where it was not asked for, the inner one where it is not wanted.
    streams: Vec<Option<Option<Arc<Stream>>>>,
}

impl Recent {
    fn of(&mut self, epoch: EpochId) -> &mut Vec<Option<Option<Arc<Stream>>>> {
        if self.epoch != Some(epoch) {
            self.epoch = Some(epoch);
            self.streams.clear();
        }
        &mut self.streams
    }
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

/// The streams of an epoch that do not match the pattern: a block with nothing else need not be opened.
pub(super) type Unwanted = Arc<HashSet<StreamNumber>>;

#[derive(Default)]
struct Epoch {
    streams: BTreeMap<StreamNumber, Known>,
    /// Of those that match the pattern.
    first_wanted: Option<StreamNumber>,
    unwanted: Unwanted,
    /// Segments that have been asked as well: each declares what its own blocks need.
    asked: BTreeSet<PathBuf>,
    /// When it was asked for last.
    round: Option<u64>,
}

struct Known {
    declaration: StreamDeclaration,
    is_wanted: bool,
    opened: Option<Result<Arc<Stream>, Missing>>,
}

/// A stream of which records are wanted.
#[derive(Clone, Debug)]
pub(crate) struct Stream {
    /// Its own in this walk, whatever its epoch.
    pub(crate) number: usize,
    pub(crate) topic: String,
    #[cfg(feature = "play")]
    pub(crate) declaration: StreamDeclaration,
    pub(crate) schema: Schema,
    pub(crate) decoder: Decoder,
}

impl Streams {
    pub(super) fn new(pattern: Option<Pattern>) -> Self {
        Self {
            pattern,
            opened: 0,
            epochs: BTreeMap::new(),
            round: 0,
            recent: Recent::default(),
        }
    }

    /// A live writer may have declared more since: what is asked for from here on is looked up once more.
    pub(super) fn look_again(&mut self) {
        self.round += 1;
    }

    /// Whether anything of the epoch may be wanted. What is not known may be.
    pub(super) fn may_want(&mut self, epoch: EpochId, segment: &Path, reader: &mut Reader) -> bool {
        if self.pattern.is_none() {
            return true;
        }
        let epoch = self.epoch(epoch, segment, reader);
        epoch.first_wanted.is_some() || epoch.streams.is_empty()
    }

    /// `None` where a block that uses streams up to `through` holds nothing wanted.
    pub(super) fn unwanted_through(
        &mut self,
        epoch: EpochId,
        through: StreamNumber,
        segment: &Path,
        reader: &mut Reader,
    ) -> Option<Unwanted> {
        if self.pattern.is_none() {
            return Some(Unwanted::default());
        }
        let epoch = self.epoch(epoch, segment, reader);
        let knows_all = epoch.streams.contains_key(&through);
        let may_hold = !knows_all || epoch.first_wanted.is_some_and(|first| first <= through);
        may_hold.then(|| Arc::clone(&epoch.unwanted))
    }

    /// `None` where the stream does not match the pattern.
    pub(super) fn get(
        &mut self,
        id: EpochId,
        number: StreamNumber,
        segment: &Path,
        reader: &mut Reader,
    ) -> Result<Option<Arc<Stream>>, Missing> {
        /// What a hostile number may make of the table.
        const RECENT_MAX: usize = 1 << 16;
        let index = number.0 as usize;
        if let Some(Some(known)) = self.recent.of(id).get(index) {
            return Ok(known.clone());
        }
        let found = self.look_up(id, number, segment, reader)?;
        let recent = self.recent.of(id);
        if index < RECENT_MAX {
            if recent.len() <= index {
                recent.resize(index + 1, None);
            }
            recent[index] = Some(found.clone());
        }
        Ok(found)
    }

    fn look_up(
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
        let count = self.opened;
        let epoch = self.epoch(id, segment, reader);
        let known = epoch.streams.get_mut(&number).ok_or(Missing::Stream)?;
        if !known.is_wanted {
            return Ok(None);
        }
        if let Some(opened) = &known.opened {
            return opened.clone().map(Some);
        }
        let opened = open(&known.declaration, count, segment, reader);
        known.opened = Some(opened.clone());
        self.opened = count + 1;
        opened.map(Some)
    }

    fn epoch(&mut self, id: EpochId, segment: &Path, reader: &mut Reader) -> &mut Epoch {
        let round = Some(self.round);
        if self
            .epochs
            .get(&id)
            .is_none_or(|epoch| epoch.round != round)
        {
            let streams = reader.streams(id).unwrap_or_default();
            let is_empty = streams.is_empty();
            self.add(id, streams);
            let epoch = self.epochs.entry(id).or_default();
            epoch.round = round;
            epoch.asked.clear();
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
            if !is_wanted {
                Arc::make_mut(&mut epoch.unwanted).insert(number);
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
    number: usize,
    segment: &Path,
    reader: &mut Reader,
) -> Result<Arc<Stream>, Missing> {
    let fingerprint = declaration.schema;
    let schema = find_schema(&fingerprint, segment, reader).ok_or(Missing::Schema(fingerprint))?;
    let unreadable = |error: efd_shared_avro::SchemaError| Missing::Unreadable(error.to_string());
    let parsed = RecordSchema::parse(schema.text()).map_err(unreadable)?;
    Ok(Arc::new(Stream {
        number,
        topic: declaration.topic.clone(),
        #[cfg(feature = "play")]
        declaration: declaration.clone(),
        decoder: Decoder::new(Arc::new(parsed)),
        schema,
    }))
}

fn find_schema(fingerprint: &Fingerprint, segment: &Path, reader: &mut Reader) -> Option<Schema> {
    let known = reader.schema(fingerprint).ok().flatten();
    known
        .or_else(|| {
            let alone = ReadOnlyStore::open(segment).ok()?;
            alone.reader().schema(fingerprint).ok().flatten()
        })
        .or_else(|| own_schema(fingerprint))
}

/// Where no copy of it can be read, that of the losses is known all the same.
pub(crate) fn own_schema(fingerprint: &Fingerprint) -> Option<Schema> {
    Some(Schema::new(LOSS_SCHEMA)).filter(|schema| schema.fingerprint() == *fingerprint)
}
