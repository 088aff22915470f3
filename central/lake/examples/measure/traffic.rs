//! Plausible records of topics like SAL's, in blocks of 50 ms.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use efd_central_log::{BlockLog, Class, Delivery, MemoryLog, Partition, Place};
use efd_shared_avro::{FieldType, RecordSchema, Scalar, Value, encode_values};
use efd_shared_model::block::Codec;
use efd_shared_model::ids::EpochLane;
use efd_shared_model::{
    BlockBuilder, BlockNumber, ClockState, EdgeId, EpochDeclaration, EpochId, EventTimeOrigin,
    Lane, LaneKind, RecordStamps, Schema, StreamDeclaration, StreamNumber, TopicKind, UtcNanos,
};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// 2026-11-24T00:00:00Z, ns.
pub(crate) const BEGIN: i64 = 20_781 * 86_400_000_000_000;
const BLOCKS_PER_SECOND: i64 = 20;
const TOPICS: usize = 2011;
const RECORDS_PER_SECOND: f64 = 29_284.0;

pub(crate) struct Topic {
    pub(crate) schema: RecordSchema,
    /// Records a second.
    rate: f64,
    /// Records that are due and not yet made.
    due: f64,
    fields: Vec<FieldState>,
    sequence: i64,
}

/// What makes a field's next value like its last.
struct FieldState {
    level: f64,
    kind: Kind,
}

#[derive(Clone, Copy)]
enum Kind {
    SndStamp,
    EfdStamp,
    KafkaStamp,
    RcvStamp,
    Sequence,
    /// A set point or a state: changes rarely.
    Constant,
    /// A 32-bit float with noise, as most of SAL's.
    Noise,
    /// Steps of an analogue converter.
    Quantised,
}

pub(crate) struct Traffic {
    pub(crate) log: Arc<MemoryLog>,
    pub(crate) list: Vec<Topic>,
    lane: EpochLane,
    next_block: u64,
    builder: BlockBuilder,
    rng: StdRng,
}

impl Traffic {
    pub(crate) fn wide() -> Self {
        let arrays: Vec<_> = (0..5).map(|n| array(&format!("forces{n}"), 156)).collect();
        Self::new(vec![(schema_text("lsst.sal.MTM1M3.wide", &arrays), 50.0)])
    }

    pub(crate) fn small(rate: u32) -> Self {
        let field = vec![r#"{"name":"summaryState","type":"long"}"#.to_owned()];
        let text = schema_text("lsst.sal.MTM1M3.logevent_summaryState", &field);
        Self::new(vec![(text, rate.into())])
    }

    pub(crate) fn full(corpus: Option<&Path>) -> Self {
        let texts = corpus.map_or_else(synthetic, golden);
        let is_m1m3 = |text: &str| {
            let name = RecordSchema::parse(text).expect("a golden schema").name;
            let topic = name.strip_prefix("lsst.sal.MTM1M3.");
            topic.is_some_and(|topic| {
                !topic.starts_with("command_")
                    && !topic.starts_with("logevent_")
                    && topic != "ackcmd"
            })
        };
        let (fast, rest): (Vec<_>, Vec<_>) = texts.into_iter().partition(|text| is_m1m3(text));
        let rate = (RECORDS_PER_SECOND - 50.0 * fast.len() as f64) / rest.len() as f64;
        println!(
            "{} topics at 50 Hz, {} at {rate:.2} Hz",
            fast.len(),
            rest.len()
        );
        let fast = fast.into_iter().map(|text| (text, 50.0));
        Self::new(
            fast.chain(rest.into_iter().map(|text| (text, rate)))
                .collect(),
        )
    }

    fn new(topics: Vec<(String, f64)>) -> Self {
        let mut rng = StdRng::seed_from_u64(1);
        let log = MemoryLog::default();
        let lane = EpochLane {
            edge: EdgeId([7; 16]),
            epoch: EpochId([8; 16]),
            lane: Lane::new(LaneKind::Telemetry),
        };
        let epoch = EpochDeclaration {
            edge: lane.edge,
            site: "summit".parse().expect("a site"),
            epoch: lane.epoch,
            parent: None,
            began: ClockState::default(),
            software: "measure".into(),
        };
        let mut list = Vec::new();
        let (mut declarations, mut schemas) = (Vec::new(), Vec::new());
        for (number, (text, rate)) in (1..).zip(topics) {
            let parsed = RecordSchema::parse(&text).expect("a flat schema");
            let schema = Schema::new(text);
            declarations.push(StreamDeclaration {
                number: StreamNumber(number),
                topic: parsed.name.clone(),
                dds_topic: String::new(),
                dds_type: String::new(),
                kind: TopicKind::Telemetry,
                schema: schema.fingerprint(),
            });
            schemas.push(schema);
            list.push(Topic::new(parsed, rate, &mut rng));
        }
        log.declare(&epoch, &declarations, &schemas)
            .expect("the log is in memory");
        Self {
            log: Arc::new(log),
            list,
            lane,
            next_block: 1,
            builder: BlockBuilder::new(),
            rng,
        }
    }

    pub(crate) fn topics(&self) -> usize {
        self.list.len()
    }

    /// The blocks of a second, made one at a time.
    pub(crate) fn second(&mut self, second: u64) -> impl Iterator<Item = Delivery> {
        let partition = Partition {
            site: "summit".parse().expect("a site"),
            shard: 0,
            class: Class::Live,
        };
        let begin = BEGIN + second as i64 * 1_000_000_000;
        (0..BLOCKS_PER_SECOND).filter_map(move |tick| {
            let time = begin + tick * 1_000_000_000 / BLOCKS_PER_SECOND;
            let mut datum = Vec::new();
            for (number, topic) in (1..).zip(&mut self.list) {
                topic.due += topic.rate / BLOCKS_PER_SECOND as f64;
                while topic.due >= 1.0 {
                    topic.due -= 1.0;
                    let event_time = UtcNanos(time + self.rng.random_range(0..50_000_000));
                    datum.clear();
                    encode_values(&topic.next(event_time.0, &mut self.rng), &mut datum);
                    self.builder
                        .datum(StreamNumber(number))
                        .extend_from_slice(&datum);
                    let stamps = RecordStamps {
                        event_time,
                        origin: EventTimeOrigin::SndStamp,
                        implausible: false,
                        latin1: false,
                        instance: None,
                    };
                    self.builder.finish(StreamNumber(number), stamps);
                }
            }
            let number = self.next_block;
            let id = self.lane.block(BlockNumber(number));
            let block = self
                .builder
                .seal(id, ClockState::default(), Codec::Zstd, 1)?;
            self.next_block += 1;
            Some(Delivery {
                partition: partition.clone(),
                place: Place(number),
                block,
            })
        })
    }
}

impl Topic {
    fn new(schema: RecordSchema, rate: f64, rng: &mut StdRng) -> Self {
        let fields = schema.fields.iter().map(|field| FieldState {
            level: f64::from(rng.random_range(-1000.0f32..1000.0)),
            kind: match field.name.as_str() {
                "private_sndStamp" => Kind::SndStamp,
                "private_efdStamp" => Kind::EfdStamp,
                "private_kafkaStamp" => Kind::KafkaStamp,
                "private_rcvStamp" => Kind::RcvStamp,
                "private_seqNum" => Kind::Sequence,
                "private_origin" | "private_revCode" | "private_identity" | "salIndex" => {
                    Kind::Constant
                }
                _ => [Kind::Noise, Kind::Noise, Kind::Quantised, Kind::Constant]
                    [rng.random_range(0..4)],
            },
        });
        Self {
            fields: fields.collect(),
            schema,
            rate,
            due: rng.random_range(0.0..1.0),
            sequence: 0,
        }
    }

    pub(crate) fn next(&mut self, time: i64, rng: &mut StdRng) -> Vec<Value> {
        self.sequence += 1;
        let utc = time as f64 / 1e9;
        let fields = self.schema.fields.iter().zip(&mut self.fields);
        fields
            .map(|(field, state)| match &field.field_type {
                FieldType::Scalar(scalar) => state.value(*scalar, utc, self.sequence, rng),
                FieldType::Array(scalar) => {
                    let items = 0..field.length.unwrap_or(3);
                    Value::Array(
                        items
                            .map(|item| {
                                let level = state.level;
                                state.level += item as f64 * 3.7;
                                let value = state.value(*scalar, utc, self.sequence, rng);
                                state.level = level;
                                value
                            })
                            .collect(),
                    )
                }
                FieldType::Enum(_) | FieldType::Nested(_) => unreachable!("SAL has none"),
            })
            .collect()
    }
}

impl FieldState {
    fn value(&mut self, scalar: Scalar, utc: f64, sequence: i64, rng: &mut StdRng) -> Value {
        let drift = (utc / 300.0).sin();
        let number = match self.kind {
            Kind::SndStamp => utc + 37.0,
            Kind::EfdStamp => utc,
            Kind::KafkaStamp => utc + 37.0012 + rng.random_range(0.0..0.001),
            Kind::RcvStamp => utc + 37.0005 + rng.random_range(0.0..0.0005),
            Kind::Sequence => sequence as f64,
            Kind::Constant => self.level.round(),
            Kind::Noise => f64::from((self.level + drift + rng.random_range(-0.05..0.05)) as f32),
            Kind::Quantised => f64::from(
                ((self.level + drift * 5.0 + rng.random_range(-0.1..0.1)) * 10.0).round() as f32
                    / 10.0,
            ),
        };
        match scalar {
            Scalar::Boolean => Value::Boolean(number > 0.0),
            Scalar::Long => Value::Long(number as i64),
            Scalar::Double => Value::Double(number),
            Scalar::String => Value::String(format!("text{:.0}", self.level)),
            Scalar::Bytes => Value::Bytes(Vec::new()),
        }
    }
}

fn array(name: &str, length: usize) -> String {
    let default = vec!["0.0"; length].join(",");
    format!(
        r#"{{"name":"{name}","type":{{"type":"array","items":"double"}},"default":[{default}],"units":"N","description":"Forces of the actuators"}}"#
    )
}

fn schema_text(name: &str, fields: &[String]) -> String {
    let private = [
        ("private_efdStamp", "double"),
        ("private_kafkaStamp", "double"),
        ("private_revCode", "string"),
        ("private_sndStamp", "double"),
        ("private_rcvStamp", "double"),
        ("private_seqNum", "long"),
        ("private_identity", "string"),
        ("private_origin", "long"),
    ];
    let private = private.map(|(name, field_type)| {
        format!(r#"{{"name":"{name}","type":"{field_type}","units":"unitless","description":"As every topic has it"}}"#)
    });
    let all: Vec<_> = private.iter().chain(fields).cloned().collect();
    format!(
        r#"{{"type":"record","name":"{name}","fields":[{}]}}"#,
        all.join(",")
    )
}

/// Where the corpus is absent: as many topics, of as many fields as its topics have.
fn synthetic() -> Vec<String> {
    let topic = |number: usize| {
        let fields = (0..5).map(|n| {
            format!(r#"{{"name":"value{n}","type":"double","units":"m","description":"Value"}}"#)
        });
        let mut fields: Vec<_> = fields.collect();
        let component = if number < 30 { "MTM1M3" } else { "Test" };
        if number < 30 {
            fields.push(array("forces", 156));
        }
        schema_text(&format!("lsst.sal.{component}.topic{number}"), &fields)
    };
    (0..TOPICS).map(topic).collect()
}

fn golden(corpus: &Path) -> Vec<String> {
    let mut texts = BTreeMap::new();
    for file in std::fs::read_dir(corpus.join("avro-golden")).expect("the corpus") {
        let lines = std::fs::read_to_string(file.expect("the corpus").path()).expect("the corpus");
        for line in lines.lines() {
            let line: serde_json::Value = serde_json::from_str(line).expect("the corpus");
            texts.insert(
                line["schema"]["name"].to_string(),
                line["schema"].to_string(),
            );
        }
    }
    texts.into_values().collect()
}
