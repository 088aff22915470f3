//! The public topics read back, and held against the book.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Result, bail};
use efd_central_feed::{FeedOptions, Met, PublicTopics, Recounted};
use efd_central_ledger::{Basis, Book, Counts, Filter, Hour};
use efd_shared_daemon::clock::{monotonic_now, utc_now};
use efd_shared_model::{EpochId, EpochLane, LaneDigest, Site, Tally, UtcNanos};
use serde_json::{Value as Json, json};

use super::super::Desk;
use super::super::answer::GoOn;
use crate::roles::feed_progress;

/// A week of a large site is read within it.
const READ_WITHIN: Duration = Duration::from_secs(6 * 3600);
/// An event time may be later than the broker's stamp, by clocks that differ; ns.
const CLOCKS_DIFFER: i64 = 600_000_000_000;

const REPAIR: &str = "what the log still has can be produced again: stop the centre, move `feed/checkpoint.json` in its folder aside (where \
    the log is on a cluster: delete the topic `efd.feed`), and start it; the feed then reads all its topics back and produces what they \
    lack, also what their retention has taken and the log's has not";

/// What was read, as it is told.
#[derive(Debug, Default)]
pub(super) struct FeedRead {
    pub(super) told: Json,
    pub(super) differences: Vec<Json>,
}

impl FeedRead {
    fn not_compared(why: &str) -> Self {
        Self {
            told: json!({ "not_compared": why }),
            differences: Vec::new(),
        }
    }
}

impl Desk {
    /// `None` where there are no public topics.
    pub(super) fn verify_feed(
        &self,
        book: &Book,
        filter: &Filter,
        go_on: GoOn<'_>,
    ) -> Result<Option<FeedRead>> {
        let Some(options) = &self.public else {
            return Ok(None);
        };
        let Some(progress) = self.feed.as_ref().and_then(feed_progress) else {
            let why = "another process runs the feed: ask that one";
            return Ok(Some(FeedRead::not_compared(why)));
        };
        let basis = match book.basis(&*self.log, &progress, filter)? {
            Ok(basis) => basis,
            Err(why) => return Ok(Some(FeedRead::not_compared(&why))),
        };
        let series = Series::of(&basis, options);
        let give_up_at = monotonic_now().saturating_add(READ_WITHIN.as_nanos() as i64);
        let is_in_time = || monotonic_now() < give_up_at;
        let read = series.read(&basis, options, self.sites()?, &|| go_on() && is_in_time());
        Ok(Some(match read {
            Ok(Some(read)) => self.judge(&basis, &series, read, filter),
            Ok(None) if go_on() => {
                let why = format!(
                    "they are not read within {READ_WITHIN:?}: verify a part of them at a time, by --site and --topic"
                );
                failed(&why)
            }
            Ok(None) => bail!(super::BROKEN_OFF),
            Err(error) => failed(&error.to_string()),
        }))
    }

    /// Whose edges began an epoch.
    fn sites(&self) -> Result<BTreeMap<EpochId, Site>> {
        let epochs = self.log.epochs()?.into_iter();
        Ok(epochs.map(|it| (it.epoch, it.site)).collect())
    }

    fn judge(&self, basis: &Basis, series: &Series, read: Read, filter: &Filter) -> FeedRead {
        let owed = self.owed();
        let mut differences = Vec::new();
        // Records that nothing can be said of, by site and topic; with the time up to which.
        let mut untold: BTreeMap<(String, String), (u64, UtcNanos)> = BTreeMap::new();
        let mut is_missing = false;
        for it in basis.differences("feed", &read.found, filter) {
            let key = (it.site.clone(), it.topic.clone());
            if series.ambiguous.contains(&key) || read.unread.contains_key(&key) {
                continue;
            }
            let is_told = it.expected < it.found
                || read
                    .kept_since
                    .get(&key)
                    .is_none_or(|since| since.saturating_add(CLOCKS_DIFFER) <= it.hour.begin());
            if !is_told {
                let since = read.kept_since.get(&key).copied().unwrap_or_default();
                let (records, _) = untold.entry(key).or_insert((0, since));
                *records += it.expected - it.found;
                continue;
            }
            let mut told = it.to_json();
            let topic = series.public_name(&key);
            match topic.and_then(|topic| owed.get(topic)) {
                Some(why) => {
                    told["why"] =
                        format!("the topic is owed records: {why}; they come when it takes them")
                            .into();
                }
                None => is_missing |= it.found <= it.expected,
            }
            differences.push(told);
        }
        let untold = untold.into_iter().map(|((site, topic), (records, since))| {
            json!({ "site": site, "topic": topic, "records": records, "before": since.to_string() })
        });
        let unread = read
            .unread
            .iter()
            .map(|((site, topic), why)| json!({ "site": site, "topic": topic, "why": why }));
        let ambiguous = series.ambiguous.iter().map(|(site, topic)| {
            json!({ "site": site, "topic": topic, "why": "another topic of the site has the same public name" })
        });
        FeedRead {
            told: json!({
                "topics": read.topics, "records": read.records, "strangers": read.strangers,
                "not_compared": null, "unread": unread.chain(ambiguous).collect::<Vec<_>>(),
                "gone_by_retention": untold.collect::<Vec<_>>(), "repair": is_missing.then_some(REPAIR),
            }),
            differences,
        }
    }

    /// Why topics refuse what is theirs.
    fn owed(&self) -> BTreeMap<String, String> {
        let workers = self.feed.iter().flatten();
        let parked = workers.flat_map(|worker| worker.status.read().parked);
        parked.map(|it| (it.topic, it.reason)).collect()
    }
}

fn failed(why: &str) -> FeedRead {
    FeedRead {
        told: json!({ "not_compared": why, "failed": true }),
        differences: Vec::new(),
    }
}

/// Site and topic, as in the book.
type Named = (String, String);

/// The topics of the book, by how they are called in public.
#[derive(Debug, Default)]
struct Series {
    /// A format without `{site}` has a name for several sites.
    by_name: BTreeMap<String, BTreeMap<String, String>>,
    names: BTreeMap<Named, String>,
    /// Two topics of a site with one public name: whose a record is cannot be told.
    ambiguous: BTreeSet<Named>,
}

/// What was found in the public topics.
#[derive(Debug, Default)]
struct Read {
    found: Counts,
    topics: usize,
    records: u64,
    strangers: u64,
    kept_since: BTreeMap<Named, UtcNanos>,
    unread: BTreeMap<Named, String>,
}

impl Series {
    fn of(basis: &Basis, options: &FeedOptions) -> Self {
        let mut series = Self::default();
        for (site, topic, _) in basis.expected().keys() {
            let key = (site.clone(), topic.clone());
            let Ok(parsed) = site.parse() else { continue };
            if series.names.contains_key(&key) {
                continue;
            }
            let name = options.topic_format.name(&parsed, topic);
            let of_name = series.by_name.entry(name.clone()).or_default();
            if let Some(other) = of_name.insert(site.clone(), topic.clone()) {
                series.ambiguous.insert((site.clone(), other));
                series.ambiguous.insert(key.clone());
            }
            series.names.insert(key, name);
        }
        series
    }

    fn public_name(&self, key: &Named) -> Option<&str> {
        self.names.get(key).map(String::as_str)
    }

    /// `None` where `go_on` ended it.
    fn read(
        &self,
        basis: &Basis,
        options: &FeedOptions,
        sites: BTreeMap<EpochId, Site>,
        go_on: GoOn<'_>,
    ) -> Result<Option<Read>, efd_central_feed::PublicError> {
        let mut public = PublicTopics::connect(options)?;
        let names: BTreeSet<String> = self.by_name.keys().cloned().collect();
        let topics = public.of_names(&names)?;
        let of_topic: Vec<&BTreeMap<String, String>> = topics
            .values()
            .filter_map(|name| self.by_name.get(name))
            .collect();
        let names: Vec<&str> = topics.keys().map(String::as_str).collect();
        let mut counter = Counter::new(basis, sites);
        let recounted = public.recount(&names, utc_now(), go_on, &mut |met| {
            counter.take(of_topic[met.topic], &met);
        })?;
        let Some(recounted) = recounted else {
            return Ok(None);
        };
        let mut read = Read {
            found: counter.found,
            topics: topics.len(),
            records: counter.records,
            ..Read::default()
        };
        for (sites, topic) in of_topic.into_iter().zip(recounted) {
            read.note(sites, topic);
        }
        Ok(Some(read))
    }
}

impl Read {
    /// A topic of the cluster; of one name there may be more than one.
    fn note(&mut self, sites: &BTreeMap<String, String>, topic: Recounted) {
        self.strangers += topic.strangers;
        for (site, name) in sites {
            let key = (site.clone(), name.clone());
            if let Some(since) = topic.kept_since {
                let known = self.kept_since.entry(key.clone()).or_insert(since);
                *known = (*known).max(since);
            }
            if let Some(why) = &topic.unread {
                self.unread.insert(key, why.clone());
            }
        }
    }
}

/// Tallies by hour: memory is by topics and hours, not by records.
#[derive(Debug)]
struct Counter<'a> {
    basis: &'a Basis,
    sites: BTreeMap<EpochId, Site>,
    found: Counts,
    records: u64,
    /// Of the last record: most are of the same lane as the one before.
    lane: Option<(EpochLane, LaneDigest)>,
}

impl<'a> Counter<'a> {
    fn new(basis: &'a Basis, sites: BTreeMap<EpochId, Site>) -> Self {
        Self {
            basis,
            sites,
            found: Counts::new(),
            records: 0,
            lane: None,
        }
    }

    fn take(&mut self, topics: &BTreeMap<String, String>, met: &Met) {
        self.records += 1;
        let block = met.id.block;
        if !self.basis.has(block) {
            return;
        }
        let Some(site) = self.sites.get(&block.lane.epoch) else {
            return;
        };
        let Some(topic) = topics.get(site.as_str()) else {
            return;
        };
        let digests = match &self.lane {
            Some((lane, digests)) if *lane == block.lane => *digests,
            Some(_) | None => LaneDigest::new(&block.lane),
        };
        self.lane = Some((block.lane, digests));
        let hour = Hour::of(met.event_time);
        let key = (site.to_string(), topic.clone(), hour);
        let tally: &mut Tally = self.found.entry(key).or_default();
        tally.add(digests.of(block.number, met.id.index));
    }
}
