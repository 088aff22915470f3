//! What one thread answers from: its own connections to the buffer and to the tiers.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use efd_edge_tiers::TierSettings;
use efd_shared_store::Reader;
use efd_shared_store::database::Disk;

use crate::activity::Activity;
use crate::catalogue::Catalogue;
use crate::error::QueryError;
use crate::tiered::Shelf;

/// What an answer may cost.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub within: Duration,
    /// Of one answer that is made in memory: rows times columns.
    pub values_max: usize,
    /// Of an answer's text.
    pub bytes_max: usize,
    /// Of what one question holds while it is answered.
    pub memory_max: usize,
    /// Raw records are read without being asked for by name as long as their blocks have no more bytes than this.
    pub raw_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            within: Duration::from_secs(30),
            values_max: 2_000_000,
            bytes_max: 64 << 20,
            memory_max: 64 << 20,
            raw_bytes: 256 << 20,
        }
    }
}

/// Where the data are.
#[derive(Clone, Debug)]
pub struct Holdings {
    /// The buffer's folder.
    pub folder: PathBuf,
    /// Finest first.
    pub tiers: Vec<TierSettings>,
    pub activity: Arc<Activity>,
    pub limits: Limits,
}

/// Asked now and then during long work: an error when it is to end.
pub trait Budget {
    fn check(&self) -> Result<(), QueryError>;
}

#[derive(Debug)]
pub struct Library {
    pub(crate) holdings: Holdings,
    pub(crate) reader: Reader,
    pub(crate) catalogue: Catalogue,
    pub(crate) shelf: Shelf,
}

impl Library {
    pub fn new(holdings: Holdings, reader: Reader) -> Self {
        let shelf = Shelf::new(&holdings.folder, &holdings.tiers, Disk::default());
        Self {
            holdings,
            reader,
            catalogue: Catalogue::default(),
            shelf,
        }
    }

    pub fn limits(&self) -> Limits {
        self.holdings.limits
    }
}
