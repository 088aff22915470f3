use efd_shared_model::block::Codec;
use efd_shared_model::epoch::Parent;
use efd_shared_model::record::EventTimeOrigin;
use efd_shared_model::{
    BlockBuilder, BlockNumber, ClockState, Lane, LaneKind, RecordStamps, TopicKind, UtcNanos,
};

use super::*;
use crate::frame::{Declare, EdgeFrame, HelloLane, Refuse, RefuseCode, Versions};
use crate::stream::ReceivedBlock;

const EDGE: EdgeId = EdgeId([1; 16]);
const EPOCH: EpochId = EpochId([7; 16]);

fn at(ms: u64) -> Moment {
    Moment(ms * 1_000_000)
}

fn lane(kind: LaneKind) -> LaneKey {
    LaneKey {
        epoch: EPOCH,
        lane: Lane::new(kind),
    }
}

fn epoch(id: u8, parent: Option<u8>) -> EpochDeclaration {
    EpochDeclaration {
        edge: EDGE,
        site: "summit".parse().unwrap(),
        epoch: EpochId([id; 16]),
        parent: parent.map(|id| Parent {
            epoch: EpochId([id; 16]),
            heads: Vec::new(),
        }),
        began: ClockState::default(),
        software: "1".into(),
    }
}

fn hello() -> Hello {
    Hello {
        versions: WireVersion::SPOKEN,
        edge: EDGE,
        site: "summit".parse().unwrap(),
        software: "1".into(),
        epochs: vec![epoch(7, None)],
        lanes: vec![HelloLane {
            key: lane(LaneKind::Events),
            head: BlockNumber(9),
            floor: BlockNumber(1),
        }],
    }
}

fn fresh() -> CentreSession {
    let certificate = Certificate {
        site: "summit".parse().unwrap(),
        edge: EDGE,
    };
    CentreSession::new(CentreConfig::default(), certificate, at(0))
}

/// Streaming, with streams 1 and 2 declared and events 1 to 3 received.
fn streaming() -> CentreSession {
    let mut centre = fresh();
    centre.handle_log_state(1 << 30);
    centre.handle_frame(EdgeFrame::Hello(hello()), at(0));
    let known = Known {
        received: [(lane(LaneKind::Events), RangeSet::from_iter([1..=3]))].into(),
        streams: [(EPOCH, StreamNumber(2))].into(),
        epochs: Vec::new(),
    };
    centre.handle_known(known, at(0));
    commands(&mut centre);
    centre
}

fn commands(centre: &mut CentreSession) -> Vec<Command> {
    let commands = std::iter::from_fn(|| centre.poll_command()).collect();
    assert_eq!(centre.self_check(), None);
    commands
}

fn block(edge: EdgeId, key: LaneKey, number: u64, stream: u32) -> ReceivedBlock {
    check_block(edge, key, number, stream).unwrap()
}

fn check_block(
    edge: EdgeId,
    key: LaneKey,
    number: u64,
    stream: u32,
) -> Result<ReceivedBlock, crate::BlockStreamError> {
    let mut builder = BlockBuilder::new();
    builder
        .datum(StreamNumber(stream))
        .extend_from_slice(&[0; 100]);
    let stamps = RecordStamps {
        event_time: UtcNanos(0),
        origin: EventTimeOrigin::Reception,
        implausible: false,
        latin1: false,
        instance: None,
    };
    builder.finish(StreamNumber(stream), stamps);
    let id = key.at(edge).block(BlockNumber(number));
    let sealed = builder
        .seal(id, ClockState::default(), Codec::None, 0)
        .unwrap();
    let mut bytes = Class::Live.header().to_vec();
    bytes.extend_from_slice(sealed.bytes());
    ReceivedBlock::check(bytes.into())
}

fn ack(key: LaneKey, numbers: &[u64]) -> Command {
    Command::SendFrame(CentreFrame::Ack {
        lane: key,
        ranges: numbers.iter().map(|&n| n..=n).collect(),
    })
}

/// The session is over; why.
fn violation(centre: &mut CentreSession) -> Violation {
    let mut out = commands(centre);
    assert!(centre.is_closed());
    let Some(Command::Close { reason }) = out.pop() else {
        panic!("{out:?}");
    };
    let text = reason.to_string();
    let refuse = Refuse {
        code: reason.refuse_code(),
        text,
    };
    assert_eq!(
        out.pop(),
        Some(Command::SendFrame(CentreFrame::Refuse(refuse)))
    );
    assert_eq!(centre.counters().violations, 1);
    reason
}

#[test]
fn a_hello_is_looked_up_and_answered() {
    let mut centre = fresh();
    centre.handle_log_state(1000);
    centre.handle_frame(EdgeFrame::Hello(hello()), at(0));
    let events = lane(LaneKind::Events);
    assert_eq!(
        commands(&mut centre),
        [Command::Lookup {
            epochs: vec![EPOCH],
            lanes: vec![events.at(EDGE)]
        }]
    );
    let received = RangeSet::from_iter([1..=3]);
    let known = Known {
        received: [(events, received.clone())].into(),
        ..Known::default()
    };
    centre.handle_known(known, at(1));
    let out = commands(&mut centre);
    let [Command::SendFrame(CentreFrame::Welcome(welcome))] = out.as_slice() else {
        panic!("{out:?}");
    };
    assert_eq!(welcome.received, [(events, received)]);
    assert_eq!(welcome.streams, [(EPOCH, StreamNumber(0))]);
    assert_eq!(
        (welcome.credit_bytes, welcome.window_bytes),
        (1000, 64 << 20)
    );
}

#[test]
fn what_the_certificate_does_not_say_is_refused() {
    let mut elsewhere = hello();
    elsewhere.site = "tucson".parse().unwrap();
    let mut another = hello();
    another.edge = EdgeId([2; 16]);
    let mut foreign = hello();
    foreign.epochs[0].edge = EdgeId([2; 16]);
    for hello in [elsewhere, another, foreign] {
        let mut centre = fresh();
        centre.handle_frame(EdgeFrame::Hello(hello), at(0));
        assert_eq!(violation(&mut centre).refuse_code(), RefuseCode::Identity);
    }
    let mut centre = streaming();
    centre.handle_block(block(EdgeId([2; 16]), lane(LaneKind::Events), 9, 1), at(1));
    assert!(matches!(
        violation(&mut centre),
        Violation::ForeignBlock { .. }
    ));
}

#[test]
fn what_breaks_the_protocol_ends_the_session() {
    let check = |act: fn(&mut CentreSession), expected: &str| {
        let mut centre = streaming();
        act(&mut centre);
        let reason = violation(&mut centre).to_string();
        assert!(reason.contains(expected), "{reason}: {expected} expected");
    };
    check(
        |c| c.handle_frame(EdgeFrame::Hello(hello()), at(1)),
        "hello frame after the hello",
    );
    check(
        |c| c.handle_block(block(EDGE, lane(LaneKind::Events), 9, 3), at(1)),
        "uses stream 3, declared are 1 to 2",
    );
    check(
        |c| c.handle_block(block(EDGE, lane(LaneKind::Parked), 9, 1), at(1)),
        "never shipped",
    );
    check(
        |c| {
            let key = LaneKey {
                epoch: EpochId([9; 16]),
                ..lane(LaneKind::Events)
            };
            c.handle_block(block(EDGE, key, 9, 1), at(1));
        },
        "was not announced",
    );
    check(
        |c| c.handle_frame(declare(&[4], true), at(1)),
        "stream 4 is declared where 3 is due",
    );
    check(
        |c| c.handle_frame(declare(&[3, 5], true), at(1)),
        "stream 5 is declared where 4 is due",
    );
    check(
        |c| c.handle_frame(declare(&[3], false), at(1)),
        "whose text did not come",
    );
    check(
        |c| {
            let mut changed = epoch(7, None);
            changed.software = "2".into();
            c.handle_frame(EdgeFrame::Epoch(changed), at(1));
        },
        "declared anew and differently",
    );
    check(
        |c| c.handle_timeout(at(10_000)),
        "nothing came for 10000 ms, at most 10000",
    );
    check(
        |c| c.handle_undecodable(crate::WireError::TooLarge { bytes: 9_000_000 }),
        "frame of 9000000 bytes",
    );

    let mut centre = fresh();
    centre.handle_block(block(EDGE, lane(LaneKind::Events), 9, 1), at(1));
    assert!(
        violation(&mut centre)
            .to_string()
            .contains("before the welcome")
    );
    let mut centre = fresh();
    let mut later = hello();
    later.versions = Versions {
        oldest: 2,
        newest: 3,
    };
    centre.handle_frame(EdgeFrame::Hello(later), at(1));
    assert_eq!(violation(&mut centre).refuse_code(), RefuseCode::Version);
}

fn declare(numbers: &[u32], with_text: bool) -> EdgeFrame {
    let schema = Schema::new("{}");
    let stream = |&number: &u32| StreamDeclaration {
        number: StreamNumber(number),
        topic: "lsst.sal.Test.scalars".into(),
        dds_topic: String::new(),
        dds_type: String::new(),
        kind: TopicKind::Event,
        schema: schema.fingerprint(),
    };
    EdgeFrame::Declare(Declare {
        epoch: EPOCH,
        streams: numbers.iter().map(stream).collect(),
        schemas: with_text.then(|| schema.clone()).into_iter().collect(),
    })
}

#[test]
fn streams_are_acknowledged_when_they_are_durable() {
    let mut centre = streaming();
    centre.handle_frame(declare(&[3, 4], true), at(1));
    centre.handle_frame(declare(&[5], false), at(1));
    assert!(matches!(
        commands(&mut centre).as_slice(),
        [Command::Declare { .. }, Command::Declare { .. }]
    ));
    centre.handle_declared(EPOCH, StreamNumber(4));
    assert_eq!(
        commands(&mut centre),
        [Command::SendFrame(CentreFrame::DeclareAck {
            epoch: EPOCH,
            through: StreamNumber(4)
        })]
    );
    centre.handle_block(block(EDGE, lane(LaneKind::Events), 9, 4), at(2));
    assert!(matches!(
        commands(&mut centre).as_slice(),
        [Command::Append { .. }]
    ));
    // An edge that was told less begins earlier; what was declared may come again.
    centre.handle_frame(declare(&[1, 2, 3, 4, 5, 6], false), at(3));
    assert!(matches!(
        commands(&mut centre).as_slice(),
        [Command::Declare { .. }]
    ));
}

#[test]
fn acks_tell_what_is_durable_together_and_in_time() {
    let mut centre = streaming();
    let events = lane(LaneKind::Events);
    for number in [5, 7, 4] {
        centre.handle_block(block(EDGE, events, number, 1), at(1));
    }
    assert_eq!(commands(&mut centre).len(), 3);
    assert!(!matches!(centre.poll_timeout(), Some((_, "acknowledge"))));
    centre.handle_appended(events.at(EDGE), BlockNumber(5), at(10));
    centre.handle_appended(events.at(EDGE), BlockNumber(4), at(15));
    assert_eq!(commands(&mut centre), []);
    assert_eq!(centre.poll_timeout(), Some((at(20), "acknowledge")));
    centre.handle_timeout(at(20));
    assert_eq!(commands(&mut centre), [ack(events, &[4, 5])]);

    // What is there already is acknowledged without another append; what is on its way, once.
    centre.handle_block(block(EDGE, events, 2, 1), at(21));
    centre.handle_block(block(EDGE, events, 7, 1), at(21));
    assert_eq!(commands(&mut centre), []);
    centre.handle_timeout(at(31));
    assert_eq!(commands(&mut centre), [ack(events, &[2])]);
    assert_eq!(centre.counters().blocks_duplicate, 2);
}

#[test]
fn many_acks_do_not_wait() {
    let mut centre = streaming();
    let events = lane(LaneKind::Events);
    for number in 10..10 + 256 {
        centre.handle_appended(events.at(EDGE), BlockNumber(number), at(1));
    }
    let expected: Vec<u64> = (10..266).collect();
    assert_eq!(commands(&mut centre), [ack(events, &expected)]);
}

#[test]
fn credit_follows_the_log() {
    let mut centre = streaming();
    let credits = |centre: &mut CentreSession| {
        let all = commands(centre).into_iter();
        all.filter_map(|command| match command {
            Command::SendFrame(CentreFrame::Credit { bytes_total }) => Some(bytes_total),
            Command::SendFrame(_)
            | Command::Lookup { .. }
            | Command::Declare { .. }
            | Command::Append { .. }
            | Command::Heartbeat(_)
            | Command::Unable { .. }
            | Command::Clone { .. }
            | Command::Close { .. } => None,
        })
        .collect::<Vec<_>>()
    };
    let State::Streaming(streaming) = &mut centre.state else {
        panic!("streaming");
    };
    // As if blocks of 60 MiB had come and been appended.
    let window = 64 << 20;
    assert_eq!(streaming.granted_bytes, window);
    (streaming.received_bytes, streaming.done_bytes) = (60 << 20, 60 << 20);
    centre.handle_log_state(0);
    assert_eq!(credits(&mut centre), [], "a log that is down");
    centre.handle_log_state(10 << 20);
    assert_eq!(
        credits(&mut centre),
        [70 << 20],
        "what the log has room for"
    );
    centre.handle_log_state(1 << 40);
    assert_eq!(
        credits(&mut centre),
        [(60 << 20) + window],
        "what the window has room for"
    );
    centre.handle_log_state(0);
    centre.handle_log_state(1 << 40);
    assert_eq!(credits(&mut centre), [], "nothing to tell");
}

#[test]
fn more_than_the_credit_and_its_slack_ends_the_session() {
    let mut centre = streaming();
    let State::Streaming(streaming) = &mut centre.state else {
        panic!("streaming");
    };
    let slack = (crate::limits::UNSIZED_BLOCKS_MAX * crate::limits::BLOCK_BYTES_MAX) as u64;
    streaming.received_bytes = streaming.granted_bytes + slack;
    streaming.done_bytes = streaming.received_bytes;
    centre.handle_block(block(EDGE, lane(LaneKind::Events), 9, 1), at(1));
    assert!(matches!(
        violation(&mut centre),
        Violation::CreditExceeded { .. }
    ));
}

#[test]
fn want_takes_acks_back() {
    let mut centre = streaming();
    let events = lane(LaneKind::Events);
    centre.handle_block(block(EDGE, events, 4, 1), at(1));
    centre.handle_appended(events.at(EDGE), BlockNumber(4), at(1));
    commands(&mut centre);
    let ranges = RangeSet::from_iter([2..=4]);
    centre.handle_want(events.at(EDGE), &ranges);
    let want = |ranges| {
        Command::SendFrame(CentreFrame::Want {
            lane: events,
            ranges,
        })
    };
    assert_eq!(commands(&mut centre), [want(ranges)]);
    centre.handle_timeout(at(100));
    assert_eq!(commands(&mut centre), [], "an ack of what is wanted");
    centre.handle_block(block(EDGE, events, 4, 1), at(101));
    assert!(matches!(
        commands(&mut centre).as_slice(),
        [Command::Append { .. }]
    ));
}

#[test]
fn what_the_log_lost_is_asked_for_once_in_a_session() {
    let mut centre = streaming();
    let events = lane(LaneKind::Events);
    let lost = |ranges: &[std::ops::RangeInclusive<u64>]| RangeSet::from_iter(ranges.to_vec());
    let want = |ranges| {
        Command::SendFrame(CentreFrame::Want {
            lane: events,
            ranges,
        })
    };
    centre.handle_lost(events.at(EDGE), &lost(&[2..=3]));
    assert_eq!(commands(&mut centre), [want(lost(&[2..=3]))]);
    centre.handle_lost(events.at(EDGE), &lost(&[2..=3, 7..=7]));
    assert_eq!(commands(&mut centre), [want(lost(&[7..=7]))]);
    assert_eq!(centre.counters().blocks_wanted, 3);
    // It came, and was lost once more.
    centre.handle_block(block(EDGE, events, 3, 1), at(1));
    centre.handle_appended(events.at(EDGE), BlockNumber(3), at(1));
    centre.handle_timeout(at(100));
    commands(&mut centre);
    centre.handle_lost(events.at(EDGE), &lost(&[2..=3, 7..=7]));
    assert_eq!(commands(&mut centre), [want(lost(&[3..=3]))]);
    assert_eq!(centre.self_check(), None);
}

#[test]
fn what_the_log_refuses_ends_the_session() {
    let mut centre = streaming();
    let events = lane(LaneKind::Events);
    centre.handle_block(block(EDGE, events, 4, 1), at(1));
    commands(&mut centre);
    centre.handle_append_refused(events.at(EDGE), BlockNumber(4), "too large".into());
    let reason = violation(&mut centre);
    assert!(
        reason.to_string().contains("refuses block") && reason.to_string().ends_with("too large"),
        "{reason}"
    );
    assert_eq!(reason.refuse_code(), RefuseCode::Protocol);

    let mut centre = streaming();
    centre.handle_declare_refused(EpochId([7; 16]), "declared otherwise".into());
    assert!(
        violation(&mut centre)
            .to_string()
            .ends_with("declared otherwise")
    );
}

/// Range sets and the stores' signed integers have no room for more.
#[test]
fn a_block_number_beyond_the_limit_ends_the_session() {
    use crate::limits::BLOCK_NUMBER_MAX;
    let events = lane(LaneKind::Events);
    let largest = block(EDGE, events, BLOCK_NUMBER_MAX, 1);
    assert_eq!(largest.block().id().number.0, BLOCK_NUMBER_MAX);
    for number in [BLOCK_NUMBER_MAX + 1, u64::MAX - 1, u64::MAX] {
        let error = check_block(EDGE, events, number, 1).unwrap_err();
        let mut centre = streaming();
        centre.handle_bad_block(error);
        let text = violation(&mut centre).to_string();
        assert_eq!(
            text,
            format!("block number {number}, at most {BLOCK_NUMBER_MAX} is taken")
        );
    }
}

#[test]
fn a_clone_is_reported_and_served() {
    let mut centre = fresh();
    let mut child = hello();
    child.epochs = vec![epoch(7, Some(3))];
    centre.handle_frame(EdgeFrame::Hello(child), at(0));
    let known = Known {
        epochs: vec![epoch(3, None), epoch(5, Some(3))],
        ..Known::default()
    };
    centre.handle_known(known, at(0));
    let out = commands(&mut centre);
    let clone = Command::Clone {
        parent: EpochId([3; 16]),
        children: vec![EpochId([5; 16]), EPOCH],
    };
    assert!(out.contains(&clone), "{out:?}");
    assert!(centre.is_streaming());
}
