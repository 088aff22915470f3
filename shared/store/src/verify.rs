//! Checks everything that can be checked of a store or a segment file: checksums, numbers, cross references.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use efd_shared_model::{BlockId, EpochId, EpochLane, RangeSet, SealedBlock};
use rusqlite::Connection;

use crate::declare::Declared;
use crate::disk;
use crate::error::{StoreError, sql};
use crate::lane::{Position, SegmentKey};
use crate::meta::META;
use crate::options::Options;
use crate::read_only::ReadOnlyStore;
use crate::reader::Item;
use crate::recover;
use crate::segment::scan::{self, COLUMNS};
use crate::segment::{Contents, SegmentInfo, SegmentState};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Worth knowing; nothing is lost by it.
    Note,
    /// Something that was stored cannot be given as it was, or may not be all.
    Damage,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub severity: Severity,
    pub subject: Subject,
    pub what: String,
}

/// How far into the blocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Depth {
    /// Every stored byte against the checksum it was written with, every header against its row.
    #[default]
    Stored,
    /// Each block is decompressed as well, and its digest, stamps and lengths are checked: finds what was wrong before
    /// it was stored. Several times the work.
    Content,
}

/// What a finding is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    File(PathBuf),
    Block {
        segment: SegmentKey,
        position: Position,
        id: Option<BlockId>,
    },
    Log(EpochLane),
}

/// How far it is, told after each block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    pub segments_done: usize,
    pub segments: usize,
    pub blocks: u64,
    pub records: u64,
    pub bytes: u64,
}

/// Reads everything in a store's folder, or in one segment file, and gives each finding as it is made. Returning
/// `false` from either callback ends it. An error only where nothing can be opened.
pub fn verify(
    path: impl AsRef<Path>,
    depth: Depth,
    finding: impl FnMut(Finding) -> bool,
    progress: impl FnMut(Progress) -> bool,
) -> Result<Progress, StoreError> {
    let path = path.as_ref();
    let store = ReadOnlyStore::open_with(path, &Options::default())?;
    let mut verifying = Verifying {
        depth,
        finding,
        progress,
        done: Progress::default(),
        numbers: BTreeMap::new(),
        meta: None,
        declared: BTreeMap::new(),
        goes_on: true,
    };
    verifying.store(&store, path);
    Ok(verifying.done)
}

struct Verifying<F, P> {
    depth: Depth,
    finding: F,
    progress: P,
    done: Progress,
    numbers: BTreeMap<EpochLane, RangeSet>,
    /// The catalogue, and how many streams of each epoch it declares.
    meta: Option<PathBuf>,
    declared: BTreeMap<EpochId, u32>,
    goes_on: bool,
}

impl<F: FnMut(Finding) -> bool, P: FnMut(Progress) -> bool> Verifying<F, P> {
    fn find(&mut self, severity: Severity, subject: Subject, what: impl Into<String>) {
        let what = what.into();
        let finding = Finding {
            severity,
            subject,
            what,
        };
        self.goes_on &= (self.finding)(finding);
    }

    fn store(&mut self, store: &ReadOnlyStore, path: &Path) {
        for notice in store.notices() {
            let file = Subject::File(path.to_owned());
            self.find(Severity::Damage, file, notice.to_string());
        }
        let meta = path.join(META);
        if meta.is_file() {
            self.database(&meta, store, |_, _| Ok(()));
            self.meta = Some(meta);
        }
        let segments = store.segments();
        self.done.segments = segments.len();
        let mut before: Option<&SegmentInfo> = None;
        for info in &segments {
            if !self.goes_on {
                return;
            }
            let expected = before.filter(|before| before.key.lane == info.key.lane);
            if let Some(before) = expected.filter(|before| before.last.next() != info.first) {
                let (last, first) = (before.last, info.first);
                let what = format!("begins with position {first}, the one before ends with {last}");
                let file = Subject::File(store.path(&info.key));
                self.find(Severity::Note, file, what);
            }
            before = Some(info);
            self.segment(store, info);
            self.done.segments_done += 1;
        }
        self.gaps();
    }

    /// Streams are declared in the catalogue before a block uses them.
    fn catalogue(&mut self, store: &ReadOnlyStore, epoch: EpochId, needed: u32) {
        let known = |this: &Self| this.declared.get(&epoch).copied();
        let Some(meta) = self.meta.clone() else {
            return;
        };
        if known(self).is_some_and(|known| needed <= known) {
            return;
        }
        // A live writer has declared more since.
        let Ok((connection, _)) = store.shared().disk.open_as_possible(&meta) else {
            return;
        };
        let Ok(through) = Declared::new(&connection).through(epoch) else {
            return;
        };
        if through < needed {
            let what = format!(
                "it declares the streams of epoch {epoch} up to {through}, its blocks need them up to {needed}: they are \
                 taken from the segments"
            );
            self.find(Severity::Damage, Subject::File(meta), what);
        }
        // Said once, unless more is needed.
        self.declared.insert(epoch, through.max(needed));
    }

    /// A block that came twice is harmless; two blocks of one name are not.
    fn repeated(&mut self, store: &ReadOnlyStore, subject: Subject, block: &SealedBlock) {
        let id = block.id();
        match store.reader().read_block(&id.lane, id.number) {
            Ok(Some(Item::Block(_, other))) if other.digest() != block.digest() => {
                let what = "another block of that number has another digest";
                self.find(Severity::Damage, subject, what);
            }
            _ => self.find(Severity::Note, subject, "it is here more than once"),
        }
    }

    /// Blocks of a log are numbered without gaps; what retention removed is missing at the beginning only.
    fn gaps(&mut self) {
        for (log, numbers) in std::mem::take(&mut self.numbers) {
            let (first, last) = (numbers.iter().next(), numbers.last());
            let (Some(first), Some(last)) = (first, last) else {
                continue;
            };
            for hole in numbers.missing(*first.start()..=last) {
                let what = format!("blocks {} to {} are not here", hole.start(), hole.end());
                self.find(Severity::Note, Subject::Log(log), what);
            }
        }
    }

    /// Opens a file, has SQLite check it, then goes on with `then`.
    fn database(
        &mut self,
        path: &Path,
        store: &ReadOnlyStore,
        then: impl FnOnce(&mut Self, &Connection) -> rusqlite::Result<()>,
    ) {
        let check = || -> Result<(), StoreError> {
            let (connection, _) = store.shared().disk.open_as_possible(path)?;
            let wrong = sql("check", path);
            let mut statement = connection
                .prepare("PRAGMA integrity_check(100)")
                .map_err(&wrong)?;
            let mut rows = statement.query([]).map_err(&wrong)?;
            while let Some(row) = rows.next().map_err(&wrong)? {
                let answer: String = row.get(0).map_err(&wrong)?;
                if answer != "ok" {
                    let file = Subject::File(path.to_owned());
                    self.find(Severity::Damage, file, answer);
                }
            }
            drop(rows);
            self.declarations(path, &connection).map_err(&wrong)?;
            then(self, &connection).map_err(&wrong)
        };
        if let Err(error) = check() {
            let reason = std::error::Error::source(&error).map(ToString::to_string);
            let what = format!("{error} {}", reason.unwrap_or_default());
            let file = Subject::File(path.to_owned());
            self.find(Severity::Damage, file, what.trim());
        }
    }

    /// Every stream has its epoch and its schema, every schema its fingerprint.
    fn declarations(&mut self, path: &Path, connection: &Connection) -> rusqlite::Result<()> {
        let declared = Declared::new(connection);
        let mut checked = std::collections::BTreeSet::new();
        for epoch in declared.epochs()? {
            for stream in declared.streams(epoch.epoch)? {
                if !checked.insert(stream.schema) {
                    continue;
                }
                let what = match declared.schema(&stream.schema) {
                    Ok(Some(_)) => continue,
                    Ok(None) => format!("schema {} of {} is missing", stream.schema, stream.topic),
                    Err(error) => error.to_string(),
                };
                self.find(Severity::Damage, Subject::File(path.to_owned()), what);
            }
        }
        Ok(())
    }

    fn segment(&mut self, store: &ReadOnlyStore, info: &SegmentInfo) {
        let path = store.path(&info.key);
        // A file that is newer in both places has not been opened.
        let wrong = match disk::read_header(&path, disk::FileKind::Segment) {
            Ok(disk::Header::Wrong(reason)) => Some(reason.to_owned()),
            Ok(disk::Header::TooNew(found)) => Some(recover::one_place(found)),
            Ok(disk::Header::Ours) | Err(_) => None,
        };
        if let Some(reason) = wrong {
            self.find(Severity::Damage, Subject::File(path.clone()), reason);
        }
        self.database(&path, store, |this, connection| {
            this.blocks(store, &path, connection, info)
        });
    }

    fn blocks(
        &mut self,
        store: &ReadOnlyStore,
        path: &Path,
        connection: &Connection,
        info: &SegmentInfo,
    ) -> rusqlite::Result<()> {
        let declared = Declared::new(connection);
        let mut through: BTreeMap<EpochId, u32> = BTreeMap::new();
        for epoch in declared.epochs()? {
            through.insert(epoch.epoch, declared.through(epoch.epoch)?);
        }
        if let Err(error) = recover::states(connection) {
            let what = format!("its state: {error}");
            self.find(Severity::Damage, Subject::File(path.to_owned()), what);
        }
        let lanes = scan::lane_keys(connection)?;
        let mut contents = Contents::default();
        let mut statement = connection.prepare(&format!(
            "SELECT {COLUMNS}, data FROM blocks WHERE position = ?1"
        ))?;
        for position in info.first.0..=info.last.0 {
            if !self.goes_on {
                return Ok(());
            }
            let read = statement.query_row([position], |row| {
                let data: Vec<u8> = row.get(11)?;
                Ok((scan::block_row(row, &lanes)?, Bytes::from(data)))
            });
            let mut subject = Subject::Block {
                segment: info.key.clone(),
                position: Position(position),
                id: None,
            };
            let (stored, data) = match read {
                Ok(read) => read,
                Err(error) => {
                    let what = scan::DamageReason::of(&error).to_string();
                    self.find(Severity::Damage, subject, what);
                    continue;
                }
            };
            let row = stored.row;
            if let Subject::Block { id, .. } = &mut subject {
                *id = Some(row.id());
            }
            contents.add(&row);
            let block = match scan::check(&stored, data) {
                Ok(block) => block,
                Err(reason) => {
                    self.find(Severity::Damage, subject, reason.to_string());
                    continue;
                }
            };
            if self.depth == Depth::Content
                && let Err(error) = block.open()
            {
                self.find(Severity::Damage, subject.clone(), error.to_string());
            }
            let needed = block.header().streams_through.0;
            if through
                .get(&row.lane.epoch)
                .is_none_or(|&through| through < needed)
            {
                let what = format!("it needs the declarations of streams up to {needed}");
                self.find(Severity::Damage, subject.clone(), what);
            }
            self.catalogue(store, row.lane.epoch, needed);
            if !self.numbers.entry(row.lane).or_default().insert(row.number) {
                self.repeated(store, subject, &block);
            }
            self.done.blocks += 1;
            self.done.records += row.records;
            self.done.bytes += row.stored_bytes;
            self.goes_on &= (self.progress)(self.done);
        }
        if contents != info.contents && info.state == SegmentState::Closed {
            let what = "its rows are not what its summary says";
            self.find(Severity::Damage, Subject::File(path.to_owned()), what);
        }
        Ok(())
    }
}
