//! `efd-edge status`: the page for 3 a.m.

use std::time::Duration;

use anyhow::Result;
use efd_edge_agent::config::{Config, HTTP_PORT};
use efd_edge_agent::leap;
use efd_edge_agent::meters::PROGRAM;
use efd_shared_daemon::exit::{Exit, complain, one_line, say};
use efd_shared_daemon::units::size;
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
        "clock   {}, TAI - UTC = {} s from {}",
        clock_words(&text("/clock/source"), number("/clock/error_seconds")),
        text("/clock/tai_minus_utc"),
        text("/clock/tai_from")
    ));
    say(&format!(
        "certificate expires in {} days",
        text("/certificate/days_left")
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
    complain(
        number("/samples/oversize") + number("/samples/malformed") > 0.0,
        "samples too large or too short to be taken".into(),
    );
    complaints
}
