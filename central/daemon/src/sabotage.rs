//! Promises broken on purpose, to see the tests that guard them turn red, and deaths at chosen moments. Test builds only.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Result, bail};
use efd_shared_model::ids::EpochLane;
use efd_shared_model::{BlockNumber, LaneKind, SealedBlock};
use tokio::sync::mpsc;

use crate::appender::Durable;

#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sabotage {
    /// Acknowledge before the log has it.
    pub(crate) ack_early: bool,
    pub(crate) append_delay: Duration,
    /// Some blocks of telemetry are acknowledged, and the log never has them.
    pub(crate) swallow: bool,
    /// The feed reads nothing back after a crash.
    pub(crate) no_dedup: bool,
    /// The process dies when records are in public topics that no checkpoint has.
    pub(crate) dies_before_checkpoint: bool,
}

impl Sabotage {
    pub(crate) fn parse(words: &[String]) -> Result<Self> {
        let mut sabotage = Self {
            append_delay: Duration::from_secs(3600),
            ..Self::default()
        };
        for word in words {
            match word.as_str() {
                "ack-early" => sabotage.ack_early = true,
                "swallow" => sabotage.swallow = true,
                "no-dedup" => sabotage.no_dedup = true,
                "die-after-append" => DIES_AFTER_APPEND.store(true, Ordering::Relaxed),
                "die-before-checkpoint" => sabotage.dies_before_checkpoint = true,
                other => bail!(
                    "--sabotage {other}: there are ack-early, swallow, no-dedup, die-after-append, die-before-checkpoint"
                ),
            }
        }
        Ok(sabotage)
    }
}

static DIES_AFTER_APPEND: AtomicBool = AtomicBool::new(false);
/// By then an edge has been told of some.
const APPENDS: u64 = 100;

/// Blocks are durable, and no edge has been told.
pub(crate) fn appended(appends: u64) {
    if APPENDS < appends && DIES_AFTER_APPEND.load(Ordering::Relaxed) {
        std::process::abort();
    }
}

/// Of the first blocks of telemetry some, each once.
pub(crate) fn swallows(block: &SealedBlock) -> bool {
    static TELEMETRY: AtomicU64 = AtomicU64::new(0);
    let is_telemetry = block.id().lane.lane.kind == LaneKind::Telemetry;
    is_telemetry && [20, 21, 40].contains(&TELEMETRY.fetch_add(1, Ordering::Relaxed))
}

pub(crate) async fn say_durable(
    replies: &mpsc::Sender<Durable>,
    lane: EpochLane,
    number: BlockNumber,
) {
    if replies
        .send(Durable::Appended { lane, number })
        .await
        .is_err()
    {
        tracing::debug!("The connection is gone");
    }
}
