//! What publishers and topics had sent when the last process ended: the newest snapshot, and the records committed after it.

use std::collections::{BTreeMap, HashMap};

use efd_shared_model::bytes::{ByteError, Reader as Bytes};
use efd_shared_model::{EpochId, LaneKind, StreamNumber, TopicKind, UtcNanos};
use efd_shared_store::{Item, LaneName, Position, Reader, StoreError};
use efd_shared_types::general::{RECEIVED_TIME, SOURCE_TIME};
use serde_json::Value as Json;

use crate::commit::{DIVERTED_STATE, PUBLISHERS_STATE, lane_name};
use crate::publishers::{Observed, Publishers};

const READ_BYTES: usize = 8 << 20;

/// By lane. What cannot be read costs a repetition or a gap that is not named, never the start.
pub fn restore_publishers(reader: &mut Reader) -> BTreeMap<LaneKind, Publishers> {
    let lanes = [LaneKind::Events, LaneKind::Telemetry];
    lanes
        .into_iter()
        .map(|lane| (lane, restore_lane(reader, lane)))
        .collect()
}

fn restore_lane(reader: &mut Reader, kind: LaneKind) -> Publishers {
    let lane = lane_name(kind);
    let (through, mut publishers) = match reader.state(&lane, PUBLISHERS_STATE) {
        None => (Position::NONE, Publishers::new()),
        Some((through, snapshot)) => match Publishers::restore(&snapshot) {
            Ok(publishers) => (through, publishers),
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, %lane, "Snapshot of publishers unreadable");
                (Position::NONE, Publishers::new())
            }
        },
    };
    let heads = reader.state(&lane, DIVERTED_STATE);
    let heads = heads.map_or_else(BTreeMap::new, |(_, heads)| read_heads(&heads));
    let mut lanes = vec![(lane.clone(), through)];
    // After the snapshot a topic's records are in one lane: the order of lanes does not matter.
    lanes.extend(diverted(reader, kind).into_iter().map(|lane| {
        let through = heads.get(lane.as_str()).copied();
        (lane, through.unwrap_or(Position::NONE))
    }));
    let mut records = 0;
    for (lane, through) in lanes {
        let next = through.next();
        if let Err(error) = observe_from(reader, &lane, next, &mut publishers, &mut records) {
            tracing::error!(error = &error as &dyn std::error::Error, %lane, "Publishers restored in part");
        }
    }
    publishers.mark_restored();
    tracing::info!(%lane, publishers = publishers.len(), records_read = records, "Publishers restored");
    publishers
}

/// The kind's lanes of single topics.
fn diverted(reader: &Reader, kind: LaneKind) -> Vec<LaneName> {
    let (lanes, home) = (reader.lanes().into_iter(), lane_name(kind));
    lanes
        .filter(|lane| lane.is_of(kind) && *lane != home)
        .collect()
}

/// Where the kind's lanes of single topics end, as a value; `None` where there are none.
pub fn diverted_heads(reader: &Reader, kind: LaneKind) -> Option<Vec<u8>> {
    let lanes = diverted(reader, kind);
    if lanes.is_empty() {
        return None;
    }
    let heads = lanes
        .iter()
        .map(|lane| (lane.to_string(), Json::from(reader.head(lane).0)))
        .collect();
    Some(Json::Object(heads).to_string().into_bytes())
}

/// What cannot be read costs what a missing snapshot does.
fn read_heads(value: &[u8]) -> BTreeMap<String, Position> {
    let heads: Result<BTreeMap<String, u64>, _> = serde_json::from_slice(value);
    let heads = heads.unwrap_or_else(|error| {
        tracing::error!(%error, "Heads of lanes unreadable");
        BTreeMap::new()
    });
    let heads = heads.into_iter();
    heads.map(|(lane, head)| (lane, Position(head))).collect()
}

fn observe_from(
    reader: &mut Reader,
    lane: &LaneName,
    mut next: Position,
    publishers: &mut Publishers,
    records: &mut u64,
) -> Result<(), StoreError> {
    let mut streams = Streams::default();
    while next <= reader.head(lane) {
        let items = reader.read(lane, next, READ_BYTES)?;
        let Some(last) = items.last() else { break };
        next = last.next();
        for item in items {
            let Item::Block(position, sealed) = item else {
                continue;
            };
            match sealed.open() {
                Err(error) => tracing::error!(%error, %position, "Block unreadable"),
                Ok(block) => {
                    let epoch = block.header().id.lane.epoch;
                    for (stream, record) in block.records() {
                        *records += 1;
                        if let Some(known) = streams.get(reader, epoch, stream) {
                            known.observe(record.datum, publishers);
                        }
                    }
                }
            }
        }
    }
    Ok(())
}

/// Streams of the epochs that are read, by what their datums begin with.
#[derive(Debug, Default)]
struct Streams {
    known: HashMap<(EpochId, StreamNumber), Option<Leading>>,
    epochs: Vec<EpochId>,
}

impl Streams {
    fn get(
        &mut self,
        reader: &mut Reader,
        epoch: EpochId,
        stream: StreamNumber,
    ) -> Option<&Leading> {
        if !self.epochs.contains(&epoch) {
            self.epochs.push(epoch);
            if let Err(error) = self.learn(reader, epoch) {
                tracing::error!(error = &error as &dyn std::error::Error, %epoch, "Declarations unreadable");
            }
        }
        self.known.get(&(epoch, stream)).and_then(Option::as_ref)
    }

    fn learn(&mut self, reader: &mut Reader, epoch: EpochId) -> Result<(), StoreError> {
        for declaration in reader.streams(epoch)? {
            let schema = reader.schema(&declaration.schema)?;
            // What keeps history for late joiners: SAL's events, and topics of others that are taken as such.
            let keeps_history = declaration.kind == TopicKind::Event;
            let leading = schema
                .and_then(|schema| Leading::of(schema.text(), &declaration.topic, keeps_history));
            self.known.insert((epoch, declaration.number), leading);
        }
        Ok(())
    }
}

/// What the datums of a stream begin with: a repetition is known by it.
#[derive(Debug)]
enum Leading {
    Private(PrivateFields),
    /// Of a topic that is not SAL's and keeps history: its source time, with what follows.
    Times {
        topic: String,
    },
}

impl Leading {
    fn of(schema: &str, topic: &str, keeps_history: bool) -> Option<Self> {
        let json: Json = serde_json::from_str(schema).ok()?;
        let names = json.get("fields")?.as_array()?.iter();
        let names = names.map_while(|field| field.get("name")?.as_str());
        if names.take(2).eq([SOURCE_TIME, RECEIVED_TIME]) {
            let topic = topic.to_owned();
            return keeps_history.then_some(Self::Times { topic });
        }
        PrivateFields::of(&json, topic, keeps_history).map(Self::Private)
    }

    fn observe(&self, datum: &[u8], publishers: &mut Publishers) {
        let (observed, topic) = match self {
            Self::Private(fields) => (fields.read(datum, publishers), &fields.topic),
            Self::Times { topic } => (observe_times(topic, datum, publishers), topic),
        };
        if let Err(error) = observed {
            tracing::error!(%error, topic, "Record unreadable");
        }
    }
}

fn observe_times(topic: &str, datum: &[u8], publishers: &mut Publishers) -> Result<(), ByteError> {
    let mut bytes = Bytes::new(datum);
    let source = match bytes.zigzag()? {
        0 => None,
        _ => Some(UtcNanos(bytes.zigzag()?)),
    };
    let received = UtcNanos(bytes.zigzag()?);
    if let Some(source) = source {
        let topic = publishers.topic(topic);
        let content = &datum[bytes.position()..];
        let histories = &mut publishers.histories;
        histories.has_recorded(topic, source, content, received);
    }
    Ok(())
}

/// How the private fields of a datum are found without reading what follows them.
#[derive(Debug)]
struct PrivateFields {
    topic: String,
    keeps_history: bool,
    /// In order, up to the last private one.
    fields: Vec<(Kind, Role)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Boolean,
    Long,
    Double,
    Text,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Other,
    SalIndex,
    SndStamp,
    RcvStamp,
    SeqNum,
    Identity,
    Origin,
}

impl PrivateFields {
    fn of(schema: &Json, topic: &str, keeps_history: bool) -> Option<Self> {
        let older_index = format!("{}ID", topic.split('.').nth(2)?);
        let mut fields = Vec::new();
        for field in schema.get("fields")?.as_array()? {
            let name = field.get("name")?.as_str()?;
            let kind = match field.get("type")?.as_str() {
                Some("boolean") => Kind::Boolean,
                Some("long") => Kind::Long,
                Some("double") => Kind::Double,
                Some("string") => Kind::Text,
                // An array: the private fields lie before it in every generation of SAL.
                _ => break,
            };
            let role = match name {
                "salIndex" => Role::SalIndex,
                "private_sndStamp" => Role::SndStamp,
                "private_rcvStamp" => Role::RcvStamp,
                "private_seqNum" => Role::SeqNum,
                "private_identity" => Role::Identity,
                "private_origin" => Role::Origin,
                other if other == older_index => Role::SalIndex,
                _ => Role::Other,
            };
            fields.push((kind, role));
        }
        let last = fields.iter().rposition(|(_, role)| *role != Role::Other)?;
        fields.truncate(last + 1);
        let has_sequence = fields.iter().any(|(_, role)| *role == Role::SeqNum);
        has_sequence.then(|| Self {
            topic: topic.to_owned(),
            keeps_history,
            fields,
        })
    }

    fn read(&self, datum: &[u8], publishers: &mut Publishers) -> Result<(), ByteError> {
        let mut bytes = Bytes::new(datum);
        let topic = publishers.topic(&self.topic);
        let mut observed = Observed {
            topic,
            sal_index: None,
            identity: &[],
            origin: 0,
            sequence: 0,
            snd_stamp: 0.0,
            received: UtcNanos(0),
            keeps_history: self.keeps_history,
        };
        for (kind, role) in &self.fields {
            match (kind, role) {
                (Kind::Boolean, _) => drop(bytes.u8()?),
                (Kind::Long, Role::SalIndex) => {
                    observed.sal_index = i32::try_from(bytes.zigzag()?).ok()
                }
                (Kind::Long, Role::SeqNum) => observed.sequence = bytes.zigzag()?,
                (Kind::Long, Role::Origin) => observed.origin = bytes.zigzag()?,
                (Kind::Long, _) => drop(bytes.zigzag()?),
                (Kind::Double, Role::SndStamp) => observed.snd_stamp = f64::from_bits(bytes.u64()?),
                (Kind::Double, Role::RcvStamp) => {
                    let seconds = f64::from_bits(bytes.u64()?);
                    // TAI for UTC: half a minute does not matter to whom is forgotten after a month.
                    observed.received = UtcNanos((seconds * 1e9) as i64);
                }
                (Kind::Double, _) => drop(bytes.u64()?),
                (Kind::Text, role) => {
                    let length = usize::try_from(bytes.zigzag()?)
                        .map_err(|_| bytes.invalid("length of a text"))?;
                    let text = bytes.take(length)?;
                    if *role == Role::Identity {
                        observed.identity = text;
                    }
                }
            }
        }
        publishers.observe(observed);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::publishers::Verdict;

    #[test]
    fn private_fields_are_found_in_a_datum() {
        let schema = r#"{"name":"lsst.sal.Test.logevent_x","type":"record","fields":[
            {"name":"private_efdStamp","type":"double"},{"name":"private_kafkaStamp","type":"double"},
            {"name":"salIndex","type":"long"},{"name":"private_revCode","type":"string"},
            {"name":"private_sndStamp","type":"double"},{"name":"private_rcvStamp","type":"double"},
            {"name":"private_seqNum","type":"long"},{"name":"private_identity","type":"string"},
            {"name":"private_origin","type":"long"},{"name":"a","type":{"type":"array","items":"long"}}]}"#;
        let schema = serde_json::from_str(schema).unwrap();
        let fields = PrivateFields::of(&schema, "lsst.sal.Test.logevent_x", true).unwrap();
        let mut out = efd_shared_model::bytes::Writer::new();
        let text = |out: &mut efd_shared_model::bytes::Writer, text: &str| {
            out.zigzag(text.len() as i64);
            out.raw(text.as_bytes());
        };
        for stamp in [1.0f64, 2.0] {
            out.u64(stamp.to_bits());
        }
        out.zigzag(-3);
        text(&mut out, "90255bf1");
        for stamp in [1.8e9f64, 1.8e9] {
            out.u64(stamp.to_bits());
        }
        out.zigzag(41);
        text(&mut out, "Test:1");
        out.zigzag(77);
        let mut publishers = Publishers::new();
        fields.read(out.as_bytes(), &mut publishers).unwrap();
        publishers.mark_restored();
        let topic = publishers.topic("lsst.sal.Test.logevent_x");
        let again = Observed {
            topic,
            sal_index: Some(-3),
            identity: b"Test:1",
            origin: 77,
            sequence: 41,
            snd_stamp: 1.8e9,
            received: UtcNanos(0),
            keeps_history: true,
        };
        assert_eq!(publishers.observe(again), Verdict::Duplicate);
        for end in 0..out.len() {
            assert!(
                fields
                    .read(&out.as_bytes()[..end], &mut publishers)
                    .is_err(),
                "{end}"
            );
        }
    }

    #[test]
    fn times_and_what_follows_them_are_found_in_a_datum() {
        let schema = r#"{"name":"ros.x","type":"record","fields":[
            {"name":"efd_sourceTime","type":["null","long"]},{"name":"efd_receivedTime","type":"long"},
            {"name":"a","type":"long"}]}"#;
        assert!(Leading::of(schema, "ros.x", false).is_none());
        let leading = Leading::of(schema, "ros.x", true).unwrap();
        let datum = |source: Option<i64>, received: i64| {
            let mut out = efd_shared_model::bytes::Writer::new();
            out.zigzag(source.map_or(0, |_| 1));
            source.into_iter().for_each(|source| out.zigzag(source));
            out.zigzag(received);
            out.zigzag(7);
            out.into_bytes()
        };
        let mut publishers = Publishers::new();
        leading.observe(&datum(None, 1), &mut publishers);
        leading.observe(&datum(Some(1_000), 2), &mut publishers);
        let topic = publishers.topic("ros.x");
        let mut take = |source| {
            let histories = &mut publishers.histories;
            histories.has_recorded(topic, UtcNanos(source), &[14], UtcNanos(0))
        };
        assert!(take(1_000));
        assert!(!take(1_001));
        let whole = datum(Some(1_000), 2);
        for end in 0..4 {
            assert!(
                observe_times("ros.x", &whole[..end], &mut publishers).is_err(),
                "{end}"
            );
        }
    }
}
