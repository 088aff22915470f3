//! Raw writers, for publishing payloads that someone else encoded.

use std::ptr;
use std::sync::Arc;
use std::time::Duration;

use cyclonedds_sys as dds;

use crate::clock;
use crate::error::{DdsCode, EntityError, WriteError};
use crate::participant::Inner;
use crate::qos::{Durability, History, Ownership, Qos, Reliability, Representation, c_name};
use crate::raw::{
    Keying, PAYLOAD_BYTES_MAX, PayloadKind, RawData, RawType, TypeCounters, TypeRef, build,
};
use crate::reader::create_topic;

/// Status bits of a sample, as the protocol has them.
const DISPOSE: u32 = 1;
const UNREGISTER: u32 = 2;

/// What to write, and how.
#[derive(Clone, Debug)]
pub struct WriterSpec {
    /// Topic name as on the bus.
    pub topic: String,
    /// Type name as on the bus.
    pub type_name: String,
    /// Keys; a keyed writer needs a [`KeyOf`](crate::KeyOf).
    pub keying: Keying,
    /// Partitions; none is the default partition.
    pub partitions: Vec<String>,
    /// Defaults to reliable with 100 ms.
    pub reliability: Reliability,
    /// Defaults to volatile.
    pub durability: Durability,
    /// Defaults to shared.
    pub ownership: Ownership,
    /// Samples per instance kept for readers that are behind. Defaults to keep all.
    pub history: History,
    /// Samples per instance kept for late joiners, if `durability` says so. Defaults to the last one.
    pub durability_service: History,
    /// How payloads are encoded. Defaults to XCDR1.
    pub representation: Representation,
    /// Whether instances are disposed of when the writer ends. Defaults to yes.
    pub autodispose: bool,
}

impl WriterSpec {
    /// The defaults, for a keyless type.
    pub fn new(topic: impl Into<String>, type_name: impl Into<String>) -> Self {
        Self {
            topic: topic.into(),
            type_name: type_name.into(),
            keying: Keying::Keyless,
            partitions: Vec::new(),
            reliability: Reliability::Reliable {
                max_blocking: Duration::from_millis(100),
            },
            durability: Durability::Volatile,
            ownership: Ownership::Shared,
            history: History::KeepAll,
            durability_service: History::KeepLast(1),
            representation: Representation::Xcdr1,
            autodispose: true,
        }
    }
}

/// A writer. Dropped, it has left the bus when `drop` returns. May be used from several threads.
#[derive(Debug)]
pub struct Writer {
    entity: dds::dds_entity_t,
    publisher: dds::dds_entity_t,
    topic: dds::dds_entity_t,
    type_ref: TypeRef,
    max_blocking: Duration,
    inner: Arc<Inner>,
}

impl Writer {
    pub(crate) fn create(inner: &Arc<Inner>, spec: &WriterSpec) -> Result<Self, EntityError> {
        if matches!(spec.keying, Keying::Keyed(None)) {
            return Err(EntityError::KeylessWriter(spec.topic.clone()));
        }
        let topic_name = c_name(&spec.topic)?;
        let type_name = c_name(&spec.type_name)?;
        let publisher_qos = Qos::new().partitions(&spec.partitions)?;
        let writer_qos = Qos::new()
            .reliability(spec.reliability)
            .durability(spec.durability)
            .ownership(spec.ownership)
            .history(spec.history)
            .unlimited()
            .durability_service(spec.durability_service)
            .autodispose(spec.autodispose)
            .representations(&[spec.representation]);
        let open = inner.enter().ok_or(EntityError::Closed)?;
        let refused = |what| {
            move |code| EntityError::Create {
                what,
                topic: spec.topic.clone(),
                code,
            }
        };
        let sertype = RawType::create(
            &type_name,
            spec.keying.clone(),
            PAYLOAD_BYTES_MAX,
            Arc::new(TypeCounters::default()),
        );
        // SAFETY: a new type.
        let type_ref = unsafe { TypeRef::new(sertype) };
        let topic =
            create_topic(inner.participant, &topic_name, sertype).map_err(refused("topic"))?;
        // SAFETY: live entities and QoS objects, no listeners; what was created before a failure is deleted.
        unsafe {
            let publisher =
                dds::dds_create_publisher(inner.participant, publisher_qos.as_ptr(), ptr::null());
            let publisher = DdsCode::check(publisher)
                .inspect_err(|_| drop_entity(topic))
                .map_err(refused("publisher"))?;
            let entity = dds::dds_create_writer(publisher, topic, writer_qos.as_ptr(), ptr::null());
            let entity = DdsCode::check(entity)
                .inspect_err(|_| {
                    drop_entity(publisher);
                    drop_entity(topic);
                })
                .map_err(refused("writer"))?;
            drop(open);
            let max_blocking = match spec.reliability {
                Reliability::BestEffort => Duration::ZERO,
                Reliability::Reliable { max_blocking } => max_blocking,
            };
            Ok(Self {
                entity,
                publisher,
                topic,
                type_ref,
                max_blocking,
                inner: Arc::clone(inner),
            })
        }
    }

    /// Writes one sample: CDR with its 4-byte encapsulation header, which is not looked at. `source_timestamp_ns` is ns since
    /// 1970, `None` the present.
    pub fn write_cdr(
        &self,
        payload: &[u8],
        source_timestamp_ns: Option<i64>,
    ) -> Result<(), WriteError> {
        self.send(PayloadKind::Sample, payload, source_timestamp_ns, 0)
    }

    /// Disposes of the instance that `key_payload` (the key members in CDR, with encapsulation header) names.
    pub fn dispose(
        &self,
        key_payload: &[u8],
        source_timestamp_ns: Option<i64>,
    ) -> Result<(), WriteError> {
        self.send(
            PayloadKind::KeyOnly,
            key_payload,
            source_timestamp_ns,
            DISPOSE,
        )
    }

    /// Leaves the instance without disposing of it.
    pub fn unregister(
        &self,
        key_payload: &[u8],
        source_timestamp_ns: Option<i64>,
    ) -> Result<(), WriteError> {
        self.send(
            PayloadKind::KeyOnly,
            key_payload,
            source_timestamp_ns,
            UNREGISTER,
        )
    }

    /// Readers that it is connected to.
    pub fn matched_readers(&self) -> Result<u32, WriteError> {
        let mut status = dds::dds_publication_matched_status_t::default();
        // SAFETY: `status` is for the call to write; a stale handle is answered with a code.
        DdsCode::check(unsafe {
            dds::dds_get_publication_matched_status(self.entity, &raw mut status)
        })
        .map_err(|code| self.failure(code))?;
        Ok(status.current_count)
    }

    /// The writer's number in its own participant.
    pub fn handle(&self) -> Result<u64, WriteError> {
        let mut handle = 0;
        // SAFETY: as `matched_readers`.
        DdsCode::check(unsafe { dds::dds_get_instance_handle(self.entity, &raw mut handle) })
            .map_err(|code| self.failure(code))?;
        Ok(handle)
    }

    fn send(
        &self,
        kind: PayloadKind,
        payload: &[u8],
        timestamp_ns: Option<i64>,
        status: u32,
    ) -> Result<(), WriteError> {
        let timestamp_ns = timestamp_ns.unwrap_or_else(clock::realtime_ns);
        // DDS times are 32-bit seconds. Refused here, the library's `BAD_PARAMETER` has one meaning left, see below.
        if !(0..i64::from(u32::MAX) * 1_000_000_000).contains(&timestamp_ns) {
            return Err(WriteError::Timestamp(timestamp_ns));
        }
        let data = build(&self.type_ref, kind, payload)?;
        // SAFETY: a new sample that only we know of. The call takes over our reference, unless the handle itself is
        // refused, which is what the codes of the first arm mean.
        let code = unsafe {
            RawData::set_source(data, timestamp_ns, status);
            dds::dds_forwardcdr(self.entity, data.as_ptr().cast())
        };
        match code {
            dds::DDS_RETCODE_BAD_PARAMETER
            | dds::DDS_RETCODE_ALREADY_DELETED
            | dds::DDS_RETCODE_PRECONDITION_NOT_MET
            | dds::DDS_RETCODE_ILLEGAL_OPERATION => {
                // SAFETY: not taken over, so still ours.
                unsafe { RawData::unref(data) };
                Err(self.failure(DdsCode(code)))
            }
            0.. => Ok(()),
            dds::DDS_RETCODE_TIMEOUT => Err(WriteError::Timeout(self.max_blocking)),
            other => Err(self.failure(DdsCode(other))),
        }
    }

    fn failure(&self, code: DdsCode) -> WriteError {
        if self.inner.enter().is_none() {
            WriteError::Closed
        } else {
            WriteError::Dds(code)
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // Closing the participant may have been first; while we are in, it waits.
        let Some(_open) = self.inner.enter() else {
            return;
        };
        for entity in [self.entity, self.publisher, self.topic] {
            // SAFETY: live handles of ours, children first.
            unsafe { drop_entity(entity) };
        }
    }
}

/// # Safety
/// `entity` is ours, and nobody else knows it.
unsafe fn drop_entity(entity: dds::dds_entity_t) {
    // SAFETY: by contract.
    unsafe { dds::dds_delete(entity) };
}
