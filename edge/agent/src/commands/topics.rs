//! `efd-edge topics`: what is on the bus, and what we do with it.

mod words;

use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use anyhow::Result;
use efd_edge_agent::bus::{Bus, State, Survey};
use efd_edge_agent::config::Config;
use efd_edge_agent::idl::IdlFolders;
use efd_edge_agent::meters::Meters;
use efd_edge_agent::run;
use efd_edge_dds::{Ring, RingLimits};
use efd_shared_daemon::exit::{Exit, say};
use efd_shared_daemon::http::Readiness;
use efd_shared_daemon::shutdown::Stop;

/// What arrives within a hundredth of a second, on any bus.
const RING_BYTES: usize = 64 << 20;

pub(super) fn run(config: &Config, seconds: u64, as_json: bool) -> Result<Exit> {
    let limits = RingLimits {
        bytes_max: RING_BYTES,
        ..RingLimits::default()
    };
    let (ring, consumer) = Ring::new(limits);
    // Nobody is to be told.
    let (notices, _) = sync_channel(1);
    let bus = Bus::new(
        run::domain_config(config),
        config.partitions(),
        IdlFolders::new(config.dds.idl.clone()),
        ring,
        consumer.waker(),
        notices,
        Arc::new(Meters::new(&[])),
        Readiness::waiting_for(&[]),
        Stop::new(),
    );
    let survey = bus.survey(consumer, Duration::from_secs(seconds))?;
    if as_json {
        say(&words::json(config, &survey).to_string());
    } else {
        words::table(config, &survey)
            .iter()
            .for_each(|line| say(line));
    }
    Ok(if is_well(&survey) {
        Exit::Ok
    } else {
        Exit::Attention
    })
}

/// Something is published for us, and all of it is read.
fn is_well(survey: &Survey) -> bool {
    let mut ours = survey
        .writers
        .iter()
        .map(|writer| &writer.state)
        .filter(|state| **state != State::NotOurs)
        .peekable();
    ours.peek().is_some() && ours.all(|state| matches!(state, State::Read(_) | State::Pending))
}
