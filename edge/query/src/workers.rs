//! The threads that answer: few, of low priority, with a short queue before them.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::error::QueryError;
use crate::library::{Budget, Library};

/// Of questions that wait for a thread.
const WAITING_MAX: usize = 64;

type Job = Box<dyn FnOnce(&mut Library) + Send>;

/// Cheap to clone.
#[derive(Clone)]
pub struct Workers {
    jobs: SyncSender<Job>,
    pub(crate) counters: Arc<Counters>,
}

impl fmt::Debug for Workers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Workers")
            .field("counters", &self.counters)
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
pub struct Counters {
    pub answered: AtomicU64,
    /// With an error, whatever it was.
    pub refused: AtomicU64,
    pub waiting: AtomicU64,
}

/// Questions that wait for the threads.
#[derive(Debug)]
pub struct Waiting(Receiver<Job>);

impl Workers {
    /// Questions may come before there are threads: they wait.
    pub fn new() -> (Self, Waiting) {
        let (jobs, waiting) = sync_channel::<Job>(WAITING_MAX);
        let workers = Self {
            jobs,
            counters: Arc::default(),
        };
        (workers, Waiting(waiting))
    }

    pub(crate) fn ask(
        &self,
        job: impl FnOnce(&mut Library) + Send + 'static,
    ) -> Result<(), QueryError> {
        let counters = Arc::clone(&self.counters);
        counters.waiting.fetch_add(1, Ordering::Relaxed);
        let counted = move |library: &mut Library| {
            counters.waiting.fetch_sub(1, Ordering::Relaxed);
            job(library);
        };
        self.jobs.try_send(Box::new(counted)).map_err(|error| {
            self.counters.waiting.fetch_sub(1, Ordering::Relaxed);
            match error {
                TrySendError::Full(_) => QueryError::Busy {
                    waiting: WAITING_MAX,
                },
                TrySendError::Disconnected(_) => QueryError::Gone,
            }
        })
    }
}

impl Waiting {
    /// One thread for each library, of so many nice levels. They end when the last of the [`Workers`] has gone.
    pub fn start(self, libraries: Vec<Library>, nice: i32) -> io::Result<()> {
        let waiting = Arc::new(Mutex::new(self.0));
        for (number, library) in libraries.into_iter().enumerate() {
            let waiting = Arc::clone(&waiting);
            std::thread::Builder::new()
                .name(format!("query-{number}"))
                .spawn(move || work(library, &waiting, nice))?;
        }
        Ok(())
    }
}

fn work(mut library: Library, waiting: &Mutex<Receiver<Job>>, nice: i32) {
    efd_shared_daemon::idle::run_nice(nice);
    loop {
        // One waits for the next job, the others for the lock.
        let job = waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .recv();
        let Ok(job) = job else {
            return;
        };
        // A panic is a defect of one answer: its request sees that nobody answers.
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| job(&mut library)));
        if outcome.is_err() {
            tracing::error!("Answering a question panicked");
        }
    }
}

/// Ends work that takes too long, and work that nobody waits for.
#[derive(Debug)]
pub(crate) struct Deadline {
    at: Instant,
    within: Duration,
    gone: Arc<AtomicBool>,
}

impl Deadline {
    /// From when the question was asked, waiting included.
    pub(crate) fn new(asked: Instant, within: Duration, gone: Arc<AtomicBool>) -> Self {
        Self {
            at: asked + within,
            within,
            gone,
        }
    }
}

impl Budget for Deadline {
    #[expect(clippy::disallowed_methods, reason = "a deadline is of the real clock")]
    fn check(&self) -> Result<(), QueryError> {
        if self.gone.load(Ordering::Relaxed) {
            return Err(QueryError::Gone);
        }
        if self.at < Instant::now() {
            return Err(QueryError::TooLong {
                within: self.within,
            });
        }
        Ok(())
    }
}
