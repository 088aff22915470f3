//! `retention`: what the edge would remove now, and why; nothing is removed.
//!
//! The plan is made by the same pure planner that the edge carries out.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use efd_shared_model::UtcNanos;
use efd_shared_store::retention::{Lost, Policy, Quotas, Step, Why, plan};
use serde_json::{Value, json};

use crate::open::open;
use crate::outcome::{Exit, InspectError};
use crate::screen::Screen;
use crate::table::{Table, size};

/// What the edge is told to keep.
#[derive(Clone, Debug)]
pub struct Limits {
    pub age_max: Duration,
    pub events_age_max: Duration,
    /// `None`: no limit.
    pub bytes_max: Option<u64>,
    pub quotas: Quotas,
    pub make_room: u64,
    pub unshipped_bytes_max: u64,
    /// Who must have a block before age removes it; `None`: all of whom acknowledgements are known.
    pub destination: Option<String>,
}

pub fn retention(
    path: &Path,
    limits: &Limits,
    now: UtcNanos,
    json: bool,
    screen: &mut Screen<impl Write, impl Write>,
) -> Result<Exit, InspectError> {
    let store = open(path, screen)?;
    let acked = store.acked();
    let destinations: Vec<_> = match &limits.destination {
        Some(name) => {
            let known = acked.get(name).ok_or_else(|| InspectError::NoDestination {
                name: name.clone(),
                known: acked.keys().cloned().collect(),
            })?;
            vec![known]
        }
        None => acked.values().collect(),
    };
    let policy = Policy {
        age_max: limits.age_max,
        events_age_max: limits.events_age_max,
        bytes_max: limits.bytes_max.unwrap_or(u64::MAX),
        quotas: limits.quotas,
        make_room: limits.make_room,
        unshipped_bytes_max: limits.unshipped_bytes_max,
    };
    let segments = store.segments();
    let steps = plan(&segments, &destinations, &policy, now);
    let held: u64 = segments.iter().map(|info| info.file_bytes).sum();
    let freed: u64 = steps.iter().map(|step| step.file_bytes).sum();
    if json {
        let steps: Vec<_> = steps.iter().map(step_json).collect();
        let plan = json!({"now": now.to_string(), "held_bytes": held, "freed_bytes": freed, "steps": steps});
        writeln!(screen.out, "{plan}")?;
        return Ok(screen.end()?);
    }
    if steps.is_empty() {
        writeln!(screen.out, "nothing to remove: {} held", size(held))?;
        return Ok(screen.end()?);
    }
    let mut table = Table::new(&["SEGMENT", "WHY", "BYTES", "LOST RECORDS"]);
    for step in &steps {
        let records: u64 = step.lost.iter().map(|lost| lost.records_max).sum();
        let is_exact = step.lost.iter().all(|lost| lost.is_exact);
        let lost = match (records, is_exact) {
            (0, _) => "-".to_owned(),
            (records, true) => records.to_string(),
            (records, false) => format!("up to {records}"),
        };
        table.row([
            step.segment.to_string(),
            why(step.why).to_owned(),
            size(step.file_bytes),
            lost,
        ]);
    }
    table.write(&mut screen.out)?;
    writeln!(
        screen.out,
        "{} of {} segments would be removed, in this order: {} of {}",
        steps.len(),
        segments.len(),
        size(freed),
        size(held)
    )?;
    Ok(screen.end()?)
}

fn why(why: Why) -> &'static str {
    match why {
        Why::Age => "acknowledged, and older than kept",
        Why::Quota => "over the quota of its lane",
        Why::Bytes => "over the limit of bytes",
        Why::UnshippedBytes => "over the limit of bytes that are never shipped",
    }
}

fn step_json(step: &Step) -> Value {
    let Step {
        segment,
        why,
        file_bytes,
        lost,
    } = step;
    let why = match why {
        Why::Age => "age",
        Why::Quota => "quota",
        Why::Bytes => "bytes",
        Why::UnshippedBytes => "unshipped_bytes",
    };
    let lost: Vec<_> = lost.iter().map(lost_json).collect();
    json!({"segment": segment.to_string(), "why": why, "bytes": file_bytes, "lost": lost})
}

fn lost_json(lost: &Lost) -> Value {
    let Lost {
        log,
        numbers,
        records_max,
        is_exact,
        event_time_min,
        event_time_max,
    } = lost;
    json!({
        "log": log.to_string(), "blocks": numbers.to_string(), "records_max": records_max, "exact": is_exact,
        "from": event_time_min.to_string(), "until": event_time_max.saturating_add(1).to_string(),
    })
}
