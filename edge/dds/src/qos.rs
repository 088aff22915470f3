//! Quality of service: our enums, and the library's object behind an owner.

use std::ffi::{CStr, CString, c_char};
use std::ptr;
use std::time::Duration;

use cyclonedds_sys as dds;

use crate::error::EntityError;

/// Whether lost samples are sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reliability {
    /// What is lost stays lost.
    BestEffort,
    /// Sent again until received. A writer waits this long for slow readers before a write fails; of no meaning to readers.
    Reliable {
        /// The wait.
        max_blocking: Duration,
    },
}

/// Whether late joiners get what was written before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Durability {
    /// No.
    Volatile,
    /// As long as the writer lives.
    TransientLocal,
    /// As long as a durability service lives.
    Transient,
    /// On disk.
    Persistent,
}

/// Whether several writers may update one instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ownership {
    /// All.
    Shared,
    /// Only the strongest; readers must ask for the same.
    Exclusive,
}

/// How many samples of an instance a writer keeps for readers that are behind, or late.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum History {
    /// The last so many; at least 1.
    KeepLast(u16),
    /// All.
    KeepAll,
}

/// How samples are encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Representation {
    /// Classic CDR.
    Xcdr1,
    /// XML.
    Xml,
    /// CDR of XTypes 1.2.
    Xcdr2,
    /// Not in the standard.
    Other(i16),
}

impl Representation {
    fn from_c(id: i16) -> Self {
        match id {
            0 => Self::Xcdr1,
            1 => Self::Xml,
            2 => Self::Xcdr2,
            other => Self::Other(other),
        }
    }

    fn to_c(self) -> i16 {
        match self {
            Self::Xcdr1 => 0,
            Self::Xml => 1,
            Self::Xcdr2 => 2,
            Self::Other(id) => id,
        }
    }
}

impl Durability {
    fn from_c(kind: dds::dds_durability_kind) -> Self {
        match kind {
            dds::dds_durability_kind_DDS_DURABILITY_VOLATILE => Self::Volatile,
            dds::dds_durability_kind_DDS_DURABILITY_TRANSIENT_LOCAL => Self::TransientLocal,
            dds::dds_durability_kind_DDS_DURABILITY_TRANSIENT => Self::Transient,
            _persistent => Self::Persistent,
        }
    }

    fn to_c(self) -> dds::dds_durability_kind {
        match self {
            Self::Volatile => dds::dds_durability_kind_DDS_DURABILITY_VOLATILE,
            Self::TransientLocal => dds::dds_durability_kind_DDS_DURABILITY_TRANSIENT_LOCAL,
            Self::Transient => dds::dds_durability_kind_DDS_DURABILITY_TRANSIENT,
            Self::Persistent => dds::dds_durability_kind_DDS_DURABILITY_PERSISTENT,
        }
    }
}

impl History {
    fn to_c(self) -> (dds::dds_history_kind, i32) {
        match self {
            Self::KeepLast(depth) => (
                dds::dds_history_kind_DDS_HISTORY_KEEP_LAST,
                i32::from(depth.max(1)),
            ),
            Self::KeepAll => (dds::dds_history_kind_DDS_HISTORY_KEEP_ALL, 0),
        }
    }
}

/// The library counts time in ns in an `i64`; its largest value is forever.
pub(crate) fn to_ns(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

/// Unlimited, in resource limits.
const UNLIMITED: i32 = -1;

/// A QoS object of our own.
#[derive(Debug)]
pub(crate) struct Qos(*mut dds::dds_qos_t);

impl Qos {
    pub(crate) fn new() -> Self {
        // SAFETY: no preconditions; the library ends the process where memory is short.
        Self(unsafe { dds::dds_create_qos() })
    }

    pub(crate) fn as_ptr(&self) -> *const dds::dds_qos_t {
        self.0
    }

    pub(crate) fn partitions(self, partitions: &[String]) -> Result<Self, EntityError> {
        let names = partitions
            .iter()
            .map(|name| c_name(name))
            .collect::<Result<Vec<_>, _>>()?;
        let mut pointers: Vec<*const c_char> = names.iter().map(|name| name.as_ptr()).collect();
        if let Ok(count @ 1..) = u32::try_from(pointers.len()) {
            // SAFETY: `count` valid strings, copied by the call.
            unsafe { dds::dds_qset_partition(self.0, count, pointers.as_mut_ptr()) };
        }
        Ok(self)
    }

    pub(crate) fn reliability(self, reliability: Reliability) -> Self {
        let (kind, max_blocking) = match reliability {
            Reliability::BestEffort => (
                dds::dds_reliability_kind_DDS_RELIABILITY_BEST_EFFORT,
                Duration::ZERO,
            ),
            Reliability::Reliable { max_blocking } => (
                dds::dds_reliability_kind_DDS_RELIABILITY_RELIABLE,
                max_blocking,
            ),
        };
        // SAFETY: our own live object, as in all the setters below.
        unsafe { dds::dds_qset_reliability(self.0, kind, to_ns(max_blocking)) };
        self
    }

    pub(crate) fn durability(self, durability: Durability) -> Self {
        // SAFETY: our own live object.
        unsafe { dds::dds_qset_durability(self.0, durability.to_c()) };
        self
    }

    pub(crate) fn ownership(self, ownership: Ownership) -> Self {
        let kind = match ownership {
            Ownership::Shared => dds::dds_ownership_kind_DDS_OWNERSHIP_SHARED,
            Ownership::Exclusive => dds::dds_ownership_kind_DDS_OWNERSHIP_EXCLUSIVE,
        };
        // SAFETY: our own live object.
        unsafe { dds::dds_qset_ownership(self.0, kind) };
        self
    }

    /// Whatever a writer may add for batching: a reader that asks for less than is offered gets nothing.
    pub(crate) fn any_latency(self) -> Self {
        // SAFETY: our own live object; the largest duration stands for no limit.
        unsafe { dds::dds_qset_latency_budget(self.0, i64::MAX) };
        self
    }

    pub(crate) fn history(self, history: History) -> Self {
        let (kind, depth) = history.to_c();
        // SAFETY: our own live object.
        unsafe { dds::dds_qset_history(self.0, kind, depth) };
        self
    }

    pub(crate) fn unlimited(self) -> Self {
        // SAFETY: our own live object.
        unsafe { dds::dds_qset_resource_limits(self.0, UNLIMITED, UNLIMITED, UNLIMITED) };
        self
    }

    /// What late joiners are given: `history`, of however many instances.
    pub(crate) fn durability_service(self, history: History) -> Self {
        let (kind, depth) = history.to_c();
        // SAFETY: our own live object.
        unsafe {
            dds::dds_qset_durability_service(
                self.0, 0, kind, depth, UNLIMITED, UNLIMITED, UNLIMITED,
            )
        };
        self
    }

    pub(crate) fn autodispose(self, on: bool) -> Self {
        // SAFETY: our own live object.
        unsafe { dds::dds_qset_writer_data_lifecycle(self.0, on) };
        self
    }

    pub(crate) fn representations(self, representations: &[Representation]) -> Self {
        let ids: Vec<i16> = representations
            .iter()
            .map(|representation| representation.to_c())
            .collect();
        // SAFETY: our own live object; the ids are copied by the call.
        unsafe { dds::dds_qset_data_representation(self.0, ids.len() as u32, ids.as_ptr()) };
        self
    }
}

impl Drop for Qos {
    fn drop(&mut self) {
        // SAFETY: our own object, deleted once.
        unsafe { dds::dds_delete_qos(self.0) };
    }
}

/// A QoS object of the library's, looked at during a loan.
#[derive(Debug)]
pub(crate) struct QosView(*const dds::dds_qos_t);

impl QosView {
    /// # Safety
    /// `qos` is valid, or null, for as long as the view is used.
    pub(crate) unsafe fn new(qos: *const dds::dds_qos_t) -> Self {
        Self(qos)
    }

    pub(crate) fn partitions(&self) -> Vec<String> {
        let (mut count, mut names) = (0, ptr::null_mut());
        // SAFETY: valid by the constructor's contract (null is answered with `false`); the library allocates an array of `count`
        // strings, which is freed here and nowhere else.
        unsafe {
            if !dds::dds_qget_partition(self.0, &raw mut count, &raw mut names) || names.is_null() {
                return Vec::new();
            }
            let partitions = (0..count as usize)
                .map(|i| take_string(*names.add(i)))
                .collect();
            dds::dds_free(names.cast());
            partitions
        }
    }

    pub(crate) fn reliability(&self) -> Reliability {
        let (mut kind, mut max_blocking) = (0, 0);
        // SAFETY: as in `partitions`; two values are written, or none.
        let known =
            unsafe { dds::dds_qget_reliability(self.0, &raw mut kind, &raw mut max_blocking) };
        if known && kind == dds::dds_reliability_kind_DDS_RELIABILITY_RELIABLE {
            Reliability::Reliable {
                max_blocking: Duration::from_nanos(u64::try_from(max_blocking).unwrap_or(0)),
            }
        } else {
            Reliability::BestEffort
        }
    }

    pub(crate) fn durability(&self) -> Durability {
        let mut kind = dds::dds_durability_kind_DDS_DURABILITY_VOLATILE;
        // SAFETY: as in `partitions`.
        unsafe { dds::dds_qget_durability(self.0, &raw mut kind) };
        Durability::from_c(kind)
    }

    pub(crate) fn ownership(&self) -> Ownership {
        let mut kind = dds::dds_ownership_kind_DDS_OWNERSHIP_SHARED;
        // SAFETY: as in `partitions`.
        unsafe { dds::dds_qget_ownership(self.0, &raw mut kind) };
        if kind == dds::dds_ownership_kind_DDS_OWNERSHIP_EXCLUSIVE {
            Ownership::Exclusive
        } else {
            Ownership::Shared
        }
    }

    /// Empty: the writer does not say, which means XCDR1.
    pub(crate) fn representations(&self) -> Vec<Representation> {
        let (mut count, mut ids) = (0, ptr::null_mut());
        // SAFETY: as in `partitions`, with an array of numbers.
        unsafe {
            if !dds::dds_qget_data_representation(self.0, &raw mut count, &raw mut ids)
                || ids.is_null()
            {
                return Vec::new();
            }
            let list = std::slice::from_raw_parts(ids, count as usize)
                .iter()
                .map(|id| Representation::from_c(*id))
                .collect();
            dds::dds_free(ids.cast());
            list
        }
    }

    pub(crate) fn property(&self, name: &CStr) -> Option<String> {
        let mut value = ptr::null_mut();
        // SAFETY: as in `partitions`, with one string.
        unsafe {
            let known = dds::dds_qget_prop(self.0, name.as_ptr(), &raw mut value);
            (known && !value.is_null()).then(|| take_string(value))
        }
    }
}

/// A copy of a string that the library allocated for us, which is freed.
///
/// # Safety
/// `text` is such a string, or null.
unsafe fn take_string(text: *mut c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: NUL-terminated, ours, and not used afterwards.
    unsafe {
        let copy = CStr::from_ptr(text).to_string_lossy().into_owned();
        dds::dds_free(text.cast());
        copy
    }
}

pub(crate) fn c_name(name: &str) -> Result<CString, EntityError> {
    CString::new(name).map_err(|_nul| EntityError::Name(name.to_owned()))
}
