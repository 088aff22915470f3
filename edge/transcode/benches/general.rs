//! What a sample of a type that is not SAL costs on one core. `cargo bench -p efd-edge-transcode --bench general`

#![allow(clippy::unwrap_used, reason = "a benchmark stops where it fails")]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use efd_edge_transcode::{GeneralPlan, GeneralStamps};
use efd_shared_types::{GeneralTopic, TypeName, idl};

const IDL: &str = "
module builtin_interfaces { module msg { module dds_ {
    struct Time_ { long sec; unsigned long nanosec; };
}; }; };
module std_msgs { module msg { module dds_ {
    struct Header_ { builtin_interfaces::msg::dds_::Time_ stamp; string frame_id; };
}; }; };
module bench { module msg { module dds_ {
    struct PointField_ { string name; unsigned long offset; uint8 datatype; unsigned long count; };
    struct PointCloud2_ {
        std_msgs::msg::dds_::Header_ header; unsigned long height, width;
        sequence<PointField_> fields; boolean is_bigendian; unsigned long point_step, row_step;
        sequence<uint8> data; boolean is_dense;
    };
    struct Point_ { float x, y, z, intensity; };
    struct Points_ { std_msgs::msg::dds_::Header_ header; sequence<Point_> points; };
    struct Ranges_ { std_msgs::msg::dds_::Header_ header; sequence<float> ranges; };
    struct Vector3_ { double x, y, z; };
    struct Quaternion_ { double x, y, z, w; };
    struct Pose_ { Vector3_ position; Quaternion_ orientation; };
    struct PoseWithCovariance_ { Pose_ pose; double covariance[36]; };
    struct Twist_ { Vector3_ linear; Vector3_ angular; };
    struct TwistWithCovariance_ { Twist_ twist; double covariance[36]; };
    struct Odometry_ {
        std_msgs::msg::dds_::Header_ header; string child_frame_id;
        PoseWithCovariance_ pose; TwistWithCovariance_ twist;
    };
    @mutable struct Status_ {
        std_msgs::msg::dds_::Header_ header; @optional double voltage; @optional float current;
        long state; string note; sequence<short> cells;
    };
}; }; };";

/// XCDR1 or XCDR2, little-endian.
struct Cdr {
    out: Vec<u8>,
    align_max: usize,
}

impl Cdr {
    fn new(align_max: usize) -> Self {
        let mut it = Self {
            out: Vec::new(),
            align_max,
        };
        it.long(1_795_399_290);
        it.long(823_825_000);
        it.text("base_link");
        it
    }

    fn bytes(&mut self, align: usize, bytes: &[u8]) {
        let length = self.out.len().next_multiple_of(align.min(self.align_max));
        self.out.resize(length, 0);
        self.out.extend_from_slice(bytes);
    }

    fn long(&mut self, value: u32) {
        self.bytes(4, &value.to_le_bytes());
    }

    fn float(&mut self, value: f32) {
        self.bytes(4, &value.to_le_bytes());
    }

    fn doubles(&mut self, count: usize) {
        (0..count).for_each(|at| self.bytes(8, &(at as f64 * 0.37).to_le_bytes()));
    }

    fn text(&mut self, text: &str) {
        self.long(text.len() as u32 + 1);
        self.bytes(1, text.as_bytes());
        self.bytes(1, &[0]);
    }
}

fn point_cloud() -> Cdr {
    let mut cdr = Cdr::new(8);
    cdr.long(1);
    cdr.long(4096);
    cdr.long(4);
    for name in ["x", "y", "z", "intensity"] {
        cdr.text(name);
        cdr.long(0);
        cdr.bytes(1, &[7]);
        cdr.long(1);
    }
    cdr.bytes(1, &[0]);
    cdr.long(16);
    cdr.long(65_536);
    cdr.long(65_536);
    cdr.bytes(1, &vec![0x5a; 65_536]);
    cdr.bytes(1, &[1]);
    cdr
}

fn points() -> Cdr {
    let mut cdr = Cdr::new(8);
    cdr.long(4096);
    (0..4 * 4096).for_each(|at| cdr.float(at as f32 * 0.37));
    cdr
}

fn odometry() -> Cdr {
    let mut cdr = Cdr::new(8);
    cdr.text("odom");
    cdr.doubles(7 + 36 + 6 + 36);
    cdr
}

/// Each member behind its header.
fn status() -> Cdr {
    let header = Cdr::new(4).out;
    let mut cdr = Cdr {
        out: vec![0; 4],
        align_max: 4,
    };
    cdr.long(4 << 28);
    cdr.long(header.len() as u32);
    cdr.bytes(4, &header);
    cdr.long(3 << 28 | 1);
    cdr.doubles(1);
    cdr.long(2 << 28 | 3);
    cdr.long(5);
    cdr.long(5 << 28 | 4);
    cdr.text("settled");
    cdr.long(4 << 28 | 5);
    cdr.long(4 + 2 * 12);
    cdr.long(12);
    cdr.bytes(2, &[7; 24]);
    let length = cdr.out.len() as u32 - 4;
    cdr.out[..4].copy_from_slice(&length.to_le_bytes());
    cdr
}

fn general(criterion: &mut Criterion) {
    let parsed = idl::parse(IDL);
    assert_eq!(parsed.errors, []);
    let types = parsed.types();
    let mut group = criterion.benchmark_group("general");
    for (name, ty, header, cdr) in [
        ("point_cloud_64_kib", "PointCloud2_", 1, point_cloud()),
        ("4096_points_of_4_floats", "Points_", 1, points()),
        ("16384_floats", "Ranges_", 1, points_as_ranges()),
        ("odometry", "Odometry_", 1, odometry()),
        ("mutable_status", "Status_", 11, status()),
    ] {
        let root = TypeName::new(&format!("bench::msg::dds_::{ty}"));
        let topic = GeneralTopic::of(&types, &root, "rt/bench").unwrap();
        let plan = GeneralPlan::compile(&topic);
        let payload = [&[0, header, 0, 0], &*cdr.out].concat();
        let stamps = GeneralStamps {
            source: Some(1_795_399_290_823_825_000),
            received: 1_795_399_290_900_000_000,
        };
        group.throughput(Throughput::Bytes(payload.len() as u64));
        let mut out = Vec::new();
        group.bench_function(BenchmarkId::from_parameter(name), |bencher| {
            bencher.iter(|| {
                out.clear();
                plan.transcode(black_box(&payload), &stamps, &mut out)
                    .unwrap()
            });
        });
    }
    group.finish();
}

fn points_as_ranges() -> Cdr {
    let mut cdr = Cdr::new(8);
    cdr.long(16_384);
    (0..16_384).for_each(|at| cdr.float(at as f32 * 0.37));
    cdr
}

criterion_group!(benches, general);
criterion_main!(benches);
