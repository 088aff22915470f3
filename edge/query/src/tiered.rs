//! Windows of a topic out of the files of a tier.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use efd_edge_tiers::TierSettings;
use efd_edge_tiers::settings;
use efd_shared_model::{Fingerprint, UtcNanos};
use efd_shared_stats::{Quartiles, Resolution, Summary};
use efd_shared_store::StoreError;
use efd_shared_store::database::{Disk, with_suffix};
use efd_shared_tiers::{Channel, Found, Measured, Series, Span, Statistic, Statistics, TierReader};

use crate::ask::Column;
use crate::error::QueryError;
use crate::fold::{ByInstance, Windows};
use crate::library::Budget;
use crate::windows::reach_back;

/// The tiers of the buffer, as their files are found.
#[derive(Debug)]
pub(crate) struct Shelf {
    root: PathBuf,
    tiers: Vec<TierSettings>,
    disk: Disk,
    measured: HashMap<Fingerprint, Option<Measured>>,
    /// The oldest window of the oldest file, by tier: asked for once.
    begins: HashMap<PathBuf, UtcNanos>,
    index: BTreeMap<Resolution, Vec<FileTopics>>,
    /// Of topics: each is held once.
    names: BTreeSet<Arc<str>>,
}

/// A tier, and how far it reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reach {
    pub(crate) resolution: Resolution,
    /// Of the oldest window; `None` of a tier that has none.
    pub(crate) begin: Option<UtcNanos>,
    /// Of the newest file's span, which may be to come.
    pub(crate) end: Option<UtcNanos>,
}

/// Windows out of a tier's files.
#[derive(Debug, Default)]
pub(crate) struct Shelved {
    pub(crate) windows: ByInstance,
    /// Where the last window of each instance ends.
    pub(crate) ends: BTreeMap<Option<i32>, i64>,
    pub(crate) unread_files: u64,
}

#[derive(Clone, Debug)]
pub(crate) struct TierAskOf<'a> {
    pub(crate) resolution: Resolution,
    pub(crate) topic: &'a str,
    pub(crate) columns: &'a [Column],
    pub(crate) instance: Option<i32>,
    /// Windows that begin then; both inclusive, ns UTC.
    pub(crate) times: (i64, i64),
    pub(crate) wanted: Statistics,
    /// They are made coarser on the way: windows of so many ns.
    pub(crate) width: Option<i64>,
    pub(crate) memory_max: usize,
}

impl Shelf {
    pub(crate) fn new(folder: &Path, tiers: &[TierSettings], disk: Disk) -> Self {
        Self {
            root: folder.join("tiers"),
            tiers: tiers.to_vec(),
            disk,
            measured: HashMap::new(),
            begins: HashMap::new(),
            index: BTreeMap::new(),
            names: BTreeSet::new(),
        }
    }

    /// Those of a topic, finest first.
    pub(crate) fn reaches(&mut self, topic: &str) -> Vec<Reach> {
        let mut all = Vec::new();
        let mut begins = std::mem::take(&mut self.begins);
        begins.retain(|path, _| path.exists());
        for tier in self.tiers.iter().filter(|tier| tier.topics.has(topic)) {
            let files = self.files(tier.resolution);
            let begin = files.values().next().and_then(|path| {
                let known = begins.get(path).copied();
                let begin = known.or_else(|| {
                    let file = TierReader::open(path, &self.disk).ok()?;
                    file.oldest().ok()?
                });
                if let Some(begin) = begin {
                    begins.insert(path.clone(), begin);
                }
                begin
            });
            let last = files.last_key_value();
            all.push(Reach {
                resolution: tier.resolution,
                begin,
                end: last.map(|(begin, _)| settings::span(tier.resolution, *begin).end),
            });
        }
        self.begins = begins;
        all
    }

    pub(crate) fn settings(&self) -> &[TierSettings] {
        &self.tiers
    }

    /// By the begin of the span. None where the folder cannot be listed: it may not be made yet.
    fn files(&self, resolution: Resolution) -> BTreeMap<UtcNanos, PathBuf> {
        let folder = self.root.join(settings::name(resolution));
        let entries = fs::read_dir(folder).into_iter().flatten();
        let files = entries.filter_map(|entry| {
            let path = entry.ok()?.path();
            let begin = settings::begin_of(path.file_name()?.to_str()?)?;
            Some((begin, path))
        });
        files.collect()
    }

    fn files_in(&self, resolution: Resolution, (from, through): (i64, i64)) -> Vec<PathBuf> {
        let first = settings::span(resolution, UtcNanos(from)).begin;
        let mut files = self.files(resolution);
        files.retain(|begin, _| first <= *begin && begin.0 <= through);
        files.into_values().collect()
    }

    /// A file that cannot be read is told and left out.
    pub(crate) fn windows(
        &mut self,
        ask: &TierAskOf<'_>,
        budget: &dyn Budget,
    ) -> Result<Shelved, QueryError> {
        let mut all = Shelved::default();
        let too_much = QueryError::TooMuchMemory {
            max: ask.memory_max,
        };
        let Span { begin, end, .. } = settings::span(ask.resolution, UtcNanos(ask.times.0));
        let (from, through) = ask.times;
        let longest = end.since(begin).min(through.saturating_sub(from));
        let of_file = (longest / ask.resolution.nanos()) as usize + 1;
        if ask.memory_max / size_of::<Summary>() / ask.columns.len().max(1) < of_file {
            return Err(too_much);
        }
        for path in self.files_in(ask.resolution, ask.times) {
            budget.check()?;
            if let Some(width) = ask.width {
                for (instance, windows) in &mut all.windows {
                    // What may be made of raw records anew stays apart.
                    let end = all.ends.get(instance).copied().unwrap_or(i64::MAX);
                    let until = end.saturating_sub(reach_back(ask.resolution.nanos()));
                    *windows = std::mem::take(windows).coarsened_until(width, until);
                }
            }
            if ask.memory_max < all.windows.values().map(Windows::bytes).sum() {
                return Err(too_much);
            }
            let read = TierReader::open(&path, &self.disk)
                .and_then(|file| self.windows_of(&file, ask, &mut all));
            match read {
                Ok(()) => {}
                // It has left the tier.
                Err(_) if !path.exists() => {}
                Err(error) => {
                    all.unread_files += 1;
                    tracing::warn!(
                        error = &error as &dyn std::error::Error, path = %path.display(),
                        "A file of a tier is not read"
                    );
                }
            }
        }
        Ok(all)
    }

    fn windows_of(
        &mut self,
        file: &TierReader,
        ask: &TierAskOf<'_>,
        all: &mut Shelved,
    ) -> Result<(), StoreError> {
        // All channels as of one commit.
        let _steady = file.steady()?;
        for series in file.series_of(ask.topic)? {
            let instance = series.key.instance;
            if ask.instance.is_some() && ask.instance != instance {
                continue;
            }
            let Some(channels) = self.channels(file, &series)? else {
                continue;
            };
            let windows = read(file, &series, &channels, ask)?;
            if let Some(last) = windows.starts.last() {
                let end = last.saturating_add(ask.resolution.nanos());
                let known = all.ends.entry(instance).or_insert(end);
                *known = end.max(*known);
            }
            let of_instance = all.windows.entry(instance);
            of_instance
                .or_insert_with(|| Windows::new(ask.columns.len()))
                .append(windows);
        }
        Ok(())
    }

    fn channels(
        &mut self,
        file: &TierReader,
        series: &Series,
    ) -> Result<Option<Vec<Channel>>, StoreError> {
        let schema = series.key.schema;
        let measured = match self.measured.entry(schema) {
            std::collections::hash_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::hash_map::Entry::Vacant(place) => {
                place.insert(file.measured(&schema)?)
            }
        };
        let channels = measured.as_ref();
        Ok(channels.map(|measured| measured.channels(&series.key.shape)))
    }

    /// Topics that a tier has, or any of them.
    pub(crate) fn topics(&mut self, resolution: Option<Resolution>) -> BTreeSet<Arc<str>> {
        let index = self.index().iter();
        let wanted = index.filter(|(tier, _)| resolution.is_none_or(|wanted| wanted == **tier));
        let files = wanted.flat_map(|(_, files)| files);
        files.flat_map(|file| file.topics.iter().cloned()).collect()
    }

    /// Of the newest file that has it, in any tier, coarsest first: instances and the schema.
    pub(crate) fn known_of(&mut self, topic: &str) -> Option<(Vec<Option<i32>>, String)> {
        let index = self.index();
        // Ascending by resolution, as the tiers are.
        let coarsest_first = index.values().rev();
        let newest_first = coarsest_first.flat_map(|files| files.iter().rev());
        let having = newest_first.filter(|file| file.topics.contains(topic));
        let paths: Vec<PathBuf> = having.map(|file| file.path.clone()).collect();
        for path in paths {
            let Ok(file) = TierReader::open(&path, &self.disk) else {
                continue;
            };
            let series = file.series_of(topic).unwrap_or_default();
            let newest = series.last().map(|series| series.key.schema);
            let schema = newest.and_then(|schema| file.schema(&schema).ok().flatten());
            if let Some(schema) = schema {
                let mut instances: Vec<_> =
                    series.iter().map(|series| series.key.instance).collect();
                instances.sort();
                instances.dedup();
                return Some((instances, schema.text().to_owned()));
            }
        }
        None
    }

    /// Which topics each file has, oldest first. A file that has changed is read anew; one that cannot be read is tried
    /// again.
    fn index(&mut self) -> &BTreeMap<Resolution, Vec<FileTopics>> {
        let mut before = std::mem::take(&mut self.index);
        for tier in &self.tiers {
            let known = before.remove(&tier.resolution).unwrap_or_default();
            let known = known.into_iter().map(|file| (file.path.clone(), file));
            let mut known: HashMap<PathBuf, FileTopics> = known.collect();
            let mut all = Vec::new();
            for path in self.files(tier.resolution).into_values() {
                let states = FileTopics::states(&path);
                let unchanged = known.remove(&path).filter(|file| file.states == states);
                if let Some(file) = unchanged {
                    all.push(file);
                    continue;
                }
                let series = TierReader::open(&path, &self.disk).and_then(|file| file.series());
                let Ok(series) = series else {
                    continue;
                };
                let topics = series.into_iter().map(|series| {
                    let topic: Arc<str> = series.key.topic.into();
                    match self.names.get(&topic) {
                        Some(known) => Arc::clone(known),
                        None => {
                            self.names.insert(Arc::clone(&topic));
                            topic
                        }
                    }
                });
                all.push(FileTopics {
                    topics: topics.collect(),
                    path,
                    states,
                });
            }
            self.index.insert(tier.resolution, all);
        }
        &self.index
    }
}

#[derive(Debug)]
struct FileTopics {
    path: PathBuf,
    topics: BTreeSet<Arc<str>>,
    states: [Option<FileState>; 2],
}

/// Which file it is, how long, and since when.
type FileState = (u64, u64, SystemTime);

impl FileTopics {
    /// Of the database and its WAL, as they were before they were read.
    fn states(path: &Path) -> [Option<FileState>; 2] {
        let wal = with_suffix(path, "-wal");
        [path, &wal].map(|path| {
            let found = fs::metadata(path).ok()?;
            Some((found.ino(), found.len(), found.modified().ok()?))
        })
    }
}

/// The columns of one series in one file.
fn read(
    file: &TierReader,
    series: &Series,
    channels: &[Channel],
    ask: &TierAskOf<'_>,
) -> Result<Windows, StoreError> {
    let (from, through) = ask.times;
    let times = UtcNanos(from)..UtcNanos(through.saturating_add(1));
    let channel_of = |column: &Column| {
        let channel = channels.iter().find(|it| it.field == column.field)?;
        let element = column.element.unwrap_or(0);
        let fits = channel.is_array == column.element.is_some() && element < channel.elements;
        fits.then_some(channel.first + element)
    };
    let wanted: Vec<Option<usize>> = ask.columns.iter().map(channel_of).collect();
    let statistics: Vec<Statistic> = Statistic::ALL
        .into_iter()
        .filter(|&one| ask.wanted.has(one))
        .collect();
    let mut windows = Windows::new(ask.columns.len());
    let mut column = 0;
    while column < wanted.len() {
        let Some(first) = wanted[column] else {
            column += 1;
            continue;
        };
        let neighbours = wanted[column..].iter().enumerate();
        let count = neighbours
            .take_while(|(step, channel)| **channel == Some(first + step))
            .count();
        for found in file.read(series, first..first + count, ask.wanted, times.clone())? {
            windows.put_column(column, &found.starts, |row| {
                summary(&found, &statistics, row)
            });
            column += 1;
        }
    }
    Ok(windows)
}

fn summary(found: &Found, statistics: &[Statistic], row: usize) -> Summary {
    let mut summary = Summary::empty(0);
    let mut quartiles = [f64::NAN; 3];
    for (statistic, column) in statistics.iter().zip(&found.columns) {
        let value = column[row];
        match statistic {
            Statistic::NanCount => summary.nan_count = value as u64,
            Statistic::Min => summary.min = value,
            Statistic::Max => summary.max = value,
            Statistic::Mean => summary.mean = value,
            Statistic::Spread => summary.spread = value,
            Statistic::First => summary.first = value,
            Statistic::Last => summary.last = value,
            Statistic::Q1 => quartiles[0] = value,
            Statistic::Median => quartiles[1] = value,
            Statistic::Q3 => quartiles[2] = value,
        }
    }
    summary.count = found.rows[row].saturating_sub(summary.nan_count);
    let [q1, median, q3] = quartiles;
    summary.quartiles = (!median.is_nan()).then_some(Quartiles { q1, median, q3 });
    summary
}
