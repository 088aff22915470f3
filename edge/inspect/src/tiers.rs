//! `tiers`: what statistics a buffer has, and how far back; with a resolution, the windows themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use efd_shared_avro::json_number;
use efd_shared_model::UtcNanos;
use efd_shared_stats::Summary;
use efd_shared_store::StoreError;
use efd_shared_store::database::{Disk, FileKind, Header, database_bytes, file, read_header};
use efd_shared_tiers::{Channel, Series, TierReader};
use serde_json::{Map, Value as Json, json};

use crate::outcome::{Exit, InspectError};
use crate::pattern::Pattern;
use crate::screen::Screen;
use crate::table::{Table, ceiling, floor, size};
use efd_shared_daemon::when::Window;

#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// The tier's folder: `10s`, `5min`. `None`: only what there is.
    pub tier: Option<String>,
    pub topic: Option<Pattern>,
    pub window: Window,
}

/// A file of a tier that can be read.
struct Held {
    reader: TierReader,
    path: PathBuf,
}

/// What is in `tiers` of the buffer's folder. A file that cannot be read is named.
pub fn tiers(
    path: &Path,
    wanted: &Wanted,
    json: bool,
    screen: &mut Screen<impl Write, impl Write>,
) -> Result<Exit, InspectError> {
    let all = open_all(path, screen)?;
    match &wanted.tier {
        None => list(&all, json, screen)?,
        Some(name) => {
            let Some(files) = all.get(name) else {
                return Err(InspectError::NoTier {
                    name: name.clone(),
                    tiers: all.into_keys().collect(),
                });
            };
            for held in files {
                let shown = show(held, wanted, screen);
                if let Err(InspectError::Store(error)) = shown {
                    screen.damaged(&error)?;
                } else {
                    shown?;
                }
            }
        }
    }
    Ok(screen.end()?)
}

/// For `ls`: behind its own tables, where there are tiers.
pub(crate) fn list_below(
    path: &Path,
    screen: &mut Screen<impl Write, impl Write>,
) -> Result<(), InspectError> {
    if !path.join("tiers").is_dir() {
        return Ok(());
    }
    let all = open_all(path, screen)?;
    writeln!(screen.out)?;
    list(&all, false, screen)
}

/// Of each tier, oldest first.
fn open_all(
    path: &Path,
    screen: &mut Screen<impl Write, impl Write>,
) -> Result<BTreeMap<String, Vec<Held>>, InspectError> {
    let mut all = BTreeMap::new();
    for folder in folders(path)? {
        all.insert(name_of(&folder), files(&folder, screen)?);
    }
    Ok(all)
}

fn folders(root: &Path) -> Result<Vec<PathBuf>, InspectError> {
    let entries = entries(&root.join("tiers"))?.into_iter();
    Ok(entries.filter(|path| path.is_dir()).collect())
}

fn name_of(folder: &Path) -> String {
    let name = folder.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

fn databases(folder: &Path) -> Result<Vec<PathBuf>, InspectError> {
    let is_database = |path: &PathBuf| path.extension().is_some_and(|it| it == "db");
    Ok(entries(folder)?.into_iter().filter(is_database).collect())
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, InspectError> {
    let list = || -> std::io::Result<Vec<PathBuf>> {
        let entries = fs::read_dir(folder)?;
        entries.map(|entry| Ok(entry?.path())).collect()
    };
    let mut all = list().map_err(file("list", folder))?;
    all.sort();
    Ok(all)
}

/// The files of all tiers of a buffer, by the name of the tier; empty where there are none.
pub(crate) fn held(root: &Path) -> Result<Vec<(String, PathBuf)>, InspectError> {
    let mut all = Vec::new();
    if !root.join("tiers").is_dir() {
        return Ok(all);
    }
    for folder in folders(root)? {
        let files = databases(&folder)?.into_iter();
        all.extend(files.map(|path| (name_of(&folder), path)));
    }
    Ok(all)
}

/// What is not as it was written, all of it.
pub(crate) fn damage_of(path: &Path) -> Vec<String> {
    let mut all = Vec::new();
    let looked = efd_shared_tiers::verify(path, &Disk::default(), |what| all.push(what));
    if let Err(error) = looked {
        all.push(error.to_string());
    }
    all
}

/// Oldest first.
fn files(
    folder: &Path,
    screen: &mut Screen<impl Write, impl Write>,
) -> Result<Vec<Held>, InspectError> {
    let mut all = Vec::new();
    for path in databases(folder)? {
        match open(&path) {
            Ok(reader) => all.push(Held { reader, path }),
            Err(error) => screen.damaged(&error)?,
        }
    }
    all.sort_by_key(|held| held.reader.span().begin);
    Ok(all)
}

fn open(path: &Path) -> Result<TierReader, StoreError> {
    let header = read_header(path, FileKind::Tier).map_err(file("read", path))?;
    match header {
        Header::Ours => TierReader::open(path, &Disk::default()),
        Header::TooNew(found) => Err(StoreError::TooNew {
            path: path.to_owned(),
            found,
            newest: efd_shared_store::FORMAT,
        }),
        Header::Wrong(reason) => Err(StoreError::Damaged {
            path: path.to_owned(),
            reason: reason.to_owned(),
        }),
    }
}

fn list(
    all: &BTreeMap<String, Vec<Held>>,
    json: bool,
    screen: &mut Screen<impl Write, impl Write>,
) -> Result<(), InspectError> {
    let mut table = Table::new(&["TIER", "FROM", "UNTIL", "FILES", "SERIES", "BYTES"]);
    for (name, files) in all {
        let bytes: u64 = files.iter().map(|held| database_bytes(&held.path)).sum();
        let mut series = BTreeSet::new();
        for held in files {
            match held.reader.series() {
                Ok(of_file) => series.extend(of_file.into_iter().map(|series| series.key)),
                Err(error) => screen.damaged(&error)?,
            }
        }
        let begin = files.first().map(|held| held.reader.span().begin);
        let end = files.last().map(|held| held.reader.span().end);
        let text =
            |time: Option<UtcNanos>, of: fn(UtcNanos) -> String| time.map(of).unwrap_or_default();
        if json {
            let line = json!({
                "tier": name, "from": begin.map(|it| it.to_string()), "until": end.map(|it| it.to_string()),
                "files": files.len(), "series": series.len(), "bytes": bytes,
            });
            writeln!(screen.out, "{line}")?;
        } else {
            table.row([
                name.clone(),
                text(begin, floor),
                text(end, |end| ceiling(end.saturating_sub(1))),
                files.len().to_string(),
                series.len().to_string(),
                size(bytes),
            ]);
        }
    }
    if !json {
        table.write(&mut screen.out)?;
    }
    Ok(())
}

/// A line of JSON for each window of each series, series by series.
fn show(
    held: &Held,
    wanted: &Wanted,
    screen: &mut Screen<impl Write, impl Write>,
) -> Result<(), InspectError> {
    let span = held.reader.span();
    let from = wanted.window.from.unwrap_or(span.begin).max(span.begin);
    let until = wanted.window.until.unwrap_or(span.end).min(span.end);
    if until <= from {
        return Ok(());
    }
    for series in held.reader.series()? {
        let is_wanted = |pattern: &Pattern| pattern.matches(&series.key.topic);
        if !wanted.topic.as_ref().is_none_or(is_wanted) {
            continue;
        }
        let Some(measured) = held.reader.measured(&series.key.schema)? else {
            let topic = &series.key.topic;
            screen.damaged(format_args!(
                "{topic} has no schema in {}",
                held.path.display()
            ))?;
            continue;
        };
        let channels = measured.channels(&series.key.shape);
        for (start, (samples, summaries)) in held.reader.windows(&series, from..until)? {
            let line = line(&series, start, samples, &channels, &summaries);
            writeln!(screen.out, "{line}")?;
        }
    }
    Ok(())
}

fn line(
    series: &Series,
    start: UtcNanos,
    samples: u64,
    channels: &[Channel],
    summaries: &[Summary],
) -> Json {
    let fields = channels.iter().map(|channel| {
        let of_field = &summaries[channel.first..channel.first + channel.elements];
        let all = of_field.iter().map(statistics);
        let value = match of_field {
            [_] if !channel.is_array => all.collect::<Vec<_>>().pop().unwrap_or_default(),
            _ => Json::Array(all.collect()),
        };
        (channel.field.clone(), value)
    });
    json!({
        "time": start.to_string(), "topic": series.key.topic, "instance": series.key.instance, "samples": samples,
        "fields": fields.collect::<Map<_, _>>(),
    })
}

/// Of no values everything but the counts is `null`, and so is what is not kept.
fn statistics(summary: &Summary) -> Json {
    let number = |value: f64| match value.is_nan() {
        true => Json::Null,
        false => json_number(value),
    };
    let quartile = |of: fn(&efd_shared_stats::Quartiles) -> f64| {
        summary
            .quartiles
            .as_ref()
            .map_or(Json::Null, |it| number(of(it)))
    };
    json!({
        "count": summary.count, "nan_count": summary.nan_count, "min": number(summary.min), "max": number(summary.max),
        "mean": number(summary.mean), "stdev": summary.stdev().map(json_number), "q1": quartile(|it| it.q1),
        "median": quartile(|it| it.median), "q3": quartile(|it| it.q3), "first": number(summary.first),
        "last": number(summary.last),
    })
}
