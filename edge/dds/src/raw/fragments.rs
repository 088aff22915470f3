//! The one place that reads the library's receive buffers: a sample is a chain of fragments, each a span of bytes in a received
//! packet.
//!
//! The layout comes from the bindings, which check it against the headers when they are built; [`layout_agrees`] asks the linked
//! library itself. (A debug build of the headers has one more field at the end of `ddsi_rdata`; nothing here takes one by value.)

use std::mem::{offset_of, size_of};

use cyclonedds_sys as dds;

// The packet begins right behind the message structure (`DDSI_RMSG_PAYLOAD`), of which the chunk is the last member.
const _: () = assert!(
    size_of::<dds::ddsi_rmsg>()
        == offset_of!(dds::ddsi_rmsg, chunk) + size_of::<dds::ddsi_rmsg_chunk>()
);
// Offsets inside a packet are counted in bytes, in 16 bits.
const _: () = assert!(
    offset_of!(dds::ddsi_rdata, payload_zoff) + 2 == offset_of!(dds::ddsi_rdata, keyhash_zoff)
);

/// RTPS header: magic, version, vendor, then the sender's 12-byte GUID prefix.
const HEADER_PREFIX_AT: usize = 8;
/// DATA and DATA_FRAG alike: submessage header, flags, offset to QoS, reader id, then the 4-byte writer id.
const SUBMESSAGE_WRITER_AT: usize = 12;

/// Start of the packet that a fragment is part of.
///
/// # Safety
/// `fragment` is one of the chain that the library handed to `from_ser`, during that call.
unsafe fn packet(fragment: *const dds::ddsi_rdata) -> *const u8 {
    // SAFETY: by contract the fragment and its message are alive, and the packet follows the message (asserted above).
    unsafe { (*fragment).rmsg.add(1).cast::<u8>() }
}

/// Copies the `dst.len()` bytes of a sample out of its fragments, which may overlap. `false` if they leave a hole.
///
/// # Safety
/// `first` is the chain that the library handed to `from_ser`, during that call.
pub(super) unsafe fn copy(
    first: *const dds::ddsi_rdata,
    dst: &mut [std::mem::MaybeUninit<u8>],
) -> bool {
    let mut done = 0;
    let mut fragment = first;
    while !fragment.is_null() && done < dst.len() {
        // SAFETY: non-null members of the chain are alive during the call.
        let (min, end, zoff, next) = unsafe {
            (
                (*fragment).min as usize,
                (*fragment).maxp1 as usize,
                (*fragment).payload_zoff as usize,
                (*fragment).nextfrag,
            )
        };
        if min > done {
            return false;
        }
        let end = end.min(dst.len());
        if end > done {
            // SAFETY: the library checked that the packet holds the bytes `min..maxp1` of the sample from `payload_zoff` on, and
            // `min <= done < end <= maxp1`. The destination has room for `end <= dst.len()`. Receive buffer and new sample are
            // different allocations.
            unsafe {
                let source = packet(fragment).add(zoff).add(done - min);
                std::ptr::copy_nonoverlapping(
                    source,
                    dst.as_mut_ptr().add(done).cast::<u8>(),
                    end - done,
                );
            }
            done = end;
        }
        fragment = next;
    }
    done == dst.len()
}

/// The key hash that came with the sample.
///
/// # Safety
/// As [`copy`].
pub(super) unsafe fn key_hash(first: *const dds::ddsi_rdata) -> Option<[u8; 16]> {
    // SAFETY: the library's own accessor on its own chain; what it returns points into the packet.
    unsafe {
        dds::ddsi_serdata_keyhash_from_fragchain(first)
            .as_ref()
            .map(|hash| hash.value)
    }
}

/// GUID of the writer, from the packet.
///
/// # Safety
/// As [`copy`].
pub(super) unsafe fn writer_guid(first: *const dds::ddsi_rdata) -> [u8; 16] {
    let mut guid = [0; 16];
    // SAFETY: every packet that carries a sample begins with a 20-byte RTPS header and has, at `submsg_zoff`, a DATA or
    // DATA_FRAG submessage of at least 20 bytes: the library has parsed both. Bytes have no alignment.
    unsafe {
        let packet = packet(first);
        let writer = packet.add((*first).submsg_zoff as usize + SUBMESSAGE_WRITER_AT);
        std::ptr::copy_nonoverlapping(packet.add(HEADER_PREFIX_AT), guid.as_mut_ptr(), 12);
        std::ptr::copy_nonoverlapping(writer, guid.as_mut_ptr().add(12), 4);
    }
    guid
}

/// Whether the linked library finds a key hash in a made-up message where we would look for it.
pub(crate) fn layout_agrees() -> bool {
    #[repr(C)]
    struct Message {
        head: dds::ddsi_rmsg,
        packet: [u8; 64],
    }
    const KEY_AT: u16 = 24;
    let mut message = Message {
        head: dds::ddsi_rmsg::default(),
        packet: std::array::from_fn(|i| i as u8),
    };
    let rmsg = (&raw mut message).cast::<dds::ddsi_rmsg>();
    let fragment = dds::ddsi_rdata {
        rmsg,
        maxp1: 8,
        payload_zoff: 48,
        keyhash_zoff: KEY_AT,
        ..dds::ddsi_rdata::default()
    };
    let mut copied = [std::mem::MaybeUninit::uninit(); 8];
    // SAFETY: the made-up fragment points to a message that is followed by 64 bytes, and every offset is within them.
    let (hash, whole) = unsafe {
        (
            key_hash(&raw const fragment),
            copy(&raw const fragment, &mut copied),
        )
    };
    // SAFETY: read only where `copy` said that all 8 bytes are written.
    let copied = whole.then(|| copied.map(|byte| unsafe { byte.assume_init() }));
    hash == Some(std::array::from_fn(|i| i as u8 + KEY_AT as u8))
        && copied == Some([48, 49, 50, 51, 52, 53, 54, 55])
}

#[cfg(test)]
mod tests {
    use std::mem::MaybeUninit;

    use super::*;

    #[repr(C)]
    struct Message {
        head: dds::ddsi_rmsg,
        packet: [u8; 32],
    }

    /// A sample of 16 bytes 0, 1, 2 …, cut as told, each fragment in a packet of its own behind 8 bytes of noise.
    fn copied(spans: &[(u32, u32)], len: usize) -> Option<Vec<u8>> {
        let mut messages: Vec<Box<Message>> = spans
            .iter()
            .map(|(min, end)| {
                let mut packet = [0xee; 32];
                for (i, byte) in (*min..*end).enumerate() {
                    packet[8 + i] = byte as u8;
                }
                Box::new(Message {
                    head: dds::ddsi_rmsg::default(),
                    packet,
                })
            })
            .collect();
        let mut chain: Vec<Box<dds::ddsi_rdata>> = Vec::new();
        for ((min, maxp1), message) in spans.iter().zip(&mut messages).rev() {
            let nextfrag = chain
                .last_mut()
                .map_or(std::ptr::null_mut(), |next| &raw mut **next);
            let rmsg = (&raw mut **message).cast::<dds::ddsi_rmsg>();
            chain.push(Box::new(dds::ddsi_rdata {
                rmsg,
                nextfrag,
                min: *min,
                maxp1: *maxp1,
                payload_zoff: 8,
                ..dds::ddsi_rdata::default()
            }));
        }
        let first = chain
            .last()
            .map_or(std::ptr::null(), |first| &raw const **first);
        let mut out = vec![MaybeUninit::new(0xff); len];
        // SAFETY: a well-formed chain that outlives the call; `out` was initialised.
        unsafe {
            copy(first, &mut out).then(|| out.iter().map(|byte| byte.assume_init()).collect())
        }
    }

    #[test]
    fn fragments_are_joined_overlaps_are_cut_holes_are_refused() {
        let whole: Vec<u8> = (0..16).collect();
        for spans in [
            &[(0, 16)][..],
            &[(0, 4), (4, 12), (12, 16)],
            &[(0, 10), (4, 12), (2, 16)],
            &[(0, 16), (3, 9)],
            &[(0, 8), (0, 4), (8, 16)],
            &[(0, 8), (8, 20)],
        ] {
            assert_eq!(copied(spans, 16).as_deref(), Some(&whole[..]), "{spans:?}");
        }
        for spans in [&[(0, 8), (9, 16)][..], &[(1, 16)], &[(0, 15)], &[]] {
            assert_eq!(copied(spans, 16), None, "{spans:?}");
        }
    }

    #[test]
    fn the_linked_library_agrees() {
        assert!(layout_agrees());
    }
}
