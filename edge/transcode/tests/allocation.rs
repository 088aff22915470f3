//! Samples of any type are transcoded without an allocation, once the buffers have grown.

#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use efd_edge_transcode::{GeneralPlan, GeneralStamps, KeyOf};
use efd_shared_types::{GeneralTopic, TypeName, idl};

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

// SAFETY: every call goes to the system's allocator with the arguments as they came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _gone = ALLOCATIONS.try_with(|it| it.set(it.get() + 1));
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[test]
fn the_second_sample_allocates_nothing() {
    let parsed = idl::parse(
        "@mutable struct In { @id(1) long a; @id(2) string b; @id(3) sequence<double> c; };
         struct S { @key long k; sequence<In> list; wstring w; map<string, long> m; octet raw[4]; };",
    );
    assert_eq!(parsed.errors, []);
    let topic = GeneralTopic::of(&parsed.types(), &TypeName::new("S"), "t").unwrap();
    let plan = GeneralPlan::compile(&topic);
    let stamps = GeneralStamps {
        source: Some(1),
        received: 2,
    };
    // Members out of order: c, a, and no b.
    let inside = [20, 0x4000_0003, 4, 0, 0x2000_0001, 9];
    let words: Vec<u32> = [&[7, 4 + 2 * 24, 2][..], &inside, &inside, &[4, 0x20ac_0041]].concat();
    let map: [u32; 6] = [16, 1, 2, 0x61, 5, 0x0403_0201];
    let words = words.iter().chain(&map).flat_map(|word| word.to_le_bytes());
    let payload: Vec<u8> = [0, 7, 0, 0].into_iter().chain(words).collect();
    let (mut out, mut key) = (Vec::new(), Vec::new());
    let mut run = || {
        out.clear();
        key.clear();
        plan.transcode(&payload, &stamps, &mut out).unwrap();
        plan.key_bytes(&payload, KeyOf::Sample, &mut key).unwrap();
    };
    run();
    let before = ALLOCATIONS.get();
    (0..100).for_each(|_| run());
    assert_eq!(ALLOCATIONS.get(), before);
}
