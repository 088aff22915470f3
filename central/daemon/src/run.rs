//! `efd-central run`: opens the log, starts the consumers and the ingest, and ends them in the order of the data.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use efd_central_feed::{Feed, FeedOptions, TopicFormat, TopicSettings};
use efd_central_log::{BlockLog, Seats};
use efd_shared_daemon::clock::{Notifier, utc_now};
use efd_shared_daemon::http::{HttpServer, Readiness, Surface};
use efd_shared_daemon::identity::{CENTRAL, CertificateFiles, CertificateMetrics, Credentials};
use efd_shared_daemon::queues::Queues;
use efd_shared_daemon::shutdown::Stop;
use prometheus_client::registry::Registry;
use tokio::sync::watch;

use crate::appender::Appender;
use crate::config::{Config, HTTP_PORT, LogStore, Role};
use crate::connection::Shared;
use crate::fleet::Fleet;
use crate::ingest;
use crate::ledger::{self, Desk, LedgerRole};
use crate::log::Place;
use crate::meters::Meters;
use crate::queues;
use crate::roles::{FeedRole, LakeRole, Roles};
use crate::room::Room;

const LOOK_AT_FILES: Duration = Duration::from_secs(30);
const LOOK_FOR_LOSSES: Duration = Duration::from_secs(1);
const LOOK_AT_DISKS: Duration = Duration::from_secs(10);
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn credentials(config: &Config) -> Result<Arc<Credentials>> {
    let files = CertificateFiles::in_folder(&config.certificates, &format!("{CENTRAL}-"))?;
    let credentials = Credentials::load(&files)?;
    credentials
        .identity()
        .central()
        .with_context(|| format!("use {}", files.certificate.display()))?;
    Ok(credentials)
}

pub(crate) fn feed_options(config: &Config) -> Result<FeedOptions> {
    let feed = &config.feed;
    let folder = config.path.join("feed");
    let mut options = FeedOptions::new(folder, config.kafka.connection()?, feed.registry_access()?);
    options.registry_ca_file = feed.registry_ca_file.clone();
    options.topic_format = TopicFormat::new(&feed.topic)?;
    let (replication, min_insync_replicas) = config.kafka.copies();
    options.topics = TopicSettings {
        replication,
        min_insync_replicas: Some(min_insync_replicas),
        retention: None,
    };
    options.checkpoint_every = feed.checkpoint_every.duration();
    options.check()?;
    Ok(options)
}

/// Until SIGTERM.
pub(crate) fn run(
    config: &Config,
    #[cfg(feature = "sabotage")] sabotage: crate::sabotage::Sabotage,
) -> Result<()> {
    let credentials = credentials(config)?;
    for exposure in config.exposures() {
        tracing::warn!("{exposure}");
    }
    let http = config.http.check(HTTP_PORT)?;
    let stop = Stop::new();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("start tokio")?;
    let _entered = runtime.enter();
    stop.listen().context("listen for signals")?;
    let readiness = Readiness::waiting_for(&["log"]);
    let server = runtime.block_on(HttpServer::bind(&http))?;
    let endpoint = if config.roles.contains(&Role::Ingest) {
        Some(ingest::bind(config.listen, credentials.server_config()?)?)
    } else {
        None
    };

    let place = Place::of(config, &credentials)?;
    let log = place.open_log(config)?;
    let appender = Appender::start(Arc::clone(&log), stop.clone())?;
    let (losses_in, losses) = watch::channel(log.losses());
    let fleet = Arc::new(Fleet::default());

    let lake = if config.has_lake() {
        Some(LakeRole::open(config, place.lease("lake", Seats::One)?)?)
    } else {
        None
    };
    #[cfg_attr(
        not(feature = "sabotage"),
        expect(unused_mut, reason = "tests alter it")
    )]
    let mut feed_options = if config.has_feed() {
        Some(feed_options(config)?)
    } else {
        None
    };
    #[cfg(feature = "sabotage")]
    if let Some(options) = &mut feed_options {
        use efd_central_feed::Sabotage as Feeds;
        options.sabotage = match (sabotage.no_dedup, sabotage.dies_before_checkpoint) {
            (true, _) => Some(Feeds::NoDedup),
            (false, true) => Some(Feeds::DieBeforeCheckpoint),
            (false, false) => None,
        };
    }
    let public = match &feed_options {
        Some(options) => Some(options.clone()),
        // Another process feeds; this one may look at what came of it, where it is told how.
        None if config.kafka.brokers.is_empty() => None,
        None => self::feed_options(config).ok(),
    };
    let feed_blocks_max = feed_options
        .as_ref()
        .map_or(0, |options| options.in_flight_blocks_max);
    let feed = if let Some(options) = feed_options {
        Some(
            match place.lease("feed", Seats::Workers(config.feed.workers))? {
                Some(lease) => FeedRole::shared(&options, config.feed.workers, lease)?,
                None => FeedRole::Alone(Box::new(Feed::open(options)?)),
            },
        )
    } else {
        None
    };
    let ledger = match config.roles.contains(&Role::Ledger) {
        true => Some(LedgerRole::open(config)?),
        false => None,
    };
    let desk = ledger.as_ref().map(|ledger| Desk {
        ledger: ledger.status(),
        log: Arc::clone(&log),
        lake: lake.as_ref().map(LakeRole::status),
        feed: feed.as_ref().map(FeedRole::status),
        public,
        fleet: Arc::clone(&fleet),
        stop: stop.clone(),
        verifying: Arc::default(),
    });
    let extra = desk.clone().map(ledger::routes);
    let table = match desk.filter(|_| config.has_lake()) {
        Some(desk) => Some(ledger::keep_table(desk, config.lake_path())?),
        None => None,
    };
    let mut registry = Registry::default();
    let queues = Queues::register(registry.sub_registry_with_prefix("efd_central"));
    queues::add_appender(&queues, appender.clone());
    queues::add_disk(&queues, "disk_bytes", config.path.clone());
    if let Some(lake) = &lake {
        queues::add_disk(&queues, "lake_disk_bytes", config.lake_path());
        queues::add_lake(&queues, lake.status(), config.lake.memory_max.bytes());
    }
    if let Some(feed) = &feed {
        queues::add_feed(&queues, feed.status(), feed_blocks_max);
    }
    queues.watch(stop.clone())?;
    let keep = config.log.keep(&config.path)?;
    let lake_disk = lake
        .as_ref()
        .map(|lake| (lake.status(), config.lake_path()));
    let log_bytes_max = (config.log.store == LogStore::Embedded).then_some(keep.bytes_max);
    let room = Arc::new(Room::new(appender.clone(), log_bytes_max, lake_disk));
    let meters = Meters {
        queues,
        room: Arc::clone(&room),
        fleet: Arc::clone(&fleet),
        appender: appender.clone(),
        log: Arc::clone(&log),
        lake: lake.as_ref().map(LakeRole::status),
        feed: feed.as_ref().map(FeedRole::status),
        ledger: ledger.as_ref().map(LedgerRole::status),
        credentials: Arc::clone(&credentials),
    };
    let certificate_metrics = CertificateMetrics::register(&mut registry);
    registry.register_collector(Box::new(meters.clone()));
    let surface = Surface {
        metrics: Arc::new(registry),
        readiness: readiness.clone(),
        status: Arc::new(move || meters.status()),
        extra: extra.unwrap_or_default(),
        open: Default::default(),
    };
    let served = runtime.spawn(server.serve(surface, stop.clone()));
    runtime.spawn(Arc::clone(&credentials).watch(LOOK_AT_FILES, certificate_metrics, stop.clone()));
    let ledger = ledger.map(|role| (role, Arc::clone(&fleet)));
    let roles = Roles::start(Arc::clone(&log), lake, feed, ledger, keep, &readiness)?;
    runtime.spawn(watch_losses(Arc::clone(&log), losses_in, stop.clone()));
    runtime.spawn(watch_room(room, stop.clone()));
    let shared = Shared {
        log: Arc::clone(&log),
        appender,
        losses,
        fleet,
        stop: stop.clone(),
        #[cfg(feature = "sabotage")]
        sabotage,
    };
    let ingest = endpoint.map(|endpoint| {
        tracing::info!(listen = %config.listen, folder = %config.path.display(), "Taking edges");
        runtime.spawn(ingest::accept(endpoint, shared, stop.clone()))
    });
    readiness.ready("log");
    let notifier = Notifier::from_environment()?;
    notifier.ready("taking edges");
    let every = notifier.watchdog_every().unwrap_or(Duration::from_secs(5));
    while !stop.wait_timeout(every) {
        notifier.watchdog();
    }

    // In the order of the data: no new blocks, then the consumers take what the log has, and commit.
    notifier.stopping();
    tracing::info!(reason = stop.reason().unwrap_or_default(), "Stopping");
    runtime.block_on(async {
        if let Some(ingest) = ingest
            && tokio::time::timeout(PATIENCE, ingest).await.is_err()
        {
            tracing::warn!(late = ?stop.running(), "Ingest did not end; going on");
        }
    });
    let ended = roles.drain();
    if let Some(table) = table {
        table.finish();
    }
    // Notes of what was received, and of where the log ends: the next start finds out by them what a disk has lost.
    log.maintain();
    runtime.block_on(async {
        if tokio::time::timeout(PATIENCE, served).await.is_err() {
            tracing::warn!("HTTP did not end; going on");
        }
    });
    tracing::info!("Stopped");
    ended?;
    Ok(stop.check()?)
}

async fn watch_room(room: Arc<Room>, stop: Stop) {
    loop {
        room.look(utc_now());
        tokio::select! {
            () = tokio::time::sleep(LOOK_AT_DISKS) => {}
            () = stop.asked() => return,
        }
    }
}

/// A consumer's thread finds damage while it reads: the connections hear of it here.
async fn watch_losses(log: Arc<dyn BlockLog>, losses: watch::Sender<u64>, stop: Stop) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(LOOK_FOR_LOSSES) => {}
            () = stop.asked() => return,
        }
        let found = log.losses();
        losses.send_if_modified(|known| std::mem::replace(known, found) != found);
    }
}
