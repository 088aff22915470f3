//! What alerts look at: how long the buffer lasts, how late the centre is, how good the clock is.

use std::sync::atomic::{AtomicI64, AtomicU64};

use efd_shared_model::ClockState;
use efd_shared_model::clock::ClockSource;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::Count;

type Number = Gauge<f64, AtomicU64>;
/// Absent while nothing is known.
type Known = Family<Vec<(String, String)>, Number>;

#[derive(Debug, Default)]
pub(super) struct WatchMeters {
    bytes_max: Count,
    hours_left: Known,
    oldest_seconds: Number,
    clock_error: Known,
    clock_disciplined: Gauge<i64, AtomicI64>,
}

/// As of now.
#[derive(Clone, Copy, Debug)]
pub(super) struct Watched {
    pub(super) bytes_max: u64,
    pub(super) hours_left: Option<f64>,
    pub(super) oldest_seconds: f64,
    pub(super) clock: ClockState,
}

impl WatchMeters {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "buffer_bytes_max",
            "Bytes that the buffer may have",
            self.bytes_max.clone(),
        );
        registry.register(
            "buffer_hours_left",
            "Hours until the buffer is full of what the centre does not have, at the rate of the last ten minutes and without a link; absent until a rate is known",
            self.hours_left.clone(),
        );
        registry.register(
            "backlog_seconds",
            "Age of the oldest block that the centre does not have; 0: it has all",
            self.oldest_seconds.clone(),
        );
        registry.register(
            "clock_error_seconds",
            "Estimated error of our clock, as the kernel tells; absent where it tells none",
            self.clock_error.clone(),
        );
        registry.register(
            "clock_disciplined",
            "1 while the kernel says that something disciplines our clock",
            self.clock_disciplined.clone(),
        );
    }

    pub(super) fn observe(&self, now: Watched) {
        self.bytes_max.set(now.bytes_max);
        set(&self.hours_left, now.hours_left);
        self.oldest_seconds.set(now.oldest_seconds);
        let error = now.clock.error.map(|ns| ns as f64 / 1e9);
        set(&self.clock_error, error);
        let is_disciplined = now.clock.source == ClockSource::Disciplined;
        self.clock_disciplined.set(is_disciplined.into());
    }
}

fn set(known: &Known, value: Option<f64>) {
    match value {
        Some(value) => {
            known.get_or_create(&Vec::new()).set(value);
        }
        None => known.clear(),
    }
}
