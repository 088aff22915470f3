//! `efd-edge topics`: what is on the bus, and what we know of it.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use efd_edge_agent::config::Config;
use efd_edge_agent::idl::IdlFolders;
use efd_edge_agent::partitions::Patterns;
use efd_edge_agent::run;
use efd_edge_dds::{DiscoveryEvent, Participant, WriterInfo};
use efd_shared_daemon::clock::monotonic_now;
use efd_shared_daemon::exit::{Exit, say};
use serde_json::json;

pub(super) fn run(config: &Config, seconds: u64, as_json: bool) -> Result<Exit> {
    let mut folders = IdlFolders::new(config.dds.idl.clone());
    folders.look();
    let patterns = Patterns::new(&config.partitions());
    let participant = Participant::open(&run::domain_config(config))?;
    let mut discovery = participant.discovery()?;
    let mut writers: BTreeMap<String, WriterInfo> = BTreeMap::new();
    let mut participants = 0usize;
    let until = monotonic_now().saturating_add(Duration::from_secs(seconds).as_nanos() as i64);
    while monotonic_now() < until {
        for event in discovery.poll(Duration::from_millis(200))? {
            match event {
                DiscoveryEvent::WriterAppeared(info) => {
                    writers.insert(format!("{} {:?}", info.topic, info.guid), *info);
                }
                DiscoveryEvent::ParticipantAppeared(_) => participants += 1,
                DiscoveryEvent::ParticipantGone(_) | DiscoveryEvent::WriterGone { .. } => {}
            }
        }
    }
    drop(discovery);
    participant.close(Duration::from_secs(5))?;
    if !as_json {
        say(&format!(
            "{:<44} {:<9} {:<8} {:<24} host",
            "topic", "type", "ours", "partitions"
        ));
    }
    for info in writers.values() {
        let known = folders.registry().get(&info.type_name).is_some();
        let ours = patterns.take_any(&info.partitions);
        if as_json {
            say(&json!({
                "topic": info.topic, "type": info.type_name, "typed": known, "read": ours,
                "partitions": info.partitions, "keyed": info.keyed, "host": info.hostname, "process": info.process,
                "reliability": format!("{:?}", info.reliability), "durability": format!("{:?}", info.durability),
                "ownership": format!("{:?}", info.ownership), "has_type_info": info.has_type_info,
            }).to_string());
        } else {
            say(&format!(
                "{:<44} {:<9} {:<8} {:<24} {}",
                info.topic,
                if known { "known" } else { "UNKNOWN" },
                if ours { "read" } else { "not read" },
                info.partitions.join(","),
                info.hostname.as_deref().unwrap_or("?")
            ));
        }
    }
    if !as_json {
        say(&format!(
            "{} writers, {participants} participants on domain {}, interface `{}`; ours are partitions {:?}",
            writers.len(),
            config.dds.domain,
            config.interface,
            config.partitions()
        ));
    }
    Ok(if writers.is_empty() {
        Exit::Attention
    } else {
        Exit::Ok
    })
}
