//! Samples looked for one by one, against a naive oracle.

use std::collections::BTreeSet;

use efd_central_log::Place;

use crate::{Book, Sought, Trace};

use super::*;

fn sought(seconds: f64, within: f64) -> Sought {
    Sought {
        site: "summit".parse().unwrap(),
        topic: TOPIC.into(),
        time: UtcNanos((seconds * 1e9) as i64),
        within: (within * 1e9) as i64,
    }
}

fn trace(world: &World, book: &Book, seconds: f64, within: f64) -> Trace {
    book.trace(&*world.log, &sought(seconds, within)).unwrap()
}

/// Identity, first, last, what names them, how many nothing names.
type Told<'a> = (&'a str, i64, i64, &'a BTreeMap<String, u64>, u64);

fn told(trace: &Trace) -> Vec<Told<'_>> {
    let gaps = trace.gaps.iter();
    gaps.map(|gap| {
        (
            &*gap.publisher.identity,
            gap.first,
            gap.last,
            &gap.named,
            gap.unnamed,
        )
    })
    .collect()
}

#[test]
fn a_sample_is_found_where_it_stands() {
    let mut world = World::new();
    let first = world.telemetry(&[sample(1, 10), sample(2, 11)]);
    let second = world.telemetry(&[sample(3, 12), sample(4, 13)]);
    world.append(Class::Live, &first);
    world.append(Class::Live, &second);
    world.append(Class::Fill, &first);
    let book = world.take_all(1).reader().unwrap();
    let found = trace(&world, &book, 12.2, 1.0);
    assert_eq!((found.samples.len(), found.within_span), (1, 2));
    let one = &found.samples[0];
    assert_eq!(
        (one.number, one.record.event_time.0),
        (Some(3), 12 * SECOND)
    );
    assert_eq!((one.id.block, one.id.index), (second.id(), 0));
    assert_eq!(
        (one.partition.to_string(), one.place),
        ("summit.0.live".into(), Place(2))
    );
    assert_eq!((found.gaps.len(), found.unread.len()), (0, 0));
    assert_eq!(
        found.extent,
        Some((UtcNanos(10 * SECOND), UtcNanos(13 * SECOND)))
    );
    // Between two samples, and beside the first and the last.
    let quiet = trace(&world, &book, 11.5, 0.1);
    let numbers = |beside: &[crate::Neighbour]| -> Vec<_> {
        beside.iter().map(|it| it.number.unwrap()).collect()
    };
    assert_eq!((quiet.samples.len(), quiet.gaps.len()), (0, 0));
    assert_eq!(
        (numbers(&quiet.before), numbers(&quiet.after)),
        (vec![2], vec![3])
    );
    assert_eq!(numbers(&trace(&world, &book, 5.0, 1.0).after), [1]);
    assert_eq!(numbers(&trace(&world, &book, 50.0, 1.0).before), [4]);
}

#[test]
fn a_lost_sample_is_told_with_its_reason() {
    let mut world = World::new();
    let block = world.telemetry(&[sample(5, 10), sample(6, 11), sample(9, 14)]);
    world.append(Class::Live, &block);
    let evicted = world.telemetry(&[sample(10, 15), sample(11, 16), sample(12, 17)]);
    let block = world.telemetry(&[sample(13, 18), sample(15, 20)]);
    world.append(Class::Live, &block);
    let losses = [
        gap(LossReason::DdsGap, 7, 8, 14),
        Loss {
            epoch: evicted.id().lane.epoch.to_string(),
            lane: evicted.id().lane.lane.to_string(),
            first_block: 2,
            last_block: 2,
            count: 3,
            ..Loss::new(
                LossReason::Evicted,
                UtcNanos(15 * SECOND),
                UtcNanos(17 * SECOND + 1),
            )
        },
    ];
    let block = world.losses(&losses);
    world.append(Class::Live, &block);
    let book = world.take_all(1).reader().unwrap();
    let reason = |name: &str, count: u64| BTreeMap::from([(name.to_owned(), count)]);
    let gap = trace(&world, &book, 12.5, 0.5);
    assert!(gap.samples.is_empty());
    assert_eq!(told(&gap), [("Test:1", 7, 8, &reason("dds_gap", 2), 0)]);
    let evicted = trace(&world, &book, 16.0, 0.5);
    assert_eq!(
        told(&evicted),
        [("Test:1", 10, 12, &reason("evicted", 3), 0)]
    );
    let blocks = &evicted.gaps[0].blocks;
    assert_eq!((blocks[0].first, blocks[0].last, blocks.len()), (2, 2, 1));
    assert!(blocks[0].lane.ends_with("/telemetry"));
    let unnamed = trace(&world, &book, 19.0, 0.5);
    assert_eq!(told(&unnamed), [("Test:1", 14, 14, &BTreeMap::new(), 1)]);
    // A sample is there, and beside it one is not.
    let beside = trace(&world, &book, 14.0, 0.5);
    assert_eq!((beside.samples.len(), beside.gaps.len()), (1, 2));
}

#[test]
fn a_topic_that_is_not_there_is_told_with_those_that_are() {
    let mut world = World::new();
    let block = world.telemetry(&[sample(1, 1)]);
    world.append(Class::Live, &block);
    let book = world.take_all(1).reader().unwrap();
    let ask = |site: &str, topic: &str| {
        let sought = Sought {
            site: site.parse().unwrap(),
            topic: topic.into(),
            ..sought(1.0, 1.0)
        };
        let trace = book.trace(&*world.log, &sought).unwrap();
        assert_eq!(trace.extent, None);
        trace.near_names
    };
    assert_eq!(ask("summit", "lsst.sal.Test.scalar"), [TOPIC]);
    assert_eq!(ask("tucson", TOPIC), ["lsst.sal.Test.scalars of summit"]);
}

#[test]
fn a_store_is_held_against_what_it_has_of_the_book() {
    let mut world = World::new();
    let first = world.telemetry(&[sample(1, 1), sample(2, 2)]);
    let second = world.telemetry(&[sample(3, 3), sample(4, 3600)]);
    let third = world.telemetry(&[sample(5, 3601)]);
    world.append(Class::Live, &first);
    world.append(Class::Live, &second);
    let book = world.take_all(1).reader().unwrap();
    let mut has = Progress::default();
    has.insert(&first);
    // Of the third the store knows, and the book does not yet.
    has.insert(&third);
    let everything = Filter::default();
    let basis = book.basis(&*world.log, &has, &everything).unwrap().unwrap();
    assert!(basis.has(first.id()) && !basis.has(second.id()) && !basis.has(third.id()));
    let key = |hour| ("summit".to_owned(), TOPIC.to_owned(), Hour(hour));
    assert_eq!(basis.expected().keys().collect::<Vec<_>>(), [&key(0)]);
    let mut found = basis.expected().clone();
    assert_eq!(basis.differences("feed", &found, &everything), []);
    found.get_mut(&key(0)).unwrap().rows -= 1;
    let differences = basis.differences("feed", &found, &everything);
    let told: Vec<_> = differences
        .iter()
        .map(|it| (it.store, it.hour.0, it.expected, it.found))
        .collect();
    assert_eq!(told, [("feed", 0, 2, 1)]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Two publishers, one of which is half a step late; of the samples that are absent some are named. Whatever time is asked
    /// for: the nearest of each publisher, and every gap that touches the span.
    #[test]
    fn a_trace_is_that_of_a_naive_oracle(
        fates in proptest::collection::vec(prop_oneof![4 => Just(Fate::Stored), 1 => Just(Fate::Named), 1 => Just(Fate::Unnamed)], 20..120),
        block_samples in 1usize..9,
        step in 1i64..20,
        at in 0.0f64..1.0,
        within in 0.0f64..30.0,
        newest_first in any::<bool>(),
    ) {
        let mut world = World::new();
        let (mut stored, mut losses, mut gaps) = (Vec::new(), Vec::new(), Vec::new());
        for (late, identity) in [(0, "Test:1"), (step * SECOND / 2, "Test:2")] {
            let mut last: Option<(i64, i64)> = None;
            for (index, fate) in fates.iter().enumerate() {
                let is_end = index == 0 || index + 1 == fates.len();
                let (number, time) = (index as i64 + 1, index as i64 * step * SECOND + late);
                match fate {
                    Fate::Named if !is_end => losses.push(Loss { identity: identity.into(), ..gap(LossReason::DdsGap, number, number, time / SECOND) }),
                    Fate::Unnamed if !is_end => {}
                    Fate::Stored | Fate::Named | Fate::Unnamed => {
                        if let Some((before, number_before)) = last.filter(|last| last.1 + 1 < number) {
                            let named = losses.iter().filter(|loss: &&Loss| loss.identity == identity && number_before < loss.first_seq && loss.last_seq < number).count();
                            gaps.push((identity, number_before + 1, number - 1, before, time, named as u64));
                        }
                        last = Some((time, number));
                        stored.push(Sample { identity, number, time });
                    }
                }
            }
        }
        stored.sort_by_key(|sample| sample.time);
        let mut blocks: Vec<_> = stored.chunks(block_samples).map(<[Sample]>::to_vec).collect::<Vec<_>>()
            .iter().map(|samples| world.telemetry(samples)).collect();
        if newest_first {
            blocks.reverse();
        }
        blocks.extend(losses.chunks(5).map(|losses| world.losses(losses)).collect::<Vec<_>>());
        blocks.iter().for_each(|block| world.append(Class::Live, block));
        let book = world.take_all(3).reader().unwrap();
        let sought = sought(at * (fates.len() as i64 * step) as f64, within);
        let trace = book.trace(&*world.log, &sought).unwrap();

        let (from, until) = (sought.time.0 - sought.within, sought.time.0 + sought.within);
        let inside: Vec<_> = stored.iter().filter(|it| from <= it.time && it.time <= until).collect();
        prop_assert_eq!(trace.within_span, inside.len() as u64);
        let distance = |time: i64| time.abs_diff(sought.time.0);
        let mut expected = BTreeSet::new();
        for identity in ["Test:1", "Test:2"] {
            let of_one = inside.iter().filter(|it| it.identity == identity);
            expected.extend(of_one.map(|it| distance(it.time)).min().map(|nearest| (nearest, identity)));
        }
        let found: Vec<_> = trace.samples.iter().map(|it| (distance(it.record.event_time.0), &*it.publisher.identity)).collect();
        prop_assert!(found.windows(2).all(|pair| pair[0].0 <= pair[1].0));
        prop_assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), expected);

        let expected: BTreeSet<_> = gaps.into_iter().filter(|gap| gap.3 <= until && from <= gap.4).collect();
        let found: BTreeSet<_> = trace.gaps.iter().map(|gap| {
            let named = gap.named.values().sum::<u64>();
            assert_eq!(named + gap.unnamed, gap.count());
            (&*gap.publisher.identity, gap.first, gap.last, gap.after.0, gap.before.0, named)
        }).collect();
        prop_assert_eq!(found, expected);
    }
}
