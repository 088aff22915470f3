//! Files that go: segments that retention removes, and what a failed commit left behind.

use std::collections::BTreeSet;

use super::Store;
use crate::error::{StoreError, file, sql};
use crate::lane::SegmentKey;
use crate::segment::SegmentState;
use crate::segment::writer::delete_void;

impl Store {
    /// Removes a closed segment for good. Whoever removes what nobody else has commits the loss first.
    /// Works with no free space: what it may have to write fits the reserve.
    pub fn remove(&mut self, key: &SegmentKey) -> Result<(), StoreError> {
        let (info, is_newest) = {
            let catalogue = self.shared.read();
            let info = catalogue.segment(key).cloned();
            let log = catalogue.lanes.get(&key.lane);
            let newest = log.and_then(|log| log.segments.last_key_value());
            (info, newest.is_some_and(|(&id, _)| id == key.id))
        };
        let info = info.ok_or_else(|| StoreError::NoSegment(key.clone()))?;
        if info.state == SegmentState::Open {
            return Err(StoreError::StillOpen(key.clone()));
        }
        self.settle_before(key)?;
        if is_newest {
            // Its successor keeps the lane's head and values.
            self.begin_segment(&key.lane, info.newest())?;
        }
        // Where this fails too, a power cut makes the segment look lost until `note_removed` has succeeded.
        if let Err(error) = self.with_reserve(|store| store.meta.mark_leaving(key)) {
            tracing::warn!(
                segment = %key,
                error = &error as &dyn std::error::Error,
                "Noting a removal failed"
            );
        }
        if let Some(log) = self.shared.write().lanes.get_mut(&key.lane) {
            log.segments.remove(&key.id);
        }
        let path = self.shared.path(key);
        let unlinked = self.shared.disk.unlink_database(&path);
        if unlinked.is_err() && path.exists() {
            let mut catalogue = self.shared.write();
            let log = catalogue.lanes.entry(key.lane.clone()).or_default();
            log.segments.insert(key.id, info);
        } else {
            self.removed.insert(key.clone());
        }
        unlinked.map_err(file("remove", &path))?;
        self.note_removed(key)
    }

    /// Where a segment begins, the blocks of those before it end: without it what they have of failed commits would
    /// come back. It is deleted first.
    fn settle_before(&mut self, key: &SegmentKey) -> Result<(), StoreError> {
        let before = |keys: &BTreeSet<SegmentKey>| {
            let keys = keys.range(..key).filter(|earlier| earlier.lane == key.lane);
            keys.cloned().collect::<Vec<_>>()
        };
        for earlier in before(&self.void) {
            self.unlink_void(&earlier)?;
        }
        for earlier in before(&self.unfinished) {
            self.with_reserve(|store| store.settle(&earlier))?;
        }
        Ok(())
    }

    fn settle(&self, key: &SegmentKey) -> Result<(), StoreError> {
        let last = match self.shared.read().segment(key) {
            Some(info) if info.damaged.is_empty() => info.last,
            // Of a damaged one the rows stay as they are.
            Some(_) | None => return Ok(()),
        };
        let path = self.shared.path(key);
        let wrong = sql("close segment", &path);
        let writer = self.shared.disk.open_writer(&path)?;
        let transaction = writer.unchecked_transaction().map_err(&wrong)?;
        delete_void(&transaction, last).map_err(&wrong)?;
        transaction.commit().map_err(&wrong)
    }

    /// Makes a removal durable, then takes the segment out of the catalogue; where that fails, it is tried again.
    fn note_removed(&mut self, key: &SegmentKey) -> Result<(), StoreError> {
        let folder = self.shared.lane_folder(&key.lane);
        let synced = self.shared.disk.sync_dir(&folder);
        synced.map_err(file("remove", &self.shared.path(key)))?;
        match self.meta.drop_segment(key, true) {
            Ok(()) => {
                self.removed.remove(key);
            }
            Err(error) => tracing::warn!(
                segment = %key,
                error = &error as &dyn std::error::Error,
                "Taking a segment out of the catalogue failed; it is tried again"
            ),
        }
        Ok(())
    }

    pub(super) fn note_all_removed(&mut self) {
        for key in self.removed.clone() {
            if let Err(error) = self.note_removed(&key) {
                tracing::warn!(
                    segment = %key,
                    error = &error as &dyn std::error::Error,
                    "Making a removal durable failed; it is tried again"
                );
            }
        }
    }

    /// What stays is tried again.
    pub(super) fn remove_void(&mut self) {
        for key in self.void.clone() {
            if let Err(error) = self.unlink_void(&key) {
                tracing::warn!(
                    segment = %key,
                    error = &error as &dyn std::error::Error,
                    "Removing an unused segment failed; it is tried again"
                );
            }
        }
    }

    fn unlink_void(&mut self, key: &SegmentKey) -> Result<(), StoreError> {
        let (disk, path) = (&self.shared.disk, self.shared.path(key));
        disk.unlink_database(&path)
            .and_then(|()| disk.sync_dir(&self.shared.lane_folder(&key.lane)))
            .map_err(file("remove", &path))?;
        self.void.remove(key);
        Ok(())
    }
}
