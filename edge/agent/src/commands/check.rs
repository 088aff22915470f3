//! `efd-edge check`: would `run` work?

use std::time::Duration;

use anyhow::{Context as _, Result};
use efd_edge_agent::config::{Config, HTTP_PORT};
use efd_edge_agent::identity::Identity;
use efd_edge_agent::idl::IdlFolders;
use efd_edge_agent::meters::PROGRAM;
use efd_edge_agent::{leap, run};
use efd_edge_ship::Endpoint;
use efd_shared_daemon::clock::{ClockReader, utc_now};
use efd_shared_daemon::exit::{Exit, say};
use efd_shared_wire::edge::Centre;

use super::status::clock_words;

const LINK_WITHIN: Duration = Duration::from_secs(10);

/// Every part is tried, whatever the ones before said.
pub(super) fn run(config: &Config, offline: bool) -> Result<Exit> {
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
        Ok(format!(
            "site {}, centre {}",
            config.site,
            config.centre.join(", ")
        )),
    );
    let http = config.http.check(HTTP_PORT);
    let http = http.and_then(|address| address.probe(PROGRAM));
    part("http", http.map_err(Into::into));
    let identity = Identity::load(config);
    match &identity {
        Ok(identity) => part(
            "certificate",
            Ok(format!(
                "edge {}, {} days left",
                identity.edge,
                identity.days_left()
            )),
        ),
        Err(error) => part("certificate", Err(anyhow::anyhow!("{error:#}"))),
    }
    part("buffer", buffer(config));
    match idl(config) {
        Ok(text) => part("idl", Ok(text)),
        // The edge keeps what has no type, and takes files that appear.
        Err(error) => say(&format!(
            "look  idl: {error:#}; samples wait in the buffer until IDL files are there"
        )),
    }
    part("clock", clock(config));
    part("dds", dds(config));
    match (&identity, offline) {
        (Ok(identity), false) => {
            for (place, centre) in config.centre.iter().enumerate() {
                let checked = link(config, identity, Centre(place));
                let checked = checked.map(|text| format!("centre {centre}: {text}"));
                part("link", checked.with_context(|| format!("centre {centre}")));
            }
        }
        (Err(_), false) => say("skip  link: without a certificate the centre takes nobody"),
        (_, true) => say("skip  link: --offline"),
    }
    Ok(exit)
}

fn buffer(config: &Config) -> Result<String> {
    let path = &config.buffer.path;
    std::fs::create_dir_all(path).with_context(|| format!("make {}", path.display()))?;
    let probe = path.join(".check");
    std::fs::write(&probe, b"efd").with_context(|| format!("write in {}", path.display()))?;
    std::fs::remove_file(&probe).with_context(|| format!("remove {}", probe.display()))?;
    let policy = run::policy(config)?;
    Ok(format!(
        "{}, at most {} GiB",
        path.display(),
        policy.bytes_max >> 30
    ))
}

fn idl(config: &Config) -> Result<String> {
    let mut folders = IdlFolders::new(config.dds.idl.clone());
    folders.look();
    if let Some((folder, reason)) = folders.unreadable().first_key_value() {
        anyhow::bail!("folder {}: {reason}", folder.display());
    }
    let (topics, errors) = (
        folders.registry().topics().count(),
        folders.registry().errors().count(),
    );
    if topics == 0 {
        let shown = config
            .dds
            .idl
            .iter()
            .map(|folder| folder.display().to_string());
        let folders = shown.collect::<Vec<_>>().join(", ");
        anyhow::bail!(
            "no SAL topic in {folders}, {errors} errors (`efd-edge schema {folders}` shows them)"
        );
    }
    Ok(format!("{topics} SAL topics, {errors} errors"))
}

fn clock(config: &Config) -> Result<String> {
    let table = leap::load(config)?;
    let (expires, days) = (
        table.expires().date(),
        utc_now().days_until(table.expires()),
    );
    anyhow::ensure!(
        days >= 0,
        "the leap-second table expired on {expires}: set time.leap_seconds to a new leap-seconds.list"
    );
    let state = ClockReader::new(table)?.state();
    Ok(format!(
        "{}, TAI - UTC = {} s by {:?}, leap-second table good until {expires}",
        clock_words(
            &format!("{:?}", state.source),
            state.error.map(|ns| ns as f64 / 1e9)
        ),
        state.tai_offset,
        state.tai_origin
    ))
}

fn dds(config: &Config) -> Result<String> {
    let participant = efd_edge_dds::Participant::open(&run::domain_config(config))?;
    participant.close(Duration::from_secs(5))?;
    Ok(format!(
        "domain {} on interface `{}`",
        config.dds.domain, config.interface
    ))
}

fn link(config: &Config, identity: &Identity, centre: Centre) -> Result<String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let endpoint = Endpoint::new(identity.tls()?, &config.link())?;
        let remote = tokio::time::timeout(LINK_WITHIN, endpoint.probe(centre))
            .await
            .map_err(|_elapsed| {
                anyhow::anyhow!(
                    "no answer within {LINK_WITHIN:?}: is efd-central running there, and does UDP pass?"
                )
            })?
            .map_err(|error| {
                let is_refusal = error.is_refusal();
                let error = anyhow::Error::new(error);
                if is_refusal {
                    error.context(
                        "edge and centre must have certificates of one CA (the same ca.crt), and the centre's must name the host in `centre`",
                    )
                } else {
                    error
                }
            })?;
        Ok(format!("it answers at {remote}"))
    })
}
