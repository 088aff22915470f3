//! `efd-central account`: asks the running daemon, and tells it as a table.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use efd_shared_daemon::clock::utc_now;
use efd_shared_daemon::exit::{Exit, say};
use efd_shared_daemon::http::client;
use efd_shared_daemon::when::Named;
use serde_json::Value as Json;

use crate::config::{Config, HTTP_PORT};
use crate::ledger::Question;

const WITHIN: Duration = Duration::from_secs(120);
/// All that the log holds is read.
const VERIFY_WITHIN: Duration = Duration::from_secs(24 * 3600);
/// Of the topics that are not complete.
const ROWS_SHOWN: usize = 40;

/// How the answer is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) json: bool,
    /// Topics that are complete too.
    pub(crate) all: bool,
}

pub(crate) fn account(config: &Config, question: &Question, told: Told) -> Result<Exit> {
    // What is wrong with the question is said in the words of the options.
    let named = Named {
        from: "--from",
        until: "--to",
    };
    question.understand(utc_now(), named)?;
    let within = match question.verify {
        true => VERIFY_WITHIN,
        false => WITHIN,
    };
    let text = get(
        config,
        &format!("/api/v1/account?{}", question.to_query()),
        within,
    )?;
    let answer: Json = serde_json::from_str(&text).context("read the answer")?;
    if told.json {
        say(&answer.to_string());
    } else {
        for line in lines(&answer, told.all) {
            say(&line);
        }
    }
    Ok(match is_well(&answer) {
        true => Exit::Ok,
        false => Exit::Attention,
    })
}

/// The body of an answer that is one.
pub(super) fn get(config: &Config, path: &str, within: Duration) -> Result<String> {
    let address = config.http.check(HTTP_PORT)?;
    let reply = client::get(address.listen, path, address.token.as_ref(), within)?;
    let text = String::from_utf8_lossy(&reply.body).into_owned();
    match reply.status {
        200 => Ok(text),
        404 => bail!(
            "the centre at {} keeps no ledger: its `roles` have none",
            address.listen
        ),
        _ => bail!("{}", text.trim_end()),
    }
}

/// `efd-central report`
pub(crate) fn report(
    config: &Config,
    day_obs: &str,
    site: Option<String>,
    html: bool,
) -> Result<Exit> {
    let question = Question {
        site,
        day_obs: Some(day_obs.to_owned()),
        ..Question::default()
    };
    question.understand(utc_now(), Named::OPTIONS)?;
    let path = format!("/api/v1/report?{}&html={html}", question.to_query());
    say(get(config, &path, WITHIN)?.trim_end());
    Ok(Exit::Ok)
}

pub(super) fn number(value: &Json) -> u64 {
    value.as_u64().unwrap_or(0)
}

/// Every difference has a reason, and the stores have what the book says.
fn is_well(answer: &Json) -> bool {
    let verify = &answer["verify"];
    let is_none = |list: &Json| list.as_array().is_none_or(Vec::is_empty);
    number(&answer["total"]["unnamed"]) == 0
        && is_none(&verify["differences"])
        && is_none(&verify["faults"])
        && verify["feed"]["failed"] != true
}

const STAGES: [&str; 2] = ["feed", "lake"];

fn lines(answer: &Json, all: bool) -> Vec<String> {
    let empty = Vec::new();
    let rows = answer["rows"].as_array().unwrap_or(&empty);
    let total = &answer["total"];
    let mut lines = vec![format!(
        "{:<20} {:<52}{:>12}{:>12}{:>12}{:>12}{:>12}{:>12}  {}",
        "site, hour",
        "topic",
        "published",
        "received",
        "edge",
        "centre",
        "feed",
        "lake",
        "not there, and why"
    )];
    let shown = rows.iter().filter(|row| all || row["complete"] != true);
    let limit = if all { usize::MAX } else { ROWS_SHOWN };
    lines.extend(shown.clone().take(limit).map(line));
    let hidden = shown.count().saturating_sub(limit);
    if hidden > 0 {
        lines.push(format!("… and {hidden} more: --all, or --json"));
    }
    let complete = rows.iter().filter(|row| row["complete"] == true).count();
    lines.push(line(total));
    lines.push(format!("{complete} of {} rows are complete", rows.len()));
    for lane in answer["lanes"].as_array().unwrap_or(&empty) {
        let records = lane["records"].as_u64();
        let records = records.map_or_else(
            || "an unknown number of".to_owned(),
            |count| count.to_string(),
        );
        lines.push(format!(
            "lost of lane {} of {}: {records} records in {} blocks whose topics nobody can tell, {}",
            text(&lane["lane"]),
            text(&lane["site"]),
            number(&lane["blocks"]),
            text(&lane["reason"])
        ));
    }
    if let Some(unknown) = answer["unknown"].as_object() {
        lines.extend(
            unknown
                .iter()
                .map(|(stage, why)| format!("{stage}: not known, {}", text(why))),
        );
    }
    if answer["verify"].is_object() {
        lines.extend(verified(&answer["verify"]));
    }
    lines
}

pub(super) fn text(value: &Json) -> &str {
    value.as_str().unwrap_or("-")
}

fn line(row: &Json) -> String {
    let place = match (row["site"].as_str(), row["hour"].as_str()) {
        (Some(site), Some(hour)) => format!("{site} {}", hour.get(..13).unwrap_or(hour)),
        (Some(site), None) => site.to_owned(),
        (None, _) => "total".to_owned(),
    };
    let mut reasons: Vec<String> = row["lost"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(reason, samples)| format!("{samples} {reason}"))
        .collect();
    for (name, words) in [
        ("unnamed", "UNNAMED"),
        ("uncounted", "losses of unknown count"),
        ("before_contact", "before our first contact"),
    ] {
        if number(&row[name]) > 0 {
            reasons.push(format!("{} {words}", row[name]));
        }
    }
    let stage = |name: &str| {
        row[name]
            .as_u64()
            .map_or_else(|| "-".to_owned(), |has| has.to_string())
    };
    let [feed, lake] = STAGES.map(stage);
    format!(
        "{place:<20} {:<52}{:>12}{:>12}{:>12}{:>12}{feed:>12}{lake:>12}  {}",
        row["topic"].as_str().unwrap_or(""),
        number(&row["published"]),
        number(&row["received"]),
        number(&row["edge"]),
        number(&row["centre"]),
        reasons.join(", ")
    )
}

fn verified(verify: &Json) -> Vec<String> {
    let empty = Vec::new();
    let log = &verify["log"];
    let mut lines = vec![format!(
        "verified: {} blocks of the log read, {} places damaged, {} blocks asked for again",
        number(&log["blocks"]),
        number(&log["damaged_places"]),
        number(&log["asked_for_again"])
    )];
    lines.extend(public_topics(&verify["feed"]));
    for it in verify["differences"].as_array().unwrap_or(&empty) {
        let differs = match (text(&it["differs"]), text(&it["store"])) {
            ("missing", _) => "records are missing",
            ("too_many", "feed") => "records are there twice",
            ("too_many", _) => "records too many",
            _ => "records are others than the book says",
        };
        let count = match number(&it["count"]) {
            0 => number(&it["expected"]),
            count => count,
        };
        let why = it["why"].as_str().map(|why| format!("; {why}"));
        lines.push(format!(
            "DIFFERS  {}: {} {} {}: {count} {differs} ({} of {}){}",
            text(&it["store"]),
            text(&it["site"]),
            text(&it["topic"]),
            text(&it["hour"]).get(..13).unwrap_or("-"),
            number(&it["found"]),
            number(&it["expected"]),
            why.unwrap_or_default()
        ));
    }
    if let Some(repair) = verify["feed"]["repair"].as_str() {
        lines.push(format!("REPAIR   feed: {repair}"));
    }
    for fault in verify["faults"].as_array().unwrap_or(&empty) {
        lines.push(format!("FAULT    {}", text(&fault["what"])));
    }
    for repair in verify["repaired"].as_array().unwrap_or(&empty) {
        lines.push(format!("REPAIRED {}", text(repair)));
    }
    lines
}

/// What was read of the public topics, and what was not.
fn public_topics(feed: &Json) -> Vec<String> {
    let empty = Vec::new();
    if !feed.is_object() {
        return Vec::new();
    }
    if let Some(why) = feed["not_compared"].as_str() {
        let word = if feed["failed"] == true {
            "FAILED"
        } else {
            "verified"
        };
        return vec![format!("{word}: nothing of the public topics, {why}")];
    }
    let mut lines = vec![format!(
        "verified: {} public topics, {} records read, {} of others",
        number(&feed["topics"]),
        number(&feed["records"]),
        number(&feed["strangers"])
    )];
    for it in feed["gone_by_retention"].as_array().unwrap_or(&empty) {
        lines.push(format!(
            "not told: {} records of {} {}: the topic's retention may have taken what it got before {}",
            number(&it["records"]),
            text(&it["site"]),
            text(&it["topic"]),
            text(&it["before"])
        ));
    }
    for it in feed["unread"].as_array().unwrap_or(&empty) {
        lines.push(format!(
            "not told: {} {}: {}",
            text(&it["site"]),
            text(&it["topic"]),
            text(&it["why"])
        ));
    }
    lines
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rows_that_are_not_complete_are_told() {
        let row = |topic: &str, complete: bool| {
            json!({
                "site": "summit", "topic": topic, "published": 9, "received": 8, "edge": 8, "centre": 7, "lake": 6,
                "lost": { "dds_gap": 1, "evicted": 1 }, "unnamed": 0, "uncounted": 0, "before_contact": 3, "complete": complete,
            })
        };
        let answer = json!({
            "rows": [row("lsst.sal.a.b", false), row("lsst.sal.c.d", true)], "lanes": [], "unknown": {},
            "total": { "published": 18, "unnamed": 1, "lost": {} },
        });
        let told = lines(&answer, false);
        assert_eq!(told.len(), 4, "{told:?}");
        assert!(
            told[1].ends_with(
                "7           -           6  1 dds_gap, 1 evicted, 3 before our first contact"
            ),
            "{}",
            told[1]
        );
        assert!(
            told[2].ends_with("1 UNNAMED") && told[3] == "1 of 2 rows are complete",
            "{told:?}"
        );
        assert_eq!(lines(&answer, true).len(), 5);
        assert!(!is_well(&answer));
    }
}
