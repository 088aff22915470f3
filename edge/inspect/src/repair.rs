//! `repair`: a new store with everything that is intact, each block at its own position, so that whatever refers to a
//! position still means the same. What is inspected is never written to.

mod copy;
mod declared;
mod report;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use efd_shared_store::database::with_suffix;
use efd_shared_store::{Depth, Options, ReadOnlyStore, Severity, Store};

use crate::fresh;
use crate::ls::{said_of_set_aside, set_aside};
use crate::open::open;
use crate::outcome::{Exit, InspectError};
use crate::screen::Screen;
use crate::table::size;
use crate::tiers;
use copy::Copying;
use report::{Lost, Report, Sum};

/// The store while it is made, in the new folder: without `segments` that is no store, so nobody takes it for one.
const MAKING: &str = "repair.partial";
/// What could not be carried over, one JSON object a line; the last line has the totals.
pub const REPORT: &str = "repair.jsonl";

/// Makes a store in `to`, a folder that is not there yet, or empty. The folder has its `segments` only when everything
/// in it is durable and was read back whole; after an error nothing is left in it.
pub fn repair(
    path: &Path,
    to: &Path,
    json: bool,
    screen: &mut Screen<impl Write, impl Write>,
) -> Result<Exit, InspectError> {
    let source = open(path, screen)?;
    fresh::make(to, path)?;
    let making = to.join(MAKING);
    let made = make(&source, path, &making, screen).and_then(|sum| {
        check(&making, screen)?;
        settle(&making, to)?;
        Ok(sum)
    });
    let sum = match made {
        Ok(sum) => sum,
        Err(error) => {
            if let Err(left) = fs::remove_dir_all(&making) {
                screen.note(format_args!("{} is left: {left}", making.display()))?;
            }
            return Err(error);
        }
    };
    if json {
        let report = to.join(REPORT);
        let text = fs::read(&report).map_err(|source| InspectError::Export {
            path: report,
            source,
        })?;
        screen.out.write_all(&text)?;
    } else {
        let Sum {
            blocks,
            records,
            bytes,
            lost,
        } = sum;
        let (size, folder) = (size(bytes), to.display());
        writeln!(
            screen.out,
            "{blocks} blocks, {records} records, {size} carried over to {folder}"
        )?;
        if lost > 0 {
            writeln!(
                screen.out,
                "{lost} findings: what could not be carried over is in {folder}/{REPORT}"
            )?;
        }
    }
    Ok(screen.end()?)
}

fn make(
    source: &ReadOnlyStore,
    path: &Path,
    making: &Path,
    screen: &mut Screen<impl Write, impl Write>,
) -> Result<Sum, InspectError> {
    fs::create_dir(making).map_err(|source| InspectError::Export {
        path: making.to_owned(),
        source,
    })?;
    let mut report = Report::create(making.join(REPORT))?;
    for notice in source.notices() {
        // It was named when the source was opened.
        report.lost(&Lost::File(notice.to_string()))?;
    }
    for file in set_aside(path) {
        let said = said_of_set_aside(&file);
        screen.damaged(&said)?;
        report.lost(&Lost::File(said))?;
    }
    let options = Options {
        // The edge that takes it over makes its own.
        reserve_bytes: 0,
        segment_age_max: Duration::from_secs(3600),
        ..Options::default()
    };
    let (mut target, _) = Store::open(making, options)?;
    Copying::new(source, &mut target, &mut report, screen)?.run()?;
    target.close()?;
    copy_tiers(path, making, &mut report, screen)?;
    report.finish(path)
}

/// Files of tiers that are whole, with their WAL. How far their making came is found out anew by the edge.
fn copy_tiers(
    from: &Path,
    making: &Path,
    report: &mut Report,
    screen: &mut Screen<impl Write, impl Write>,
) -> Result<(), InspectError> {
    for (tier, file) in tiers::held(from)? {
        if let Some(what) = tiers::damage_of(&file).first() {
            let said = format!("{} is left out: {what}", file.display());
            screen.damaged(&said)?;
            report.lost(&Lost::File(said))?;
            continue;
        }
        let folder = making.join("tiers").join(tier);
        let copy = || -> std::io::Result<()> {
            fs::create_dir_all(&folder)?;
            for source in [file.clone(), with_suffix(&file, "-wal")] {
                if source.exists() {
                    let target = folder.join(source.file_name().unwrap_or_default());
                    fs::copy(&source, &target)?;
                    fs::File::open(&target)?.sync_all()?;
                }
            }
            fs::File::open(&folder)?.sync_all()
        };
        copy().map_err(|source| InspectError::Export {
            path: folder.clone(),
            source,
        })?;
    }
    Ok(())
}

/// Reads back what was written.
fn check(making: &Path, screen: &mut Screen<impl Write, impl Write>) -> Result<(), InspectError> {
    let mut found = None;
    let mut shown = 0;
    let mut failed = None;
    efd_shared_store::verify(
        making,
        Depth::Content,
        |finding| {
            if finding.severity == Severity::Damage {
                found.get_or_insert(finding.what);
            }
            found.is_none()
        },
        |progress| {
            const EVERY_BYTES: u64 = 16 << 20;
            if progress.bytes / EVERY_BYTES > shown {
                shown = progress.bytes / EVERY_BYTES;
                let line = format!("reading it back: {}", size(progress.bytes));
                failed = screen.progress(line).err();
            }
            failed.is_none()
        },
    )?;
    if let Some(error) = failed {
        return Err(error.into());
    }
    screen.clear_progress()?;
    match found {
        Some(finding) => Err(InspectError::Unsound {
            path: making.to_owned(),
            finding,
        }),
        None => Ok(()),
    }
}

/// Gives everything its name; `segments`, without which it is no store, last.
fn settle(making: &Path, to: &Path) -> Result<(), InspectError> {
    for name in [REPORT, "meta.db", "tiers", "segments"] {
        let from = making.join(name);
        if name == "tiers" && !from.exists() {
            continue;
        }
        let renamed = fs::rename(&from, to.join(name));
        renamed.map_err(|source| InspectError::Export { path: from, source })?;
    }
    fs::remove_dir_all(making).map_err(|source| InspectError::Export {
        path: making.to_owned(),
        source,
    })?;
    fresh::sync(to)
}
