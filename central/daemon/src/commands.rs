//! What each subcommand does.

mod account;
mod trace;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use efd_central_feed::{Cluster, ask_brokers, ask_registry};
use efd_shared_daemon::clock::utc_now;
use efd_shared_daemon::exit::{Exit, complain, one_line as error_line, say};
use efd_shared_daemon::identity::ca::{self, Authority, Written};
use efd_shared_daemon::units::size;
use efd_shared_daemon::{config as configuration, logs, queues};
use efd_shared_model::EdgeId;
use serde_json::Value as Json;

use crate::config::{Config, HTTP_PORT, Role};
use crate::ledger::{Question, TraceQuestion};
use crate::log::Place;
use crate::meters::PROGRAM;
use crate::{Arguments, CaCommand, Command, run};

use account::Told;

const ENVIRONMENT: &str = "EFD_CENTRAL__";
const WITHIN: Duration = Duration::from_secs(5);

pub(crate) fn dispatch(arguments: Arguments) -> Result<Exit, Box<dyn std::error::Error>> {
    let Arguments {
        config: path,
        set,
        log,
        log_level,
        command,
    } = arguments;
    let exit = match command {
        Command::Run {
            roles,
            #[cfg(feature = "sabotage")]
            sabotage,
        } => {
            let _logs = logs::init(log, log_level.as_deref())?;
            #[cfg(feature = "sabotage")]
            let sabotage = crate::sabotage::Sabotage::parse(&sabotage)?;
            run::run(
                &load(&path, &set, &roles)?,
                #[cfg(feature = "sabotage")]
                sabotage,
            )
            .map(|()| Exit::Ok)
        }
        Command::Check => check(&load(&path, &set, &[])?),
        Command::Status { json } => status(&load(&path, &set, &[])?, json),
        Command::Edges { json } => edges(&load(&path, &set, &[])?, json),
        Command::Account {
            site,
            topic,
            from,
            to,
            day_obs,
            hours,
            all,
            verify,
            json,
        } => {
            let question = Question {
                site,
                topic,
                from,
                until: to,
                day_obs,
                hours,
                verify,
            };
            let told = Told { json, all };
            account::account(&load(&path, &set, &[])?, &question, told)
        }
        Command::Trace {
            site,
            topic,
            time,
            within,
            json,
        } => {
            let question = TraceQuestion {
                site,
                topic,
                time,
                within,
            };
            trace::trace(&load(&path, &set, &[])?, &question, json)
        }
        Command::Report {
            day_obs,
            site,
            html,
        } => account::report(&load(&path, &set, &[])?, &day_obs, site, html),
        Command::Ca { folder, command } => authority(&folder, command),
    };
    Ok(exit?)
}

/// `roles`: in place of the configuration's, unless empty.
fn load(path: &Path, set: &[String], roles: &[Role]) -> Result<Config> {
    let mut config: Config = configuration::load(path, ENVIRONMENT, set)?;
    if !roles.is_empty() {
        config.roles = roles.iter().copied().collect();
    }
    let faults = config.faults();
    if !faults.is_empty() {
        bail!("{}:\n  {}", path.display(), faults.join("\n  "));
    }
    Ok(config)
}

fn authority(folder: &Path, command: CaCommand) -> Result<Exit> {
    let now = utc_now();
    let written = match command {
        CaCommand::Init { name, days } => ca::create(folder, &name, days, now)?,
        CaCommand::IssueEdge { site, edge, days } => {
            let edge = edge.unwrap_or_else(|| EdgeId(*uuid::Uuid::new_v4().as_bytes()));
            Authority::open(folder)?.issue_edge(folder, &site, edge, days, now)?
        }
        CaCommand::IssueRescue { site, edge, days } => {
            Authority::open(folder)?.issue_rescue(folder, &site, edge, days, now)?
        }
        CaCommand::IssueCentral { name, hosts, days } => {
            Authority::open(folder)?.issue_central(folder, &name.parse()?, &hosts, days, now)?
        }
    };
    let Written {
        certificate,
        key,
        subject,
        not_after,
        serial,
    } = written;
    say(&format!("{subject}, serial {serial}, until {not_after}"));
    say(&format!(
        "  {}\n  {} (keep it secret)",
        certificate.display(),
        key.display()
    ));
    Ok(Exit::Ok)
}

/// `records 12, commits 3`: what a person reads.
fn one_line(section: &Json) -> String {
    let text = |value: &Json| match value {
        Json::String(text) => text.clone(),
        Json::Null => "-".to_owned(),
        Json::Object(_) | Json::Array(_) | Json::Bool(_) | Json::Number(_) => value.to_string(),
    };
    match section.as_object() {
        Some(fields) => fields
            .iter()
            .map(|(name, value)| format!("{} {}", name.replace('_', " "), text(value)))
            .collect::<Vec<_>>()
            .join(", "),
        None => text(section),
    }
}

/// Every part is tried, whatever the ones before said.
fn check(config: &Config) -> Result<Exit> {
    let mut exit = Exit::Ok;
    let mut part = |name: &str, result: Result<String>| match result {
        Ok(text) => say(&format!("ok    {name}: {text}")),
        Err(error) => {
            exit = Exit::Failed;
            say(&format!("FAIL  {name}: {error:#}"));
        }
    };
    part(
        "configuration",
        Ok(format!("data in {}", config.path.display())),
    );
    let http = config.http.check(HTTP_PORT);
    let runs = http
        .as_ref()
        .is_ok_and(|address| address.status(PROGRAM, WITHIN).is_ok());
    part("edges' port", quic_port(config, runs));
    let http = http.and_then(|address| address.probe(PROGRAM));
    part("http", http.map_err(Into::into));
    let credentials = run::credentials(config);
    let log = match &credentials {
        Ok(credentials) => Place::of(config, credentials).and_then(|place| place.check()),
        Err(_) => Ok("not looked at: a process on a cluster has its certificate's name".into()),
    };
    part(
        "certificate",
        credentials.map(|credentials| {
            let facts = credentials.facts();
            format!("{}, until {}", facts.identity, facts.not_after)
        }),
    );
    for exposure in config.exposures() {
        say(&format!("LOOK  secrets: {exposure}"));
    }
    part("folder", writable(&config.path));
    part("log", log);
    if config.has_lake() {
        part("lake", writable(&config.lake_path()));
    }
    if config.has_feed() {
        check_feed(config, &mut part);
    }
    Ok(exit)
}

/// Whether a centre that starts now could listen for edges; one that `runs` has the port by right.
fn quic_port(config: &Config, runs: bool) -> Result<String> {
    let address = config.listen;
    match std::net::UdpSocket::bind(address) {
        Ok(_free) => Ok(format!("{address} (UDP)")),
        Err(error) if runs && error.kind() == std::io::ErrorKind::AddrInUse => {
            Ok(format!("{address} (UDP), of the {PROGRAM} that runs"))
        }
        Err(error) => Err(error).with_context(|| format!("listen on {address} (UDP)")),
    }
}

/// Broker and registry are asked, each for a short time.
fn check_feed(config: &Config, part: &mut impl FnMut(&str, Result<String>)) {
    let options = match run::feed_options(config) {
        Ok(options) => options,
        Err(error) => return part("feed", Err(error)),
    };
    part("feed", Ok(format!("topics {}", config.feed.topic)));
    let brokers = ask_brokers(&options, WITHIN).map(|cluster| {
        let Cluster { brokers, topics } = cluster;
        format!("{} answer, {topics} topics", brokers.join(", "))
    });
    part("broker", brokers.map_err(Into::into));
    let registry = ask_registry(&options, WITHIN)
        .map(|subjects| format!("{} answers, {subjects} subjects", options.registry));
    part("registry", registry.map_err(Into::into));
}

fn writable(folder: &Path) -> Result<String> {
    std::fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    let probe = folder.join(".check");
    std::fs::write(&probe, b"efd").with_context(|| format!("write in {}", folder.display()))?;
    std::fs::remove_file(&probe).with_context(|| format!("remove {}", probe.display()))?;
    Ok(folder.display().to_string())
}

/// `None`: nobody answers, and that has been said.
fn ask(config: &Config) -> Result<Option<Json>> {
    let address = config.http.check(HTTP_PORT)?;
    match address.status(PROGRAM, WITHIN) {
        Ok(status) => Ok(Some(status)),
        Err(error) => {
            complain(&format!("no status of {PROGRAM}: {}", error_line(&error)));
            Ok(None)
        }
    }
}

fn status(config: &Config, as_json: bool) -> Result<Exit> {
    let Some(status) = ask(config)? else {
        return Ok(Exit::Failed);
    };
    let complaints = complaints(&status);
    if as_json {
        say(&status.to_string());
    } else {
        for section in [
            "version",
            "ingest",
            "log",
            "lake",
            "feed",
            "ledger",
            "disks",
            "certificate",
        ] {
            say(&format!("{section:<12}{}", one_line(&status[section])));
        }
        let queues = queues::fullest(&status["queues"]);
        say(&format!(
            "queues      {}",
            queues.unwrap_or_else(|| "not looked at yet".to_owned())
        ));
        edge_words(&status).iter().for_each(|line| say(line));
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

/// The page for the middle of the night has room for so many; `efd-central edges` has all.
const EDGES_SHOWN: usize = 20;

fn edge_words(status: &Json) -> Vec<String> {
    let edges = status["edges"].as_array().map_or(&[][..], Vec::as_slice);
    let mut lines = vec![format!("edges       {}", edges.len())];
    for edge in edges.iter().take(EDGES_SHOWN) {
        let text = |key: &str| edge[key].as_str().unwrap_or("?");
        let number = |key: &str| edge[key].as_f64().unwrap_or(0.0);
        let state = match edge["connected"] == true {
            true => "connected".to_owned(),
            false => format!("gone, heard {:.0} s ago", number("heard_seconds_ago")),
        };
        lines.push(format!(
            "            {} of {}: {state}, has {} for us, the oldest of {:.1} s",
            text("edge"),
            text("site"),
            size(number("backlog_bytes") as u64),
            number("oldest_unacknowledged_seconds")
        ));
    }
    if EDGES_SHOWN < edges.len() {
        let more = edges.len() - EDGES_SHOWN;
        lines.push(format!(
            "            and {more} more; efd-central edges has all"
        ));
    }
    lines
}

/// A clock that is further off is no matter of the way.
const CLOCK_BEHIND_MAX_SECONDS: f64 = 2.0;

/// Edges that are two, or whose clock is off.
fn edge_complaints(status: &Json) -> Vec<String> {
    let edges = status["edges"].as_array().map_or(&[][..], Vec::as_slice);
    let name = |edge: &Json| {
        let text = |key: &str| edge[key].as_str().unwrap_or("?").to_owned();
        format!("{} of {}", text("edge"), text("site"))
    };
    let clones = edges
        .iter()
        .filter(|edge| edge["clones"].as_u64().unwrap_or(0) > 0);
    let clones = clones.map(|edge| format!("two appliances send as the edge {}", name(edge)));
    let clocks = edges.iter().filter_map(|edge| {
        let behind = edge["clock_behind_seconds"].as_f64()?;
        (CLOCK_BEHIND_MAX_SECONDS < behind.abs()).then(|| {
            format!(
                "the clock of the edge {} is {behind:.1} s behind ours",
                name(edge)
            )
        })
    });
    clones.chain(clocks).collect()
}

/// States that need no person.
pub(crate) const CONSUMERS: [(&str, &[&str]); 3] = [
    ("lake", &["off", "starting", "standing_by", "running"]),
    (
        "feed",
        &["off", "starting", "standing_by", "running", "reading_back"],
    ),
    ("ledger", &["off", "running"]),
];

/// To bring a disk.
const LAKE_DAYS_MIN: f64 = 3.0;

fn complaints(status: &Json) -> Vec<String> {
    let number = |path: &str| status.pointer(path).and_then(Json::as_f64).unwrap_or(0.0);
    let mut complaints = Vec::new();
    let mut complain = |bad: bool, text: String| bad.then(|| complaints.push(text));
    let offline = status["edges"].as_array().map_or(0, |edges| {
        edges
            .iter()
            .filter(|edge| edge["connected"] == false)
            .count()
    });
    complain(
        offline > 0,
        format!("{offline} of the edges seen since the start are not connected"),
    );
    complain(
        number("/log/room") == 0.0,
        "the log takes nothing; the edges keep their data".into(),
    );
    complain(
        number("/log/refused") > 0.0,
        "the log refused blocks: their edges cannot go on, see the daemon's log".into(),
    );
    complain(
        number("/log/lost_blocks") > 0.0,
        "the log lost blocks, and asks their edges for them".into(),
    );
    complain(
        number("/log/absent_blocks") > 0.0,
        "the log lost blocks that their edges have not either, see `absent` in its section".into(),
    );
    complain(
        number("/lake/commit_failures") > 0.0,
        "the lake could not commit".into(),
    );
    complain(
        number("/lake/files_missing") > 0.0,
        "files of the lake are gone".into(),
    );
    for (consumer, is_well) in CONSUMERS {
        let section = &status[consumer];
        let state = section["state"].as_str().unwrap_or("unknown");
        let reason = section["reason"].as_str().map(|why| format!(": {why}"));
        complain(
            !is_well.contains(&state),
            format!("the {consumer} is {state}{}", reason.unwrap_or_default()),
        );
    }
    complain(
        status["feed"]["checkpoint_damaged"].is_string(),
        "the feed's checkpoint was damaged, see its section".into(),
    );
    complain(
        number("/feed/vanished_blocks") > 0.0,
        "blocks that public topics are owed are not in the log any more".into(),
    );
    complain(
        number("/feed/duplicates") > 0.0,
        "records stand twice in public topics: see the daemon's log".into(),
    );
    complain(
        number("/feed/registry_refusals") > 0.0,
        "the registry refused schemas: their records are in topics with a suffix".into(),
    );
    complain(
        number("/lake/rejected_records") > 0.0,
        "records do not fit their schema, and are not in the lake".into(),
    );
    complain(
        number("/feed/parked_outputs") > 0.0,
        "public topics refuse records".into(),
    );
    let days_left = status
        .pointer("/disks/lake_days_left")
        .and_then(Json::as_f64);
    if let Some(days) = days_left.filter(|days| *days < LAKE_DAYS_MIN) {
        complaints.push(format!(
            "the lake's disk is full in {days:.1} days at the rate of the last ten minutes"
        ));
    }
    complaints.extend(queues::complaints(&status["queues"]));
    complaints.extend(edge_complaints(status));
    let mut complain = |bad: bool, text: String| bad.then(|| complaints.push(text));
    complain(
        number("/certificate/days_left") < 30.0,
        "the certificate expires in less than 30 days".into(),
    );
    complaints
}

fn edges(config: &Config, as_json: bool) -> Result<Exit> {
    let Some(status) = ask(config)? else {
        return Ok(Exit::Failed);
    };
    let empty = Vec::new();
    let edges = status["edges"].as_array().unwrap_or(&empty);
    if !as_json {
        say(&format!(
            "{:<38}{:<8}{:<12}{:<11}{:>14}{:>14}{:>16}",
            "edge", "as", "site", "connected", "live blocks", "fill blocks", "backlog bytes"
        ));
    }
    for edge in edges {
        if as_json {
            say(&edge.to_string());
            continue;
        }
        let text = |key: &str| {
            edge[key]
                .as_str()
                .map_or_else(|| edge[key].to_string(), str::to_owned)
        };
        say(&format!(
            "{:<38}{:<8}{:<12}{:<11}{:>14}{:>14}{:>16}",
            text("edge"),
            text("role"),
            text("site"),
            text("connected"),
            text("blocks_live"),
            text("blocks_fill"),
            text("backlog_bytes")
        ));
    }
    Ok(Exit::Ok)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_dead_consumer_is_complained_of() {
        let well = json!({
            "log": { "room": 1 }, "lake": { "state": "running" }, "feed": { "state": "off" },
            "ledger": { "state": "running" }, "edges": [],
            "certificate": { "days_left": 300 },
        });
        assert_eq!(complaints(&well), Vec::<String>::new());
        let check = |path: &str, value: Json, wanted: &str| {
            let mut status = well.clone();
            *status.pointer_mut(path).unwrap() = value;
            assert_eq!(complaints(&status), [wanted]);
        };
        check(
            "/lake",
            json!({ "state": "failed", "reason": "two writers" }),
            "the lake is failed: two writers",
        );
        check(
            "/feed",
            json!({ "state": "failed", "reason": null }),
            "the feed is failed",
        );
        check(
            "/feed",
            json!({ "state": "waiting_for_broker", "reason": "nobody answers" }),
            "the feed is waiting_for_broker: nobody answers",
        );
        check("/lake", json!({}), "the lake is unknown");
        check(
            "/edges",
            json!([{ "edge": "e", "site": "summit", "connected": true, "clones": 1 }]),
            "two appliances send as the edge e of summit",
        );
        check(
            "/edges",
            json!([{ "edge": "e", "site": "summit", "connected": true, "clock_behind_seconds": -7.5 }]),
            "the clock of the edge e of summit is -7.5 s behind ours",
        );
        check(
            "/feed",
            json!({ "state": "running", "checkpoint_damaged": "not JSON" }),
            "the feed's checkpoint was damaged, see its section",
        );
    }
}
