//! From the rows of a run to the bytes of a file.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Int32Array, Int64Array, StringArray, TimestampNanosecondArray,
};
use arrow::datatypes::Schema as ArrowSchema;
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use efd_central_log::Class;
use efd_shared_arrow::leaves_max;
use efd_shared_avro::{Columns, Decoder};
use efd_shared_model::EventTimeOrigin;
use efd_shared_model::ids::EpochLane;
use parquet::arrow::ArrowWriter;
use parquet::errors::ParquetError;
use sha2::{Digest, Sha256};

use crate::buffer::{Row, Run};
use crate::chain::staged_path;
use crate::commit::FileEntry;
use crate::disk::Disk;
use crate::error::{BufferError, LakeError};
use crate::table::properties;

/// Datums that are decoded at a time: a column of them takes up to eight times as much, for each of its leaves.
const SLICE_BYTES: usize = 4 << 20;
/// However many leaves a column has.
const SLICE_BYTES_MIN: usize = 64 << 10;
/// Encoded: what the writer holds in memory, and what a query reads a column of at a time.
const ROW_GROUP_BYTES: usize = 64 << 20;

#[derive(Debug, thiserror::Error)]
enum WriteError {
    #[error(transparent)]
    Buffer(#[from] BufferError),
    #[error(transparent)]
    Arrow(#[from] ArrowError),
    #[error(transparent)]
    Parquet(#[from] ParquetError),
}

/// The text of an edge's lane, made once for all its rows.
#[derive(Debug)]
pub(crate) struct LaneText {
    edge: String,
    epoch: String,
    lane: String,
}

impl LaneText {
    pub(crate) fn new(lane: &EpochLane) -> Self {
        Self {
            edge: lane.edge.to_string(),
            epoch: lane.epoch.to_string(),
            lane: lane.lane.to_string(),
        }
    }

    /// The order of lanes in a file: by their text, so that it can be seen in the file itself.
    pub(crate) fn ranks(lanes: &[Self]) -> Vec<u32> {
        let mut order: Vec<_> = (0..lanes.len()).collect();
        order.sort_by_key(|&lane| {
            let Self { edge, epoch, lane } = &lanes[lane];
            (edge, epoch, lane)
        });
        let mut ranks = vec![0; lanes.len()];
        for (rank, lane) in order.into_iter().enumerate() {
            ranks[lane] = rank as u32;
        }
        ranks
    }
}

/// A file in the making, staged.
pub(crate) struct FileWriter {
    writer: ArrowWriter<Digesting<Box<dyn Write + Send>>>,
    staged: PathBuf,
}

impl FileWriter {
    /// The file's folder is made here, so that a disk too full for it is found before the commit.
    pub(crate) fn create(
        disk: &dyn Disk,
        file: &FileEntry,
        columns: &Arc<ArrowSchema>,
        level: i32,
    ) -> Result<Self, LakeError> {
        let place = Path::new(&file.path);
        let folder = place.parent().unwrap_or_else(|| Path::new(""));
        disk.create_dir_all(folder)
            .map_err(|error| LakeError::io("make", folder, error))?;
        let staged = staged_path(place);
        let created = disk
            .create(&staged)
            .map_err(|error| LakeError::io("create", &staged, error))?;
        let failed = |error: ParquetError| LakeError::Parquet {
            path: staged.clone(),
            reason: error.to_string(),
        };
        let properties = properties(columns, file, level).map_err(failed)?;
        let columns = Arc::clone(columns);
        let writer = ArrowWriter::try_new(Digesting::new(created), columns, Some(properties));
        Ok(Self {
            writer: writer.map_err(failed)?,
            staged,
        })
    }

    /// Writes the rows of `run`, which is sorted.
    pub(crate) fn write_run(
        &mut self,
        columns: &Arc<ArrowSchema>,
        decoder: &Decoder,
        run: &Run,
        lanes: &[LaneText],
    ) -> Result<(), LakeError> {
        let mut rest = run.rows.as_slice();
        let slice_bytes = slice_bytes(columns);
        while !rest.is_empty() {
            let mut bytes = 0;
            let fits = rest.iter().take_while(|row| {
                let first = bytes == 0;
                bytes += row.datum.len() + 1;
                first || bytes <= slice_bytes
            });
            let (slice, after) = rest.split_at(fits.count());
            let batch = batch(columns, decoder, slice, &run.bytes, lanes);
            self.write(&batch.map_err(|error| self.failed(error))?)?;
            rest = after;
        }
        Ok(())
    }

    pub(crate) fn write(&mut self, batch: &RecordBatch) -> Result<(), LakeError> {
        let written = self.writer.write(batch);
        written.map_err(|error| self.failed(error.into()))?;
        if self.writer.in_progress_size() > ROW_GROUP_BYTES {
            let flushed = self.writer.flush();
            flushed.map_err(|error| self.failed(error.into()))?;
        }
        Ok(())
    }

    /// Bytes of the file and their SHA-256.
    pub(crate) fn finish(mut self) -> Result<(u64, String), LakeError> {
        // Not `into_inner`, which writes the footer and makes text of an error of the disk.
        let finished = self.writer.finish();
        finished.map_err(|error| self.failed(error.into()))?;
        self.writer
            .inner_mut()
            .finish()
            .map_err(|error| LakeError::io("write", &self.staged, error))
    }

    /// The layers between make text of an error of the disk: it is told as what it was.
    fn failed(&self, error: WriteError) -> LakeError {
        if let Some(kind) = self.writer.inner().error {
            return LakeError::io("write", &self.staged, kind.into());
        }
        match error {
            WriteError::Buffer(error) => error.into(),
            WriteError::Arrow(error) => self.parquet(&error),
            WriteError::Parquet(error) => self.parquet(&error),
        }
    }

    fn parquet(&self, error: &dyn std::error::Error) -> LakeError {
        LakeError::Parquet {
            path: self.staged.clone(),
            reason: error.to_string(),
        }
    }
}

fn slice_bytes(columns: &ArrowSchema) -> usize {
    (SLICE_BYTES / leaves_max(columns)).max(SLICE_BYTES_MIN)
}

fn batch(
    columns: &Arc<ArrowSchema>,
    decoder: &Decoder,
    rows: &[Row],
    bytes: &[u8],
    lanes: &[LaneText],
) -> Result<RecordBatch, WriteError> {
    let mut fields = Columns::new(decoder.clone());
    for row in rows {
        fields
            .push(&bytes[row.datum.clone()])
            .map_err(BufferError::Datum)?;
    }
    let times = rows.iter().map(|row| row.time);
    let times = TimestampNanosecondArray::from_iter_values(times).with_timezone("UTC");
    let mut arrays: Vec<ArrayRef> = vec![Arc::new(times)];
    for (field, column) in decoder.schema().fields.iter().zip(fields.into_columns()) {
        arrays.push(efd_shared_arrow::array(field, column)?);
    }
    let text = |of: &dyn Fn(&Row) -> &'static str| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(rows.iter().map(of)))
    };
    let lane_text = |of: &dyn Fn(&LaneText) -> &str| -> ArrayRef {
        let texts = rows.iter().map(|row| of(&lanes[row.lane as usize]));
        Arc::new(StringArray::from_iter_values(texts))
    };
    let flag = |of: &dyn Fn(&Row) -> bool| -> ArrayRef {
        Arc::new(BooleanArray::from_iter(
            rows.iter().map(|row| Some(of(row))),
        ))
    };
    // In the order of `OUR_COLUMNS`.
    arrays.push(lane_text(&|lane| &lane.edge));
    arrays.push(lane_text(&|lane| &lane.epoch));
    arrays.push(lane_text(&|lane| &lane.lane));
    // Block numbers count from 1: 2^63 of them outlive the device.
    let blocks = rows.iter().map(|row| row.block as i64);
    arrays.push(Arc::new(Int64Array::from_iter_values(blocks)));
    // A block has at most 2^20 records.
    let indices = rows.iter().map(|row| row.index as i32);
    arrays.push(Arc::new(Int32Array::from_iter_values(indices)));
    arrays.push(text(&|row| match row.class {
        Class::Live => "live",
        Class::Fill => "fill",
    }));
    arrays.push(text(&|row| match row.origin {
        EventTimeOrigin::SndStamp => "snd_stamp",
        EventTimeOrigin::Source => "source",
        EventTimeOrigin::Reception => "reception",
    }));
    arrays.push(flag(&|row| row.implausible));
    arrays.push(flag(&|row| row.latin1));
    Ok(RecordBatch::try_new(Arc::clone(columns), arrays)?)
}

pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Counts and digests what goes through to the file, and keeps the file system's own error, which the layers above
/// would turn into text.
pub(crate) struct Digesting<W> {
    inner: W,
    digest: Sha256,
    bytes: u64,
    error: Option<io::ErrorKind>,
}

impl<W: Write> Digesting<W> {
    pub(crate) fn new(inner: W) -> Self {
        Self {
            inner,
            digest: Sha256::new(),
            bytes: 0,
            error: None,
        }
    }

    /// Bytes and their SHA-256 in hexadecimal.
    pub(crate) fn finish(&mut self) -> io::Result<(u64, String)> {
        self.inner.flush()?;
        Ok((self.bytes, hexadecimal(&self.digest.finalize_reset())))
    }

    fn note<T>(&mut self, result: io::Result<T>) -> io::Result<T> {
        result.inspect_err(|error| self.error = Some(error.kind()))
    }
}

impl<W: Write> Write for Digesting<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write_all(bytes);
        self.note(written)?;
        self.digest.update(bytes);
        self.bytes += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let flushed = self.inner.flush();
        self.note(flushed)
    }
}
