//! What edges say, against what came.

use efd_shared_model::Committed;

use super::*;
use crate::{Compared, InLog};

/// What its blocks are, by the edge.
fn said_of(blocks: &[&SealedBlock]) -> Committed {
    let (first, more) = blocks.split_first().unwrap();
    let mut said = Committed::of(first, UtcNanos(1));
    for block in more {
        assert!(said.extend(block, UtcNanos(2)));
    }
    said
}

#[test]
fn what_an_edge_says_and_the_centre_has_not_is_asked_for_when_the_edge_thinks_it_is_here() {
    let mut world = World::new();
    let blocks: Vec<_> = (1..=4)
        .map(|at| world.telemetry(&[sample(2 * at, at), sample(2 * at + 1, at)]))
        .collect();
    for at in [0, 1, 3] {
        world.append(Class::Live, &blocks[at]);
    }
    let statements = [
        said_of(&[&blocks[0], &blocks[1]]),
        said_of(&[&blocks[2], &blocks[3]]),
    ];
    for said in &statements {
        let block = world.statement(said);
        world.append(Class::Live, &block);
    }
    let mut ledger = world.take_all(2);
    let lane = blocks[0].id().lane;
    let standing = |ledger: &Ledger| ledger.reader().unwrap().statements().unwrap();

    let waits = compare(&mut ledger, |_| false, InLog::default());
    assert_eq!((waits.equal, waits.silent.len()), (1, 0), "it may come");
    let drained = |edge| edge == lane.edge;
    let first = compare(&mut ledger, drained, InLog::default());
    assert!(first.silent.is_empty(), "it may be on its way");
    let second = compare(&mut ledger, drained, InLog::default());
    assert_eq!(second.silent[&lane].to_string(), "{3}");
    let known = standing(&ledger);
    assert_eq!((known["equal"], known["open"]), (1, 1), "{known:?}");

    drop(ledger);
    world.append(Class::Fill, &blocks[2]);
    let mut ledger = world.take_all(1);
    let compared = compare(&mut ledger, |_| true, InLog::default());
    assert_eq!((compared.equal, compared.silent.len()), (1, 0));
    assert_eq!(standing(&ledger)["equal"], 2);
    let again = compare(&mut ledger, |_| true, InLog::default());
    assert_eq!(again, Compared::default());
}

/// A book that was made anew has not seen what the log has let go, nor what is lost for good.
#[test]
fn what_was_there_once_is_not_asked_for() {
    for is_lost in [false, true] {
        let mut world = World::new();
        let block = world.telemetry(&[sample(1, 1)]);
        let statement = world.statement(&said_of(&[&block]));
        world.append(Class::Live, &statement);
        let mut ledger = world.take_all(1);
        let mut log = InLog::default();
        match is_lost {
            true => log.absent.insert(1),
            false => log.received.insert(1),
        };
        for _ in 0..3 {
            let compared = compare(&mut ledger, |_| true, log.clone());
            assert!(compared.silent.is_empty());
        }
        let known = ledger.reader().unwrap().statements().unwrap();
        assert_eq!((known["open"], known["unknown"]), (0, 1), "{known:?}");
    }
}

/// Of another edge, or of more blocks than records: a fault of whoever said it.
#[test]
fn an_edge_speaks_for_itself() {
    let mut world = World::new();
    let block = world.telemetry(&[sample(1, 1)]);
    let mut of_another = said_of(&[&block]);
    of_another.lane.edge = EdgeId([9; 16]);
    let mut too_many = said_of(&[&block]);
    too_many.last_block = u64::MAX - 1;
    for said in [of_another, too_many] {
        let statement = world.statement(&said);
        world.append(Class::Live, &statement);
    }
    let mut ledger = world.take_all(1);
    assert_eq!(ledger.counters().unreadable, 2);
    let compared = compare(&mut ledger, |_| true, InLog::default());
    assert_eq!(compared, Compared::default());
}

fn compare(ledger: &mut Ledger, is_drained: impl Fn(EdgeId) -> bool, log: InLog) -> Compared {
    let in_log = |_: &EpochLane| Ok(log.clone());
    ledger.compare(&is_drained, &in_log).unwrap()
}

#[test]
fn statements_of_lost_blocks_and_of_other_records_are_told_apart() {
    let mut world = World::new();
    let (one, two) = (
        world.telemetry(&[sample(1, 1)]),
        world.telemetry(&[sample(2, 1)]),
    );
    world.append(Class::Live, &one);
    let mut more = said_of(&[&one]);
    more.records.rows += 1;
    let lane = one.id().lane;
    let lost = Loss {
        epoch: lane.epoch.to_string(),
        lane: lane.lane.to_string(),
        first_block: 2,
        last_block: 2,
        count: 1,
        ..Loss::new(LossReason::Corrupt, UtcNanos(1), UtcNanos(2))
    };
    let statements = [world.statement(&more), world.statement(&said_of(&[&two]))];
    let losses = world.losses(&[lost]);
    for block in statements.iter().chain([&losses]) {
        world.append(Class::Live, block);
    }
    let mut ledger = world.take_all(1);
    let compared = compare(&mut ledger, |_| true, InLog::default());
    assert_eq!((compared.differing, compared.silent.len()), (1, 0));
    let known = ledger.reader().unwrap().statements().unwrap();
    assert_eq!((known["differs"], known["unknown"]), (1, 1), "{known:?}");
    assert_eq!(ledger.counters().differing, 1);
}
