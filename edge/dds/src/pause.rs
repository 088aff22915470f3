//! Notices that this process stood still.
//!
//! Writers drop a reliable reader that does not answer for its lease, and after a stop of about that long we may believe
//! that we are still matched while nobody sends to us any more: the cure is a new participant.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::{clock, sched};

/// This process did not run for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pause {
    /// How long, as far as two looks at the clock can tell.
    pub length: Duration,
}

/// The pure part: told the time at short intervals, it says when one was too long.
#[derive(Clone, Debug)]
pub struct PauseDetector {
    longest_allowed: Duration,
    seen_at: Option<Duration>,
}

impl PauseDetector {
    /// Reports intervals above `longest_allowed`.
    pub fn new(longest_allowed: Duration) -> Self {
        Self {
            longest_allowed,
            seen_at: None,
        }
    }

    /// `now` counts from any fixed moment and never goes back; if it does, nothing is reported.
    pub fn observe(&mut self, now: Duration) -> Option<Pause> {
        let before = self.seen_at.replace(now)?;
        let length = now.checked_sub(before)?;
        (length > self.longest_allowed).then_some(Pause { length })
    }
}

/// A thread that looks at the clock eight times per lease and remembers the longest pause above half of it.
#[derive(Debug)]
pub struct PauseWatch {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    /// ns; 0 is none.
    longest_ns: AtomicU64,
    stop: AtomicBool,
}

impl PauseWatch {
    /// `realtime_priority` as that of the receive threads: they and the watch must stand still together, else load alone
    /// would look like a stop.
    pub fn start(lease: Duration, realtime_priority: Option<u8>) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let thread = std::thread::Builder::new()
            .name("dds-pause".into())
            .spawn({
                let shared = Arc::clone(&shared);
                move || watch(&shared, lease, realtime_priority)
            })?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// The longest pause since the last call.
    pub fn take(&self) -> Option<Pause> {
        let ns = self.shared.longest_ns.swap(0, Ordering::Relaxed);
        (ns > 0).then(|| Pause {
            length: Duration::from_nanos(ns),
        })
    }
}

impl Drop for PauseWatch {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // It cannot panic, and if it did there is nothing to add.
            drop(thread.join());
        }
    }
}

fn watch(shared: &Shared, lease: Duration, realtime_priority: Option<u8>) {
    if let Some(priority) = realtime_priority {
        sched::raise_this_thread(priority);
    }
    let mut detector = PauseDetector::new(lease / 2);
    while !shared.stop.load(Ordering::Relaxed) {
        let now = Duration::from_nanos(u64::try_from(clock::boot_ns()).unwrap_or(0));
        if let Some(pause) = detector.observe(now) {
            let ns = u64::try_from(pause.length.as_nanos()).unwrap_or(u64::MAX);
            shared.longest_ns.fetch_max(ns, Ordering::Relaxed);
        }
        std::thread::park_timeout(lease / 8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    #[test]
    fn only_a_long_interval_is_a_pause() {
        let mut detector = PauseDetector::new(MS(1000));
        assert_eq!(
            detector.observe(MS(5_000_000)),
            None,
            "the first look has nothing to compare with"
        );
        assert_eq!(detector.observe(MS(5_000_250)), None);
        assert_eq!(detector.observe(MS(5_001_250)), None, "exactly the limit");
        assert_eq!(
            detector.observe(MS(5_012_250)),
            Some(Pause { length: MS(11_000) })
        );
        assert_eq!(detector.observe(MS(5_012_500)), None, "reported once");
    }

    #[test]
    fn a_clock_that_goes_back_is_no_pause() {
        let mut detector = PauseDetector::new(MS(10));
        detector.observe(MS(1000));
        assert_eq!(detector.observe(MS(500)), None);
        assert_eq!(detector.observe(MS(505)), None);
    }

    #[test]
    fn the_watch_stops_when_dropped() {
        let watch = PauseWatch::start(Duration::from_secs(600), None).unwrap();
        assert_eq!(watch.take(), None);
        drop(watch);
    }
}
