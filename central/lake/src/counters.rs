use efd_shared_model::UtcNanos;

/// Since the lake was opened, except where a field says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Counters {
    pub blocks: u64,
    pub records: u64,
    /// Blocks that had been taken before.
    pub duplicate_blocks: u64,
    /// Rows of `efd.rejected`: records that their schema does not decode.
    pub rejected_records: u64,
    /// Blocks that could not be opened: one row of `efd.rejected` each.
    pub rejected_blocks: u64,
    pub commits: u64,
    pub files_added: u64,
    pub files_removed: u64,
    pub rows_written: u64,
    pub bytes_written: u64,
    /// Attempts at a commit that failed and will be made again. An alert.
    pub commit_failures: u64,
    /// Of these, for want of space.
    pub no_space: u64,
    /// Files that the newest commit names and that were nowhere when the lake was opened. An alert: data are gone.
    pub files_missing: u64,
    /// Parts that were made whole, and rows that were put in from blocks for that.
    pub parts_restored: u64,
    pub rows_restored: u64,
    /// At this moment.
    pub buffered_records: u64,
    /// At this moment, as kept.
    pub buffered_bytes: u64,
    /// Of the newest commit, whoever made it.
    pub last_commit: Option<UtcNanos>,
    /// When the oldest record that is not committed was taken.
    pub oldest_uncommitted: Option<UtcNanos>,
}
