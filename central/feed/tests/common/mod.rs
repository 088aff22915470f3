//! A log whose every block is a function of its number: a process that was killed makes the same one again.

use std::collections::BTreeMap;
use std::sync::Arc;

use efd_central_log::{BlockLog, Class, MemoryLog, Partition};
use efd_shared_model::block::Codec;
use efd_shared_model::ids::EpochLane;
use efd_shared_model::loss::{LOSS_SCHEMA, LOSS_TOPIC};
use efd_shared_model::{
    BlockBuilder, BlockNumber, ClockState, EdgeId, EpochDeclaration, EpochId, EventTimeOrigin,
    Lane, LaneKind, Loss, LossReason, RecordId, RecordStamps, Schema, SealedBlock,
    StreamDeclaration, StreamNumber, TopicKind, UtcNanos,
};

pub(crate) const SITE: &str = "summit";

/// The streams `lsst.sal.Test.t1` … and, last, the losses.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spec {
    pub(crate) topics: u32,
    pub(crate) records_per_block: u32,
    pub(crate) pad_bytes: usize,
}

/// 2026-11-24T00:00:00Z.
pub(crate) const BEGIN: UtcNanos = UtcNanos(1_795_478_400_000_000_000);

impl Spec {
    pub(crate) fn schema(number: u32) -> Schema {
        Schema::new(format!(
            r#"{{"type":"record","name":"t{number}","namespace":"lsst.sal.Test","fields":[{{"name":"n","type":"long","default":0,"units":"unitless"}},{{"name":"pad","type":"string","default":"","units":"unitless"}}]}}"#
        ))
    }

    pub(crate) fn lane(kind: LaneKind) -> EpochLane {
        EpochLane {
            edge: EdgeId([7; 16]),
            epoch: EpochId([9; 16]),
            lane: Lane::new(kind),
        }
    }

    pub(crate) fn declared(self) -> Arc<MemoryLog> {
        let stream = |number: u32, topic: String, kind, schema: &Schema| StreamDeclaration {
            number: StreamNumber(number),
            topic,
            dds_topic: String::new(),
            dds_type: String::new(),
            kind,
            schema: schema.fingerprint(),
        };
        let mut schemas: Vec<Schema> = (1..=self.topics).map(Self::schema).collect();
        let mut streams: Vec<_> = (1..)
            .zip(&schemas)
            .map(|(number, schema)| {
                stream(
                    number,
                    format!("lsst.sal.Test.t{number}"),
                    TopicKind::Telemetry,
                    schema,
                )
            })
            .collect();
        let losses = Schema::new(LOSS_SCHEMA);
        streams.push(stream(
            self.topics + 1,
            LOSS_TOPIC.to_owned(),
            TopicKind::Loss,
            &losses,
        ));
        schemas.push(losses);
        let epoch = EpochDeclaration {
            edge: EdgeId([7; 16]),
            site: SITE.parse().unwrap(),
            epoch: EpochId([9; 16]),
            parent: None,
            began: ClockState::default(),
            software: "test".into(),
        };
        let log = MemoryLog::default();
        log.declare(&epoch, &streams, &schemas).unwrap();
        Arc::new(log)
    }

    /// Every tenth block is back-fill.
    pub(crate) fn class(number: u64) -> Class {
        if number.is_multiple_of(10) {
            Class::Fill
        } else {
            Class::Live
        }
    }

    pub(crate) fn append(self, log: &MemoryLog, numbers: std::ops::RangeInclusive<u64>) {
        let blocks: Vec<_> = numbers
            .map(|number| (partition(Self::class(number)), self.block(number)))
            .collect();
        log.append(&blocks).unwrap();
    }

    pub(crate) fn block(self, number: u64) -> SealedBlock {
        let mut builder = BlockBuilder::new();
        let first = (number - 1) * u64::from(self.records_per_block);
        for n in first..first + u64::from(self.records_per_block) {
            let stream = StreamNumber((n % u64::from(self.topics)) as u32 + 1);
            encode(n, self.pad_bytes, builder.datum(stream));
            builder.finish(stream, stamps(n));
        }
        let id = Self::lane(LaneKind::Telemetry).block(BlockNumber(number));
        builder
            .seal(id, ClockState::default(), Codec::Zstd, 1)
            .unwrap()
    }

    /// What every topic must hold of the blocks `1..=through`, by identity.
    pub(crate) fn expected(self, through: u64) -> BTreeMap<RecordId, (String, i64)> {
        let mut expected = BTreeMap::new();
        for number in 1..=through {
            let block = self.block(number).open().unwrap();
            for (stream, record) in block.records() {
                let id = RecordId {
                    block: block.header().id,
                    index: record.index,
                };
                expected.insert(id, (format!("t{}", stream.0), decode(record.datum)));
            }
        }
        expected
    }
}

pub(crate) fn partition(class: Class) -> Partition {
    Partition {
        site: SITE.parse().unwrap(),
        shard: 0,
        class,
    }
}

/// One block of the lane `losses`.
pub(crate) fn loss_block(spec: Spec, number: u64) -> (SealedBlock, Loss) {
    let loss = Loss {
        topic: "lsst.sal.Test.t1".into(),
        first_seq: 4,
        last_seq: 9,
        count: 6,
        ..Loss::new(LossReason::DdsGap, BEGIN, BEGIN.saturating_add(1))
    };
    let stream = StreamNumber(spec.topics + 1);
    let mut builder = BlockBuilder::new();
    loss.encode(builder.datum(stream));
    builder.finish(stream, stamps(1));
    let id = Spec::lane(LaneKind::Losses).block(BlockNumber(number));
    (
        builder
            .seal(id, ClockState::default(), Codec::None, 1)
            .unwrap(),
        loss,
    )
}

/// Records of odd number have an instance.
pub(crate) fn stamps(n: u64) -> RecordStamps {
    RecordStamps {
        event_time: BEGIN.saturating_add(n as i64),
        origin: EventTimeOrigin::SndStamp,
        implausible: false,
        latin1: false,
        instance: (n % 2 == 1).then_some((n % 5) as i32 - 1),
    }
}

pub(crate) fn encode(n: u64, pad_bytes: usize, out: &mut Vec<u8>) {
    zigzag(n as i64, out);
    zigzag(pad_bytes as i64, out);
    // Not a run of one byte: compression must have something to do.
    out.extend((0..pad_bytes).map(|at| b'a' + ((n as usize + at * at) % 26) as u8));
}

fn zigzag(value: i64, out: &mut Vec<u8>) {
    let mut rest = ((value << 1) ^ (value >> 63)) as u64;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// The field `n` of a datum.
pub(crate) fn decode(datum: &[u8]) -> i64 {
    let mut value = 0u64;
    for (shift, byte) in (0..).step_by(7).zip(datum) {
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            break;
        }
    }
    (value >> 1) as i64 ^ -((value & 1) as i64)
}
