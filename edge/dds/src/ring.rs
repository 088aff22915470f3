//! The bounded way from the receive threads to one consumer.
//!
//! A list linked through the samples themselves: producers put a chain of new samples on top with one compare-and-swap, the
//! consumer takes the whole list with one swap and turns it round. Nothing is allocated, nobody waits, and there is no
//! ABA problem, as nothing is ever taken off singly. Samples keep the order in which one thread brought them.
//!
//! `held <= limits` at all times, where a sample counts from before it is put in until the consumer drops it: the limits bound the
//! memory of samples in the ring *and* in the consumer's hands.

mod sample;
mod wake;

use std::collections::BTreeMap;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicPtr, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

pub use self::sample::{InstanceState, Sample};
use self::wake::Wake;
use crate::clock;
use crate::raw::{Link, RawData};

/// How much the ring holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingLimits {
    /// Bytes of payloads and of what goes with each (at most 192). Defaults to 64 MiB.
    pub bytes_max: usize,
    /// Defaults to 262,144.
    pub samples_max: usize,
    /// Once woken, the consumer rests this long before it takes what has come together, so that a busy bus costs one wake-up per
    /// batch, not per sample. Defaults to 1 ms; adds at most that to the latency.
    pub linger: Duration,
}

impl Default for RingLimits {
    fn default() -> Self {
        Self {
            bytes_max: 64 << 20,
            samples_max: 1 << 18,
            linger: Duration::from_millis(1),
        }
    }
}

/// A reader, by a number that is unique in the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReaderId(pub u32);

/// The producers' end; readers are created with it. Clones are the same ring.
#[derive(Clone, Debug)]
pub struct Ring {
    shared: Arc<Shared>,
}

/// Totals since the ring was made, and what it holds at the moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RingCounters {
    /// Samples put in.
    pub received: u64,
    /// Their payload bytes.
    pub received_bytes: u64,
    /// Samples not put in, as the ring was full or its consumer gone.
    pub dropped_full: u64,
    /// Disposes and unregisters seen.
    pub invalid: u64,
    /// Samples held: in the ring, or taken and not dropped yet.
    pub held_samples: usize,
    /// The memory they take, bytes.
    pub held_bytes: usize,
}

/// What one reader lost to a full ring since the last [`Consumer::take_dropped`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dropped {
    /// Which reader; it may be gone by now.
    pub reader: ReaderId,
    /// Samples. Never too few: each is reported exactly once.
    pub count: u64,
    /// Reception of the first, ns since 1970 (UTC). At most too early.
    pub first_ns: i64,
    /// Reception of the last, ns since 1970 (UTC). At most too late.
    pub last_ns: i64,
}

#[derive(Debug)]
pub(crate) struct Shared {
    head: AtomicPtr<RawData>,
    held_bytes: AtomicUsize,
    held_samples: AtomicUsize,
    /// The consumer is gone; nothing is put in any more.
    deserted: AtomicBool,
    limits: RingLimits,
    wake: Wake,
    interrupted: AtomicBool,
    received: AtomicU64,
    received_bytes: AtomicU64,
    dropped_full: AtomicU64,
    invalid: AtomicU64,
    /// Only creation, deletion and `take_dropped` lock it.
    readers: Mutex<BTreeMap<ReaderId, Arc<ReaderTally>>>,
}

/// One reader's counters, written by its listener.
#[derive(Debug)]
pub(crate) struct ReaderTally {
    pub(crate) received: AtomicU64,
    pub(crate) received_bytes: AtomicU64,
    pub(crate) invalid: AtomicU64,
    pub(crate) dropped_full: AtomicU64,
    unreported: AtomicU64,
    /// Times of the unreported drops; `i64::MAX` and `i64::MIN` when there are none.
    first_ns: AtomicI64,
    last_ns: AtomicI64,
    /// The span reported last; touched by `take_dropped` only.
    reported_first_ns: AtomicI64,
    reported_last_ns: AtomicI64,
    deleted: AtomicBool,
}

impl Default for ReaderTally {
    fn default() -> Self {
        Self {
            received: AtomicU64::new(0),
            received_bytes: AtomicU64::new(0),
            invalid: AtomicU64::new(0),
            dropped_full: AtomicU64::new(0),
            unreported: AtomicU64::new(0),
            first_ns: AtomicI64::new(i64::MAX),
            last_ns: AtomicI64::new(i64::MIN),
            reported_first_ns: AtomicI64::new(0),
            reported_last_ns: AtomicI64::new(0),
            deleted: AtomicBool::new(false),
        }
    }
}

impl ReaderTally {
    /// The span is widened before the count grows, so a count that is taken is never outside the span reported with it or
    /// the one before.
    fn drop_one(&self, received_ns: i64) {
        self.first_ns.fetch_min(received_ns, Ordering::Relaxed);
        self.last_ns.fetch_max(received_ns, Ordering::Relaxed);
        self.dropped_full.fetch_add(1, Ordering::Relaxed);
        self.unreported.fetch_add(1, Ordering::Release);
    }

    fn take_dropped(&self, reader: ReaderId) -> Option<Dropped> {
        let count = self.unreported.swap(0, Ordering::Acquire);
        if count == 0 {
            return None;
        }
        let mut first_ns = self.first_ns.swap(i64::MAX, Ordering::Relaxed);
        let mut last_ns = self.last_ns.swap(i64::MIN, Ordering::Relaxed);
        // A drop between the two swaps of an earlier call left its time in the span reported then.
        if first_ns == i64::MAX {
            first_ns = self.reported_first_ns.load(Ordering::Relaxed);
        }
        if last_ns == i64::MIN {
            last_ns = self.reported_last_ns.load(Ordering::Relaxed);
        }
        self.reported_first_ns.store(first_ns, Ordering::Relaxed);
        self.reported_last_ns.store(last_ns, Ordering::Relaxed);
        Some(Dropped {
            reader,
            count,
            first_ns: first_ns.min(last_ns),
            last_ns: last_ns.max(first_ns),
        })
    }
}

impl Ring {
    /// A ring and its one consumer.
    pub fn new(limits: RingLimits) -> (Self, Consumer) {
        let shared = Arc::new(Shared {
            head: AtomicPtr::new(ptr::null_mut()),
            held_bytes: AtomicUsize::new(0),
            held_samples: AtomicUsize::new(0),
            deserted: AtomicBool::new(false),
            limits,
            wake: Wake::default(),
            interrupted: AtomicBool::new(false),
            received: AtomicU64::new(0),
            received_bytes: AtomicU64::new(0),
            dropped_full: AtomicU64::new(0),
            invalid: AtomicU64::new(0),
            readers: Mutex::new(BTreeMap::new()),
        });
        let ring = Self {
            shared: Arc::clone(&shared),
        };
        (
            ring,
            Consumer {
                shared,
                taken: ptr::null_mut(),
            },
        )
    }

    /// For metrics; the numbers are of slightly different moments.
    pub fn counters(&self) -> RingCounters {
        self.shared.counters()
    }

    pub(crate) fn payload_bytes_max(&self) -> usize {
        self.shared.limits.bytes_max
    }

    pub(crate) fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }

    pub(crate) fn register(&self, reader: ReaderId) -> Arc<ReaderTally> {
        let tally = Arc::new(ReaderTally::default());
        self.shared
            .lock_readers()
            .insert(reader, Arc::clone(&tally));
        tally
    }
}

impl Shared {
    fn lock_readers(&self) -> std::sync::MutexGuard<'_, BTreeMap<ReaderId, Arc<ReaderTally>>> {
        self.readers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn counters(&self) -> RingCounters {
        RingCounters {
            received: self.received.load(Ordering::Relaxed),
            received_bytes: self.received_bytes.load(Ordering::Relaxed),
            dropped_full: self.dropped_full.load(Ordering::Relaxed),
            invalid: self.invalid.load(Ordering::Relaxed),
            held_samples: self.held_samples.load(Ordering::Relaxed),
            held_bytes: self.held_bytes.load(Ordering::Relaxed),
        }
    }

    /// The reader gives no more samples; what it dropped is still reported once.
    pub(crate) fn retire(&self, reader: ReaderId) {
        let mut readers = self.lock_readers();
        let Some(tally) = readers.get(&reader) else {
            return;
        };
        tally.deleted.store(true, Ordering::Relaxed);
        if tally.unreported.load(Ordering::Acquire) == 0 {
            readers.remove(&reader);
        }
    }

    pub(crate) fn count_invalid(&self, tally: &ReaderTally) {
        self.invalid.fetch_add(1, Ordering::Relaxed);
        tally.invalid.fetch_add(1, Ordering::Relaxed);
    }

    /// Room for one sample of `bytes`, or `false`.
    fn reserve(&self, bytes: usize) -> bool {
        let samples = self.held_samples.fetch_add(1, Ordering::Relaxed);
        if samples >= self.limits.samples_max {
            self.held_samples.fetch_sub(1, Ordering::Relaxed);
            return false;
        }
        let held = self.held_bytes.fetch_add(bytes, Ordering::Relaxed);
        if held.saturating_add(bytes) > self.limits.bytes_max {
            self.held_bytes.fetch_sub(bytes, Ordering::Relaxed);
            self.held_samples.fetch_sub(1, Ordering::Relaxed);
            return false;
        }
        true
    }

    fn give_back(&self, bytes: usize) {
        self.held_bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.held_samples.fetch_sub(1, Ordering::Relaxed);
    }

    /// Takes over the caller's reference to `data`: into `chain`, or dropped and counted.
    ///
    /// # Safety
    /// The caller owns one reference to `data`.
    pub(crate) unsafe fn accept(
        &self,
        data: NonNull<RawData>,
        link: Link,
        tally: &ReaderTally,
        chain: &mut Chain,
    ) {
        // SAFETY: our reference keeps `data` alive up to the `unref`s below; the claim makes the link ours until the consumer
        // (or the ring's own drop) releases it.
        unsafe {
            let bytes = RawData::memory_bytes(data.as_ptr());
            if self.deserted.load(Ordering::Relaxed) || !self.reserve(bytes) {
                self.refuse(data, link, tally);
                return;
            }
            let data = if RawData::claim(data) {
                data
            } else {
                let copy = RawData::duplicate(data);
                let Some(copy) = copy.filter(|copy| RawData::claim(*copy)) else {
                    self.give_back(bytes);
                    self.refuse(data, link, tally);
                    return;
                };
                RawData::unref(data);
                copy
            };
            let payload_bytes = RawData::payload(data.as_ptr()).len() as u64;
            tally.received.fetch_add(1, Ordering::Relaxed);
            tally
                .received_bytes
                .fetch_add(payload_bytes, Ordering::Relaxed);
            self.received.fetch_add(1, Ordering::Relaxed);
            self.received_bytes
                .fetch_add(payload_bytes, Ordering::Relaxed);
            RawData::link(data).write(Link {
                next: chain.top,
                ..link
            });
            if chain.top.is_null() {
                chain.bottom = data.as_ptr();
            }
            chain.top = data.as_ptr();
        }
    }

    /// # Safety
    /// As [`accept`](Self::accept).
    unsafe fn refuse(&self, data: NonNull<RawData>, link: Link, tally: &ReaderTally) {
        if link.valid {
            self.dropped_full.fetch_add(1, Ordering::Relaxed);
            tally.drop_one(link.received.realtime_ns);
        }
        // SAFETY: our own reference, and the last use of `data`.
        unsafe { RawData::unref(data) };
    }

    /// Puts the chain on top and wakes the consumer if it sleeps.
    pub(crate) fn put(&self, chain: Chain) {
        let Some(bottom) = NonNull::new(chain.bottom) else {
            return;
        };
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            // SAFETY: the chain is ours until the exchange below publishes it; its samples are alive and claimed.
            unsafe { (*RawData::link(bottom)).next = head };
            match self.head.compare_exchange_weak(
                head,
                chain.top,
                Ordering::Release,
                Ordering::Relaxed,
            ) {
                Ok(_) => break,
                Err(seen) => head = seen,
            }
        }
        self.wake.wake();
    }

    /// The whole list, oldest first.
    fn take_all(&self) -> *mut RawData {
        let mut newest = self.head.swap(ptr::null_mut(), Ordering::Acquire);
        let mut oldest = ptr::null_mut();
        while let Some(data) = NonNull::new(newest) {
            // SAFETY: the swap made the list ours alone; each sample in it is alive and claimed for the ring.
            unsafe {
                let link = RawData::link(data);
                newest = std::mem::replace(&mut (*link).next, oldest);
            }
            oldest = data.as_ptr();
        }
        oldest
    }

    /// Ends a sample's time in the ring.
    ///
    /// # Safety
    /// The caller owns the ring's reference and claim, and with this call neither.
    unsafe fn finish(&self, data: NonNull<RawData>) {
        // SAFETY: by contract; the size is read and the claim released while the reference is still held.
        unsafe {
            let bytes = RawData::memory_bytes(data.as_ptr());
            RawData::release(data);
            RawData::unref(data);
            self.give_back(bytes);
        }
    }

    /// # Safety
    /// The caller owns the whole list.
    unsafe fn finish_list(&self, mut list: *mut RawData) {
        while let Some(data) = NonNull::new(list) {
            // SAFETY: by contract; the link is read before the sample may go.
            unsafe {
                list = (*RawData::link(data)).next;
                self.finish(data);
            }
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let list = self.take_all();
        // SAFETY: nobody else knows of the ring any more.
        unsafe { self.finish_list(list) };
    }
}

/// Samples of one visit of a listener, newest on top, to be put in at once.
#[derive(Debug)]
pub(crate) struct Chain {
    top: *mut RawData,
    bottom: *mut RawData,
}

impl Default for Chain {
    fn default() -> Self {
        Self {
            top: ptr::null_mut(),
            bottom: ptr::null_mut(),
        }
    }
}

/// The one end that samples come out of. Dropped, it makes the ring drop (and count) all that still comes.
#[derive(Debug)]
pub struct Consumer {
    shared: Arc<Shared>,
    /// Taken from the ring and not handed out yet, oldest first.
    taken: *mut RawData,
}

// SAFETY: the list behind `taken` belongs to the consumer alone; samples may be used from any thread.
unsafe impl Send for Consumer {}

impl Consumer {
    /// Adds at most `samples_max` samples to `batch`, oldest first, and says how many. Waits for the first up to `timeout`; comes
    /// back with 0 then, or earlier when woken by a [`RingWaker`].
    pub fn pop(&mut self, batch: &mut Vec<Sample>, samples_max: usize, timeout: Duration) -> usize {
        if self.taken.is_null() {
            self.taken = self.shared.take_all();
        }
        if self.taken.is_null() && !timeout.is_zero() {
            self.wait(timeout);
            self.taken = self.shared.take_all();
        }
        let mut count = 0;
        while count < samples_max
            && let Some(data) = NonNull::new(self.taken)
        {
            // SAFETY: the list is ours; its reference and claim go over to the `Sample`.
            unsafe { self.taken = (*RawData::link(data)).next };
            batch.push(Sample::new(data, Arc::clone(&self.shared)));
            count += 1;
        }
        count
    }

    fn wait(&self, timeout: Duration) {
        let shared = &self.shared;
        let ready = || {
            !shared.head.load(Ordering::Relaxed).is_null()
                || shared.interrupted.swap(false, Ordering::Relaxed)
        };
        let began_ns = clock::monotonic_ns();
        loop {
            let waited =
                Duration::from_nanos(u64::try_from(clock::monotonic_ns() - began_ns).unwrap_or(0));
            let Some(left) = timeout.checked_sub(waited).filter(|left| !left.is_zero()) else {
                return;
            };
            if shared.wake.sleep_unless(ready, left) {
                break;
            }
        }
        let linger = shared.limits.linger.min(timeout);
        if !linger.is_zero() && !shared.head.load(Ordering::Relaxed).is_null() {
            std::thread::sleep(linger);
        }
    }

    /// Wakes [`pop`](Self::pop) from another thread.
    pub fn waker(&self) -> RingWaker {
        RingWaker {
            shared: Arc::clone(&self.shared),
        }
    }

    /// What each reader lost to the full ring since the last call; readers that lost nothing are not listed.
    pub fn take_dropped(&mut self) -> Vec<Dropped> {
        let mut readers = self.shared.lock_readers();
        let dropped = readers
            .iter()
            .filter_map(|(reader, tally)| tally.take_dropped(*reader))
            .collect();
        readers.retain(|_, tally| {
            !tally.deleted.load(Ordering::Relaxed) || tally.unreported.load(Ordering::Acquire) > 0
        });
        dropped
    }

    /// For metrics; the numbers are of slightly different moments.
    pub fn counters(&self) -> RingCounters {
        self.shared.counters()
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.shared.deserted.store(true, Ordering::Relaxed);
        // SAFETY: the consumer's own list.
        unsafe { self.shared.finish_list(self.taken) };
    }
}

/// Makes a waiting [`Consumer::pop`] come back.
#[derive(Clone, Debug)]
pub struct RingWaker {
    shared: Arc<Shared>,
}

impl RingWaker {
    /// The current or next wait ends at once.
    pub fn wake(&self) {
        self.shared.interrupted.store(true, Ordering::Relaxed);
        self.shared.wake.wake();
    }
}

#[cfg(test)]
mod tests;
