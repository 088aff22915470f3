//! A sealed file: blocks on their way to a centre where there is no network. `PARCEL.md` of this crate has its bytes.
//!
//! It keeps what it carries from being altered by accident: every entry has a checksum, the end has one of all, and a block
//! its own digest besides. Who may deliver it is not its matter: that is in the certificate with which it is sent.

mod read;
mod write;

pub use read::{OpenError, Parcel, is_parcel};
pub(crate) use write::seal;

const MAGIC: [u8; 4] = *b"EFDP";
const VERSION: u16 = 1;
/// Magic, version, and a checksum of both.
const HEADER_BYTES: usize = 14;

/// Kind, length of the body.
const ENTRY_HEADER_BYTES: usize = 5;
const CHECKSUM_BYTES: usize = 8;
/// Epoch, lane, number: what comes before a block's bytes.
const BLOCK_KEY_BYTES: usize = 27;

const SCHEMA: u8 = 1;
const EPOCH: u8 = 2;
const BLOCK: u8 = 3;
const END: u8 = 4;

/// A longer body is damage: a block's 32 MiB and its header.
const BODY_BYTES_MAX: usize = 34 << 20;
