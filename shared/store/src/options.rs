//! How a store is to behave.

use std::time::Duration;

#[derive(Clone, Debug)]
pub struct Options {
    /// A segment is closed when it has this many bytes of blocks.
    pub segment_bytes_max: u64,
    /// A segment is closed this long after its first block, so that retention by age is no coarser.
    pub segment_age_max: Duration,
    /// Bytes in a WAL file after which it is copied into its database. More means fewer and longer pauses of the writer.
    pub wal_bytes_max: u64,
    /// A file of this size is given up when the disk is full, so that the last commits, a loss among them, still fit.
    /// A commit needs its blocks' bytes and about 64 KiB; a removal 64 KiB. 0 keeps none.
    pub reserve_bytes: u64,
    /// Decompress each block and check its digest before it is written. The edge seals its own blocks and may do without.
    pub verify_on_append: bool,
    #[cfg(feature = "sabotage")]
    pub sabotage: Sabotage,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            segment_bytes_max: 128 << 20,
            segment_age_max: Duration::from_secs(3600),
            wal_bytes_max: 16 << 20,
            reserve_bytes: 16 << 20,
            verify_on_append: false,
            #[cfg(feature = "sabotage")]
            sabotage: Sabotage::default(),
        }
    }
}

/// Faults for tests.
#[cfg(feature = "sabotage")]
#[derive(Clone, Debug, Default)]
pub struct Sabotage {
    /// `synchronous=OFF`: what `append` said is durable is not.
    pub no_fsync: bool,
    /// The SQLite VFS by name; its default where `None`.
    pub vfs: Option<String>,
    /// Told of every change of a folder that does not go through SQLite.
    pub witness: Option<std::sync::Arc<dyn Witness>>,
}

/// What the store does to folders itself. A call may refuse: the store then sees that error.
#[cfg(feature = "sabotage")]
pub trait Witness: Send + Sync + std::fmt::Debug {
    /// The names in the folder are about to become durable.
    fn sync_dir(&self, path: &std::path::Path) -> std::io::Result<()>;
    fn rename(&self, from: &std::path::Path, to: &std::path::Path) -> std::io::Result<()>;
    fn unlink(&self, path: &std::path::Path) -> std::io::Result<()>;
}
