use efd_shared_model::LaneKind::{Events, Telemetry};
use proptest::prelude::*;

use super::*;

const SECOND: i64 = 1_000_000_000;

fn settings() -> BudgetSettings {
    BudgetSettings {
        window: Duration::from_secs(60),
        share_percent: 50,
        times: 8,
        events_rate: 64_000,
        telemetry_rate: 4_000_000,
        of_topics: Vec::new(),
        lanes_max: 8,
    }
}

/// Topics with bytes a second, second by second.
struct Bench {
    budgets: Budgets,
    second: i64,
    switches: Vec<(i64, String, bool)>,
}

impl Bench {
    fn new(settings: BudgetSettings) -> Self {
        let mut budgets = Budgets::new(settings);
        budgets.judge(0);
        Self {
            budgets,
            second: 0,
            switches: Vec::new(),
        }
    }

    fn run(&mut self, seconds: i64, rates: &[(&str, LaneKind, usize)]) {
        for _ in 0..seconds {
            for (topic, kind, bytes) in rates {
                let index = self.budgets.topic(topic, *kind).unwrap();
                self.budgets.take(index, *bytes);
            }
            self.second += 1;
            for switch in self.budgets.judge(self.second * SECOND) {
                let away = switch.diverted.is_some();
                self.switches.push((self.second, switch.topic, away));
            }
        }
    }
}

/// As measured at the observatory in three days, bytes of topics in proportion: M1M3 is five sixths of all.
const M1M3: [(&str, LaneKind, usize); 7] = [
    ("lsst.sal.MTM1M3.forceActuatorData", Telemetry, 900_000),
    ("lsst.sal.MTM1M3.appliedBalanceForces", Telemetry, 650_000),
    ("lsst.sal.MTM1M3.appliedElevationForces", Telemetry, 620_000),
    ("lsst.sal.MTM1M3.appliedAzimuthForces", Telemetry, 600_000),
    ("lsst.sal.MTM1M3.appliedThermalForces", Telemetry, 600_000),
    ("lsst.sal.MTMount.elevation", Telemetry, 400_000),
    ("lsst.sal.MTM1M3.logevent_appliedForces", Events, 20_000),
];

#[test]
fn a_mirror_at_50_hz_is_within_its_budget_from_the_first_second() {
    let mut bench = Bench::new(settings());
    bench.run(3600, &M1M3[5..]);
    bench.run(3600, &M1M3);
    // Four times as much of its telemetry. (An event topic that is most of all events has only what is always allowed.)
    let more: Vec<_> = M1M3
        .iter()
        .map(|&(topic, kind, bytes)| match kind {
            Telemetry => (topic, kind, bytes * 4),
            Events | LaneKind::Losses | LaneKind::Reduced | LaneKind::Parked => {
                (topic, kind, bytes)
            }
        })
        .collect();
    bench.run(600, &more);
    assert_eq!(bench.switches, []);
}

#[test]
fn the_faulty_event_of_2023_is_diverted_and_comes_back_when_it_is_mended() {
    const FAULTY: &str = "lsst.sal.MTM1M3.logevent_forceActuatorWarning";
    let mut bench = Bench::new(settings());
    let with = |bytes| {
        let mut all = M1M3.to_vec();
        all.push((FAULTY, Events, bytes));
        all
    };
    bench.run(600, &with(500));
    // A burst that the bucket holds.
    bench.run(20, &with(100_000));
    bench.run(600, &with(500));
    assert_eq!(bench.switches, []);
    // 87 kB/s, as it was: of all it is a fiftieth, of events four fifths.
    bench.run(3600, &with(87_000));
    assert_eq!(bench.switches.len(), 1, "{:?}", bench.switches);
    let (at, topic, away) = bench.switches[0].clone();
    assert!(away && topic == FAULTY && at < 1220 + 600, "{at}");
    let index = bench.budgets.topic(FAULTY, Events).unwrap();
    let shard = bench.budgets.diverted(index).unwrap();
    assert!(shard.is_diverted() && shard.meets(Shard::of("MTM1M3", 64)));
    assert_eq!(bench.budgets.diverted_topics().count(), 1);
    // Mended: not at once, and for good.
    let mended = bench.second;
    bench.run(600, &with(500));
    assert_eq!(bench.switches.len(), 2, "{:?}", bench.switches);
    let (at, _, away) = bench.switches[1].clone();
    assert!(
        !away && (60..=150).contains(&(at - mended)),
        "{}",
        at - mended
    );
    assert_eq!(bench.budgets.counters().diverted, 0);
}

#[test]
fn a_steady_rate_never_goes_to_and_fro() {
    for rate in (10_000..200_000).step_by(10_000) {
        let mut bench = Bench::new(settings());
        bench.run(7200, &[("a", Events, rate), ("b", Events, 30_000)]);
        assert!(bench.switches.len() <= 1, "{rate}: {:?}", bench.switches);
    }
}

#[test]
fn the_site_has_the_last_word_and_lanes_are_limited() {
    let fixed = |name: &str, rate| (Topics::of(&[name.to_owned()]), rate);
    let settings = BudgetSettings {
        of_topics: vec![fixed("x.camera*", 10_000_000), fixed("x.*", 1000)],
        lanes_max: 2,
        ..settings()
    };
    let mut bench = Bench::new(settings);
    let rates: Vec<(String, LaneKind, usize)> = (0..4)
        .map(|n| (format!("x.{n}"), Telemetry, 5000))
        .chain([("x.camera1".to_owned(), Telemetry, 9_000_000)])
        .collect();
    let rates: Vec<_> = rates.iter().map(|(t, k, b)| (t.as_str(), *k, *b)).collect();
    bench.run(300, &rates);
    let away: Vec<_> = bench.switches.iter().map(|(_, t, _)| t.as_str()).collect();
    assert_eq!(away, ["x.0", "x.1"]);
    let counters = bench.budgets.counters();
    assert_eq!((counters.diverted, counters.diversions), (2, 2));
    assert!(counters.refused > 0);
    let lanes: std::collections::BTreeSet<_> =
        bench.budgets.diverted_topics().map(|it| it.1).collect();
    assert_eq!(lanes.len(), 2, "a lane each");
}

#[test]
fn none_diverts_nothing_and_other_kinds_have_no_budget() {
    let mut bench = Bench::new(BudgetSettings::none());
    bench.run(600, &[("a", Events, 1 << 30)]);
    assert_eq!(bench.switches, []);
    assert_eq!(bench.budgets.topic("efd.losses", LaneKind::Losses), None);
}

proptest! {
    /// Whatever comes, and however the clock is asked: a topic is in one place, lanes are not shared, and the counts agree.
    #[test]
    fn lanes_are_given_and_taken(
        steps in prop::collection::vec((0..6usize, 0..3_000_000usize, -2..90i64), 1..200),
        lanes_max in 0..4u16,
    ) {
        let mut budgets = Budgets::new(BudgetSettings { lanes_max, ..settings() });
        let mut away: BTreeMap<String, Shard> = BTreeMap::new();
        let (mut now, mut diversions) = (0, 0);
        for (topic, bytes, seconds) in steps {
            let name = format!("lsst.sal.Test.t{topic}");
            let index = budgets.topic(&name, if topic % 2 == 0 { Events } else { Telemetry }).unwrap();
            prop_assert_eq!(budgets.take(index, bytes), away.get(&name).copied());
            now += seconds * SECOND;
            for switch in budgets.judge(now) {
                match switch.diverted {
                    Some(shard) => {
                        diversions += 1;
                        prop_assert!(away.values().all(|other| *other != shard));
                        prop_assert_eq!(away.insert(switch.topic, shard), None);
                    }
                    None => prop_assert!(away.remove(&switch.topic).is_some()),
                }
            }
            prop_assert!(away.len() <= usize::from(lanes_max));
            prop_assert_eq!(budgets.counters().diverted, away.len() as u64);
            prop_assert_eq!(budgets.counters().diversions, diversions);
        }
    }
}
