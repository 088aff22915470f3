//! Blocks just committed, so that shipping the present does not read the disk.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use efd_shared_model::{BlockId, SealedBlock};

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
