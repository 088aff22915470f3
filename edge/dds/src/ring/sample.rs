//! A sample in the consumer's hands.

use std::fmt;
use std::ptr::NonNull;
use std::sync::Arc;

use cyclonedds_sys as dds;

use super::{ReaderId, Shared};
use crate::clock::Reception;
use crate::raw::{InstanceKey, Link, RawData};

/// State of the instance after the sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InstanceState {
    /// It has a writer.
    Alive,
    /// A writer disposed of it.
    Disposed,
    /// The last writer has left it, or is gone.
    NoWriters,
}

/// One sample as it came over the wire. Counts against the ring's limits until dropped: copy the payload to keep it.
pub struct Sample {
    data: NonNull<RawData>,
    shared: Arc<Shared>,
}

// SAFETY: nothing in a sample is written while a `Sample` exists, and its reference count is atomic.
unsafe impl Send for Sample {}
// SAFETY: as above; all methods only read.
unsafe impl Sync for Sample {}

impl Sample {
    /// Takes over the ring's reference and claim.
    pub(super) fn new(data: NonNull<RawData>, shared: Arc<Shared>) -> Self {
        Self { data, shared }
    }

    fn link(&self) -> &Link {
        // SAFETY: alive and claimed until `drop`; the link is not written while it is claimed for a consumer.
        unsafe { &*RawData::link(self.data) }
    }

    /// CDR with its 4-byte encapsulation header, and up to 3 bytes of padding behind, as the wire carries whole words. Empty for a
    /// dispose or unregister without data. Padding inside and behind may be anything: never compare or hash whole payloads.
    pub fn payload(&self) -> &[u8] {
        // SAFETY: our reference is held until `drop`.
        unsafe { RawData::payload(self.data.as_ptr()) }
    }

    /// Which instance, among those of the topic.
    pub fn key(&self) -> InstanceKey {
        // SAFETY: our reference is held until `drop`.
        unsafe { RawData::key(self.data.as_ptr()) }
    }

    /// The reader that received it.
    pub fn reader(&self) -> ReaderId {
        ReaderId(self.link().reader)
    }

    /// `false`: no data, the instance changed its state.
    pub fn valid(&self) -> bool {
        self.link().valid
    }

    /// State of the instance when the sample was taken over.
    pub fn instance_state(&self) -> InstanceState {
        match self.link().instance_state {
            dds::dds_instance_state_DDS_IST_NOT_ALIVE_DISPOSED => InstanceState::Disposed,
            dds::dds_instance_state_DDS_IST_NOT_ALIVE_NO_WRITERS => InstanceState::NoWriters,
            _alive => InstanceState::Alive,
        }
    }

    /// The library's number of the instance, in this participant.
    pub fn instance_handle(&self) -> u64 {
        self.link().instance_handle
    }

    /// The writer, as [`WriterInfo::handle`](crate::WriterInfo) names it.
    pub fn publication_handle(&self) -> u64 {
        self.link().publication_handle
    }

    /// When it was written, ns since 1970 by the writer's clock; `None` where the writer says nothing.
    pub fn source_timestamp_ns(&self) -> Option<i64> {
        Some(self.link().source_timestamp_ns).filter(|ns| *ns > 0 && *ns != i64::MAX)
    }

    /// When it was taken over from the receive thread.
    pub fn received(&self) -> Reception {
        self.link().received
    }
}

impl Drop for Sample {
    fn drop(&mut self) {
        // SAFETY: gives back what `new` took over; nothing uses the sample afterwards.
        unsafe { self.shared.finish(self.data) };
    }
}

impl fmt::Debug for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sample")
            .field("reader", &self.reader())
            .field("bytes", &self.payload().len())
            .field("key", &self.key())
            .field("valid", &self.valid())
            .field("instance_state", &self.instance_state())
            .finish_non_exhaustive()
    }
}
