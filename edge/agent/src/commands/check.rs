//! `efd-edge check`: would `run` work?

use std::time::Duration;

use anyhow::{Context as _, Result};
use efd_edge_agent::config::{Config, HTTP_PORT};
use efd_edge_agent::identity::Identity;
use efd_edge_agent::idl::IdlFolders;
use efd_edge_agent::ship::Endpoint;
use efd_edge_agent::{leap, run};
use efd_shared_daemon::clock::{ClockReader, utc_now};
use efd_shared_daemon::exit::Exit;

use super::say;

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
        Ok(format!("site {}, centre {}", config.site, config.centre)),
    );
    part(
        "http",
        config
            .http
            .check(HTTP_PORT)
            .map(|address| address.listen.to_string())
            .map_err(Into::into),
    );
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
    part("idl", idl(config));
    part("clock", clock(config));
    part("dds", dds(config));
    if let (Ok(identity), false) = (&identity, offline) {
        part("link", link(config, identity));
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
    anyhow::ensure!(topics > 0, "no SAL topic in {:?}", config.dds.idl);
    Ok(format!("{topics} SAL topics, {errors} errors"))
}

fn clock(config: &Config) -> Result<String> {
    let table = leap::load(config)?;
    let (expires, days) = (table.expires().date(), leap::days_left(&table, utc_now()));
    anyhow::ensure!(
        days >= 0,
        "the leap-second table expired on {expires}: set time.leap_seconds to a new leap-seconds.list"
    );
    let state = ClockReader::new(table)?.state();
    Ok(format!(
        "{:?}, TAI - UTC = {} s by {:?}, error {:?} ns, leap-second table good until {expires}",
        state.source, state.tai_offset, state.tai_origin, state.error
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

fn link(config: &Config, identity: &Identity) -> Result<String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let window = config.ship.in_flight_bytes_max.bytes();
        let (tls, name) = (identity.tls()?, identity.server_name(config));
        let endpoint = Endpoint::new(
            tls,
            config.centre.clone(),
            name,
            config.ship.mtu_max,
            window,
        )?;
        let remote = tokio::time::timeout(LINK_WITHIN, endpoint.probe())
            .await
            .with_context(|| {
                format!(
                    "no answer from {} within {LINK_WITHIN:?}: does UDP pass?",
                    config.centre
                )
            })??;
        Ok(format!("the centre answers at {remote}"))
    })
}
