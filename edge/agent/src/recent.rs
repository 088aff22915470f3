//! Blocks just committed, so that shipping the present does not read the disk.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use efd_edge_ship::{Source, SourceError};
use efd_shared_model::{BlockId, EpochId, Schema, SealedBlock, StreamDeclaration, StreamNumber};
use efd_shared_store::Reader;

#[derive(Debug)]
pub struct Recent {
    bytes_max: usize,
    blocks: Mutex<Blocks>,
}

#[derive(Debug, Default)]
struct Blocks {
    by_id: HashMap<BlockId, SealedBlock>,
    /// Oldest first.
    order: VecDeque<BlockId>,
    bytes: usize,
}

impl Recent {
    /// Holds at most about `bytes_max`.
    pub fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            blocks: Mutex::default(),
        }
    }

    fn blocks(&self) -> MutexGuard<'_, Blocks> {
        self.blocks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn put(&self, block: SealedBlock) {
        let mut blocks = self.blocks();
        let (id, bytes) = (block.id(), block.bytes().len());
        if blocks.by_id.insert(id, block).is_none() {
            blocks.order.push_back(id);
            blocks.bytes += bytes;
        }
        while blocks.bytes > self.bytes_max {
            let Some(oldest) = blocks.order.pop_front() else {
                return;
            };
            if let Some(block) = blocks.by_id.remove(&oldest) {
                blocks.bytes -= block.bytes().len();
            }
        }
    }

    pub fn get(&self, id: &BlockId) -> Option<SealedBlock> {
        self.blocks().by_id.get(id).cloned()
    }
}

/// The buffer, with what was just committed at hand.
#[derive(Debug)]
pub struct RecentFirst {
    pub recent: Arc<Recent>,
    pub reader: Reader,
}

impl Source for RecentFirst {
    fn block(&mut self, id: &BlockId) -> Result<SealedBlock, SourceError> {
        match self.recent.get(id) {
            Some(block) => Ok(block),
            None => Source::block(&mut self.reader, id),
        }
    }

    fn streams(
        &mut self,
        epoch: EpochId,
        first: StreamNumber,
        through: StreamNumber,
    ) -> Result<Vec<(StreamDeclaration, Schema)>, SourceError> {
        Source::streams(&mut self.reader, epoch, first, through)
    }
}
