//! From looks at a buffer to what is shown: observations in, views out, no clock.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use efd_shared_model::{LossReason, UtcNanos};

/// Rows for components; more share one.
const COMPONENTS_MAX: usize = 1_000;
const OTHERS: &str = "(others)";
/// How long the disk is looked at to tell how fast it fills: a checkpoint or two must not look like a trend.
const DISK_SPAN: Duration = Duration::from_secs(60);
const DISK_LOOKS_MAX: usize = 600;
pub(super) const MINUTES: i64 = 60;
const NOTICES_MAX: usize = 100;

/// Records, and the bytes of their datums before compression.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) records: u64,
    pub(super) bytes: u64,
}

impl Count {
    pub(super) fn add(&mut self, other: Self) {
        self.records += other.records;
        self.bytes += other.bytes;
    }
}

/// Absences of one reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Lost {
    pub(super) losses: u64,
    /// Samples or records, where they are known.
    pub(super) count: u64,
    /// Losses whose count nobody can tell.
    pub(super) uncounted: u64,
}

impl Lost {
    pub(super) fn add(&mut self, other: Self) {
        self.losses += other.losses;
        self.count += other.count;
        self.uncounted += other.uncounted;
    }
}

pub(super) type Losses = BTreeMap<LossReason, Lost>;

fn merge(into: &mut Losses, from: &Losses) {
    for (reason, lost) in from {
        into.entry(*reason).or_default().add(*lost);
    }
}

/// Blocks that a destination has not acknowledged, as last saved by the edge.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Lag {
    /// `None`: nobody has ever acknowledged anything.
    pub(super) destination: Option<String>,
    pub(super) blocks: u64,
    /// As stored; of segments that are acknowledged in part, in proportion.
    pub(super) bytes: u64,
    /// When the oldest of them was sealed, where it can be read.
    pub(super) oldest: Option<UtcNanos>,
}

/// One look at the buffer.
#[derive(Clone, Debug, Default)]
pub(super) struct Observation {
    pub(super) utc: UtcNanos,
    pub(super) elapsed: Duration,
    /// Since the look before.
    pub(super) components: BTreeMap<String, Count>,
    pub(super) lanes: BTreeMap<String, Count>,
    /// By the minute (since 1970) in which they were named. The first look has those of the hour before it.
    pub(super) losses: BTreeMap<i64, Losses>,
    pub(super) lag: Vec<Lag>,
    /// Of the buffer's files.
    pub(super) buffer_bytes: u64,
    /// Of the file system, for who may write; `None` where it does not tell.
    pub(super) free_bytes: Option<u64>,
    /// When the newest block was committed.
    pub(super) newest: Option<UtcNanos>,
    /// Blocks that were not looked into, because too many had come at once.
    pub(super) passed_over: u64,
    /// What cannot be seen, or is damaged, and was not named before.
    pub(super) notices: Vec<String>,
}

/// What is known of a buffer over time. Its size does not grow with the buffer, nor with time.
#[derive(Debug, Default)]
pub(super) struct State {
    /// Of the first look and of the last.
    looks: Option<(UtcNanos, Duration)>,
    components: BTreeMap<String, Count>,
    since_begin: Losses,
    by_minute: BTreeMap<i64, Losses>,
    /// Free bytes of the last minute.
    disk: VecDeque<(Duration, u64)>,
    passed_over: u64,
    notices: VecDeque<String>,
}

/// What is shown.
#[derive(Clone, Debug)]
pub(super) struct View {
    pub(super) utc: UtcNanos,
    pub(super) began: UtcNanos,
    /// Of the interval that the counts are of; `None` at the first look, which has none.
    pub(super) interval: Option<Duration>,
    pub(super) total: Count,
    /// The busiest first.
    pub(super) components: Vec<(String, Count)>,
    pub(super) lanes: Vec<(String, Count)>,
    pub(super) lag: Vec<Lag>,
    pub(super) since_begin: Losses,
    pub(super) last_hour: Losses,
    pub(super) buffer_bytes: u64,
    pub(super) free_bytes: Option<u64>,
    /// How fast the free bytes become fewer, in bytes a second.
    pub(super) filling: Option<f64>,
    pub(super) full_in: Option<Duration>,
    pub(super) newest: Option<UtcNanos>,
    /// Since the newest block was committed.
    pub(super) age: Option<Duration>,
    /// Since the begin.
    pub(super) passed_over: u64,
    /// The oldest first.
    pub(super) notices: Vec<String>,
}

impl State {
    pub(super) fn take(&mut self, observation: Observation) -> View {
        let Observation {
            utc,
            elapsed,
            components,
            lanes,
            losses,
            lag,
            buffer_bytes,
            free_bytes,
            newest,
            passed_over,
            notices,
        } = observation;
        let interval = self.looks.map(|(_, last)| elapsed.saturating_sub(last));
        let began = self.looks.map_or(utc, |(began, _)| began);
        self.looks = Some((began, elapsed));
        self.take_losses(losses, utc, interval.is_some());
        self.passed_over += passed_over;
        for notice in notices {
            if self.notices.len() == NOTICES_MAX {
                self.notices.pop_front();
            }
            self.notices.push_back(notice);
        }
        let filling = free_bytes.and_then(|free| self.filling(elapsed, free));
        let is_filling = filling.filter(|&rate| rate >= 1.0);
        let full_in = free_bytes.zip(is_filling).and_then(|(free, rate)| {
            // Whole seconds; a rate so slow that it fits no `Duration` fills nothing.
            Duration::try_from_secs_f64((free as f64 / rate).floor()).ok()
        });
        View {
            utc,
            began,
            interval,
            total: self.take_counts(components),
            components: self.by_rate(),
            lanes: lanes.into_iter().collect(),
            lag,
            since_begin: self.since_begin.clone(),
            last_hour: self.last_hour(),
            buffer_bytes,
            free_bytes,
            filling,
            full_in,
            newest,
            age: newest.map(|newest| age(utc, newest)),
            passed_over: self.passed_over,
            notices: self.notices.iter().cloned().collect(),
        }
    }

    /// Those that say nothing in this interval stay, with 0: that someone fell silent is to be seen.
    fn take_counts(&mut self, counts: BTreeMap<String, Count>) -> Count {
        for count in self.components.values_mut() {
            *count = Count::default();
        }
        let mut total = Count::default();
        for (name, count) in counts {
            total.add(count);
            let has_room =
                self.components.len() < COMPONENTS_MAX || self.components.contains_key(&name);
            let name = if has_room { name } else { OTHERS.to_owned() };
            self.components.entry(name).or_default().add(count);
        }
        total
    }

    fn by_rate(&self) -> Vec<(String, Count)> {
        let mut all: Vec<_> = self.components.clone().into_iter().collect();
        // Stable: those alike stay in the order of their names.
        all.sort_by_key(|(_, count)| std::cmp::Reverse((count.records, count.bytes)));
        all
    }

    fn take_losses(&mut self, losses: BTreeMap<i64, Losses>, utc: UtcNanos, is_new: bool) {
        for (minute, losses) in losses {
            if is_new {
                merge(&mut self.since_begin, &losses);
            }
            merge(self.by_minute.entry(minute).or_default(), &losses);
        }
        // The present minute is one of them. The edge's clock may be ahead of ours by a little, or have been wrong.
        let present = minute_of(utc);
        self.by_minute
            .retain(|&minute, _| (present - MINUTES + 1..=present + 1).contains(&minute));
    }

    fn last_hour(&self) -> Losses {
        let mut all = Losses::new();
        for losses in self.by_minute.values() {
            merge(&mut all, losses);
        }
        all
    }

    fn filling(&mut self, elapsed: Duration, free: u64) -> Option<f64> {
        self.disk.push_back((elapsed, free));
        let is_old = |&(at, _): &(Duration, u64)| elapsed.saturating_sub(at) > DISK_SPAN;
        while self.disk.len() > DISK_LOOKS_MAX || self.disk.front().is_some_and(is_old) {
            self.disk.pop_front();
        }
        let &(first, then) = self.disk.front()?;
        let seconds = elapsed.saturating_sub(first).as_secs_f64();
        (seconds > 0.0).then(|| (then as f64 - free as f64) / seconds)
    }
}

pub(super) fn minute_of(utc: UtcNanos) -> i64 {
    utc.0.div_euclid(60_000_000_000)
}

/// Nothing where `then` is ahead of `now`: two clocks, or one that was set.
pub(super) fn age(now: UtcNanos, then: UtcNanos) -> Duration {
    Duration::from_nanos(u64::try_from(now.since(then)).unwrap_or(0))
}

#[cfg(test)]
mod tests;
