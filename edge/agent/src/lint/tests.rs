use efd_shared_model::{TopicKind, UtcNanos};
use proptest::prelude::*;

use super::*;

/// 2026-11-24.
const BEGIN: i64 = 1_795_500_000 * SECOND_NS;
const TAI_MINUS_UTC: i32 = 37;
const STEP_NS: i64 = SECOND_NS / 10;

/// What a test changes while it goes on.
#[derive(Clone, Debug)]
struct Publisher {
    topic: &'static str,
    kind: TopicKind,
    identity: &'static str,
    hz: f64,
    /// Of a period; a fraction of the rest is what differs from sample to sample.
    jitter: f64,
    /// Seconds that its clock is behind ours.
    lag: f64,
    bytes: usize,
    not_finite: u32,
    counts: bool,
    is_on: bool,
    is_on_the_bus: bool,
    origin: i64,
    sequence: i64,
    due: i64,
}

const FLOATS: u32 = 100;

fn telemetry(topic: &'static str, identity: &'static str, hz: f64) -> Publisher {
    Publisher {
        topic,
        kind: TopicKind::Telemetry,
        identity,
        hz,
        jitter: 0.3,
        lag: 0.0,
        bytes: 500,
        not_finite: 0,
        counts: true,
        is_on: true,
        is_on_the_bus: true,
        origin: 1,
        sequence: 0,
        due: BEGIN,
    }
}

struct World {
    lint: Lint,
    now: i64,
    random: u64,
    publishers: Vec<Publisher>,
    began: Vec<Finding>,
    ended: Vec<Finding>,
}

impl World {
    fn new(publishers: Vec<Publisher>) -> Self {
        let mut lint = Lint::new(Limits::default());
        for publisher in &publishers {
            lint.topic(publisher.topic, publisher.kind);
        }
        Self {
            lint,
            now: BEGIN,
            random: 1,
            publishers,
            began: Vec::new(),
            ended: Vec::new(),
        }
    }

    /// Between 0 and 1.
    fn random(&mut self) -> f64 {
        self.random = self
            .random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 40) as f64 / (1 << 24) as f64
    }

    fn run(&mut self, seconds: i64) {
        let end = self.now + seconds * SECOND_NS;
        while self.now < end {
            self.now += STEP_NS;
            self.publish();
            self.tick();
        }
    }

    fn publish(&mut self) {
        for index in 0..self.publishers.len() {
            while self.publishers[index].due <= self.now {
                let random = self.random();
                let (now, at) = (self.now, self.publishers[index].due);
                let one = &mut self.publishers[index];
                let period = 1e9 / one.hz;
                one.due += (period * (1.0 - one.jitter / 2.0 + one.jitter * random)) as i64;
                if !one.is_on {
                    // It goes on in its step when it is on again.
                    one.due = one.due.max(now);
                    continue;
                }
                one.sequence += i64::from(one.counts);
                let one = one.clone();
                let topic = self.lint.topic(one.topic, one.kind).unwrap();
                self.lint.observe(Observed {
                    topic,
                    sal_index: Some(1),
                    identity: one.identity.as_bytes(),
                    origin: one.origin,
                    sequence: one.sequence,
                    received: UtcNanos(at),
                    lag: Some(one.lag + 0.05 * random),
                    bytes: one.bytes,
                    floats: FLOATS,
                    not_finite: one.not_finite,
                });
            }
        }
    }

    fn tick(&mut self) {
        let publishers = &self.publishers;
        let is_written = |topic: &str| {
            let here = |one: &Publisher| one.topic == topic && one.is_on_the_bus;
            publishers.iter().any(here)
        };
        let changes = self
            .lint
            .tick(UtcNanos(self.now), TAI_MINUS_UTC, &is_written);
        for change in changes.into_iter().flatten() {
            match change {
                Change::Began(finding) => self.began.push(finding),
                Change::Ended(finding) => self.ended.push(finding),
            }
        }
    }

    /// `kind topic identity` of what is complained of.
    fn now(&self) -> Vec<String> {
        let words = |one: &Finding| format!("{} {} {}", one.kind.as_str(), one.topic, one.identity);
        self.lint.findings().map(words).collect()
    }

    fn text(&self, kind: Kind) -> String {
        let mut findings = self.lint.findings().filter(|one| one.kind == kind);
        findings
            .next()
            .map_or_else(String::new, |one| one.text.clone())
    }
}

#[test]
fn a_clock_is_named_with_what_it_is_off() {
    for (lag, words) in [
        (37.0, Some("it stamps UTC where SAL has TAI")),
        (-37.0, Some("added the leap seconds twice")),
        (5.0, Some("5.0 s behind our clock")),
        (-86_400.0 * 400.0, Some("ahead of our clock")),
        (0.7, None),
        (-0.9, None),
    ] {
        let mut world = World::new(vec![
            telemetry("lsst.sal.A.x", "A:1", 20.0),
            telemetry("lsst.sal.A.y", "A:1", 1.0),
            telemetry("lsst.sal.B.x", "B:1", 20.0),
        ]);
        world.publishers[0].lag = lag;
        world.publishers[1].lag = lag;
        world.run(30);
        let Some(words) = words else {
            assert_eq!(world.now(), Vec::<String>::new(), "{lag}");
            continue;
        };
        // Once for a publisher, whatever its topics.
        assert_eq!(world.began.len(), 1, "{lag}: {:?}", world.began);
        let finding = &world.began[0];
        assert_eq!((finding.kind, &*finding.identity), (Kind::Clock, "A:1"));
        assert!(finding.text.contains(words), "{}", finding.text);
        assert!((finding.value - lag).abs() < 0.1, "{finding:?}");
        assert!(finding.since.0 <= BEGIN + SECOND_NS, "{finding:?}");
        world.publishers[0].lag = 0.0;
        world.publishers[1].lag = 0.0;
        world.run(30);
        assert_eq!(world.now(), Vec::<String>::new(), "{lag}");
        assert_eq!(world.ended.len(), 1);
    }
}

#[test]
fn where_all_clocks_are_off_alike_it_is_ours() {
    let names = [
        ("lsst.sal.A.x", "A"),
        ("lsst.sal.B.x", "B"),
        ("lsst.sal.C.x", "C"),
    ];
    let mut world = World::new(
        names
            .map(|(topic, name)| telemetry(topic, name, 5.0))
            .into(),
    );
    for publisher in &mut world.publishers {
        publisher.lag = 12.0;
    }
    world.run(30);
    assert_eq!(world.now().len(), 3);
    assert!(world.text(Kind::Clock).contains("so are 3 of 3 publishers"));
}

#[test]
fn silence_is_named_and_whether_the_writer_is_there() {
    for (hz, after) in [(50.0, 10), (1.0, 10), (0.2, 50)] {
        for is_on_the_bus in [true, false] {
            let mut world = World::new(vec![
                telemetry("lsst.sal.A.x", "A:1", hz),
                telemetry("lsst.sal.B.x", "B:1", 10.0),
            ]);
            world.run(400);
            world.publishers[0].is_on = false;
            world.publishers[0].is_on_the_bus = is_on_the_bus;
            world.run(after - 3);
            assert_eq!(world.now(), Vec::<String>::new(), "{hz} Hz");
            let began = world.now;
            world.run(10 + (after / 5));
            assert_eq!(world.now(), ["silent lsst.sal.A.x A:1"], "{hz} Hz");
            let wanted = ["its writer has left the bus", "its writer is on the bus"];
            let text = world.text(Kind::Silent);
            assert!(text.contains(wanted[usize::from(is_on_the_bus)]), "{text}");
            assert!(world.began[0].since.0 <= began);
            // Who left is complained of for an hour, who did not as long as it lasts.
            world.run(3700);
            assert_eq!(world.now().len(), usize::from(is_on_the_bus));
            world.publishers[0].is_on = true;
            world.run(3);
            assert_eq!(world.now(), Vec::<String>::new(), "{hz} Hz");
            assert_eq!(world.began.len(), 1, "{:?}", world.began);
        }
    }
}

#[test]
fn a_rate_that_drifts_is_named_until_it_is_usual() {
    for (factor, is_off) in [(0.3, true), (0.6, false), (1.8, false), (2.5, true)] {
        let mut world = World::new(vec![telemetry("lsst.sal.A.x", "A:1", 10.0)]);
        world.run(600);
        world.publishers[0].hz *= factor;
        world.run(130);
        let wanted = ["rate lsst.sal.A.x A:1"];
        assert_eq!(world.now(), wanted[..usize::from(is_off)], "{factor}");
        if is_off {
            assert!(
                (world.began[0].value - factor).abs() < 0.5 * factor,
                "{factor}"
            );
            world.publishers[0].hz = 10.0;
            world.run(130);
            assert_eq!(world.now(), Vec::<String>::new(), "{factor}");
        }
    }
}

#[test]
fn a_flood_is_named_by_who_sends_most() {
    let quiet = Publisher {
        kind: TopicKind::Event,
        ..telemetry("lsst.sal.A.logMessage", "A:1", 0.1)
    };
    let other = Publisher {
        identity: "A:2",
        ..quiet.clone()
    };
    let mut world = World::new(vec![quiet, other, telemetry("lsst.sal.B.x", "B:1", 50.0)]);
    world.run(300);
    world.publishers[1].hz = 2000.0;
    world.run(15);
    assert_eq!(world.now(), ["flood lsst.sal.A.logMessage A:2"]);
    assert!(world.began[0].value > 0.5, "{:?}", world.began);
    world.run(300);
    assert_eq!(world.now().len(), 1, "it does not become usual so soon");
    world.publishers[1].hz = 0.1;
    world.run(15);
    assert_eq!(world.now(), Vec::<String>::new());
}

/// Nobody sent anything before: a writer that is there and silent is known, one that has just come is not.
#[test]
fn the_first_samples_of_a_writer_are_no_flood() {
    let late = Publisher {
        is_on: false,
        ..telemetry("lsst.sal.A.x", "A:1", 1000.0)
    };
    let mut world = World::new(vec![telemetry("lsst.sal.B.x", "B:1", 10.0)]);
    world.run(300);
    world.publishers.push(Publisher {
        due: world.now,
        ..late.clone()
    });
    world.publishers[1].is_on = true;
    world.run(120);
    assert_eq!(world.now(), Vec::<String>::new());
    let mut world = World::new(vec![telemetry("lsst.sal.B.x", "B:1", 10.0), late]);
    world.run(300);
    world.publishers[1].is_on = true;
    world.run(15);
    assert_eq!(world.now(), ["flood lsst.sal.A.x A:1"]);
}

#[test]
fn values_that_turn_to_nan_are_named() {
    let mut world = World::new(vec![
        telemetry("lsst.sal.A.x", "A:1", 10.0),
        telemetry("lsst.sal.B.x", "B:1", 1.0),
        telemetry("lsst.sal.C.x", "C:1", 10.0),
    ]);
    // A sensor that is off from the begin.
    world.publishers[2].not_finite = 80;
    world.publishers[0].not_finite = 10;
    world.run(120);
    assert_eq!(world.now(), Vec::<String>::new());
    world.publishers[0].not_finite = 49;
    world.publishers[1].not_finite = 60;
    world.run(60);
    assert_eq!(world.now(), ["not_finite lsst.sal.B.x B:1"]);
    assert!(world.text(Kind::NotFinite).starts_with("60 %"));
    world.publishers[1].not_finite = 0;
    world.run(60);
    assert_eq!(world.now(), Vec::<String>::new());
}

#[test]
fn numbers_that_stay_are_named() {
    let mut world = World::new(vec![
        telemetry("lsst.sal.A.x", "A:1", 10.0),
        Publisher {
            kind: TopicKind::AckCmd,
            ..telemetry("lsst.sal.A.ackcmd", "A:1", 10.0)
        },
    ]);
    world.publishers[1].counts = false;
    world.run(10);
    assert_eq!(world.now(), Vec::<String>::new());
    world.publishers[0].counts = false;
    world.run(3);
    assert_eq!(world.now(), ["sequence lsst.sal.A.x A:1"]);
    let text = world.text(Kind::Sequence);
    let sequence = world.publishers[0].sequence;
    assert!(
        text.contains(&format!("private_seqNum stays at {sequence}:")),
        "{text}"
    );
    world.publishers[0].counts = true;
    world.run(3);
    assert_eq!(world.now(), Vec::<String>::new());
}

/// Neither silence nor a rate can be told from what we did not see.
#[test]
fn our_own_pause_is_nobody_elses_fault() {
    let mut world = World::new(vec![telemetry("lsst.sal.A.x", "A:1", 50.0)]);
    world.run(600);
    world.now += 40 * SECOND_NS;
    world.publishers[0].due = world.now + 2 * SECOND_NS;
    world.run(300);
    assert_eq!(world.began, []);
    // Nor from a clock of ours that was set back.
    world.now -= 500 * SECOND_NS;
    world.publishers[0].due = world.now;
    world.run(300);
    assert_eq!(world.began, []);
}

/// What waited here tells nothing of now.
#[test]
fn old_samples_are_not_judged() {
    let mut world = World::new(vec![telemetry("lsst.sal.A.x", "A:1", 50.0)]);
    world.run(100);
    let topic = world
        .lint
        .topic("lsst.sal.A.x", TopicKind::Telemetry)
        .unwrap();
    for sequence in 0..100_000 {
        world.lint.observe(Observed {
            topic,
            sal_index: Some(1),
            identity: b"A:1",
            origin: 2,
            sequence,
            received: UtcNanos(BEGIN - 1000 * SECOND_NS),
            lag: Some(1e6),
            bytes: 1000,
            floats: 1,
            not_finite: 1,
        });
    }
    world.run(100);
    assert_eq!(world.began, []);
}

#[test]
fn memory_is_bounded() {
    let mut lint = Lint::new(Limits::default());
    let topic = lint.topic("lsst.sal.A.x", TopicKind::Telemetry).unwrap();
    let mut at = UtcNanos(BEGIN);
    for round in 0..12i64 {
        for publisher in 0..SOURCES_MAX as u32 + 10 {
            at = at.saturating_add(1000);
            lint.observe(Observed {
                topic,
                sal_index: Some(1),
                // One in ten thousand has a clock of its own.
                identity: &(publisher / 10_000 + 1).to_le_bytes(),
                origin: 0,
                sequence: round,
                received: at,
                lag: Some(100.0),
                bytes: 1,
                floats: 0,
                not_finite: 0,
            });
        }
        at = at.saturating_add(SECOND_NS);
        lint.tick(at, 37, &|_| true);
    }
    assert_eq!(lint.sources.len(), 6);
    for index in 0..SOURCES_MAX as i32 + 1 {
        lint.observe(Observed {
            topic,
            sal_index: Some(index + 2),
            identity: b"x",
            origin: 0,
            sequence: 1,
            received: at.saturating_add(i64::from(index)),
            lag: None,
            bytes: 1,
            floats: 0,
            not_finite: 0,
        });
        assert!(lint.sources.len() <= SOURCES_MAX);
    }
    // Those six were silent longest: what was said of them ends.
    assert_eq!(lint.clocks.len(), 1);
    let changes = lint
        .tick(at.saturating_add(2 * SECOND_NS), 37, &|_| true)
        .unwrap();
    assert!(!changes.is_empty());
    assert!(
        changes
            .iter()
            .all(|change| matches!(change, Change::Ended(_)))
    );
    assert_eq!(lint.findings().count(), 0);
    for name in 0..TOPICS_MAX + 10 {
        lint.topic(&name.to_string(), TopicKind::Event);
    }
    assert_eq!(lint.topics.len(), TOPICS_MAX);
}

#[test]
fn findings_are_bounded_and_counted() {
    let mut lint = Lint::new(Limits::default());
    let topic = lint.topic("lsst.sal.A.x", TopicKind::Event).unwrap();
    let (mut at, count) = (UtcNanos(BEGIN), FINDINGS_MAX as u64 + 500);
    for second in 0..3 {
        for index in 0..count * 20 {
            lint.observe(Observed {
                topic,
                sal_index: Some((index % count) as i32),
                identity: b"x",
                origin: 0,
                sequence: 0,
                received: at,
                lag: None,
                bytes: 1,
                floats: 0,
                not_finite: 0,
            });
        }
        at = at.saturating_add(SECOND_NS);
        let changes = lint.tick(at, 37, &|_| true);
        assert_eq!(changes.is_none(), second == 0);
    }
    assert_eq!(lint.findings().count(), FINDINGS_MAX);
    assert_eq!(lint.unnamed(), 500);
}

#[derive(Clone, Debug)]
struct Plain {
    hz: f64,
    jitter: f64,
    lag: f64,
    not_finite: u32,
    bytes: usize,
    is_event: bool,
    /// When it is started anew, and how long that takes.
    restart: (i64, i64),
}

fn plain() -> impl Strategy<Value = Plain> {
    let hz = prop_oneof![0.005..0.1f64, 0.1..5.0f64, Just(50.0)];
    let numbers = (0.0..0.9f64, -0.8..0.8f64, 0..=FLOATS, 1..2000usize);
    (hz, numbers, any::<bool>(), (0..900i64, 0..9i64)).prop_map(
        |(hz, (jitter, lag, not_finite, bytes), is_event, restart)| Plain {
            hz,
            jitter,
            lag,
            not_finite,
            bytes,
            is_event,
            restart,
        },
    )
}

const TOPICS: [(&str, &str); 4] = [
    ("lsst.sal.A.x", "A:1"),
    ("lsst.sal.B.x", "B:1"),
    ("lsst.sal.C.x", "C:1"),
    ("lsst.sal.D.x", "D:1"),
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Rare events, telemetry with jitter, a clock that is a little off, sensors that are off, a restart.
    #[test]
    fn plain_traffic_gives_no_finding(plain in prop::collection::vec(plain(), 1..=TOPICS.len())) {
        let publishers = plain.iter().zip(TOPICS).map(|(plain, (topic, identity))| Publisher {
            // Events come when they will.
            jitter: if plain.is_event { 1.9 } else { plain.jitter },
            kind: if plain.is_event { TopicKind::Event } else { TopicKind::Telemetry },
            lag: plain.lag,
            bytes: plain.bytes,
            not_finite: plain.not_finite,
            ..telemetry(topic, identity, plain.hz)
        });
        let mut world = World::new(publishers.collect());
        for second in 0..1000 {
            for (publisher, plain) in world.publishers.iter_mut().zip(&plain) {
                let (at, takes) = plain.restart;
                if second == at {
                    publisher.is_on = false;
                    (publisher.origin, publisher.sequence) = (2, 0);
                }
                publisher.is_on |= second == at + takes;
            }
            world.run(1);
        }
        prop_assert_eq!(world.began, vec![]);
    }

    /// By the plain definition: off by more than the limit, whatever a third of the stamps say.
    #[test]
    fn a_clock_is_off_if_its_usual_lag_is(
        lag in prop_oneof![-50.0..50.0f64, -1.5..1.5f64],
        strays in prop::collection::vec(-1e9..1e9f64, 1..4),
        hz in 1.0..20.0f64,
    ) {
        prop_assume!((lag.abs() - 1.0).abs() > 0.1);
        let mut world = World::new(vec![telemetry("lsst.sal.A.x", "A:1", hz)]);
        for second in 0..60 {
            // Of whole seconds one in four is wrong.
            world.publishers[0].lag = match second % 4 {
                3 => strays[second / 4 % strays.len()],
                _ => lag,
            };
            world.run(1);
        }
        world.publishers[0].lag = lag;
        world.run(20);
        prop_assert_eq!(world.now().len(), usize::from(lag.abs() > 1.0));
    }
}
