//! How long the disks of the centre last at the rate of the last ten minutes.

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};

use efd_shared_daemon::disk::fill_of;
use efd_shared_daemon::rate::Rate;
use efd_shared_model::UtcNanos;
use serde_json::{Value as Json, json};

use crate::appender::Appender;
use crate::roles::LakeStatus;

const SECONDS_OF_DAY: f64 = 86_400.0;

/// Looks at what is written now and then.
#[derive(Debug)]
pub(crate) struct Room {
    appender: Appender,
    /// Of the embedded log.
    log_bytes_max: Option<u64>,
    lake: Option<(LakeStatus, PathBuf)>,
    rates: Mutex<Rates>,
}

/// Bytes written to the log, and to the lake.
#[derive(Debug, Default)]
struct Rates {
    log: Rate,
    lake: Rate,
}

impl Room {
    pub(crate) fn new(
        appender: Appender,
        log_bytes_max: Option<u64>,
        lake: Option<(LakeStatus, PathBuf)>,
    ) -> Self {
        Self {
            appender,
            log_bytes_max,
            lake,
            rates: Mutex::default(),
        }
    }

    pub(crate) fn look(&self, now: UtcNanos) {
        let mut rates = self.rates.lock().unwrap_or_else(PoisonError::into_inner);
        let counters = self.appender.counters();
        rates.log.look(counters.bytes.load(Ordering::Relaxed), now);
        if let Some((lake, _)) = &self.lake {
            rates.lake.look(lake.written_bytes(), now);
        }
    }

    /// Days are absent until a rate is known, and where nothing is written.
    pub(crate) fn to_json(&self) -> Json {
        let rates = self.rates.lock().unwrap_or_else(PoisonError::into_inner);
        let lake_free = self.lake.as_ref().and_then(|(_, folder)| {
            let fill = fill_of(folder).ok()?;
            Some(fill.limit.saturating_sub(fill.used))
        });
        json!({
            "log_bytes_max": self.log_bytes_max, "log_days_that_fit": days(self.log_bytes_max, &rates.log),
            "lake_free_bytes": lake_free, "lake_days_left": days(lake_free, &rates.lake),
        })
    }
}

fn days(bytes: Option<u64>, rate: &Rate) -> Option<f64> {
    let rate = rate.per_second().filter(|rate| *rate > 0.0)?;
    Some(bytes? as f64 / rate / SECONDS_OF_DAY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_of_a_rate_that_is_known() {
        let mut rate = Rate::default();
        assert_eq!(days(Some(864_000), &rate), None);
        rate.look(0, UtcNanos(0));
        rate.look(100, UtcNanos(10_000_000_000));
        assert_eq!(days(Some(864_000), &rate), Some(1.0));
        assert_eq!(days(None, &rate), None);
        let mut still = Rate::default();
        still.look(5, UtcNanos(0));
        still.look(5, UtcNanos(10_000_000_000));
        assert_eq!(days(Some(1), &still), None);
    }
}
