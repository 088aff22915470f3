//! The files of an export: which record goes to which, and when they are written.

use std::collections::{BTreeSet, HashMap};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread;

use efd_shared_avro::DatumError;
use efd_shared_model::{Fingerprint, RecordId, RecordRef};

use super::spill::{Spill, SpillFile};
use super::{Format, Options, avro, csv, parquet};
use crate::fresh;
use crate::outcome::InspectError;
use crate::walk::Stream;

/// Of all rows that wait together. Writing some takes a few times of one file's part once more.
const WAITING_BYTES_MAX: usize = 16 << 20;
/// Files finished at the same time: each Parquet file holds a row group, and that as it is encoded.
const WORKERS_MAX: usize = 2;
/// Files made and not yet durable: the disk is waited for while others are made.
const MADE_MAX: usize = 16;
/// Datums between two looks at what waits.
const LOOK_EVERY_BYTES: usize = 1 << 20;

#[derive(Debug)]
pub(super) struct Files {
    folder: PathBuf,
    format: Format,
    spill: SpillFile,
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
    stream: Stream,
    name: String,
    records: u64,
    rows: Spill,
}

/// Complete, and not yet durable.
#[derive(Debug)]
struct MadeFile {
    topic: String,
    schema: Fingerprint,
    name: String,
    records: u64,
    output: Output,
}

impl Files {
    /// `from` is what is inspected, and never written to.
    pub(super) fn create(from: &Path, options: &Options) -> Result<Self, InspectError> {
        let folder = &options.to;
        fresh::make(folder, from)?;
        begin(folder)?;
        Ok(Self {
            folder: folder.clone(),
            format: options.format,
            spill: SpillFile::create(folder)?,
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
        if let Err(error) = stream.decoder.check(record.datum) {
            return Ok(Err(error));
        }
        file.rows.add(id, record);
        file.records += 1;
        self.unseen_bytes += record.datum.len();
        if LOOK_EVERY_BYTES <= self.unseen_bytes {
            self.unseen_bytes = 0;
            self.make_room()?;
        }
        Ok(Ok(()))
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
        TopicFile {
            stream: stream.clone(),
            name,
            records: 0,
            rows: Spill::new(),
        }
    }

    /// Writes the rows of the topics with most until half of the memory is free.
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
            self.files[index].rows.write(&mut self.spill)?;
            sum -= bytes;
        }
        Ok(())
    }

    /// Gives the files whole and durable, by name. `done` is told how many are, of how many.
    pub(super) fn finish(
        mut self,
        mut done: impl FnMut(usize, usize) -> io::Result<()>,
    ) -> Result<Vec<Written>, InspectError> {
        for file in &mut self.files {
            file.rows.write(&mut self.spill)?;
        }
        let (count, folder) = (self.files.len(), self.folder);
        let workers = thread::available_parallelism().map_or(1, usize::from);
        let queue = Mutex::new(self.files.into_iter());
        let (sender, made) = mpsc::sync_channel(MADE_MAX);
        let mut all = Vec::new();
        thread::scope(|scope| {
            for _ in 0..workers.min(WORKERS_MAX) {
                let (queue, folder, sender) = (&queue, &folder, sender.clone());
                let (format, spill) = (self.format, &self.spill);
                scope.spawn(move || {
                    // After an error nobody listens any more.
                    while let Some(file) = next(queue)
                        && sender.send(file.make(format, spill, folder)).is_ok()
                    {
                    }
                });
            }
            drop(sender);
            for file in made {
                all.push(file?.finish(&folder)?);
                done(all.len(), count)?;
            }
            Ok::<_, InspectError>(())
        })?;
        fresh::sync(&folder)?;
        end(&folder)?;
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(all)
    }
}

fn next(queue: &Mutex<std::vec::IntoIter<TopicFile>>) -> Option<TopicFile> {
    queue.lock().unwrap_or_else(PoisonError::into_inner).next()
}

impl TopicFile {
    fn make(
        self,
        format: Format,
        spill: &SpillFile,
        folder: &Path,
    ) -> Result<MadeFile, InspectError> {
        let rows = self.rows.rows(spill)?;
        let mut output = Output::create(folder.join(format!("{}.partial", self.name)))?;
        match format {
            Format::Parquet => parquet::write(&self.stream, rows, &mut output),
            Format::Csv => csv::write(&self.stream, rows, &mut output),
            Format::Avro => avro::write(&self.stream, rows, &mut output),
        }?;
        Ok(MadeFile {
            schema: self.stream.schema.fingerprint(),
            topic: self.stream.topic,
            name: self.name,
            records: self.records,
            output,
        })
    }
}

impl MadeFile {
    fn finish(self, folder: &Path) -> Result<Written, InspectError> {
        let bytes = self.output.finish(&folder.join(&self.name))?;
        Ok(Written {
            topic: self.topic,
            schema: self.schema,
            name: self.name,
            records: self.records,
            bytes,
        })
    }
}

/// There from the first moment to the last: two exports never share a folder, and what an export that was interrupted
/// leaves is known for it.
pub(crate) const UNFINISHED: &str = "export.partial";

fn begin(folder: &Path) -> Result<(), InspectError> {
    let path = folder.join(UNFINISHED);
    match File::create_new(&path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            Err(InspectError::Unfinished {
                path: folder.to_owned(),
            })
        }
        Err(source) => Err(InspectError::Export { path, source }),
    }
}

fn end(folder: &Path) -> Result<(), InspectError> {
    let path = folder.join(UNFINISHED);
    let removed = fs::remove_file(&path);
    removed.map_err(|source| InspectError::Export { path, source })?;
    fresh::sync(folder)
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

/// A file under way.
#[derive(Debug)]
pub(super) struct Output {
    file: File,
    path: PathBuf,
}

impl Output {
    fn create(path: PathBuf) -> Result<Self, InspectError> {
        match File::create_new(&path) {
            Ok(file) => Ok(Self { file, path }),
            Err(source) => Err(InspectError::Export { path, source }),
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

    /// Everything is on the disk, under its name. Gives its bytes.
    fn finish(self, name: &Path) -> Result<u64, InspectError> {
        let bytes = self
            .file
            .sync_all()
            .and_then(|()| fs::rename(&self.path, name))
            .and_then(|()| self.file.metadata());
        match bytes {
            Ok(metadata) => Ok(metadata.len()),
            Err(source) => Err(self.failed(source)),
        }
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
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
