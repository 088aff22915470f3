//! A participant in a domain, and the order in which things end.

use std::collections::BTreeMap;
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, mpsc};
use std::time::Duration;

use cyclonedds_sys as dds;

use crate::config::{DomainConfig, Permitted};
use crate::discovery::{Discovery, Guid};
use crate::error::{CloseError, DdsCode, EntityError, OpenError};
use crate::reader::{Reader, ReaderSlot, ReaderSpec};
use crate::ring::{ReaderId, Ring};
use crate::types::TypeLookup;
use crate::writer::{Writer, WriterSpec};
use crate::{log, raw, sched};

/// How long dropping a participant may take; [`Participant::close`] lets the caller say.
const DROP_WITHIN: Duration = Duration::from_secs(10);

/// A DDS participant with a stack of its own: sockets and threads are shared with no other, not even in the same process.
///
/// Dropping it closes it. Readers, writers and discovery that outlive it report `Closed`.
#[derive(Debug)]
pub struct Participant {
    inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    /// Deleting it deletes all that is in it.
    domain: dds::dds_entity_t,
    pub(crate) participant: dds::dds_entity_t,
    /// Whether handles are valid. Whoever uses one holds the read lock, so that closing waits for it.
    open: RwLock<bool>,
    readers: Mutex<BTreeMap<ReaderId, ReaderSlot>>,
}

impl Participant {
    /// Joins the domain. Sockets are open and discovery is under way when this returns.
    pub fn open(config: &DomainConfig) -> Result<Self, OpenError> {
        config.validate()?;
        log::capture();
        if !raw::layout_agrees() {
            return Err(OpenError::Layout);
        }
        let permitted = Permitted {
            realtime: config
                .realtime_priority
                .is_some_and(sched::realtime_permitted),
            receive_buffer: sched::receive_buffer_permitted(config.receive_buffer_bytes),
        };
        let xml = config.to_xml(permitted);
        log::take_kept();
        let failed = |code| OpenError::Domain {
            domain_id: config.domain_id,
            code,
            log: log::take_kept(),
        };
        let xml = std::ffi::CString::new(xml)
            .map_err(|_nul| failed(DdsCode(dds::DDS_RETCODE_BAD_PARAMETER)))?;
        let number = next_domain_number();
        // The library's threads are made in here, and inherit it.
        let _lazy = sched::LazyTimers::begin();
        // SAFETY: a NUL-terminated configuration, read during the call.
        let domain = DdsCode::check(unsafe { dds::dds_create_domain(number, xml.as_ptr()) })
            .map_err(failed)?;
        // SAFETY: default QoS, no listener.
        let participant = unsafe { dds::dds_create_participant(number, ptr::null(), ptr::null()) };
        let participant = DdsCode::check(participant).map_err(|code| {
            // SAFETY: the domain was created above and is empty.
            unsafe { dds::dds_delete(domain) };
            failed(code)
        })?;
        Ok(Self {
            inner: Arc::new(Inner {
                domain,
                participant,
                open: RwLock::new(true),
                readers: Mutex::new(BTreeMap::new()),
            }),
        })
    }

    /// Our own identity on the bus.
    pub fn guid(&self) -> Guid {
        self.inner.guid()
    }

    /// A reader that fills `ring`, from now until it is dropped. Costs some tens of µs and some kB.
    pub fn create_reader(&self, spec: &ReaderSpec, ring: &Ring) -> Result<Reader, EntityError> {
        Reader::create(&self.inner, spec, ring)
    }

    /// A writer of raw payloads.
    pub fn create_writer(&self, spec: &WriterSpec) -> Result<Writer, EntityError> {
        Writer::create(&self.inner, spec)
    }

    /// A stream of who appears and disappears. Each has its own view, beginning with all that is there.
    pub fn discovery(&self) -> Result<Discovery, EntityError> {
        Discovery::create(&self.inner)
    }

    /// Asks writers for their types.
    pub fn type_lookup(&self) -> Result<TypeLookup, EntityError> {
        TypeLookup::create(&self.inner)
    }

    /// Leaves the domain: first no listener is called any more, then all entities go, then what listeners used is freed. Takes
    /// about 0.3 ms per reader. After `within` it goes on by itself and this returns an error.
    pub fn close(self, within: Duration) -> Result<(), CloseError> {
        self.inner.close(within)
    }
}

impl Drop for Participant {
    fn drop(&mut self) {
        if let Err(error) = self.inner.close(DROP_WITHIN) {
            tracing::warn!(%error, "Participant is still closing");
        }
    }
}

impl Inner {
    pub(crate) fn guid(&self) -> Guid {
        let mut guid = dds::dds_guid_t::default();
        // SAFETY: `guid` is for the call to write; a stale handle is answered with a code and leaves it zero.
        unsafe { dds::dds_get_guid(self.participant, &raw mut guid) };
        Guid(guid.v)
    }

    /// Permission to use handles; `None` once closed.
    pub(crate) fn enter(&self) -> Option<RwLockReadGuard<'_, bool>> {
        Some(self.open.read().unwrap_or_else(PoisonError::into_inner)).filter(|open| **open)
    }

    pub(crate) fn lock_readers(&self) -> MutexGuard<'_, BTreeMap<ReaderId, ReaderSlot>> {
        self.readers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self, within: Duration) -> Result<(), CloseError> {
        if !std::mem::replace(
            &mut *self.open.write().unwrap_or_else(PoisonError::into_inner),
            false,
        ) {
            return Ok(());
        }
        let slots = std::mem::take(&mut *self.lock_readers());
        let readers = slots.len();
        let domain = self.domain;
        let (done, wait) = mpsc::channel();
        let work = move || {
            slots.values().for_each(ReaderSlot::silence);
            // SAFETY: deletes all entities in the domain; it returns when no listener runs any more.
            unsafe { dds::dds_delete(domain) };
            // Only here may go what the listeners used.
            slots.into_values().for_each(ReaderSlot::retire);
            // Nobody listens where the time was over.
            done.send(()).ok();
        };
        if let Err(error) = std::thread::Builder::new()
            .name("dds-close".into())
            .spawn(work)
        {
            // The closure, and with it the slots, is gone. Their contexts are not: see `ReaderSlot`.
            tracing::error!(%error, "No thread to close the participant with; it stays open until the process ends");
            return Err(CloseError::Slow { readers, within });
        }
        match wait.recv_timeout(within) {
            Ok(()) | Err(mpsc::RecvTimeoutError::Disconnected) => Ok(()),
            Err(mpsc::RecvTimeoutError::Timeout) => Err(CloseError::Slow { readers, within }),
        }
    }
}

/// The library tells domains in one process apart by number; the network sees the configured one. Numbers are not reused, so a
/// participant can be opened while an older one is still closing.
fn next_domain_number() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}
