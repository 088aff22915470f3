//! One lane's way out of the buffer: a walk in a thread of its own, which makes samples and stays a few blocks ahead.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Scope, ScopedJoinHandle};

use efd_shared_model::{RecordId, RecordRef};
use efd_shared_store::ReadOnlyStore;

use super::cast::{Cast, LeftOut, Source};
use super::merge::{Batch, Sample};
use crate::outcome::InspectError;
use crate::screen::Screen;
use crate::walk::{Filter, Stream, Taker, Walk};

/// Blocks that a lane may be ahead.
const AHEAD: usize = 2;

/// What a lane says.
pub(super) enum Word {
    Batch(Batch),
    /// A line for people: something of the buffer is damaged.
    Damaged(String),
    Note(String),
}

/// Records that are not published, by topic and reason.
pub(super) type AllLeftOut = BTreeMap<(String, LeftOut), u64>;

pub(super) struct LaneWalk<'scope> {
    pub(super) words: Receiver<Word>,
    thread: ScopedJoinHandle<'scope, Result<AllLeftOut, InspectError>>,
}

impl<'scope> LaneWalk<'scope> {
    /// `filter` names the lane.
    pub(super) fn start<'env>(
        scope: &'scope Scope<'scope, 'env>,
        store: &'env ReadOnlyStore,
        filter: &'env Filter,
        cast: &'env Mutex<Cast>,
    ) -> Self {
        let (sender, words) = sync_channel(AHEAD);
        let thread = scope.spawn(move || {
            let mut gatherer = Gatherer {
                cast,
                streams: BTreeMap::new(),
                batch: Batch::default(),
                left_out: AllLeftOut::new(),
                words: sender.clone(),
            };
            let lines = Lines {
                line: Vec::new(),
                words: sender,
            };
            let mut screen = Screen::new(io::sink(), lines, false);
            Walk::new(store, filter)?.run(store, &mut gatherer, &mut screen)?;
            Ok(gatherer.left_out)
        });
        Self { words, thread }
    }

    /// Ends it, wherever it is.
    pub(super) fn end(self) -> Result<AllLeftOut, InspectError> {
        drop(self.words);
        match self.thread.join() {
            // It could not say more, because nobody listens any more.
            Ok(Err(error)) if error.is_broken_pipe() => Ok(AllLeftOut::new()),
            Ok(ended) => ended,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

struct Gatherer<'a> {
    cast: &'a Mutex<Cast>,
    /// By the number of the stream in this walk.
    streams: BTreeMap<usize, Result<Arc<Source>, LeftOut>>,
    batch: Batch,
    left_out: AllLeftOut,
    words: SyncSender<Word>,
}

impl<O: Write> Taker<O> for Gatherer<'_> {
    fn record(
        &mut self,
        stream: &Stream,
        _id: RecordId,
        record: &RecordRef<'_>,
    ) -> Result<Result<(), String>, InspectError> {
        let source = self.streams.entry(stream.number).or_insert_with(|| {
            let mut cast = self.cast.lock().unwrap_or_else(PoisonError::into_inner);
            cast.resolve(&stream.declaration, stream.decoder.schema())
        });
        let source = match source {
            Ok(source) => source,
            Err(reason) => {
                let key = (stream.topic.clone(), reason.clone());
                *self.left_out.entry(key).or_default() += 1;
                return Ok(Ok(()));
            }
        };
        let mut payload = Vec::with_capacity(2 * record.datum.len());
        let encoded = match source.encoder.encode(record.datum, &mut payload) {
            Ok(encoded) => encoded,
            Err(error) => return Ok(Err(format!("a record makes no sample: {error}"))),
        };
        self.batch.0.push(Sample {
            time: record.stamps.event_time,
            source: source.number,
            payload: payload.into(),
            snd_stamp_at: encoded.snd_stamp_at,
        });
        Ok(Ok(()))
    }

    fn block_done(&mut self, _out: &mut O) -> Result<(), InspectError> {
        let batch = std::mem::take(&mut self.batch);
        if batch.0.is_empty() {
            return Ok(());
        }
        Ok(self.words.send(Word::Batch(batch)).map_err(nobody)?)
    }
}

/// Where the walk's screen writes its lines for people.
struct Lines {
    line: Vec<u8>,
    words: SyncSender<Word>,
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for &byte in bytes {
            if byte != b'\n' {
                self.line.push(byte);
                continue;
            }
            let line = String::from_utf8_lossy(&self.line).into_owned();
            self.line.clear();
            let word = match line.split_once(": ") {
                Some(("damaged", what)) => Word::Damaged(what.to_owned()),
                Some(("note", what)) => Word::Note(what.to_owned()),
                Some(_) | None => Word::Note(line),
            };
            self.words.send(word).map_err(nobody)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn nobody<T>(_: T) -> io::Error {
    io::ErrorKind::BrokenPipe.into()
}
