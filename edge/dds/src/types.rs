//! Asks for the types that writers announce (XTypes TypeLookup): their participants answer.

use std::ffi::c_void;
use std::ptr;
use std::sync::Arc;
use std::time::Duration;

use cyclonedds_sys as dds;

use crate::discovery::{TOPIC_PUBLICATION, take};
use crate::error::{DdsCode, EntityError};
use crate::participant::Inner;
use crate::qos::to_ns;

/// A type as its writer announces it. Both are XCDR2, little-endian, without an encapsulation header.
///
/// Source: OMG DDS-XTypes 1.3, Annex B.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnnouncedType {
    /// TypeInformation: which type it is, by its hash.
    pub information: Vec<u8>,
    /// TypeMapping: the TypeObjects of it and of all that it is made of.
    pub mapping: Vec<u8>,
}

/// Why a type is not known.
#[derive(Debug, thiserror::Error)]
pub enum LookupError {
    /// The writer went away meanwhile.
    #[error("the writer is gone")]
    Gone,
    /// Its discovery data has no type.
    #[error("the writer announces no type")]
    NotAnnounced,
    /// Most often: no answer in time.
    #[error("no answer from the writer's participant: {0}")]
    Unanswered(DdsCode),
    /// The participant is closed, or the library fails.
    #[error(transparent)]
    Entity(#[from] EntityError),
}

/// A way to ask, for one thread; see [`Participant::type_lookup`](crate::Participant::type_lookup).
#[derive(Debug)]
pub struct TypeLookup {
    publications: dds::dds_entity_t,
    inner: Arc<Inner>,
}

impl TypeLookup {
    pub(crate) fn create(inner: &Arc<Inner>) -> Result<Self, EntityError> {
        let _open = inner.enter().ok_or(EntityError::Closed)?;
        // SAFETY: a live participant, default QoS, no listener.
        let reader = unsafe {
            dds::dds_create_reader(
                inner.participant,
                TOPIC_PUBLICATION,
                ptr::null(),
                ptr::null(),
            )
        };
        let publications = DdsCode::check(reader).map_err(|code| EntityError::Create {
            what: "type lookup",
            topic: "DCPSPublication".to_owned(),
            code,
        })?;
        Ok(Self {
            publications,
            inner: Arc::clone(inner),
        })
    }

    /// The type of the writer with this handle ([`WriterInfo::handle`](crate::WriterInfo::handle)). Waits up to `within` for the
    /// answer, and closing the participant waits for it. Not to be called where samples are received.
    pub fn ask(&self, writer: u64, within: Duration) -> Result<AnnouncedType, LookupError> {
        let _open = self.inner.enter().ok_or(EntityError::Closed)?;
        let mut sample: *mut c_void = ptr::null_mut();
        let mut info = dds::dds_sample_info_t::default();
        // SAFETY: room for one; a null pointer asks for a loan.
        let read = unsafe {
            dds::dds_read_instance(
                self.publications,
                &raw mut sample,
                &raw mut info,
                1,
                1,
                writer,
            )
        };
        let Ok(1) = DdsCode::check(read) else {
            return Err(LookupError::Gone);
        };
        let answer = if info.valid_data {
            self.resolve(sample.cast(), within)
        } else {
            Err(LookupError::Gone)
        };
        // SAFETY: the loan taken above, given back once.
        unsafe { dds::dds_return_loan(self.publications, &raw mut sample, 1) };
        answer
    }

    /// Lets go of writers that are gone, which nothing else does; gives how many there were.
    pub fn forget_gone(&self) -> Result<usize, EntityError> {
        const GONE: u32 = dds::DDS_ANY_SAMPLE_STATE
            | dds::DDS_ANY_VIEW_STATE
            | dds::DDS_NOT_ALIVE_DISPOSED_INSTANCE_STATE
            | dds::DDS_NOT_ALIVE_NO_WRITERS_INSTANCE_STATE;
        let _open = self.inner.enter().ok_or(EntityError::Closed)?;
        let mut forgotten = 0;
        loop {
            let taken = take(self.publications, GONE, |_, _| {})?;
            forgotten += taken;
            if taken == 0 {
                return Ok(forgotten);
            }
        }
    }

    /// `endpoint` is on loan.
    fn resolve(
        &self,
        endpoint: *mut dds::dds_builtintopic_endpoint_t,
        within: Duration,
    ) -> Result<AnnouncedType, LookupError> {
        // SAFETY: a sample of this topic during its loan.
        let type_info = type_information(unsafe { &*endpoint });
        if type_info.is_null() {
            return Err(LookupError::NotAnnounced);
        }
        let mut descriptor: *mut dds::dds_topic_descriptor_t = ptr::null_mut();
        // SAFETY: a live participant, and type information during the loan.
        let code = unsafe {
            dds::dds_create_topic_descriptor(
                dds::dds_find_scope_DDS_FIND_SCOPE_GLOBAL,
                self.inner.participant,
                type_info,
                to_ns(within),
                &raw mut descriptor,
            )
        };
        DdsCode::check(code).map_err(LookupError::Unanswered)?;
        // SAFETY: a descriptor that was made above and is deleted once; its parts are arrays of these lengths.
        unsafe {
            let announced = AnnouncedType {
                information: copy(&(*descriptor).type_information),
                mapping: copy(&(*descriptor).type_mapping),
            };
            dds::dds_delete_topic_descriptor(descriptor);
            Ok(announced)
        }
    }
}

impl Drop for TypeLookup {
    fn drop(&mut self) {
        let Some(_open) = self.inner.enter() else {
            return;
        };
        // SAFETY: a live handle of ours.
        unsafe { dds::dds_delete(self.publications) };
    }
}

/// What a writer announces of its type, null where nothing is. Lives as long as the loan that the sample is of.
pub(crate) fn type_information(
    sample: &dds::dds_builtintopic_endpoint_t,
) -> *const dds::dds_typeinfo_t {
    let mut type_info = ptr::null();
    // SAFETY: a sample during its loan, which the call only reads.
    let code = unsafe {
        dds::dds_builtintopic_get_endpoint_type_info(
            ptr::from_ref(sample).cast_mut(),
            &raw mut type_info,
        )
    };
    if code == 0 { type_info } else { ptr::null() }
}

/// # Safety
/// `data` points to `sz` bytes, or is null.
unsafe fn copy(serialized: &dds::dds_type_meta_ser) -> Vec<u8> {
    if serialized.data.is_null() {
        return Vec::new();
    }
    // SAFETY: by contract.
    unsafe { std::slice::from_raw_parts(serialized.data, serialized.sz as usize) }.to_vec()
}
