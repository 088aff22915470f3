//! A log with blocks of random records, and the oracle: what each record holds, noted before it is encoded.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use efd_central_lake::{Lake, Now, REJECTED_TOPIC};
use efd_central_log::{BlockLog, Class, Follower, MemoryLog, Partition};
use efd_shared_avro::{
    EnumType, Field, FieldType, NestedType, Node, NodeId, RecordSchema, Scalar, Value,
    encode_values,
};
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

use crate::cells;

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
/// As a type that is not SAL's becomes one: records, enums, maps, values that may be null, a type within itself.
pub const GENERAL: &str = r#"{"name":"ros.arm.state","type":"record","fields":[
    {"name":"efd_sourceTime","type":["null",{"type":"long","logicalType":"timestamp-nanos"}],"default":null},
    {"name":"efd_receivedTime","type":{"type":"long","logicalType":"timestamp-nanos"},"default":0},
    {"name":"header","type":{"name":"std.Header","type":"record","fields":[{"name":"frame","type":"string"},
        {"name":"number","type":"long"},{"name":"pose","type":{"name":"std.Pose","type":"record","fields":[
            {"name":"x","type":"double","units":"m"},{"name":"X","type":"double"}]}}]}},
    {"name":"mode","type":{"name":"arm.Mode","type":"enum","symbols":["IDLE","MOVING","FAULT"]}},
    {"name":"speed","type":["null","double"],"units":"m/s"},
    {"name":"count","type":["null","long"]},{"name":"lastMode","type":["null","arm.Mode"]},
    {"name":"joints","type":{"type":"array","items":{"name":"arm.Joint","type":"record","fields":[
        {"name":"name","type":"string"},{"name":"angle","type":"double","units":"rad"},
        {"name":"limits","type":{"type":"array","items":"double"}},{"name":"mode","type":["null","arm.Mode"]}]}}},
    {"name":"goal","type":["null","arm.Joint"]},{"name":"named","type":{"type":"map","values":"arm.Joint"}},
    {"name":"matrix","type":{"type":"array","items":{"type":"array","items":"long"}}},
    {"name":"quad","type":{"name":"efd.Float128","type":"fixed","size":16}},
    {"name":"tree","type":{"name":"arm.Tree","type":"record","fields":[{"name":"value","type":"long"},
        {"name":"children","type":{"type":"array","items":"arm.Tree"}}]}},
    {"name":"raw","type":"bytes"}]}"#;
const ODD: &str =
    r#"{"name":"odd","type":"record","fields":[{"name":"maybe","type":["long","null"]}]}"#;

/// ALL with one field more: the same topic, another fingerprint.
fn all_evolved() -> String {
    ALL.replace(
        r#"{"name":"force","#,
        r#"{"name":"added","type":"long","default":0},{"name":"force","#,
    )
}

fn general_evolved() -> String {
    GENERAL.replace(
        r#"{"name":"mode","type":{"#,
        r#"{"name":"added","type":["null","long"]},{"name":"mode","type":{"#,
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
    /// As the columns have them.
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
            ("odd/topic=ü", ODD.to_owned()),
            ("ros.arm.state", GENERAL.to_owned()),
            ("ros.arm.state", general_evolved()),
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
                let fields = parsed.fields.iter();
                let values: Vec<_> = fields.map(|field| value(rng, field)).collect();
                assert!(parsed.admits(&values));
                encode_values(&values, &mut datum);
                let fields = parsed.fields.iter().zip(&values);
                let values = fields.map(|(field, value)| cells::expected(field, value));
                expected.values = values.collect();
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

    /// Names of the columns of the topic's fields, by the fingerprint of a schema.
    pub fn columns(&self, schema: &str) -> Vec<String> {
        let mut streams = self.streams.iter();
        let found = streams.find(|(_, it)| it.fingerprint().to_string() == schema);
        let parsed = RecordSchema::parse(found.unwrap().1.text()).unwrap();
        let fields = efd_shared_arrow::fields(&parsed, ["time"]).into_iter();
        fields.map(|field| field.name().clone()).collect()
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

fn value(rng: &mut StdRng, field: &Field) -> Value {
    if field.is_nullable && rng.random_bool(0.3) {
        return Value::Optional(None);
    }
    let value = match &field.field_type {
        FieldType::Scalar(_) if field.is_timestamp => time_value(rng),
        FieldType::Scalar(scalar) => scalar_value(rng, *scalar),
        FieldType::Array(scalar) => {
            let length = rng.random_range(0..4);
            Value::Array((0..length).map(|_| scalar_value(rng, *scalar)).collect())
        }
        FieldType::Enum(of) => symbol(rng, of),
        FieldType::Nested(of) => nested_value(rng, of, of.root(), 0),
    };
    match field.is_nullable {
        true => Value::Optional(Some(Box::new(value))),
        false => value,
    }
}

fn time_value(rng: &mut StdRng) -> Value {
    Value::Long(MIDNIGHT + rng.random_range(-DAY..DAY))
}

fn symbol(rng: &mut StdRng, of: &EnumType) -> Value {
    let position = rng.random_range(0..of.symbols.len());
    Value::Enum {
        position,
        symbol: of.symbols[position].clone(),
    }
}

fn nested_value(rng: &mut StdRng, of: &NestedType, id: NodeId, depth: usize) -> Value {
    let mut all = |inner: NodeId| -> Vec<Value> {
        let count = if depth < 6 { rng.random_range(0..4) } else { 0 };
        let values = 0..count;
        values
            .map(|_| nested_value(rng, of, inner, depth + 1))
            .collect()
    };
    match of.node(id) {
        Node::Array(item) => Value::Array(all(*item)),
        Node::Map(inner) => {
            let values = all(*inner).into_iter().enumerate();
            Value::Map(
                values
                    .map(|(at, value)| (format!("k{at}"), value))
                    .collect(),
            )
        }
        Node::Scalar(scalar) => scalar_value(rng, *scalar),
        Node::Timestamp => time_value(rng),
        Node::Enum(of) => symbol(rng, of),
        Node::Fixed => Value::Fixed(rng.random::<[u8; 16]>().to_vec()),
        Node::Nullable(inner) => {
            let inner = nested_value(rng, of, *inner, depth + 1);
            Value::Optional(rng.random_bool(0.6).then(|| Box::new(inner)))
        }
        Node::Record(record) => {
            let fields = record.fields.iter();
            let value = fields.map(|field| {
                let value = nested_value(rng, of, field.node, depth + 1);
                (field.name.clone(), value)
            });
            Value::Record(value.collect())
        }
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
