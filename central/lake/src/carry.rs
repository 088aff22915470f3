//! Rows of damaged files that can be read and that no block has any more: they are kept.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use arrow::compute::{filter_record_batch, interleave_record_batch};
use arrow::datatypes::SchemaRef;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ParquetRecordBatchReaderBuilder};

use crate::commit::FileEntry;
use crate::error::LakeError;
use crate::examine::{is_of, label, open_live};
use crate::identity::{Identities, RowId};
use crate::lake::Lake;
use crate::layout::file_name;
use crate::restore::Work;
use crate::table::is_ours;
use crate::write::FileWriter;

const BATCH_ROWS: usize = 1024;
/// Decoded: what is sorted, and so written, as one file.
const RUN_BYTES: usize = 64 << 20;

pub(crate) struct Carrier<'a> {
    lake: &'a Lake,
}

/// Kept rows of one file.
struct Kept {
    columns: SchemaRef,
    schema: String,
    batches: Vec<RecordBatch>,
    /// Time, identity, batch, row.
    rows: Vec<(i64, RowId, usize, usize)>,
    bytes: usize,
}

impl<'a> Carrier<'a> {
    pub(crate) fn new(lake: &'a Lake) -> Self {
        Self { lake }
    }

    /// What cannot be read stays in the damaged file, which is kept as well.
    pub(crate) fn carry(
        &mut self,
        entry: &FileEntry,
        work: &mut Work<'_>,
    ) -> Result<(), LakeError> {
        let open = |path: &Path| self.lake.disk.open(path);
        let Ok(Some(file)) = open_live(&open, &entry.path) else {
            return Ok(());
        };
        let load = || ArrowReaderMetadata::load(&file, Default::default()).ok();
        let Some(loaded) = catch_unwind(AssertUnwindSafe(load)).ok().flatten() else {
            return Ok(());
        };
        if !is_ours(loaded.schema()) || !is_of(&loaded, work.part) {
            return Ok(());
        }
        let schema = label(&loaded, "efd.schema").unwrap_or_else(|| entry.schema.clone());
        let mut kept = Kept {
            columns: Arc::clone(loaded.schema()),
            schema,
            batches: Vec::new(),
            rows: Vec::new(),
            bytes: 0,
        };
        for group in 0..loaded.metadata().num_row_groups() {
            let read = || {
                let file = file.try_clone().ok()?;
                ParquetRecordBatchReaderBuilder::new_with_metadata(file, loaded.clone())
                    .with_row_groups(vec![group])
                    .with_batch_size(BATCH_ROWS)
                    .build()
                    .ok()
            };
            let Some(mut reader) = catch_unwind(AssertUnwindSafe(read)).ok().flatten() else {
                continue;
            };
            loop {
                let next = catch_unwind(AssertUnwindSafe(|| reader.next()));
                let Ok(Some(Ok(batch))) = next else {
                    break;
                };
                kept.add(&batch, work);
                if kept.bytes >= RUN_BYTES {
                    self.write(&mut kept, work)?;
                }
            }
        }
        self.write(&mut kept, work)
    }

    fn write(&self, kept: &mut Kept, work: &mut Work<'_>) -> Result<(), LakeError> {
        let mut rows = std::mem::take(&mut kept.rows);
        let batches = std::mem::take(&mut kept.batches);
        kept.bytes = 0;
        let Ok(fingerprint) = kept.schema.parse() else {
            return Ok(());
        };
        rows.sort_by_cached_key(|(time, id, ..)| {
            let lane = work.lanes.lane(*id);
            let texts = (
                lane.edge.to_string(),
                lane.epoch.to_string(),
                lane.lane.to_string(),
            );
            (*time, texts, id.block, id.index)
        });
        let (Some(first), Some(last)) = (rows.first(), rows.last()) else {
            return Ok(());
        };
        let added = &mut work.change.added;
        let name = file_name(self.lake.last_commit() + 1, added.len(), fingerprint);
        let mut file = FileEntry {
            path: format!("{}/{name}", work.part.folder()),
            site: work.part.site.to_string(),
            topic: work.part.topic.clone(),
            schema: kept.schema.clone(),
            rows: rows.len() as u64,
            bytes: 0,
            sha256: String::new(),
            time_min: first.0,
            time_max: last.0,
        };
        let level = self.lake.options.compression_level;
        let mut writer = FileWriter::create(&*self.lake.disk, &file, &kept.columns, level)?;
        let sources: Vec<_> = batches.iter().collect();
        let order: Vec<_> = rows
            .iter()
            .map(|(_, _, batch, row)| (*batch, *row))
            .collect();
        for picked in order.chunks(BATCH_ROWS) {
            let batch =
                interleave_record_batch(&sources, picked).map_err(|error| LakeError::Parquet {
                    path: file.path.clone().into(),
                    reason: error.to_string(),
                })?;
            writer.write(&batch)?;
        }
        (file.bytes, file.sha256) = writer.finish()?;
        added.push(file);
        for (time, id, ..) in rows {
            work.restored.rows_kept += 1;
            work.tally(time, id);
        }
        Ok(())
    }
}

impl Kept {
    fn add(&mut self, batch: &RecordBatch, work: &mut Work<'_>) {
        let Ok(identities) = Identities::of(batch) else {
            return;
        };
        if !is_plausible(batch) {
            return;
        }
        let at = self.batches.len();
        let mut mask = vec![false; identities.len()];
        let mut kept = 0;
        for (row, is_kept) in mask.iter_mut().enumerate() {
            let Some((time, id)) = identities.row(row, &mut work.lanes) else {
                continue;
            };
            let is_there = work.is_sound(id) || work.is_taken(id);
            if is_there || !work.part.has(time) || !work.kept.insert(id) {
                continue;
            }
            *is_kept = true;
            self.rows.push((time, id, at, kept));
            kept += 1;
        }
        if kept == 0 {
            return;
        }
        // The mask is as long as the batch: this cannot fail.
        if let Ok(rows) = filter_record_batch(batch, &BooleanArray::from(mask)) {
            self.bytes += rows.get_array_memory_size();
            self.batches.push(rows);
        }
    }
}

/// What our own columns can hold. A page that was damaged and decompresses all the same has something else, mostly.
fn is_plausible(batch: &RecordBatch) -> bool {
    let is_one_of = |name: &str, texts: &[&str]| {
        let column = batch.column_by_name(name);
        column.is_some_and(|column| {
            let column = column.as_string::<i32>();
            column.null_count() == 0 && column.iter().flatten().all(|text| texts.contains(&text))
        })
    };
    is_one_of("efd_class", &["live", "fill"])
        && is_one_of("efd_time_origin", &["snd_stamp", "source", "reception"])
}
