//! `efd-edge status`: the page for 3 a.m.

use std::time::Duration;

use anyhow::Result;
use efd_edge_agent::config::{Config, HTTP_PORT};
use efd_edge_agent::leap;
use efd_edge_agent::meters::PROGRAM;
use efd_shared_daemon::exit::{Exit, complain, one_line, say};
use efd_shared_daemon::queues;
use efd_shared_daemon::units::size;
use efd_shared_model::LossReason;
use serde_json::Value as Json;

const WITHIN: Duration = Duration::from_secs(5);

pub(super) fn run(config: &Config, as_json: bool) -> Result<Exit> {
    let address = config.http.check(HTTP_PORT)?;
    let status = match address.status(PROGRAM, WITHIN) {
        Ok(status) => status,
        Err(error) => {
            complain(&format!("no status of {PROGRAM}: {}", one_line(&error)));
            return Ok(Exit::Failed);
        }
    };
    if as_json {
        say(&status.to_string());
    } else {
        print(&status);
    }
    let complaints = complaints(&status);
    if !as_json {
        complaints
            .iter()
            .for_each(|line| say(&format!("LOOK  {line}")));
    }
    Ok(if complaints.is_empty() {
        Exit::Ok
    } else {
        Exit::Attention
    })
}

fn print(status: &Json) {
    let text = |path: &str| {
        status.pointer(path).map_or_else(
            || "?".to_owned(),
            |value| {
                value
                    .as_str()
                    .map_or_else(|| value.to_string(), str::to_owned)
            },
        )
    };
    let number = |path: &str| status.pointer(path).and_then(Json::as_f64);
    let bytes =
        |path: &str| number(path).map_or_else(|| "?".to_owned(), |bytes| size(bytes as u64));
    say(&format!(
        "edge {} at {}, version {}",
        text("/edge"),
        text("/site"),
        text("/version")
    ));
    say(&format!(
        "bus     {} participants, {} writers in our partitions, {} topics without a type",
        text("/bus/participants"),
        text("/bus/writers"),
        text("/bus/untyped_topics")
    ));
    say(&format!(
        "samples since the start: {} received, {} recorded, {} repeated, {} parked without a type, {} undecodable, {} dropped",
        text("/samples/received"),
        text("/samples/recorded"),
        text("/samples/duplicates"),
        text("/samples/parked"),
        text("/samples/undecodable"),
        text("/samples/dropped")
    ));
    say(&format!(
        "buffer  {} of {} in {} segments, {} blocks not acknowledged ({}){}",
        bytes("/buffer/bytes"),
        bytes("/buffer/bytes_max"),
        text("/buffer/segments"),
        text("/buffer/unacknowledged_blocks"),
        bytes("/buffer/backlog_bytes"),
        number("/buffer/hours_left").map_or_else(String::new, |hours| format!(
            "; without a link it would last {}",
            span_words(hours)
        ))
    ));
    if let Some(days) = number("/buffer/days_that_fit") {
        say(&format!(
            "        at today's rate {} of raw data fit",
            span_words(days * 24.0)
        ));
    }
    for flood in status["floods"]["diverted"]
        .as_array()
        .into_iter()
        .flatten()
    {
        let text = |key: &str| flood[key].as_str().unwrap_or("?").to_owned();
        say(&format!(
            "flood   {} is over its budget: in lane {}, shipped last, evicted first",
            text("topic"),
            text("lane")
        ));
    }
    for tier in status["tiers"].as_array().into_iter().flatten() {
        let number = |key: &str| tier[key].as_u64().unwrap_or(0);
        say(&format!(
            "tier    {} from {}: {} of {} in {} files{}",
            tier["resolution"].as_str().unwrap_or("?"),
            tier["from"].as_str().unwrap_or("now on"),
            size(number("bytes")),
            size(number("bytes_max")),
            number("files"),
            tier["days_that_fit"]
                .as_f64()
                .map_or_else(String::new, |days| format!(
                    "; at its rate {} fit",
                    span_words(days * 24.0)
                ))
        ));
    }
    say(&format!(
        "link    {} to {}, {} failures, oldest not acknowledged {:.1} s",
        text("/link/state"),
        text("/link/centre"),
        text("/link/failures"),
        number("/link/oldest_unacknowledged_seconds").unwrap_or(0.0)
    ));
    link_words(status).iter().for_each(|line| say(line));
    let losses = status["losses_of_last_day"].as_object();
    let losses: Vec<String> = losses
        .into_iter()
        .flatten()
        .map(|(reason, samples)| format!("{samples} {reason}"))
        .collect();
    say(&format!(
        "losses  {}",
        if losses.is_empty() {
            "none in the last day, or since the start".to_owned()
        } else {
            format!("in the last day, or since the start: {}", losses.join(", "))
        }
    ));
    say(&format!(
        "queues  {}",
        queues::fullest(&status["queues"]).unwrap_or_else(|| "not looked at yet".to_owned())
    ));
    say(&format!(
        "publishers {} that are off",
        text("/publishers/count")
    ));
    say(&format!(
        "clock   {}, TAI - UTC = {} s from {}",
        clock_words(&text("/clock/source"), number("/clock/error_seconds")),
        text("/clock/tai_minus_utc"),
        text("/clock/tai_from")
    ));
    say(&format!(
        "certificate expires in {} days, the leap-second table in {}",
        text("/certificate/days_left"),
        text("/leap_seconds/days_left")
    ));
}

/// Why a centre is not spoken with.
fn link_words(status: &Json) -> Vec<String> {
    let centres = status["link"]["centres"].as_array().into_iter().flatten();
    let left = centres.filter(|centre| centre["state"] != "connected");
    let words = left.filter_map(|centre| {
        let text = |path: &str| Some(centre.pointer(path)?.as_str()?.to_owned());
        Some(format!(
            "        {} left at {}: {}",
            text("/centre")?,
            text("/left/at")?,
            text("/left/reason")?
        ))
    });
    words.collect()
}

/// `at most 0.3 ms off`.
pub(super) fn clock_words(source: &str, error_seconds: Option<f64>) -> String {
    match error_seconds {
        None => format!("{source}, nobody knows how far off"),
        Some(error) if error < 1.0 => format!("{source}, at most {:.3} ms off", error * 1e3),
        Some(error) => format!("{source}, at most {error:.0} s off"),
    }
}

fn span_words(hours: f64) -> String {
    if hours < 48.0 {
        format!("{hours:.1} h")
    } else {
        format!("{:.0} days", hours / 24.0)
    }
}

/// A clock that is further off makes stamps that cannot be compared with others'.
const CLOCK_ERROR_MAX_SECONDS: f64 = 0.1;

/// Of each kind.
const PUBLISHERS_SHOWN: usize = 5;

/// Publishers that are off, a few of each kind by name.
fn publisher_words(status: &Json) -> Vec<String> {
    let mut lines = Vec::new();
    let counts = status
        .pointer("/publishers/by_kind")
        .and_then(Json::as_object);
    for (kind, count) in counts.into_iter().flatten() {
        let findings = status
            .pointer("/publishers/findings")
            .and_then(Json::as_array);
        let of_kind = findings.into_iter().flatten();
        let of_kind = of_kind.filter(|finding| finding["kind"] == kind.as_str());
        let count = count.as_u64().unwrap_or(0) as usize;
        for finding in of_kind.take(PUBLISHERS_SHOWN) {
            let text = |key: &str| finding[key].as_str().unwrap_or("?");
            lines.push(format!(
                "publisher {} of {}: {}, since {}",
                text("identity"),
                text("topic"),
                text("text"),
                text("since")
            ));
        }
        if PUBLISHERS_SHOWN < count {
            let more = count - PUBLISHERS_SHOWN;
            lines.push(format!(
                "and {more} publishers more of the kind `{kind}`; --json names them"
            ));
        }
    }
    lines
}

/// Without a link; two nights.
const HOURS_LEFT_MIN: f64 = 48.0;
const BACKLOG_SECONDS_MAX: f64 = 3600.0;

/// Losses that somebody could have prevented: what came before the first contact is none of them.
fn loss_words(status: &Json) -> String {
    let losses = status["losses_of_last_day"].as_object();
    let losses = losses.into_iter().flatten();
    let losses = losses.filter(|(reason, _)| *reason != LossReason::BeforeContact.as_str());
    let words: Vec<String> = losses
        .map(|(reason, samples)| format!("{samples} {reason}"))
        .collect();
    words.join(", ")
}

/// What needs a look.
fn complaints(status: &Json) -> Vec<String> {
    let number = |path: &str| status.pointer(path).and_then(Json::as_f64).unwrap_or(0.0);
    let mut complaints = Vec::new();
    let mut complain = |bad: bool, text: String| bad.then(|| complaints.push(text));
    complain(
        status.pointer("/link/state").and_then(Json::as_str) != Some("streaming"),
        "the link is down: data wait in the buffer".into(),
    );
    complain(
        number("/bus/writers") == 0.0,
        "the bus is silent: no writer in our partitions".into(),
    );
    complain(
        number("/bus/untyped_topics") > 0.0,
        "topics without a type: put their IDL files into the IDL folder".into(),
    );
    complain(
        number("/samples/dropped") > 0.0,
        "samples were dropped because a queue was full; they are named as losses".into(),
    );
    complain(
        number("/samples/undecodable") > 0.0,
        "samples that do not fit their type".into(),
    );
    let floods = status["floods"]["diverted"].as_array().map_or(0, Vec::len);
    complain(
        floods > 0,
        "topics are over their budget: look at who publishes them".into(),
    );
    complain(
        number("/buffer/store_errors") > 0.0,
        "the disk of the buffer refused commits".into(),
    );
    complain(
        number("/buffer/blocks_unreadable") > 0.0,
        "blocks of the buffer cannot be read: efd-inspect verify tells which".into(),
    );
    complain(
        number("/tier_work/errors") > 0.0,
        "statistics could not be made, and were tried again".into(),
    );
    let is_offline = status.pointer("/link/state").and_then(Json::as_str) != Some("streaming");
    let hours_left = status.pointer("/buffer/hours_left").and_then(Json::as_f64);
    if let Some(hours) = hours_left.filter(|hours| is_offline && *hours < HOURS_LEFT_MIN) {
        complain(
            true,
            format!(
                "the buffer is full of what the centre does not have in {}",
                span_words(hours)
            ),
        );
    }
    complain(
        !is_offline && BACKLOG_SECONDS_MAX < number("/link/oldest_unacknowledged_seconds"),
        "the centre is behind, though the link is up".into(),
    );
    let losses = loss_words(status);
    complain(
        !losses.is_empty(),
        format!("losses in the last day: {losses}"),
    );
    complain(
        number("/certificate/days_left") < 30.0,
        "the certificate expires in less than 30 days".into(),
    );
    complain(
        number("/leap_seconds/days_left") < leap::WARN_DAYS as f64,
        "the leap-second table expires soon: set time.leap_seconds to a new leap-seconds.list"
            .into(),
    );
    let error = status
        .pointer("/clock/error_seconds")
        .and_then(Json::as_f64);
    complain(
        error.is_none_or(|error| CLOCK_ERROR_MAX_SECONDS < error),
        "the clock is not disciplined: run chrony or another NTP client".into(),
    );
    complaints.extend(publisher_words(status));
    complaints.extend(queues::complaints(&status["queues"]));
    let mut complain = |bad: bool, text: String| bad.then(|| complaints.push(text));
    complain(
        number("/samples/oversize") + number("/samples/malformed") > 0.0,
        "samples too large or too short to be taken".into(),
    );
    complaints
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn well() -> Json {
        json!({
            "bus": { "writers": 3, "untyped_topics": 0 }, "samples": { "dropped": 0 },
            "buffer": { "store_errors": 0, "hours_left": 20.0 }, "losses_of_last_day": { "before_contact": 7 },
            "link": { "state": "streaming", "oldest_unacknowledged_seconds": 0.5 },
            "clock": { "error_seconds": 0.001 }, "certificate": { "days_left": 300 }, "leap_seconds": { "days_left": 200 },
            "publishers": { "count": 0, "by_kind": { "clock": 0 }, "findings": [] },
            "queues": { "ring_bytes": { "used": 1, "limit": 10, "ratio": 0.1 } },
        })
    }

    #[test]
    fn what_is_not_well_is_complained_of() {
        assert_eq!(complaints(&well()), Vec::<String>::new());
        let check = |path: &str, value: Json, wanted: &[&str]| {
            let mut status = well();
            *status.pointer_mut(path).unwrap() = value;
            assert_eq!(complaints(&status), wanted, "{path}");
        };
        check(
            "/link/state",
            json!("offline"),
            &[
                "the link is down: data wait in the buffer",
                "the buffer is full of what the centre does not have in 20.0 h",
            ],
        );
        check(
            "/link/oldest_unacknowledged_seconds",
            json!(4000),
            &["the centre is behind, though the link is up"],
        );
        check(
            "/losses_of_last_day",
            json!({ "before_contact": 7, "dds_gap": 2, "queue_full": 1 }),
            &["losses in the last day: 2 dds_gap, 1 queue_full"],
        );
        check(
            "/queues/ring_bytes/ratio",
            json!(0.9),
            &["ring bytes is 90 % full: 1 of 10"],
        );
    }

    #[test]
    fn a_few_publishers_of_each_kind_are_named() {
        let mut status = well();
        let finding = |kind: &str, number: usize| {
            json!({
                "kind": kind, "topic": "lsst.sal.A.x", "identity": format!("A:{number}"), "since": "2026-11-28T03:00:00Z",
                "text": "words",
            })
        };
        let clocks = (0..50).map(|number| finding("clock", number));
        let all: Vec<Json> = clocks.chain([finding("silent", 1)]).collect();
        status["publishers"] =
            json!({ "count": 71, "by_kind": { "clock": 70, "silent": 1 }, "findings": all });
        let lines = complaints(&status);
        assert_eq!(lines.len(), PUBLISHERS_SHOWN + 2, "{lines:?}");
        assert_eq!(
            lines[0],
            "publisher A:0 of lsst.sal.A.x: words, since 2026-11-28T03:00:00Z"
        );
        assert!(lines[PUBLISHERS_SHOWN].contains("65 publishers more of the kind `clock`"));
        assert!(lines[PUBLISHERS_SHOWN + 1].contains("A:1"));
    }
}
