mod centres;
mod flood;
mod scheduling;

use efd_shared_model::{
    ClockState, EdgeId, Fingerprint, LaneKind, Schema, StreamDeclaration, TopicKind,
};

use super::*;
use crate::frame::{CentreFrame, RefuseCode, Unable, UnableReason, Welcome};

const EDGE: EdgeId = EdgeId([1; 16]);
const EPOCH: EpochId = EpochId([7; 16]);
const ELDER: EpochId = EpochId([6; 16]);
const BIG: u64 = 1 << 50;

fn at(ms: u64) -> Moment {
    Moment(ms * 1_000_000)
}

fn lane_of(epoch: EpochId, kind: LaneKind, shard: u16) -> EpochLane {
    EpochLane {
        edge: EDGE,
        epoch,
        lane: Lane { kind, shard },
    }
}

fn lane(kind: LaneKind) -> EpochLane {
    lane_of(EPOCH, kind, 0)
}

fn declaration(epoch: EpochId) -> EpochDeclaration {
    EpochDeclaration {
        edge: EDGE,
        site: "summit".parse().unwrap(),
        epoch,
        parent: None,
        began: ClockState::default(),
        software: "1".into(),
    }
}

fn config() -> EdgeConfig {
    EdgeConfig::new(EDGE, "summit".parse().unwrap(), "1")
}

fn ranges(ranges: &[(u64, u64)]) -> RangeSet {
    ranges.iter().map(|&(first, last)| first..=last).collect()
}

fn held(epoch: EpochId, streams: u32, lanes: &[(LaneKind, u16, u64)]) -> HeldEpoch {
    HeldEpoch {
        declaration: declaration(epoch),
        streams_through: StreamNumber(streams),
        lanes: lanes
            .iter()
            .map(|&(kind, shard, head)| HeldLane {
                lane: Lane { kind, shard },
                head: BlockNumber(head),
                held: ranges(&[(1, head)]),
                acked: RangeSet::new(),
            })
            .collect(),
    }
}

fn welcome(received: &[(EpochLane, RangeSet)], streams: &[(EpochId, u32)]) -> CentreFrame {
    CentreFrame::Welcome(Welcome {
        version: 1,
        received: received
            .iter()
            .map(|(lane, set)| ((*lane).into(), set.clone()))
            .collect(),
        streams: streams
            .iter()
            .map(|&(epoch, n)| (epoch, StreamNumber(n)))
            .collect(),
        window_bytes: BIG,
        credit_bytes: BIG,
    })
}

fn attempt(edge: &EdgeSession) -> Attempt {
    Attempt(edge.attempts)
}

/// Streaming at `at(0)`, with everything of these epochs known to the centre but their blocks.
fn streaming(config: EdgeConfig, epochs: Vec<HeldEpoch>) -> EdgeSession {
    let known: Vec<_> = epochs
        .iter()
        .map(|e| (e.declaration.epoch, e.streams_through.0))
        .collect();
    let mut edge = EdgeSession::new(config, 1, at(0));
    edge.handle_start(epochs, at(0));
    edge.handle_connected(attempt(&edge), at(0));
    edge.handle_frame(attempt(&edge), welcome(&[], &known), at(0));
    while edge.outbox.pop_front().is_some() {}
    edge
}

fn durable(
    edge: &mut EdgeSession,
    lane: EpochLane,
    number: u64,
    through: u32,
    bytes: u64,
    at: Moment,
) {
    let durable = Durable {
        lane,
        number: BlockNumber(number),
        streams_through: StreamNumber(through),
        bytes,
        committed_at: at,
    };
    edge.handle_durable(durable, at);
}

/// Blocks that the machine would send at `now`, each read at once; nothing is acknowledged.
fn sent(edge: &mut EdgeSession, now: Moment, bytes: u64, most: usize) -> Vec<(BlockId, Class)> {
    let mut blocks = Vec::new();
    while blocks.len() < most
        && let Some(command) = edge.poll_command(now)
    {
        if let Command::SendBlock { id, class, .. } = command {
            edge.handle_block_sent(id, bytes);
            blocks.push((id, class));
        }
    }
    assert_eq!(edge.self_check(), None);
    blocks
}

fn ack(edge: &mut EdgeSession, id: BlockId, now: Moment) {
    let frame = CentreFrame::Ack {
        lane: id.lane.into(),
        ranges: ranges(&[(id.number.0, id.number.0)]),
    };
    edge.handle_frame(attempt(edge), frame, now);
}

fn commands(edge: &mut EdgeSession, now: Moment) -> Vec<Command> {
    std::iter::from_fn(|| edge.poll_command(now))
        .take(1000)
        .collect()
}

#[test]
fn offers_nothing_before_the_welcome_and_what_the_centre_lacks_after() {
    let mut edge = EdgeSession::new(config(), 1, at(0));
    edge.handle_start(vec![held(EPOCH, 3, &[(LaneKind::Telemetry, 0, 10)])], at(0));
    assert_eq!(
        commands(&mut edge, at(0)),
        [Command::Connect {
            attempt: Attempt(1),
            centre: Centre(0)
        }]
    );
    edge.handle_connected(Attempt(1), at(1));
    let hello = commands(&mut edge, at(1));
    assert!(
        matches!(hello.as_slice(), [Command::SendFrame(EdgeFrame::Hello(h))] if h.lanes.len() == 1)
    );
    let telemetry = lane(LaneKind::Telemetry);
    let has = [(telemetry, ranges(&[(1, 4), (6, 6), (900, 950)]))];
    edge.handle_frame(Attempt(1), welcome(&has, &[(EPOCH, 3)]), at(2));
    assert_eq!(
        edge.poll_command(at(2)),
        Some(Command::PersistAcks {
            lane: telemetry,
            ranges: ranges(&[(1, 4), (6, 6)])
        }),
        "what the centre has beyond our head is not ours"
    );
    let numbers: Vec<_> = sent(&mut edge, at(2), 100, 99)
        .iter()
        .map(|(id, _)| id.number.0)
        .collect();
    assert_eq!(numbers, [5, 7, 8, 9, 10]);
    assert!(sent(&mut edge, at(3), 100, 99).is_empty(), "sent twice");
}

#[test]
fn a_block_waits_until_its_streams_are_declared() {
    let mut edge = streaming(config(), Vec::new());
    edge.handle_epoch_begun(declaration(EPOCH));
    let events = lane(LaneKind::Events);
    durable(&mut edge, events, 1, 2, 100, at(1));
    let epoch_frame = Command::SendFrame(EdgeFrame::Epoch(declaration(EPOCH)));
    let read = |first, through| Command::ReadStreams {
        epoch: EPOCH,
        first: StreamNumber(first),
        through: StreamNumber(through),
    };
    assert_eq!(commands(&mut edge, at(1)), [epoch_frame, read(1, 2)]);

    durable(&mut edge, events, 2, 3, 100, at(2));
    assert_eq!(commands(&mut edge, at(2)), [], "one read at a time");
    let schema = Schema::new("{}");
    let stream = |number| {
        let declaration = StreamDeclaration {
            number: StreamNumber(number),
            topic: "lsst.sal.Test.scalars".into(),
            dds_topic: String::new(),
            dds_type: String::new(),
            kind: TopicKind::Event,
            schema: Fingerprint::of("{}"),
        };
        (declaration, schema.clone())
    };
    edge.handle_streams_read(EPOCH, vec![stream(1), stream(2)]);
    let out = commands(&mut edge, at(2));
    let [Command::SendFrame(EdgeFrame::Declare(declare)), next] = out.as_slice() else {
        panic!("{out:?}");
    };
    assert_eq!(
        (declare.streams.len(), declare.schemas.len()),
        (2, 1),
        "a text once"
    );
    assert_eq!(*next, read(3, 3));
    edge.handle_streams_read(EPOCH, vec![stream(3)]);
    let out = commands(&mut edge, at(2));
    assert!(
        matches!(out.as_slice(), [Command::SendFrame(EdgeFrame::Declare(d))] if d.schemas.is_empty()),
        "{out:?}"
    );

    let declare_ack = |through| CentreFrame::DeclareAck {
        epoch: EPOCH,
        through: StreamNumber(through),
    };
    edge.handle_frame(attempt(&edge), declare_ack(2), at(3));
    let first = sent(&mut edge, at(3), 100, 9);
    assert_eq!(first, [(events.block(BlockNumber(1)), Class::Live)]);
    edge.handle_frame(attempt(&edge), declare_ack(3), at(4));
    assert_eq!(sent(&mut edge, at(4), 100, 9).len(), 1);
    edge.handle_frame(attempt(&edge), declare_ack(4), at(5));
    let out = commands(&mut edge, at(5));
    assert!(
        matches!(
            out.as_slice(),
            [Command::Disconnect {
                reason: Disconnect::Violation(Violation::StreamAckBeyondSent { .. })
            }]
        ),
        "{out:?}"
    );
}

#[test]
fn want_sends_again_and_tells_what_is_gone() {
    let mut edge = streaming(
        config(),
        vec![held(EPOCH, 1, &[(LaneKind::Telemetry, 0, 10)])],
    );
    let telemetry = lane(LaneKind::Telemetry);
    for (id, _) in sent(&mut edge, at(0), 100, 99) {
        if id.number.0 == 7 {
            edge.handle_block_unreadable(id);
        } else {
            ack(&mut edge, id, at(1));
        }
    }
    edge.handle_removed(telemetry, &ranges(&[(1, 3)]));
    while edge.outbox.pop_front().is_some() {}
    let want = CentreFrame::Want {
        lane: telemetry.into(),
        ranges: ranges(&[(2, 8), (10, 12)]),
    };
    edge.handle_frame(attempt(&edge), want, at(2));
    let unable = |reason, set: &[(u64, u64)]| {
        Command::SendFrame(EdgeFrame::Unable(Unable {
            lane: telemetry.into(),
            ranges: ranges(set),
            reason,
        }))
    };
    let out: Vec<_> = edge.outbox.drain(..).collect();
    assert_eq!(
        out,
        [
            Command::PersistUnacks {
                lane: telemetry,
                ranges: ranges(&[(4, 6), (8, 8), (10, 10)])
            },
            unable(UnableReason::Damaged, &[(7, 7)]),
            unable(UnableReason::Removed, &[(2, 3)]),
            unable(UnableReason::Unknown, &[(11, 12)]),
        ]
    );
    let again: Vec<_> = sent(&mut edge, at(3), 100, 99)
        .iter()
        .map(|(id, _)| id.number.0)
        .collect();
    assert_eq!(again, [4, 5, 6, 8, 10]);
}

#[test]
fn a_centre_that_lost_its_log_gets_everything_again() {
    let mut edge = streaming(config(), vec![held(EPOCH, 1, &[(LaneKind::Events, 0, 4)])]);
    for (id, _) in sent(&mut edge, at(0), 100, 99) {
        ack(&mut edge, id, at(0));
    }
    edge.handle_closed(attempt(&edge), at(1));
    let (retry_at, _) = edge.poll_timeout().unwrap();
    edge.handle_timeout(retry_at);
    edge.handle_connected(attempt(&edge), retry_at);
    edge.handle_frame(attempt(&edge), welcome(&[], &[]), retry_at);
    let out = commands(&mut edge, retry_at);
    let unacks = Command::PersistUnacks {
        lane: lane(LaneKind::Events),
        ranges: ranges(&[(1, 4)]),
    };
    assert!(out.contains(&unacks), "{out:?}");
    assert!(
        out.iter().any(|c| matches!(c, Command::ReadStreams { .. })),
        "{out:?}"
    );
    assert!(
        !out.iter().any(|c| matches!(c, Command::SendBlock { .. })),
        "{out:?}"
    );
}

#[test]
fn an_ack_beyond_the_head_ends_the_connection() {
    let mut edge = streaming(config(), vec![held(EPOCH, 1, &[(LaneKind::Events, 0, 4)])]);
    ack(
        &mut edge,
        lane(LaneKind::Events).block(BlockNumber(5)),
        at(1),
    );
    let out = commands(&mut edge, at(1));
    assert_eq!(
        out,
        [Command::Disconnect {
            reason: Disconnect::Violation(Violation::AckBeyondHead {
                lane: lane(LaneKind::Events),
                last: 5,
                head: BlockNumber(4),
            })
        }]
    );
    assert_eq!(edge.counters().violations, 1);
}

#[test]
fn every_state_ends_in_time() {
    let mut edge = EdgeSession::new(config(), 1, at(0));
    assert_eq!(edge.poll_timeout(), None);
    edge.handle_start(Vec::new(), at(0));
    let due = |edge: &EdgeSession| edge.poll_timeout().unwrap();
    assert_eq!(due(&edge), (at(10_000), "connect timeout"));
    edge.handle_timeout(at(10_000));
    assert_eq!(due(&edge).1, "retry");
    let retry_at = due(&edge).0;
    edge.handle_timeout(retry_at);
    edge.handle_connected(Attempt(1), retry_at); // of a connection given up
    assert_eq!(due(&edge).1, "connect timeout");
    edge.handle_connected(Attempt(2), retry_at);
    assert_eq!(due(&edge).1, "welcome timeout");
    edge.handle_frame(Attempt(2), welcome(&[], &[]), retry_at);
    let heartbeat_at = due(&edge).0;
    assert_eq!(due(&edge), (retry_at + Duration::from_secs(2), "heartbeat"));
    edge.handle_timeout(heartbeat_at);
    let out = commands(&mut edge, heartbeat_at);
    assert!(
        out.iter().any(|c| matches!(c, Command::SendHeartbeat(_))),
        "{out:?}"
    );
    let silent_at = retry_at + Duration::from_secs(10);
    while due(&edge).0 < silent_at {
        edge.handle_timeout(due(&edge).0);
    }
    commands(&mut edge, silent_at);
    edge.handle_timeout(silent_at);
    let out = commands(&mut edge, silent_at);
    assert!(
        matches!(
            out.as_slice(),
            [Command::Disconnect {
                reason: Disconnect::Violation(Violation::Silent { .. })
            }]
        ),
        "{out:?}"
    );
    edge.handle_stop(silent_at);
    assert_eq!(edge.poll_timeout(), None);
}

#[test]
fn a_refusal_is_not_retried_soon() {
    let refused = |code| {
        let mut edge = EdgeSession::new(config(), 1, at(0));
        edge.handle_start(Vec::new(), at(0));
        edge.handle_connected(Attempt(1), at(0));
        let refuse = Refuse {
            code,
            text: "no".into(),
        };
        edge.handle_frame(Attempt(1), CentreFrame::Refuse(refuse), at(0));
        edge.poll_timeout().unwrap().0
    };
    assert!(refused(RefuseCode::Identity) >= at(15_000));
    assert!(refused(RefuseCode::Unavailable) <= at(250));
}
