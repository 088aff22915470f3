//! Power cuts: what `append` said `Ok` to is there afterwards, byte by byte, once, in order.

use std::collections::BTreeMap;
use std::path::Path;

use bytes::Bytes;
use efd_shared_model::{BlockNumber, LaneKind, RangeSet, SealedBlock, UtcNanos};
use efd_shared_store::{
    Item, LaneName, Options, Position, Sabotage, SegmentState, Store, StoreError,
};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::crash_vfs::{Disk, Fault};
use crate::world::{self, SECOND, block, lane};

/// What the store must have.
#[derive(Debug, Default, Clone)]
pub struct Oracle {
    lanes: BTreeMap<LaneName, LaneOracle>,
}

#[derive(Debug, Default, Clone)]
struct LaneOracle {
    /// `append` said that they are durable.
    durable: BTreeMap<Position, Bytes>,
    /// `append` did not return, or said that it failed.
    maybe: Vec<Bytes>,
    state: Vec<u8>,
    maybe_state: Option<Vec<u8>>,
    /// Removal was begun through here.
    removed_through: Position,
    next_number: u64,
}

pub fn options(disk: &Disk, no_fsync: bool) -> Options {
    Options {
        sabotage: Sabotage {
            no_fsync,
            vfs: Some(disk.vfs_name().to_owned()),
            witness: Some(disk.witness()),
        },
        ..world::small()
    }
}

const LANES: [(&str, LaneKind); 2] = [
    ("events", LaneKind::Events),
    ("telemetry", LaneKind::Telemetry),
];

/// Does things to a store until they are done or one fails.
pub fn work(
    store: &mut Store,
    oracle: &mut Oracle,
    epoch: u8,
    seed: u64,
    acts: usize,
) -> Result<(), StoreError> {
    let rng = &mut StdRng::seed_from_u64(seed);
    let declarations: Vec<_> = (1..=3).map(world::stream).collect();
    let schemas: Vec<_> = (1..=3).map(world::schema).collect();
    store.declare(&world::epoch(epoch), &declarations, &schemas)?;
    for at in 0..acts {
        let now = UtcNanos(at as i64 * 100 * SECOND);
        let (name, kind) = LANES[rng.random_range(0..2)];
        let (name, log) = (lane(name), world::log(epoch, kind));
        let mine = oracle.lanes.entry(name.clone()).or_default();
        match rng.random_range(0..12) {
            0..=7 => {
                let count = rng.random_range(1..4u64);
                let blocks: Vec<SealedBlock> = (0..count)
                    .map(|index| {
                        let bytes = rng.random_range(10..6000);
                        block(log, mine.next_number + 1 + index, bytes)
                    })
                    .collect();
                let state = vec![at as u8; rng.random_range(0..100)];
                mine.maybe = blocks.iter().map(|block| block.bytes().clone()).collect();
                mine.maybe_state = Some(state.clone());
                let positions = store.append(&name, &blocks, Some(("key", &state)), now)?;
                let bytes = std::mem::take(&mut mine.maybe);
                let positions = positions.start.0..positions.end.0;
                mine.durable.extend(positions.map(Position).zip(bytes));
                mine.maybe_state = None;
                mine.state = state;
                mine.next_number += count;
            }
            8 | 9 => store.maintain(now),
            10 => {
                let mut numbers = RangeSet::new();
                numbers.insert_range(1..=rng.random_range(1..20));
                store.add_acked("centre", &log, &numbers);
                store.save_acked()?;
            }
            _ => {
                let segments = store.segments();
                let closed = segments
                    .iter()
                    .find(|info| info.key.lane == name && info.state == SegmentState::Closed);
                if let Some(info) = closed {
                    mine.removed_through = mine.removed_through.max(info.last);
                    store.remove(&info.key)?;
                }
            }
        }
    }
    Ok(())
}

/// Compares a store with what it must have. `Err` says what is wrong.
pub fn compare(store: &Store, oracle: &mut Oracle) -> Result<(), String> {
    let mut reader = store.reader();
    for (name, mine) in &mut oracle.lanes {
        let mut found = BTreeMap::new();
        let mut next = Position::FIRST;
        loop {
            let items = reader
                .read(name, next, 1 << 20)
                .map_err(|error| error.to_string())?;
            let Some(end) = items.last().map(Item::next) else {
                break;
            };
            for item in items {
                match item {
                    Item::Block(position, block) => {
                        found.insert(position, block.bytes().clone());
                    }
                    Item::Absent { last, .. } if last <= mine.removed_through => {}
                    item => return Err(format!("{name}: {item:?}")),
                }
            }
            next = end;
        }
        for (position, bytes) in &mine.durable {
            match found.remove(position) {
                Some(there) if there == bytes => {}
                Some(_) => return Err(format!("{name}: position {position} has other bytes")),
                None if *position <= mine.removed_through => {}
                None => return Err(format!("{name}: position {position} is lost")),
            }
        }
        let head = mine
            .durable
            .last_key_value()
            .map_or(Position::NONE, |(&last, _)| last);
        let extra: Vec<_> = found.into_iter().collect();
        let maybe: Vec<_> = (head.0 + 1..)
            .map(Position)
            .zip(mine.maybe.drain(..))
            .collect();
        if !(extra.is_empty() || extra == maybe) {
            let at: Vec<_> = extra.iter().map(|(position, _)| position.0).collect();
            return Err(format!("{name}: nobody appended what is at {at:?}"));
        }
        if extra == maybe && !extra.is_empty() {
            mine.next_number += extra.len() as u64;
        }
        mine.durable.extend(extra);
        let state = reader
            .state(name, "key")
            .map(|(_, value)| value)
            .unwrap_or_default();
        let possible = state == mine.state || mine.maybe_state.as_ref() == Some(&state);
        if !possible {
            return Err(format!(
                "{name}: its state is {state:?}, not {:?}",
                mine.state
            ));
        }
        mine.state = state;
        mine.maybe_state = None;
        let last = mine
            .durable
            .last_key_value()
            .map_or(Position::NONE, |(&last, _)| last);
        if reader.head(name) != last {
            return Err(format!(
                "{name}: its head is {}, not {last}",
                reader.head(name)
            ));
        }
    }
    Ok(())
}

/// Work, a power cut at `step`, maybe another while it is opened again, and a look at what is there. `Ok(false)`: the
/// work was done before the step came.
fn cut_at(root: &Path, seed: u64, step: u64, no_fsync: bool) -> Result<bool, String> {
    let disk = Disk::new();
    let rng = &mut StdRng::seed_from_u64(seed ^ step << 20);
    let mut oracle = Oracle::default();
    disk.inject(Some(Fault::PowerCut { at: step }));
    let was_cut = match Store::open(root, options(&disk, no_fsync)) {
        Ok((mut store, _)) => work(&mut store, &mut oracle, 1, seed, ACTS).is_err(),
        Err(_) => true,
    };
    let was_cut = was_cut || step <= disk.step();
    disk.crash(rng.random());

    if rng.random() {
        let at = disk.step() + rng.random_range(1..60);
        disk.inject(Some(Fault::PowerCut { at }));
        drop(Store::open(root, options(&disk, no_fsync)));
        disk.crash(rng.random());
    }

    let (mut store, recovery) =
        Store::open(root, options(&disk, no_fsync)).map_err(|error| format!("open: {error:?}"))?;
    if !recovery.is_clean() {
        return Err(format!("a power cut looks like damage: {recovery:?}"));
    }
    compare(&store, &mut oracle).map_err(|wrong| format!("after the cut: {wrong}"))?;

    // It goes on in a new epoch, and is whole after an orderly restart.
    for mine in oracle.lanes.values_mut() {
        mine.next_number = 0;
    }
    work(&mut store, &mut oracle, 2, seed ^ 1, 12).map_err(|error| format!("go on: {error:?}"))?;
    store.close().map_err(|error| format!("close: {error:?}"))?;
    let (store, recovery) = Store::open(root, options(&disk, no_fsync))
        .map_err(|error| format!("reopen: {error:?}"))?;
    if !recovery.is_clean() {
        return Err(format!("an orderly close looks like damage: {recovery:?}"));
    }
    compare(&store, &mut oracle).map_err(|wrong| format!("after going on: {wrong}"))?;
    Ok(was_cut)
}

const ACTS: usize = 40;

fn crashes(by_default: u64) -> u64 {
    let asked = std::env::var("EFD_CRASHES").ok();
    asked
        .and_then(|asked| asked.parse().ok())
        .unwrap_or(by_default)
}

/// A seed and a step to be replayed: `EFD_CRASH=seed:step`.
fn replay() -> Option<(u64, u64)> {
    let asked = std::env::var("EFD_CRASH").ok()?;
    let (seed, step) = asked.split_once(':')?;
    Some((seed.parse().ok()?, step.parse().ok()?))
}

fn check(seed: u64, step: u64) -> bool {
    let root = tempfile::tempdir().unwrap();
    match cut_at(root.path(), seed, step, false) {
        Ok(was_cut) => was_cut,
        Err(wrong) => panic!("{wrong}\nreplay with EFD_CRASH={seed}:{step}"),
    }
}

#[test]
fn what_is_durable_survives_a_power_cut_at_every_step() {
    if let Some((seed, step)) = replay() {
        check(seed, step);
        return;
    }
    let (mut seed, mut step, mut all) = (1, 1, 0);
    for _ in 0..crashes(400) {
        if check(seed, step) {
            step += 1;
            all += 1;
        } else {
            seed += 1;
            step = 1 + seed % 7;
        }
    }
    println!("{all} power cuts, through seed {seed} step {step}");
    assert!(all > 0);
}

/// Random ones beyond the sweep, so that late steps are met by every run.
#[test]
fn what_is_durable_survives_power_cuts_at_random() {
    let rng = &mut StdRng::seed_from_u64(0xefd);
    for _ in 0..crashes(400) / 2 {
        check(
            rng.random_range(1000..u64::MAX >> 8),
            rng.random_range(1..700),
        );
    }
}

#[test]
fn sabotage_no_fsync_is_caught() {
    let rng = &mut StdRng::seed_from_u64(0xbad);
    let caught = (0..100).any(|_| {
        let root = tempfile::tempdir().unwrap();
        let (seed, step) = (rng.random_range(1..1000), rng.random_range(100..400));
        cut_at(root.path(), seed, step, true).is_err()
    });
    assert!(
        caught,
        "without fsync nothing was lost in 100 power cuts: this layer finds nothing"
    );
}

#[test]
fn every_append_syncs() {
    let root = tempfile::tempdir().unwrap();
    let disk = Disk::new();
    let (mut store, _) = Store::open(root.path(), options(&disk, false)).unwrap();
    world::declare(&mut store, 1, 1);
    let log = world::log(1, LaneKind::Events);
    for number in 1..=5 {
        let before = disk.syncs();
        let blocks = [block(log, number, 100)];
        store
            .append(&lane("events"), &blocks, None, UtcNanos(0))
            .unwrap();
        assert!(
            before < disk.syncs(),
            "block {} is not synced",
            BlockNumber(number)
        );
    }
}
