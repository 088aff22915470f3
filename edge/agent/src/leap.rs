//! The leap-second table: built in or from a file, and watched, as its word ends with a date.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use efd_shared_daemon::clock::utc_now;
use efd_shared_daemon::shutdown::Stop;
use efd_shared_model::time::NANOS_PER_SECOND;
use efd_shared_model::{LeapTable, UtcNanos};

use crate::config::Config;
use crate::meters::Meters;

/// Bulletin C comes half a year ahead: time enough to install the next table.
pub const WARN_DAYS: i64 = 60;
const LOOK_EVERY: Duration = Duration::from_secs(86_400);

pub fn load(config: &Config) -> Result<LeapTable> {
    let Some(path) = &config.time.leap_seconds else {
        return Ok(LeapTable::built_in());
    };
    let text = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    LeapTable::parse(&text).with_context(|| format!("parse {}", path.display()))
}

/// Negative once the table has expired: offsets are then as of its last line, and wrong by a second for each leap
/// second since.
pub fn days_left(table: &LeapTable, now: UtcNanos) -> i64 {
    table
        .expires()
        .since(now)
        .div_euclid(86_400 * NANOS_PER_SECOND)
}

/// Tells once a day.
pub fn watch(table: &LeapTable, meters: Arc<Meters>, stop: Stop) {
    let table = table.clone();
    tokio::spawn(async move {
        loop {
            let days = days_left(&table, utc_now());
            meters.leap_table_days.set(days);
            let expires = table.expires().date();
            if days < 0 {
                tracing::error!(%expires, "The leap-second table has EXPIRED: set time.leap_seconds to a new leap-seconds.list");
            } else if days < WARN_DAYS {
                tracing::warn!(%expires, days, "The leap-second table expires: set time.leap_seconds to a new leap-seconds.list");
            }
            tokio::select! {
                () = stop.asked() => return,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_whole_and_negative_after_the_end() {
        let table = LeapTable::built_in();
        let at = |seconds: i64| {
            let moved = table.expires().saturating_add(seconds * NANOS_PER_SECOND);
            days_left(&table, moved)
        };
        assert_eq!(
            [at(-60 * 86_400), at(-86_399), at(0), at(1)],
            [60, 0, 0, -1]
        );
    }
}
