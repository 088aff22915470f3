//! Publishers that do not do what they should, or what they did before: named, with the figure that shows it.
//!
//! In:  what is known of each recorded SAL sample ([`Lint::observe`]); the time, now and then ([`Lint::tick`]).
//! Out: [`Finding`]s that begin and end.
//!
//! Pure: time is an argument. A sample costs one look into a table and some additions, and allocates only when its publisher
//! is new; everything is judged in `tick`, once a second. Nothing is judged before it is known what is usual, so that rare
//! events, a new topic, a publisher's restart and our own pauses give no finding. Nothing is kept over a restart of ours.

mod clock;
mod finding;
mod flood;
mod pace;
#[cfg(test)]
mod tests;
mod values;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use efd_shared_model::{TopicKind, UtcNanos};
use hashbrown::HashTable;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use self::clock::Clock;
pub use self::finding::{Change, Finding, Kind};
use self::finding::{Judged, Subject};
use self::flood::{Traffic, Usual};
use self::pace::Pace;
use self::values::Values;

/// Above it, the longest silent publishers are forgotten.
pub const SOURCES_MAX: usize = 50_000;
/// Topics beyond are not looked at.
pub const TOPICS_MAX: usize = 20_000;
/// Beyond, publishers are no longer named.
pub const FINDINGS_MAX: usize = 1000;

const SECOND_NS: i64 = 1_000_000_000;
const MINUTE_NS: i64 = 60 * SECOND_NS;
/// A tick that is this late was a pause of ours, or a step of our clock: what came meanwhile is not known.
const PAUSE_NS: i64 = 5 * SECOND_NS;
/// What was received so long ago waited here, and tells nothing of now.
const OLD_NS: i64 = MINUTE_NS;
const FORGET_NS: i64 = 86_400 * SECOND_NS;
/// Who has left the bus is complained of no longer.
const GONE_NS: i64 = 3600 * SECOND_NS;
/// So many samples with one number.
const STUCK_MIN: u32 = 10;

/// Where a finding begins.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// A publisher's stamps against our reception, seconds.
    pub clock_seconds: f64,
    /// Silence, in usual periods and at least.
    pub silent_periods: f64,
    pub silent_ns: i64,
    /// The rate of a minute against the usual one, either way.
    pub rate_factor: f64,
    /// Of all bytes of the last ten seconds, and against the topic's usual ones.
    pub flood_share: f64,
    pub flood_factor: f64,
    /// Of a topic's floating-point values.
    pub not_finite_share: f64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            clock_seconds: 1.0,
            silent_periods: 10.0,
            silent_ns: 10 * SECOND_NS,
            rate_factor: 2.0,
            flood_share: 0.5,
            flood_factor: 10.0,
            not_finite_share: 0.5,
        }
    }
}

/// A topic's number here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicNumber(u32);

/// One recorded sample.
#[derive(Clone, Copy, Debug)]
pub struct Observed<'a> {
    pub topic: TopicNumber,
    pub sal_index: Option<i32>,
    /// `private_identity`.
    pub identity: &'a [u8],
    pub origin: i64,
    pub sequence: i64,
    pub received: UtcNanos,
    /// Reception less the publisher's stamp, seconds; `None` where that tells nothing of its clock.
    pub lag: Option<f64>,
    /// Of the record.
    pub bytes: usize,
    pub floats: u32,
    pub not_finite: u32,
}

#[derive(Debug)]
struct Topic {
    name: Box<str>,
    kind: TopicKind,
    traffic: Traffic,
    usual: Usual,
    is_flooding: bool,
}

/// A publisher of a topic, whatever its process: a restart is the same one.
#[derive(Debug)]
struct Source {
    topic: TopicNumber,
    sal_index: Option<i32>,
    identity: Box<[u8]>,
    clock: u32,
    since_tick: SinceTick,
    origin: i64,
    sequence: i64,
    /// Samples that had the number before them.
    stuck: u32,
    heard: UtcNanos,
    pace: Pace,
    values: Values,
    raised: Raised,
}

#[derive(Clone, Copy, Debug, Default)]
struct SinceTick {
    samples: u32,
    bytes: u64,
    floats: u64,
    not_finite: u64,
    /// The least; infinite: none.
    lag: f64,
}

impl SinceTick {
    const NOTHING: Self = Self {
        samples: 0,
        bytes: 0,
        floats: 0,
        not_finite: 0,
        lag: f64::INFINITY,
    };
}

/// What of a source is complained of, so that it is known without a look into the findings.
#[derive(Clone, Copy, Debug, Default)]
struct Raised {
    silent: bool,
    rate: bool,
    values: bool,
    sequence: bool,
}

#[derive(Debug)]
pub struct Lint {
    limits: Limits,
    topics: Vec<Topic>,
    by_name: HashMap<Box<str>, TopicNumber>,
    sources: HashTable<Source>,
    clocks: Vec<Clock>,
    /// All topics together.
    traffic: Traffic,
    findings: BTreeMap<(Kind, Subject), Finding>,
    /// Publishers that could not be named, as [`FINDINGS_MAX`] are.
    unnamed: u64,
    /// Of publishers that were forgotten.
    ended: Vec<Change>,
    ticked: Option<UtcNanos>,
    /// Since when we have looked on without a pause.
    calm: UtcNanos,
    minute: UtcNanos,
}

impl Lint {
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            topics: Vec::new(),
            by_name: HashMap::new(),
            sources: HashTable::new(),
            clocks: Vec::new(),
            traffic: Traffic::default(),
            findings: BTreeMap::new(),
            unnamed: 0,
            ended: Vec::new(),
            ticked: None,
            calm: UtcNanos(i64::MIN),
            minute: UtcNanos(i64::MIN),
        }
    }

    /// From now on it is known how much the topic usually sends, be it nothing. `None`: there are too many.
    pub fn topic(&mut self, name: &str, kind: TopicKind) -> Option<TopicNumber> {
        if let Some(&known) = self.by_name.get(name) {
            return Some(known);
        }
        if TOPICS_MAX <= self.topics.len() {
            return None;
        }
        let number = TopicNumber(self.topics.len() as u32);
        self.topics.push(Topic {
            name: name.into(),
            kind,
            traffic: Traffic::default(),
            usual: Usual::default(),
            is_flooding: false,
        });
        self.by_name.insert(name.into(), number);
        Some(number)
    }

    pub fn findings(&self) -> impl Iterator<Item = &Finding> {
        self.findings.values()
    }

    /// Publishers that are not named, as too many others are.
    pub fn unnamed(&self) -> u64 {
        self.unnamed
    }

    pub fn observe(&mut self, sample: Observed<'_>) {
        if let Some(ticked) = self.ticked
            && OLD_NS < ticked.since(sample.received)
        {
            return;
        }
        let hash = hash(sample.topic, sample.sal_index, sample.identity);
        let known = self.sources.find_mut(hash, |source| source.is(&sample));
        match known {
            Some(source) => source.observe(&sample),
            None => self.meet(hash, &sample),
        }
    }

    #[cold]
    fn meet(&mut self, hash: u64, sample: &Observed<'_>) {
        if SOURCES_MAX <= self.sources.len() {
            self.forget_the_longest_silent();
        }
        let component = efd_shared_model::component_of(&self.topics[sample.topic.0 as usize].name);
        let clock = Clock::named(
            &mut self.clocks,
            component,
            sample.identity,
            sample.sal_index,
        );
        let mut source = Source {
            topic: sample.topic,
            sal_index: sample.sal_index,
            identity: sample.identity.into(),
            clock,
            since_tick: SinceTick::NOTHING,
            origin: sample.origin,
            // What no publisher writes.
            sequence: i64::MIN,
            stuck: 0,
            heard: sample.received,
            pace: Pace::default(),
            values: Values::default(),
            raised: Raised::default(),
        };
        source.observe(sample);
        self.sources.insert_unique(hash, source, Source::hash);
    }

    /// Judges what came since the last one; `None`: that was less than a second ago. `is_written`: whether a topic has a
    /// writer on the bus. `tai_minus_utc`: seconds.
    pub fn tick(
        &mut self,
        now: UtcNanos,
        tai_minus_utc: i32,
        is_written: &dyn Fn(&str) -> bool,
    ) -> Option<Vec<Change>> {
        let Some(ticked) = self.ticked else {
            (self.ticked, self.calm, self.minute) = (Some(now), now, now);
            return None;
        };
        let passed = now.since(ticked);
        if (0..SECOND_NS).contains(&passed) {
            return None;
        }
        self.ticked = Some(now);
        if !(0..PAUSE_NS).contains(&passed) {
            (self.calm, self.minute) = (now, now);
        }
        let turn = Turn {
            now,
            calm: self.calm,
            ends_a_minute: MINUTE_NS <= now.since(self.minute),
            limits: self.limits,
        };
        if turn.ends_a_minute {
            self.minute = now;
        }
        let mut verdicts = Vec::new();
        self.judge_sources(turn, is_written, &mut verdicts);
        clock::judge(
            &mut self.clocks,
            &self.topics,
            turn,
            tai_minus_utc,
            &mut verdicts,
        );
        self.judge_floods(turn, &mut verdicts);
        if turn.ends_a_minute {
            self.forget(now.saturating_sub(FORGET_NS));
        }
        Some(self.apply(verdicts, now))
    }

    fn judge_sources(
        &mut self,
        turn: Turn,
        is_written: &dyn Fn(&str) -> bool,
        verdicts: &mut Vec<Judged>,
    ) {
        for source in &mut self.sources {
            let since = std::mem::replace(&mut source.since_tick, SinceTick::NOTHING);
            let topic = &mut self.topics[source.topic.0 as usize];
            topic.traffic.add(since.bytes, || source.name());
            self.traffic.add(since.bytes, String::new);
            self.clocks[source.clock as usize].note(since.lag, source.heard, source.topic);
            if topic.kind == TopicKind::Telemetry {
                source.judge_pace(turn, since.samples, &topic.name, is_written, verdicts);
            }
            source.judge_values(turn, since, &topic.name, verdicts);
            // An acknowledgement has the number of its command.
            if topic.kind != TopicKind::AckCmd {
                source.judge_sequence(turn, &topic.name, verdicts);
            }
        }
    }

    fn judge_floods(&mut self, turn: Turn, verdicts: &mut Vec<Judged>) {
        let all = self.traffic.turn().sum;
        for topic in &mut self.topics {
            let ten_seconds = topic.traffic.turn();
            let found = topic
                .usual
                .judge(&ten_seconds, all, topic.is_flooding, turn.limits);
            topic.usual.learn(ten_seconds.left, topic.is_flooding);
            if found.is_none() && !topic.is_flooding {
                continue;
            }
            topic.is_flooding = found.is_some();
            // Whoever sent most when it began.
            let subject = Subject::flood(&topic.name);
            verdicts.push(Judged {
                kind: Kind::Flood,
                subject,
                identity: ten_seconds.loudest.unwrap_or_default(),
                since: turn.now,
                found,
            });
        }
    }

    fn apply(&mut self, verdicts: Vec<Judged>, now: UtcNanos) -> Vec<Change> {
        let mut changes = std::mem::take(&mut self.ended);
        self.unnamed = 0;
        for judged in verdicts {
            let key = (judged.kind, judged.subject);
            let is_full = FINDINGS_MAX <= self.findings.len();
            match (self.findings.get_mut(&key), judged.found) {
                (Some(finding), Some(found)) => {
                    (finding.value, finding.text) = (found.value, found.text);
                }
                (Some(_), None) => {
                    if let Some(finding) = self.findings.remove(&key) {
                        changes.push(Change::Ended(finding));
                    }
                }
                (None, Some(_)) if is_full => self.unnamed += 1,
                (None, Some(found)) => {
                    let finding = Finding {
                        kind: judged.kind,
                        topic: key.1.topic.clone(),
                        identity: judged.identity,
                        since: judged.since.min(now),
                        value: found.value,
                        limit: found.limit,
                        text: found.text,
                    };
                    changes.push(Change::Began(finding.clone()));
                    self.findings.insert(key, finding);
                }
                (None, None) => {}
            }
        }
        changes
    }

    /// Half of them, so that the cost is spread over many samples.
    fn forget_the_longest_silent(&mut self) {
        let mut heard: Vec<UtcNanos> = self.sources.iter().map(|source| source.heard).collect();
        let middle = heard.len() / 2;
        let (_, &mut cut, _) = heard.select_nth_unstable(middle);
        self.forget(cut.saturating_add(1));
    }

    /// Who has been silent since before, and the clocks that nobody else goes by.
    fn forget(&mut self, before: UtcNanos) {
        let count = self.sources.len();
        self.sources.retain(|source| before <= source.heard);
        if count == self.sources.len() {
            return;
        }
        let mut places = HashMap::new();
        let mut kept = Vec::new();
        let mut clocks: Vec<Option<Clock>> = std::mem::take(&mut self.clocks)
            .into_iter()
            .map(Some)
            .collect();
        for source in &mut self.sources {
            let place = *places.entry(source.clock).or_insert_with(|| {
                kept.extend(clocks[source.clock as usize].take());
                (kept.len() - 1) as u32
            });
            source.clock = place;
        }
        self.clocks = kept;
        // What is not judged any more would stay for ever.
        let topics = &self.topics;
        let of_sources = self
            .sources
            .iter()
            .flat_map(|source| source.subjects(&topics[source.topic.0 as usize].name));
        let of_clocks = self
            .clocks
            .iter()
            .map(|clock| (Kind::Clock, clock.subject(topics)));
        let alive: BTreeSet<(Kind, Subject)> = of_sources.chain(of_clocks).collect();
        let gone = self
            .findings
            .extract_if(.., |key, _| key.0 != Kind::Flood && !alive.contains(key));
        self.ended
            .extend(gone.map(|(_, finding)| Change::Ended(finding)));
    }
}

/// One tick.
#[derive(Clone, Copy, Debug)]
struct Turn {
    now: UtcNanos,
    calm: UtcNanos,
    ends_a_minute: bool,
    limits: Limits,
}

impl Source {
    fn is(&self, sample: &Observed<'_>) -> bool {
        self.topic == sample.topic
            && self.sal_index == sample.sal_index
            && *self.identity == *sample.identity
    }

    fn hash(&self) -> u64 {
        hash(self.topic, self.sal_index, &self.identity)
    }

    #[inline]
    fn observe(&mut self, sample: &Observed<'_>) {
        let since = &mut self.since_tick;
        since.samples += 1;
        since.bytes += sample.bytes as u64;
        since.floats += u64::from(sample.floats);
        since.not_finite += u64::from(sample.not_finite);
        if let Some(lag) = sample.lag {
            since.lag = since.lag.min(lag);
        }
        let is_next = sample.sequence != self.sequence || sample.origin != self.origin;
        self.stuck = if is_next { 0 } else { self.stuck + 1 };
        (self.sequence, self.origin) = (sample.sequence, sample.origin);
        if !self.raised.silent {
            self.pace.sample(sample.received.since(self.heard));
        }
        self.heard = sample.received.max(self.heard);
    }

    /// As people know it.
    fn name(&self) -> String {
        finding::publisher_name(&self.identity, self.sal_index)
    }

    fn subject(&self, topic: &str) -> Subject {
        Subject::new(topic, &self.identity, self.sal_index)
    }

    fn subjects(&self, topic: &str) -> impl Iterator<Item = (Kind, Subject)> {
        let subject = self.subject(topic);
        [Kind::Silent, Kind::Rate, Kind::NotFinite, Kind::Sequence]
            .into_iter()
            .map(move |kind| (kind, subject.clone()))
    }

    fn judged(&self, kind: Kind, topic: &str, since: UtcNanos) -> Judged {
        Judged {
            kind,
            subject: self.subject(topic),
            identity: self.name(),
            since,
            found: None,
        }
    }

    fn judge_pace(
        &mut self,
        turn: Turn,
        samples: u32,
        topic: &str,
        is_written: &dyn Fn(&str) -> bool,
        verdicts: &mut Vec<Judged>,
    ) {
        let silence = turn.now.since(self.heard.max(turn.calm));
        let whole_silence = turn.now.since(self.heard);
        let mut silent = match self.raised.silent {
            // However long we paused.
            true if samples == 0 => Some(whole_silence),
            true => None,
            false => self.pace.silence(silence, turn.limits),
        };
        if silent.is_some() && GONE_NS < whole_silence && !is_written(topic) {
            silent = None;
            self.pace = Pace::default();
        }
        if silent.is_some() || self.raised.silent {
            let found = silent.map(|_| {
                let writer = if is_written(topic) {
                    "its writer is on the bus"
                } else {
                    "its writer has left the bus"
                };
                self.pace.silent(whole_silence, turn.limits, writer)
            });
            self.raised.silent = found.is_some();
            verdicts.push(Judged {
                found,
                ..self.judged(Kind::Silent, topic, self.heard)
            });
        }
        let is_calm = MINUTE_NS <= turn.now.since(turn.calm);
        let is_disturbed = self.raised.silent || !is_calm || self.pace.has_paused(silence);
        self.pace.count(samples, is_disturbed);
        if turn.ends_a_minute
            && let Some(found) = self.pace.end_minute(self.raised.rate, turn.limits)
            && (found.is_some() || self.raised.rate)
        {
            self.raised.rate = found.is_some();
            verdicts.push(Judged {
                found,
                ..self.judged(Kind::Rate, topic, turn.now.saturating_sub(MINUTE_NS))
            });
        }
    }

    fn judge_values(
        &mut self,
        turn: Turn,
        since: SinceTick,
        topic: &str,
        verdicts: &mut Vec<Judged>,
    ) {
        let judged = self.values.judge(since, self.raised.values, turn.limits);
        if let Some(found) = judged
            && (found.is_some() || self.raised.values)
        {
            self.raised.values = found.is_some();
            verdicts.push(Judged {
                found,
                ..self.judged(Kind::NotFinite, topic, turn.now)
            });
        }
    }

    fn judge_sequence(&mut self, turn: Turn, topic: &str, verdicts: &mut Vec<Judged>) {
        let is_stuck = STUCK_MIN <= self.stuck;
        if !is_stuck && !self.raised.sequence {
            return;
        }
        self.raised.sequence = is_stuck;
        let found = is_stuck.then(|| finding::stuck(self.sequence, self.stuck, STUCK_MIN));
        verdicts.push(Judged {
            found,
            ..self.judged(Kind::Sequence, topic, turn.now)
        });
    }
}

fn hash(topic: TopicNumber, sal_index: Option<i32>, identity: &[u8]) -> u64 {
    let index = sal_index.map_or(0, |index| u64::from(index.cast_unsigned()) + 1);
    xxh3_64_with_seed(identity, index << 32 | u64::from(topic.0))
}
