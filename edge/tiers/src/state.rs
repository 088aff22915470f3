//! How far the tiers came: one small file, replaced as a whole at each commit.
//!
//! Lost or damaged, most of it is found out anew from the last commits: see [`crate::engine::Engine::open`].

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

use efd_shared_model::bytes::{ByteError, Reader, Writer};
use efd_shared_model::{RangeSet, UtcNanos};
use efd_shared_store::database::Disk;
use efd_shared_store::{LANE_NAME_CHARS_MAX, LaneName, Position};
use xxhash_rust::xxh3::xxh3_64;

const VERSION: u8 = 1;
const LANES_MAX: usize = 1 << 16;
const WINDOWS_MAX: usize = 1 << 24;

/// A window of a series, which is named by its digest.
pub type Name = (u64, UtcNanos);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    pub lanes: BTreeMap<LaneName, Progress>,
    /// Windows of the finest tier that were open.
    pub open: BTreeSet<Name>,
    /// Windows of the finest tier that are to be computed anew, and the blocks with samples that came late.
    pub late: BTreeMap<Name, RangeSet>,
    /// For each coarser tier, windows that are to be merged.
    pub coarse: Vec<BTreeSet<Name>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The block of the first sample of the oldest open window: where to go on.
    pub from: Position,
    /// Everything through this is in closed windows, or in those that were open.
    pub through: Position,
}

impl State {
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new();
        out.u8(VERSION);
        out.varint(self.lanes.len() as u64);
        for (lane, progress) in &self.lanes {
            out.text(lane.as_str());
            out.varint(progress.from.0);
            out.varint(progress.through.0);
        }
        put_names(&mut out, &self.open);
        out.varint(self.late.len() as u64);
        for ((series, start), blocks) in &self.late {
            out.u64(*series);
            out.i64(start.0);
            blocks.write(&mut out);
        }
        out.varint(self.coarse.len() as u64);
        for windows in &self.coarse {
            put_names(&mut out, windows);
        }
        out.u64(xxh3_64(out.as_bytes()));
        out.into_bytes()
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, ByteError> {
        let mut reader = Reader::new(bytes);
        let body = bytes.len().saturating_sub(8);
        let sum = xxh3_64(&bytes[..body]).to_le_bytes();
        if bytes[body..] != sum {
            return Err(reader.invalid("checksum"));
        }
        reader = Reader::new(&bytes[..body]);
        if reader.u8()? != VERSION {
            return Err(reader.invalid("version"));
        }
        let mut state = Self::default();
        for _ in 0..reader.count("lanes", LANES_MAX)? {
            let name = reader.text("lane", LANE_NAME_CHARS_MAX)?.parse();
            let lane = name.map_err(|_| reader.invalid("lane"))?;
            let progress = Progress {
                from: Position(reader.varint()?),
                through: Position(reader.varint()?),
            };
            state.lanes.insert(lane, progress);
        }
        state.open = names(&mut reader)?;
        for _ in 0..reader.count("late windows", WINDOWS_MAX)? {
            let name = (reader.u64()?, UtcNanos(reader.i64()?));
            state
                .late
                .insert(name, RangeSet::read(&mut reader, WINDOWS_MAX)?);
        }
        for _ in 0..reader.count("tiers", LANES_MAX)? {
            state.coarse.push(names(&mut reader)?);
        }
        reader.finish()?;
        Ok(state)
    }

    /// `None` if there is none, or if it cannot be read, which is told.
    pub fn load(path: &Path) -> Option<Self> {
        let read = fs::read(path).and_then(|bytes| {
            Self::decode(&bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
        });
        match read {
            Ok(state) => Some(state),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                tracing::error!(%error, path = %path.display(), "How far the tiers came cannot be read: found out anew");
                None
            }
        }
    }

    /// Durable when this returns.
    pub fn save(&self, path: &Path, disk: &Disk) -> io::Result<()> {
        let new = path.with_extension("new");
        let mut file = File::create(&new)?;
        file.write_all(&self.encode())?;
        file.sync_all()?;
        disk.rename(&new, path)?;
        disk.sync_dir(path.parent().unwrap_or(path))
    }
}

fn put_names(out: &mut Writer, names: &BTreeSet<Name>) {
    out.varint(names.len() as u64);
    for (series, start) in names {
        out.u64(*series);
        out.i64(start.0);
    }
}

fn names(reader: &mut Reader<'_>) -> Result<BTreeSet<Name>, ByteError> {
    let count = reader.count("windows", WINDOWS_MAX)?;
    let name = |_| Ok((reader.u64()?, UtcNanos(reader.i64()?)));
    (0..count).map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> State {
        let progress = Progress {
            from: Position(7),
            through: Position(9000),
        };
        let mut blocks = RangeSet::new();
        blocks.insert_range(3..=5);
        let lane = |name: &str| name.parse::<LaneName>().unwrap();
        State {
            lanes: [
                (lane("telemetry"), progress),
                (lane("telemetry.2"), progress),
            ]
            .into(),
            open: [(1, UtcNanos(5)), (u64::MAX, UtcNanos(i64::MIN))].into(),
            late: [((9, UtcNanos(8)), blocks)].into(),
            coarse: vec![BTreeSet::new(), [(3, UtcNanos(4))].into()],
        }
    }

    #[test]
    fn it_comes_back_and_any_flipped_bit_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        assert_eq!(State::load(&path), None);
        state().save(&path, &Disk::default()).unwrap();
        assert_eq!(State::load(&path), Some(state()));
        let bytes = fs::read(&path).unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(State::decode(&flipped).is_err(), "bit {bit}");
        }
        for length in 0..bytes.len() {
            assert!(State::decode(&bytes[..length]).is_err(), "{length} bytes");
        }
    }
}
