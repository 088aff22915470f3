use std::time::Duration;

use efd_shared_model::UtcNanos;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Everything is committed when the oldest record that is not is this old: how late a row may be visible.
    pub commit_after: Duration,
    /// Of records that wait for a commit, compressed as they are kept. Reaching it commits.
    pub memory_bytes: usize,
    /// zstd, of the files' pages.
    pub compression_level: i32,
    /// Commits between two hints at where the chain ends, which bound the work of opening the lake.
    pub checkpoint_every: u64,
    /// A day is compacted when it is over and nothing was added to it for so long. What the lake added to before it was
    /// opened is known of yesterday only.
    pub compact_after: Duration,
    /// Files that compaction has replaced are kept this long, for queries that run.
    pub grace: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            commit_after: Duration::from_secs(60),
            memory_bytes: 256 << 20,
            compression_level: 3,
            checkpoint_every: 64,
            compact_after: Duration::from_secs(3600),
            grace: Duration::from_secs(3600),
        }
    }
}

/// What the clocks say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Now {
    /// Since any fixed point: timers compare these.
    pub monotonic: Duration,
    /// Written into commits.
    pub utc: UtcNanos,
}
