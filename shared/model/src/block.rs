//! The block: the records that one commit adds to one lane. The unit of durability, shipping, acknowledgement,
//! checksum and de-duplication. `BLOCK.md` has the bytes.
//!
//! [`BlockBuilder`] collects records and seals them; a [`SealedBlock`] is bytes with a checked header, cheap to
//! clone and pass on; [`SealedBlock::open`] checks the digest and gives the records.

mod builder;
mod open;
#[cfg(test)]
mod tests;

use std::io::Read as _;

use bytes::Bytes;
use xxhash_rust::xxh3::Xxh3Default;

use crate::bytes::{ByteError, Reader, Writer};
use crate::clock::ClockState;
use crate::ids::{BlockId, BlockNumber, EdgeId, EpochId, EpochLane, Lane, LaneKind, StreamNumber};
use crate::time::UtcNanos;

pub use builder::{BlockBuilder, Codec};
pub use open::{Block, Records, Section};

pub const MAGIC: [u8; 4] = *b"EFDB";
pub const VERSION: u8 = 1;
/// A payload is decompressed whole: this bounds the memory that hostile bytes can ask for.
pub const PAYLOAD_BYTES_MAX: usize = 32 << 20;
pub const RECORDS_MAX: usize = 1 << 20;
pub const SECTIONS_MAX: usize = 1 << 16;
/// The largest datum that a block takes: a record never fails to fit an empty block.
pub const DATUM_BYTES_MAX: usize = 16 << 20;
const _: () = assert!(DATUM_BYTES_MAX + 1024 < PAYLOAD_BYTES_MAX);

/// Looked at before a block is opened: the table of 3,000 streams fits. Zstandard decompresses 128 KiB at a time.
const BEGINNING_BYTES: usize = 64 << 10;

const PRELUDE_BYTES: usize = 32;
const HEADER_BYTES: usize = 72 + 46;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BlockError {
    #[error("not a block: begins with {found:02x?}, expected {MAGIC:02x?}")]
    Magic { found: [u8; 4] },
    #[error("block version {found}, this build reads up to {VERSION}")]
    TooNew { found: u8 },
    #[error("block codec {0} is not known")]
    Codec(u8),
    #[error("block of {found} bytes says that it has {stated}")]
    Length { found: usize, stated: usize },
    #[error("payload of {found} bytes, at most {PAYLOAD_BYTES_MAX} are taken")]
    TooLarge { found: usize },
    #[error("block {id}: digest {found:032x}, its content has {computed:032x}")]
    Digest {
        id: BlockId,
        found: u128,
        computed: u128,
    },
    #[error("decompress block {id}: {reason}")]
    Decompress { id: BlockId, reason: String },
    #[error("block {id}: {what}: header says {stated}, payload has {found}")]
    Disagrees {
        id: BlockId,
        what: &'static str,
        stated: u64,
        found: u64,
    },
    #[error("read block: {0}")]
    Bytes(#[from] ByteError),
}

/// What every hop may know without decompressing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockHeader {
    pub id: BlockId,
    pub records: u32,
    pub sections: u32,
    /// The largest stream number used: its declaration, and those of all smaller ones, must be known first.
    pub streams_through: StreamNumber,
    pub event_time_min: UtcNanos,
    pub event_time_max: UtcNanos,
    /// The edge's clock when the block was sealed.
    pub clock: ClockState,
}

impl BlockHeader {
    fn write(&self, out: &mut Writer) {
        let Self {
            id,
            records,
            sections,
            streams_through,
            event_time_min,
            event_time_max,
            clock,
        } = self;
        let BlockId {
            lane: EpochLane { edge, epoch, lane },
            number,
        } = id;
        out.raw(&edge.0);
        out.raw(&epoch.0);
        out.u8(lane.kind as u8);
        out.u8(0);
        out.u16(lane.shard);
        out.u64(number.0);
        out.u32(*records);
        out.u32(*sections);
        out.u32(streams_through.0);
        out.i64(event_time_min.0);
        out.i64(event_time_max.0);
        clock.write(out);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, ByteError> {
        let edge = EdgeId(reader.array()?);
        let epoch = EpochId(reader.array()?);
        let kind = LaneKind::from_u8(reader.u8()?).ok_or_else(|| reader.invalid("lane"))?;
        if reader.u8()? != 0 {
            return Err(reader.invalid("reserved byte"));
        }
        let lane = Lane {
            kind,
            shard: reader.u16()?,
        };
        let number = BlockNumber(reader.u64()?);
        let header = Self {
            id: EpochLane { edge, epoch, lane }.block(number),
            records: reader.u32()?,
            sections: reader.u32()?,
            streams_through: StreamNumber(reader.u32()?),
            event_time_min: UtcNanos(reader.i64()?),
            event_time_max: UtcNanos(reader.i64()?),
            clock: ClockState::read(reader)?,
        };
        let sane = number.0 > 0
            && header.records > 0
            && header.records as usize <= RECORDS_MAX
            && header.sections > 0
            && header.sections as usize <= SECTIONS_MAX
            && header.event_time_min <= header.event_time_max;
        if sane {
            Ok(header)
        } else {
            Err(reader.invalid("block header"))
        }
    }
}

/// A block as stored and shipped: its header has been read, its content not yet checked.
#[derive(Clone, PartialEq, Eq)]
pub struct SealedBlock {
    bytes: Bytes,
    header: BlockHeader,
    header_bytes: usize,
    codec: Codec,
    payload_bytes: usize,
    digest: u128,
}

impl SealedBlock {
    /// Reads the header. The content is checked by [`Self::open`] or [`Self::verify`].
    pub fn parse(bytes: Bytes) -> Result<Self, BlockError> {
        let mut reader = Reader::new(&bytes);
        let found = reader.array()?;
        if found != MAGIC {
            return Err(BlockError::Magic { found });
        }
        let version = reader.u8()?;
        if version != VERSION {
            return Err(BlockError::TooNew { found: version });
        }
        let codec = reader.u8()?;
        let codec = Codec::from_u8(codec).ok_or(BlockError::Codec(codec))?;
        let header_bytes = usize::from(reader.u16()?);
        let payload_bytes = reader.u32()? as usize;
        let stored_bytes = reader.u32()? as usize;
        let digest = u128::from_le_bytes(reader.array()?);
        if payload_bytes > PAYLOAD_BYTES_MAX {
            return Err(BlockError::TooLarge {
                found: payload_bytes,
            });
        }
        let stated = PRELUDE_BYTES + header_bytes + stored_bytes;
        if stated != bytes.len() {
            return Err(BlockError::Length {
                found: bytes.len(),
                stated,
            });
        }
        let mut header_reader = Reader::new(reader.take(header_bytes)?);
        let header = BlockHeader::read(&mut header_reader)?;
        header_reader.finish()?;
        Ok(Self {
            bytes,
            header,
            header_bytes,
            codec,
            payload_bytes,
            digest,
        })
    }

    pub fn id(&self) -> BlockId {
        self.header.id
    }

    pub fn header(&self) -> &BlockHeader {
        &self.header
    }

    /// What is stored and shipped.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    pub fn codec(&self) -> Codec {
        self.codec
    }

    /// Bytes of the payload before compression.
    pub fn payload_bytes(&self) -> usize {
        self.payload_bytes
    }

    /// XXH3-128 of the frozen content; equal digests of one block at edge and centre prove that nothing was altered.
    pub fn digest(&self) -> u128 {
        self.digest
    }

    fn frozen_header(&self) -> &[u8] {
        &self.bytes[PRELUDE_BYTES..PRELUDE_BYTES + self.header_bytes]
    }

    fn stored_payload(&self) -> &[u8] {
        &self.bytes[PRELUDE_BYTES + self.header_bytes..]
    }

    /// Decompresses and checks the digest, without looking at the records.
    fn payload(&self) -> Result<Bytes, BlockError> {
        let payload = match self.codec {
            Codec::None => self.bytes.slice(PRELUDE_BYTES + self.header_bytes..),
            Codec::Zstd => zstd::bulk::decompress(self.stored_payload(), self.payload_bytes)
                .map_err(|error| self.undecodable(&error))?
                .into(),
        };
        let computed = digest(self.frozen_header(), &payload);
        if payload.len() != self.payload_bytes {
            let (stated, found) = (self.payload_bytes as u64, payload.len() as u64);
            return Err(BlockError::Disagrees {
                id: self.header.id,
                what: "bytes of payload",
                stated,
                found,
            });
        }
        if computed != self.digest {
            return Err(BlockError::Digest {
                id: self.header.id,
                found: self.digest,
                computed,
            });
        }
        Ok(payload)
    }

    /// Checks the digest.
    pub fn verify(&self) -> Result<(), BlockError> {
        self.payload().map(drop)
    }

    /// Checks the digest and everything a reader of the records relies on.
    pub fn open(&self) -> Result<Block, BlockError> {
        Block::new(self.header, self.payload()?)
    }

    /// As [`Self::open`]; `None` where its table names no stream that is wanted. That is seen in the beginning of the
    /// payload, and then the rest is not decompressed and no digest is checked.
    pub fn open_if(
        &self,
        mut is_wanted: impl FnMut(StreamNumber) -> bool,
    ) -> Result<Option<Block>, BlockError> {
        let streams = match self.codec {
            Codec::None => open::streams_of(&self.header, self.stored_payload())?,
            Codec::Zstd => {
                let beginning = self.beginning().map_err(|error| self.undecodable(&error))?;
                open::streams_of(&self.header, &beginning)?
            }
        };
        let is_other = streams.is_some_and(|mut streams| !streams.any(&mut is_wanted));
        if is_other {
            return Ok(None);
        }
        self.open().map(Some)
    }

    /// As much of a compressed payload as holds the table of most blocks.
    fn beginning(&self) -> std::io::Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(BEGINNING_BYTES);
        zstd::stream::read::Decoder::with_buffer(self.stored_payload())?
            .take(BEGINNING_BYTES as u64)
            .read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn undecodable(&self, error: &std::io::Error) -> BlockError {
        BlockError::Decompress {
            id: self.header.id,
            reason: error.to_string(),
        }
    }
}

impl std::fmt::Debug for SealedBlock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "SealedBlock({}, {} records, {} bytes)",
            self.header.id,
            self.header.records,
            self.bytes.len()
        )
    }
}

fn digest(header: &[u8], payload: &[u8]) -> u128 {
    let mut hasher = Xxh3Default::new();
    hasher.update(header);
    hasher.update(payload);
    hasher.digest128()
}

/// Prelude, header, payload; compressed where that makes it smaller.
fn assemble(header: &BlockHeader, payload: &[u8], codec: Codec, level: i32) -> SealedBlock {
    let mut frozen = Writer::new();
    header.write(&mut frozen);
    debug_assert_eq!(frozen.len(), HEADER_BYTES);
    let digest = digest(frozen.as_bytes(), payload);
    let compressed = match codec {
        Codec::None => None,
        Codec::Zstd => zstd::bulk::compress(payload, level)
            .ok()
            .filter(|smaller| smaller.len() < payload.len()),
    };
    let (codec, stored) = match &compressed {
        Some(smaller) => (Codec::Zstd, smaller.as_slice()),
        None => (Codec::None, payload),
    };
    let mut out = Writer::new();
    out.raw(&MAGIC);
    out.u8(VERSION);
    out.u8(codec as u8);
    out.u16(frozen.len() as u16);
    out.u32(payload.len() as u32);
    out.u32(stored.len() as u32);
    out.raw(&digest.to_le_bytes());
    out.raw(frozen.as_bytes());
    out.raw(stored);
    SealedBlock {
        bytes: out.into_bytes().into(),
        header: *header,
        header_bytes: frozen.len(),
        codec,
        payload_bytes: payload.len(),
        digest,
    }
}
