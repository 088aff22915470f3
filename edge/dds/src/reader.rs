//! Raw readers: a listener that empties the library's reader into the ring.

use std::ffi::{CStr, c_void};
use std::fmt;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use cyclonedds_sys as dds;

use crate::clock::Reception;
use crate::error::{DdsCode, EntityError};
use crate::participant::Inner;
use crate::qos::{Durability, History, Ownership, Qos, Reliability, Representation, c_name};
use crate::raw::{Keying, Link, RawData, RawType, TypeCounters};
use crate::ring::{Chain, ReaderId, ReaderTally, Ring, Shared};

/// Samples taken per call of the library.
const TAKE_MAX: usize = 64;

/// What to read, and how. QoS should be that of the writers' offers.
#[derive(Clone, Debug)]
pub struct ReaderSpec {
    /// Topic name as on the bus.
    pub topic: String,
    /// Type name as on the bus; writers with another do not match.
    pub type_name: String,
    /// Keys; must be as the writers have it, or nothing matches.
    pub keying: Keying,
    /// Partitions, with `*` and `?` as wildcards; none is the default partition.
    pub partitions: Vec<String>,
    /// At most what the writers offer.
    pub reliability: Reliability,
    /// Asked for up to [`Durability::TransientLocal`]; no writer gives more to a reader.
    pub durability: Durability,
    /// Must equal the writers'.
    pub ownership: Ownership,
    /// What to do with disposes and unregisters.
    pub invalid: InvalidSamples,
}

/// What happens to samples that carry no data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum InvalidSamples {
    /// Counted.
    #[default]
    Count,
    /// Counted, and put into the ring with the rest.
    Deliver,
}

/// Totals of one reader.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReaderCounters {
    /// Samples put into the ring.
    pub received: u64,
    /// Their payload bytes.
    pub received_bytes: u64,
    /// Samples not put in, as the ring was full or its consumer gone.
    pub dropped_full: u64,
    /// Disposes and unregisters.
    pub invalid: u64,
    /// Samples of a keyed type whose key was not found; kept under their writer.
    pub unkeyed: u64,
    /// Samples not kept: shorter than an encapsulation header.
    pub malformed: u64,
    /// Samples not kept: larger than the whole ring.
    pub oversize: u64,
}

/// What the library knows of a reader; explains silence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReaderStatus {
    /// Writers that we are connected to.
    pub matched_writers: u32,
    /// Samples that the transport gave up on. Stays 0 for most real losses.
    pub lost: u32,
    /// Samples refused for want of room; unlimited readers have none.
    pub rejected: u32,
    /// Writers of the topic that do not match, if any.
    pub incompatible: Option<IncompatibleQos>,
}

/// Writers that offer less than the reader asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IncompatibleQos {
    /// How often that was seen.
    pub count: u32,
    /// The policy in which the last one differed.
    pub policy: &'static str,
}

/// A reader that fills a ring. Dropped, it has ended when `drop` returns; its samples in the ring stay.
pub struct Reader {
    id: ReaderId,
    entity: dds::dds_entity_t,
    inner: Arc<Inner>,
    context: Arc<Context>,
}

/// What the listener works with. The library holds a pointer to it, see [`ReaderSlot`].
#[derive(Debug)]
struct Context {
    id: ReaderId,
    ring: Arc<Shared>,
    tally: Arc<ReaderTally>,
    type_counters: Arc<TypeCounters>,
    invalid: InvalidSamples,
}

/// The participant's hold on a reader. Owns the library's reference to the context: [`retire`](Self::retire) gives it back, which
/// may happen only after the reader is deleted. A slot that is merely dropped leaks it.
#[derive(Debug)]
pub(crate) struct ReaderSlot {
    reader: dds::dds_entity_t,
    subscriber: dds::dds_entity_t,
    topic: dds::dds_entity_t,
    context: ContextRef,
}

#[derive(Debug)]
struct ContextRef(NonNull<Context>);
// SAFETY: an owned reference of an `Arc<Context>`, and `Context` is `Send + Sync`.
unsafe impl Send for ContextRef {}

impl Reader {
    pub(crate) fn create(
        inner: &Arc<Inner>,
        spec: &ReaderSpec,
        ring: &Ring,
    ) -> Result<Self, EntityError> {
        let topic_name = c_name(&spec.topic)?;
        let type_name = c_name(&spec.type_name)?;
        let subscriber_qos = Qos::new().partitions(&spec.partitions)?;
        let reader_qos = Qos::new()
            .reliability(spec.reliability)
            .durability(spec.durability.min(Durability::TransientLocal))
            .ownership(spec.ownership)
            .any_latency()
            // A limit that can fill would stop the publisher for everyone; the listener keeps the reader empty.
            .history(History::KeepAll)
            .unlimited()
            .representations(&[Representation::Xcdr1, Representation::Xcdr2]);

        let open = inner.enter().ok_or(EntityError::Closed)?;
        let refused = |what| {
            move |code| EntityError::Create {
                what,
                topic: spec.topic.clone(),
                code,
            }
        };

        let type_counters = Arc::new(TypeCounters::default());
        let sertype = RawType::create(
            &type_name,
            spec.keying.clone(),
            ring.payload_bytes_max(),
            Arc::clone(&type_counters),
        );
        let topic = Deleted(
            create_topic(inner.participant, &topic_name, sertype).map_err(refused("topic"))?,
        );
        // SAFETY: a live participant, a live QoS, no listener.
        let subscriber = unsafe {
            dds::dds_create_subscriber(inner.participant, subscriber_qos.as_ptr(), ptr::null())
        };
        let subscriber = Deleted(DdsCode::check(subscriber).map_err(refused("subscriber"))?);

        let id = next_id();
        let context = Arc::new(Context {
            id,
            ring: ring.shared(),
            tally: ring.register(id),
            type_counters,
            invalid: spec.invalid,
        });
        let for_library = ContextRef(leak(Arc::clone(&context)));
        let created = create_listening(subscriber.0, topic.0, &reader_qos, for_library.0);
        let entity = match DdsCode::check(created) {
            Ok(entity) => entity,
            Err(code) => {
                for_library.give_back();
                context.ring.retire(id);
                return Err(refused("reader")(code));
            }
        };
        let slot = ReaderSlot {
            reader: entity,
            subscriber: subscriber.keep(),
            topic: topic.keep(),
            context: for_library,
        };
        inner.lock_readers().insert(id, slot);
        drop(open);
        Ok(Self {
            id,
            entity,
            inner: Arc::clone(inner),
            context,
        })
    }

    /// The number that its samples carry.
    pub fn id(&self) -> ReaderId {
        self.id
    }

    /// Totals since it was created.
    pub fn counters(&self) -> ReaderCounters {
        let Context {
            tally,
            type_counters,
            ..
        } = &*self.context;
        ReaderCounters {
            received: tally.received.load(Ordering::Relaxed),
            received_bytes: tally.received_bytes.load(Ordering::Relaxed),
            dropped_full: tally.dropped_full.load(Ordering::Relaxed),
            invalid: tally.invalid.load(Ordering::Relaxed),
            unkeyed: type_counters.unkeyed.load(Ordering::Relaxed),
            malformed: type_counters.malformed.load(Ordering::Relaxed),
            oversize: type_counters.oversize.load(Ordering::Relaxed),
        }
    }

    /// What the library knows of it.
    pub fn status(&self) -> Result<ReaderStatus, EntityError> {
        let _open = self.inner.enter().ok_or(EntityError::Closed)?;
        let mut matched = dds::dds_subscription_matched_status_t::default();
        let mut lost = dds::dds_sample_lost_status_t::default();
        let mut rejected = dds::dds_sample_rejected_status_t::default();
        let mut incompatible = dds::dds_requested_incompatible_qos_status_t::default();
        // SAFETY: a live reader, and four structures for the calls to write.
        let codes = unsafe {
            [
                dds::dds_get_subscription_matched_status(self.entity, &raw mut matched),
                dds::dds_get_sample_lost_status(self.entity, &raw mut lost),
                dds::dds_get_sample_rejected_status(self.entity, &raw mut rejected),
                dds::dds_get_requested_incompatible_qos_status(self.entity, &raw mut incompatible),
            ]
        };
        for code in codes {
            DdsCode::check(code).map_err(|code| EntityError::Read {
                what: "reader status",
                code,
            })?;
        }
        Ok(ReaderStatus {
            matched_writers: matched.current_count,
            lost: lost.total_count,
            rejected: rejected.total_count,
            incompatible: (incompatible.total_count > 0).then(|| IncompatibleQos {
                count: incompatible.total_count,
                policy: policy_name(incompatible.last_policy_id),
            }),
        })
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        // Closing may have been first; while we are in, it waits.
        let Some(_open) = self.inner.enter() else {
            return;
        };
        let slot = self.inner.lock_readers().remove(&self.id);
        if let Some(slot) = slot {
            slot.delete();
        }
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader")
            .field("id", &self.id)
            .field("counters", &self.counters())
            .finish_non_exhaustive()
    }
}

impl ReaderSlot {
    /// After this no new call of the listener begins.
    pub(crate) fn silence(&self) {
        // SAFETY: a live reader of ours, or a stale handle, which is answered with a code.
        unsafe { dds::dds_set_listener(self.reader, ptr::null()) };
    }

    fn delete(self) {
        self.silence();
        // SAFETY: handles of ours, children first; each call returns when no listener of the entity runs any more.
        unsafe {
            dds::dds_delete(self.reader);
            dds::dds_delete(self.subscriber);
            dds::dds_delete(self.topic);
        }
        self.retire();
    }

    /// Gives back the library's reference to the context: for after the reader is deleted.
    pub(crate) fn retire(self) {
        // SAFETY: the slot's own reference keeps it alive up to `give_back`.
        let context = unsafe { self.context.0.as_ref() };
        context.ring.retire(context.id);
        self.context.give_back();
    }
}

impl ContextRef {
    fn give_back(self) {
        // SAFETY: made by `leak`, given back once as `self` is consumed.
        drop(unsafe { Arc::from_raw(self.0.as_ptr().cast_const()) });
    }
}

fn leak(context: Arc<Context>) -> NonNull<Context> {
    let raw = Arc::into_raw(context).cast_mut();
    // SAFETY: an `Arc` never points to null.
    unsafe { NonNull::new_unchecked(raw) }
}

/// An entity that is deleted unless it is kept.
struct Deleted(dds::dds_entity_t);

impl Deleted {
    fn keep(self) -> dds::dds_entity_t {
        let entity = self.0;
        std::mem::forget(self);
        entity
    }
}

impl Drop for Deleted {
    fn drop(&mut self) {
        // SAFETY: created a moment ago, and nobody else knows it.
        unsafe { dds::dds_delete(self.0) };
    }
}

/// A topic with a type of its own, a new one, which it takes over.
pub(crate) fn create_topic(
    participant: dds::dds_entity_t,
    name: &CStr,
    mut sertype: *mut dds::ddsi_sertype,
) -> Result<dds::dds_entity_t, DdsCode> {
    // SAFETY: a live participant and a new type. On success the library takes over our reference; on failure it is still ours.
    unsafe {
        let topic = dds::dds_create_topic_sertype(
            participant,
            name.as_ptr(),
            &raw mut sertype,
            ptr::null(),
            ptr::null(),
            ptr::null(),
        );
        DdsCode::check(topic).inspect_err(|_code| dds::ddsi_sertype_unref(sertype))
    }
}

/// The listener is there from the start, so no sample comes before it.
fn create_listening(
    subscriber: dds::dds_entity_t,
    topic: dds::dds_entity_t,
    qos: &Qos,
    context: NonNull<Context>,
) -> dds::dds_entity_t {
    // SAFETY: live entities; the listener object is copied by the reader and deleted here. The context outlives the reader: it
    // holds a reference that is given back only after the reader is deleted.
    unsafe {
        let listener = dds::dds_create_listener(ptr::null_mut());
        dds::dds_lset_data_available_arg(
            listener,
            Some(on_data_available),
            context.as_ptr().cast(),
            true,
        );
        let reader = dds::dds_create_reader(subscriber, topic, qos.as_ptr(), listener);
        dds::dds_delete_listener(listener);
        reader
    }
}

fn next_id() -> ReaderId {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    ReaderId(NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Runs on a receive thread. Nothing in it locks, waits or allocates, save for the second holder of a shared sample.
unsafe extern "C" fn on_data_available(reader: dds::dds_entity_t, context: *mut c_void) {
    // SAFETY: the pointer that `create_listening` gave; alive as told there.
    let context = unsafe { &*context.cast::<Context>() };
    let received = Reception::now();
    let mut samples: [*mut dds::ddsi_serdata; TAKE_MAX] = [ptr::null_mut(); TAKE_MAX];
    let mut infos = [const { std::mem::MaybeUninit::<dds::dds_sample_info_t>::uninit() }; TAKE_MAX];
    loop {
        // SAFETY: both arrays have room for `TAKE_MAX`; each sample that is written comes with a reference and an info.
        let taken = unsafe {
            dds::dds_takecdr(
                reader,
                samples.as_mut_ptr(),
                TAKE_MAX as u32,
                infos.as_mut_ptr().cast(),
                0,
            )
        };
        // A negative code: the reader is being deleted.
        let Ok(taken @ 1..) = usize::try_from(taken) else {
            return;
        };
        let mut chain = Chain::default();
        for (sample, info) in samples.iter().zip(&infos).take(taken) {
            // SAFETY: among the first `taken`, which are written.
            unsafe {
                take_over(
                    context,
                    *sample,
                    info.assume_init_ref(),
                    received,
                    &mut chain,
                )
            };
        }
        context.ring.put(chain);
        if taken < TAKE_MAX {
            return;
        }
    }
}

/// # Safety
/// The caller owns one reference to `sample`, which goes over to the ring.
unsafe fn take_over(
    context: &Context,
    sample: *mut dds::ddsi_serdata,
    info: &dds::dds_sample_info_t,
    received: Reception,
    chain: &mut Chain,
) {
    if !info.valid_data {
        context.ring.count_invalid(&context.tally);
    }
    let wanted = info.valid_data || context.invalid == InvalidSamples::Deliver;
    // SAFETY: alive by our reference. A sample that is not ours cannot come from a topic of ours; it is let go.
    let data = unsafe { RawData::from_c(sample) }.filter(|_| wanted);
    let Some(data) = data else {
        // SAFETY: our own reference.
        unsafe { dds::ddsi_serdata_unref(sample) };
        return;
    };
    let link = Link {
        next: ptr::null_mut(),
        reader: context.id.0,
        valid: info.valid_data,
        instance_state: info.instance_state,
        instance_handle: info.instance_handle,
        publication_handle: info.publication_handle,
        source_timestamp_ns: info.source_timestamp,
        received,
    };
    // SAFETY: our reference goes over.
    unsafe { context.ring.accept(data, link, &context.tally, chain) };
}

/// Names as in the DDS standard, by its policy ids.
fn policy_name(id: u32) -> &'static str {
    const NAMES: [&str; 26] = [
        "unknown",
        "user data",
        "durability",
        "presentation",
        "deadline",
        "latency budget",
        "ownership",
        "ownership strength",
        "liveliness",
        "time-based filter",
        "partition",
        "reliability",
        "destination order",
        "history",
        "resource limits",
        "entity factory",
        "writer data lifecycle",
        "reader data lifecycle",
        "topic data",
        "group data",
        "transport priority",
        "lifespan",
        "durability service",
        "property",
        "type consistency",
        "data representation",
    ];
    NAMES.get(id as usize).copied().unwrap_or(NAMES[0])
}

const _: () = assert!(dds::dds_qos_policy_id_DDS_DURABILITY_QOS_POLICY_ID == 2);
const _: () = assert!(dds::dds_qos_policy_id_DDS_RELIABILITY_QOS_POLICY_ID == 11);
const _: () = assert!(dds::dds_qos_policy_id_DDS_DATA_REPRESENTATION_QOS_POLICY_ID == 25);
