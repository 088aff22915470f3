//! Blocks and declarations for the tests.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use efd_shared_model::block::Codec;
use efd_shared_model::{
    BlockBuilder, BlockNumber, ClockState, EdgeId, EpochDeclaration, EpochId, EpochLane,
    EventTimeOrigin, Lane, LaneKind, RecordStamps, Schema, SealedBlock, StreamDeclaration,
    StreamNumber, TopicKind, UtcNanos,
};
use efd_shared_store::{Item, LaneName, Options, Position, Reader, Recovery, Store};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

pub const SECOND: i64 = 1_000_000_000;

pub fn edge() -> EdgeId {
    EdgeId([7; 16])
}

pub fn epoch(number: u8) -> EpochDeclaration {
    EpochDeclaration {
        edge: edge(),
        site: "summit".parse().unwrap(),
        epoch: EpochId([number; 16]),
        parent: None,
        began: ClockState::default(),
        software: "test".into(),
    }
}

pub fn log(epoch: u8, kind: LaneKind) -> EpochLane {
    EpochLane {
        edge: edge(),
        epoch: EpochId([epoch; 16]),
        lane: Lane::new(kind),
    }
}

pub fn schema(number: u32) -> Schema {
    let field = format!(r#"{{"name":"value{number}","type":"double","default":0.0}}"#);
    Schema::new(format!(
        r#"{{"type":"record","name":"lsst.sal.Test.topic{number}","fields":[{field}]}}"#
    ))
}

pub fn stream(number: u32) -> StreamDeclaration {
    StreamDeclaration {
        number: StreamNumber(number),
        topic: format!("lsst.sal.Test.topic{number}"),
        dds_topic: format!("Test_topic{number}_1a2b3c4d"),
        dds_type: format!("Test::topic{number}_1a2b3c4d"),
        kind: TopicKind::Telemetry,
        schema: schema(number).fingerprint(),
    }
}

pub fn declare(store: &mut Store, number: u8, streams: u32) {
    let declarations: Vec<_> = (1..=streams).map(stream).collect();
    let schemas: Vec<_> = (1..=streams).map(schema).collect();
    store
        .declare(&epoch(number), &declarations, &schemas)
        .unwrap();
}

/// One record of stream 1 of about `bytes` bytes that do not compress.
pub fn block(log: EpochLane, number: u64, bytes: usize) -> SealedBlock {
    block_of(log, number, StreamNumber(1), bytes, 1)
}

pub fn block_of(
    log: EpochLane,
    number: u64,
    stream: StreamNumber,
    bytes: usize,
    records: usize,
) -> SealedBlock {
    let mut rng = StdRng::seed_from_u64(number ^ u64::from(log.epoch.0[0]) << 32);
    let mut builder = BlockBuilder::new();
    for _ in 0..records {
        let datum = builder.datum(stream);
        datum.extend((0..bytes / records).map(|_| rng.random::<u8>()));
        let stamps = RecordStamps {
            event_time: UtcNanos(number as i64 * SECOND),
            origin: EventTimeOrigin::SndStamp,
            implausible: false,
            latin1: false,
            instance: None,
        };
        builder.finish(stream, stamps);
    }
    let id = log.block(BlockNumber(number));
    builder
        .seal(id, ClockState::default(), Codec::None, 0)
        .unwrap()
}

pub fn lane(name: &str) -> LaneName {
    name.parse().unwrap()
}

/// Small files, so that few blocks show everything.
pub fn small() -> Options {
    Options {
        segment_bytes_max: 20_000,
        segment_age_max: Duration::from_secs(3600),
        wal_bytes_max: 60_000,
        reserve_bytes: 0,
        verify_on_append: true,
        ..Options::default()
    }
}

pub fn open(root: &Path) -> (Store, Recovery) {
    Store::open(root, small()).unwrap()
}

/// Every block of a lane, from its floor; anything else that is there as text.
pub fn read_all(reader: &mut Reader, lane: &LaneName) -> (Vec<(Position, Bytes)>, Vec<String>) {
    let (mut blocks, mut other) = (Vec::new(), Vec::new());
    let mut next = reader.floor(lane);
    loop {
        let items = reader.read(lane, next, 30_000).unwrap();
        if items.is_empty() {
            return (blocks, other);
        }
        for item in items {
            assert!(next <= item.next());
            next = item.next();
            match item {
                Item::Block(position, block) => blocks.push((position, block.bytes().clone())),
                item => other.push(format!("{item:?}")),
            }
        }
    }
}
