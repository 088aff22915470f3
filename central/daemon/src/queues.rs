//! The queues of this daemon, and what they are measured against.

use std::path::PathBuf;

use efd_central_feed::Status as FeedStatus;
use efd_shared_daemon::disk::fill_of;
use efd_shared_daemon::queues::{Fill, Queues};

use crate::appender::Appender;
use crate::roles::{FeedWorkers, LakeStatus};

/// Blocks of all edges that wait to be appended.
pub(crate) fn add_appender(queues: &Queues, appender: Appender) {
    queues.add("append_requests", move || Some(appender.fill()));
}

/// Records that wait for the lake's commit.
pub(crate) fn add_lake(queues: &Queues, lake: LakeStatus, memory_max: u64) {
    queues.add("lake_bytes", move || {
        Some(Fill::new(lake.buffered_bytes(), memory_max))
    });
}

/// Blocks whose records are on their way to the brokers.
pub(crate) fn add_feed(queues: &Queues, workers: FeedWorkers, blocks_max: usize) {
    queues.add("feed_blocks", move || {
        let status = FeedStatus::of_all(workers.iter().map(|worker| worker.status.read()));
        let limit = blocks_max.saturating_mul(workers.len());
        Some(Fill::new(status.in_flight_blocks, limit as u64))
    });
}

pub(crate) fn add_disk(queues: &Queues, name: &'static str, folder: PathBuf) {
    queues.add(name, move || fill_of(&folder).ok());
}
