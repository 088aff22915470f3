//! `efd-edge status`: the page for 3 a.m.

use std::time::Duration;

use anyhow::Result;
use efd_edge_agent::config::{Config, HTTP_PORT};
use efd_edge_agent::leap;
use efd_shared_daemon::exit::Exit;
use efd_shared_daemon::http::client;
use serde_json::Value as Json;

use super::{complain, say};

const WITHIN: Duration = Duration::from_secs(5);

pub(super) fn run(config: &Config, as_json: bool) -> Result<Exit> {
    let address = config.http.check(HTTP_PORT)?;
    let reply = match client::get(address.listen, "/status", address.token.as_ref(), WITHIN) {
        Ok(reply) => reply,
        Err(error) => {
            complain(&format!(
                "no answer from efd-edge: {}",
                efd_shared_daemon::exit::one_line(&error)
            ));
            return Ok(Exit::Failed);
        }
    };
    let status: Json = serde_json::from_slice(&reply.body)?;
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
        "samples {} received, {} recorded, {} repeated, {} parked, {} undecodable, {} dropped",
        text("/samples/received"),
        text("/samples/recorded"),
        text("/samples/duplicates"),
        text("/samples/parked"),
        text("/samples/undecodable"),
        text("/samples/dropped")
    ));
    say(&format!(
        "buffer  {} of {} bytes in {} segments, {} blocks not acknowledged ({} bytes); {} left without a link",
        text("/buffer/bytes"),
        text("/buffer/bytes_max"),
        text("/buffer/segments"),
        text("/buffer/unacknowledged_blocks"),
        text("/buffer/backlog_bytes"),
        status
            .pointer("/buffer/hours_left")
            .and_then(Json::as_f64)
            .map_or_else(|| "?".to_owned(), |hours| format!("{hours:.1} h"))
    ));
    say(&format!(
        "link    {} to {}, {} failures, oldest unacknowledged {} s",
        text("/link/state"),
        text("/link/centre"),
        text("/link/failures"),
        text("/link/oldest_unacknowledged_seconds")
    ));
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
        "clock   {}, error {} s, TAI - UTC = {} s from {}",
        text("/clock/source"),
        text("/clock/error_seconds"),
        text("/clock/tai_minus_utc"),
        text("/clock/tai_from")
    ));
    say(&format!(
        "certificate expires in {} days",
        text("/certificate/days_left")
    ));
}

/// What needs a look.
fn complaints(status: &Json) -> Vec<String> {
    let number = |path: &str| status.pointer(path).and_then(Json::as_f64).unwrap_or(0.0);
    let mut complaints = Vec::new();
    let mut complain = |bad: bool, text: String| bad.then(|| complaints.push(text));
    complain(
        status.pointer("/link/state").and_then(Json::as_str) != Some("streaming"),
        "the link is down; data wait in the buffer".into(),
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
    complain(
        number("/samples/oversize") + number("/samples/malformed") > 0.0,
        "samples too large or too short to be taken".into(),
    );
    complaints
}
