//! The files of one tier: a moving span of time.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use efd_shared_model::{Schema, UtcNanos};
use efd_shared_stats::Resolution;
use efd_shared_store::StoreError;
use efd_shared_store::database::{
    Disk, FileKind, Header, database_bytes, file, file_bytes, read_header, with_suffix,
};
use efd_shared_tiers::{
    Known, Note, Run, Series, SeriesKey, Span, Statistics, TierFile, TierReader, settle,
};

use crate::coarse::Window;
use crate::settings::{TierSettings, file_name, name, span};

/// Files that are kept open for writing: the present one, and those that late samples come for.
const OPEN_MAX: usize = 3;

#[derive(Debug)]
pub struct TierFolder {
    path: PathBuf,
    settings: TierSettings,
    disk: Disk,
    /// By the begin of the span.
    files: BTreeMap<UtcNanos, Held>,
    /// Most recently used last.
    open: VecDeque<TierFile>,
    /// Windows before it were removed: late samples do not make pieces of them again.
    floor: Option<UtcNanos>,
}

#[derive(Clone, Debug)]
struct Held {
    path: PathBuf,
    bytes: u64,
    is_settled: bool,
}

/// After a commit the WAL is copied when it is larger.
const WAL_BYTES: u64 = 4 << 20;

/// What there is of a tier.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holding {
    pub files: usize,
    pub bytes: u64,
    /// Of the oldest file.
    pub begin: Option<UtcNanos>,
}

/// The start of the newest window of each series, by its digest; of the windows of all other series none begins after
/// `others`.
#[derive(Clone, Debug, Default)]
pub struct Newest {
    by_series: HashMap<u64, UtcNanos>,
    others: Option<UtcNanos>,
}

impl Newest {
    /// `None`: there is nothing.
    pub fn of(&self, digest: u64) -> Option<UtcNanos> {
        self.by_series.get(&digest).copied().or(self.others)
    }
}

impl TierFolder {
    /// Makes the folder where it is not there. A file that is not one of ours is left alone and told.
    pub fn open(root: &Path, settings: TierSettings, disk: &Disk) -> Result<Self, StoreError> {
        let path = root.join(name(settings.resolution));
        fs::create_dir_all(&path).map_err(file("create", &path))?;
        let mut files = BTreeMap::new();
        for entry in fs::read_dir(&path).map_err(file("list", &path))? {
            let found = entry.map_err(file("list", &path))?.path();
            let is = |extension: &str| found.extension().is_some_and(|it| it == extension);
            if is("settling") || is("new") {
                // Left by a crash while it was written.
                disk.unlink_database(&found)
                    .map_err(file("remove", &found))?;
            }
            if !is("db") {
                continue;
            }
            match held(&found, &settings, disk) {
                Ok((begin, held)) => {
                    files.insert(begin, held);
                }
                Err(error) => tracing::error!(
                    error = &error as &dyn std::error::Error, path = %found.display(), "A file of a tier is left out"
                ),
            }
        }
        Ok(Self {
            path,
            settings,
            disk: disk.clone(),
            files,
            open: VecDeque::new(),
            floor: None,
        })
    }

    pub fn settings(&self) -> &TierSettings {
        &self.settings
    }

    pub fn resolution(&self) -> Resolution {
        self.settings.resolution
    }

    pub fn floor(&self) -> Option<UtcNanos> {
        self.floor
    }

    pub fn raise_floor(&mut self, floor: UtcNanos) {
        self.floor = self.floor.max(Some(floor));
    }

    /// Whether windows of that start are made.
    pub fn takes(&self, start: UtcNanos) -> bool {
        self.floor.is_none_or(|floor| floor <= start)
    }

    /// The begins of the spans of all files, oldest first.
    pub fn begins(&self) -> impl DoubleEndedIterator<Item = UtcNanos> {
        self.files.keys().copied()
    }

    pub fn holding(&self) -> Holding {
        Holding {
            files: self.files.len(),
            bytes: self.files.values().map(|held| held.bytes).sum(),
            begin: self.files.keys().next().copied(),
        }
    }

    /// Windows of any spans, by file; durable when this returns. After an error some files may have theirs.
    pub fn commit(&mut self, runs: &[Run<'_>], note: &Note) -> Result<(), StoreError> {
        let mut by_file: BTreeMap<UtcNanos, (Span, Vec<Part<'_>>)> = BTreeMap::new();
        for run in runs {
            for part in parts(run, |start| span(self.settings.resolution, start)) {
                let (_, parts) = by_file
                    .entry(part.span.begin)
                    .or_insert_with(|| (part.span, Vec::new()));
                parts.push(part);
            }
        }
        for (span, parts) in by_file.values() {
            let runs: Vec<_> = parts.iter().map(Part::run).collect();
            let path = self.path_of(span.begin);
            let writer = self.writer(*span)?;
            writer.commit(&runs, note)?;
            if WAL_BYTES < file_bytes(&with_suffix(&path, "-wal")) {
                writer.maintain()?;
            }
            let bytes = database_bytes(&path);
            let new = || Held {
                path,
                bytes,
                is_settled: false,
            };
            self.files.entry(span.begin).or_insert_with(new).bytes = bytes;
        }
        Ok(())
    }

    fn writer(&mut self, span: Span) -> Result<&mut TierFile, StoreError> {
        let found = self.open.iter().position(|file| file.span() == span);
        let file = match found.and_then(|index| self.open.remove(index)) {
            Some(file) => file,
            None => TierFile::open(&self.path_of(span.begin), span, &self.disk)?,
        };
        if OPEN_MAX <= self.open.len()
            && let Some(oldest) = self.open.pop_front()
        {
            oldest.close()?;
        }
        self.open.push_back(file);
        let last = self.open.len() - 1;
        Ok(&mut self.open[last])
    }

    fn path_of(&self, begin: UtcNanos) -> PathBuf {
        self.path.join(file_name(begin))
    }

    /// Windows of a series that begin in `times`.
    pub fn windows(
        &self,
        key: &SeriesKey,
        times: Range<UtcNanos>,
    ) -> Result<BTreeMap<UtcNanos, Window>, StoreError> {
        let mut all = BTreeMap::new();
        for (reader, series) in self.readers_of(key, &times)? {
            all.append(&mut reader.windows(&series, times.clone())?);
        }
        Ok(all)
    }

    /// `None` of a window that is in no file.
    pub fn known(&self, key: &SeriesKey, start: UtcNanos) -> Result<Option<Known>, StoreError> {
        let only = start..UtcNanos(start.0.saturating_add(1));
        for (reader, series) in self.readers_of(key, &only)? {
            if let Some(known) = reader.known(&series, &[start])?.remove(&start) {
                return Ok(Some(known));
            }
        }
        Ok(None)
    }

    /// The file that windows of that start are in; `None` where there is none.
    pub fn file_of(&self, start: UtcNanos) -> Result<Option<TierReader>, StoreError> {
        let begin = span(self.settings.resolution, start).begin;
        let held = self.files.get(&begin);
        held.map(|held| TierReader::open(&held.path, &self.disk))
            .transpose()
    }

    /// By the digest of the series, the samples of each window that begins in `times`.
    pub fn rows(
        &self,
        times: &Range<UtcNanos>,
        is_wanted: impl Fn(u64) -> bool,
    ) -> Result<HashMap<u64, BTreeMap<UtcNanos, u64>>, StoreError> {
        let mut all: HashMap<u64, BTreeMap<UtcNanos, u64>> = HashMap::new();
        for reader in self.readers(times)? {
            for series in reader.series()? {
                let digest = series.key.digest();
                if !is_wanted(digest) {
                    continue;
                }
                let found = reader.read(&series, 0..1, Statistics::NONE, times.clone())?;
                let windows = all.entry(digest).or_default();
                for found in found {
                    windows.extend(found.starts.into_iter().zip(found.rows));
                }
            }
        }
        Ok(all)
    }

    /// The notes of the newest file.
    pub fn newest_notes(&self) -> Result<Vec<Note>, StoreError> {
        match self.files.values().next_back() {
            Some(held) => TierReader::open(&held.path, &self.disk)?.notes(),
            None => Ok(Vec::new()),
        }
    }

    /// Out of the two newest files.
    pub fn newest(&self) -> Result<Newest, StoreError> {
        const FILES: usize = 2;
        let mut all = Newest::default();
        for (begin, held) in self.files.iter().rev().take(FILES) {
            let reader = TierReader::open(&held.path, &self.disk)?;
            let newest = reader.newest()?;
            for series in reader.series()? {
                if let Some(&start) = newest.get(&series.id) {
                    let known = all.by_series.entry(series.key.digest()).or_insert(start);
                    *known = start.max(*known);
                }
            }
            all.others = Some(begin.saturating_sub(1));
        }
        Ok(all)
    }

    /// The series of the files that have windows which begin in `times`.
    pub fn keys(&self, times: &Range<UtcNanos>) -> Result<BTreeSet<SeriesKey>, StoreError> {
        let mut all = BTreeSet::new();
        for reader in self.readers(times)? {
            all.extend(reader.series()?.into_iter().map(|series| series.key));
        }
        Ok(all)
    }

    /// Every wanted series that has windows which begin in `times`, with these.
    pub fn each_series(
        &self,
        times: Range<UtcNanos>,
        is_wanted: impl Fn(&SeriesKey) -> bool,
        mut each: impl FnMut(&SeriesKey, &Schema, BTreeMap<UtcNanos, Window>),
    ) -> Result<(), StoreError> {
        // A span of the coarser tier may reach over several files.
        let mut all: BTreeMap<SeriesKey, (Schema, BTreeMap<UtcNanos, Window>)> = BTreeMap::new();
        let readers = self.readers(&times)?;
        let is_alone = readers.len() == 1;
        for reader in readers {
            let wanted = reader
                .series()?
                .into_iter()
                .filter(|series| is_wanted(&series.key));
            for series in wanted {
                let mut windows = reader.windows(&series, times.clone())?;
                let Some(schema) = reader.schema(&series.key.schema)? else {
                    continue;
                };
                if is_alone {
                    each(&series.key, &schema, windows);
                } else {
                    let (_, known) = all
                        .entry(series.key)
                        .or_insert_with(|| (schema, BTreeMap::new()));
                    known.append(&mut windows);
                }
            }
        }
        for (key, (schema, windows)) in all {
            each(&key, &schema, windows);
        }
        Ok(())
    }

    fn readers(&self, times: &Range<UtcNanos>) -> Result<Vec<TierReader>, StoreError> {
        let first = span(self.settings.resolution, times.start).begin;
        let files = self.files.range(first..times.end.max(first));
        files
            .map(|(_, held)| TierReader::open(&held.path, &self.disk))
            .collect()
    }

    fn readers_of(
        &self,
        key: &SeriesKey,
        times: &Range<UtcNanos>,
    ) -> Result<Vec<(TierReader, Series)>, StoreError> {
        let mut all = Vec::new();
        for reader in self.readers(times)? {
            let series = reader
                .series()?
                .into_iter()
                .find(|series| series.key == *key);
            all.extend(series.map(|series| (reader, series)));
        }
        Ok(all)
    }

    /// The floor once that has left which moves out of the tier's span of time, where that is known, or over its bytes,
    /// oldest first; `None` where nothing is to leave. The floor is durable first: after a crash a late sample would make a
    /// piece of what was removed.
    pub fn floor_due(&self, now: Option<UtcNanos>) -> Option<UtcNanos> {
        let age = i64::try_from(self.settings.age_max.as_nanos()).unwrap_or(i64::MAX);
        let oldest_kept = now.map_or(i64::MIN, |now| now.0.saturating_sub(age));
        let (mut bytes, mut left) = (self.holding().bytes, self.files.len());
        let mut floor = None;
        for (&begin, held) in &self.files {
            let end = span(self.settings.resolution, begin).end;
            let is_over = self.settings.bytes_max < bytes && left > 1;
            if oldest_kept < end.0 && !is_over {
                break;
            }
            floor = Some(end);
            bytes = bytes.saturating_sub(held.bytes);
            left -= 1;
        }
        floor
    }

    /// What is below the floor. Gives how many files left.
    pub fn remove_old(&mut self) -> Result<usize, StoreError> {
        let mut removed = 0;
        while let Some((&begin, held)) = self.files.first_key_value() {
            let end = span(self.settings.resolution, begin).end;
            if self.floor.is_none_or(|floor| floor < end) {
                break;
            }
            let path = held.path.clone();
            self.open.retain(|file| file.span().begin != begin);
            self.disk
                .unlink_database(&path)
                .map_err(file("remove", &path))?;
            self.files.remove(&begin);
            removed += 1;
        }
        Ok(removed)
    }

    /// Writes one file anew whose span ended before `before`. False where there is none to be.
    pub fn settle_one(&mut self, before: UtcNanos) -> Result<bool, StoreError> {
        let resolution = self.settings.resolution;
        let is_over = |begin: UtcNanos| span(resolution, begin).end <= before;
        let found = self
            .files
            .iter()
            .find(|(begin, held)| is_over(**begin) && !held.is_settled);
        let Some((begin, path)) = found.map(|(begin, held)| (*begin, held.path.clone())) else {
            return Ok(false);
        };
        if let Some(index) = self.open.iter().position(|file| file.span().begin == begin)
            && let Some(open) = self.open.remove(index)
        {
            open.close()?;
        }
        if !settle(&path, &self.disk)? {
            return Ok(false);
        }
        let held = Held {
            bytes: database_bytes(&path),
            path,
            is_settled: true,
        };
        self.files.insert(begin, held);
        Ok(true)
    }

    /// Leaves one file behind for each span.
    pub fn close(self) -> Result<(), StoreError> {
        self.open.into_iter().try_for_each(TierFile::close)
    }
}

/// Windows of a run that lie in one file.
struct Part<'a> {
    span: Span,
    of: &'a Run<'a>,
    windows: Range<usize>,
    summaries: Vec<efd_shared_stats::Summary>,
}

impl Part<'_> {
    fn run(&self) -> Run<'_> {
        Run {
            starts: &self.of.starts[self.windows.clone()],
            rows: &self.of.rows[self.windows.clone()],
            summaries: &self.summaries,
            ..self.of.clone()
        }
    }
}

fn parts<'a>(run: &'a Run<'a>, span: impl Fn(UtcNanos) -> Span) -> Vec<Part<'a>> {
    let count = run.starts.len();
    let groups = run.starts.chunk_by(|&a, &b| span(a).begin == span(b).begin);
    let mut first = 0;
    let part = |group: &[UtcNanos]| {
        let windows = first..first + group.len();
        first = windows.end;
        let of_channel = run.summaries.chunks(count.max(1));
        Part {
            span: span(group[0]),
            of: run,
            summaries: of_channel
                .flat_map(|channel| &channel[windows.clone()])
                .copied()
                .collect(),
            windows,
        }
    };
    groups.map(part).collect()
}

fn held(path: &Path, settings: &TierSettings, disk: &Disk) -> Result<(UtcNanos, Held), StoreError> {
    let damaged = |reason: String| StoreError::Damaged {
        path: path.to_owned(),
        reason,
    };
    let header = read_header(path, FileKind::Tier).map_err(file("read", path))?;
    if header != Header::Ours {
        return Err(damaged(format!("{header:?}")));
    }
    let reader = TierReader::open(path, disk)?;
    let begin = reader.span().begin;
    if reader.span() != span(settings.resolution, begin) {
        return Err(damaged(format!("it covers {:?}", reader.span())));
    }
    let held = Held {
        is_settled: reader.is_settled()?,
        bytes: database_bytes(path),
        path: path.to_owned(),
    };
    Ok((begin, held))
}
