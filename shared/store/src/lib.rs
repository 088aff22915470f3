//! Blocks on disk: SQLite segments, their order of truth, and what retention removes.
//!
//! In:  declarations, sealed blocks for a lane, a value to be set with them; acknowledgements.
//! Out: positions once blocks are durable; blocks by position or name; a plan of what may leave; what is damaged.
//!
//! Absent: clocks (time is an argument), threads (the caller brings one that writes and any number that read), what is
//! inside a block. `STORE.md` beside this crate's manifest has the files.
//!
//! Invariants:
//! - What [`Store::append`] said `Ok` to is read back, byte by byte and in order, or is named: [`Item::Damaged`],
//!   [`Item::Absent`], [`Recovery`].
//! - A position is given once: no restart, failure or removal gives it to another block.
//! - A segment alone is readable: it has the declarations of its blocks.
//! - Nothing damaged is deleted, and nothing damaged keeps a store from opening.

mod catalogue;
mod declare;
mod disk;
mod error;
mod lane;
mod meta;
mod options;
mod read_only;
mod reader;
mod recover;
mod reserve;
pub mod retention;
mod sealed;
mod segment;
mod store;
mod verify;
mod wal;

/// SQLite files opened, made, named and removed with the store's settings: for a crate with files of its own beside the
/// segments.
pub mod database {
    pub use crate::declare::decompress_schema;
    pub use crate::disk::{
        Access, Disk, FileKind, Header, checkpoint, database_bytes, file_bytes, read_header,
        with_suffix,
    };
    pub use crate::error::{chain, file, sql};
    pub use crate::sealed::{seal, unseal, wrong_value};
}

pub use disk::FORMAT;
pub use error::{StoreError, Undeclared};
pub use lane::{LANE_NAME_CHARS_MAX, LaneName, LaneNameError, Position, SegmentKey};
pub use meta::Acked;
pub use options::Options;
#[cfg(feature = "sabotage")]
pub use options::{Sabotage, Witness};
pub use read_only::{Notice, ReadOnlyStore};
pub use reader::{Damaged, Item, Reader};
pub use recover::{DamagedSegment, Recovery, SetAside};
pub use segment::scan::{BlockSpan, DamageReason, Tally};
pub use segment::{Contents, LaneContents, SegmentInfo, SegmentState};
pub use store::Store;
pub use verify::{Depth, Finding, Progress, Severity, Subject, verify};
