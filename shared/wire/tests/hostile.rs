//! Bytes and frames of a peer that means no good: typed errors, never a panic, never memory past the limits.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

use bytes::Bytes;
use efd_shared_model::BlockNumber;
use efd_shared_model::{
    ClockState, EdgeId, EpochDeclaration, EpochId, Lane, LaneKind, RangeSet, StreamNumber,
};
use efd_shared_wire::centre::{Certificate, Known};
use efd_shared_wire::edge::{Attempt, Command, HeldEpoch, HeldLane};
use efd_shared_wire::frame::{
    Declare, EdgeHeartbeat, Hello, HelloLane, Refuse, RefuseCode, Unable, UnableReason, Versions,
    Welcome,
};
use efd_shared_wire::{
    CentreConfig, CentreFrame, CentreSession, EdgeConfig, EdgeFrame, EdgeSession, FrameBuffer,
    LaneKey, Moment, ReceivedBlock, WireVersion,
};
use proptest::collection::vec;
use proptest::prelude::*;

const V1: WireVersion = WireVersion::V1;
const EDGE: EdgeId = EdgeId([1; 16]);

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn arbitrary_bytes_never_panic(kind in 0u8..80, bytes in vec(any::<u8>(), 0..300)) {
        let frame = [&[kind], bytes.as_slice()].concat();
        let _unused = (EdgeFrame::decode(&frame, V1), CentreFrame::decode(&frame, V1));
        let _unused = ReceivedBlock::check(Bytes::from(frame.clone()));
        let mut buffer = FrameBuffer::new();
        buffer.push(&bytes);
        while let Ok(Some(_)) = buffer.next_frame() {}
    }

    #[test]
    fn a_hello_with_altered_bytes_never_panics(at in 0usize..300, byte: u8) {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/v1/hello.bin");
        let mut bytes = std::fs::read(path).unwrap().split_off(4);
        let at = at % bytes.len();
        bytes[at] = byte;
        if let Ok(frame) = EdgeFrame::decode(&bytes, V1) {
            let again = frame.encode(V1).unwrap().split_off(4);
            prop_assert_eq!(EdgeFrame::decode(&again, V1), Ok(frame));
        }
    }

    #[test]
    fn a_centre_that_says_anything_never_breaks_the_edge(frames in vec(centre_frame(), 1..30)) {
        let mut edge = EdgeSession::new(EdgeConfig::new(EDGE, site(), "1"), 1, Moment(0));
        edge.handle_start(vec![held_epoch()], Moment(0));
        let attempt = Attempt(1);
        edge.handle_connected(attempt, Moment(1));
        edge.handle_frame(attempt, CentreFrame::Welcome(welcome()), Moment(2));
        for (step, frame) in frames.into_iter().enumerate() {
            edge.handle_frame(attempt, frame, Moment(3 + step as u64));
            for _ in 0..50 {
                match edge.poll_command(Moment(3 + step as u64)) {
                    Some(Command::PersistAcks { ranges, .. }) => {
                        prop_assert!(ranges.last() <= Some(100), "acks of what there never was");
                    }
                    Some(Command::SendBlock { id, .. }) => edge.handle_block_sent(id, 1000),
                    Some(_) => {}
                    None => break,
                }
            }
            prop_assert_eq!(edge.self_check(), None);
        }
    }

    #[test]
    fn an_edge_that_says_anything_never_breaks_the_centre(frames in vec(edge_frame(), 1..30)) {
        let certificate = Certificate { site: site(), edge: EDGE };
        let mut centre = CentreSession::new(CentreConfig::default(), certificate, Moment(0));
        for (step, frame) in frames.into_iter().enumerate() {
            let now = Moment(step as u64);
            centre.handle_frame(frame, now);
            centre.handle_known(Known::default(), now);
            centre.handle_declared(EpochId([2; 16]), StreamNumber(0));
            centre.handle_timeout(now);
            while centre.poll_command().is_some() {}
            prop_assert_eq!(centre.self_check(), None);
        }
    }
}

fn site() -> efd_shared_model::Site {
    "summit".parse().unwrap()
}

fn epoch(id: u8) -> EpochDeclaration {
    EpochDeclaration {
        edge: EDGE,
        site: site(),
        epoch: EpochId([id; 16]),
        parent: None,
        began: ClockState::default(),
        software: "1".into(),
    }
}

fn held_epoch() -> HeldEpoch {
    HeldEpoch {
        declaration: epoch(2),
        streams_through: StreamNumber(3),
        lanes: vec![HeldLane {
            lane: Lane::new(LaneKind::Telemetry),
            head: BlockNumber(100),
            held: RangeSet::from_iter([10..=100]),
            acked: RangeSet::new(),
        }],
    }
}

fn welcome() -> Welcome {
    Welcome {
        version: 1,
        received: Vec::new(),
        streams: vec![(EpochId([2; 16]), StreamNumber(3))],
        window_bytes: 1 << 20,
        credit_bytes: 1 << 20,
    }
}

fn key() -> impl Strategy<Value = LaneKey> {
    (1u8..4, prop::sample::select(LaneKind::ALL.to_vec())).prop_map(|(id, kind)| LaneKey {
        epoch: EpochId([id; 16]),
        lane: Lane::new(kind),
    })
}

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![8 => 0u64..130, 1 => Just(u64::MAX), 1 => any::<u64>()]
}

fn ranges() -> impl Strategy<Value = RangeSet> {
    vec((number(), 0u64..40), 0..6).prop_map(|ranges| {
        let ranges = ranges.into_iter();
        ranges
            .map(|(first, length)| first..=first.saturating_add(length))
            .collect()
    })
}

fn centre_frame() -> impl Strategy<Value = CentreFrame> {
    let ack = (key(), ranges()).prop_map(|(lane, ranges)| CentreFrame::Ack { lane, ranges });
    let want = (key(), ranges()).prop_map(|(lane, ranges)| CentreFrame::Want { lane, ranges });
    let declare_ack = (1u8..4, 0u32..6).prop_map(|(id, through)| CentreFrame::DeclareAck {
        epoch: EpochId([id; 16]),
        through: StreamNumber(through),
    });
    let credit = number().prop_map(|bytes_total| CentreFrame::Credit { bytes_total });
    let rest = prop_oneof![
        Just(CentreFrame::Heartbeat),
        Just(CentreFrame::Welcome(welcome())),
        Just(CentreFrame::Refuse(Refuse {
            code: RefuseCode::Other(9),
            text: "no".into(),
        })),
    ];
    prop_oneof![6 => ack, 6 => want, 3 => declare_ack, 3 => credit, 1 => rest]
}

fn edge_frame() -> impl Strategy<Value = EdgeFrame> {
    let hello = (key(), number(), number(), 0u16..3).prop_map(|(key, head, floor, newest)| {
        EdgeFrame::Hello(Hello {
            versions: Versions { oldest: 1, newest },
            edge: EDGE,
            site: site(),
            software: "1".into(),
            epochs: vec![epoch(2)],
            lanes: vec![HelloLane {
                key,
                head: BlockNumber(head),
                floor: BlockNumber(floor),
            }],
        })
    });
    let unable = (key(), ranges()).prop_map(|(lane, ranges)| {
        EdgeFrame::Unable(Unable {
            lane,
            ranges,
            reason: UnableReason::Removed,
        })
    });
    let heartbeat = (key(), number()).prop_map(|(key, head)| {
        EdgeFrame::Heartbeat(EdgeHeartbeat {
            clock: ClockState::default(),
            heads: vec![(key, BlockNumber(head))],
            oldest_unacked_age: std::time::Duration::ZERO,
            backlog_bytes: head,
        })
    });
    let declare = (1u8..4).prop_map(|id| {
        EdgeFrame::Declare(Declare {
            epoch: EpochId([id; 16]),
            streams: Vec::new(),
            schemas: Vec::new(),
        })
    });
    let epoch = (1u8..4).prop_map(|id| EdgeFrame::Epoch(epoch(id)));
    prop_oneof![3 => hello, 1 => unable, 1 => heartbeat, 1 => declare, 1 => epoch]
}
