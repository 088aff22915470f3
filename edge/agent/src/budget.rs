//! Which topics are over their budget, and so get a lane of their own until they are within it again.
//!
//! In:  bytes of records, topic by topic; the time. Out: [`Switch`]es, between two batches.
//!
//! A budget is the most of four rates: one that is always allowed, a share of all bytes of the topic's kind, a multiple of
//! the topic's own rate of the last hours, or what the site says. Each topic has a bucket of its budget of one window: what
//! comes within the budget is never diverted, a burst of less than the bucket is not either. A topic whose bucket is
//! empty is diverted, and goes into debt for as much again; it comes back when it has paid and its bucket is full. So one
//! that floods steadily never comes back, one that stays below never leaves, and none goes to and fro.
//!
//! Pure: monotonic time is an argument.

use std::collections::BTreeMap;
use std::time::Duration;

use efd_edge_tiers::Topics;
use efd_shared_model::{DIVERTED_SLOTS, Lane, LaneKind, Shard, component_of};

#[derive(Debug, Clone)]
pub struct BudgetSettings {
    pub window: Duration,
    /// Percent of all bytes of its kind that a topic may always make.
    pub share_percent: u8,
    /// Of its own rate of the last hours.
    pub times: u16,
    /// Bytes a second that a topic may always make.
    pub events_rate: u64,
    pub telemetry_rate: u64,
    /// The site's own word, the first that matches.
    pub of_topics: Vec<(Topics, u64)>,
    /// Topics diverted at one time; 0: none ever.
    pub lanes_max: u16,
}

impl BudgetSettings {
    /// Nothing is ever diverted.
    pub fn none() -> Self {
        Self {
            window: Duration::from_secs(60),
            share_percent: 100,
            times: 1,
            events_rate: u64::MAX,
            telemetry_rate: u64::MAX,
            of_topics: Vec::new(),
            lanes_max: 0,
        }
    }
}

/// Of the rate that a topic is used to have.
const LONG_RUN_NS: f64 = 6.0 * 3600e9;
/// Less often nothing is judged.
const JUDGE_EVERY_NS: i64 = 1_000_000_000;
/// A longer time without a judgement counts as so much.
const LOOK_BACK_NS: i64 = 60_000_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BudgetIndex(u32);

/// From the next record on the topic is in another lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Switch {
    pub topic: String,
    pub kind: LaneKind,
    /// `None`: back in its lane.
    pub diverted: Option<Shard>,
    /// Bytes a second.
    pub rate: u64,
    pub budget: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BudgetCounters {
    pub diversions: u64,
    /// Topics in lanes of their own now.
    pub diverted: u64,
    /// Judgements after which a topic over its budget stayed, as there are no more lanes.
    pub refused: u64,
    /// Bytes of records since this process began that went to lanes of single topics.
    pub diverted_bytes: u64,
}

#[derive(Debug)]
pub struct Budgets {
    settings: BudgetSettings,
    topics: Vec<TopicBudget>,
    by_name: BTreeMap<(LaneKind, String), BudgetIndex>,
    /// Of all topics of a kind, bytes a second in the last window.
    rates: BTreeMap<LaneKind, f64>,
    taken: BTreeMap<Shard, BudgetIndex>,
    judged: Option<i64>,
    counters: BudgetCounters,
}

#[derive(Debug)]
struct TopicBudget {
    topic: String,
    kind: LaneKind,
    /// What the site says.
    fixed: Option<u64>,
    /// Since the last judgement.
    bytes: u64,
    /// Bytes a second of the last window.
    rate: f64,
    /// Bytes a second of the last hours, as far as they were not diverted.
    long_run: f64,
    /// Bytes that may still come; below zero it is a debt.
    bucket: f64,
    /// Judged once: the bucket has been filled.
    begun: bool,
    diverted: Option<Shard>,
}

impl Budgets {
    pub fn new(settings: BudgetSettings) -> Self {
        Self {
            settings,
            topics: Vec::new(),
            by_name: BTreeMap::new(),
            rates: BTreeMap::new(),
            taken: BTreeMap::new(),
            judged: None,
            counters: BudgetCounters::default(),
        }
    }

    /// The place of a topic, given now if it has none. `None`: a kind without budgets.
    pub fn topic(&mut self, topic: &str, kind: LaneKind) -> Option<BudgetIndex> {
        match kind {
            LaneKind::Events | LaneKind::Telemetry => {}
            LaneKind::Losses | LaneKind::Reduced | LaneKind::Parked => return None,
        }
        let key = (kind, topic.to_owned());
        if let Some(known) = self.by_name.get(&key) {
            return Some(*known);
        }
        let index = BudgetIndex(self.topics.len() as u32);
        let of_topics = self.settings.of_topics.iter();
        let mut fixed = of_topics.filter(|(topics, _)| topics.has(topic));
        self.topics.push(TopicBudget {
            topic: topic.to_owned(),
            kind,
            fixed: fixed.next().map(|(_, rate)| *rate),
            bytes: 0,
            rate: 0.0,
            long_run: 0.0,
            bucket: 0.0,
            begun: false,
            diverted: None,
        });
        self.by_name.insert(key, index);
        Some(index)
    }

    /// A record of the topic. Returns the lane of its own, if it has one.
    pub fn take(&mut self, index: BudgetIndex, bytes: usize) -> Option<Shard> {
        let topic = self.topics.get_mut(index.0 as usize)?;
        topic.bytes += bytes as u64;
        if topic.diverted.is_some() {
            self.counters.diverted_bytes += bytes as u64;
        }
        topic.diverted
    }

    pub fn diverted(&self, index: BudgetIndex) -> Option<Shard> {
        self.topics.get(index.0 as usize)?.diverted
    }

    pub fn counters(&self) -> BudgetCounters {
        self.counters
    }

    /// Topics in lanes of their own.
    pub fn diverted_topics(&self) -> impl Iterator<Item = (&str, Lane)> {
        let taken = self.taken.iter();
        taken.filter_map(|(shard, index)| {
            let topic = self.topics.get(index.0 as usize)?;
            let lane = Lane {
                kind: topic.kind,
                shard: shard.number(),
            };
            Some((topic.topic.as_str(), lane))
        })
    }

    /// Between two batches. `now`: monotonic, ns.
    pub fn judge(&mut self, now: i64) -> Vec<Switch> {
        let Some(judged) = self.judged else {
            self.judged = Some(now);
            return Vec::new();
        };
        let span = now.saturating_sub(judged);
        if (0..JUDGE_EVERY_NS).contains(&span) || self.settings.lanes_max == 0 {
            return Vec::new();
        }
        self.judged = Some(now);
        let span = span.clamp(JUDGE_EVERY_NS, LOOK_BACK_NS) as f64;
        self.measure(span);
        let mut switches = Vec::new();
        for index in 0..self.topics.len() {
            switches.extend(self.judge_one(BudgetIndex(index as u32), span));
        }
        switches
    }

    fn window_ns(&self) -> f64 {
        (self.settings.window.as_nanos() as f64).max(1e9)
    }

    /// Rates of the last window.
    fn measure(&mut self, span: f64) {
        let weight = (span / self.window_ns()).min(1.0);
        let mut sums: BTreeMap<LaneKind, f64> = BTreeMap::new();
        for topic in &mut self.topics {
            let now = topic.bytes as f64 * 1e9 / span;
            topic.rate += (now - topic.rate) * weight;
            *sums.entry(topic.kind).or_default() += topic.rate;
        }
        self.rates = sums;
    }

    /// Bytes a second.
    fn budget(&self, topic: &TopicBudget) -> f64 {
        let BudgetSettings {
            share_percent,
            times,
            events_rate,
            telemetry_rate,
            ..
        } = &self.settings;
        if let Some(fixed) = topic.fixed {
            return fixed as f64;
        }
        let always = match topic.kind {
            LaneKind::Events => *events_rate,
            LaneKind::Telemetry | LaneKind::Losses | LaneKind::Reduced | LaneKind::Parked => {
                *telemetry_rate
            }
        };
        let all = self.rates.get(&topic.kind).copied().unwrap_or_default();
        (always as f64)
            .max(all * f64::from(*share_percent) / 100.0)
            .max(topic.long_run * f64::from(*times))
    }

    fn judge_one(&mut self, index: BudgetIndex, span: f64) -> Option<Switch> {
        let place = index.0 as usize;
        let budget = self.budget(self.topics.get(place)?);
        // A budget of nothing is a byte: or its topic would leave and come back at every look.
        let full = (budget * self.window_ns() / 1e9).max(1.0);
        let topic = self.topics.get_mut(place)?;
        let bytes = std::mem::take(&mut topic.bytes) as f64;
        if !std::mem::replace(&mut topic.begun, true) {
            topic.bucket = full;
        }
        topic.bucket = (topic.bucket + budget * span / 1e9 - bytes).clamp(-full, full);
        let said = |topic: &TopicBudget, diverted| Switch {
            topic: topic.topic.clone(),
            kind: topic.kind,
            diverted,
            rate: topic.rate as u64,
            budget: budget as u64,
        };
        match topic.diverted {
            Some(_) if topic.bucket < full => None,
            Some(shard) => {
                topic.diverted = None;
                let back = said(topic, None);
                self.taken.remove(&shard);
                self.counters.diverted -= 1;
                Some(back)
            }
            None => {
                let weight = (span / LONG_RUN_NS).min(1.0);
                topic.long_run += (bytes * 1e9 / span - topic.long_run) * weight;
                if topic.bucket > 0.0 {
                    return None;
                }
                let component = component_of(&topic.topic).to_owned();
                let shard = self.free_lane(&component)?;
                let topic = self.topics.get_mut(place)?;
                topic.diverted = Some(shard);
                let away = said(topic, Some(shard));
                self.taken.insert(shard, index);
                self.counters.diverted += 1;
                self.counters.diversions += 1;
                Some(away)
            }
        }
    }

    fn free_lane(&mut self, component: &str) -> Option<Shard> {
        if usize::from(self.settings.lanes_max) <= self.taken.len() {
            self.counters.refused += 1;
            return None;
        }
        let mut slots = (0..DIVERTED_SLOTS).map(|slot| Shard::diverted(component, slot));
        slots.find(|shard| !self.taken.contains_key(shard))
    }
}

#[cfg(test)]
mod tests;
