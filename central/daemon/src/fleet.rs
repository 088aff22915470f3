//! The edges that speak to us, as `/status`, `/metrics` and `efd-central edges` show them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use efd_shared_daemon::clock::utc_now;
use efd_shared_model::{EdgeId, Site, UtcNanos};
use efd_shared_wire::Violation;
use efd_shared_wire::centre::{CentreCounters, Certificate};
use efd_shared_wire::frame::EdgeHeartbeat;
use serde_json::{Value as Json, json};

#[derive(Debug, Default)]
pub(crate) struct Fleet {
    edges: Mutex<BTreeMap<EdgeId, Edge>>,
    connections: AtomicU64,
    /// Connections that broke the protocol, by what was wrong.
    violations: AtomicU64,
    /// Handshakes that did not come to be: another CA, no certificate, a wrong kind.
    handshakes_refused: AtomicU64,
}

#[derive(Debug)]
struct Edge {
    site: Site,
    heard: UtcNanos,
    remote: String,
    connected: bool,
    counters: CentreCounters,
    clones: u64,
    heartbeat: Option<EdgeHeartbeat>,
}

impl Fleet {
    fn edges(&self) -> MutexGuard<'_, BTreeMap<EdgeId, Edge>> {
        self.edges.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn connected(&self, certificate: &Certificate, remote: String) {
        self.connections.fetch_add(1, Ordering::Relaxed);
        let mut edges = self.edges();
        let edge = edges.entry(certificate.edge).or_insert_with(|| Edge {
            site: certificate.site.clone(),
            heard: utc_now(),
            remote: String::new(),
            connected: true,
            counters: CentreCounters::default(),
            clones: 0,
            heartbeat: None,
        });
        edge.connected = true;
        edge.remote = remote;
        edge.heard = utc_now();
    }

    pub(crate) fn disconnected(&self, certificate: &Certificate) {
        if let Some(edge) = self.edges().get_mut(&certificate.edge) {
            edge.connected = false;
        }
    }

    pub(crate) fn heard(
        &self,
        certificate: &Certificate,
        heartbeat: &EdgeHeartbeat,
        quic: &quinn::Connection,
    ) {
        if let Some(edge) = self.edges().get_mut(&certificate.edge) {
            edge.heard = utc_now();
            edge.remote = quic.remote_address().to_string();
            edge.heartbeat = Some(heartbeat.clone());
        }
    }

    pub(crate) fn session(&self, certificate: &Certificate, counters: CentreCounters) {
        if let Some(edge) = self.edges().get_mut(&certificate.edge) {
            edge.counters = counters;
        }
    }

    pub(crate) fn cloned(&self, edge: EdgeId) {
        if let Some(edge) = self.edges().get_mut(&edge) {
            edge.clones += 1;
        }
    }

    pub(crate) fn refused(&self, _violation: &Violation) {
        self.violations.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn handshake_refused(&self) {
        self.handshakes_refused.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn violations(&self) -> u64 {
        self.violations.load(Ordering::Relaxed)
    }

    pub(crate) fn handshakes_refused_count(&self) -> u64 {
        self.handshakes_refused.load(Ordering::Relaxed)
    }

    pub(crate) fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    pub(crate) fn to_json(&self) -> Json {
        let now = utc_now();
        let edges = self.edges();
        edges
            .iter()
            .map(|(id, edge)| {
                let clock_behind = edge.heartbeat.as_ref().map(|heartbeat| edge.heard.since(heartbeat.clock.utc) as f64 / 1e9);
                json!({
                    "edge": id.to_string(), "site": edge.site.as_str(), "connected": edge.connected, "remote": edge.remote,
                    "heard_seconds_ago": now.since(edge.heard) as f64 / 1e9, "clones": edge.clones,
                    "blocks_live": edge.counters.blocks_live, "blocks_fill": edge.counters.blocks_fill,
                    "blocks_duplicate": edge.counters.blocks_duplicate, "blocks_wanted": edge.counters.blocks_wanted, "block_bytes": edge.counters.block_bytes,
                    "backlog_bytes": edge.heartbeat.as_ref().map(|heartbeat| heartbeat.backlog_bytes),
                    "oldest_unacknowledged_seconds": edge.heartbeat.as_ref().map(|heartbeat| heartbeat.oldest_unacked_age.as_secs_f64()),
                    "clock_behind_seconds": clock_behind,
                })
            })
            .collect::<Vec<_>>()
            .into()
    }
}
