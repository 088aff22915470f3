//! The leap-second table: built in or from a file, and watched, as its word ends with a date.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use efd_shared_daemon::clock::utc_now;
use efd_shared_daemon::shutdown::Stop;
use efd_shared_model::LeapTable;

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

/// Tells once a day.
pub fn watch(table: &LeapTable, meters: Arc<Meters>, stop: Stop) {
    let table = table.clone();
    tokio::spawn(async move {
        loop {
            // Once negative, offsets are as of its last line, and wrong by a second for each leap second since.
            let days = utc_now().days_until(table.expires());
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
