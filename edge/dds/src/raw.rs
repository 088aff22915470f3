//! The raw type: the library carries a sample as the bytes that came over the wire, and knows of them only a key.
//!
//! [`sertype`] is what a topic is made with, [`serdata`] one sample, [`fragments`] the way out of the receive buffer, [`key`] how
//! instances are told apart.

mod fragments;
mod key;
mod serdata;
mod sertype;

pub use self::key::{InstanceKey, KeyBuf, KeyOf, Keying, PayloadKind};

pub(crate) use self::fragments::layout_agrees;
pub(crate) use self::serdata::{Link, PAYLOAD_BYTES_MAX, RawData, build};
pub(crate) use self::sertype::{RawType, TypeCounters, TypeRef};
