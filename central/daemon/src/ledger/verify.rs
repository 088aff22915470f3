//! The stores read to their ends, held against the book, and put right where that can be done.

mod feed;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::mpsc::channel;
use std::sync::{Arc, TryLockError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use efd_central_lake::{Part, PartAudit, REJECTED_TOPIC, Request, Restored, audit, progress_at};
use efd_central_ledger::{Book, Counts, Difference, Filter, Hour, recount};
use efd_central_log::{Entry, Walk};
use efd_shared_model::UtcNanos;
use serde_json::{Value as Json, json};

use super::Desk;
use super::answer::GoOn;
use feed::FeedRead;

const HOURS_OF_DAY: i64 = 24;
const BROKEN_OFF: &str = "the centre stops, or nobody waits for the answer any more";
/// A part is read, and all blocks of its site that the log has.
const REPAIR_WITHIN: Duration = Duration::from_secs(3600);

impl Desk {
    /// As long as it `is_wanted` and the centre runs.
    pub(super) fn verify(&self, book: &Book, filter: &Filter, is_wanted: GoOn<'_>) -> Result<Json> {
        let _alone = match self.verifying.try_lock() {
            Ok(alone) => alone,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => {
                bail!("the stores are being verified already; ask again later")
            }
        };
        let go_on = || is_wanted() && !self.stop.is_asked();
        let held = recount(&*self.log, &go_on).context("read the log")?;
        let held = held.context(BROKEN_OFF)?;
        let (missing, mut differences) = book.check_log(&held, filter)?;
        // The edge is asked for what the log has lost; what it has not either is named.
        let wanted = match missing.is_empty() {
            true => 0,
            false => self
                .log
                .note_lost(&missing)
                .context("ask for what is lost")?,
        };
        let missing: BTreeMap<String, String> = missing
            .iter()
            .map(|(lane, numbers)| (lane.to_string(), numbers.to_string()))
            .collect();
        let mut answer = json!({
            "log": {
                "blocks": held.blocks.values().map(|numbers| numbers.member_count()).sum::<u64>(),
                "damaged_places": held.damaged, "missing_blocks": missing, "asked_for_again": wanted,
            },
        });
        drop(held);
        if let Some(lake) = &self.lake {
            let read = self.verify_lake(book, filter, lake.root(), &go_on)?;
            answer["lake"] = json!({
                "commit": read.commit, "files": read.files, "rows": read.rows, "not_compared": read.not_compared,
            });
            answer["faults"] = read.faults.into();
            answer["repaired"] = self.repair(&read.bad)?.into();
            differences.extend(read.differences);
        }
        let mut differences: Vec<Json> = differences.iter().map(Difference::to_json).collect();
        if let Some(read) = self.verify_feed(book, filter, &go_on)? {
            let FeedRead {
                told,
                differences: of_feed,
            } = read;
            answer["feed"] = told;
            differences.extend(of_feed);
        }
        answer["differences"] = differences.into();
        Ok(answer)
    }

    fn verify_lake(
        &self,
        book: &Book,
        filter: &Filter,
        root: &Path,
        go_on: GoOn<'_>,
    ) -> Result<LakeRead> {
        let mut read = LakeRead::default();
        let mut found = Counts::new();
        let wanted = |part: &Part| filter.wants_part(part.site.as_str(), &part.topic, days(part));
        let mut visit = |part: PartAudit| {
            read.take(&part, &mut found);
            match go_on() {
                true => ControlFlow::Continue(()),
                false => ControlFlow::Break(()),
            }
        };
        let audit = audit(root, &wanted, false, &mut visit).context("read the lake")?;
        if !go_on() {
            bail!(BROKEN_OFF);
        }
        (read.commit, read.files, read.rows) = (audit.commit, audit.files, audit.rows);
        let progress = match audit.commit {
            0 => Default::default(),
            commit => progress_at(root, commit).context("read the lake's progress")?,
        };
        match book.lacks(&*self.log, &progress)? {
            Ok(lacks) => {
                let differences = book.check_lake(&found, &lacks, filter)?;
                read.differences = differences
                    .into_iter()
                    .filter(|it| it.topic != REJECTED_TOPIC)
                    .collect();
            }
            Err(why) => read.not_compared = Some(why),
        }
        for it in &read.differences {
            let Ok(site) = it.site.parse() else { continue };
            read.bad.insert(Part {
                site,
                topic: it.topic.clone(),
                day: it.hour.begin().day(),
            });
        }
        Ok(read)
    }

    /// The lake's writer makes these parts whole from what the log has.
    fn repair(&self, parts: &BTreeSet<Part>) -> Result<Vec<String>> {
        let Some(mailbox) = self.lake.as_ref().and_then(|lake| lake.mailbox()) else {
            return Ok(Vec::new());
        };
        let mut told = Vec::new();
        for part in parts {
            let (send, answer) = channel();
            let walk = Walk::new(Arc::clone(&self.log), |partition| {
                partition.site == part.site
            })?;
            let offered = walk.filter_map(|entry| match entry {
                Ok((partition, Entry::Block { block, .. })) => Some(Ok((partition, block))),
                Ok((_, Entry::Damaged { .. })) => None,
                Err(error) => Some(Err(error)),
            });
            let request = Request {
                part: part.clone(),
                expected: None,
                offered: Box::new(offered),
                answer: Box::new(move |result| {
                    if send.send(result).is_err() {
                        tracing::warn!("Nobody waits for a repair of the lake any more");
                    }
                }),
            };
            if let Err(refused) = mailbox.ask(request) {
                bail!("ask the lake's writer: {refused}");
            }
            let restored = answer
                .recv_timeout(REPAIR_WITHIN)
                .context("wait for the lake's writer")?
                .with_context(|| format!("make {part} whole"))?;
            let Restored {
                commit,
                damaged,
                rows_from_blocks,
                rows_kept,
                ..
            } = restored;
            if commit.is_some() {
                told.push(format!(
                    "lake {part}: {rows_from_blocks} records put back from the log, {rows_kept} kept as they could be read, \
                     {} files set aside in _damaged",
                    damaged.len()
                ));
            }
        }
        Ok(told)
    }
}

#[derive(Debug, Default)]
struct LakeRead {
    commit: u64,
    files: u64,
    rows: u64,
    faults: Vec<Json>,
    differences: Vec<Difference>,
    /// Why the rows are not compared with the book.
    not_compared: Option<String>,
    bad: BTreeSet<Part>,
}

impl LakeRead {
    fn take(&mut self, part: &PartAudit, found: &mut Counts) {
        for (hour, tally) in &part.hours {
            let key = (
                part.part.site.to_string(),
                part.part.topic.clone(),
                Hour(*hour),
            );
            found.entry(key).or_default().union(*tally);
        }
        for fault in &part.faults {
            let span = (UtcNanos(fault.file.time_min), UtcNanos(fault.file.time_max));
            self.faults.push(json!({
                "store": "lake", "site": part.part.site.as_str(), "topic": part.part.topic, "path": fault.file.path,
                "what": fault.to_string(), "rows_stated": fault.file.rows, "rows_found": fault.rows_found,
                "from": span.0.to_string(), "until": span.1.to_string(),
            }));
            self.bad.insert(part.part.clone());
        }
    }
}

/// Its hours, the last exclusive.
fn days(part: &Part) -> (Hour, Hour) {
    let first = part.day.saturating_mul(HOURS_OF_DAY);
    (Hour(first), Hour(first.saturating_add(HOURS_OF_DAY)))
}
