//! Where it goes on, and what is to be built because the configuration changed.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use efd_shared_model::ClockState;
use efd_shared_stats::Kernel;
use efd_shared_store::database::Disk;
use efd_shared_store::{LaneName, Position, Reader, StoreError};
use efd_shared_tiers::Row;

use super::build::Build;
use super::take::Which;
use super::{Counters, Engine, GRACE, Got, TierError};
use crate::blocks::Made;
use crate::folder::{Newest, TierFolder};
use crate::hours::WorkHours;
use crate::open::Arrival;
use crate::pass::{LaneProgress, Pass};
use crate::plan::{Plan, TierOf};
use crate::series::SeriesList;
use crate::settings::{TierSettings, name};
use crate::state::{BlocksState, BuildLane, BuildState, MergeState, Progress, State};
use crate::streams::Streams;

/// Configurations that are remembered while a build goes on; above it everything is built.
const BEFORE_MAX: usize = 16;
/// Commits that are looked at for where it was.
const NOTES: usize = 4;

impl Engine {
    /// For the tiers of the buffer at `root`, finest first, at least one. Goes on where it was; where that is not known
    /// any more, with the last commit that is found: what comes twice is then late, and computed anew.
    ///
    /// If the configuration has changed, the windows of the one before are finished first, so that nothing is open, late or
    /// waiting to be merged where the new one begins. What came later is then built out of what is held.
    pub fn open(root: &Path, settings: &[TierSettings], disk: &Disk) -> Result<Self, TierError> {
        let folder = root.join("tiers");
        fs::create_dir_all(&folder).map_err(|source| TierError::Io {
            path: folder.clone(),
            source,
        })?;
        let own: Vec<TierOf> = settings.iter().map(TierOf::from).collect();
        let Some(mut state) = State::load(&folder.join("state")) else {
            return Self::from_notes(root, settings, disk);
        };
        if state.tiers == own || state.tiers.is_empty() {
            if let Some(build) = &state.build
                && build.blocks.is_none()
                && build.merges.is_empty()
            {
                state.build = building(settings, build.before.clone(), &state.lanes);
            }
            return Self::assemble(root, settings, disk, state);
        }
        let tier = |tier: &TierOf| TierSettings {
            resolution: tier.resolution,
            topics: tier.topics.clone(),
            age_max: Duration::MAX,
            bytes_max: u64::MAX,
        };
        let then: Vec<_> = state.tiers.iter().map(tier).collect();
        let built = state.build.clone();
        let mut engine = Self::assemble(
            root,
            &then,
            disk,
            State {
                build: None,
                ..state
            },
        )?;
        engine.change = Some(Change {
            root: root.to_owned(),
            settings: settings.to_vec(),
            before: built.map(|build| build.before).unwrap_or_default(),
        });
        Ok(engine)
    }

    fn assemble(
        root: &Path,
        settings: &[TierSettings],
        disk: &Disk,
        mut state: State,
    ) -> Result<Self, TierError> {
        let root = root.join("tiers");
        tell_others(&root, settings);
        let mut tiers = settings
            .iter()
            .map(|tier| TierFolder::open(&root, tier.clone(), disk))
            .collect::<Result<Vec<_>, _>>()?;
        for tier in &mut tiers {
            if let Some(&floor) = state.floors.get(&tier.resolution()) {
                tier.raise_floor(floor);
                tier.remove_old()?;
            }
        }
        let before = state.build.as_ref().map(|build| build.before.clone());
        let plan = Arc::new(Plan::new(settings, before.unwrap_or_default()));
        let newest = |(place, folder): (usize, &TierFolder)| match place < plan.firsts() {
            true => folder.newest(),
            false => Ok(Newest::default()),
        };
        let newest = tiers.iter().enumerate().map(newest);
        let newest = newest.collect::<Result<Vec<_>, _>>()?;
        let now = Arrival::from(&ClockState::default());
        let is_ours = |resolution| tiers.iter().any(|tier| tier.resolution() == resolution);
        state.late.retain(|name, _| is_ours(name.resolution));
        state.coarse.retain(|name| is_ours(name.resolution));
        let lanes = state.lanes.into_iter();
        let lanes =
            lanes.map(|(name, progress)| LaneProgress::resumed(name, progress, Position(u64::MAX)));
        Ok(Self {
            live: Pass::new(GRACE, lanes.collect(), &state.open),
            build: state.build.map(Build::new),
            change: None,
            streams: Streams::new(Arc::clone(&plan)),
            tiers,
            plan,
            state_path: root.join("state"),
            disk: disk.clone(),
            hours: WorkHours::Always,
            series: SeriesList::default(),
            newest,
            late: state.late,
            coarse: state.coarse.iter().map(|name| (*name, now)).collect(),
            committed: None,
            put: vec![None; settings.len()],
            kernel: Kernel::new(),
            row: Row::default(),
            counters: Counters::default(),
        })
    }

    /// Where how far it came is not known. Where there are files no tier is taken for whole: what was late or waited to be
    /// merged is not known either, and is found by building.
    fn from_notes(root: &Path, settings: &[TierSettings], disk: &Disk) -> Result<Self, TierError> {
        let folder = root.join("tiers");
        let tiers = settings
            .iter()
            .map(|tier| TierFolder::open(&folder, tier.clone(), disk))
            .collect::<Result<Vec<_>, _>>()?;
        let firsts = Plan::new(settings, Vec::new()).firsts();
        let mut state = State {
            lanes: lanes_of_notes(&tiers[..firsts])?,
            ..State::default()
        };
        if tiers.iter().any(|folder| folder.holding().files > 0) {
            state.build = building(settings, vec![Vec::new()], &state.lanes);
        }
        Self::assemble(root, settings, disk, state)
    }

    /// Finishes what the configuration before has begun, and goes on with the present one.
    pub(super) fn change(&mut self, reader: &mut Reader) -> Result<(), TierError> {
        let Some(change) = self.change.clone() else {
            return Ok(());
        };
        self.forget_replaced(reader);
        for lane in 0..self.live.lanes.len() {
            let of_lane = &mut self.live.lanes[lane];
            of_lane.until = of_lane.read.max(of_lane.known);
            while let Got::Items { .. } = self.read_lane(reader, Which::Live, lane)? {}
        }
        let due = self.live.open.close_all();
        self.live.close(due, &self.series, &mut self.kernel);
        self.commit(reader, Arrival::from(&ClockState::default()), true)?;
        let mut state = self.state();
        let mut before = change.before;
        if !before.contains(&state.tiers) {
            before.push(state.tiers);
        }
        if BEFORE_MAX < before.len() {
            before = vec![Vec::new()];
        }
        state.tiers = change.settings.iter().map(TierOf::from).collect();
        state.build = building(&change.settings, before, &state.lanes);
        let saved = state.save(&self.state_path, &self.disk);
        saved.map_err(|source| TierError::Io {
            path: self.state_path.clone(),
            source,
        })?;
        let new = Self::assemble(&change.root, &change.settings, &self.disk, state)?;
        let hours = std::mem::take(&mut self.hours);
        let counters = self.counters;
        let old = std::mem::replace(
            self,
            Self {
                hours,
                counters,
                ..new
            },
        );
        for folder in old.tiers {
            folder.close()?;
        }
        Ok(())
    }

    /// Where the blocks are those of another buffer, it begins anew with those that there are.
    pub(super) fn forget_replaced(&mut self, reader: &Reader) {
        for lane in &mut self.live.lanes {
            let (came, head) = (lane.read.max(lane.known), reader.head(&lane.name));
            if came <= head {
                continue;
            }
            tracing::error!(
                lane = %lane.name, %came, %head,
                "The buffer ends before what its tiers were made of: they are made anew of the blocks there are"
            );
            (lane.read, lane.known) = (Position::NONE, Position::NONE);
            for blocks in self.late.values_mut() {
                blocks.remove_lane(&lane.name);
            }
            let build = self.build.as_mut().and_then(|build| build.pass.as_mut());
            for of_build in build.into_iter().flat_map(|pass| &mut pass.lanes) {
                if of_build.name == lane.name {
                    of_build.read = of_build.until;
                }
            }
        }
        self.late.retain(|_, blocks| !blocks.is_empty());
    }
}

/// What a changed configuration asks for.
#[derive(Clone, Debug)]
pub(super) struct Change {
    root: PathBuf,
    settings: Vec<TierSettings>,
    before: Vec<Vec<TierOf>>,
}

impl Change {
    /// That something was being built; what, is found out again.
    pub(super) fn unbuilt(&self) -> Option<BuildState> {
        let before = self.before.clone();
        (!before.is_empty()).then(|| BuildState {
            before,
            ..BuildState::default()
        })
    }
}

/// What is to be built, of blocks as far as the lanes came.
fn building(
    settings: &[TierSettings],
    before: Vec<Vec<TierOf>>,
    lanes: &BTreeMap<LaneName, Progress>,
) -> Option<BuildState> {
    let plan = Plan::new(settings, before.clone());
    let lanes = lanes.iter().map(|(name, progress)| {
        let until = progress.through.0.max(progress.from.0.saturating_sub(1));
        let lane = BuildLane {
            progress: Progress {
                from: Position::FIRST,
                through: Position::NONE,
            },
            until: Position(until),
        };
        (name.clone(), lane)
    });
    let lanes: BTreeMap<_, _> = lanes
        .filter(|(_, lane)| Position::NONE < lane.until)
        .collect();
    let mut firsts = 0..plan.firsts();
    let is_any = firsts.any(|tier| plan.can_be_new(tier)) && !lanes.is_empty();
    let blocks = is_any.then(|| BlocksState {
        lanes,
        ..BlocksState::default()
    });
    let mut merges = Vec::new();
    for coarse in 1..settings.len() {
        let from = (0..coarse).filter(|&fine| plan.can_be_merged(fine, coarse));
        if plan.can_be_new(coarse) {
            merges.extend(from.map(|fine| MergeState {
                coarse: settings[coarse].resolution,
                fine: settings[fine].resolution,
                next: None,
            }));
        }
    }
    let is_any = blocks.is_some() || !merges.is_empty();
    is_any.then_some(BuildState {
        before,
        blocks,
        merges,
    })
}

/// Files of a tier that is not configured any more are nobody's: who took it out may want them back.
fn tell_others(root: &Path, settings: &[TierSettings]) {
    let names: Vec<String> = settings.iter().map(|tier| name(tier.resolution)).collect();
    for entry in fs::read_dir(root).into_iter().flatten().flatten() {
        let path = entry.path();
        let is_ours = names.iter().any(|name| path.ends_with(name));
        if path.is_dir() && !is_ours {
            tracing::warn!(
                path = %path.display(),
                "A tier that is not configured is left as it is: remove the folder if it is not wanted"
            );
        }
    }
}

/// From the last commits of the tiers that are made of samples: the oldest block that any of the last few names. What was
/// open then began later. Of a tier that has no such commit it is not known: with the first block.
fn lanes_of_notes(firsts: &[TierFolder]) -> Result<BTreeMap<LaneName, Progress>, StoreError> {
    let mut lanes: BTreeMap<LaneName, Progress> = BTreeMap::new();
    for folder in firsts {
        let notes = folder.newest_notes()?;
        let made = notes.iter().rev().filter_map(|note| Made::of(note).ok());
        let made: Vec<_> = made
            .filter(|made| !made.blocks.is_empty())
            .take(NOTES)
            .collect();
        if made.is_empty() {
            return Ok(BTreeMap::new());
        }
        for (lane, ranges) in made.iter().flat_map(|made| made.blocks.lanes()) {
            let Some(first) = ranges.iter().next().map(|range| *range.start()) else {
                continue;
            };
            let progress = lanes.entry(lane.clone()).or_insert(Progress {
                from: Position(first),
                through: Position::NONE,
            });
            progress.from = progress.from.min(Position(first));
        }
    }
    Ok(lanes)
}
