//! Control frames of both directions, and the stream that they are cut from.

use std::time::Duration;

use efd_shared_model::{
    BlockNumber, EdgeId, EpochDeclaration, EpochId, Lane, LaneKind, Schema, StreamDeclaration,
    StreamNumber, TopicKind,
};
use efd_shared_wire::frame::{
    Declare, EdgeHeartbeat, Hello, HelloLane, Refuse, RefuseCode, Unable, UnableReason, Welcome,
};
use efd_shared_wire::limits::{DECLARE_BYTES_MAX, FRAME_BYTES_MAX};
use efd_shared_wire::{CentreFrame, EdgeFrame, FrameBuffer, LaneKey, WireError, WireVersion};
use efd_tests_fuzz::{Rng, Target, told};

use crate::model::{clock, epoch, ranges};

const V1: WireVersion = WireVersion::V1;

fn key(rng: &mut Rng) -> LaneKey {
    LaneKey {
        epoch: EpochId(rng.bytes()),
        lane: Lane {
            kind: *rng.pick(&LaneKind::ALL).unwrap(),
            shard: rng.draw() as u16,
        },
    }
}

fn several<T>(rng: &mut Rng, mut make: impl FnMut(&mut Rng) -> T) -> Vec<T> {
    (0..rng.below(4)).map(|_| make(rng)).collect()
}

fn edge_frame(rng: &mut Rng) -> EdgeFrame {
    match rng.below(5) {
        0 => {
            let epochs: Vec<EpochDeclaration> = several(rng, epoch);
            let mut lanes = Vec::new();
            for epoch in &epochs {
                let key = LaneKey {
                    epoch: epoch.epoch,
                    lane: Lane::new(LaneKind::Telemetry),
                };
                lanes.push(HelloLane {
                    key,
                    head: BlockNumber(9),
                    floor: BlockNumber(1),
                });
            }
            EdgeFrame::Hello(Hello {
                versions: WireVersion::SPOKEN,
                edge: EdgeId(rng.bytes()),
                site: "summit".parse().unwrap(),
                software: rng.word(20),
                epochs,
                lanes,
            })
        }
        1 => EdgeFrame::Declare(Declare {
            epoch: EpochId(rng.bytes()),
            streams: (1..=rng.below(5) as u32)
                .map(|number| stream(rng, number))
                .collect(),
            schemas: several(rng, |rng| Schema::new(rng.word(60))),
        }),
        2 => EdgeFrame::Epoch(epoch(rng)),
        3 => EdgeFrame::Heartbeat(EdgeHeartbeat {
            clock: clock(rng),
            heads: several(rng, |rng| (key(rng), BlockNumber(rng.skewed() / 2))),
            oldest_unacked_age: Duration::from_millis(rng.skewed() >> 16),
            backlog_bytes: rng.skewed(),
        }),
        _ => EdgeFrame::Unable(Unable {
            lane: key(rng),
            ranges: ranges(rng),
            reason: UnableReason::Damaged,
        }),
    }
}

fn stream(rng: &mut Rng, number: u32) -> StreamDeclaration {
    StreamDeclaration {
        number: StreamNumber(number),
        topic: rng.word(30),
        dds_topic: rng.word(30),
        dds_type: rng.word(30),
        kind: TopicKind::from_u8(rng.below(7) as u8).unwrap(),
        schema: Schema::new(rng.word(9)).fingerprint(),
    }
}

fn centre_frame(rng: &mut Rng) -> CentreFrame {
    match rng.below(7) {
        0 => CentreFrame::Welcome(Welcome {
            version: V1.number(),
            received: several(rng, |rng| (key(rng), ranges(rng))),
            streams: several(rng, |rng| {
                (EpochId(rng.bytes()), StreamNumber(rng.below(1000) as u32))
            }),
            window_bytes: rng.skewed(),
            credit_bytes: rng.skewed(),
        }),
        1 => CentreFrame::DeclareAck {
            epoch: EpochId(rng.bytes()),
            through: StreamNumber(rng.below(1000) as u32),
        },
        2 => CentreFrame::Ack {
            lane: key(rng),
            ranges: ranges(rng),
        },
        3 => CentreFrame::Want {
            lane: key(rng),
            ranges: ranges(rng),
        },
        4 => CentreFrame::Credit {
            bytes_total: rng.skewed(),
        },
        5 => CentreFrame::Heartbeat,
        _ => CentreFrame::Refuse(Refuse {
            code: RefuseCode::Identity,
            text: rng.word(40),
        }),
    }
}

/// Kind and body, without the length.
fn body(frame: &[u8]) -> Vec<u8> {
    frame[4..].to_vec()
}

/// What is decoded says the same when it is encoded again.
fn edge(input: &[u8]) -> Result<u64, WireError> {
    let frame = EdgeFrame::decode(input, V1)?;
    let again = frame.encode(V1)?;
    assert_eq!(EdgeFrame::decode(&again[4..], V1).as_ref(), Ok(&frame));
    Ok(told(&frame.name()))
}

fn centre(input: &[u8]) -> Result<u64, WireError> {
    let frame = CentreFrame::decode(input, V1)?;
    let again = frame.encode(V1)?;
    assert_eq!(CentreFrame::decode(&again[4..], V1).as_ref(), Ok(&frame));
    Ok(told(&frame.name()))
}

/// Kind and body of a declare frame from an epoch and declarations that are not packed yet.
fn pack(plain: &[u8]) -> Vec<u8> {
    let (epoch, declarations) = plain.split_at(plain.len().min(16));
    let mut out = vec![2];
    out.extend_from_slice(epoch);
    out.resize(17, 0);
    out.extend_from_slice(&(declarations.len() as u32).to_le_bytes());
    out.extend_from_slice(&zstd::bulk::compress(declarations, 1).unwrap());
    out
}

#[test]
fn edge_frames() {
    crate::run(&Target {
        name: "edge-frame",
        seed: |rng| body(&edge_frame(rng).encode(V1).unwrap()),
        run: |input| edge(input).unwrap_or_else(|error| told(&error)),
        accepts: |input| edge(input).is_ok(),
        repair: None,
        words: &[],
        // Declarations are decompressed whole, twice here.
        memory_max: |bytes| 2 * DECLARE_BYTES_MAX as u64 + crate::few(bytes),
    });
}

/// The same, behind the compression.
#[test]
fn declarations() {
    crate::run(&Target {
        name: "declare",
        seed: |rng| {
            let declare = Declare {
                epoch: EpochId(rng.bytes()),
                streams: (1..=1 + rng.below(5) as u32)
                    .map(|number| stream(rng, number))
                    .collect(),
                schemas: several(rng, |rng| Schema::new(rng.word(60))),
            };
            let frame = EdgeFrame::Declare(declare).encode(V1).unwrap();
            let plain = zstd::bulk::decompress(&frame[4 + 1 + 16 + 4..], 1 << 20).unwrap();
            [&frame[5..21], &plain].concat()
        },
        run: |input| edge(&pack(input)).unwrap_or_else(|error| told(&error)),
        accepts: |input| edge(&pack(input)).is_ok(),
        repair: None,
        words: &[],
        memory_max: |bytes| crate::few(4 * bytes),
    });
}

#[test]
fn centre_frames() {
    crate::run(&Target {
        name: "centre-frame",
        seed: |rng| body(&centre_frame(rng).encode(V1).unwrap()),
        run: |input| centre(input).unwrap_or_else(|error| told(&error)),
        accepts: |input| centre(input).is_ok(),
        repair: None,
        words: &[],
        memory_max: crate::few,
    });
}

/// The first byte says in pieces of what size the rest comes. The frames are the same for every size.
#[test]
fn control_stream() {
    fn cut(stream: &[u8], piece: usize) -> (Vec<Vec<u8>>, Option<WireError>) {
        let (mut buffer, mut frames) = (FrameBuffer::new(), Vec::new());
        for piece in stream.chunks(piece) {
            buffer.push(piece);
            loop {
                match buffer.next_frame() {
                    Ok(Some(frame)) => frames.push(frame.to_vec()),
                    Ok(None) => break,
                    Err(error) => return (frames, Some(error)),
                }
            }
        }
        (frames, None)
    }
    fn both(input: &[u8]) -> (Vec<Vec<u8>>, Option<WireError>) {
        let Some((&piece, stream)) = input.split_first() else {
            return (Vec::new(), None);
        };
        let cut_up = cut(stream, usize::from(piece).max(1));
        assert_eq!(cut_up, cut(stream, stream.len().max(1)));
        cut_up
    }
    crate::run(&Target {
        name: "control-stream",
        seed: |rng| {
            let frames = (0..1 + rng.below(3)).map(|_| centre_frame(rng).encode(V1).unwrap());
            let frames = frames.collect::<Vec<_>>().concat();
            [&[rng.draw() as u8][..], &frames].concat()
        },
        run: |input| {
            let (frames, error) = both(input);
            let last = frames.last().map_or(0, |frame| {
                centre(frame).unwrap_or_else(|error| told(&error))
            });
            last ^ error.map_or(0, |error| told(&error)) ^ frames.len().min(8) as u64
        },
        accepts: |input| {
            let (frames, error) = both(input);
            error.is_none()
                && !frames.is_empty()
                && frames.iter().all(|frame| centre(frame).is_ok())
        },
        repair: None,
        words: &[],
        // Room for a frame whose length was told, and is within the limit.
        memory_max: |bytes| 3 * FRAME_BYTES_MAX as u64 + crate::few(bytes),
    });
}
