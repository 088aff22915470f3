//! Makes an input another one.

use crate::rng::Rng;

/// Inputs are not grown beyond this.
const BYTES_MAX: usize = 64 << 10;

/// Values at the edges of types and of the project's limits.
const EDGES: [u64; 22] = [
    0,
    1,
    2,
    3,
    4,
    0x7f,
    0x80,
    0xff,
    0x100,
    0x7fff,
    0x8000,
    0xffff,
    0x1_0000,
    1 << 20,
    (1 << 20) + 1,
    32 << 20,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x7fff_ffff_ffff_ffff,
    0x8000_0000_0000_0000,
    u64::MAX,
];

/// One to eight changes. `other` is what a splice takes from; `words` are put in as they are.
pub(crate) fn mutate(input: &[u8], other: &[u8], words: &[&str], rng: &mut Rng) -> Vec<u8> {
    let mut bytes = input.to_vec();
    for _ in 0..=rng.below(8).min(rng.below(8)) {
        change(&mut bytes, other, words, rng);
    }
    bytes.truncate(BYTES_MAX);
    bytes
}

fn change(bytes: &mut Vec<u8>, other: &[u8], words: &[&str], rng: &mut Rng) {
    let at = rng.below(bytes.len());
    match rng.below(12) {
        0 | 1 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << rng.below(8);
            }
        }
        2 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = rng.draw() as u8;
            }
        }
        3 => bytes.truncate(at),
        // A length or a count: over what is there, at a place that a field may begin at.
        4 | 5 => overwrite(bytes, at, &number(rng)),
        6 => {
            let at = at & !3;
            overwrite(bytes, at, &number(rng));
        }
        7 => insert(bytes, at, &number(rng)),
        8 => {
            let random: [u8; 8] = rng.bytes();
            let length = 1 + rng.below(8);
            insert(bytes, at, &random[..length]);
        }
        9 => {
            let end = (at + 1 + rng.below(32)).min(bytes.len());
            bytes.drain(at.min(end)..end);
        }
        10 => {
            // The begin of this, the end of the other; or a piece of it in the middle.
            let begin = rng.below(other.len());
            if rng.one_in(2) {
                bytes.truncate(at);
                bytes.extend_from_slice(&other[begin..]);
            } else {
                let end = (begin + 1 + rng.below(64)).min(other.len());
                insert(bytes, at, &other[begin.min(end)..end]);
            }
        }
        _ => match rng.pick(words) {
            Some(word) => insert(bytes, at, word.as_bytes()),
            None => {
                let end = (at + 1 + rng.below(64)).min(bytes.len());
                let piece = bytes[at.min(end)..end].to_vec();
                insert(bytes, at, &piece);
            }
        },
    }
}

/// As a varint, or in 1, 2, 4 or 8 bytes of either order; sometimes one beside an edge.
fn number(rng: &mut Rng) -> Vec<u8> {
    let edge = rng.pick(&EDGES).copied().unwrap_or_default();
    let value = match rng.below(4) {
        0 => edge.wrapping_add(1),
        1 => edge.wrapping_sub(1),
        2 => edge,
        _ => rng.skewed(),
    };
    let little = value.to_le_bytes();
    let width = 1 << rng.below(4);
    match rng.below(3) {
        0 => little[..width].to_vec(),
        1 => value.to_be_bytes()[8 - width..].to_vec(),
        _ => varint(value),
    }
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    out
}

fn overwrite(bytes: &mut [u8], at: usize, with: &[u8]) {
    for (byte, &new) in bytes.iter_mut().skip(at).zip(with) {
        *byte = new;
    }
}

fn insert(bytes: &mut Vec<u8>, at: usize, new: &[u8]) {
    let at = at.min(bytes.len());
    bytes.splice(at..at, new.iter().copied());
}
