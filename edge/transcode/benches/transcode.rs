//! What a sample costs on one core. `cargo bench -p efd-edge-transcode`

#![allow(clippy::unwrap_used, reason = "a benchmark stops where it fails")]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use efd_edge_transcode::{LeapSeconds, Plan, Stamps};
use efd_shared_types::{Mapping, TypeName, idl};

const PRIVATE: &str = "long salIndex; string<8> private_revCode; double private_sndStamp;
    double private_rcvStamp; long private_seqNum; string<128> private_identity;
    long private_origin;";

/// A type of our own and one sample of it, in XCDR1 little-endian.
struct Case {
    plan: Plan,
    payload: Vec<u8>,
}

#[derive(Default)]
struct Cdr(Vec<u8>);

impl Cdr {
    fn bytes(&mut self, align: usize, bytes: &[u8]) {
        self.0.resize(self.0.len().next_multiple_of(align), 0);
        self.0.extend_from_slice(bytes);
    }

    fn long(&mut self, value: i32) {
        self.bytes(4, &value.to_le_bytes());
    }

    fn float(&mut self, value: f32) {
        self.bytes(4, &value.to_le_bytes());
    }

    fn double(&mut self, value: f64) {
        self.bytes(8, &value.to_le_bytes());
    }

    fn text(&mut self, text: &str) {
        self.long(text.len() as i32 + 1);
        self.bytes(1, text.as_bytes());
        self.bytes(1, &[0]);
    }
}

fn case(members: &str, fill: impl FnOnce(&mut Cdr)) -> Case {
    let text =
        format!("module Bench {{ struct logevent_case_0123abcd {{ {PRIVATE} {members} }}; }};");
    let parsed = idl::parse(&text);
    assert_eq!(parsed.errors, []);
    let name = TypeName::new("Bench::logevent_case_0123abcd");
    let Ok(Mapping::Sal(topic)) = Mapping::of(&parsed.types(), &parsed.versions, &name) else {
        unreachable!("the type is SAL's");
    };
    let mut cdr = Cdr::default();
    cdr.long(3);
    cdr.text("0123abcd");
    cdr.double(1_795_399_290.823_825);
    cdr.double(0.0);
    cdr.long(123_456);
    cdr.text("Bench:3");
    cdr.long(30_839);
    fill(&mut cdr);
    let payload = [&[0, 1, 0, 0], &*cdr.0].concat();
    Case {
        plan: Plan::compile(&topic),
        payload,
    }
}

fn measure(criterion: &mut Criterion, group: &str, cases: &[(&str, Case)]) {
    let leaps = LeapSeconds::new(&[(1_435_708_836.0, 36), (1_483_228_837.0, 37)]).unwrap();
    let stamps = Stamps {
        received_tai: 1_795_399_290.9,
        encoded_tai: 1_795_399_291.0,
        leaps: &leaps,
    };
    let mut group = criterion.benchmark_group(group);
    for (name, Case { plan, payload }) in cases {
        group.throughput(Throughput::Bytes(payload.len() as u64));
        let mut out = Vec::new();
        group.bench_function(BenchmarkId::from_parameter(name), |bencher| {
            bencher.iter(|| {
                out.clear();
                plan.transcode(black_box(payload), &stamps, &mut out)
                    .unwrap()
            });
        });
    }
    group.finish();
}

fn float_arrays(criterion: &mut Criterion) {
    let floats = |count: i32| {
        case(
            &format!("double timestamp; float forces[{count}];"),
            |cdr| {
                cdr.double(1_795_399_290.8);
                (0..count).for_each(|i| cdr.float(i as f32 * 0.37));
            },
        )
    };
    let doubles = case("double timestamp; double values[276];", |cdr| {
        cdr.double(1_795_399_290.8);
        (0..276).for_each(|i| cdr.double(f64::from(i) * 0.37));
    });
    let scalars: String = (0..100).map(|i| format!("double v{i}; ")).collect();
    let scalars = case(&scalars, |cdr| {
        (0..100).for_each(|i| cdr.double(f64::from(i) * 0.37))
    });
    let longs = case("long counts[276];", |cdr| {
        (0..276).for_each(|i| cdr.long(i * 1_000))
    });
    let cases = [
        ("276_floats", floats(276)),
        ("3024_floats", floats(3024)),
        ("276_doubles", doubles),
        ("100_double_fields", scalars),
        ("276_longs", longs),
    ];
    measure(criterion, "float_arrays", &cases);
}

fn small_event(criterion: &mut Criterion) {
    let event = case("long summaryState;", |cdr| cdr.long(2));
    let mixed = case("boolean on; long mode; double level; string note;", |cdr| {
        cdr.bytes(1, &[1]);
        cdr.long(-5);
        cdr.double(0.25);
        cdr.text("settled");
    });
    measure(
        criterion,
        "small_event",
        &[("summary_state", event), ("mixed", mixed)],
    );
}

fn string_heavy(criterion: &mut Criterion) {
    let members: String = (0..12).map(|i| format!("string text{i}; ")).collect();
    let of = |text: &str| case(&members, |cdr| (0..12).for_each(|_| cdr.text(text)));
    let line = "the quick brown fox jumps over the lazy dog, and a log line goes on for a while";
    let cases = [
        ("ascii", of(line)),
        ("utf8", of(&line.replace('o', "ö"))),
        ("short", of("ok")),
    ];
    measure(criterion, "string_heavy", &cases);
    let mut latin1 = of(line);
    latin1
        .payload
        .iter_mut()
        .filter(|byte| **byte == b'q')
        .for_each(|byte| *byte = 0xe9);
    measure(criterion, "string_heavy", &[("latin1", latin1)]);
}

criterion_group!(benches, float_arrays, small_event, string_heavy);
criterion_main!(benches);
