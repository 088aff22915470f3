//! How far the tiers came: one small file, replaced as a whole at each commit.
//!
//! Lost or damaged, most of it is found out anew from the last commits: see [`crate::engine::Engine::open`].

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

use efd_shared_model::UtcNanos;
use efd_shared_model::bytes::{ByteError, Reader, Writer};
use efd_shared_stats::Resolution;
use efd_shared_store::database::Disk;
use efd_shared_store::{LANE_NAME_CHARS_MAX, LaneName, Position};
use xxhash_rust::xxh3::xxh3_64;

use crate::blocks::Blocks;
use crate::plan::TierOf;
use crate::settings::Topics;

/// 1 did not know which tiers it stood for, and is found out anew.
const VERSION: u8 = 2;
const LANES_MAX: usize = 1 << 16;
const WINDOWS_MAX: usize = 1 << 24;
const TIERS_MAX: usize = 1 << 10;
const PATTERN_BYTES_MAX: usize = 1 << 12;

/// A window of a series, which is named by its digest. In the order in which blocks have them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name {
    pub resolution: Resolution,
    pub start: UtcNanos,
    pub series: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// That it stands for.
    pub tiers: Vec<TierOf>,
    pub lanes: BTreeMap<LaneName, Progress>,
    /// Windows of a series' first tier that were open.
    pub open: BTreeSet<Name>,
    /// Windows of a series' first tier that are to be computed anew, and the blocks with samples that came late.
    pub late: BTreeMap<Name, Blocks>,
    /// Windows that are to be merged.
    pub coarse: BTreeSet<Name>,
    /// By tier: windows before it were removed, and are not made again.
    pub floors: BTreeMap<Resolution, UtcNanos>,
    pub build: Option<BuildState>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The block of the first sample of the oldest open window: where to go on.
    pub from: Position,
    /// Everything through this is in closed windows, or in those that were open.
    pub through: Position,
}

/// Tiers that are made of what was there before them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BuildState {
    /// The tiers of each configuration since what is there was whole.
    pub before: Vec<Vec<TierOf>>,
    /// `None` where no block is to be read again, or all were.
    pub blocks: Option<BlocksState>,
    /// What is left to merge.
    pub merges: Vec<MergeState>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BlocksState {
    pub lanes: BTreeMap<LaneName, BuildLane>,
    pub open: BTreeSet<Name>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BuildLane {
    pub progress: Progress,
    /// The last block that is read again; those behind it the live tiers have read.
    pub until: Position,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MergeState {
    pub coarse: Resolution,
    pub fine: Resolution,
    /// `None`: with the oldest file.
    pub next: Option<MergeNext>,
}

/// Where a merge goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MergeNext {
    pub begin: UtcNanos,
    /// Series through this digest have it.
    pub series: Option<u64>,
}

impl State {
    pub fn encode(&self) -> Vec<u8> {
        let Self {
            tiers,
            lanes,
            open,
            late,
            coarse,
            floors,
            build,
        } = self;
        let mut out = Writer::new();
        out.u8(VERSION);
        put_tiers(&mut out, tiers);
        out.varint(lanes.len() as u64);
        for (lane, progress) in lanes {
            out.text(lane.as_str());
            put_progress(&mut out, *progress);
        }
        put_names(&mut out, open);
        out.varint(late.len() as u64);
        for (name, blocks) in late {
            put_name(&mut out, *name);
            blocks.write(&mut out);
        }
        put_names(&mut out, coarse);
        out.varint(floors.len() as u64);
        for (resolution, floor) in floors {
            out.i64(resolution.nanos());
            out.i64(floor.0);
        }
        out.u8(u8::from(build.is_some()));
        if let Some(build) = build {
            put_build(&mut out, build);
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
        let mut state = Self {
            tiers: tiers(&mut reader)?,
            ..Self::default()
        };
        for _ in 0..reader.count("lanes", LANES_MAX)? {
            let lane = lane(&mut reader)?;
            state.lanes.insert(lane, progress(&mut reader)?);
        }
        state.open = names(&mut reader)?;
        for _ in 0..reader.count("late windows", WINDOWS_MAX)? {
            let name = name(&mut reader)?;
            state.late.insert(name, Blocks::read(&mut reader)?);
        }
        state.coarse = names(&mut reader)?;
        for _ in 0..reader.count("floors", TIERS_MAX)? {
            let resolution = resolution(&mut reader)?;
            state.floors.insert(resolution, UtcNanos(reader.i64()?));
        }
        if reader.u8()? != 0 {
            state.build = Some(build(&mut reader)?);
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
                tracing::warn!(%error, path = %path.display(), "How far the tiers came cannot be read: found out anew");
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

fn put_tiers(out: &mut Writer, tiers: &[TierOf]) {
    out.varint(tiers.len() as u64);
    for tier in tiers {
        out.i64(tier.resolution.nanos());
        match &tier.topics {
            Topics::All => out.varint(0),
            Topics::Matching(patterns) => {
                out.varint(patterns.len() as u64);
                patterns.iter().for_each(|it| out.text(&it.to_string()));
            }
        }
    }
}

fn tiers(reader: &mut Reader<'_>) -> Result<Vec<TierOf>, ByteError> {
    let mut all = Vec::new();
    for _ in 0..reader.count("tiers", TIERS_MAX)? {
        let resolution = resolution(reader)?;
        let mut patterns = Vec::new();
        for _ in 0..reader.count("patterns", WINDOWS_MAX)? {
            patterns.push(reader.text("pattern", PATTERN_BYTES_MAX)?.to_owned());
        }
        let topics = Topics::of(&patterns);
        all.push(TierOf { resolution, topics });
    }
    Ok(all)
}

fn resolution(reader: &mut Reader<'_>) -> Result<Resolution, ByteError> {
    let nanos = reader.i64()?;
    Resolution::from_nanos(nanos).map_err(|_| reader.invalid("resolution"))
}

fn lane(reader: &mut Reader<'_>) -> Result<LaneName, ByteError> {
    let lane = reader.text("lane", LANE_NAME_CHARS_MAX)?.parse();
    lane.map_err(|_| reader.invalid("lane"))
}

fn put_progress(out: &mut Writer, progress: Progress) {
    out.varint(progress.from.0);
    out.varint(progress.through.0);
}

fn progress(reader: &mut Reader<'_>) -> Result<Progress, ByteError> {
    Ok(Progress {
        from: Position(reader.varint()?),
        through: Position(reader.varint()?),
    })
}

fn put_build(out: &mut Writer, build: &BuildState) {
    let BuildState {
        before,
        blocks,
        merges,
    } = build;
    out.varint(before.len() as u64);
    before.iter().for_each(|tiers| put_tiers(out, tiers));
    out.u8(u8::from(blocks.is_some()));
    if let Some(BlocksState { lanes, open }) = blocks {
        out.varint(lanes.len() as u64);
        for (lane, BuildLane { progress, until }) in lanes {
            out.text(lane.as_str());
            put_progress(out, *progress);
            out.varint(until.0);
        }
        put_names(out, open);
    }
    out.varint(merges.len() as u64);
    for MergeState { coarse, fine, next } in merges {
        out.i64(coarse.nanos());
        out.i64(fine.nanos());
        out.u8(u8::from(next.is_some()));
        if let Some(MergeNext { begin, series }) = next {
            out.i64(begin.0);
            out.u8(u8::from(series.is_some()));
            out.u64(series.unwrap_or_default());
        }
    }
}

fn build(reader: &mut Reader<'_>) -> Result<BuildState, ByteError> {
    let mut build = BuildState::default();
    for _ in 0..reader.count("configurations", TIERS_MAX)? {
        build.before.push(tiers(reader)?);
    }
    if reader.u8()? != 0 {
        let mut lanes = BTreeMap::new();
        for _ in 0..reader.count("lanes", LANES_MAX)? {
            let lane = lane(reader)?;
            let progress = progress(reader)?;
            let until = Position(reader.varint()?);
            lanes.insert(lane, BuildLane { progress, until });
        }
        let open = names(reader)?;
        build.blocks = Some(BlocksState { lanes, open });
    }
    for _ in 0..reader.count("merges", TIERS_MAX)? {
        let (coarse, fine) = (resolution(reader)?, resolution(reader)?);
        let mut next = None;
        if reader.u8()? != 0 {
            let begin = UtcNanos(reader.i64()?);
            let has_series = reader.u8()? != 0;
            let series = Some(reader.u64()?).filter(|_| has_series);
            next = Some(MergeNext { begin, series });
        }
        build.merges.push(MergeState { coarse, fine, next });
    }
    Ok(build)
}

fn put_names(out: &mut Writer, names: &BTreeSet<Name>) {
    out.varint(names.len() as u64);
    names.iter().for_each(|name| put_name(out, *name));
}

fn put_name(out: &mut Writer, name: Name) {
    out.i64(name.resolution.nanos());
    out.i64(name.start.0);
    out.u64(name.series);
}

fn names(reader: &mut Reader<'_>) -> Result<BTreeSet<Name>, ByteError> {
    let count = reader.count("windows", WINDOWS_MAX)?;
    (0..count).map(|_| name(reader)).collect()
}

fn name(reader: &mut Reader<'_>) -> Result<Name, ByteError> {
    Ok(Name {
        resolution: resolution(reader)?,
        start: UtcNanos(reader.i64()?),
        series: reader.u64()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> State {
        let progress = Progress {
            from: Position(7),
            through: Position(9000),
        };
        let lane = |name: &str| name.parse::<LaneName>().unwrap();
        let mut blocks = Blocks::default();
        blocks.insert(&lane("telemetry.2"), 3, 5);
        let seconds = |seconds| Resolution::from_seconds(seconds).unwrap();
        let window = |start, series| Name {
            resolution: seconds(10),
            start: UtcNanos(start),
            series,
        };
        let tiers = vec![
            TierOf {
                resolution: seconds(1),
                topics: Topics::of(&["lsst.sal.MTM1M3.*".into(), "é?".into()]),
            },
            TierOf {
                resolution: seconds(10),
                topics: Topics::All,
            },
        ];
        let of_build = BuildLane {
            progress,
            until: Position(800),
        };
        let next = MergeNext {
            begin: UtcNanos(5),
            series: Some(8),
        };
        let merge = |next| MergeState {
            coarse: seconds(300),
            fine: seconds(10),
            next,
        };
        State {
            lanes: [
                (lane("telemetry"), progress),
                (lane("telemetry.2"), progress),
            ]
            .into(),
            open: [window(5, 1), window(i64::MIN, u64::MAX)].into(),
            late: [(window(8, 9), blocks)].into(),
            coarse: [window(4, 3)].into(),
            floors: [(seconds(10), UtcNanos(70))].into(),
            build: Some(BuildState {
                before: vec![tiers.clone(), Vec::new()],
                blocks: Some(BlocksState {
                    lanes: [(lane("telemetry"), of_build)].into(),
                    open: [window(5, 1)].into(),
                }),
                merges: vec![merge(None), merge(Some(next))],
            }),
            tiers,
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
