//! A log with blocks of random records, and the oracle: what each record holds, noted before it is encoded.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use efd_central_lake::{Lake, Now, REJECTED_TOPIC};
use efd_central_log::{BlockLog, Class, Follower, MemoryLog, Partition};
use efd_shared_avro::{FieldType, RecordSchema, Scalar, Value, encode_values};
use efd_shared_model::block::Codec;
use efd_shared_model::ids::EpochLane;
use efd_shared_model::loss::{LOSS_SCHEMA, LOSS_TOPIC};
use efd_shared_model::{
    BlockBuilder, BlockNumber, ClockState, EdgeId, EpochDeclaration, EpochId, EventTimeOrigin,
    Lane, LaneKind, RecordStamps, Schema, SealedBlock, StreamDeclaration, StreamNumber, TopicKind,
    UtcNanos,
};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

pub const ALL: &str = r#"{"name":"lsst.sal.Test.all","type":"record","description":"All kinds","fields":[
    {"name":"private_sndStamp","type":"double","default":0.0,"units":"second","description":"Time of instance publication"},
    {"name":"private_identity","type":"string","default":"","units":"unitless","description":"Identity"},
    {"name":"salIndex","type":"long","default":0,"units":"unitless","description":"Index"},
    {"name":"flag","type":"boolean","default":false,"units":"unitless","description":"A flag"},
    {"name":"time","type":"long","default":0,"units":"ns","description":"Named as our own column"},
    {"name":"force","type":"double","default":0.0,"units":"N","description":"A force"},
    {"name":"flags","type":{"type":"array","items":"boolean"},"default":[false,false],"units":"unitless","description":"Flags"},
    {"name":"longs","type":{"type":"array","items":"long"},"default":[0,0,0],"units":"count","description":"Longs"},
    {"name":"doubles","type":{"type":"array","items":"double"},"default":[0.0],"units":"m/s²","description":"Doubles"},
    {"name":"texts","type":{"type":"array","items":"string"},"units":"unitless","description":"Texts"}]}"#;
pub const SMALL: &str = r#"{"name":"lsst.sal.Test.logevent_small","type":"record","fields":[{"name":"value","type":"long","default":0,"units":"unitless","description":"d"}]}"#;
const NESTED: &str =
    r#"{"name":"odd","type":"record","fields":[{"name":"maybe","type":["null","long"]}]}"#;

/// ALL with one field more: the same topic, another fingerprint.
fn all_evolved() -> String {
    ALL.replace(
        r#"{"name":"force","#,
        r#"{"name":"added","type":"long","default":0},{"name":"force","#,
    )
}

pub const DAY: i64 = 86_400_000_000_000;
/// 2026-11-24T00:00:00Z.
pub const MIDNIGHT: i64 = 20_781 * DAY;

/// (edge, epoch, lane, block, index)
pub type Name = (String, String, String, i64, i32);

#[derive(Clone, Debug, PartialEq)]
pub struct Expected {
    pub site: String,
    pub topic: String,
    pub schema: String,
    pub time: i64,
    pub origin: &'static str,
    pub implausible: bool,
    pub latin1: bool,
    pub values: Vec<Value>,
}

pub struct World {
    pub log: Arc<MemoryLog>,
    pub rng: StdRng,
    pub oracle: BTreeMap<Name, Expected>,
    streams: Vec<(StreamDeclaration, Schema)>,
    epochs: Vec<(EpochDeclaration, u64)>,
    appended: Vec<(Partition, SealedBlock)>,
    pub clock: Now,
}

impl World {
    pub fn new(seed: u64) -> Self {
        let streams = [
            ("lsst.sal.Test.all", ALL.to_owned()),
            ("lsst.sal.Test.all", all_evolved()),
            ("lsst.sal.Test.logevent_small", SMALL.to_owned()),
            (LOSS_TOPIC, LOSS_SCHEMA.to_owned()),
            ("odd/topic=ü", NESTED.to_owned()),
        ];
        let streams = (1..).zip(streams).map(|(number, (topic, text))| {
            let schema = Schema::new(text);
            let declaration = StreamDeclaration {
                number: StreamNumber(number),
                topic: topic.into(),
                dds_topic: String::new(),
                dds_type: String::new(),
                kind: TopicKind::Event,
                schema: schema.fingerprint(),
            };
            (declaration, schema)
        });
        let streams: Vec<_> = streams.collect();
        let log = MemoryLog::default();
        let epochs: Vec<_> = [(9, "summit"), (3, "summit"), (5, "tucson")]
            .into_iter()
            .map(|(edge, site)| {
                let epoch = EpochDeclaration {
                    edge: EdgeId([edge; 16]),
                    site: site.parse().unwrap(),
                    epoch: EpochId([edge + 1; 16]),
                    parent: None,
                    began: ClockState::default(),
                    software: "test".into(),
                };
                (epoch, 0)
            })
            .collect();
        let (declarations, schemas): (Vec<_>, Vec<_>) = streams.iter().cloned().unzip();
        for (epoch, _) in &epochs {
            log.declare(epoch, &declarations, &schemas).unwrap();
        }
        Self {
            log: Arc::new(log),
            rng: StdRng::seed_from_u64(seed),
            oracle: BTreeMap::new(),
            streams,
            epochs,
            appended: Vec::new(),
            clock: Now {
                monotonic: Duration::from_secs(100),
                utc: UtcNanos(MIDNIGHT),
            },
        }
    }

    pub fn pass_seconds(&mut self, seconds: u64) {
        self.clock.monotonic += Duration::from_secs(seconds);
        self.clock.utc = self
            .clock
            .utc
            .saturating_add(seconds as i64 * 1_000_000_000);
    }

    /// A block of one of the edges, or one that the log already has, in a partition of its site.
    pub fn append(&mut self) {
        let class = match self.rng.random_bool(0.7) {
            true => Class::Live,
            false => Class::Fill,
        };
        if self.rng.random_bool(0.25) && !self.appended.is_empty() {
            let (mut partition, block) =
                self.appended[self.rng.random_range(0..self.appended.len())].clone();
            partition.class = class;
            self.log.append(&[(partition, block)]).unwrap();
            return;
        }
        let which = self.rng.random_range(0..self.epochs.len());
        let (epoch, number) = &mut self.epochs[which];
        *number += 1;
        let epoch = epoch.clone();
        let lane = EpochLane {
            edge: epoch.edge,
            epoch: epoch.epoch,
            lane: Lane::new(LaneKind::Telemetry),
        };
        let id = lane.block(BlockNumber(*number));
        let mut records = Vec::new();
        for _ in 0..self.rng.random_range(1..12) {
            let stream = self.rng.random_range(0..self.streams.len());
            let expected = self.record(epoch.site.as_str(), stream);
            records.push((stream, expected));
        }
        // The index counts in the order of the sections.
        records.sort_by_key(|(stream, _)| *stream);
        let mut builder = BlockBuilder::new();
        for (index, (stream, (stamps, datum, expected))) in records.into_iter().enumerate() {
            let number = StreamNumber(stream as u32 + 1);
            builder.datum(number).extend_from_slice(&datum);
            builder.finish(number, stamps);
            let name = (
                lane.edge.to_string(),
                lane.epoch.to_string(),
                lane.lane.to_string(),
                id.number.0 as i64,
                index as i32,
            );
            assert!(self.oracle.insert(name, expected).is_none());
        }
        let block = builder
            .seal(id, ClockState::default(), Codec::Zstd, 1)
            .unwrap();
        let partition = Partition {
            site: epoch.site.clone(),
            shard: 0,
            class,
        };
        self.appended.push((partition.clone(), block.clone()));
        self.log.append(&[(partition, block)]).unwrap();
    }

    fn record(&mut self, site: &str, stream: usize) -> (RecordStamps, Vec<u8>, Expected) {
        let (declaration, schema) = self.streams[stream].clone();
        let rng = &mut self.rng;
        let spread = if rng.random_bool(0.8) {
            DAY / 100
        } else {
            3 * DAY
        };
        let time = MIDNIGHT + rng.random_range(-spread..spread);
        let (origin, origin_text) = [
            (EventTimeOrigin::SndStamp, "snd_stamp"),
            (EventTimeOrigin::Source, "source"),
            (EventTimeOrigin::Reception, "reception"),
        ][rng.random_range(0..3)];
        let stamps = RecordStamps {
            event_time: UtcNanos(time),
            origin,
            implausible: rng.random_bool(0.1),
            latin1: rng.random_bool(0.1),
            instance: rng.random_bool(0.5).then_some(2),
        };
        let mut expected = Expected {
            site: site.to_owned(),
            topic: declaration.topic.clone(),
            schema: schema.fingerprint().to_string(),
            time,
            origin: origin_text,
            implausible: stamps.implausible,
            latin1: stamps.latin1,
            values: Vec::new(),
        };
        let mut datum = Vec::new();
        let mut reason = None;
        match RecordSchema::parse(schema.text()) {
            Ok(parsed) => {
                let values = parsed
                    .fields
                    .iter()
                    .map(|field| value(rng, field.field_type));
                expected.values = values.collect();
                encode_values(&expected.values, &mut datum);
                if rng.random_bool(0.02) {
                    datum.push(7);
                    reason = Some(format!(
                        "field `` at byte {}: 1 bytes after the last field",
                        datum.len() - 1
                    ));
                }
            }
            Err(error) => {
                datum.extend([2, 14]);
                reason = Some(error.to_string());
            }
        }
        if let Some(reason) = reason {
            expected.values = vec![
                Value::String(std::mem::replace(
                    &mut expected.topic,
                    REJECTED_TOPIC.into(),
                )),
                Value::String(expected.schema),
                Value::String(reason),
                Value::Bytes(datum.clone()),
            ];
            expected.schema = Schema::new(efd_central_lake::REJECTED_SCHEMA)
                .fingerprint()
                .to_string();
        }
        (stamps, datum, expected)
    }

    /// Takes up to `blocks` blocks that are in the log and not in the lake.
    pub fn feed(&self, lake: &mut Lake, follower: &mut Follower<MemoryLog>, blocks: usize) {
        for _ in 0..blocks {
            let Some(delivery) = follower.poll().unwrap() else {
                break;
            };
            lake.take(&*self.log, &delivery, self.clock).unwrap();
        }
        lake.pass(follower.progress(), self.clock);
    }
}

fn value(rng: &mut StdRng, field_type: FieldType) -> Value {
    match field_type {
        FieldType::Array(scalar) => {
            let length = rng.random_range(0..4);
            Value::Array(
                (0..length)
                    .map(|_| value(rng, FieldType::Scalar(scalar)))
                    .collect(),
            )
        }
        FieldType::Scalar(scalar) => scalar_value(rng, scalar),
    }
}

fn scalar_value(rng: &mut StdRng, scalar: Scalar) -> Value {
    match scalar {
        Scalar::Boolean => Value::Boolean(rng.random()),
        Scalar::Long => Value::Long(
            *[
                i64::MIN,
                i64::MAX,
                0,
                -1,
                rng.random(),
                rng.random_range(-500..500),
            ]
            .get(rng.random_range(0..6))
            .unwrap(),
        ),
        Scalar::Double => {
            let special = [
                f64::NAN,
                f64::from_bits(0x7ff8_0000_0000_00ab),
                f64::INFINITY,
                f64::NEG_INFINITY,
                -0.0,
                f64::MIN_POSITIVE / 4.0,
                f64::from_bits(rng.random()),
                rng.random_range(-1.0..1.0),
            ];
            Value::Double(special[rng.random_range(0..special.len())])
        }
        Scalar::String => {
            let texts = ["", "MTM1M3", "naïve Größe 🔭", "line\nbreak\0", "a"];
            Value::String(texts[rng.random_range(0..texts.len())].into())
        }
        Scalar::Bytes => Value::Bytes(vec![rng.random(); rng.random_range(0..4)]),
    }
}
