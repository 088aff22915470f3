//! Which topics there are, and what their records are made of.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use efd_shared_avro::{Decoder, RecordSchema};
use efd_shared_model::{
    EpochId, Fingerprint, LaneKind, StreamDeclaration, StreamNumber, TopicKind,
};
use efd_shared_store::{Reader, StoreError};

use crate::raw::Wanted;

/// Epochs whose streams are at hand; raw data of a week have few.
const EPOCHS_MAX: usize = 32;

/// Declared streams, by epoch, as the buffer tells them.
#[derive(Debug, Default)]
pub(crate) struct Catalogue {
    epochs: BTreeMap<EpochId, Epoch>,
    decoders: HashMap<Fingerprint, Option<Decoder>>,
    uses: u64,
}

/// Whatever is declared will do.
const NO_STREAM: StreamNumber = StreamNumber(0);

#[derive(Debug)]
struct Epoch {
    by_topic: HashMap<String, Vec<StreamNumber>>,
    streams: BTreeMap<StreamNumber, StreamDeclaration>,
    /// A block that uses streams up to here was looked up, whether they are declared or not.
    known_through: StreamNumber,
    used: u64,
}

/// One topic.
#[derive(Clone, Debug)]
pub(crate) struct Topic {
    pub(crate) name: String,
    pub(crate) kind: TopicKind,
    /// Of its newest stream.
    pub(crate) schema: Arc<RecordSchema>,
}

impl Topic {
    pub(crate) fn component(&self) -> &str {
        component(&self.name)
    }

    pub(crate) fn lane(&self) -> LaneKind {
        self.kind.lane()
    }
}

pub(crate) fn kind_name(kind: TopicKind) -> &'static str {
    match kind {
        TopicKind::Telemetry => "telemetry",
        TopicKind::Event => "event",
        TopicKind::Command => "command",
        TopicKind::AckCmd => "acknowledgement",
        TopicKind::Loss | TopicKind::Parked | TopicKind::Reduced => "other",
    }
}

/// `MTMount` of `lsst.sal.MTMount.elevation`.
pub(crate) fn component(topic: &str) -> &str {
    topic.rsplit('.').nth(1).unwrap_or(topic)
}

impl Catalogue {
    /// Wanted streams of an epoch. `through`: the largest that a block uses.
    pub(crate) fn streams_of(
        &mut self,
        reader: &mut Reader,
        epoch: EpochId,
        through: StreamNumber,
        wanted: Wanted<'_>,
    ) -> Result<Vec<StreamNumber>, StoreError> {
        let epoch = self.epoch(reader, epoch, through)?;
        Ok(match wanted {
            Wanted::Topic(topic) => epoch.by_topic.get(topic).cloned().unwrap_or_default(),
            Wanted::Matching(is_wanted) => {
                let all = epoch.streams.iter();
                let wanted = all.filter(|(_, declared)| is_wanted(&declared.topic));
                wanted.map(|(number, _)| *number).collect()
            }
        })
    }

    pub(crate) fn declaration(
        &mut self,
        reader: &mut Reader,
        epoch: EpochId,
        stream: StreamNumber,
    ) -> Result<Option<&StreamDeclaration>, StoreError> {
        Ok(self.epoch(reader, epoch, stream)?.streams.get(&stream))
    }

    fn epoch(
        &mut self,
        reader: &mut Reader,
        id: EpochId,
        through: StreamNumber,
    ) -> Result<&Epoch, StoreError> {
        self.uses += 1;
        let is_known = |epoch: &Epoch| through <= epoch.known_through;
        if !self.epochs.get(&id).is_some_and(is_known) {
            let declared = match reader.streams(id) {
                Err(StoreError::NoEpoch(_)) => Vec::new(),
                declared => declared?,
            };
            if EPOCHS_MAX <= self.epochs.len() && !self.epochs.contains_key(&id) {
                let oldest = self.epochs.iter().min_by_key(|(_, epoch)| epoch.used);
                let oldest = oldest.map(|(id, _)| *id);
                oldest.and_then(|id| self.epochs.remove(&id));
            }
            self.epochs.insert(id, Epoch::new(declared, through));
        }
        let epoch = self.epochs.entry(id);
        let epoch = epoch.or_insert_with(|| Epoch::new(Vec::new(), through));
        epoch.used = self.uses;
        Ok(epoch)
    }

    /// Looks the epoch's streams up anew when it is asked for next.
    fn forget(&mut self, id: EpochId) {
        self.epochs.remove(&id);
    }

    /// The newest epochs of which blocks are held, newest first.
    fn held(reader: &Reader) -> Vec<EpochId> {
        let mut segments = reader.segments();
        segments.sort_by_key(|info| std::cmp::Reverse(info.newest()));
        let mut epochs = Vec::new();
        for info in segments {
            for log in info.contents.lanes.keys().rev() {
                if !epochs.contains(&log.epoch) {
                    epochs.push(log.epoch);
                }
            }
            if EPOCHS_MAX <= epochs.len() {
                break;
            }
        }
        epochs
    }

    /// Every topic whose records are held raw, by name; of each its newest stream.
    pub(crate) fn all(
        &mut self,
        reader: &mut Reader,
    ) -> Result<BTreeMap<String, StreamDeclaration>, StoreError> {
        let mut all = BTreeMap::new();
        for (age, id) in Self::held(reader).into_iter().enumerate() {
            if age == 0 {
                self.forget(id);
            }
            for declaration in self.epoch(reader, id, NO_STREAM)?.streams.values().rev() {
                if !all.contains_key(&declaration.topic) {
                    all.insert(declaration.topic.clone(), declaration.clone());
                }
            }
        }
        Ok(all)
    }

    /// `None` if nothing of it is held raw.
    pub(crate) fn topic(
        &mut self,
        reader: &mut Reader,
        name: &str,
    ) -> Result<Option<Topic>, StoreError> {
        // What is known first; then what may have been declared since.
        for look_again in [false, true] {
            for (age, id) in Self::held(reader).into_iter().enumerate() {
                if look_again && age == 0 {
                    self.forget(id);
                }
                let epoch = self.epoch(reader, id, NO_STREAM)?;
                let newest = epoch.by_topic.get(name).and_then(|streams| streams.last());
                let Some(declaration) = newest.and_then(|number| epoch.streams.get(number)) else {
                    continue;
                };
                let (kind, fingerprint) = (declaration.kind, declaration.schema);
                if let Some(decoder) = self.decoder(reader, &fingerprint)? {
                    return Ok(Some(Topic {
                        name: name.to_owned(),
                        kind,
                        schema: Arc::clone(decoder.schema()),
                    }));
                }
            }
        }
        Ok(None)
    }

    /// `None` where the schema is not here, or is none that we read.
    pub(crate) fn decoder(
        &mut self,
        reader: &mut Reader,
        fingerprint: &Fingerprint,
    ) -> Result<Option<Decoder>, StoreError> {
        if let Some(known) = self.decoders.get(fingerprint) {
            return Ok(known.clone());
        }
        let decoder = match reader.schema(fingerprint)? {
            Some(schema) => RecordSchema::parse(schema.text())
                .map(|parsed| Decoder::new(Arc::new(parsed)))
                .inspect_err(|error| tracing::warn!(%error, "A schema cannot be read"))
                .ok(),
            None => None,
        };
        self.decoders.insert(*fingerprint, decoder.clone());
        Ok(decoder)
    }
}

impl Epoch {
    fn new(declared: Vec<StreamDeclaration>, through: StreamNumber) -> Self {
        let mut epoch = Self {
            by_topic: HashMap::new(),
            streams: BTreeMap::new(),
            known_through: through,
            used: 0,
        };
        for declaration in declared {
            let number = declaration.number;
            epoch.known_through = epoch.known_through.max(number);
            epoch
                .by_topic
                .entry(declaration.topic.clone())
                .or_default()
                .push(number);
            epoch.streams.insert(number, declaration);
        }
        epoch
    }
}
