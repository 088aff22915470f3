//! The thread that writes the log, and the queue to it.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Map;
use tracing::Level;

use super::LogFormat;
use super::collapse::Collapse;
use super::render::Line;
use crate::clock;

/// Lines that may wait for a slow reader of standard error.
const QUEUE_LINES_MAX: usize = 1024;

/// How long the end of the process waits for that reader.
const FLUSH_WITHIN: Duration = Duration::from_secs(2);

/// How long the thread sleeps when no window is open.
const IDLE: Duration = Duration::from_secs(3600);

#[derive(Debug)]
struct Shared {
    collapse: Mutex<Collapse>,
    /// Lines that found the queue full since it was last reported.
    dropped: AtomicU64,
}

impl Shared {
    fn collapse(&self) -> MutexGuard<'_, Collapse> {
        self.collapse.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Message {
    Line(Box<Line>),
    /// Write what is left, answer, and end.
    End(SyncSender<()>),
}

/// Where lines go in. Never waits.
#[derive(Debug, Clone)]
pub(super) struct Queue {
    shared: Arc<Shared>,
    sender: SyncSender<Message>,
}

impl Queue {
    pub(super) fn push(&self, line: Line, now: i64) {
        let lines = self.shared.collapse().admit(line, now);
        for line in lines {
            if self.sender.try_send(Message::Line(Box::new(line))).is_err() {
                self.shared.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// Writes out what is queued when dropped, waiting at most two seconds for the reader of the log.
#[must_use = "dropping it ends the log"]
pub struct LogGuard {
    sender: SyncSender<Message>,
    thread: Option<JoinHandle<()>>,
}

impl std::fmt::Debug for LogGuard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LogGuard")
    }
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        let (done, wait) = sync_channel(1);
        let deadline = clock::monotonic_now() + FLUSH_WITHIN.as_nanos() as i64;
        let mut message = Message::End(done);
        // The queue may be full; `send` would wait for ever on a reader that is stuck.
        loop {
            match self.sender.try_send(message) {
                Ok(()) => break,
                Err(std::sync::mpsc::TrySendError::Full(back))
                    if clock::monotonic_now() < deadline =>
                {
                    message = back;
                    std::thread::sleep(Duration::from_millis(5));
                }
                Err(_) => return,
            }
        }
        if wait.recv_timeout(FLUSH_WITHIN).is_ok()
            && let Some(thread) = self.thread.take()
        {
            // It has nothing left to do but end; a panic in it has been printed already.
            let _ended = thread.join().is_ok();
        }
    }
}

pub(super) fn start(
    format: LogFormat,
    colour: bool,
    out: Box<dyn Write + Send>,
) -> io::Result<(Queue, LogGuard)> {
    let shared = Arc::new(Shared {
        collapse: Mutex::default(),
        dropped: AtomicU64::new(0),
    });
    let (sender, receiver) = sync_channel(QUEUE_LINES_MAX);
    let writer = Writer {
        shared: Arc::clone(&shared),
        receiver,
        format,
        colour,
        out,
    };
    let thread = std::thread::Builder::new()
        .name("efd-log".to_owned())
        .spawn(move || writer.run())?;
    let queue = Queue {
        shared,
        sender: sender.clone(),
    };
    let guard = LogGuard {
        sender,
        thread: Some(thread),
    };
    Ok((queue, guard))
}

struct Writer {
    shared: Arc<Shared>,
    receiver: Receiver<Message>,
    format: LogFormat,
    colour: bool,
    out: Box<dyn Write + Send>,
}

impl Writer {
    fn run(mut self) {
        loop {
            match self.receiver.recv_timeout(self.patience()) {
                Ok(Message::Line(line)) => self.write(&line),
                Ok(Message::End(done)) => {
                    let lines = self.shared.collapse().close();
                    lines.iter().for_each(|line| self.write(line));
                    // Whoever asked may have given up waiting.
                    let _heard = done.send(()).is_ok();
                    return;
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            let lines = self.shared.collapse().expire(clock::monotonic_now());
            lines.iter().for_each(|line| self.write(line));
            self.report_dropped();
        }
    }

    /// Until the next window ends. A window opens with a line that comes through the queue and wakes the thread.
    fn patience(&self) -> Duration {
        let deadline = self.shared.collapse().deadline();
        deadline.map_or(IDLE, |deadline| {
            let nanos = deadline.saturating_sub(clock::monotonic_now());
            Duration::from_nanos(u64::try_from(nanos).unwrap_or(0)).min(IDLE)
        })
    }

    fn report_dropped(&mut self) {
        let dropped = self.shared.dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            let mut fields = Map::new();
            fields.insert("lines".to_owned(), dropped.into());
            let line = Line {
                time: clock::utc_now(),
                level: Level::WARN,
                target: module_path!().to_owned(),
                message: "Log lines dropped: the reader of the log is too slow".to_owned(),
                fields,
                spans: Vec::new(),
                repeated: 0,
            };
            self.write(&line);
        }
    }

    fn write(&mut self, line: &Line) {
        let text = line.render(self.format, self.colour);
        // There is nowhere to report that the log cannot be written.
        let _written = self.out.write_all(text.as_bytes()).is_ok();
    }
}
