//! How often a telemetry topic comes: its silences, and the rate of each minute against what is usual.

use super::finding::Found;
use super::{Limits, SECOND_NS};

/// A rate is known after so many samples and so long.
const SAMPLES_MIN: u64 = 30;
const SPAN_MIN_NS: i64 = 10 * SECOND_NS;
/// After so long, what was before counts half.
const SPAN_MAX_NS: i64 = 3600 * SECOND_NS;
/// A topic that paused so many times less long may do so again.
const WIDEST_FACTOR: i64 = 2;
/// What is usual is known after so many minutes, and follows slowly.
const MINUTES_MIN: u32 = 5;
const MINUTES_MAX: u32 = 60;
/// A minute with such a pause in it tells nothing of a rate.
const PAUSE_NS: i64 = 5 * SECOND_NS;
const PAUSE_PERIODS: f64 = 10.0;
/// Differences that counting alone makes, in standard deviations.
const CHANCE: f64 = 6.0;

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pace {
    /// Intervals between samples: how many, together, and the widest of this span and the one before.
    intervals: u64,
    span: i64,
    widest: i64,
    widest_before: i64,
    /// Samples of this minute, and whether it can be judged.
    minute: u32,
    is_disturbed: bool,
    /// The first is not whole.
    minutes: Option<u32>,
    /// Samples of a usual minute.
    usual: f64,
}

impl Pace {
    /// `interval`: since the one before.
    #[inline]
    pub(super) fn sample(&mut self, interval: i64) {
        self.intervals += 1;
        self.span += interval.max(0);
        self.widest = self.widest.max(interval);
        if SPAN_MAX_NS <= self.span {
            (self.intervals, self.span) = (self.intervals / 2, self.span / 2);
            (self.widest_before, self.widest) = (self.widest, 0);
        }
    }

    fn period(&self) -> f64 {
        self.span as f64 / self.intervals.max(1) as f64
    }

    /// From where on a silence is one; `None`: what is usual is not known.
    fn silence_max(&self, limits: Limits) -> Option<i64> {
        let is_known = SAMPLES_MIN <= self.intervals && SPAN_MIN_NS <= self.span;
        is_known.then(|| {
            let periods = (limits.silent_periods * self.period()) as i64;
            let widest = self.widest.max(self.widest_before);
            let before = widest.saturating_mul(WIDEST_FACTOR);
            limits.silent_ns.max(periods).max(before)
        })
    }

    /// The same silence, if it is too long.
    pub(super) fn silence(&self, silence: i64, limits: Limits) -> Option<i64> {
        Some(silence).filter(|silence| {
            self.silence_max(limits)
                .is_some_and(|silence_max| silence_max < *silence)
        })
    }

    pub(super) fn silent(&self, silence: i64, limits: Limits, writer: &str) -> Found {
        let seconds = |ns: i64| ns as f64 / SECOND_NS as f64;
        let rate = SECOND_NS as f64 / self.period().max(1.0);
        let value = seconds(silence);
        Found {
            value,
            limit: seconds(self.silence_max(limits).unwrap_or(limits.silent_ns)),
            text: format!("silent for {value:.0} s, after {rate:.3} a second; {writer}"),
        }
    }

    /// As a restart of the publisher does.
    pub(super) fn has_paused(&self, silence: i64) -> bool {
        PAUSE_NS < silence && PAUSE_PERIODS * self.period() < silence as f64
    }

    pub(super) fn count(&mut self, samples: u32, is_disturbed: bool) {
        self.minute += samples;
        self.is_disturbed |= is_disturbed;
    }

    /// `None`: the minute tells nothing, and what was said stays.
    pub(super) fn end_minute(&mut self, is_raised: bool, limits: Limits) -> Option<Option<Found>> {
        let samples = f64::from(std::mem::take(&mut self.minute));
        let is_disturbed = std::mem::take(&mut self.is_disturbed);
        let Some(minutes) = self.minutes else {
            self.minutes = Some(0);
            return None;
        };
        // A silence, and its end, are told as such.
        if is_disturbed || samples == 0.0 {
            return None;
        }
        let usual = self.usual;
        let is_known = MINUTES_MIN <= minutes;
        let weight = match is_raised {
            true => MINUTES_MAX,
            false => (minutes + 1).min(MINUTES_MAX),
        };
        self.usual += (samples - usual) / f64::from(weight);
        self.minutes = Some(minutes.saturating_add(1));
        if !is_known {
            return None;
        }
        let ratio = samples / usual.max(f64::MIN_POSITIVE);
        let is_off = ratio > limits.rate_factor || ratio * limits.rate_factor < 1.0;
        let by_chance = CHANCE * samples.max(usual).sqrt();
        let found = (is_off && by_chance < (samples - usual).abs()).then(|| Found {
            value: ratio,
            limit: limits.rate_factor,
            text: format!(
                "{:.2} a second in the last minute, usually {:.2}",
                samples / 60.0,
                usual / 60.0
            ),
        });
        Some(found)
    }
}
