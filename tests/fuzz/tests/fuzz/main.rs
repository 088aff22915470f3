//! One test for each parser. See the crate for how they are run, replayed and kept.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test stops where it fails, in its helpers too"
)]

use efd_tests_fuzz::{CountingAllocator, Target, fuzz};

mod avro;
mod blocks;
mod buffer;
mod frames;
mod general;
mod model;
mod parcel;
mod text;
mod transcode;
mod xtypes;

#[global_allocator]
static COUNTING: CountingAllocator = CountingAllocator;

fn run(target: &Target) {
    fuzz(target, env!("CARGO_MANIFEST_DIR"));
}

/// What a parser may hold for a small structure: a multiple of its input, and a little.
fn few(bytes: usize) -> u64 {
    (64 << 10) + 64 * bytes as u64
}

/// A limit that is never reached proves nothing: this target reserves what four bytes tell it to.
#[test]
fn an_allocation_by_a_stated_length_is_found() {
    let folder = std::env::temp_dir().join(format!("efd-fuzz-memory-{}", std::process::id()));
    let target = Target {
        name: "planted",
        seed: |_| vec![16, 0, 0, 0],
        run: |input| {
            let length = input
                .first_chunk::<4>()
                .map_or(0, |bytes| u32::from_le_bytes(*bytes));
            std::hint::black_box(Vec::<u8>::with_capacity(length as usize)).capacity() as u64
        },
        accepts: |_| true,
        repair: None,
        words: &[],
        memory_max: few,
    };
    let failed = std::panic::catch_unwind(|| fuzz(&target, &folder.display().to_string()));
    std::fs::remove_dir_all(&folder).unwrap();
    let cause = failed.unwrap_err();
    let text = cause.downcast_ref::<String>().unwrap();
    assert!(text.contains("bytes of memory for"), "{text}");
}
