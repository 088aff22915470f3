//! Whose rows they are: the identity columns of a file, read back.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampNanosecondArray,
};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Int32Type, Int64Type, Schema as ArrowSchema, TimestampNanosecondType,
};
use efd_shared_arrow::time_type;
use efd_shared_model::block::RECORDS_MAX;
use efd_shared_model::ids::EpochLane;
use efd_shared_model::{BlockNumber, LaneDigest};

use crate::table::TIME;

/// `time` and what identifies a row.
const COLUMNS: [&str; 6] = [
    TIME,
    "efd_edge",
    "efd_epoch",
    "efd_lane",
    "efd_block",
    "efd_index",
];

/// Names a record as long as its [`Lanes`] are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct RowId {
    pub(crate) lane: u32,
    pub(crate) index: u32,
    pub(crate) block: u64,
}

/// Each lane that was met has a number.
#[derive(Debug, Default)]
pub(crate) struct Lanes {
    known: Vec<Known>,
    last: usize,
}

#[derive(Debug)]
struct Known {
    lane: EpochLane,
    digest: LaneDigest,
    edge: String,
    epoch: String,
    text: String,
}

impl Lanes {
    pub(crate) fn lane(&self, id: RowId) -> EpochLane {
        self.known[id.lane as usize].lane
    }

    pub(crate) fn digest(&self, id: RowId) -> u64 {
        self.known[id.lane as usize]
            .digest
            .of(BlockNumber(id.block), id.index)
    }

    pub(crate) fn number(&mut self, lane: &EpochLane) -> u32 {
        let known = self.known.iter().position(|known| known.lane == *lane);
        known.unwrap_or_else(|| self.add(*lane)) as u32
    }

    fn add(&mut self, lane: EpochLane) -> usize {
        self.known.push(Known {
            lane,
            digest: LaneDigest::new(&lane),
            edge: lane.edge.to_string(),
            epoch: lane.epoch.to_string(),
            text: lane.lane.to_string(),
        });
        self.known.len() - 1
    }

    /// By the texts of a row; `None` where they are none.
    fn by_text(&mut self, edge: &str, epoch: &str, text: &str) -> Option<u32> {
        let is = |known: &Known| known.edge == edge && known.epoch == epoch && known.text == text;
        if !self.known.get(self.last).is_some_and(is) {
            let known = self.known.iter().position(is);
            self.last = match known {
                Some(known) => known,
                None => {
                    let lane = EpochLane {
                        edge: edge.parse().ok()?,
                        epoch: epoch.parse().ok()?,
                        lane: text.parse().ok()?,
                    };
                    // Only in the one form that we write.
                    let known = self.add(lane);
                    if !is(&self.known[known]) {
                        self.known.pop();
                        return None;
                    }
                    known
                }
            };
        }
        Some(self.last as u32)
    }
}

/// Where a file has them; `None` where it has not all of them.
pub(crate) fn columns_in(schema: &ArrowSchema) -> Option<Vec<usize>> {
    let columns = COLUMNS.iter().map(|name| schema.index_of(name).ok());
    columns.collect()
}

/// The columns of a batch, as the types that we write: a file that another program has written anew may have others.
pub(crate) struct Identities {
    times: TimestampNanosecondArray,
    texts: [StringArray; 3],
    blocks: Int64Array,
    indices: Int32Array,
}

impl Identities {
    pub(crate) fn of(batch: &RecordBatch) -> Result<Self, String> {
        let column = |name: &str, data_type: &DataType| -> Result<ArrayRef, String> {
            let column = batch
                .column_by_name(name)
                .ok_or_else(|| format!("it has no column {name}"))?;
            if column.data_type() == data_type {
                return Ok(Arc::clone(column));
            }
            cast(column, data_type).map_err(|error| format!("column {name}: {error}"))
        };
        let text = |name: &str| {
            let column = column(name, &DataType::Utf8)?;
            Ok::<_, String>(column.as_string::<i32>().clone())
        };
        Ok(Self {
            times: column(TIME, &time_type())?
                .as_primitive::<TimestampNanosecondType>()
                .clone(),
            texts: [text("efd_edge")?, text("efd_epoch")?, text("efd_lane")?],
            blocks: column("efd_block", &DataType::Int64)?
                .as_primitive::<Int64Type>()
                .clone(),
            indices: column("efd_index", &DataType::Int32)?
                .as_primitive::<Int32Type>()
                .clone(),
        })
    }

    pub(crate) fn len(&self) -> usize {
        self.times.len()
    }

    /// `None` where the row's identity cannot be one.
    pub(crate) fn row(&self, row: usize, lanes: &mut Lanes) -> Option<(i64, RowId)> {
        let Self {
            times,
            texts: [edges, epochs, lane_texts],
            blocks,
            indices,
        } = self;
        let columns: [&dyn Array; 6] = [times, edges, epochs, lane_texts, blocks, indices];
        if columns.iter().any(|column| column.is_null(row)) {
            return None;
        }
        let block = u64::try_from(blocks.value(row)).ok().filter(|&it| it > 0)?;
        let index = u32::try_from(indices.value(row)).ok();
        let index = index.filter(|&index| (index as usize) < RECORDS_MAX)?;
        let lane = lanes.by_text(edges.value(row), epochs.value(row), lane_texts.value(row))?;
        Some((times.value(row), RowId { lane, index, block }))
    }
}
