//! Runs a session with the centre until it has everything.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use efd_edge_ship::{Cause, Endpoint, Keeper, Left, Link, Observer, Outcome, Shipper, Source};
use efd_shared_daemon::clock::ClockReader;
use efd_shared_daemon::identity::Credentials;
use efd_shared_daemon::shutdown::Stop;
use efd_shared_model::{EpochLane, LeapTable, RangeSet};
use efd_shared_wire::EdgeConfig;
use efd_shared_wire::edge::{Centre, EdgeCounters, FillOrder};

use super::shipment::Shipment;
use super::{Delivery, SendError};
use crate::outcome::InspectError;
use crate::screen::Screen;
use crate::table::size;

const NOTICES_MAX: usize = 16;
/// Fits a VPN; a rescue need not probe for more.
const MTU_MAX: u16 = 1372;
const WINDOW_BYTES: u64 = 32 << 20;
const GOODBYE: Duration = Duration::from_secs(2);
const LOOK_EVERY: Duration = Duration::from_millis(200);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Of the shipment.
    pub(super) blocks: u64,
    /// At the centre before.
    pub(super) already: u64,
    pub(super) sent_bytes: u64,
    pub(super) unreadable: u64,
}

#[derive(Debug)]
pub(super) struct Delivered {
    pub(super) counts: Counts,
    pub(super) received: BTreeMap<EpochLane, RangeSet>,
}

/// Blocks that cannot be read are named on the screen and do not hold up the rest.
pub(super) fn deliver(
    shipment: &Shipment,
    source: impl Source,
    credentials: &Arc<Credentials>,
    delivery: &Delivery,
    screen: &mut Screen<impl Write, impl Write>,
) -> Result<Delivered, InspectError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(SendError::Threads)?;
    let watched = Arc::new(Watched::new(shipment.blocks()));
    let link = Link {
        centres: vec![delivery.centre.clone()],
        mtu_max: MTU_MAX,
        window_bytes: WINDOW_BYTES,
        rate_max: delivery.rate,
    };
    let tls = Arc::new(credentials.client_config().map_err(SendError::from)?);
    let endpoint = {
        let _within = runtime.enter();
        Endpoint::new(tls, &link).map_err(SendError::from)?
    };
    let (notices, notices_in) = tokio::sync::mpsc::channel(NOTICES_MAX);
    let stop = Stop::default();
    let shipper = Shipper {
        endpoint,
        config: EdgeConfig {
            link_rate: delivery.rate,
            fill_order: FillOrder::OldestFirst,
            window_bytes: WINDOW_BYTES,
            ..EdgeConfig::new(
                shipment.edge,
                shipment.site.clone(),
                concat!("efd-inspect ", env!("CARGO_PKG_VERSION")),
            )
        },
        held: shipment.epochs.clone(),
        notices: notices_in,
        keeper: Box::new(Keeping(Arc::clone(&watched))),
        source,
        clock: ClockReader::new(LeapTable::built_in())
            .map_err(|error| SendError::Threads(std::io::Error::other(error)))?,
        observer: Arc::clone(&watched) as Arc<dyn Observer>,
        stop: stop.clone(),
    };
    // One at a time: nobody else's reconnects need to be spread.
    let seed = 0;
    let shipping = runtime.spawn(shipper.run(seed));
    let ended = wait(&watched, shipment.blocks(), delivery.patience, screen);
    // Says goodbye.
    drop(notices);
    let _late = runtime
        .block_on(async { tokio::time::timeout(GOODBYE, shipping).await })
        .is_err();
    runtime.shutdown_timeout(GOODBYE);
    screen.clear_progress()?;
    ended?;
    let mut state = watched.state();
    for reason in &state.unreadable {
        screen.damaged(reason)?;
    }
    Ok(Delivered {
        counts: Counts {
            blocks: shipment.blocks(),
            already: state.already,
            sent_bytes: state.counters.block_bytes,
            unreadable: state.unreadable.len() as u64,
        },
        received: std::mem::take(&mut state.received),
    })
}

/// Until the centre has everything, or there is no hope.
fn wait(
    watched: &Watched,
    blocks: u64,
    patience: Duration,
    screen: &mut Screen<impl Write, impl Write>,
) -> Result<(), InspectError> {
    let (mut left_before, mut waited) = (u64::MAX, Duration::ZERO);
    loop {
        let state = watched.wait(LOOK_EVERY);
        if let Some(reason) = &state.refused {
            return Err(SendError::Refused(reason.clone()).into());
        }
        let left = state.left.unwrap_or(blocks);
        if state.left == Some(0) && state.streaming {
            return Ok(());
        }
        let (bytes, streaming) = (size(state.counters.block_bytes), state.streaming);
        let reason = state.reason.clone();
        drop(state);
        if left < left_before {
            (left_before, waited) = (left, Duration::ZERO);
        } else {
            waited += LOOK_EVERY;
        }
        if patience <= waited {
            return Err(SendError::GaveUp {
                left,
                blocks,
                patience,
                reason: reason.unwrap_or_else(|| "nothing".into()),
            }
            .into());
        }
        if streaming {
            let done = blocks.saturating_sub(left);
            screen.progress(format_args!(
                "{done} of {blocks} blocks at the centre, {bytes} sent"
            ))?;
        } else {
            let reason = reason.unwrap_or_default();
            screen.progress(format_args!("connecting… {reason}"))?;
        }
    }
}

/// What the session does, for the thread that waits.
#[derive(Debug)]
struct Watched {
    blocks: u64,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    streaming: bool,
    counters: EdgeCounters,
    /// Blocks that the centre does not have; known with the first welcome.
    left: Option<u64>,
    /// Blocks that it had then.
    already: u64,
    unreadable: Vec<String>,
    received: BTreeMap<EpochLane, RangeSet>,
    refused: Option<String>,
    /// Why there is no connection.
    reason: Option<String>,
}

impl Watched {
    fn new(blocks: u64) -> Self {
        Self {
            blocks,
            state: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Until something changes, or `at_most`.
    fn wait(&self, at_most: Duration) -> MutexGuard<'_, State> {
        let waited = self.changed.wait_timeout(self.state(), at_most);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state());
        self.changed.notify_one();
    }
}

impl Observer for Watched {
    fn session(&self, streaming: bool, counters: EdgeCounters, unacked_blocks: u64) {
        let mut state = self.state();
        (state.streaming, state.counters) = (streaming, counters);
        if streaming {
            if state.left.is_none() {
                state.already = self.blocks.saturating_sub(unacked_blocks);
            }
            state.left = Some(unacked_blocks);
            if unacked_blocks == 0 {
                self.changed.notify_one();
            }
        }
    }

    /// Of what the edge had to say of its own, nothing is known here.
    fn backlog(&self) -> (Duration, u64) {
        (Duration::ZERO, 0)
    }

    fn connecting(&self, _centre: Centre) {}

    fn connected(&self, _centre: Centre, _address: SocketAddr) {}

    fn left(&self, _centre: Centre, why: Left<'_>) {
        let reason = why.to_string();
        self.change(|state| {
            if why.cause() == Cause::Refused {
                state.refused = Some(reason.clone());
            }
            state.reason = Some(reason);
        });
    }

    fn block_unreadable(&self) {}
}

#[derive(Debug)]
struct Keeping(Arc<Watched>);

impl Keeper for Keeping {
    fn try_keep(&mut self, outcome: Outcome) -> Result<(), Outcome> {
        let mut state = self.0.state();
        match outcome {
            Outcome::Acked { lane, ranges } => {
                state.received.entry(lane).or_default().union(&ranges);
            }
            Outcome::Unacked { lane, ranges } => {
                state.received.entry(lane).or_default().subtract(&ranges);
            }
            Outcome::Unreadable { id, reason } => {
                state.unreadable.push(format!("block {id}: {reason}"));
            }
        }
        Ok(())
    }
}
