//! Declarations on their way to the new store: from the catalogue; where that is older than its segments, from those.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use efd_shared_model::{EdgeId, EpochDeclaration, EpochId, Schema, StreamDeclaration};
use efd_shared_store::{ReadOnlyStore, Reader, Store, StoreError};

use crate::walk::own_schema;

/// What the new store has been told.
#[derive(Debug, Default)]
pub(super) struct Declared {
    epochs: BTreeMap<EpochId, Epoch>,
    asked: BTreeSet<(EpochId, PathBuf)>,
}

#[derive(Debug)]
struct Epoch {
    edge: EdgeId,
    /// All streams from 1 up to this one are declared.
    through: u32,
    streams: BTreeSet<u32>,
}

/// Why a declaration is not carried over.
type Reasons = Vec<String>;

impl Declared {
    /// Everything that `reader` can tell.
    pub(super) fn carry_all(
        &mut self,
        reader: &mut Reader,
        target: &mut Store,
    ) -> Result<Reasons, StoreError> {
        let mut reasons = Reasons::new();
        let epochs = match reader.epochs() {
            Ok(epochs) => epochs,
            Err(error) => return Ok(vec![format!("epochs: {error}")]),
        };
        for epoch in epochs {
            reasons.extend(self.carry(&epoch, reader, target)?);
        }
        Ok(reasons)
    }

    /// Whether a block of that edge and epoch that uses streams up to `through` may be stored. The segment it is from
    /// is asked, if need be.
    pub(super) fn covers(
        &mut self,
        (edge, epoch, through): (EdgeId, EpochId, u32),
        segment: &Path,
        target: &mut Store,
    ) -> Result<bool, StoreError> {
        if !self.has(edge, epoch, through) && self.asked.insert((epoch, segment.to_owned())) {
            let alone = ReadOnlyStore::open(segment);
            let mut reader = match &alone {
                Ok(store) => store.reader(),
                // Its blocks were read: what its declarations lack is named with them.
                Err(_) => return Ok(false),
            };
            let epochs = reader.epochs().unwrap_or_default();
            if let Some(declaration) = epochs.iter().find(|it| it.epoch == epoch) {
                self.carry(declaration, &mut reader, target)?;
            }
        }
        Ok(self.has(edge, epoch, through))
    }

    fn has(&self, edge: EdgeId, epoch: EpochId, through: u32) -> bool {
        let known = self.epochs.get(&epoch);
        known.is_some_and(|known| known.edge == edge && through <= known.through)
    }

    fn carry(
        &mut self,
        epoch: &EpochDeclaration,
        reader: &mut Reader,
        target: &mut Store,
    ) -> Result<Reasons, StoreError> {
        let mut reasons = Reasons::new();
        let mut schemas: BTreeMap<_, Schema> = BTreeMap::new();
        let mut streams: Vec<StreamDeclaration> = Vec::new();
        let known = self.epochs.get(&epoch.epoch);
        for stream in reader.streams(epoch.epoch).unwrap_or_default() {
            if known.is_some_and(|known| known.streams.contains(&stream.number.0)) {
                continue;
            }
            let fingerprint = stream.schema;
            if let Entry::Vacant(place) = schemas.entry(fingerprint) {
                let known = reader.schema(&fingerprint).ok().flatten();
                let Some(schema) = known.or_else(|| own_schema(&fingerprint)) else {
                    reasons.push(format!(
                        "epoch {}, stream {} ({}): its schema {} cannot be read",
                        epoch.epoch,
                        stream.number.0,
                        stream.topic,
                        fingerprint.short()
                    ));
                    continue;
                };
                place.insert(schema);
            }
            streams.push(stream);
        }
        let schemas: Vec<_> = schemas.into_values().collect();
        match target.declare(epoch, &streams, &schemas) {
            Ok(()) => {}
            Err(error) if error.is_refusal() => {
                reasons.push(format!("epoch {}: {error}", epoch.epoch));
                return Ok(reasons);
            }
            Err(error) => return Err(error),
        }
        let known = self.epochs.entry(epoch.epoch).or_insert_with(|| Epoch {
            edge: epoch.edge,
            through: 0,
            streams: BTreeSet::new(),
        });
        known
            .streams
            .extend(streams.iter().map(|stream| stream.number.0));
        while known.streams.contains(&(known.through + 1)) {
            known.through += 1;
        }
        Ok(reasons)
    }
}
