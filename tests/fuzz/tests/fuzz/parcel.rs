//! Sealed files of the rescue: whatever a stick was through on its way, the intact is read and nothing panics.

use std::convert::Infallible;
use std::io::Cursor;

use efd_edge_inspect::send::parcel::Parcel;
use efd_shared_model::block::PAYLOAD_BYTES_MAX;
use efd_tests_fuzz::{Rng, Target, told};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

/// Of PARCEL.md.
const HEADER_BYTES: usize = 14;
const END: u8 = 4;

/// The kept file, sometimes without some of its entries.
fn seed(rng: &mut Rng) -> Vec<u8> {
    let whole = include_bytes!("../../../../edge/inspect/fixtures/v1.efdparcel");
    if rng.one_in(2) {
        return whole.to_vec();
    }
    let mut some = whole[..HEADER_BYTES].to_vec();
    for (from, to) in entries(whole) {
        if whole[from] == 3 && rng.one_in(3) {
            continue;
        }
        some.extend_from_slice(&whole[from..to]);
    }
    repair(&mut some);
    some
}

/// Where entries begin and end, as their lengths say.
fn entries(bytes: &[u8]) -> Vec<(usize, usize)> {
    let (mut found, mut at) = (Vec::new(), HEADER_BYTES);
    while let Some(length) = bytes.get(at + 1..).and_then(<[u8]>::first_chunk::<4>) {
        let end = (at + 5 + 8).checked_add(u32::from_le_bytes(*length) as usize);
        let Some(end) = end.filter(|end| *end <= bytes.len()) else {
            break;
        };
        found.push((at, end));
        at = end;
    }
    found
}

/// Every checksum becomes right, and so does the end.
fn repair(bytes: &mut [u8]) {
    if bytes.len() < HEADER_BYTES {
        return;
    }
    let header = xxh3_64(&bytes[..6]).to_le_bytes();
    bytes[6..HEADER_BYTES].copy_from_slice(&header);
    let (mut sums, mut blocks) = (Xxh3::new(), 0u8);
    for (from, to) in entries(bytes) {
        if bytes[from] == END && to - from == 5 + 17 + 8 {
            bytes[from + 5] = blocks;
            bytes[from + 6..to - 8].copy_from_slice(&sums.digest128().to_le_bytes());
        }
        blocks = blocks.wrapping_add(u8::from(bytes[from] == 3)) & 0x7f;
        let sum = xxh3_64(&bytes[from..to - 8]).to_le_bytes();
        bytes[to - 8..to].copy_from_slice(&sum);
        sums.update(&sum);
    }
}

fn run(input: &[u8]) -> u64 {
    let mut parcel = match Parcel::open(Cursor::new(input.to_vec())) {
        Ok(parcel) => parcel,
        Err(error) => return told(&error),
    };
    let faults = parcel.faults().len() as u64;
    let mut bad = 0;
    let fault = |_, _| {
        bad += 1;
        Ok::<_, Infallible>(())
    };
    let (whole, _) = parcel
        .check(fault, |_, _| Ok(()))
        .unwrap_or_else(|never| match never {});
    // What is said to be held is whole or named.
    let held: u64 = parcel
        .held()
        .iter()
        .flat_map(|epoch| &epoch.lanes)
        .map(|lane| lane.held.member_count())
        .sum();
    assert_eq!(held, whole + bad);
    whole << 16 | faults.min(255) << 8 | bad.min(255)
}

fn accepts(input: &[u8]) -> bool {
    let parcel = Parcel::open(Cursor::new(input.to_vec()));
    parcel.is_ok_and(|parcel| parcel.faults().is_empty())
}

#[test]
fn sealed_files() {
    super::run(&Target {
        name: "parcel",
        seed,
        run,
        accepts,
        repair: Some(|bytes| repair(bytes)),
        words: &[],
        // One block at a time is decompressed whole, and what it states of its length may be asked for.
        memory_max: |bytes| PAYLOAD_BYTES_MAX as u64 + super::few(bytes),
    });
}
