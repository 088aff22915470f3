//! The clocks of publishers, by the stamps in their samples against when they came.
//!
//! Of each second the least lag counts, as delays only add to it, and of the last seconds that had samples the median: a
//! stray stamp moves nothing. Only a steady difference is a clock's: what varies is a queue at the publisher.

use efd_shared_model::UtcNanos;

use super::finding::{Found, Judged, Subject, publisher_name};
use super::{Kind, Topic, TopicNumber, Turn};

/// Seconds that had samples.
const LAGS: usize = 15;
const LAGS_MIN: usize = 5;
/// Half of the lags are as close together.
const STEADY_SECONDS: f64 = 0.5;
/// Of its limit: where a finding ends.
const ENDS_AT: f64 = 0.8;
/// A lag this close to TAI - UTC is no accident.
const SAME_SECONDS: f64 = 0.5;

/// Of all topics of one publisher.
#[derive(Debug)]
pub(super) struct Clock {
    component: Box<str>,
    identity: Box<[u8]>,
    sal_index: Option<i32>,
    topic: TopicNumber,
    /// Of this second.
    least: f64,
    /// The last ones, in a circle.
    lags: [f64; LAGS],
    known: usize,
    next: usize,
    raised: Option<Subject>,
    /// It was not off before.
    since: UtcNanos,
}

impl Clock {
    /// The place of a publisher's among `clocks`; made where it is not there.
    pub(super) fn named(
        clocks: &mut Vec<Self>,
        component: &str,
        identity: &[u8],
        sal_index: Option<i32>,
    ) -> u32 {
        // A name tells all; without one, an index is one of a component.
        let same = |clock: &Self| {
            *clock.identity == *identity
                && (!identity.is_empty()
                    || *clock.component == *component && clock.sal_index == sal_index)
        };
        let place = clocks.iter().position(same).unwrap_or_else(|| {
            clocks.push(Self {
                component: component.into(),
                identity: identity.into(),
                sal_index,
                topic: TopicNumber(0),
                least: f64::INFINITY,
                lags: [0.0; LAGS],
                known: 0,
                next: 0,
                raised: None,
                since: UtcNanos(i64::MAX),
            });
            clocks.len() - 1
        });
        place as u32
    }

    pub(super) fn note(&mut self, lag: f64, heard: UtcNanos, topic: TopicNumber) {
        if lag.is_finite() {
            self.least = self.least.min(lag);
            self.topic = topic;
            self.since = self.since.min(heard);
        }
    }

    pub(super) fn subject(&self, topics: &[Topic]) -> Subject {
        self.raised.clone().unwrap_or_else(|| {
            let topic = &topics[self.topic.0 as usize].name;
            Subject::new(topic, &self.identity, self.sal_index)
        })
    }

    /// Takes in this second. `false`: it brought nothing.
    fn turn(&mut self, turn: Turn) -> bool {
        let least = std::mem::replace(&mut self.least, f64::INFINITY);
        if !least.is_finite() {
            return false;
        }
        if self.raised.is_none() && least.abs() <= turn.limits.clock_seconds {
            self.since = turn.now;
        }
        self.lags[self.next] = least;
        self.next = (self.next + 1) % LAGS;
        self.known = LAGS.min(self.known + 1);
        true
    }

    /// The median, and how far apart the middle half is.
    fn middle(&self) -> Option<(f64, f64)> {
        if self.known < LAGS_MIN {
            return None;
        }
        let mut lags = self.lags;
        let lags = &mut lags[..self.known];
        lags.sort_unstable_by(f64::total_cmp);
        let at = |quarters: usize| lags[quarters * (lags.len() - 1) / 4];
        Some((at(2), at(3) - at(1)))
    }
}

pub(super) fn judge(
    clocks: &mut [Clock],
    topics: &[Topic],
    turn: Turn,
    tai_minus_utc: i32,
    verdicts: &mut Vec<Judged>,
) {
    let limit = turn.limits.clock_seconds;
    let mut judged = Vec::new();
    for clock in &mut *clocks {
        let is_new = clock.turn(turn);
        if let Some((median, spread)) = clock.middle() {
            let factor = if clock.raised.is_some() { ENDS_AT } else { 1.0 };
            let is_off = limit * factor < median.abs() && spread <= STEADY_SECONDS / factor;
            judged.push((clock, is_new, is_off.then_some(median)));
        }
    }
    let off: Vec<f64> = judged.iter().filter_map(|(.., lag)| *lag).collect();
    let all = judged.len();
    for (clock, is_new, lag) in judged {
        if !is_new || lag.is_none() && clock.raised.is_none() {
            continue;
        }
        let found = lag.map(|lag| {
            let alike = off
                .iter()
                .filter(|other| (*other - lag).abs() < SAME_SECONDS);
            let mut text = words(lag, tai_minus_utc);
            let alike = alike.count();
            if alike > 2 && alike * 2 > all {
                text += &format!(
                    "; so are {alike} of {all} publishers: look at this edge's own clock first"
                );
            }
            Found {
                value: lag,
                limit,
                text,
            }
        });
        let subject = clock.subject(topics);
        clock.raised = found.is_some().then(|| subject.clone());
        verdicts.push(Judged {
            kind: Kind::Clock,
            subject,
            identity: publisher_name(&clock.identity, clock.sal_index),
            since: clock.since.min(turn.now),
            found,
        });
    }
}

fn words(lag: f64, tai_minus_utc: i32) -> String {
    let size = lag.abs();
    let way = if lag > 0.0 { "behind" } else { "ahead of" };
    let mut text = format!("its stamps are {size:.1} s {way} our clock");
    if (size - f64::from(tai_minus_utc)).abs() < SAME_SECONDS {
        text += if lag > 0.0 {
            ", which is TAI - UTC: it stamps UTC where SAL has TAI"
        } else {
            ", which is TAI - UTC: it has added the leap seconds twice"
        };
    }
    text
}
