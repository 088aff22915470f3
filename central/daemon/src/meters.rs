//! `/metrics` and `/status` of the centre: read from where the numbers are kept, when they are asked for.

mod watch;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use efd_central_feed::Status as FeedStatus;
use efd_central_log::BlockLog;
use efd_shared_daemon::clock::utc_now;
use efd_shared_daemon::identity::Credentials;
use efd_shared_daemon::queues::Queues;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::gauge::ConstGauge;
use serde_json::{Value as Json, json};

use crate::appender::Appender;
use crate::fleet::Fleet;
use crate::ledger::LedgerStatus;
use crate::roles::{FeedWorkers, LakeStatus};
use crate::room::Room;

/// Everything that counts.
#[derive(Clone)]
pub(crate) struct Meters {
    pub(crate) fleet: Arc<Fleet>,
    pub(crate) appender: Appender,
    pub(crate) log: Arc<dyn BlockLog>,
    pub(crate) lake: Option<LakeStatus>,
    pub(crate) feed: Option<FeedWorkers>,
    pub(crate) ledger: Option<LedgerStatus>,
    pub(crate) credentials: Arc<Credentials>,
    pub(crate) queues: Queues,
    pub(crate) room: Arc<Room>,
}

/// As `/status` names us.
pub(crate) const PROGRAM: &str = "efd-central";

impl std::fmt::Debug for Meters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Meters").finish_non_exhaustive()
    }
}

impl Meters {
    /// The body of `/status`.
    pub(crate) fn status(&self) -> Json {
        let counters = self.appender.counters();
        let health = self.log.health();
        let absent: serde_json::Map<_, _> = health
            .absent
            .iter()
            .take(ABSENT_LANES_SHOWN)
            .map(|(lane, numbers)| (lane.to_string(), numbers.to_string().into()))
            .collect();
        json!({
            "program": PROGRAM, "version": env!("CARGO_PKG_VERSION"),
            "ingest": {
                "connections": self.fleet.connections(),
                "handshakes_refused": self.fleet.handshakes_refused_count(),
                "violations": self.fleet.violations(),
            },
            "log": {
                "blocks": counters.blocks.load(Ordering::Relaxed), "bytes": counters.bytes.load(Ordering::Relaxed),
                "appends": counters.appends.load(Ordering::Relaxed), "failures": counters.failures.load(Ordering::Relaxed),
                "refused": counters.refused.load(Ordering::Relaxed), "room": *self.appender.room().borrow(),
                "damaged_places": health.passed.damaged, "passed_places": health.passed.absent, "rewound": health.passed.rewound,
                "lost_blocks": health.lost_blocks, "absent_blocks": health.absent_blocks(), "absent": absent,
            },
            "lake": self.lake.as_ref().map_or(json!({ "state": "off", "behind_blocks": 0 }), LakeStatus::to_json),
            "feed": self.feed.as_ref().map_or(json!({ "state": "off", "behind_blocks": 0 }), feed_json),
            "ledger": self.ledger.as_ref().map_or_else(
                || json!({ "state": "off", "behind_blocks": 0 }),
                |ledger| ledger.to_json(&*self.log),
            ),
            "queues": self.queues.status(),
            "disks": self.room.to_json(),
            "edges": self.fleet.to_json(),
            "certificate": { "days_left": self.credentials.facts().days_left(utc_now()) },
        })
    }
}

fn feed_json(workers: &FeedWorkers) -> Json {
    let status = FeedStatus::of_all(workers.iter().map(|worker| worker.status.read()));
    json!({
        "state": status.state.as_str(), "reason": status.state.reason(), "checkpoint_damaged": status.checkpoint_damaged,
        "records": status.records, "bytes": status.bytes, "blocks": status.blocks, "behind_blocks": status.lag_blocks,
        "topics": status.topics, "checkpoints": status.checkpoints, "skipped": status.skipped,
        "duplicates": status.duplicates, "registry_refusals": status.registry_refusals, "sessions": status.sessions,
        "vanished_blocks": status.vanished_blocks, "refused": status.refused, "rewound": status.rewound,
        "strangers": status.strangers,
        "workers": workers.iter().map(|worker| json!({
            "worker": worker.shard.to_string(), "state": worker.status.read().state.as_str(),
        })).collect::<Vec<_>>(),
        "parked_outputs": status.parked.len(),
        "parked": status.parked.iter().map(|output| json!({
            "topic": output.topic, "reason": output.reason, "owed_blocks": output.owed_blocks, "owed_records": output.owed_records,
        })).collect::<Vec<_>>(),
    })
}

/// The metric has them all.
const ABSENT_LANES_SHOWN: usize = 100;

/// Numbers of `/status`, under the name that Prometheus has for them.
const METRICS: [(&str, &str, &str); 34] = [
    (
        "edge_connections",
        "/ingest/connections",
        "Connections of edges accepted",
    ),
    (
        "handshakes_refused",
        "/ingest/handshakes_refused",
        "Handshakes refused: another CA, no certificate, a wrong kind",
    ),
    (
        "protocol_violations",
        "/ingest/violations",
        "Connections closed because the edge broke the protocol",
    ),
    (
        "log_blocks",
        "/log/blocks",
        "Blocks made durable in the log",
    ),
    ("log_bytes", "/log/bytes", "Their bytes"),
    ("log_appends", "/log/appends", "Durable appends"),
    (
        "log_failures",
        "/log/failures",
        "Appends and declarations that failed, and were tried again",
    ),
    (
        "log_refused",
        "/log/refused",
        "Blocks and declarations that the log will never take",
    ),
    (
        "log_damaged_places",
        "/log/damaged_places",
        "Places that a consumer went past because the log's disk damaged them",
    ),
    (
        "log_passed_places",
        "/log/passed_places",
        "Places that a consumer went past because nothing is there: removed, lost with their file, or never used",
    ),
    (
        "log_rewound",
        "/log/rewound",
        "Times that the log ended before a consumer's place, and was read again",
    ),
    (
        "log_lost_blocks",
        "/log/lost_blocks",
        "Blocks that the log lost and that are to come again from their edges",
    ),
    (
        "log_absent_blocks",
        "/log/absent_blocks",
        "Blocks that the log lost and that their edges have not either",
    ),
    (
        "log_room_bytes",
        "/log/room",
        "Credit of an edge; 0 while the log takes nothing",
    ),
    ("lake_records", "/lake/records", "Records taken by the lake"),
    (
        "lake_rows_written",
        "/lake/rows_written",
        "Rows in files of the lake",
    ),
    (
        "lake_bytes_written",
        "/lake/bytes_written",
        "Bytes of files of the lake",
    ),
    ("lake_commits", "/lake/commits", "Commits of the lake"),
    (
        "lake_commit_failures",
        "/lake/commit_failures",
        "Commits that failed and are tried again",
    ),
    (
        "lake_rejected_records",
        "/lake/rejected_records",
        "Records that their schema does not decode",
    ),
    (
        "lake_behind_blocks",
        "/lake/behind_blocks",
        "Blocks of the log that the lake has not taken",
    ),
    (
        "feed_records",
        "/feed/records",
        "Records acknowledged by the broker",
    ),
    (
        "feed_behind_blocks",
        "/feed/behind_blocks",
        "Blocks of the log that are not in the public topics",
    ),
    (
        "feed_skipped",
        "/feed/skipped",
        "Records left out because their topic had them already",
    ),
    (
        "feed_duplicates",
        "/feed/duplicates",
        "Records found twice in a public topic",
    ),
    (
        "feed_registry_refusals",
        "/feed/registry_refusals",
        "Schemas that the registry refused",
    ),
    (
        "feed_parked_outputs",
        "/feed/parked_outputs",
        "Public topics that refuse records",
    ),
    (
        "ledger_records",
        "/ledger/records",
        "Records that the ledger has counted since the start",
    ),
    (
        "ledger_behind_blocks",
        "/ledger/behind_blocks",
        "Blocks of the log that the ledger has not counted",
    ),
    (
        "ledger_compared",
        "/ledger/compared",
        "Statements of edges on what they have committed that were compared with what is here",
    ),
    (
        "ledger_differing",
        "/ledger/differing",
        "Of them, those of which blocks have other records than the edge says",
    ),
    (
        "ledger_silent_blocks",
        "/ledger/silent_blocks",
        "Blocks that were missing while their edge believed them to be here; it was asked for them",
    ),
    (
        "ledger_unreadable",
        "/ledger/unreadable",
        "Blocks and losses that the ledger could not read",
    ),
    (
        "certificate_days",
        "/certificate/days_left",
        "Days until our certificate expires",
    ),
];

const CONNECTED: (&str, &str) = ("edges_connected", "Edges connected");

impl Collector for Meters {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let status = self.status();
        for (name, path, help) in METRICS.iter().chain(watch::COUNTED) {
            let gauge = ConstGauge::new(status.pointer(path).and_then(Json::as_f64).unwrap_or(0.0));
            let name = format!("efd_central_{name}");
            let metric = encoder.encode_descriptor(&name, help, None, gauge.metric_type())?;
            gauge.encode(metric)?;
        }
        watch::encode(&status, &mut encoder)?;
        let connected = status["edges"].as_array().map_or(0, |edges| {
            edges
                .iter()
                .filter(|edge| edge["connected"] == true)
                .count()
        });
        let gauge = ConstGauge::new(connected as f64);
        let name = format!("efd_central_{}", CONNECTED.0);
        let metric = encoder.encode_descriptor(&name, CONNECTED.1, None, gauge.metric_type())?;
        gauge.encode(metric)
    }
}
