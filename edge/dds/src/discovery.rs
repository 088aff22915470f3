//! Who is on the bus: participants and writers, as they appear and disappear.
//!
//! Left out: our own, topics of DDS itself (`DCPS…`), OpenSplice's internal partitions, and names that are not UTF-8.

mod guid;

use std::collections::BTreeMap;
use std::ffi::{CStr, c_char, c_void};
use std::ptr;
use std::sync::Arc;
use std::time::Duration;

use cyclonedds_sys as dds;

pub use self::guid::Guid;
use crate::config::VendorId;
use crate::error::{DdsCode, EntityError};
use crate::participant::Inner;
use crate::qos::{Durability, Ownership, QosView, Reliability, Representation, to_ns};
use crate::types::type_information;

/// Handles of the built-in topics (`DDS_BUILTIN_TOPIC_…`, macros that the bindings leave out).
const PSEUDO_HANDLES: dds::dds_entity_t = 0x7fff_0000;
const TOPIC_PARTICIPANT: dds::dds_entity_t = PSEUDO_HANDLES + 1;
pub(crate) const TOPIC_PUBLICATION: dds::dds_entity_t = PSEUDO_HANDLES + 3;

/// Partitions of OpenSplice's own writers, 22 in every process.
const INTERNAL_PARTITIONS: [&str; 2] = ["__BUILT-IN PARTITION__", "durabilityPartition"];

/// Writers (and participants) known at one time. More are not reported, and a warning says so.
pub const WRITERS_MAX: usize = 65_536;

/// Samples taken per call of the library.
const TAKE_MAX: usize = 64;
/// Calls per [`Discovery::poll`], so that a storm of announcements does not keep it from returning.
const TAKES_MAX: usize = 64;

/// A change on the bus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DiscoveryEvent {
    /// A process joined, or said more about itself.
    ParticipantAppeared(ParticipantInfo),
    /// It left, or did not answer for its lease.
    ParticipantGone(Guid),
    /// A writer appeared, or changed its QoS: the newer one counts.
    WriterAppeared(Box<WriterInfo>),
    /// It is gone, by itself or with its participant.
    WriterGone {
        /// Which.
        guid: Guid,
        /// The same as [`WriterInfo::handle`].
        handle: u64,
    },
}

/// A participant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParticipantInfo {
    /// Identity; new at each start.
    pub guid: Guid,
    /// Where it says on which host it is.
    pub hostname: Option<String>,
    /// Where it says which program it is.
    pub process: Option<String>,
}

/// A writer, and what it offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriterInfo {
    /// Identity; new at each start.
    pub guid: Guid,
    /// What [`Sample::publication_handle`](crate::Sample::publication_handle) says of its samples.
    pub handle: u64,
    /// Topic name.
    pub topic: String,
    /// Type name.
    pub type_name: String,
    /// Empty: the default partition.
    pub partitions: Vec<String>,
    /// Offered.
    pub reliability: Reliability,
    /// Offered.
    pub durability: Durability,
    /// Offered.
    pub ownership: Ownership,
    /// Offered, the preferred one first; empty means XCDR1.
    pub representations: Vec<Representation>,
    /// Whether the type has keys, by the kind of entity in the GUID.
    pub keyed: bool,
    /// Whether the type can be asked for.
    pub has_type_info: bool,
    /// Its participant.
    pub participant: Guid,
    /// Its participant's, if it says so.
    pub hostname: Option<String>,
    /// Its participant's, if it says so.
    pub process: Option<String>,
    /// By the beginning of the GUID, which most vendors use for it; others may be taken for one by chance.
    pub vendor: Option<VendorId>,
}

/// A view of the bus; see [`Participant::discovery`](crate::Participant::discovery).
#[derive(Debug)]
pub struct Discovery {
    participants: dds::dds_entity_t,
    publications: dds::dds_entity_t,
    waitset: dds::dds_entity_t,
    own: Guid,
    known_participants: BTreeMap<Guid, ParticipantInfo>,
    known_writers: BTreeMap<Guid, WriterInfo>,
    warned_full: bool,
    inner: Arc<Inner>,
}

impl Discovery {
    pub(crate) fn create(inner: &Arc<Inner>) -> Result<Self, EntityError> {
        let _open = inner.enter().ok_or(EntityError::Closed)?;
        let refused = |code| EntityError::Create {
            what: "discovery",
            topic: "DCPSPublication".to_owned(),
            code,
        };
        // SAFETY: a live participant, default QoS, no listeners. What a failure leaves behind ends with the participant.
        unsafe {
            let reader =
                |topic| dds::dds_create_reader(inner.participant, topic, ptr::null(), ptr::null());
            let participants = DdsCode::check(reader(TOPIC_PARTICIPANT)).map_err(refused)?;
            let publications = DdsCode::check(reader(TOPIC_PUBLICATION)).map_err(refused)?;
            let waitset =
                DdsCode::check(dds::dds_create_waitset(inner.participant)).map_err(refused)?;
            for reader in [participants, publications] {
                DdsCode::check(dds::dds_set_status_mask(reader, DATA_AVAILABLE))
                    .map_err(refused)?;
                DdsCode::check(dds::dds_waitset_attach(waitset, reader, 0)).map_err(refused)?;
            }
            Ok(Self {
                participants,
                publications,
                waitset,
                own: inner.guid(),
                known_participants: BTreeMap::new(),
                known_writers: BTreeMap::new(),
                warned_full: false,
                inner: Arc::clone(inner),
            })
        }
    }

    /// What has happened since the last call; waits up to `timeout` for something to happen. Participants come before their
    /// writers, unless the library learnt of them in another order.
    pub fn poll(&mut self, timeout: Duration) -> Result<Vec<DiscoveryEvent>, EntityError> {
        let inner = Arc::clone(&self.inner);
        let mut events = Vec::new();
        {
            let _open = inner.enter().ok_or(EntityError::Closed)?;
            self.take(&mut events)?;
        }
        if events.is_empty() && !timeout.is_zero() {
            // Outside the gate: closing does not wait for us, and ends the wait.
            // SAFETY: no array to fill; a stale handle is answered with a code.
            unsafe { dds::dds_waitset_wait(self.waitset, ptr::null_mut(), 0, to_ns(timeout)) };
            let _open = inner.enter().ok_or(EntityError::Closed)?;
            self.take(&mut events)?;
        }
        Ok(events)
    }

    /// All writers known at the moment, by GUID.
    pub fn writers(&self) -> impl Iterator<Item = &WriterInfo> {
        self.known_writers.values()
    }

    /// All participants known at the moment, without our own.
    pub fn participants(&self) -> impl Iterator<Item = &ParticipantInfo> {
        self.known_participants.values()
    }

    fn take(&mut self, events: &mut Vec<DiscoveryEvent>) -> Result<(), EntityError> {
        let (participants, publications) = (self.participants, self.publications);
        take_each(participants, |sample, info| {
            // SAFETY: samples of this topic are of this structure.
            let sample = unsafe { &*sample.cast::<dds::dds_builtintopic_participant_t>() };
            self.handle_participant(sample, is_alive(info), events);
        })?;
        take_each(publications, |sample, info| {
            // SAFETY: samples of this topic are of this structure.
            let sample = unsafe { &*sample.cast::<dds::dds_builtintopic_endpoint_t>() };
            self.handle_writer(sample, info, events);
        })
    }

    fn handle_participant(
        &mut self,
        sample: &dds::dds_builtintopic_participant_t,
        alive: bool,
        events: &mut Vec<DiscoveryEvent>,
    ) {
        let guid = Guid(sample.key.v);
        if guid == self.own {
            return;
        }
        if !alive {
            if self.known_participants.remove(&guid).is_some() {
                events.push(DiscoveryEvent::ParticipantGone(guid));
            }
            return;
        }
        if self.is_full(self.known_participants.len()) {
            return;
        }
        // SAFETY: valid during the loan, in which we are.
        let qos = unsafe { QosView::new(sample.qos) };
        let info = ParticipantInfo {
            guid,
            hostname: qos.property(dds::DDS_BUILTIN_TOPIC_PARTICIPANT_PROPERTY_HOSTNAME),
            process: qos.property(dds::DDS_BUILTIN_TOPIC_PARTICIPANT_PROPERTY_PROCESS_NAME),
        };
        if self.known_participants.get(&guid) != Some(&info) {
            self.known_participants.insert(guid, info.clone());
            events.push(DiscoveryEvent::ParticipantAppeared(info));
        }
    }

    fn handle_writer(
        &mut self,
        sample: &dds::dds_builtintopic_endpoint_t,
        info: &dds::dds_sample_info_t,
        events: &mut Vec<DiscoveryEvent>,
    ) {
        let guid = Guid(sample.key.v);
        if !is_alive(info) {
            if let Some(known) = self.known_writers.remove(&guid) {
                events.push(DiscoveryEvent::WriterGone {
                    guid,
                    handle: known.handle,
                });
            }
            return;
        }
        if Guid(sample.participant_key.v) == self.own || self.is_full(self.known_writers.len()) {
            return;
        }
        let Some(info) = self.describe(guid, sample, info.instance_handle) else {
            return;
        };
        if self.known_writers.get(&guid) != Some(&info) {
            self.known_writers.insert(guid, info.clone());
            events.push(DiscoveryEvent::WriterAppeared(Box::new(info)));
        }
    }

    /// `None`: one of those that are left out.
    fn describe(
        &self,
        guid: Guid,
        sample: &dds::dds_builtintopic_endpoint_t,
        handle: u64,
    ) -> Option<WriterInfo> {
        // SAFETY: strings and QoS of the sample are valid during the loan, in which we are.
        let (topic, type_name, qos) = unsafe {
            (
                utf8(sample.topic_name)?,
                utf8(sample.type_name)?,
                QosView::new(sample.qos),
            )
        };
        if topic.starts_with("DCPS") {
            return None;
        }
        let partitions = qos.partitions();
        if partitions
            .iter()
            .any(|name| INTERNAL_PARTITIONS.contains(&name.as_str()))
        {
            return None;
        }
        let participant = Guid(sample.participant_key.v);
        let process = self.known_participants.get(&participant);
        Some(WriterInfo {
            guid,
            handle,
            topic,
            type_name,
            partitions,
            reliability: qos.reliability(),
            durability: qos.durability(),
            ownership: qos.ownership(),
            representations: qos.representations(),
            keyed: guid.is_keyed_writer(),
            has_type_info: !type_information(sample).is_null(),
            participant,
            hostname: process.and_then(|info| info.hostname.clone()),
            process: process.and_then(|info| info.process.clone()),
            vendor: guid.vendor(),
        })
    }

    fn is_full(&mut self, count: usize) -> bool {
        if count < WRITERS_MAX {
            return false;
        }
        if !std::mem::replace(&mut self.warned_full, true) {
            tracing::warn!(
                limit = WRITERS_MAX,
                "More writers or participants on the bus than are followed"
            );
        }
        true
    }
}

impl Drop for Discovery {
    fn drop(&mut self) {
        let Some(_open) = self.inner.enter() else {
            return;
        };
        for entity in [self.waitset, self.publications, self.participants] {
            // SAFETY: live handles of ours.
            unsafe { dds::dds_delete(entity) };
        }
    }
}

const DATA_AVAILABLE: u32 = 1 << dds::dds_status_id_DDS_DATA_AVAILABLE_STATUS_ID;

fn is_alive(info: &dds::dds_sample_info_t) -> bool {
    info.valid_data && info.instance_state == dds::dds_instance_state_DDS_IST_ALIVE
}

/// Takes what a built-in reader has and shows each sample during its loan.
fn take_each(
    reader: dds::dds_entity_t,
    mut each: impl FnMut(*const c_void, &dds::dds_sample_info_t),
) -> Result<(), EntityError> {
    const ANY: u32 =
        dds::DDS_ANY_SAMPLE_STATE | dds::DDS_ANY_VIEW_STATE | dds::DDS_ANY_INSTANCE_STATE;
    for _ in 0..TAKES_MAX {
        if take(reader, ANY, &mut each)? < TAKE_MAX {
            break;
        }
    }
    Ok(())
}

/// Takes up to [`TAKE_MAX`] samples in the states of `mask`; gives how many there were.
pub(crate) fn take(
    reader: dds::dds_entity_t,
    mask: u32,
    mut each: impl FnMut(*const c_void, &dds::dds_sample_info_t),
) -> Result<usize, EntityError> {
    let mut samples: [*mut c_void; TAKE_MAX] = [ptr::null_mut(); TAKE_MAX];
    let mut infos = [dds::dds_sample_info_t::default(); TAKE_MAX];
    // SAFETY: both arrays have room for `TAKE_MAX`; null pointers ask for a loan.
    let taken = unsafe {
        dds::dds_take_mask(
            reader,
            samples.as_mut_ptr(),
            infos.as_mut_ptr(),
            TAKE_MAX,
            TAKE_MAX as u32,
            mask,
        )
    };
    let taken = DdsCode::check(taken).map_err(|code| EntityError::Read {
        what: "built-in topic",
        code,
    })?;
    samples
        .iter()
        .zip(&infos)
        .take(taken as usize)
        .for_each(|(sample, info)| each(*sample, info));
    if taken > 0 {
        // SAFETY: the loan taken above, given back once.
        unsafe { dds::dds_return_loan(reader, samples.as_mut_ptr(), taken) };
    }
    Ok(taken as usize)
}

/// # Safety
/// `text` is NUL-terminated, or null.
unsafe fn utf8(text: *const c_char) -> Option<String> {
    if text.is_null() {
        return None;
    }
    // SAFETY: by contract.
    unsafe { CStr::from_ptr(text) }
        .to_str()
        .ok()
        .map(str::to_owned)
}
