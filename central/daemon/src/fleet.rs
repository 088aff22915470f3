//! The edges that speak to us, as `/status`, `/metrics` and `efd-central edges` show them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use efd_shared_daemon::clock::utc_now;
use efd_shared_daemon::identity::ClientRole;
use efd_shared_model::{EdgeId, Site, UtcNanos};
use efd_shared_wire::Violation;
use efd_shared_wire::centre::{CentreCounters, Certificate};
use efd_shared_wire::frame::EdgeHeartbeat;
use serde_json::{Value as Json, json};

use crate::ingest::Client;

/// An edge and its rescuer are two: both may be connected.
type Key = (EdgeId, ClientRole);

/// While it lives, its session counts.
#[derive(Debug)]
pub(crate) struct Present {
    fleet: Arc<Fleet>,
    key: Key,
}

impl Drop for Present {
    fn drop(&mut self) {
        if let Some(edge) = self.fleet.edges().get_mut(&self.key) {
            edge.sessions = edge.sessions.saturating_sub(1);
        }
    }
}

fn key(client: &Client) -> Key {
    (client.certificate.edge, client.role)
}

#[derive(Debug, Default)]
pub(crate) struct Fleet {
    edges: Mutex<BTreeMap<Key, Edge>>,
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
    /// Sessions under way: an old one may still be dying.
    sessions: u32,
    counters: CentreCounters,
    clones: u64,
    heartbeat: Option<EdgeHeartbeat>,
}

impl Fleet {
    fn edges(&self) -> MutexGuard<'_, BTreeMap<Key, Edge>> {
        self.edges.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A session begins. A connection that only looks whether we are there is none.
    pub(crate) fn connected(self: &Arc<Self>, client: &Client, remote: SocketAddr) -> Present {
        let key = key(client);
        let Certificate { site, edge } = &client.certificate;
        tracing::info!(%remote, %site, %edge, role = client.role.as_str(), "Edge connected");
        self.connections.fetch_add(1, Ordering::Relaxed);
        let mut edges = self.edges();
        let edge = edges.entry(key).or_insert_with(|| Edge {
            site: client.certificate.site.clone(),
            heard: utc_now(),
            remote: String::new(),
            sessions: 0,
            counters: CentreCounters::default(),
            clones: 0,
            heartbeat: None,
        });
        if edge.sessions == 0 {
            // What it said before, it said of another time.
            edge.heartbeat = None;
        }
        edge.sessions += 1;
        edge.remote = remote.to_string();
        edge.heard = utc_now();
        drop(edges);
        Present {
            fleet: Arc::clone(self),
            key,
        }
    }

    pub(crate) fn heard(
        &self,
        client: &Client,
        heartbeat: &EdgeHeartbeat,
        quic: &quinn::Connection,
    ) {
        if let Some(edge) = self.edges().get_mut(&key(client)) {
            edge.heard = utc_now();
            edge.remote = quic.remote_address().to_string();
            edge.heartbeat = Some(heartbeat.clone());
        }
    }

    pub(crate) fn session(&self, client: &Client, counters: CentreCounters) {
        if let Some(edge) = self.edges().get_mut(&key(client)) {
            edge.counters = counters;
        }
    }

    pub(crate) fn cloned(&self, client: &Client) {
        if let Some(edge) = self.edges().get_mut(&key(client)) {
            edge.clones += 1;
        }
    }

    /// Whether the edge is here, and whoever ships for it has said last that the centre has everything.
    pub(crate) fn is_drained(&self, edge: EdgeId) -> bool {
        let edges = self.edges();
        let of_edge = edges.iter().filter(|((id, _), _)| *id == edge);
        let mut here = of_edge
            .map(|(_, edge)| edge)
            .filter(|edge| 0 < edge.sessions)
            .peekable();
        let has_nothing = |edge: &Edge| {
            let heartbeat = edge.heartbeat.as_ref();
            heartbeat.is_some_and(|heartbeat| heartbeat.backlog_bytes == 0)
        };
        here.peek().is_some() && here.all(has_nothing)
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
            .map(|((id, role), edge)| {
                let clock_behind = edge.heartbeat.as_ref().map(|heartbeat| edge.heard.since(heartbeat.clock.utc) as f64 / 1e9);
                json!({
                    "edge": id.to_string(), "role": role.as_str(), "site": edge.site.as_str(), "connected": 0 < edge.sessions, "remote": edge.remote,
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
