//! A block's uni stream: two bytes of header, then the sealed block's bytes to the end of the stream.

use bytes::Bytes;
use efd_shared_model::{BlockError, SealedBlock};

use crate::limits::{BLOCK_BYTES_MAX, BLOCK_NUMBER_MAX, BLOCK_STREAM_BYTES_MAX};

pub const HEADER_BYTES: usize = 2;
/// The first byte of a uni stream says what it carries.
const KIND_BLOCK: u8 = 1;

/// Whether a block came fresh or as back-fill.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Class {
    Live = 1,
    Fill = 2,
}

impl Class {
    /// What goes out before the block's bytes.
    pub fn header(self) -> [u8; HEADER_BYTES] {
        [KIND_BLOCK, self as u8]
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BlockStreamError {
    #[error("block stream of {bytes} bytes, at most {BLOCK_STREAM_BYTES_MAX} are taken")]
    TooLarge { bytes: usize },
    #[error("block stream ends after {bytes} bytes, its header has {HEADER_BYTES}")]
    Truncated { bytes: usize },
    #[error("uni stream of kind {0}, {KIND_BLOCK} is a block")]
    Kind(u8),
    #[error("block of class {0}, 1 is live and 2 fill")]
    Class(u8),
    #[error("block number {number}, at most {BLOCK_NUMBER_MAX} is taken")]
    Number { number: u64 },
    #[error("{0}")]
    Block(#[from] BlockError),
}

/// A block as it came, its digest checked: what [`CentreSession::handle_block`](crate::CentreSession::handle_block) takes.
#[derive(Clone, Debug)]
pub struct ReceivedBlock {
    class: Class,
    block: SealedBlock,
}

impl ReceivedBlock {
    /// Reads all that a finished stream held. Decompresses to check the digest: up to 32 MiB of work, fit for any thread.
    pub fn check(stream: Bytes) -> Result<Self, BlockStreamError> {
        if stream.len() > BLOCK_STREAM_BYTES_MAX {
            return Err(BlockStreamError::TooLarge {
                bytes: stream.len(),
            });
        }
        let Some(&[kind, class]) = stream.first_chunk::<HEADER_BYTES>() else {
            return Err(BlockStreamError::Truncated {
                bytes: stream.len(),
            });
        };
        if kind != KIND_BLOCK {
            return Err(BlockStreamError::Kind(kind));
        }
        let class = match class {
            1 => Class::Live,
            2 => Class::Fill,
            other => return Err(BlockStreamError::Class(other)),
        };
        let block = SealedBlock::parse(stream.slice(HEADER_BYTES..))?;
        let number = block.id().number.0;
        if number > BLOCK_NUMBER_MAX {
            return Err(BlockStreamError::Number { number });
        }
        block.verify()?;
        Ok(Self { class, block })
    }

    pub fn class(&self) -> Class {
        self.class
    }

    pub fn block(&self) -> &SealedBlock {
        &self.block
    }

    pub fn into_block(self) -> SealedBlock {
        self.block
    }
}

/// The bytes that credit and windows count: the sealed block's, without the stream's header.
pub(crate) fn counted_bytes(block: &SealedBlock) -> u64 {
    debug_assert!(block.bytes().len() <= BLOCK_BYTES_MAX);
    block.bytes().len() as u64
}
