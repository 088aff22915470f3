//! The operations as the library calls them, on messages made by hand.

use std::sync::Arc;

use super::super::key::KeyBuf;
use super::super::sertype::TypeCounters;
use super::*;

#[repr(C)]
struct Message {
    head: dds::ddsi_rmsg,
    packet: [u8; 128],
}

const PREFIX: [u8; 12] = [1, 16, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];
const SUBMESSAGE_AT: usize = 20;
const HASH_AT: usize = 44;
const PAYLOAD_AT: usize = 64;

struct Type {
    sertype: *mut dds::ddsi_sertype,
    counters: Arc<TypeCounters>,
}

impl Type {
    fn new(keying: Keying) -> Self {
        let counters = Arc::new(TypeCounters::default());
        Self {
            sertype: RawType::create(c"T", keying, 50, Arc::clone(&counters)),
            counters,
        }
    }

    /// One packet, with or without a key hash, from the writer with that last byte.
    fn receive(
        &self,
        payload: &[u8],
        size: usize,
        hash: Option<u8>,
        writer: u8,
    ) -> *mut dds::ddsi_serdata {
        let mut packet = [0; 128];
        packet[8..20].copy_from_slice(&PREFIX);
        packet[SUBMESSAGE_AT + 15] = writer;
        packet[HASH_AT..HASH_AT + 16].fill(hash.unwrap_or(0));
        packet[PAYLOAD_AT..PAYLOAD_AT + payload.len()].copy_from_slice(payload);
        let mut message = Message {
            head: dds::ddsi_rmsg::default(),
            packet,
        };
        let fragment = dds::ddsi_rdata {
            rmsg: (&raw mut message).cast(),
            maxp1: payload.len() as u32,
            submsg_zoff: SUBMESSAGE_AT as u16,
            payload_zoff: PAYLOAD_AT as u16,
            keyhash_zoff: if hash.is_some() { HASH_AT as u16 } else { 0 },
            ..dds::ddsi_rdata::default()
        };
        // SAFETY: a live type, and a chain of one fragment that outlives the call.
        unsafe {
            from_ser(
                self.sertype,
                dds::ddsi_serdata_kind_SDK_DATA,
                &raw const fragment,
                size,
            )
        }
    }

    fn counts(&self) -> (u64, u64, u64) {
        let TypeCounters {
            unkeyed,
            malformed,
            oversize,
        } = &*self.counters;
        (
            unkeyed.load(Ordering::Relaxed),
            malformed.load(Ordering::Relaxed),
            oversize.load(Ordering::Relaxed),
        )
    }
}

impl Drop for Type {
    fn drop(&mut self) {
        // SAFETY: the one reference.
        unsafe { dds::ddsi_sertype_unref(self.sertype) };
    }
}

fn key(data: *mut dds::ddsi_serdata) -> InstanceKey {
    // SAFETY: the tests pass live samples.
    unsafe { RawData::key(data.cast()) }
}

fn drop_all(samples: &[*mut dds::ddsi_serdata]) {
    for sample in samples {
        // SAFETY: each the one reference.
        unsafe { dds::ddsi_serdata_unref(*sample) };
    }
}

/// The first four bytes behind the header, which are little-endian.
fn by_first_number() -> Keying {
    Keying::Keyed(Some(Arc::new(|payload: &[u8], key: &mut KeyBuf| {
        let Some(bytes) = payload.get(4..8) else {
            return false;
        };
        key.push(&[bytes[3], bytes[2], bytes[1], bytes[0]]);
        true
    })))
}

#[test]
fn sizes_that_cannot_be_are_counted_and_discarded() {
    for keying in [Keying::Keyless, Keying::Keyed(None), by_first_number()] {
        let of = Type::new(keying);
        for size in 0..4 {
            assert_eq!(
                of.receive(&[0; 4], size, None, 1),
                discard(),
                "{size} bytes"
            );
        }
        assert_eq!(
            of.receive(&[0; 51], 51, None, 1),
            discard(),
            "above the limit"
        );
        assert_eq!(of.receive(&[0; 4], usize::MAX, None, 1), discard());
        assert_eq!(
            of.receive(&[0; 20], 24, None, 1),
            discard(),
            "a hole at the end"
        );
        assert_eq!(of.counts(), (0, 5, 2));
    }
}

#[test]
fn payload_is_what_was_received_with_zeros_behind() {
    let of = Type::new(Keying::Keyless);
    for size in 4..=50 {
        let payload: Vec<u8> = (1..=size as u8).collect();
        let data = of.receive(&payload, size, None, 1);
        let mut sent = [0xff; 52];
        // SAFETY: a live sample; the buffer has room for all of it.
        unsafe {
            assert_eq!(RawData::payload(data.cast()), payload);
            let padded = size.next_multiple_of(4);
            to_ser(data, 0, padded, sent.as_mut_ptr().cast());
            assert_eq!(sent[..size], payload);
            assert!(
                sent[size..padded].iter().all(|byte| *byte == 0)
                    && sent[padded..].iter().all(|byte| *byte == 0xff)
            );
            // Beyond the end there is nothing to copy.
            to_ser(data, 1000, 4, sent.as_mut_ptr().cast());
        }
        assert_eq!(key(data), InstanceKey::KEYLESS);
        drop_all(&[data]);
    }
}

#[test]
fn key_comes_from_the_function_then_the_wire_then_the_writer() {
    let of = Type::new(by_first_number());
    let sample = |n: u8| [0, 1, 0, 0, n, 0, 0, 0, 99];
    let [a, b, c] =
        [(1, None), (1, Some(7)), (2, None)].map(|(n, hash)| of.receive(&sample(n), 9, hash, 1));
    assert_eq!(key(a), key(b), "the function is asked first");
    assert_ne!(key(a), key(c));
    // SAFETY: live samples of ours.
    assert!(unsafe { eqkey(a, b) && !eqkey(a, c) && (*a).hash == (*b).hash });
    // Too short for the function.
    let [d, e, f] = [(Some(7), 1), (None, 1), (None, 2)]
        .map(|(hash, writer)| of.receive(&[0, 1, 0, 0], 4, hash, writer));
    assert_eq!(key(d), InstanceKey::from_wire([7; 16]));
    assert_ne!(key(e), key(f), "two writers are never one instance");
    assert_eq!(key(e).bytes()[..12], PREFIX);
    assert_eq!(of.counts(), (2, 0, 0));
    // SAFETY: a live sample, a live type.
    unsafe {
        let untyped = to_untyped(a);
        assert!(eqkey(untyped, a) && (*untyped).hash == (*a).hash && (*untyped).type_.is_null());
        assert_eq!(RawData::payload(untyped.cast()), b"");
        let mut number = [0; 16];
        number[3] = 1;
        let mut hash = dds::ddsi_keyhash::default();
        get_keyhash(a, &raw mut hash, false);
        assert_eq!(hash.value, number, "short keys are sent as they are");
        let from_hash = from_keyhash(of.sertype, &raw const hash);
        assert!(
            eqkey(from_hash, a),
            "and recognised when only the hash comes"
        );
        drop_all(&[untyped, from_hash]);
    }
    drop_all(&[a, b, c, d, e, f]);
}

#[test]
fn without_a_function_the_wire_is_asked() {
    let of = Type::new(Keying::Keyed(None));
    let samples = [(Some(1), 1), (Some(2), 1), (Some(1), 2), (None, 1)]
        .map(|(hash, writer)| of.receive(&[0; 8], 8, hash, writer));
    let [a, b, c, d] = samples.map(key);
    assert!(a != b && a == c && d != a && d != b);
    assert_eq!(of.counts().0, 1);
    drop_all(&samples);
}

#[test]
fn pieces_are_joined_and_short_ones_refused() {
    let of = Type::new(Keying::Keyless);
    let mut bytes: Vec<u8> = (0..12).collect();
    let (head, tail) = bytes.split_at_mut(5);
    let pieces = [head, tail].map(|piece| dds::ddsrt_iovec_t {
        iov_base: piece.as_mut_ptr().cast(),
        iov_len: piece.len(),
    });
    // SAFETY: two live pieces of 12 bytes together.
    unsafe {
        let whole = from_ser_iov(
            of.sertype,
            dds::ddsi_serdata_kind_SDK_DATA,
            2,
            pieces.as_ptr(),
            12,
        );
        assert_eq!(RawData::payload(whole.cast()), (0..12).collect::<Vec<u8>>());
        let part = from_ser_iov(
            of.sertype,
            dds::ddsi_serdata_kind_SDK_DATA,
            2,
            pieces.as_ptr(),
            7,
        );
        assert_eq!(RawData::payload(part.cast()), [0, 1, 2, 3, 4, 5, 6]);
        drop_all(&[whole, part]);
        assert_eq!(
            from_ser_iov(
                of.sertype,
                dds::ddsi_serdata_kind_SDK_DATA,
                2,
                pieces.as_ptr(),
                13
            ),
            discard()
        );
        assert_eq!(
            from_ser_iov(
                of.sertype,
                dds::ddsi_serdata_kind_SDK_DATA,
                0,
                pieces.as_ptr(),
                3
            ),
            discard()
        );
    }
    assert_eq!(of.counts(), (0, 2, 0));
}
