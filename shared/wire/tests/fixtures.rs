//! The bytes of version 1 never change: every frame is kept as a file, read back and written again.
//! `EFD_BLESS=1` writes files that are not there; it never overwrites one.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use efd_shared_model::block::Codec;
use efd_shared_model::clock::{ClockSource, TaiOrigin};
use efd_shared_model::epoch::Parent;
use efd_shared_model::record::EventTimeOrigin;
use efd_shared_model::{
    BlockBuilder, BlockNumber, ClockState, EdgeId, EpochDeclaration, EpochId, Lane, LaneKind,
    RangeSet, RecordStamps, Schema, StreamDeclaration, StreamNumber, TopicKind, UtcNanos,
};
use efd_shared_wire::frame::{
    Declare, EdgeHeartbeat, Hello, HelloLane, Refuse, RefuseCode, Unable, UnableReason, Versions,
    Welcome,
};
use efd_shared_wire::{
    CentreFrame, Class, EdgeFrame, FrameBuffer, LaneKey, ReceivedBlock, WireError, WireVersion,
};

const V1: WireVersion = WireVersion::V1;

#[test]
fn v1_edge_frames_never_change() {
    for (name, frame) in edge_frames() {
        let bytes = frame.encode(V1).unwrap();
        let kept = kept(name, &bytes);
        assert_eq!(EdgeFrame::decode(&body(&kept), V1), Ok(frame), "{name}");
        // A newer zstd may pack declarations differently; what they unpack to is the same.
        if name != "declare" {
            assert_eq!(bytes, kept, "{name}");
        }
        every_truncation_is_refused(name, &body(&kept), |bytes| {
            EdgeFrame::decode(bytes, V1).err().map(|e| e.to_string())
        });
    }
}

#[test]
fn v1_centre_frames_never_change() {
    for (name, frame) in centre_frames() {
        let bytes = frame.encode(V1).unwrap();
        let kept = kept(name, &bytes);
        assert_eq!(bytes, kept, "{name}");
        assert_eq!(CentreFrame::decode(&body(&kept), V1), Ok(frame), "{name}");
        every_truncation_is_refused(name, &body(&kept), |bytes| {
            CentreFrame::decode(bytes, V1).err().map(|e| e.to_string())
        });
    }
}

#[test]
fn v1_block_stream_never_changes() {
    let sealed = block();
    let mut bytes = Class::Fill.header().to_vec();
    bytes.extend_from_slice(sealed.bytes());
    let kept = kept("block-fill", &bytes);
    assert_eq!(bytes, kept);
    let received = ReceivedBlock::check(kept.clone().into()).unwrap();
    assert_eq!((received.class(), received.block()), (Class::Fill, &sealed));
    every_truncation_is_refused("block-fill", &kept, |bytes| {
        let error = ReceivedBlock::check(Bytes::copy_from_slice(bytes)).err();
        error.map(|e| e.to_string())
    });
    for at in 0..kept.len() {
        let mut broken = kept.clone();
        broken[at] ^= 0x40;
        assert!(
            ReceivedBlock::check(broken.into()).is_err(),
            "byte {at} altered"
        );
    }
}

#[test]
fn every_kept_file_is_tested() {
    let on_disk: BTreeSet<_> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let tested: BTreeSet<_> = edge_frames()
        .iter()
        .map(|(name, _)| *name)
        .chain(centre_frames().iter().map(|(name, _)| *name))
        .chain(["block-fill"])
        .map(|name| format!("{name}.bin"))
        .collect();
    assert_eq!(on_disk, tested);
}

#[test]
fn a_hello_of_a_later_version_is_read() {
    let (_, frame) = edge_frames().remove(0);
    let EdgeFrame::Hello(mut hello) = frame else {
        panic!("the first frame is the hello");
    };
    hello.versions.newest = 7;
    let mut later = body(&EdgeFrame::Hello(hello.clone()).encode(V1).unwrap());
    later.extend_from_slice(b"what version 7 adds");
    assert_eq!(
        EdgeFrame::decode(&later, V1),
        Ok(EdgeFrame::Hello(hello.clone()))
    );

    for (oldest, newest) in [(2, 7), (0, 0), (7, 1)] {
        hello.versions = Versions { oldest, newest };
        let theirs = hello.versions;
        let bytes = body(&EdgeFrame::Hello(hello.clone()).encode(V1).unwrap());
        let refused = EdgeFrame::decode(&bytes, V1);
        assert_eq!(refused, Err(WireError::NoCommonVersion { theirs }));
    }
}

#[test]
fn frames_come_in_pieces_of_any_size() {
    let frames: Vec<_> = centre_frames()
        .into_iter()
        .map(|(_, frame)| frame)
        .collect();
    let bytes: Vec<u8> = frames.iter().flat_map(|f| f.encode(V1).unwrap()).collect();
    for size in [1, 3, 7, 64, bytes.len()] {
        let (mut buffer, mut read) = (FrameBuffer::new(), Vec::new());
        for piece in bytes.chunks(size) {
            buffer.push(piece);
            while let Some(frame) = buffer.next_frame().unwrap() {
                read.push(CentreFrame::decode(&frame, V1).unwrap());
            }
        }
        assert_eq!(read, frames, "pieces of {size}");
    }
}

#[test]
fn a_length_over_the_limit_is_refused_before_its_bytes_come() {
    let mut buffer = FrameBuffer::new();
    buffer.push(&(8u32 << 20).to_le_bytes());
    assert_eq!(buffer.next_frame(), Ok(None));
    let mut buffer = FrameBuffer::new();
    buffer.push(&((8u32 << 20) + 1).to_le_bytes());
    let error = buffer.next_frame().unwrap_err();
    assert_eq!(
        error.to_string(),
        "frame of 8388609 bytes, at most 8388608 are taken"
    );
}

#[test]
fn a_declaration_that_unpacks_to_too_much_is_refused() {
    let bomb = |stated: u32, plain: usize| {
        let mut frame = vec![2];
        frame.extend_from_slice(&[2; 16]);
        frame.extend_from_slice(&stated.to_le_bytes());
        frame.extend(zstd::bulk::compress(&vec![0; plain], 3).unwrap());
        EdgeFrame::decode(&frame, V1).unwrap_err().to_string()
    };
    assert!(bomb((8 << 20) + 1, 9 << 20).contains("at most 8388608"));
    assert!(bomb(1000, 64 << 20).starts_with("decompress declarations"));
    assert!(bomb(1000, 999).contains("999 bytes, frame says 1000"));
}

/// The file's content; `bytes` where it is to be written.
fn kept(name: &str, bytes: &[u8]) -> Vec<u8> {
    let path = folder().join(format!("{name}.bin"));
    if !path.exists() && std::env::var_os("EFD_BLESS").is_some() {
        std::fs::write(&path, bytes).unwrap();
    }
    std::fs::read(&path).unwrap_or_else(|error| panic!("read {}: {error}", path.display()))
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/v1")
}

/// Without the length.
fn body(frame: &[u8]) -> Vec<u8> {
    let mut buffer = FrameBuffer::new();
    buffer.push(frame);
    let whole = buffer.next_frame().unwrap().unwrap();
    assert_eq!(buffer.next_frame(), Ok(None));
    whole.to_vec()
}

fn every_truncation_is_refused(name: &str, whole: &[u8], error: impl Fn(&[u8]) -> Option<String>) {
    for end in 0..whole.len() {
        assert!(
            error(&whole[..end]).is_some(),
            "{name} cut to {end} bytes is taken"
        );
    }
    if name != "hello" {
        let longer = [whole, &[0]].concat();
        assert!(
            error(&longer).is_some(),
            "{name} with a byte too many is taken"
        );
    }
}

fn clock() -> ClockState {
    ClockState {
        utc: UtcNanos(1_795_399_261_000_000_000),
        monotonic: 77,
        boot_id: [5; 16],
        source: ClockSource::Disciplined,
        tai_offset: 37,
        tai_origin: TaiOrigin::Kernel,
        error: Some(12_000),
    }
}

fn lane(kind: LaneKind, shard: u16) -> LaneKey {
    LaneKey {
        epoch: EpochId([2; 16]),
        lane: Lane { kind, shard },
    }
}

fn ranges(ranges: &[(u64, u64)]) -> RangeSet {
    ranges.iter().map(|&(first, last)| first..=last).collect()
}

fn epoch() -> EpochDeclaration {
    EpochDeclaration {
        edge: EdgeId([1; 16]),
        site: "summit".parse().unwrap(),
        epoch: EpochId([2; 16]),
        parent: Some(Parent {
            epoch: EpochId([3; 16]),
            heads: vec![(Lane::new(LaneKind::Events), BlockNumber(900))],
        }),
        began: clock(),
        software: "0.1.0".into(),
    }
}

fn edge_frames() -> Vec<(&'static str, EdgeFrame)> {
    let schema = Schema::new(r#"{"type":"record","name":"elevation","fields":[]}"#);
    let stream = |number, topic: &str, kind| StreamDeclaration {
        number: StreamNumber(number),
        topic: format!("lsst.sal.MTMount.{topic}"),
        dds_topic: format!("MTMount_{topic}_1a2b3c4d"),
        dds_type: format!("MTMount::{topic}_1a2b3c4d"),
        kind,
        schema: schema.fingerprint(),
    };
    vec![
        (
            "hello",
            EdgeFrame::Hello(Hello {
                versions: WireVersion::SPOKEN,
                edge: EdgeId([1; 16]),
                site: "summit".parse().unwrap(),
                software: "0.1.0".into(),
                epochs: vec![epoch()],
                lanes: vec![
                    HelloLane {
                        key: lane(LaneKind::Events, 0),
                        head: BlockNumber(41),
                        floor: BlockNumber(1),
                    },
                    HelloLane {
                        key: lane(LaneKind::Telemetry, 3),
                        head: BlockNumber(70_000),
                        floor: BlockNumber(300),
                    },
                ],
            }),
        ),
        (
            "declare",
            EdgeFrame::Declare(Declare {
                epoch: EpochId([2; 16]),
                streams: vec![
                    stream(4, "elevation", TopicKind::Telemetry),
                    stream(5, "logevent_summaryState", TopicKind::Event),
                ],
                schemas: vec![schema.clone()],
            }),
        ),
        ("epoch", EdgeFrame::Epoch(epoch())),
        (
            "edge-heartbeat",
            EdgeFrame::Heartbeat(EdgeHeartbeat {
                clock: clock(),
                heads: vec![(lane(LaneKind::Losses, 0), BlockNumber(3))],
                oldest_unacked_age: Duration::from_millis(1500),
                backlog_bytes: 1 << 40,
            }),
        ),
        (
            "unable",
            EdgeFrame::Unable(Unable {
                lane: lane(LaneKind::Telemetry, 3),
                ranges: ranges(&[(5, 9), (300, 300)]),
                reason: UnableReason::Damaged,
            }),
        ),
    ]
}

fn centre_frames() -> Vec<(&'static str, CentreFrame)> {
    vec![
        (
            "welcome",
            CentreFrame::Welcome(Welcome {
                version: 1,
                received: vec![
                    (lane(LaneKind::Events, 0), ranges(&[(1, 40)])),
                    (
                        lane(LaneKind::Telemetry, 3),
                        ranges(&[(1, 299), (400, 400), (60_000, 70_000)]),
                    ),
                ],
                streams: vec![(EpochId([2; 16]), StreamNumber(3))],
                window_bytes: 64 << 20,
                credit_bytes: 1 << 20,
            }),
        ),
        (
            "declare-ack",
            CentreFrame::DeclareAck {
                epoch: EpochId([2; 16]),
                through: StreamNumber(2011),
            },
        ),
        (
            "ack",
            CentreFrame::Ack {
                lane: lane(LaneKind::Telemetry, 0),
                ranges: ranges(&[(7, 7), (9, 1000)]),
            },
        ),
        (
            "want",
            CentreFrame::Want {
                lane: lane(LaneKind::Reduced, 65_535),
                ranges: ranges(&[(1, u64::MAX - 1)]),
            },
        ),
        (
            "credit",
            CentreFrame::Credit {
                bytes_total: 1 << 50,
            },
        ),
        ("centre-heartbeat", CentreFrame::Heartbeat),
        (
            "refuse",
            CentreFrame::Refuse(Refuse {
                code: RefuseCode::Identity,
                text: "hello of edge x".into(),
            }),
        ),
    ]
}

fn block() -> efd_shared_model::SealedBlock {
    let mut builder = BlockBuilder::new();
    for (stream, datum) in [(1, b"one".as_slice()), (4, b"four")] {
        builder.datum(StreamNumber(stream)).extend_from_slice(datum);
        let stamps = RecordStamps {
            event_time: UtcNanos(1_795_399_260_000_000_000),
            origin: EventTimeOrigin::SndStamp,
            implausible: false,
            latin1: false,
            instance: Some(1),
        };
        builder.finish(StreamNumber(stream), stamps);
    }
    let id = lane(LaneKind::Telemetry, 3).at(EdgeId([1; 16]));
    builder
        .seal(id.block(BlockNumber(41)), clock(), Codec::None, 0)
        .unwrap()
}
