//! When a certificate ends, and when to say so.

use std::fmt;

use efd_shared_model::UtcNanos;
use efd_shared_model::time::NANOS_PER_SECOND;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

const DAY: i64 = 86_400 * NANOS_PER_SECOND;

/// How near the end of a certificate is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ExpiryLevel {
    /// More than 30 days are left.
    Ok,
    /// At most 30 days.
    Warn30,
    /// At most 7 days.
    Warn7,
    /// At most a day.
    Warn1,
    /// Peers refuse it.
    Expired,
}

impl ExpiryLevel {
    pub fn of(not_after: UtcNanos, now: UtcNanos) -> Self {
        let left = not_after.since(now);
        if left < 0 {
            Self::Expired
        } else if left <= DAY {
            Self::Warn1
        } else if left <= 7 * DAY {
            Self::Warn7
        } else if left <= 30 * DAY {
            Self::Warn30
        } else {
            Self::Ok
        }
    }
}

impl fmt::Display for ExpiryLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ok => "ok",
            Self::Warn30 => "ends within 30 days",
            Self::Warn7 => "ends within 7 days",
            Self::Warn1 => "ends within a day",
            Self::Expired => "expired",
        })
    }
}

/// Says each level once for a certificate; a renewed one starts anew.
#[derive(Debug, Default)]
pub struct ExpiryWatch {
    said: Option<(UtcNanos, ExpiryLevel)>,
}

impl ExpiryWatch {
    /// The level to report at `now`, if it has become worse since it was last asked.
    pub fn handle(&mut self, not_after: UtcNanos, now: UtcNanos) -> Option<ExpiryLevel> {
        let level = ExpiryLevel::of(not_after, now);
        let said = match self.said {
            Some((of, said)) if of == not_after => said,
            Some(_) | None => ExpiryLevel::Ok,
        };
        // A clock that was set back does not take a warning back.
        self.said = Some((not_after, level.max(said)));
        (level > said).then_some(level)
    }
}

/// What a daemon exports about its own certificate.
#[derive(Debug, Clone, Default)]
pub struct CertificateMetrics {
    not_after: Gauge,
    reloads: Counter,
    reload_failures: Counter,
}

impl CertificateMetrics {
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let Self {
            not_after,
            reloads,
            reload_failures,
        } = &metrics;
        registry.register(
            "efd_certificate_not_after_timestamp_seconds",
            "End of this daemon's certificate, in seconds since 1970 UTC",
            not_after.clone(),
        );
        registry.register(
            "efd_certificate_reloads",
            "Times that changed certificate files were taken over",
            reloads.clone(),
        );
        registry.register(
            "efd_certificate_reload_failures",
            "Times that changed certificate files were refused, the old ones kept",
            reload_failures.clone(),
        );
        metrics
    }

    pub fn set_not_after(&self, not_after: UtcNanos) {
        self.not_after.set(not_after.0.div_euclid(NANOS_PER_SECOND));
    }

    pub(super) fn count_reload(&self, taken: bool) {
        let counter = if taken {
            &self.reloads
        } else {
            &self.reload_failures
        };
        counter.inc();
    }
}
