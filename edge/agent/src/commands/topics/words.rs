//! A survey of the bus as a table and as JSON. Pure.

use efd_edge_agent::bus::{Heard, State, Survey, Surveyed};
use efd_edge_agent::config::Config;
use efd_edge_dds::{Durability, Ownership, ParticipantInfo, Reliability, VendorId, WriterInfo};
use serde_json::{Value as Json, json};

/// The last one may be long.
const COLUMNS: [&str; 6] = [
    "topic",
    "type",
    "from",
    "offers",
    "rate/s",
    "what comes of it",
];

pub(super) fn table(config: &Config, survey: &Survey) -> Vec<String> {
    let mut lines = Vec::new();
    if !survey.writers.is_empty() {
        let rows: Vec<[String; 6]> = survey.writers.iter().map(row).collect();
        let heads = COLUMNS.map(str::to_owned);
        let widths: [usize; 6] = std::array::from_fn(|at| {
            let cells = std::iter::once(&heads).chain(&rows);
            cells.map(|row| row[at].chars().count()).max().unwrap_or(0)
        });
        for row in std::iter::once(&heads).chain(&rows) {
            let cells = row.iter().zip(widths);
            let line: Vec<String> = cells
                .map(|(cell, width)| format!("{cell:<width$}"))
                .collect();
            lines.push(line.join("  ").trim_end().to_owned());
        }
        lines.push(
            "offers: R reliable, B best effort; V volatile, TL transient-local, T transient, P persistent; X exclusive; K keyed"
                .to_owned(),
        );
        lines.push(String::new());
    }
    lines.extend(survey.participants.iter().map(|it| participant(survey, it)));
    lines.push(format!(
        "{} participants, {} writers, {} of them ours; heard for {:.1} s on domain {}, interface `{}`; ours are partitions {:?}",
        survey.participants.len(),
        survey.writers.len(),
        survey.writers.iter().filter(|it| it.state != State::NotOurs).count(),
        survey.listened.as_secs_f64(),
        config.dds.domain,
        config.interface,
        config.partitions()
    ));
    lines.extend(silence(config, survey));
    lines
}

fn row(writer: &Surveyed) -> [String; 6] {
    let Surveyed { info, state, heard } = writer;
    let rate = match state {
        State::NotOurs | State::NoReader(_) | State::Pending => "-".to_owned(),
        State::NotMatched(_) | State::Parked(_) | State::Read(_) | State::Undecodable { .. } => {
            rate(heard)
        }
    };
    [
        place(info),
        typed(info),
        from(
            info.vendor,
            info.hostname.as_deref(),
            info.process.as_deref(),
        ),
        offers(info),
        rate,
        state_words(state),
    ]
}

/// `summit.MTMount/MTMount_elevation_1a2b3c4d`
fn place(info: &WriterInfo) -> String {
    match &info.partitions[..] {
        [] => info.topic.clone(),
        partitions => format!("{}/{}", partitions.join(","), info.topic),
    }
}

fn typed(info: &WriterInfo) -> String {
    match info.has_type_info {
        true => format!("{} (announced)", info.type_name),
        false => info.type_name.clone(),
    }
}

fn from(vendor: Option<VendorId>, host: Option<&str>, process: Option<&str>) -> String {
    let vendor = vendor.map_or_else(|| "unknown vendor".to_owned(), |vendor| vendor.to_string());
    let words = [Some(vendor.as_str()), process, host];
    words.into_iter().flatten().collect::<Vec<_>>().join(" ")
}

fn offers(info: &WriterInfo) -> String {
    let mut words = vec![
        match info.reliability {
            Reliability::BestEffort => "B",
            Reliability::Reliable { .. } => "R",
        },
        match info.durability {
            Durability::Volatile => "V",
            Durability::TransientLocal => "TL",
            Durability::Transient => "T",
            Durability::Persistent => "P",
        },
    ];
    words.extend((info.ownership == Ownership::Exclusive).then_some("X"));
    words.extend(info.keyed.then_some("K"));
    words.join(" ")
}

fn rate(heard: &Heard) -> String {
    let history = match heard.history {
        0 => String::new(),
        history => format!(" +{history} old"),
    };
    format!("{:.1}{history}", heard.rate())
}

fn state_words(state: &State) -> String {
    match state {
        State::NotOurs => "not read: in none of our partitions".to_owned(),
        State::Pending => "just appeared".to_owned(),
        State::NoReader(error) => format!("NOT READ: {error}"),
        State::NotMatched(Some(policy)) => format!("NOT READ: its {policy} does not match ours"),
        State::NotMatched(None) => {
            "NOT READ: it is announced, and does not answer (firewall, another interface?)"
                .to_owned()
        }
        State::Parked(lack) => format!("KEPT RAW: {lack}"),
        State::Read(topic) => format!("read as {topic}"),
        State::Undecodable { topic, error } => {
            format!("KEPT RAW: what it sends is not {topic} by its type: {error}")
        }
    }
}

fn participant(survey: &Survey, info: &ParticipantInfo) -> String {
    let ParticipantInfo {
        guid,
        hostname,
        process,
    } = info;
    let writers = survey
        .writers
        .iter()
        .filter(|it| it.info.participant == *guid);
    let from = from(guid.vendor(), hostname.as_deref(), process.as_deref());
    format!("participant {guid}  {from}  {} writers", writers.count())
}

/// What to look at when nothing is heard.
fn silence(config: &Config, survey: &Survey) -> Vec<String> {
    let has_ours = survey.writers.iter().any(|it| it.state != State::NotOurs);
    if has_ours {
        return Vec::new();
    }
    if !survey.writers.is_empty() {
        return vec![
            "Nobody publishes in our partitions: `dds.partitions` (or `site`) may be meant otherwise.".to_owned(),
        ];
    }
    if !survey.participants.is_empty() {
        return vec![
            "Participants are there, and none has a writer that is for users: their programs may not have begun.".to_owned(),
        ];
    }
    // OMG DDSI-RTPS 2.5, 9.6.2.
    let port = 7400 + 250 * config.dds.domain;
    let mut lines = vec![format!(
        "The bus is silent: nobody has answered. Is `dds.domain` {} right, and `interface` `{}` the one where they are?",
        config.dds.domain, config.interface
    )];
    lines.push(match config.dds.multicast {
        true => format!(
            "Does multicast pass (UDP 239.255.0.1 port {port}, and {} to {} by unicast)? Else name them in `dds.peers`.",
            port + 10,
            port + 249
        ),
        false => format!(
            "`dds.multicast` is off, and `dds.peers` are {:?}: OpenSplice is found by multicast only.",
            config.dds.peers
        ),
    });
    lines
}

pub(super) fn json(config: &Config, survey: &Survey) -> Json {
    json!({
        "domain": config.dds.domain,
        "interface": config.interface,
        "multicast": config.dds.multicast,
        "peers": config.dds.peers,
        "partitions": config.partitions(),
        "seconds": survey.listened.as_secs_f64(),
        "participants": survey.participants.iter().map(participant_json).collect::<Vec<_>>(),
        "writers": survey.writers.iter().map(writer_json).collect::<Vec<_>>(),
        "hints": silence(config, survey),
    })
}

fn participant_json(info: &ParticipantInfo) -> Json {
    let ParticipantInfo {
        guid,
        hostname,
        process,
    } = info;
    json!({
        "guid": guid.to_string(), "vendor": guid.vendor().map(|it| it.to_string()),
        "host": hostname, "process": process,
    })
}

fn writer_json(writer: &Surveyed) -> Json {
    let Surveyed { info, state, heard } = writer;
    let (word, record, why) = match state {
        State::NotOurs => ("not_ours", None, None),
        State::Pending => ("pending", None, None),
        State::NoReader(error) => ("no_reader", None, Some(error.clone())),
        State::NotMatched(policy) => ("not_matched", None, policy.map(str::to_owned)),
        State::Parked(lack) => ("parked", None, Some(lack.to_string())),
        State::Read(topic) => ("read", Some(topic), None),
        State::Undecodable { topic, error } => ("undecodable", Some(topic), Some(error.clone())),
    };
    json!({
        "guid": info.guid.to_string(), "participant": info.participant.to_string(),
        "vendor": info.vendor.map(|it| it.to_string()), "host": info.hostname, "process": info.process,
        "topic": info.topic, "type": info.type_name, "announced": info.has_type_info,
        "partitions": info.partitions, "keyed": info.keyed,
        "reliability": match info.reliability {
            Reliability::BestEffort => "best_effort",
            Reliability::Reliable { .. } => "reliable",
        },
        "durability": match info.durability {
            Durability::Volatile => "volatile",
            Durability::TransientLocal => "transient_local",
            Durability::Transient => "transient",
            Durability::Persistent => "persistent",
        },
        "ownership": match info.ownership {
            Ownership::Shared => "shared",
            Ownership::Exclusive => "exclusive",
        },
        "representations": info.representations.iter().map(|it| format!("{it:?}").to_lowercase()).collect::<Vec<_>>(),
        "samples": heard.live, "bytes": heard.live_bytes, "old_samples": heard.history, "rate": heard.rate(),
        "state": word, "record": record, "why": why,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use efd_edge_agent::bus::Lack;
    use efd_edge_dds::Guid;

    use super::*;

    fn config() -> Config {
        let text =
            "site = \"summit\"\ninterface = \"eth1\"\ncentre = [\"c:1\"]\ncertificates = \"/x\"\n";
        let path = std::path::Path::new("edge.toml");
        efd_shared_daemon::config::parse(path, text, "NOTHING__", [], &[]).unwrap()
    }

    fn writer(number: u8, state: State) -> Surveyed {
        let mut guid = Guid([7; 16]);
        guid.0[..2].copy_from_slice(&[1, 16]);
        guid.0[15] = number;
        let participant = Guid([9; 16]);
        Surveyed {
            info: WriterInfo {
                guid,
                handle: number.into(),
                topic: format!("rt/topic{number}"),
                type_name: "A::B".into(),
                partitions: vec!["summit.x".into()],
                reliability: Reliability::BestEffort,
                durability: Durability::TransientLocal,
                ownership: Ownership::Exclusive,
                representations: Vec::new(),
                keyed: true,
                has_type_info: number == 0,
                participant,
                hostname: Some("host".into()),
                process: None,
                vendor: guid.vendor(),
            },
            state,
            heard: Heard {
                live: 20,
                live_bytes: 2000,
                history: number.into(),
                over: Duration::from_secs(2),
            },
        }
    }

    fn survey(states: Vec<State>) -> Survey {
        Survey {
            participants: vec![ParticipantInfo {
                guid: Guid([9; 16]),
                hostname: Some("host".into()),
                process: Some("program".into()),
            }],
            writers: (0..)
                .zip(states)
                .map(|(n, state)| writer(n, state))
                .collect(),
            listened: Duration::from_secs(3),
        }
    }

    #[test]
    fn each_state_has_its_words() {
        let states = vec![
            State::Read("ros.topic0".into()),
            State::NotOurs,
            State::Parked(Lack::Unknown),
            State::NotMatched(Some("DURABILITY")),
        ];
        let expected = "\
topic               type              from              offers    rate/s       what comes of it
summit.x/rt/topic0  A::B (announced)  Cyclone DDS host  B TL X K  10.0         read as ros.topic0
summit.x/rt/topic1  A::B              Cyclone DDS host  B TL X K  -            not read: in none of our partitions
summit.x/rt/topic2  A::B              Cyclone DDS host  B TL X K  10.0 +2 old  KEPT RAW: neither the writer nor an IDL file says what the type is
summit.x/rt/topic3  A::B              Cyclone DDS host  B TL X K  10.0 +3 old  NOT READ: its DURABILITY does not match ours
offers: R reliable, B best effort; V volatile, TL transient-local, T transient, P persistent; X exclusive; K keyed

participant 09090909:09090909:09090909:09090909  unknown vendor program host  4 writers
1 participants, 4 writers, 3 of them ours; heard for 3.0 s on domain 0, interface `eth1`; ours are partitions [\"summit.*\"]";
        assert_eq!(table(&config(), &survey(states)).join("\n"), expected);
    }

    #[test]
    fn silence_is_explained() {
        let nobody = Survey {
            participants: Vec::new(),
            ..survey(Vec::new())
        };
        let said = |survey: &Survey| silence(&config(), survey).join("\n");
        assert!(said(&nobody).contains("port 7400, and 7410 to 7649"));
        assert!(said(&survey(Vec::new())).contains("Participants are there"));
        assert!(said(&survey(vec![State::NotOurs])).contains("dds.partitions"));
        assert_eq!(said(&survey(vec![State::Pending])), "");
    }

    #[test]
    fn json_says_why() {
        let lack = Lack::Announcement("no hash".into());
        let json = json(&config(), &survey(vec![State::Parked(lack)]));
        let writer = &json["writers"][0];
        assert_eq!(
            (&writer["state"], &writer["record"]),
            (&"parked".into(), &Json::Null)
        );
        assert!(
            writer["why"]
                .as_str()
                .unwrap()
                .ends_with("of no use: no hash"),
            "{writer}"
        );
        assert_eq!(writer["rate"], 10.0);
        assert_eq!(writer["durability"], "transient_local");
        assert_eq!(json["participants"][0]["process"], "program");
    }
}
