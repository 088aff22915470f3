//! `efd-edge run`: opens the buffer, starts the threads in the order of the data, and ends them in that order.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use anyhow::{Context as _, Result};
use efd_edge_dds::{DomainConfig, Multicast, Ring, RingLimits};
use efd_edge_query::http::{Desk, IN_FLIGHT_KIB};
use efd_edge_query::{Activity, Holdings, Library, Workers};
use efd_edge_ship::{CENTRE, Endpoint, Notice, Observer, Shipper, held_epochs};
use efd_shared_daemon::clock::{ClockReader, Notifier, utc_now};
use efd_shared_daemon::disk::bytes_of_disk;
use efd_shared_daemon::http::{HttpServer, Readiness, Surface};
use efd_shared_daemon::identity::CertificateMetrics;
use efd_shared_daemon::shutdown::Stop;
use efd_shared_model::EpochId;
use efd_shared_stats::Resolution;
use efd_shared_store::retention::Policy;
use efd_shared_store::{Options, Store};
use efd_shared_wire::EdgeConfig;
use efd_shared_wire::edge::FillOrder as WireFillOrder;
use prometheus_client::registry::Registry;
use serde_json::json;
use tokio::sync::Semaphore;

use crate::bus::{BUS, Bus, BusNotice};
use crate::commit::substitute::Reducer;
use crate::commit::{CommitOptions, Committer, Statements, StoreKeeper, begin_epoch};
use crate::config::{Config, FillOrder, HTTP_PORT};
use crate::identity::Identity;
use crate::idl::IdlFolders;
use crate::intake::{Batch, Intake};
use crate::meters::Meters;
use crate::pipeline::{BATCHES, CommitPolicy, Pipeline};
use crate::queues;
use crate::recent::{Recent, RecentFirst};
use crate::restore::restore_publishers;
use crate::tiers::TierMaker;

/// Blocks just committed that are kept in memory for shipping.
const RECENT_BYTES: usize = 16 << 20;
const REQUESTS_MAX: usize = 256;
const NOTICES_MAX: usize = 1024;
const BUS_NOTICES_MAX: usize = 65_536;
/// Of the kernel's nice levels: where there is more to do than cores for it, live work gets seventy times as much.
const QUERY_NICE: i32 = 19;
const PATIENCE: Duration = Duration::from_secs(30);

/// Faults for tests.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sabotage {
    #[cfg(feature = "sabotage")]
    pub no_fsync: bool,
    #[cfg(feature = "sabotage")]
    pub announce_early: bool,
    #[cfg(feature = "sabotage")]
    pub intake: crate::intake::Sabotage,
}

pub fn domain_config(config: &Config) -> DomainConfig {
    DomainConfig {
        domain_id: config.dds.domain,
        interface: Some(config.interface.clone()).filter(|name| !name.is_empty()),
        multicast: if config.dds.multicast {
            Multicast::On
        } else {
            Multicast::Off
        },
        peers: config.dds.peers.clone(),
        lease: config.dds.lease.duration(),
        ..DomainConfig::default()
    }
}

pub fn policy(config: &Config) -> Result<Policy> {
    let bytes_max = match config.buffer.bytes_max {
        Some(size) => size.bytes(),
        None => bytes_of_disk(&config.buffer.path)? / 10 * 8,
    };
    Ok(Policy {
        age_max: config.buffer.retain.duration(),
        events_age_max: config.buffer.retain_events.duration(),
        bytes_max,
        quotas: config.buffer.quotas.of(bytes_max),
        make_room: 0,
        unshipped_bytes_max: config.buffer.untyped_bytes_max.bytes(),
    })
}

/// Until SIGTERM.
pub fn run(config: &Config, sabotage: Sabotage) -> Result<()> {
    let _ = sabotage;
    let leaps = crate::leap::load(config)?;
    let clock = ClockReader::new(leaps.clone())?;
    let identity = Identity::load(config)?;
    let http = config.http.check(HTTP_PORT)?;
    let stop = Stop::new();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("start tokio")?;
    let _entered = runtime.enter();
    stop.listen().context("listen for signals")?;
    let meters = Arc::new(Meters::new(&config.centre));
    let readiness = Readiness::waiting_for(&["buffer", BUS]);
    let server = runtime.block_on(HttpServer::bind(&http))?;
    let mut registry = Registry::default();
    meters.register(&mut registry);
    let certificate_metrics = CertificateMetrics::register(&mut registry);
    let queues = meters.queues.get().cloned().unwrap_or_default();
    crate::identity::watch(
        identity.clone(),
        Arc::clone(&meters),
        certificate_metrics,
        stop.clone(),
    );
    crate::leap::watch(&leaps, Arc::clone(&meters), stop.clone());
    // Questions wait until the buffer is open.
    let (workers, questions) = Workers::new();
    let desk = Desk {
        workers,
        limits: config.query.limits(),
        in_flight: Arc::new(Semaphore::new(IN_FLIGHT_KIB)),
        now: utc_now,
    };
    queues::add_answers(&queues, Arc::clone(&desk.in_flight));
    let surface = surface(registry, &meters, &readiness, config, &identity, desk);
    let served = runtime.spawn(server.serve(surface, stop.clone()));

    // Samples wait in the ring while the buffer is opened.
    let limits = RingLimits {
        bytes_max: config.dds.ring_bytes_max.as_usize(),
        ..RingLimits::default()
    };
    let (ring, consumer) = Ring::new(limits);
    queues::add_ring(&queues, ring.clone(), limits);
    queues::add_pipeline(&queues, &meters);
    let (bus_notices, bus_notices_in) = sync_channel::<BusNotice>(BUS_NOTICES_MAX);
    let bus = Bus::new(
        domain_config(config),
        config.partitions(),
        IdlFolders::new(config.dds.idl.clone()),
        ring,
        consumer.waker(),
        bus_notices,
        Arc::clone(&meters),
        readiness.clone(),
        stop.clone(),
    );
    let bus_thread = spawn("bus", move || bus.run())?;

    #[cfg_attr(
        not(feature = "sabotage"),
        expect(unused_mut, reason = "tests alter it")
    )]
    let mut options = Options {
        segment_bytes_max: config.buffer.segment_bytes_max.bytes(),
        segment_age_max: config.buffer.segment_age_max.duration(),
        reserve_bytes: config.buffer.reserve.bytes(),
        ..Options::default()
    };
    #[cfg(feature = "sabotage")]
    {
        options.sabotage.no_fsync = sabotage.no_fsync;
    }
    let (store, recovery) = Store::open(&config.buffer.path, options)
        .with_context(|| format!("open the buffer {}", config.buffer.path.display()))?;
    let mut reader = store.reader();
    let acked = store.acked(CENTRE).clone();
    let epoch_id = EpochId(*uuid::Uuid::new_v4().as_bytes());
    let epoch = begin_epoch(
        &mut reader,
        &acked,
        identity.edge,
        config.site.clone(),
        epoch_id,
        clock.state(),
    )?;
    let held = held_epochs(&mut reader, &acked)?;
    let publishers = restore_publishers(&mut reader);
    tracing::info!(
        edge = %identity.edge, site = %config.site, epoch = %epoch.epoch, epochs_held = held.len(),
        folder = %config.buffer.path.display(), "Buffer open"
    );

    let activity = Arc::new(Activity::default());
    let tier_settings = config.tiers(bytes_of_disk(&config.buffer.path)?);
    let holdings = Holdings {
        folder: config.buffer.path.clone(),
        tiers: tier_settings.clone(),
        activity: Arc::clone(&activity),
        limits: config.query.limits(),
    };
    let library = |_| Library::new(holdings.clone(), store.reader());
    let libraries = (0..config.query.threads).map(library).collect();
    questions
        .start(libraries, QUERY_NICE)
        .context("start the threads that answer questions")?;
    let (reducer, reducer_thread) = Reducer::new(store.reader(), Resolution::from_seconds(10)?);
    let (requests, requests_in) = sync_channel(REQUESTS_MAX);
    let (spare, spare_in) = sync_channel::<Batch>(BATCHES);
    let (notices, notices_in) = tokio::sync::mpsc::channel::<Notice>(NOTICES_MAX);
    queues::add_notices(&queues, notices.downgrade());
    let folder = config.buffer.path.clone();
    queues::add_buffer(&queues, &meters, policy(config)?, folder);
    queues.watch(stop.clone())?;
    let recent = Arc::new(Recent::new(RECENT_BYTES));
    let mut committer = Committer {
        store,
        options: CommitOptions {
            folder: config.buffer.path.clone(),
            compression: config.commit.compression,
            policy: policy(config)?,
            reserve_bytes: config.buffer.reserve.bytes(),
            #[cfg(feature = "sabotage")]
            announce_early: sabotage.announce_early,
        },
        epoch,
        clock: clock.clone(),
        meters: Arc::clone(&meters),
        activity: Arc::clone(&activity),
        reducer,
        recent: Arc::clone(&recent),
        spare,
        notices,
        stop: stop.clone(),
        next: BTreeMap::new(),
        epoch_declared: false,
        room_due: None,
        statements: Statements::new(config.commit.state_every.duration()),
        state: Default::default(),
    };
    let shipper = Shipper {
        endpoint: Endpoint::new(identity.tls()?, &config.link())?,
        config: edge_config(config, &identity),
        held,
        notices: notices_in,
        keeper: Box::new(StoreKeeper(requests.clone())),
        source: RecentFirst { recent, reader },
        clock,
        observer: Arc::clone(&meters) as Arc<dyn Observer>,
        stop: stop.clone(),
    };
    let shipping = runtime.spawn(shipper.run(uuid::Uuid::new_v4().as_u64_pair().0));
    #[cfg_attr(
        not(feature = "sabotage"),
        expect(unused_mut, reason = "tests alter it")
    )]
    let mut intake = Intake::new(leaps, publishers)
        .with_shards(config.commit.shards)
        .with_budgets(config.flood.settings());
    #[cfg(feature = "sabotage")]
    {
        intake.sabotage = sabotage.intake;
    }
    let pipeline = Pipeline {
        consumer,
        intake,
        bus: bus_notices_in,
        requests,
        spare: spare_in,
        reader: committer.store.reader(),
        policy: CommitPolicy {
            within: config.commit.within.duration(),
            bytes: config.commit.bytes.as_usize(),
        },
        meters: Arc::clone(&meters),
        stop: stop.clone(),
    };
    let tiers = TierMaker {
        folder: config.buffer.path.clone(),
        settings: tier_settings,
        hours: config.tiers_work.hours(),
        reader: committer.store.reader(),
        clock: committer.clock.clone(),
        meters: Arc::clone(&meters),
        activity,
        stop: stop.clone(),
    };
    if !recovery.is_clean() {
        committer
            .name_damage(&recovery)
            .context("name what was found damaged")?;
    }
    let reducing = stop.clone();
    let reduce_thread = spawn("reduce", move || reducer_thread.run(&reducing))?;
    let commit_thread = spawn("commit", move || committer.run(&requests_in))?;
    let intake_thread = spawn("intake", move || pipeline.run())?;
    let tiers_thread = match tiers.settings.is_empty() {
        true => None,
        false => Some(spawn("tiers", move || tiers.run())?),
    };
    readiness.ready("buffer");
    let notifier = Notifier::from_environment()?;
    notifier.ready("records flow");
    beat(&stop, &notifier);

    // In the order of the data: no new samples, the last commit, what the link still takes at once.
    notifier.stopping();
    tracing::info!(reason = stop.reason().unwrap_or_default(), "Stopping");
    let threads = [bus_thread, intake_thread, commit_thread, reduce_thread];
    for thread in threads.into_iter().chain(tiers_thread) {
        // A panic has been told, and asked for this stop.
        let _panicked = thread.join().is_err();
    }
    runtime.block_on(async {
        let ended = tokio::time::timeout(PATIENCE, async { (shipping.await, served.await) }).await;
        if ended.is_err() {
            tracing::warn!(late = ?stop.running(), "Stopped without waiting longer");
        }
    });
    tracing::info!(at = %utc_now(), "Stopped");
    Ok(stop.check()?)
}

/// Sleeps until a stop is asked for; tells systemd that we live.
fn beat(stop: &Stop, notifier: &Notifier) {
    let every = notifier.watchdog_every().unwrap_or(Duration::from_secs(5));
    while !stop.wait_timeout(every) {
        notifier.watchdog();
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<std::thread::JoinHandle<()>> {
    std::thread::Builder::new()
        .name(name.into())
        .spawn(work)
        .with_context(|| format!("start thread {name}"))
}

fn surface(
    registry: Registry,
    meters: &Arc<Meters>,
    readiness: &Readiness,
    config: &Config,
    identity: &Identity,
    desk: Desk,
) -> Surface {
    let meters = Arc::clone(meters);
    let (site, edge) = (config.site.to_string(), identity.edge.to_string());
    Surface {
        metrics: Arc::new(registry),
        readiness: readiness.clone(),
        status: Arc::new(move || {
            let mut status = meters.status();
            status["site"] = json!(site);
            status["edge"] = json!(edge);
            status
        }),
        extra: efd_edge_query::http::routes(desk),
        open: efd_edge_page::routes(),
    }
}

fn edge_config(config: &Config, identity: &Identity) -> EdgeConfig {
    EdgeConfig {
        link_rate: config
            .ship
            .link_rate_max
            .map(|rate| rate.bytes_per_second()),
        fill_rate: config
            .ship
            .fill_rate_max
            .map(|rate| rate.bytes_per_second()),
        fill_order: match config.ship.fill_order {
            FillOrder::NewestFirst => WireFillOrder::NewestFirst,
            FillOrder::OldestFirst => WireFillOrder::OldestFirst,
        },
        window_bytes: config.ship.in_flight_bytes_max.bytes(),
        ..EdgeConfig::new(
            identity.edge,
            config.site.clone(),
            env!("CARGO_PKG_VERSION"),
        )
    }
}
