//! The type object that a topic is made with: a name, whether it is keyed, and the operations on its samples.

use std::ffi::{CStr, c_void};
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use cyclonedds_sys as dds;

use super::key::Keying;
use super::serdata::SERDATA_OPS;

/// `DDSI_SERTYPE_FLAG_…`, macros that the bindings leave out.
const FLAG_NO_KEY: u32 = 1;
const FLAG_REQUEST_KEYHASH: u32 = 2;

/// Samples that arrived and could not be taken as they are.
#[derive(Debug, Default)]
pub(crate) struct TypeCounters {
    /// Keyed, but neither the key function nor the wire gave a key; kept under the writer's GUID.
    pub(crate) unkeyed: AtomicU64,
    /// Shorter than an encapsulation header, or with a hole; not kept.
    pub(crate) malformed: AtomicU64,
    /// Larger than the reader takes; not kept.
    pub(crate) oversize: AtomicU64,
}

/// What the library sees as a `ddsi_sertype`. Freed by the library's reference count.
#[repr(C)]
pub(crate) struct RawType {
    c: dds::ddsi_sertype,
    pub(super) keying: Keying,
    pub(super) counters: Arc<TypeCounters>,
    pub(super) payload_bytes_max: usize,
}

/// What a writer needs of its type to make samples. Does not keep the type alive (the type must not outlive its domain): the
/// library's writer does, and the pointer is only noted in samples, for that writer to recognise them by.
#[derive(Debug)]
pub(crate) struct TypeRef {
    pub(super) sertype: *const dds::ddsi_sertype,
    pub(super) keying: Keying,
    pub(super) hash_base: u32,
}

// SAFETY: the pointer is not followed; the rest is `Send + Sync`.
unsafe impl Send for TypeRef {}
// SAFETY: as above.
unsafe impl Sync for TypeRef {}

impl TypeRef {
    /// # Safety
    /// `sertype` was made by [`RawType::create`] and is alive during the call.
    pub(crate) unsafe fn new(sertype: *const dds::ddsi_sertype) -> Self {
        // SAFETY: by contract.
        let raw_type = unsafe { RawType::from_c(sertype) };
        Self {
            sertype,
            keying: raw_type.keying.clone(),
            hash_base: raw_type.hash_base(),
        }
    }
}

impl RawType {
    /// A new type with one reference, which is the caller's.
    pub(crate) fn create(
        name: &CStr,
        keying: Keying,
        payload_bytes_max: usize,
        counters: Arc<TypeCounters>,
    ) -> *mut dds::ddsi_sertype {
        let flags = match &keying {
            Keying::Keyless => FLAG_NO_KEY,
            // Readers so marked are sent the key hash by writers that can.
            Keying::Keyed(None) => FLAG_REQUEST_KEYHASH,
            Keying::Keyed(Some(_)) => 0,
        };
        let raw = Box::into_raw(Box::new(Self {
            c: dds::ddsi_sertype::default(),
            keying,
            counters,
            payload_bytes_max,
        }));
        let base = raw.cast::<dds::ddsi_sertype>();
        // SAFETY: `base` is the first member of a live `repr(C)` allocation; the operations are statics; the name is copied.
        unsafe {
            dds::ddsi_sertype_init_flags(base, name.as_ptr(), &SERTYPE_OPS.0, &SERDATA_OPS.0, flags)
        };
        base
    }

    /// # Safety
    /// `sertype` was made by [`create`](Self::create) and the library holds it for the duration of `'a`.
    pub(super) unsafe fn from_c<'a>(sertype: *const dds::ddsi_sertype) -> &'a Self {
        // SAFETY: `c` is the first member of a `repr(C)` structure.
        unsafe { &*sertype.cast::<Self>() }
    }

    pub(super) fn hash_base(&self) -> u32 {
        self.c.serdata_basehash
    }
}

/// The tables hold only function pointers and a null pointer.
pub(super) struct Table<T>(pub(super) T);
// SAFETY: nothing in the tables is ever written.
unsafe impl<T> Sync for Table<T> {}

static SERTYPE_OPS: Table<dds::ddsi_sertype_ops> = Table(dds::ddsi_sertype_ops {
    version: Some(dds::ddsi_sertype_v0),
    arg: ptr::null_mut(),
    free: Some(free),
    zero_samples: Some(zero_samples),
    realloc_samples: Some(realloc_samples),
    free_samples: Some(free_samples),
    equal: Some(equal),
    hash: Some(hash),
    type_id: None,
    type_map: None,
    type_info: None,
    derive_sertype: None,
    get_serialized_size: None,
    serialize_into: None,
});

unsafe extern "C" fn free(sertype: *mut dds::ddsi_sertype) {
    // SAFETY: called once, when the last reference is gone, on what `create` made; no sample looks at its type after the
    // entities that hold it are deleted.
    unsafe {
        dds::ddsi_sertype_fini(sertype);
        drop(Box::from_raw(sertype.cast::<RawType>()));
    }
}

/// Each reader and writer has a type of its own (its key function and counters), so types are equal only to themselves.
unsafe extern "C" fn equal(a: *const dds::ddsi_sertype, b: *const dds::ddsi_sertype) -> bool {
    ptr::eq(a, b)
}

unsafe extern "C" fn hash(sertype: *const dds::ddsi_sertype) -> u32 {
    ((sertype.addr() >> 4) as u64)
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        .to_be_bytes()[..4]
        .iter()
        .fold(0, |word, byte| word << 8 | u32::from(*byte))
}

// In-memory samples do not exist for this type; the library asks for them only in calls that we never make.

unsafe extern "C" fn zero_samples(_: *const dds::ddsi_sertype, _: *mut c_void, _: usize) {}

unsafe extern "C" fn realloc_samples(
    pointers: *mut *mut c_void,
    _: *const dds::ddsi_sertype,
    _: *mut c_void,
    _: usize,
    count: usize,
) {
    for i in 0..count {
        // SAFETY: the library passes an array of `count` pointers to fill.
        unsafe { pointers.add(i).write(ptr::null_mut()) };
    }
}

unsafe extern "C" fn free_samples(
    _: *const dds::ddsi_sertype,
    _: *mut *mut c_void,
    _: usize,
    _: dds::dds_free_op_t,
) {
}
