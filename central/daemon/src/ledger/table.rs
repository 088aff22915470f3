//! Keeps the table `_completeness` of the lake up to date.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result};
use efd_central_lake::{CompletenessRow, put_completeness};
use efd_central_ledger::{Book, Filter, Hour, Row};
use efd_shared_daemon::clock::utc_now;
use efd_shared_model::UtcNanos;

use super::Desk;

const EVERY: Duration = Duration::from_secs(60);
const DAY: i64 = 86_400_000_000_000;
const HOURS_OF_DAY: i64 = 24;

/// Ends when a stop is asked for.
pub(crate) fn keep_table(desk: Desk, lake: PathBuf) -> Result<Table> {
    let (last_desk, last_lake) = (desk.clone(), lake.clone());
    let keep = move || {
        let _running = desk.stop.register("completeness");
        // What the lake has not yet is written again when it has; what it had not when the last start ended, now.
        let today = utc_now().day();
        let mut behind = BTreeSet::from([today - 1, today]);
        while !desk.stop.wait_timeout(EVERY) {
            behind.append(&mut desk.ledger.take_touched());
            match put_tables(&desk, &lake, &behind) {
                Ok(still) => behind = still,
                Err(error) => {
                    tracing::warn!(error = format!("{error:#}"), "The completeness table waits");
                    desk.ledger.touch(std::mem::take(&mut behind));
                }
            }
        }
        behind
    };
    let thread = std::thread::Builder::new()
        .name("completeness".into())
        .spawn(keep)
        .context("start thread completeness")?;
    Ok(Table {
        desk: last_desk,
        lake: last_lake,
        thread,
    })
}

/// The thread that keeps it.
#[derive(Debug)]
pub(crate) struct Table {
    desk: Desk,
    lake: PathBuf,
    thread: JoinHandle<BTreeSet<i64>>,
}

impl Table {
    /// Writes it a last time, now that the stores have taken what they could. What fails is written at the next start.
    pub(crate) fn finish(self) {
        let Ok(mut behind) = self.thread.join() else {
            tracing::error!("The thread of the completeness table panicked");
            return;
        };
        behind.append(&mut self.desk.ledger.take_touched());
        if let Err(error) = put_tables(&self.desk, &self.lake, &behind) {
            tracing::warn!(
                error = format!("{error:#}"),
                "The last completeness table is not written"
            );
        }
    }
}

/// Days that some store lacks something of.
fn put_tables(desk: &Desk, lake: &Path, days: &BTreeSet<i64>) -> Result<BTreeSet<i64>> {
    // Whoever writes the lake writes its table.
    let is_ours = desk
        .lake
        .as_ref()
        .is_some_and(|lake| lake.settled().is_some());
    if !is_ours || days.is_empty() {
        return Ok(BTreeSet::new());
    }
    let book = Book::open(&desk.ledger.folder)?;
    let stages = desk.stages(&book)?;
    let mut behind = BTreeSet::new();
    for &day in days {
        let begin = UtcNanos(day.saturating_mul(DAY));
        let from = Hour::of(begin);
        let filter = Filter {
            from: Some(from),
            until: Some(Hour(from.0 + HOURS_OF_DAY)),
            ..Filter::default()
        };
        let account = book.account(&filter, &stages)?;
        let lacks = |row: &Row| row.stages.values().any(|has| *has != Some(row.centre));
        if account.rows.iter().any(lacks) {
            behind.insert(day);
        }
        let rows: Vec<CompletenessRow> = account.rows.into_iter().map(row).collect();
        if !rows.is_empty() {
            put_completeness(lake, begin, &rows)?;
        }
    }
    Ok(behind)
}

fn row(row: Row) -> CompletenessRow {
    let is_complete = row.is_complete();
    let stage = |name| row.stages.get(name).copied().flatten();
    CompletenessRow {
        feed: stage("feed"),
        lake: stage("lake"),
        hour: row.hour.begin(),
        site: row.site,
        topic: row.topic,
        published: row.published,
        received: row.received,
        edge: row.edge,
        centre: row.centre,
        lost: row.lost,
        before_contact: row.before_contact,
        unnamed: row.unnamed,
        is_complete,
    }
}
