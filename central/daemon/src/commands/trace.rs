//! `efd-central trace`: asks the running daemon, and tells one sample's way.

use std::time::Duration;

use anyhow::{Context as _, Result};
use efd_shared_daemon::exit::{Exit, say};
use serde_json::Value as Json;

use super::account::{get, number, text};
use crate::config::Config;
use crate::ledger::TraceQuestion;

/// A topic is looked through, besides some blocks.
const WITHIN: Duration = Duration::from_secs(120);

pub(super) fn trace(config: &Config, question: &TraceQuestion, json: bool) -> Result<Exit> {
    // What is wrong with the question is said in the words of the command.
    question.understand("TIME")?;
    let path = format!("/api/v1/trace?{}", question.to_query());
    let body = get(config, &path, WITHIN)?;
    let answer: Json = serde_json::from_str(&body).context("read the answer")?;
    if json {
        say(&answer.to_string());
    } else {
        lines(&answer).iter().for_each(|line| say(line));
    }
    Ok(match answer["found"] == true {
        true => Exit::Ok,
        false => Exit::Attention,
    })
}

fn list(value: &Json) -> &[Json] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn lines(answer: &Json) -> Vec<String> {
    let samples = list(&answer["samples"]);
    let seconds = answer["within_ns"].as_f64().unwrap_or(0.0) / 1e9;
    let mut lines = vec![format!(
        "{} of {} at {}, {seconds} s each way: {} samples",
        text(&answer["topic"]),
        text(&answer["site"]),
        text(&answer["time"]),
        number(&answer["samples_within"])
    )];
    for sample in samples {
        lines.push(String::new());
        lines.extend(way(sample));
    }
    // Where nothing is there, they are told among the reasons.
    if !samples.is_empty() {
        lines.extend(list(&answer["gaps"]).iter().map(gap));
    }
    for end in list(&answer["ended"]) {
        let what = text(&end["what"]).replace('_', " ");
        lines.push(format!("{:<14}{}", what.to_uppercase(), text(&end["why"])));
    }
    let beside = [("before", "the last before"), ("after", "the first after")];
    for (name, words) in beside.into_iter().filter(|_| samples.is_empty()) {
        for it in list(&answer[name]) {
            let by = publisher(&it["publisher"]);
            lines.push(format!("{words}: {} {by}", text(&it["time"])));
        }
    }
    let unread = list(&answer["unread"]);
    lines.extend(unread.iter().map(|it| format!("LOOK  {}", text(it))));
    lines
}

/// From stamp to stamp, with the time that has passed.
fn way(sample: &Json) -> Vec<String> {
    let block = &sample["block"];
    let off = sample["off_ns"].as_f64().unwrap_or(0.0) / 1e9;
    let implausible = match sample["implausible"] == true {
        true => ", the publisher's stamp made no sense",
        false => "",
    };
    let row = |name: &str, time: &str, more: &str| {
        let line = format!("{name:<14}{time:<32}{more}");
        line.trim_end().to_owned()
    };
    let log = &sample["log"];
    let place = match log["why"].as_str() {
        Some(why) => why.to_owned(),
        None => format!(
            "{} at place {}",
            text(&log["partition"]),
            number(&log["place"])
        ),
    };
    let (feed, lake) = (&sample["feed"], &sample["lake"]);
    let in_feed = match text(&feed["state"]) {
        "there" => format!(
            "{} partition {} offset {}",
            text(&feed["topic"]),
            number(&feed["partition"]),
            number(&feed["offset"])
        ),
        state => format!("{}: {}", state.replace('_', " "), text(&feed["why"])),
    };
    let in_lake = match text(&lake["state"]) {
        "there" => format!(
            "{} row {}, commit {}",
            text(&lake["file"]),
            number(&lake["row"]),
            number(&lake["commit"])
        ),
        state => format!("{}: {}", state.replace('_', " "), text(&lake["why"])),
    };
    vec![
        row(
            "event time",
            text(&sample["event_time"]),
            &format!(
                "{off:+.6} s, by {}{implausible}",
                text(&sample["time_origin"])
            ),
        ),
        row(
            "sent",
            text(&sample["sent"]),
            &publisher(&sample["publisher"]),
        ),
        row(
            "received",
            text(&sample["received"]),
            "at the edge, from DDS",
        ),
        row("encoded", text(&sample["encoded"]), ""),
        row(
            "sealed",
            text(&sample["sealed"]),
            &format!(
                "edge {} epoch {} {} block {} record {}",
                text(&block["edge"]),
                text(&block["epoch"]),
                text(&block["lane"]),
                number(&block["number"]),
                number(&block["index"])
            ),
        ),
        row("log", text(&log["taken"]), &place),
        row("feed", text(&feed["appended"]), &in_feed),
        row("lake", text(&lake["committed"]), &in_lake),
    ]
}

fn publisher(publisher: &Json) -> String {
    let mut words = Vec::new();
    if let Some(identity) = publisher["identity"].as_str() {
        words.push(format!("by {identity} origin {}", publisher["origin"]));
    }
    if let Some(instance) = publisher["instance"].as_i64() {
        words.push(format!("instance {instance}"));
    }
    if let Some(number) = publisher["number"].as_i64() {
        words.push(format!("number {number}"));
    }
    words.join(", ")
}

fn gap(gap: &Json) -> String {
    let reasons = gap["lost"].as_object().into_iter().flatten();
    let mut reasons: Vec<String> = reasons
        .map(|(reason, count)| format!("{count} {reason}"))
        .collect();
    if number(&gap["unnamed"]) > 0 {
        reasons.push(format!("{} UNNAMED", gap["unnamed"]));
    }
    format!(
        "beside it numbers {} to {} of {} are absent, between {} and {}: {}",
        gap["first"],
        gap["last"],
        text(&gap["publisher"]["identity"]),
        text(&gap["after"]),
        text(&gap["before"]),
        reasons.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_way_is_told_stamp_by_stamp() {
        let answer = json!({
            "site": "summit", "topic": "t", "time": "T", "within_ns": 1_000_000_000, "samples_within": 3,
            "samples": [{
                "event_time": "E", "off_ns": -2500, "time_origin": "snd_stamp", "implausible": false,
                "publisher": { "instance": null, "identity": "Lab:1", "origin": 7, "number": 42 },
                "sent": "S", "received": "R", "encoded": null, "sealed": "Z",
                "block": { "edge": "e", "epoch": "p", "lane": "telemetry", "number": 17, "index": 5 },
                "log": { "partition": "summit.0.live", "place": 9, "taken": "K" },
                "feed": { "state": "not_yet", "why": "behind" },
                "lake": { "state": "there", "file": "f.parquet", "row": 3, "commit": 2, "committed": "C" },
            }],
            "gaps": [{ "publisher": { "identity": "Lab:1" }, "first": 43, "last": 44, "after": "A", "before": "B",
                "lost": { "dds_gap": 2 }, "unnamed": 0 }],
            "ended": [], "before": [], "after": [], "unread": [],
        });
        let told = lines(&answer);
        let has = |begin: &str, end: &str| {
            let is = |line: &String| line.starts_with(begin) && line.ends_with(end);
            assert!(told.iter().any(is), "{begin} … {end}: {told:#?}");
        };
        has("event time    E", "-0.000003 s, by snd_stamp");
        has("sent          S", "by Lab:1 origin 7, number 42");
        has("encoded       -", "");
        has("sealed        Z", "telemetry block 17 record 5");
        has("log           K", "summit.0.live at place 9");
        has("feed          -", "not yet: behind");
        has("lake          C", "f.parquet row 3, commit 2");
        has("beside it numbers 43 to 44 of Lab:1", "2 dds_gap");
    }

    #[test]
    fn what_is_not_there_is_told_with_its_end() {
        let answer = json!({
            "site": "summit", "topic": "t", "time": "T", "within_ns": 50_000_000, "samples_within": 0, "samples": [],
            "gaps": [], "ended": [{ "what": "after_last", "why": "the last is of X" }],
            "before": [{ "time": "X", "publisher": { "identity": "Lab:1", "origin": 7, "instance": 2, "number": 9 } }],
            "after": [], "unread": ["block b is damaged in the log"],
        });
        let expected = [
            "t of summit at T, 0.05 s each way: 0 samples",
            "AFTER LAST    the last is of X",
            "the last before: X by Lab:1 origin 7, instance 2, number 9",
            "LOOK  block b is damaged in the log",
        ];
        assert_eq!(lines(&answer), expected);
    }
}
