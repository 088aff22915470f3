//! The queues of this daemon, and what they are measured against.
//!
//! What the threads of the pipeline hold is told by [`Fills`]; the rest is asked for where it is.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use efd_edge_dds::{Ring, RingLimits};
use efd_edge_query::http::IN_FLIGHT_KIB;
use efd_edge_ship::Notice;
use efd_shared_daemon::disk::fill_of;
use efd_shared_daemon::queues::{Fill, Queues};
use efd_shared_model::block::{DATUM_BYTES_MAX, PAYLOAD_BYTES_MAX};
use efd_shared_store::retention::Policy;
use tokio::sync::Semaphore;
use tokio::sync::mpsc::WeakSender;

use crate::meters::Meters;
use crate::pipeline::ORPHANS_MAX;

/// A block with more than this takes no further record.
const BLOCK_BYTES_MAX: u64 = (PAYLOAD_BYTES_MAX - DATUM_BYTES_MAX) as u64;

/// As of the last look of whoever holds it.
#[derive(Debug, Default)]
pub struct Fills {
    /// Of the fullest block of the batch that is being filled.
    pub batch_bytes: AtomicU64,
    pub orphans: AtomicU64,
    pub orphans_dropped: AtomicU64,
    pub parked_bytes: AtomicU64,
}

/// Samples between the bus and the buffer.
pub fn add_ring(queues: &Queues, ring: Ring, limits: RingLimits) {
    let of_bytes = ring.clone();
    queues.add("ring_bytes", move || {
        let counters = of_bytes.counters();
        let fill = Fill::new(counters.held_bytes as u64, limits.bytes_max as u64);
        Some(fill.with_overflows(counters.dropped_full))
    });
    queues.add("ring_samples", move || {
        let held = ring.counters().held_samples as u64;
        Some(Fill::new(held, limits.samples_max as u64))
    });
}

pub fn add_pipeline(queues: &Queues, meters: &Arc<Meters>) {
    let of_batch = Arc::clone(meters);
    queues.add("batch_bytes", move || {
        let used = of_batch.fills.batch_bytes.load(Ordering::Relaxed);
        Some(Fill::new(used, BLOCK_BYTES_MAX))
    });
    let of_orphans = Arc::clone(meters);
    queues.add("samples_without_writer", move || {
        let fills = &of_orphans.fills;
        let used = fills.orphans.load(Ordering::Relaxed);
        let dropped = fills.orphans_dropped.load(Ordering::Relaxed);
        Some(Fill::new(used, ORPHANS_MAX as u64).with_overflows(dropped))
    });
}

/// What waits for the centre, for a type, and for room.
pub fn add_buffer(queues: &Queues, meters: &Arc<Meters>, policy: Policy, folder: PathBuf) {
    let of_backlog = Arc::clone(meters);
    queues.add("backlog_bytes", move || {
        Some(Fill::new(of_backlog.backlog_bytes(), policy.bytes_max))
    });
    let of_parked = Arc::clone(meters);
    queues.add("parked_bytes", move || {
        let used = of_parked.fills.parked_bytes.load(Ordering::Relaxed);
        Some(Fill::new(used, policy.unshipped_bytes_max))
    });
    queues.add("disk_bytes", move || fill_of(&folder).ok());
}

/// Blocks that are durable, on their way to the shipper. It has ended when nobody sends.
pub fn add_notices(queues: &Queues, notices: WeakSender<Notice>) {
    queues.add("notices", move || {
        let notices = notices.upgrade()?;
        let limit = notices.max_capacity();
        Some(Fill::new((limit - notices.capacity()) as u64, limit as u64))
    });
}

/// Memory of answers under way.
pub fn add_answers(queues: &Queues, in_flight: Arc<Semaphore>) {
    queues.add("answers_kib", move || {
        let used = IN_FLIGHT_KIB.saturating_sub(in_flight.available_permits());
        Some(Fill::new(used as u64, IN_FLIGHT_KIB as u64))
    });
}
