//! A disk that can lose power: a layer between SQLite and its unix VFS.
//!
//! Every write is passed on, so that all connections see it, and kept as *pending* until the file is synced. At a
//! [`Disk::crash`] each file becomes what was synced plus a random part of what was pending: writes dropped, torn at
//! sectors, applied out of order; names that no folder sync covered may be gone, or back. Faults can be injected at any
//! step, a step being a write, truncation, sync, deletion, or a change of a folder.

mod shim;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use efd_shared_store::Witness;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

const SECTOR_BYTES: usize = 512;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// From this step on nothing happens any more.
    PowerCut { at: u64 },
    /// Writes and truncations that make a file longer say that the disk is full, from step `at` for `steps`.
    Full { at: u64, steps: u64 },
    /// Every step fails, from step `at` for `steps`.
    Io { at: u64, steps: u64 },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Grow,
    Other,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failure {
    PowerIsOff,
    Full,
    Io,
}

#[derive(Clone, Debug)]
enum Pending {
    Write { at: usize, data: Vec<u8> },
    Truncate { bytes: usize },
}

#[derive(Clone, Debug, Default)]
struct Image {
    synced: Vec<u8>,
    pending: Vec<Pending>,
    /// Its name survives.
    name_synced: bool,
    /// The name that it may have again after a crash.
    renamed_from: Option<PathBuf>,
}

#[derive(Debug, Default)]
struct State {
    files: BTreeMap<PathBuf, Image>,
    /// Deleted, but no folder sync covers it.
    deleted: Vec<(PathBuf, Image)>,
    step: u64,
    syncs: u64,
    fault: Option<Fault>,
}

/// One disk, and the SQLite VFS of that name.
#[derive(Debug)]
pub struct Disk {
    shared: Arc<Shared>,
    vfs: shim::Registered,
}

#[derive(Debug)]
pub struct Shared(Mutex<State>);

impl Disk {
    pub fn new() -> Self {
        let shared = Arc::new(Shared(Mutex::default()));
        let vfs = shim::Registered::new(Arc::clone(&shared));
        Self { shared, vfs }
    }

    pub fn vfs_name(&self) -> &str {
        self.vfs.name()
    }

    pub fn witness(&self) -> Arc<dyn Witness> {
        Arc::<Shared>::clone(&self.shared)
    }

    pub fn inject(&self, fault: Option<Fault>) {
        self.shared.state().fault = fault;
    }

    pub fn step(&self) -> u64 {
        self.shared.state().step
    }

    pub fn syncs(&self) -> u64 {
        self.shared.state().syncs
    }

    /// Power comes back: what the files are then. No connection may be open.
    pub fn crash(&self, seed: u64) {
        let rng = &mut StdRng::seed_from_u64(seed);
        let mut state = self.shared.state();
        let files = std::mem::take(&mut state.files);
        let deleted = std::mem::take(&mut state.deleted);
        state.fault = None;
        drop(state);
        let paths = files.keys().chain(deleted.iter().map(|(path, _)| path));
        for path in paths {
            for suffix in ["", "-shm"] {
                let mut name = path.clone().into_os_string();
                name.push(suffix);
                let _absent = fs::remove_file(name);
            }
        }
        for (path, image) in deleted {
            if !files.contains_key(&path) && rng.random() {
                fs::write(&path, image.after_crash(rng)).unwrap();
            }
        }
        for (path, image) in files {
            let content = image.clone().after_crash(rng);
            match (image.name_synced, image.renamed_from) {
                (true, Some(from)) if rng.random() => fs::write(from, content).unwrap(),
                (true, _) => fs::write(path, content).unwrap(),
                (false, from) if rng.random() => {
                    let path = if rng.random() {
                        from.unwrap_or(path)
                    } else {
                        path
                    };
                    fs::write(path, content).unwrap();
                }
                (false, _) => {}
            }
        }
    }
}

impl Image {
    fn after_crash(self, rng: &mut StdRng) -> Vec<u8> {
        let mut content = self.synced;
        let mut pending = self.pending;
        // Nothing, everything, or something of it; in order, or not.
        let keep = [0.0, 1.0, rng.random_range(0.0..1.0)][rng.random_range(0..3)];
        if rng.random() {
            pending.shuffle(rng);
        }
        for change in pending {
            if !rng.random_bool(keep) {
                continue;
            }
            match change {
                Pending::Write { at, data } if rng.random_bool(0.3) => {
                    for (index, sector) in data.chunks(SECTOR_BYTES).enumerate() {
                        if rng.random() {
                            write_at(&mut content, at + index * SECTOR_BYTES, sector);
                        }
                    }
                }
                change => change.apply(&mut content),
            }
        }
        content
    }
}

impl Pending {
    fn apply(self, content: &mut Vec<u8>) {
        match self {
            Self::Write { at, data } => write_at(content, at, &data),
            Self::Truncate { bytes } => content.resize(bytes, 0),
        }
    }
}

fn write_at(content: &mut Vec<u8>, at: usize, data: &[u8]) {
    let end = at + data.len();
    if content.len() < end {
        content.resize(end, 0);
    }
    content[at..end].copy_from_slice(data);
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_off(&self) -> bool {
        let state = self.state();
        matches!(state.fault, Some(Fault::PowerCut { at }) if at <= state.step)
    }
}

impl State {
    /// Counts a step; an error if it fails.
    fn begin(&mut self, kind: Kind) -> Result<(), Failure> {
        self.step += 1;
        let within = |at: u64, steps: u64| (at..at.saturating_add(steps)).contains(&self.step);
        match self.fault {
            Some(Fault::PowerCut { at }) if at <= self.step => Err(Failure::PowerIsOff),
            Some(Fault::Full { at, steps }) if within(at, steps) && kind == Kind::Grow => {
                Err(Failure::Full)
            }
            Some(Fault::Io { at, steps }) if within(at, steps) => Err(Failure::Io),
            Some(_) | None => Ok(()),
        }
    }

    /// The write that the power cut interrupts may be on the disk in part.
    fn is_interrupted(&self) -> bool {
        self.fault == Some(Fault::PowerCut { at: self.step })
    }

    fn open(&mut self, path: &Path, existed: bool, content: impl FnOnce() -> Vec<u8>) {
        self.files.entry(path.to_owned()).or_insert_with(|| Image {
            synced: content(),
            name_synced: existed,
            ..Image::default()
        });
    }

    fn pend(&mut self, path: &Path, change: Pending) {
        if let Some(image) = self.files.get_mut(path) {
            image.pending.push(change);
        }
    }

    fn sync(&mut self, path: &Path) {
        self.syncs += 1;
        if let Some(image) = self.files.get_mut(path) {
            for change in std::mem::take(&mut image.pending) {
                change.apply(&mut image.synced);
            }
            // SQLite syncs the folder with the first sync of a WAL, not of a database.
            image.name_synced |= path.to_string_lossy().ends_with("-wal");
        }
    }

    fn delete(&mut self, path: &Path, is_synced: bool) {
        if let Some(image) = self.files.remove(path)
            && image.name_synced
            && !is_synced
        {
            self.deleted.push((path.to_owned(), image));
        }
    }
}

fn to_io(failure: Failure) -> io::Error {
    match failure {
        Failure::PowerIsOff | Failure::Io => io::Error::other("injected"),
        Failure::Full => io::ErrorKind::StorageFull.into(),
    }
}

impl Witness for Shared {
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.begin(Kind::Other).map_err(to_io)?;
        for (file, image) in &mut state.files {
            if file.parent() == Some(path) {
                image.name_synced = true;
                image.renamed_from = None;
            }
        }
        state
            .deleted
            .retain(|(file, _)| file.parent() != Some(path));
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.begin(Kind::Other).map_err(to_io)?;
        if let Some(mut image) = state.files.remove(from) {
            image.renamed_from = Some(from.to_owned());
            state.files.insert(to.to_owned(), image);
        }
        Ok(())
    }

    fn unlink(&self, path: &Path) -> io::Result<()> {
        if !path.exists() {
            return Ok(());
        }
        let mut state = self.state();
        state.begin(Kind::Other).map_err(to_io)?;
        let known = state.files.contains_key(path);
        if !known && !path.to_string_lossy().ends_with("-shm") {
            let content = fs::read(path)?;
            state.open(path, true, || content);
        }
        state.delete(path, false);
        Ok(())
    }
}
