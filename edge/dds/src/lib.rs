//! Cyclone DDS without compile-time types: discovery, raw readers, raw writers.
//!
//! In:  what writers announce on the bus, and their samples as the CDR bytes that came over the wire.
//! Out: [`DiscoveryEvent`]s; the types that writers announce, by [`TypeLookup`]; [`Sample`]s in the order of reception out of one bounded [`Ring`]; counts of all that was not kept.
//!
//! Absent: the meaning of a payload (a caller's [`KeyOf`] finds the key in it), SAL, clocks other than stamps of reception, tokio.
//! All `unsafe` of the edge is here, and nothing else names Cyclone.
//!
//! Invariants:
//! - **The bus is never held up.** Readers have no limit that can fill and are emptied in the thread that received the sample,
//!   which takes no lock of ours and never waits for the consumer: where the ring is full the new sample is dropped and counted.
//! - A payload is copied once, out of the receive buffer. The ring links those copies; it allocates nothing per sample.
//! - Instances of a keyed type are never merged across writers: the key comes from the caller, else from the wire's key hash,
//!   else it is the writer (and that is counted).
//! - What the library calls back into stays alive until the library has confirmed that no call is under way.
//! - No panic crosses into C.

mod clock;
mod config;
mod discovery;
mod error;
mod log;
mod participant;
mod pause;
mod qos;
mod raw;
mod reader;
mod ring;
mod sched;
mod types;
mod writer;

pub use crate::clock::Reception;
pub use crate::config::{DomainConfig, Multicast, VendorId};
pub use crate::discovery::{
    Discovery, DiscoveryEvent, Guid, ParticipantInfo, WRITERS_MAX, WriterInfo,
};
pub use crate::error::{CloseError, ConfigError, DdsCode, EntityError, OpenError, WriteError};
pub use crate::participant::Participant;
pub use crate::pause::{Pause, PauseDetector, PauseWatch};
pub use crate::qos::{Durability, History, Ownership, Reliability, Representation};
pub use crate::raw::{InstanceKey, KeyBuf, KeyOf, Keying, PayloadKind};
pub use crate::reader::{
    IncompatibleQos, InvalidSamples, Reader, ReaderCounters, ReaderSpec, ReaderStatus,
};
pub use crate::ring::{
    Consumer, Dropped, InstanceState, ReaderId, Ring, RingCounters, RingLimits, RingWaker, Sample,
};
pub use crate::types::{AnnouncedType, LookupError, TypeLookup};
pub use crate::writer::{Writer, WriterSpec};
