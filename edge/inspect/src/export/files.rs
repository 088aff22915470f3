//! The files of an export: which record goes to which, and when they are written.

use std::collections::{BTreeSet, HashMap};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread;

use efd_shared_avro::DatumError;
use efd_shared_model::{Fingerprint, RecordId, RecordRef};

use super::avro::AvroFile;
use super::csv::CsvFile;
use super::parquet::ParquetFile;
use super::{Format, Options};
use crate::fresh;
use crate::outcome::InspectError;
use crate::walk::Stream;

/// Of all rows that wait together. Writing some takes a few times of one file's part once more.
const WAITING_BYTES_MAX: usize = 16 << 20;
/// Files finished at the same time: each Parquet file holds a row group, and that as it is encoded.
const WORKERS_MAX: usize = 2;
/// Datums between two looks at what waits.
const LOOK_EVERY_BYTES: usize = 1 << 20;

#[derive(Debug)]
pub(super) struct Files {
    folder: PathBuf,
    format: Format,
    /// By the number of the stream, which counts those of this export.
    by_stream: Vec<Option<usize>>,
    by_topic: HashMap<(String, Fingerprint), usize>,
    names: BTreeSet<String>,
    files: Vec<TopicFile>,
    unseen_bytes: usize,
}

/// A file that is whole.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) topic: String,
    pub(super) schema: Fingerprint,
    pub(super) name: String,
    pub(super) records: u64,
    pub(super) bytes: u64,
}

#[derive(Debug)]
struct TopicFile {
    topic: String,
    schema: Fingerprint,
    name: String,
    records: u64,
    rows: Rows,
}

#[derive(Debug)]
enum Rows {
    Parquet(ParquetFile),
    Csv(CsvFile),
    Avro(AvroFile),
}

impl Files {
    /// `from` is what is inspected, and never written to.
    pub(super) fn create(from: &Path, options: &Options) -> Result<Self, InspectError> {
        let folder = &options.to;
        fresh::make(folder, from)?;
        Ok(Self {
            folder: folder.clone(),
            format: options.format,
            by_stream: Vec::new(),
            by_topic: HashMap::new(),
            names: BTreeSet::new(),
            files: Vec::new(),
            unseen_bytes: 0,
        })
    }

    /// The inner error: the datum does not fit its schema, and is left out.
    pub(super) fn add(
        &mut self,
        stream: &Stream,
        id: RecordId,
        record: &RecordRef<'_>,
    ) -> Result<Result<(), DatumError>, InspectError> {
        let index = self.file_of(stream)?;
        let file = &mut self.files[index];
        let added = match &mut file.rows {
            Rows::Parquet(rows) => rows.add(id, record),
            Rows::Csv(rows) => rows.add(id, record),
            Rows::Avro(rows) => rows.add(record),
        };
        if added.is_ok() {
            file.records += 1;
            self.unseen_bytes += record.datum.len();
        }
        if LOOK_EVERY_BYTES <= self.unseen_bytes {
            self.unseen_bytes = 0;
            self.make_room()?;
        }
        Ok(added)
    }

    fn file_of(&mut self, stream: &Stream) -> Result<usize, InspectError> {
        if let Some(&Some(index)) = self.by_stream.get(stream.number) {
            return Ok(index);
        }
        let key = (stream.topic.clone(), stream.schema.fingerprint());
        let index = match self.by_topic.get(&key) {
            Some(&index) => index,
            None => {
                self.files.push(self.open(stream));
                self.names
                    .insert(self.files[self.files.len() - 1].name.clone());
                self.by_topic.insert(key, self.files.len() - 1);
                self.files.len() - 1
            }
        };
        if self.by_stream.len() <= stream.number {
            self.by_stream.resize(stream.number + 1, None);
        }
        self.by_stream[stream.number] = Some(index);
        Ok(index)
    }

    fn open(&self, stream: &Stream) -> TopicFile {
        let schema = stream.schema.fingerprint();
        let extension = self.format.extension();
        let topic = plain(&stream.topic);
        let mut name = format!("{topic}.{extension}");
        let mut count = 1;
        while self.names.contains(&name) {
            let more = if count > 1 {
                format!("-{count}")
            } else {
                String::new()
            };
            name = format!("{topic}.{}{more}.{extension}", schema.short());
            count += 1;
        }
        let beside = |suffix: &str| self.folder.join(format!("{name}.{suffix}"));
        let partial = beside("partial");
        let spill = || Appending::new(beside("rows.partial"));
        let rows = match self.format {
            Format::Parquet => Rows::Parquet(ParquetFile::new(stream, spill(), partial)),
            Format::Csv => Rows::Csv(CsvFile::new(stream.decoder.clone(), spill(), partial)),
            Format::Avro => Rows::Avro(AvroFile::new(stream, Appending::new(partial))),
        };
        TopicFile {
            topic: stream.topic.clone(),
            schema,
            name,
            records: 0,
            rows,
        }
    }

    /// Writes the files with most rows until half of the memory is free.
    fn make_room(&mut self) -> Result<(), InspectError> {
        let mut waiting: Vec<(usize, usize)> = self
            .files
            .iter()
            .map(|file| file.rows.waiting_bytes())
            .enumerate()
            .map(|(index, bytes)| (bytes, index))
            .collect();
        let mut sum: usize = waiting.iter().map(|(bytes, _)| bytes).sum();
        if sum <= WAITING_BYTES_MAX {
            return Ok(());
        }
        waiting.sort_unstable();
        while WAITING_BYTES_MAX / 2 < sum
            && let Some((bytes, index)) = waiting.pop()
        {
            self.files[index].rows.write()?;
            sum -= bytes;
        }
        Ok(())
    }

    /// Gives the files whole and durable, by name. `done` is told how many are, of how many.
    pub(super) fn finish(
        self,
        mut done: impl FnMut(usize, usize) -> io::Result<()>,
    ) -> Result<Vec<Written>, InspectError> {
        let (count, folder) = (self.files.len(), self.folder);
        let workers = thread::available_parallelism().map_or(1, usize::from);
        let queue = Mutex::new(self.files.into_iter());
        let (sender, finished) = mpsc::channel();
        let mut all = Vec::new();
        thread::scope(|scope| {
            for _ in 0..workers.min(WORKERS_MAX) {
                let (queue, folder, sender) = (&queue, &folder, sender.clone());
                scope.spawn(move || {
                    // After an error nobody listens any more.
                    while let Some(file) = next(queue)
                        && sender.send(file.finish(folder)).is_ok()
                    {}
                });
            }
            drop(sender);
            for written in finished {
                all.push(written?);
                done(all.len(), count)?;
            }
            Ok::<_, InspectError>(())
        })?;
        fresh::sync(&folder)?;
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(all)
    }
}

fn next(queue: &Mutex<std::vec::IntoIter<TopicFile>>) -> Option<TopicFile> {
    queue.lock().unwrap_or_else(PoisonError::into_inner).next()
}

impl TopicFile {
    fn finish(self, folder: &Path) -> Result<Written, InspectError> {
        let partial = match self.rows {
            Rows::Parquet(rows) => rows.finish()?,
            Rows::Csv(rows) => rows.finish()?,
            Rows::Avro(rows) => rows.finish()?,
        };
        let path = folder.join(&self.name);
        let failed = |source| InspectError::Export {
            path: partial.clone(),
            source,
        };
        let bytes = fs::metadata(&partial).map_err(failed)?.len();
        fs::rename(&partial, &path).map_err(failed)?;
        Ok(Written {
            topic: self.topic,
            schema: self.schema,
            name: self.name,
            records: self.records,
            bytes,
        })
    }
}

impl Rows {
    fn waiting_bytes(&self) -> usize {
        match self {
            Self::Parquet(rows) => rows.waiting_bytes(),
            Self::Csv(rows) => rows.waiting_bytes(),
            Self::Avro(rows) => rows.waiting_bytes(),
        }
    }

    fn write(&mut self) -> Result<(), InspectError> {
        match self {
            Self::Parquet(rows) => rows.write(),
            Self::Csv(rows) => rows.write(),
            Self::Avro(rows) => rows.write(),
        }
    }
}

/// A topic's name on a damaged disk may be anything.
fn plain(topic: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let mut name: String = topic
        .chars()
        .map(|c| if is_plain(c) { c } else { '_' })
        .take(200)
        .collect();
    if name.is_empty() || name.starts_with('.') {
        name.insert(0, '_');
    }
    name
}

/// A file that grows at its end, and is open only meanwhile.
#[derive(Debug)]
pub(super) struct Appending {
    path: PathBuf,
    waiting: Vec<u8>,
}

impl Appending {
    const WAITING_MAX: usize = 1 << 20;

    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            path,
            waiting: Vec::new(),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn failed(&self, source: io::Error) -> InspectError {
        InspectError::Export {
            path: self.path.clone(),
            source,
        }
    }

    fn put(&mut self) -> io::Result<File> {
        let mut file = File::options().create(true).append(true).open(&self.path)?;
        file.write_all(&self.waiting)?;
        self.waiting = Vec::new();
        Ok(file)
    }

    /// Past what waits: the whole at once.
    pub(super) fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.put()?.write_all(bytes)
    }

    /// Everything is on the disk.
    pub(super) fn finish(mut self) -> Result<PathBuf, InspectError> {
        let synced = self.put().and_then(|file| file.sync_all());
        match synced {
            Ok(()) => Ok(self.path),
            Err(error) => Err(self.failed(error)),
        }
    }
}

impl Write for Appending {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.waiting.extend_from_slice(bytes);
        if Self::WAITING_MAX <= self.waiting.len() {
            self.put()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if !self.waiting.is_empty() {
            self.put()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_in_the_folder() {
        assert_eq!(
            plain("lsst.sal.MTMount.elevation"),
            "lsst.sal.MTMount.elevation"
        );
        assert_eq!(plain("../../etc/passwd"), "_.._.._etc_passwd");
        assert_eq!(plain("a\0b\u{e9}"), "a_b_");
        assert_eq!(plain(""), "_");
        assert_eq!(plain(&"x".repeat(999)).len(), 200);
    }
}
