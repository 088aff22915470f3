//! What `efd.meta` says, record by record: declarations, partitions, and which blocks the log has received or lost.
//!
//! The topic is compacted: of each key the last value stays. Keys are text, for people and their tools:
//!
//! | key | value |
//! |---|---|
//! | `schema/<fingerprint>` | the schema's text |
//! | `epoch/<epoch>` | version, [`EpochDeclaration::write`] |
//! | `stream/<epoch>/<number>` | version, [`StreamDeclaration::write`] |
//! | `partition/<site>.<shard>.<class>` | empty: the partition's topic exists |
//! | `received/<centre>/<edge>/<epoch>/<lane>` | version, [`RangeSet::write`]: what that centre made durable, some seconds old |
//! | `lost/<edge>/<epoch>/<lane>` | the same: to come again |
//! | `absent/<edge>/<epoch>/<lane>` | the same: lost, and the edge has them not either |
//!
//! `received` is behind after a crash: the edge then sends again what it may not have been told of, and consumers drop it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use efd_shared_model::bytes::{Reader, Writer};
use efd_shared_model::ids::EpochLane;
use efd_shared_model::{
    EpochDeclaration, EpochId, Fingerprint, RangeSet, Schema, StreamDeclaration, StreamNumber,
};

use crate::{Lost, Partition, Stream};

const VERSION: u8 = 1;
/// Of a lane; sets of healthy lanes have a few.
const RANGES_MAX: usize = 1 << 20;

/// One record of the topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) key: String,
    pub(super) value: Vec<u8>,
}

fn versioned(write: impl FnOnce(&mut Writer)) -> Vec<u8> {
    let mut out = Writer::new();
    out.u8(VERSION);
    write(&mut out);
    out.into_bytes()
}

impl Record {
    pub(super) fn schema(schema: &Schema) -> Self {
        Self {
            key: format!("schema/{}", schema.fingerprint()),
            value: schema.text().as_bytes().to_vec(),
        }
    }

    pub(super) fn epoch(epoch: &EpochDeclaration) -> Self {
        Self {
            key: format!("epoch/{}", epoch.epoch),
            value: versioned(|out| epoch.write(out)),
        }
    }

    pub(super) fn stream(epoch: EpochId, stream: &StreamDeclaration) -> Self {
        Self {
            key: format!("stream/{epoch}/{}", stream.number.0),
            value: versioned(|out| stream.write(out)),
        }
    }

    pub(super) fn partition(partition: &Partition) -> Self {
        Self {
            key: format!("partition/{partition}"),
            value: Vec::new(),
        }
    }

    pub(super) fn received(centre: &str, lane: &EpochLane, numbers: &RangeSet) -> Self {
        Self {
            key: format!("received/{centre}/{lane}"),
            value: versioned(|out| numbers.write(out)),
        }
    }

    pub(super) fn lost(lane: &EpochLane, numbers: &RangeSet) -> Self {
        Self {
            key: format!("lost/{lane}"),
            value: versioned(|out| numbers.write(out)),
        }
    }

    pub(super) fn absent(lane: &EpochLane, numbers: &RangeSet) -> Self {
        Self {
            key: format!("absent/{lane}"),
            value: versioned(|out| numbers.write(out)),
        }
    }
}

/// A record of the topic that says nothing: another program's, a newer build's, or damaged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("record `{key}` cannot be read: {reason}")]
pub(super) struct Unreadable {
    key: String,
    reason: String,
}

#[derive(Debug)]
struct EpochStreams {
    declarations: BTreeMap<StreamNumber, StreamDeclaration>,
    through: StreamNumber,
}

/// Everything up to a place in the topic.
#[derive(Debug, Default)]
pub(super) struct Table {
    schemas: HashMap<Fingerprint, Schema>,
    epochs: BTreeMap<EpochId, EpochDeclaration>,
    streams: BTreeMap<EpochId, EpochStreams>,
    /// Built when asked for.
    built: HashMap<(EpochId, StreamNumber), Arc<Stream>>,
    partitions: BTreeSet<Partition>,
    /// By centre.
    received: BTreeMap<String, Lost>,
    lost: Lost,
    absent: Lost,
}

impl Table {
    pub(super) fn apply(&mut self, key: &str, value: &[u8]) -> Result<(), Unreadable> {
        self.read(key, value).map_err(|reason| Unreadable {
            key: key.chars().take(120).collect(),
            reason,
        })
    }

    fn read(&mut self, key: &str, value: &[u8]) -> Result<(), String> {
        let (kind, name) = key.split_once('/').ok_or("its key has no `/`")?;
        let body = || match value.split_first() {
            Some((&VERSION, body)) => Ok(Reader::new(body)),
            Some((version, _)) => Err(format!("version {version}, this build reads {VERSION}")),
            None => Err("it is empty".to_owned()),
        };
        let text = |error: efd_shared_model::bytes::ByteError| error.to_string();
        let ranges = || RangeSet::read(&mut body()?, RANGES_MAX).map_err(text);
        let lane = |name: &str| {
            name.parse::<EpochLane>()
                .map_err(|_| "its key names no lane".to_owned())
        };
        match kind {
            "schema" => {
                let schema = str::from_utf8(value).map_err(|error| error.to_string())?;
                let schema = Schema::new(schema);
                if schema.fingerprint().to_string() != name {
                    return Err("its fingerprint is another".into());
                }
                self.schemas.insert(schema.fingerprint(), schema);
            }
            "epoch" => {
                let epoch = EpochDeclaration::read(&mut body()?).map_err(text)?;
                self.epochs.insert(epoch.epoch, epoch);
            }
            "stream" => {
                let epoch = name.split('/').next().unwrap_or_default();
                let epoch: EpochId = epoch.parse().map_err(|_| "its key names no epoch")?;
                let stream = StreamDeclaration::read(&mut body()?).map_err(text)?;
                let none = || EpochStreams {
                    declarations: BTreeMap::new(),
                    through: StreamNumber(0),
                };
                let streams = self.streams.entry(epoch).or_insert_with(none);
                streams.declarations.insert(stream.number, stream);
                while streams.declarations.contains_key(&streams.through.next()) {
                    streams.through = streams.through.next();
                }
            }
            "partition" => {
                let partition = name.parse().map_err(|_| "its key names no partition")?;
                self.partitions.insert(partition);
            }
            "received" => {
                let (centre, name) = name.split_once('/').ok_or("its key names no centre")?;
                let of_centre = self.received.entry(centre.to_owned()).or_default();
                of_centre.insert(lane(name)?, ranges()?);
            }
            "lost" => {
                self.lost.insert(lane(name)?, ranges()?);
            }
            "absent" => {
                self.absent.insert(lane(name)?, ranges()?);
            }
            _ => return Err("its kind is not known".into()),
        }
        Ok(())
    }

    pub(super) fn has_schema(&self, fingerprint: &Fingerprint) -> bool {
        self.schemas.contains_key(fingerprint)
    }

    pub(super) fn epochs(&self) -> impl Iterator<Item = &EpochDeclaration> {
        self.epochs.values()
    }

    pub(super) fn epoch(&self, epoch: EpochId) -> Option<&EpochDeclaration> {
        self.epochs.get(&epoch)
    }

    pub(super) fn declaration(
        &self,
        epoch: EpochId,
        number: StreamNumber,
    ) -> Option<&StreamDeclaration> {
        self.streams.get(&epoch)?.declarations.get(&number)
    }

    pub(super) fn streams_through(&self, epoch: EpochId) -> StreamNumber {
        let streams = self.streams.get(&epoch);
        streams.map_or(StreamNumber(0), |streams| streams.through)
    }

    pub(super) fn stream(&mut self, epoch: EpochId, number: StreamNumber) -> Option<Arc<Stream>> {
        if let Some(stream) = self.built.get(&(epoch, number)) {
            return Some(Arc::clone(stream));
        }
        let declaration = self.declaration(epoch, number)?.clone();
        let stream = Arc::new(Stream {
            site: self.epochs.get(&epoch)?.site.clone(),
            schema: self.schemas.get(&declaration.schema)?.clone(),
            declaration,
        });
        self.built.insert((epoch, number), Arc::clone(&stream));
        Some(stream)
    }

    pub(super) fn partitions(&self) -> &BTreeSet<Partition> {
        &self.partitions
    }

    /// Of one centre.
    pub(super) fn received_by(&self, centre: &str) -> Lost {
        self.received.get(centre).cloned().unwrap_or_default()
    }

    /// Of all centres but one.
    pub(super) fn received_by_others(&self, centre: &str, lane: &EpochLane) -> RangeSet {
        let others = self.received.iter().filter(|(name, _)| *name != centre);
        let mut received = RangeSet::new();
        for numbers in others.filter_map(|(_, lanes)| lanes.get(lane)) {
            received.union(numbers);
        }
        received
    }

    pub(super) fn received_lanes(&self) -> BTreeSet<EpochLane> {
        let lanes = self.received.values().flat_map(BTreeMap::keys);
        lanes.copied().collect()
    }

    /// Lost, whether the edge has it or not.
    pub(super) fn lost(&self, lane: &EpochLane) -> RangeSet {
        self.lost.get(lane).cloned().unwrap_or_default()
    }

    pub(super) fn absent(&self, lane: &EpochLane) -> RangeSet {
        self.absent.get(lane).cloned().unwrap_or_default()
    }

    /// Absent, and still lost.
    pub(super) fn absent_lanes(&self) -> Lost {
        let lanes = self.absent.iter();
        lanes
            .map(|(lane, numbers)| (*lane, numbers.intersection(&self.lost(lane))))
            .filter(|(_, numbers)| !numbers.is_empty())
            .collect()
    }

    /// Lost, and not absent at the edge too.
    pub(super) fn missing(&self, is_asked: impl Fn(&EpochLane) -> bool) -> Lost {
        let lanes = self.lost.iter().filter(|(lane, _)| is_asked(lane));
        lanes
            .map(|(lane, numbers)| (*lane, numbers.difference(&self.absent(lane))))
            .filter(|(_, numbers)| !numbers.is_empty())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use efd_shared_model::{ClockState, EdgeId, Lane, LaneKind, TopicKind};

    use super::*;

    fn lane() -> EpochLane {
        EpochLane {
            edge: EdgeId([1; 16]),
            epoch: EpochId([2; 16]),
            lane: Lane::new(LaneKind::Telemetry),
        }
    }

    fn epoch() -> EpochDeclaration {
        EpochDeclaration {
            edge: EdgeId([1; 16]),
            site: "summit".parse().unwrap(),
            epoch: EpochId([2; 16]),
            parent: None,
            began: ClockState::default(),
            software: "test".into(),
        }
    }

    fn stream(number: u32) -> StreamDeclaration {
        StreamDeclaration {
            number: StreamNumber(number),
            topic: "lsst.sal.Test.scalars".into(),
            dds_topic: "Test_scalars_1a2b3c4d".into(),
            dds_type: "Test::scalars_1a2b3c4d".into(),
            kind: TopicKind::Telemetry,
            schema: Schema::new("\"long\"").fingerprint(),
        }
    }

    fn records() -> Vec<Record> {
        let numbers: RangeSet = [1..=5, 9..=9].into_iter().collect();
        let schema = Schema::new("\"long\"");
        vec![
            Record::schema(&schema),
            Record::epoch(&epoch()),
            Record::stream(epoch().epoch, &stream(1)),
            Record::stream(epoch().epoch, &stream(2)),
            Record::partition(&"summit.0.live".parse().unwrap()),
            Record::received("a", &lane(), &numbers),
            Record::lost(&lane(), &numbers),
            Record::absent(&lane(), &RangeSet::from_iter([9..=9])),
        ]
    }

    /// The bytes are read by other builds: a change of any of them needs another version.
    #[test]
    fn records_are_as_they_were() {
        let text: Vec<String> = records()
            .iter()
            .map(|Record { key, value }| {
                let hex: String = value.iter().map(|byte| format!("{byte:02x}")).collect();
                format!("{key} {hex}\n")
            })
            .collect();
        assert_eq!(text.concat(), include_str!("meta.golden"));
    }

    #[test]
    fn a_table_reads_them_back() {
        let mut table = Table::default();
        for Record { key, value } in records() {
            table.apply(&key, &value).unwrap();
        }
        assert_eq!(table.epochs().collect::<Vec<_>>(), [&epoch()]);
        assert_eq!(table.streams_through(epoch().epoch), StreamNumber(2));
        let built = table.stream(epoch().epoch, StreamNumber(2)).unwrap();
        assert_eq!(built.declaration, stream(2));
        assert_eq!(built.site.as_str(), "summit");
        assert!(table.stream(epoch().epoch, StreamNumber(3)).is_none());
        assert_eq!(table.partitions().len(), 1);
        assert_eq!(table.received_by("a")[&lane()].to_string(), "{1-5 9}");
        assert_eq!(table.received_by_others("b", &lane()).member_count(), 6);
        assert!(table.received_by_others("a", &lane()).is_empty());
        assert_eq!(table.missing(|_| true)[&lane()].to_string(), "{1-5}");
        assert_eq!(table.absent_lanes()[&lane()].to_string(), "{9}");
    }

    /// A hole in the numbers ends what may be used.
    #[test]
    fn streams_count_without_gaps() {
        let mut table = Table::default();
        for number in [1, 3] {
            let Record { key, value } = Record::stream(epoch().epoch, &stream(number));
            table.apply(&key, &value).unwrap();
        }
        assert_eq!(table.streams_through(epoch().epoch), StreamNumber(1));
        let Record { key, value } = Record::stream(epoch().epoch, &stream(2));
        table.apply(&key, &value).unwrap();
        assert_eq!(table.streams_through(epoch().epoch), StreamNumber(3));
    }

    #[test]
    fn what_cannot_be_read_is_named_and_changes_nothing() {
        let mut table = Table::default();
        let schema = Record::schema(&Schema::new("1"));
        for (key, value, wanted) in [
            ("", &[][..], "no `/`"),
            ("moon/1", &[], "kind is not known"),
            ("epoch/1", &[], "it is empty"),
            ("epoch/1", &[9, 1], "version 9"),
            ("epoch/1", &[1, 1], "`epoch/1`"),
            (&schema.key, b"2", "fingerprint is another"),
            ("stream/x/1", &[1], "no epoch"),
            ("partition/summit.live", &[], "no partition"),
            ("lost/x", &[1, 0], "no lane"),
            ("received/x", &[1, 0], "no centre"),
        ] {
            let error = table.apply(key, value).unwrap_err().to_string();
            assert!(error.contains(wanted), "{key}: {error}");
        }
        assert_eq!(table.epochs().count(), 0);
    }
}
