//! Looks at a WAL before SQLite recovers it. SQLite stops at the first frame whose checksum is wrong, which is right
//! for a commit that a power cut interrupted and silent about a flipped bit: all durable commits behind it vanish.
//!
//! A commit is synced before the next one begins, so a power cut spoils one at most. Where two or more commits of the
//! WAL's own salts lie at or behind a bad frame, the device has damaged what was durable. A flipped bit in the last
//! commit of all cannot be told from a power cut.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use crate::disk::with_suffix;

const HEADER_BYTES: usize = 32;
const FRAME_HEADER_BYTES: usize = 24;
const MAGIC_LITTLE: u32 = 0x377f_0682;
const MAGIC_BIG: u32 = 0x377f_0683;
const PAGE_BYTES_MAX: usize = 1 << 16;

/// How many commits a damaged frame hides; 0 where there is no WAL, a whole one, or one that a power cut explains.
pub(crate) fn hidden_commits(database: &Path) -> io::Result<u64> {
    let file = match File::open(with_suffix(database, "-wal")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        file => file?,
    };
    let mut wal = BufReader::with_capacity(1 << 20, file);
    let mut header = [0; HEADER_BYTES];
    if !read_whole(&mut wal, &mut header)? {
        return Ok(0);
    }
    let is_big = be(&header, 0) == MAGIC_BIG;
    let is_known = is_big || be(&header, 0) == MAGIC_LITTLE;
    let mut sum = checksum((0, 0), &header[..24], is_big);
    let mut is_good = is_known && sum == (be(&header, 24), be(&header, 28));
    let page_bytes = match be(&header, 8) as usize {
        bytes if is_good && bytes.is_power_of_two() && bytes <= PAGE_BYTES_MAX => bytes,
        // Of a damaged header only the frames can tell; ours have this size.
        _ => 8192,
    };
    let mut salts = is_good.then(|| (be(&header, 16), be(&header, 20)));
    let mut frame = vec![0; FRAME_HEADER_BYTES + page_bytes];
    let mut hidden = 0;
    while read_whole(&mut wal, &mut frame)? {
        let own = (be(&frame, 8), be(&frame, 12));
        let is_own = *salts.get_or_insert(own) == own;
        if is_good {
            let next = checksum(sum, &frame[..8], is_big);
            sum = checksum(next, &frame[FRAME_HEADER_BYTES..], is_big);
            if !is_own {
                // Rests of an earlier round: but a damaged salt looks the same, and then frames of this one follow.
                is_good = false;
            } else {
                is_good = sum == (be(&frame, 16), be(&frame, 20));
            }
        }
        let is_commit = be(&frame, 4) != 0;
        if !is_good && is_own && is_commit {
            hidden += 1;
        }
    }
    Ok(if hidden > 1 { hidden } else { 0 })
}

/// `false` at the end, or in what is left of a frame there.
fn read_whole(from: &mut impl Read, to: &mut [u8]) -> io::Result<bool> {
    match from.read_exact(to) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

fn be(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// SQLite's: over pairs of 32-bit words, in the byte order that the magic says.
fn checksum(seed: (u32, u32), bytes: &[u8], is_big: bool) -> (u32, u32) {
    let word = |word: &[u8]| {
        let word = [word[0], word[1], word[2], word[3]];
        match is_big {
            true => u32::from_be_bytes(word),
            false => u32::from_le_bytes(word),
        }
    };
    bytes.chunks_exact(8).fold(seed, |(a, b), pair| {
        let a = a.wrapping_add(word(&pair[..4])).wrapping_add(b);
        let b = b.wrapping_add(word(&pair[4..])).wrapping_add(a);
        (a, b)
    })
}
