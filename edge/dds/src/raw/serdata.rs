//! One sample as the library carries it: its header, our few fields, the payload right behind them, in one allocation.

use std::alloc::{Layout, alloc, dealloc};
use std::cell::UnsafeCell;
use std::ffi::{c_char, c_void};
use std::mem::{MaybeUninit, size_of};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicBool, Ordering};

use cyclonedds_sys as dds;

use super::fragments;
use super::key::{InstanceKey, Keying, PayloadKind};
use super::sertype::{RawType, Table, TypeRef};
use crate::clock::Reception;
use crate::error::WriteError;

/// The protocol counts sizes in 32 bits, the library's allocator helpers in signed ones.
pub(crate) const PAYLOAD_BYTES_MAX: usize = 1 << 30;
/// Each payload begins with an encapsulation header.
const HEADER_BYTES: usize = 4;

/// What the library sees as a `ddsi_serdata`. Never behind a Rust reference, as the library counts references in it from any
/// thread; reached through raw pointers, field by field. Reference counted by the library; any thread may drop the last reference, even
/// after the domain is gone: freeing looks at this allocation only.
#[repr(C)]
pub(crate) struct RawData {
    c: dds::ddsi_serdata,
    size: u32,
    key: InstanceKey,
    /// Whoever turned this from `false` to `true` owns `link`.
    claimed: AtomicBool,
    link: UnsafeCell<Link>,
    // `size` bytes of payload follow.
}

/// What the ring keeps with a sample.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Link {
    pub(crate) next: *mut RawData,
    pub(crate) reader: u32,
    pub(crate) valid: bool,
    pub(crate) instance_state: u32,
    pub(crate) instance_handle: u64,
    pub(crate) publication_handle: u64,
    pub(crate) source_timestamp_ns: i64,
    pub(crate) received: Reception,
}

const PREFIX_BYTES: usize = size_of::<RawData>();
const _: () = assert!(
    PREFIX_BYTES.is_multiple_of(8),
    "payloads are aligned to 8 bytes, as CDR readers like them"
);
const _: () = assert!(
    PREFIX_BYTES <= 192,
    "a small sample should not be mostly header"
);

/// Of a sample with `size` bytes of payload: room up to the next multiple of 4, which the protocol may send.
fn layout(size: usize) -> Option<Layout> {
    if size > PAYLOAD_BYTES_MAX {
        return None;
    }
    Layout::from_size_align(
        PREFIX_BYTES + size.next_multiple_of(4),
        align_of::<RawData>().max(8),
    )
    .ok()
}

impl RawData {
    /// The payload with its encapsulation header; empty for what has only a key.
    ///
    /// # Safety
    /// The caller holds a reference to `this` for the duration of `'a`.
    pub(crate) unsafe fn payload<'a>(this: *const Self) -> &'a [u8] {
        // SAFETY: `new` allocated `size` bytes behind the structure and whoever called it initialised them before anyone else
        // saw the sample; they are never written again.
        unsafe { std::slice::from_raw_parts(this.add(1).cast::<u8>(), (*this).size as usize) }
    }

    /// # Safety
    /// As [`payload`](Self::payload).
    pub(crate) unsafe fn key(this: *const Self) -> InstanceKey {
        // SAFETY: alive by contract.
        unsafe { (*this).key }
    }

    /// Bytes of memory that the sample holds.
    ///
    /// # Safety
    /// As [`payload`](Self::payload).
    pub(crate) unsafe fn memory_bytes(this: *const Self) -> usize {
        // SAFETY: alive by contract.
        PREFIX_BYTES + unsafe { (*this).size as usize }
    }

    /// Our view of a sample of the library, if it is one of ours.
    ///
    /// # Safety
    /// `serdata` points to a live sample.
    pub(crate) unsafe fn from_c(serdata: *mut dds::ddsi_serdata) -> Option<NonNull<Self>> {
        // SAFETY: alive by contract.
        let ours = unsafe { ptr::eq((*serdata).ops, &SERDATA_OPS.0) };
        ours.then(|| NonNull::new(serdata.cast::<Self>())).flatten()
    }

    /// Takes the link for one holder. `false`: another holder has it (two readers were given the same sample).
    ///
    /// # Safety
    /// The caller holds a reference to `this`.
    pub(crate) unsafe fn claim(this: NonNull<Self>) -> bool {
        // SAFETY: alive by contract. Acquire: what the holder before wrote into the link is behind us.
        unsafe { !(*this.as_ptr()).claimed.swap(true, Ordering::Acquire) }
    }

    /// Gives the link back.
    ///
    /// # Safety
    /// The caller owns the claim, and does not touch the link afterwards.
    pub(crate) unsafe fn release(this: NonNull<Self>) {
        // SAFETY: alive by contract.
        unsafe { (*this.as_ptr()).claimed.store(false, Ordering::Release) }
    }

    /// # Safety
    /// The caller owns the claim; it makes no two references at once.
    pub(crate) unsafe fn link(this: NonNull<Self>) -> *mut Link {
        // SAFETY: alive by contract.
        unsafe { (*this.as_ptr()).link.get() }
    }

    /// A sample of its own with the same content, for the second holder. `None` without memory.
    ///
    /// # Safety
    /// The caller holds a reference to `this`.
    pub(crate) unsafe fn duplicate(this: NonNull<Self>) -> Option<NonNull<Self>> {
        // SAFETY: alive by contract; `new` gives room for as many bytes as are copied, in another allocation.
        unsafe {
            let source = this.as_ptr();
            let copy = NonNull::new(new(
                (*source).c.type_,
                (*source).c.kind,
                (*source).size as usize,
            ))?;
            fill(copy.as_ptr(), Self::payload(source));
            (*copy.as_ptr()).key = (*source).key;
            Some(copy)
        }
    }

    /// # Safety
    /// The caller owns one reference, and with this call no longer.
    pub(crate) unsafe fn unref(this: NonNull<Self>) {
        // SAFETY: `c` is the first member.
        unsafe { dds::ddsi_serdata_unref(this.as_ptr().cast()) }
    }

    /// # Safety
    /// The caller is the only one that knows of the sample.
    pub(crate) unsafe fn set_source(this: NonNull<Self>, timestamp_ns: i64, statusinfo: u32) {
        // SAFETY: exclusive by contract.
        unsafe {
            let c = &mut (*this.as_ptr()).c;
            c.timestamp = dds::ddsrt_wctime_t { v: timestamp_ns };
            c.statusinfo = statusinfo;
        }
    }
}

/// A sample with an uninitialised payload and no key; null without memory or above the limit. `sertype` is only noted, so it may
/// be null.
///
/// # Safety
/// The payload must be filled before anyone else sees the sample.
unsafe fn new(
    sertype: *const dds::ddsi_sertype,
    kind: dds::ddsi_serdata_kind,
    size: usize,
) -> *mut RawData {
    let Some(layout) = layout(size) else {
        return ptr::null_mut();
    };
    // SAFETY: the layout is not empty.
    let raw = unsafe { alloc(layout) }.cast::<RawData>();
    if raw.is_null() {
        return raw;
    }
    let c = dds::ddsi_serdata {
        ops: &raw const SERDATA_OPS.0,
        refc: dds::ddsrt_atomic_uint32_t { v: 1 },
        kind,
        type_: sertype,
        timestamp: dds::ddsrt_wctime_t { v: i64::MIN },
        twrite: dds::ddsrt_mtime_t { v: i64::MIN },
        ..dds::ddsi_serdata::default()
    };
    let link = Link {
        next: ptr::null_mut(),
        reader: 0,
        valid: false,
        instance_state: 0,
        instance_handle: 0,
        publication_handle: 0,
        source_timestamp_ns: 0,
        received: Reception::default(),
    };
    let data = RawData {
        c,
        size: size as u32, // at most PAYLOAD_BYTES_MAX
        key: InstanceKey::KEYLESS,
        claimed: AtomicBool::new(false),
        link: UnsafeCell::new(link),
    };
    // SAFETY: fresh memory of the right size and alignment; the padding bytes behind the payload are within it.
    unsafe {
        raw.write(data);
        let end = raw.add(1).cast::<u8>().add(size);
        end.write_bytes(0, size.next_multiple_of(4) - size);
    }
    raw
}

/// # Safety
/// `data` is new and has room for `bytes`.
unsafe fn fill(data: *mut RawData, bytes: &[u8]) {
    // SAFETY: by contract.
    unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), data.add(1).cast::<u8>(), bytes.len()) }
}

/// The payload of a new sample, to be written.
///
/// # Safety
/// `data` is new, and alive for `'a`.
unsafe fn room<'a>(data: *mut RawData) -> &'a mut [MaybeUninit<u8>] {
    // SAFETY: allocated with `size` bytes behind it.
    unsafe { std::slice::from_raw_parts_mut(data.add(1).cast(), (*data).size as usize) }
}

/// Sets the key and the hash that the library finds instances by.
///
/// # Safety
/// `data` is new.
unsafe fn set_key(data: *mut RawData, hash_base: u32, key: InstanceKey) -> *mut dds::ddsi_serdata {
    // SAFETY: exclusive by contract.
    unsafe {
        (*data).key = key;
        (*data).c.hash = key.hash32() ^ hash_base;
    }
    data.cast()
}

/// A sample for a writer of type `of`. The caller owns the one reference.
pub(crate) fn build(
    of: &TypeRef,
    kind: PayloadKind,
    payload: &[u8],
) -> Result<NonNull<RawData>, WriteError> {
    if payload.len() < HEADER_BYTES {
        return Err(WriteError::TooShort(payload.len()));
    }
    let key = match &of.keying {
        Keying::Keyless => InstanceKey::KEYLESS,
        Keying::Keyed(key_of) => key_of
            .as_ref()
            .and_then(|key_of| InstanceKey::extract(key_of, kind, payload))
            .ok_or(WriteError::Unkeyable(payload.len()))?,
    };
    let c_kind = match kind {
        PayloadKind::Sample => dds::ddsi_serdata_kind_SDK_DATA,
        PayloadKind::KeyOnly => dds::ddsi_serdata_kind_SDK_KEY,
    };
    // SAFETY: a new sample with room for the payload, filled before it is returned.
    unsafe {
        let data = NonNull::new(new(of.sertype, c_kind, payload.len()))
            .ok_or(WriteError::TooLong(payload.len()))?;
        fill(data.as_ptr(), payload);
        set_key(data.as_ptr(), of.hash_base, key);
        Ok(data)
    }
}

/// The operations. None of them can panic: what they index is checked, and the caller's key function is fenced off.
pub(super) static SERDATA_OPS: Table<dds::ddsi_serdata_ops> = Table(dds::ddsi_serdata_ops {
    eqkey: Some(eqkey),
    get_size: Some(get_size),
    from_ser: Some(from_ser),
    from_ser_iov: Some(from_ser_iov),
    from_keyhash: Some(from_keyhash),
    from_sample: Some(from_sample),
    to_ser: Some(to_ser),
    to_ser_ref: Some(to_ser_ref),
    to_ser_unref: Some(to_ser_unref),
    to_sample: Some(to_sample),
    to_untyped: Some(to_untyped),
    untyped_to_sample: Some(untyped_to_sample),
    free: Some(free),
    print: Some(print),
    get_keyhash: Some(get_keyhash),
    from_loaned_sample: None,
    from_psmx: None,
});

/// `DDSI_SERDATA_FROM_SER_DISCARD`: not kept, and no line in the library's log per sample (a counter of ours tells).
fn discard() -> *mut dds::ddsi_serdata {
    ptr::without_provenance_mut(1)
}

fn payload_kind(kind: dds::ddsi_serdata_kind) -> PayloadKind {
    if kind == dds::ddsi_serdata_kind_SDK_KEY {
        PayloadKind::KeyOnly
    } else {
        PayloadKind::Sample
    }
}

/// Counts and refuses sizes that no sample of this type has.
fn size_is_wrong(raw_type: &RawType, size: usize) -> bool {
    if size < HEADER_BYTES {
        raw_type.counters.malformed.fetch_add(1, Ordering::Relaxed);
        return true;
    }
    if size > raw_type.payload_bytes_max {
        raw_type.counters.oversize.fetch_add(1, Ordering::Relaxed);
        return true;
    }
    false
}

/// From the caller's function, else from the wire, else one instance per writer.
fn key_for(
    raw_type: &RawType,
    kind: PayloadKind,
    payload: &[u8],
    hash: impl FnOnce() -> Option<[u8; 16]>,
    writer: impl FnOnce() -> [u8; 16],
) -> InstanceKey {
    let key_of = match &raw_type.keying {
        Keying::Keyless => return InstanceKey::KEYLESS,
        Keying::Keyed(key_of) => key_of,
    };
    key_of
        .as_ref()
        .and_then(|key_of| InstanceKey::extract(key_of, kind, payload))
        .or_else(|| hash().map(InstanceKey::from_wire))
        .unwrap_or_else(|| {
            raw_type.counters.unkeyed.fetch_add(1, Ordering::Relaxed);
            InstanceKey::from_writer(writer())
        })
}

unsafe extern "C" fn eqkey(a: *const dds::ddsi_serdata, b: *const dds::ddsi_serdata) -> bool {
    // SAFETY: the library compares samples with equal operations only, so both are ours, and alive.
    unsafe { RawData::key(a.cast()) == RawData::key(b.cast()) }
}

unsafe extern "C" fn get_size(data: *const dds::ddsi_serdata) -> u32 {
    // SAFETY: ours, and alive.
    unsafe { (*data.cast::<RawData>()).size }
}

unsafe extern "C" fn from_ser(
    sertype: *const dds::ddsi_sertype,
    kind: dds::ddsi_serdata_kind,
    fragments: *const dds::ddsi_rdata,
    size: usize,
) -> *mut dds::ddsi_serdata {
    // SAFETY: the library passes a live type of ours and the fragments of one sample, both for the duration of the call; the
    // payload is read only after `copy` filled it.
    unsafe {
        let raw_type = RawType::from_c(sertype);
        if size_is_wrong(raw_type, size) {
            return discard();
        }
        let data = new(sertype, kind, size);
        if data.is_null() {
            return ptr::null_mut();
        }
        if !fragments::copy(fragments, room(data)) {
            raw_type.counters.malformed.fetch_add(1, Ordering::Relaxed);
            free(data.cast());
            return discard();
        }
        let key = key_for(
            raw_type,
            payload_kind(kind),
            RawData::payload(data),
            || fragments::key_hash(fragments),
            || fragments::writer_guid(fragments),
        );
        set_key(data, raw_type.hash_base(), key)
    }
}

unsafe extern "C" fn from_ser_iov(
    sertype: *const dds::ddsi_sertype,
    kind: dds::ddsi_serdata_kind,
    count: dds::ddsrt_msg_iovlen_t,
    pieces: *const dds::ddsrt_iovec_t,
    size: usize,
) -> *mut dds::ddsi_serdata {
    // SAFETY: the library passes a live type of ours and `count` pieces, together `size` bytes, for the duration of the call.
    unsafe {
        let raw_type = RawType::from_c(sertype);
        if size_is_wrong(raw_type, size) {
            return discard();
        }
        let data = new(sertype, kind, size);
        if data.is_null() {
            return ptr::null_mut();
        }
        let start = data.add(1).cast::<u8>();
        let mut done = 0;
        for i in 0..count {
            let piece = &*pieces.add(i);
            let n = piece.iov_len.min(size - done);
            ptr::copy_nonoverlapping(piece.iov_base.cast::<u8>(), start.add(done), n);
            done += n;
        }
        if done < size {
            raw_type.counters.malformed.fetch_add(1, Ordering::Relaxed);
            free(data.cast());
            return discard();
        }
        // A writer in this very process: nobody asks for its GUID, so all that cannot be keyed share one instance.
        let key = key_for(
            raw_type,
            payload_kind(kind),
            RawData::payload(data),
            || None,
            || [0; 16],
        );
        set_key(data, raw_type.hash_base(), key)
    }
}

unsafe extern "C" fn from_keyhash(
    sertype: *const dds::ddsi_sertype,
    hash: *const dds::ddsi_keyhash_t,
) -> *mut dds::ddsi_serdata {
    // SAFETY: the library passes a live type of ours and a hash.
    unsafe {
        let raw_type = RawType::from_c(sertype);
        let data = new(sertype, dds::ddsi_serdata_kind_SDK_KEY, 0);
        if data.is_null() {
            return ptr::null_mut();
        }
        let key = match &raw_type.keying {
            Keying::Keyless => InstanceKey::KEYLESS,
            Keying::Keyed(_) => InstanceKey::from_wire((*hash).value),
        };
        set_key(data, raw_type.hash_base(), key)
    }
}

unsafe extern "C" fn to_ser(
    data: *const dds::ddsi_serdata,
    offset: usize,
    size: usize,
    buffer: *mut c_void,
) {
    // SAFETY: the sample is ours and alive, with memory up to the next multiple of 4; the buffer has room for `size` bytes.
    unsafe {
        let data = data.cast::<RawData>();
        let held = ((*data).size as usize).next_multiple_of(4);
        let n = held.saturating_sub(offset).min(size);
        ptr::copy_nonoverlapping(
            data.add(1).cast::<u8>().add(offset.min(held)),
            buffer.cast(),
            n,
        );
    }
}

unsafe extern "C" fn to_ser_ref(
    data: *const dds::ddsi_serdata,
    offset: usize,
    size: usize,
    piece: *mut dds::ddsrt_iovec_t,
) -> *mut dds::ddsi_serdata {
    // SAFETY: as `to_ser`; the reference taken here keeps the bytes until `to_ser_unref`.
    unsafe {
        let raw = data.cast::<RawData>();
        (*piece).iov_base = raw.add(1).cast::<u8>().add(offset).cast_mut().cast();
        (*piece).iov_len = size as _;
        dds::ddsi_serdata_ref(data)
    }
}

unsafe extern "C" fn to_ser_unref(data: *mut dds::ddsi_serdata, _: *const dds::ddsrt_iovec_t) {
    // SAFETY: gives back what `to_ser_ref` took.
    unsafe { dds::ddsi_serdata_unref(data) }
}

unsafe extern "C" fn to_untyped(data: *const dds::ddsi_serdata) -> *mut dds::ddsi_serdata {
    // SAFETY: the sample is ours and alive. The type of an untyped sample is never looked at.
    unsafe {
        let source = data.cast::<RawData>();
        let key_only = new(ptr::null(), dds::ddsi_serdata_kind_SDK_KEY, 0);
        if key_only.is_null() {
            // Out of memory: the sample itself also serves, at the cost of its payload.
            return dds::ddsi_serdata_ref(data);
        }
        (*key_only).key = (*source).key;
        (*key_only).c.hash = (*source).c.hash;
        key_only.cast()
    }
}

unsafe extern "C" fn free(data: *mut dds::ddsi_serdata) {
    // SAFETY: the last reference is gone. The layout is the one `new` allocated with: the size was accepted there and
    // does not change.
    unsafe {
        if let Some(layout) = layout((*data.cast::<RawData>()).size as usize) {
            dealloc(data.cast(), layout);
        }
    }
}

unsafe extern "C" fn get_keyhash(
    data: *const dds::ddsi_serdata,
    hash: *mut dds::ddsi_keyhash,
    _force_md5: bool,
) {
    // SAFETY: the sample is ours and alive; `hash` is for us to write.
    unsafe { (*hash).value = *RawData::key(data.cast()).bytes() }
}

unsafe extern "C" fn print(
    _: *const dds::ddsi_sertype,
    _: *const dds::ddsi_serdata,
    buffer: *mut c_char,
    size: usize,
) -> usize {
    if size > 0 {
        // SAFETY: the buffer has room for `size` characters.
        unsafe { buffer.write(0) };
    }
    0
}

// In-memory samples do not exist for this type.

unsafe extern "C" fn from_sample(
    _: *const dds::ddsi_sertype,
    _: dds::ddsi_serdata_kind,
    _: *const c_void,
) -> *mut dds::ddsi_serdata {
    ptr::null_mut()
}

unsafe extern "C" fn to_sample(
    _: *const dds::ddsi_serdata,
    _: *mut c_void,
    _: *mut *mut c_void,
    _: *mut c_void,
) -> bool {
    false
}

unsafe extern "C" fn untyped_to_sample(
    _: *const dds::ddsi_sertype,
    _: *const dds::ddsi_serdata,
    _: *mut c_void,
    _: *mut *mut c_void,
    _: *mut c_void,
) -> bool {
    false
}

#[cfg(test)]
mod tests;
