//! The ledger as a role of this process: its thread, and what it answers over HTTP.

mod answer;
mod ask;
mod report;
mod table;
mod trace;
mod verify;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, Result};
use efd_central_ledger::{Counters, Ledger};
use efd_central_log::{BlockLog, Progress};
use serde_json::{Value as Json, json};

use crate::config::Config;
use crate::fleet::Fleet;

pub(crate) use answer::{Desk, routes};
pub(crate) use ask::{Asked, Question};
pub(crate) use table::keep_table;
pub(crate) use trace::TraceQuestion;

#[derive(Clone, Debug, Default)]
struct Now {
    /// `None`: it runs.
    failed: Option<String>,
    counters: Counters,
    progress: Progress,
    /// Days whose table of completeness is to be written.
    touched: BTreeSet<i64>,
}

/// What the ledger's thread tells the others.
#[derive(Clone, Debug)]
pub(crate) struct LedgerStatus {
    /// Where the book is.
    folder: PathBuf,
    now: Arc<Mutex<Now>>,
}

impl LedgerStatus {
    fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What it has durably: the log may let go of it.
    pub(crate) fn settled(&self) -> Progress {
        self.now().progress.clone()
    }

    fn take_touched(&self) -> BTreeSet<i64> {
        std::mem::take(&mut self.now().touched)
    }

    fn touch(&self, days: impl IntoIterator<Item = i64>) {
        self.now().touched.extend(days);
    }

    pub(crate) fn fail(&self, reason: String) {
        self.now().failed = Some(reason);
    }

    /// `log`: to tell how far behind it is.
    pub(crate) fn to_json(&self, log: &dyn BlockLog) -> Json {
        let Now {
            failed,
            counters,
            progress,
            touched: _,
        } = self.now().clone();
        let behind = progress.behind(log);
        json!({
            "state": if failed.is_some() { "failed" } else { "running" }, "reason": failed, "behind_blocks": behind,
            "blocks": counters.blocks, "records": counters.records, "losses": counters.losses,
            "unreadable": counters.unreadable, "commits": counters.commits,
            "compared": counters.compared, "differing": counters.differing, "silent_blocks": counters.silent_blocks,
        })
    }
}

#[derive(Debug)]
pub(crate) struct LedgerRole {
    ledger: Ledger,
    status: LedgerStatus,
}

impl LedgerRole {
    pub(crate) fn open(config: &Config) -> Result<Self> {
        let folder = config.path.join("ledger");
        let (ledger, progress) = Ledger::open(folder.clone()).context("open the ledger")?;
        let now = Now {
            progress,
            ..Now::default()
        };
        let status = LedgerStatus {
            folder,
            now: Arc::new(Mutex::new(now)),
        };
        Ok(Self { ledger, status })
    }

    pub(crate) fn status(&self) -> LedgerStatus {
        self.status.clone()
    }

    pub(crate) fn run(
        self,
        log: Arc<dyn BlockLog>,
        fleet: &Fleet,
        stop: &AtomicBool,
    ) -> Result<()> {
        let Self { ledger, status } = self;
        let is_stopped = || stop.load(Ordering::Acquire);
        let mut committed = u64::MAX;
        let is_drained = |edge| fleet.is_drained(edge);
        efd_central_ledger::run(ledger, log, &is_stopped, &is_drained, |ledger| {
            let counters = ledger.counters();
            let mut now = status.now();
            now.counters = counters;
            // Range sets grow with the epochs: they are copied when they are news.
            if std::mem::replace(&mut committed, counters.commits) != counters.commits {
                now.progress.clone_from(ledger.committed());
                now.touched.append(&mut ledger.take_touched());
            }
        })?;
        Ok(())
    }
}
