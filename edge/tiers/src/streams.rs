//! The telemetry streams of the blocks that are read, and the series of each.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use efd_shared_avro::RecordSchema;
use efd_shared_model::{EpochId, Schema, StreamDeclaration, StreamNumber, TopicKind};
use efd_shared_store::{Reader, StoreError};
use efd_shared_tiers::{CHANNELS_MAX, Measured, SeriesKey, Shape, TOPIC_BYTES_MAX};

use crate::open::SeriesNumber;
use crate::plan::Plan;

/// Of one instance: sequences of varying length make a series each.
const SHAPES_MAX: usize = 64;
/// Epochs whose streams are at hand: blocks come epoch after epoch.
const EPOCHS_MAX: usize = 4;

#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) topic: String,
    pub(crate) schema: Schema,
    pub(crate) measured: Measured,
    /// Its tiers, at least one.
    pub(crate) chain: Arc<[usize]>,
    /// Its first tier was not that before.
    pub(crate) is_first_new: bool,
    /// By instance; of each the shapes, most often one.
    series: HashMap<Option<i32>, Vec<(Shape, SeriesNumber)>>,
}

/// The series of a record.
pub(crate) enum Known {
    Series(SeriesNumber),
    New(Box<SeriesKey>),
    /// Too many shapes or channels, or too long a name.
    Unfit,
}

impl Stream {
    pub(crate) fn series_of(&self, instance: Option<i32>, shape: &Shape) -> Known {
        let shapes = self.series.get(&instance).map_or(&[][..], Vec::as_slice);
        match shapes.iter().find(|(known, _)| known == shape) {
            Some((_, series)) => Known::Series(*series),
            None if SHAPES_MAX <= shapes.len() => Known::Unfit,
            None if CHANNELS_MAX < shape.channels() => Known::Unfit,
            None if TOPIC_BYTES_MAX < self.topic.len() => Known::Unfit,
            None => Known::New(Box::new(SeriesKey {
                topic: self.topic.clone(),
                instance,
                schema: self.schema.fingerprint(),
                shape: shape.clone(),
            })),
        }
    }

    pub(crate) fn add(&mut self, instance: Option<i32>, shape: Shape, series: SeriesNumber) {
        self.series
            .entry(instance)
            .or_default()
            .push((shape, series));
    }
}

#[derive(Debug)]
pub(crate) struct Streams {
    plan: Arc<Plan>,
    /// `None`: nothing of it is measured, or it has no tier.
    known: HashMap<(EpochId, StreamNumber), Option<Stream>>,
    epochs: Vec<EpochId>,
}

impl Streams {
    pub(crate) fn new(plan: Arc<Plan>) -> Self {
        Self {
            plan,
            known: HashMap::new(),
            epochs: Vec::new(),
        }
    }

    /// `None`: nothing of it is measured, or it has no tier.
    pub(crate) fn get(
        &mut self,
        reader: &mut Reader,
        epoch: EpochId,
        number: StreamNumber,
    ) -> Result<Option<&mut Stream>, StoreError> {
        let name = (epoch, number);
        if !self.known.contains_key(&name) {
            self.learn(reader, epoch)?;
            // Not declared: said once.
            self.known.entry(name).or_insert_with(|| {
                tracing::error!(%epoch, stream = number.0, "A stream without a declaration has no tiers");
                None
            });
        }
        Ok(self.known.get_mut(&name).and_then(Option::as_mut))
    }

    fn learn(&mut self, reader: &mut Reader, epoch: EpochId) -> Result<(), StoreError> {
        if !self.epochs.contains(&epoch) {
            if EPOCHS_MAX <= self.epochs.len() {
                self.known.clear();
                self.epochs.clear();
            }
            self.epochs.push(epoch);
        }
        let declared = match reader.streams(epoch) {
            // Lost with `meta.db` and the segment that had it: its blocks have no part in the tiers.
            Err(StoreError::NoEpoch(_)) => Vec::new(),
            declared => declared?,
        };
        for declaration in declared {
            let name = (epoch, declaration.number);
            if let Entry::Vacant(place) = self.known.entry(name) {
                place.insert(stream(reader, &self.plan, declaration)?);
            }
        }
        Ok(())
    }
}

fn stream(
    reader: &mut Reader,
    plan: &Plan,
    declaration: StreamDeclaration,
) -> Result<Option<Stream>, StoreError> {
    let chain: Arc<[usize]> = plan.chain(&declaration.topic).into();
    if declaration.kind != TopicKind::Telemetry || chain.is_empty() {
        return Ok(None);
    }
    let Some(schema) = reader.schema(&declaration.schema)? else {
        tracing::error!(
            topic = declaration.topic,
            "A topic without its schema has no tiers"
        );
        return Ok(None);
    };
    let parsed = match RecordSchema::parse(schema.text()) {
        Ok(parsed) => Arc::new(parsed),
        Err(error) => {
            tracing::error!(%error, topic = declaration.topic, "A topic has no tiers");
            return Ok(None);
        }
    };
    let measured = Measured::new(parsed);
    Ok((!measured.is_empty()).then(|| Stream {
        is_first_new: plan.is_new(&declaration.topic, chain[0]),
        topic: declaration.topic,
        schema,
        measured,
        chain,
        series: HashMap::new(),
    }))
}
