//! A view as one line for a program.

use std::time::Duration;

use efd_shared_model::UtcNanos;
use serde_json::{Map, Value, json};

use super::state::{Count, Lag, Losses, Lost, View, age};

pub(super) fn line(view: &View) -> Value {
    let View {
        utc,
        began,
        interval,
        total,
        components,
        lanes,
        lag,
        since_begin,
        last_hour,
        buffer_bytes,
        free_bytes,
        filling,
        full_in,
        newest,
        age,
        passed_over,
        notices: _,
    } = view;
    json!({
        "time": utc.to_string(),
        "began": began.to_string(),
        "seconds": interval.map(seconds),
        "records": total.records,
        "bytes": total.bytes,
        "components": counts(components),
        "lanes": counts(lanes),
        "lag": lag.iter().map(|lag| lag_json(lag, *utc)).collect::<Vec<_>>(),
        "losses": {"since_begin": losses(since_begin), "last_hour": losses(last_hour)},
        "disk": {
            "buffer_bytes": buffer_bytes,
            "free_bytes": free_bytes,
            "filling_bytes_per_second": filling,
            "full_in_seconds": full_in.map(|span| span.as_secs()),
        },
        "newest": newest.map(|newest| newest.to_string()),
        "newest_age_seconds": age.map(seconds),
        "blocks_passed_over": passed_over,
    })
}

fn seconds(span: Duration) -> f64 {
    span.as_secs_f64()
}

fn counts(counts: &[(String, Count)]) -> Map<String, Value> {
    let named = counts.iter().map(|(name, count)| {
        let Count { records, bytes } = count;
        (name.clone(), json!({"records": records, "bytes": bytes}))
    });
    named.collect()
}

fn lag_json(lag: &Lag, now: UtcNanos) -> Value {
    let Lag {
        destination,
        blocks,
        bytes,
        oldest,
    } = lag;
    json!({
        "destination": destination, "blocks": blocks, "bytes": bytes,
        "oldest": oldest.map(|oldest| oldest.to_string()),
        "oldest_age_seconds": oldest.map(|oldest| seconds(age(now, oldest))),
    })
}

fn losses(losses: &Losses) -> Map<String, Value> {
    let named = losses.iter().map(|(reason, lost)| {
        let Lost {
            losses,
            count,
            uncounted,
        } = lost;
        let lost = json!({"losses": losses, "count": count, "uncounted": uncounted});
        (reason.to_string(), lost)
    });
    named.collect()
}
