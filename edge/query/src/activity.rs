//! What comes in at present: told by whoever commits, asked by whoever wants to know what is alive.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use efd_shared_model::{RecordStamps, StreamDeclaration, StreamNumber, UtcNanos};
use efd_shared_stats::Resolution;

/// Of a topic: instances beyond it are not told apart.
const INSTANCES_MAX: usize = 256;
/// A rate is a mean over about so long, ns.
const RATE_OVER: f64 = 30e9;

/// Of the present epoch.
#[derive(Debug, Default)]
pub struct Activity(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    topics: BTreeMap<StreamNumber, (String, Alive)>,
    begun: Option<UtcNanos>,
    building: BTreeSet<Resolution>,
}

/// What came of one stream since the start.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Alive {
    pub records: u64,
    /// The latest event time, and when it was committed.
    pub newest: Option<UtcNanos>,
    pub committed: Option<UtcNanos>,
    pub instances: BTreeSet<Option<i32>>,
    /// Records a second as of `committed`, not yet made good for a short life.
    decayed: f64,
}

/// What a commit adds to one stream.
#[derive(Clone, Debug)]
pub struct Fresh {
    stream: StreamNumber,
    records: u64,
    newest: UtcNanos,
    /// Most often there is one.
    instance: Option<i32>,
    others: Vec<Option<i32>>,
}

impl Fresh {
    /// `None` of no records.
    pub fn of(stream: StreamNumber, stamps: &[RecordStamps]) -> Option<Self> {
        let mut fresh = Self {
            stream,
            records: stamps.len() as u64,
            newest: stamps.iter().map(|it| it.event_time).max()?,
            instance: stamps.first()?.instance,
            others: Vec::new(),
        };
        for stamps in stamps {
            let is_known = stamps.instance == fresh.instance
                || INSTANCES_MAX <= fresh.others.len()
                || fresh.others.contains(&stamps.instance);
            if !is_known {
                fresh.others.push(stamps.instance);
            }
        }
        Some(fresh)
    }
}

impl Alive {
    fn add(&mut self, fresh: &Fresh, committed: UtcNanos) {
        let since = self
            .committed
            .map_or(0, |last| committed.since(last).max(0));
        self.decayed *= (-(since as f64) / RATE_OVER).exp();
        self.decayed += fresh.records as f64 / (RATE_OVER / 1e9);
        self.committed = Some(committed);
        self.records += fresh.records;
        self.newest = self.newest.max(Some(fresh.newest));
        for instance in std::iter::once(&fresh.instance).chain(&fresh.others) {
            if self.instances.len() < INSTANCES_MAX {
                self.instances.insert(*instance);
            }
        }
    }

    /// Records a second over the last while: an exponential mean.
    fn rate(&self, begun: UtcNanos, now: UtcNanos) -> f64 {
        let Some(committed) = self.committed else {
            return 0.0;
        };
        let since = now.since(committed).max(0) as f64;
        let life = now.since(begun).max(1_000_000_000) as f64;
        self.decayed * (-since / RATE_OVER).exp() / (1.0 - (-life / RATE_OVER).exp())
    }
}

impl Activity {
    fn inner(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A stream of the present epoch.
    pub fn declare(&self, streams: &[StreamDeclaration]) {
        let mut inner = self.inner();
        for stream in streams {
            let alive = (stream.topic.clone(), Alive::default());
            inner.topics.entry(stream.number).or_insert(alive);
        }
    }

    /// What is durable now.
    pub fn committed(&self, fresh: &[Fresh], committed: UtcNanos) {
        let mut inner = self.inner();
        inner.begun.get_or_insert(committed);
        for fresh in fresh {
            if let Some((_, alive)) = inner.topics.get_mut(&fresh.stream) {
                alive.add(fresh, committed);
            }
        }
    }

    /// By topic: what came since the start, and records a second at present.
    pub fn topics(&self, now: UtcNanos) -> BTreeMap<String, (Alive, f64)> {
        let inner = self.inner();
        let begun = inner.begun.unwrap_or(now);
        let mut all: BTreeMap<String, (Alive, f64)> = BTreeMap::new();
        for (topic, alive) in inner.topics.values() {
            let rate = alive.rate(begun, now);
            match all.get_mut(topic) {
                None => {
                    all.insert(topic.clone(), (alive.clone(), rate));
                }
                // A topic with another type since: streams follow each other.
                Some((known, sum)) => {
                    *sum += rate;
                    known.records += alive.records;
                    known.newest = known.newest.max(alive.newest);
                    known.instances.extend(alive.instances.iter().copied());
                    if known.committed <= alive.committed {
                        known.committed = alive.committed;
                    }
                }
            }
        }
        all
    }

    /// Tiers that are still being made of what was held before them.
    pub fn set_building(&self, tiers: BTreeSet<Resolution>) {
        self.inner().building = tiers;
    }

    pub fn is_building(&self, tier: Resolution) -> bool {
        self.inner().building.contains(&tier)
    }

    /// One topic of them.
    pub fn of(&self, topic: &str) -> Option<Alive> {
        let inner = self.inner();
        let mut of_topic = inner.topics.values().filter(|(name, _)| name == topic);
        let (_, first) = of_topic.next()?;
        let newest = of_topic.fold(first, |newest, (_, alive)| {
            match newest.committed < alive.committed {
                true => alive,
                false => newest,
            }
        });
        Some(newest.clone())
    }
}

#[cfg(test)]
mod tests {
    use efd_shared_model::{EventTimeOrigin, Fingerprint, TopicKind};

    use super::*;

    const SECOND: i64 = 1_000_000_000;

    #[test]
    fn a_rate_comes_and_goes() {
        let activity = Activity::default();
        activity.declare(&[StreamDeclaration {
            number: StreamNumber(3),
            topic: "lsst.sal.MTMount.elevation".into(),
            dds_topic: String::new(),
            dds_type: String::new(),
            kind: TopicKind::Telemetry,
            schema: Fingerprint([0; 32]),
        }]);
        let stamps = |second: i64| RecordStamps {
            event_time: UtcNanos(second * SECOND),
            origin: EventTimeOrigin::SndStamp,
            implausible: false,
            latin1: false,
            instance: Some((second % 2) as i32),
        };
        for second in 0..120 {
            let of_second = [stamps(second), stamps(second + 1)].repeat(25);
            let fresh = [3, 4].map(|stream| Fresh::of(StreamNumber(stream), &of_second).unwrap());
            let committed = UtcNanos(second * SECOND);
            activity.committed(&fresh, committed);
            let (alive, rate) = activity.topics(committed)["lsst.sal.MTMount.elevation"].clone();
            assert_eq!(alive.records, (second as u64 + 1) * 50);
            if second > 3 {
                assert!((25.0..75.0).contains(&rate), "{second} s: {rate}");
            }
        }
        let alive = activity.of("lsst.sal.MTMount.elevation").unwrap();
        assert_eq!(alive.newest, Some(UtcNanos(120 * SECOND)));
        assert_eq!(alive.instances, [Some(0), Some(1)].into());
        let later = activity.topics(UtcNanos(500 * SECOND));
        assert!(later["lsst.sal.MTMount.elevation"].1 < 0.01);
        assert_eq!(activity.of("another"), None);
    }
}
