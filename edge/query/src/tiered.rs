//! Windows of a topic out of the files of a tier.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use efd_edge_tiers::TierSettings;
use efd_edge_tiers::settings;
use efd_shared_model::{Fingerprint, UtcNanos};
use efd_shared_stats::{Quartiles, Resolution, Summary};
use efd_shared_store::StoreError;
use efd_shared_store::database::Disk;
use efd_shared_tiers::{Channel, Found, Measured, Series, Span, Statistic, Statistics, TierReader};

use crate::ask::Column;
use crate::error::QueryError;
use crate::fold::Windows;
use crate::library::Budget;

/// The tiers of the buffer, as their files are found.
#[derive(Debug)]
pub(crate) struct Shelf {
    root: PathBuf,
    tiers: Vec<TierSettings>,
    disk: Disk,
    measured: HashMap<Fingerprint, Option<Measured>>,
    /// The oldest window of the oldest file, by tier: asked for once.
    begins: HashMap<PathBuf, UtcNanos>,
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

    /// By instance. A file that cannot be read is told and left out.
    pub(crate) fn windows(
        &mut self,
        ask: &TierAskOf<'_>,
        budget: &dyn Budget,
    ) -> Result<BTreeMap<Option<i32>, Windows>, QueryError> {
        let mut all: BTreeMap<Option<i32>, Windows> = BTreeMap::new();
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
                for windows in all.values_mut() {
                    *windows = std::mem::take(windows).coarsened(width);
                }
            }
            if ask.memory_max < all.values().map(Windows::bytes).sum() {
                return Err(too_much);
            }
            let read = TierReader::open(&path, &self.disk)
                .and_then(|file| self.windows_of(&file, ask, &mut all));
            match read {
                Ok(()) => {}
                // It has left the tier.
                Err(_) if !path.exists() => {}
                Err(error) => tracing::warn!(
                    error = &error as &dyn std::error::Error, path = %path.display(),
                    "A file of a tier is not read"
                ),
            }
        }
        Ok(all)
    }

    fn windows_of(
        &mut self,
        file: &TierReader,
        ask: &TierAskOf<'_>,
        all: &mut BTreeMap<Option<i32>, Windows>,
    ) -> Result<(), StoreError> {
        for series in file.series_of(ask.topic)? {
            let is_wanted = ask.instance.is_none() || ask.instance == series.key.instance;
            if !is_wanted {
                continue;
            }
            let Some(channels) = self.channels(file, &series)? else {
                continue;
            };
            let windows = read(file, &series, &channels, ask)?;
            let of_instance = all.entry(series.key.instance);
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

    /// Topics in the newest file of the coarsest tier, and how they were measured: some may be held nowhere else.
    pub(crate) fn newest_topics(&self) -> Vec<String> {
        let Some(coarsest) = self.tiers.last() else {
            return Vec::new();
        };
        let files = self.files(coarsest.resolution);
        let newest = files.values().next_back();
        let series = newest.and_then(|path| {
            let file = TierReader::open(path, &self.disk).ok()?;
            file.series().ok()
        });
        let mut topics: Vec<String> = series
            .into_iter()
            .flatten()
            .map(|series| series.key.topic)
            .collect();
        topics.sort();
        topics.dedup();
        topics
    }

    /// Of the newest file that has it, in any tier, coarsest first: instances and the schema.
    pub(crate) fn known_of(&self, topic: &str) -> Option<(Vec<Option<i32>>, String)> {
        for tier in self.tiers.iter().rev() {
            let files = self.files(tier.resolution);
            for path in files.values().rev().take(2) {
                let Ok(file) = TierReader::open(path, &self.disk) else {
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
        }
        None
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
