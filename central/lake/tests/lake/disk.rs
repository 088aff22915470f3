//! A disk that fails at a chosen act, and forgets at a power cut what was not yet durable.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use efd_central_lake::{Disk, LocalDisk};
use rand::Rng;
use rand::rngs::StdRng;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// This act and every later one fails; what was not durable may be lost.
    PowerCut,
    /// This act fails, the next ones do not.
    NoSpace,
}

#[derive(Debug)]
enum Undurable {
    Created(PathBuf),
    Renamed { from: PathBuf, to: PathBuf },
    Removed { path: PathBuf, bytes: Vec<u8> },
    Published(PathBuf),
}

#[derive(Debug, Default)]
struct State {
    acts: usize,
    fail_at: Option<(usize, Failure)>,
    is_cut: bool,
    undurable: Vec<Undurable>,
}

/// A clone is the same disk.
#[derive(Clone, Debug)]
pub struct FaultyDisk {
    root: PathBuf,
    inner: Arc<LocalDisk>,
    state: Arc<Mutex<State>>,
}

impl FaultyDisk {
    pub fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            inner: Arc::new(LocalDisk::hold(root.to_owned()).unwrap()),
            state: Arc::default(),
        }
    }

    pub fn fail_in(&self, acts: usize, failure: Failure) {
        let mut state = self.state.lock().unwrap();
        state.fail_at = Some((state.acts + acts, failure));
    }

    pub fn acts(&self) -> usize {
        self.state.lock().unwrap().acts
    }

    pub fn is_cut(&self) -> bool {
        self.state.lock().unwrap().is_cut
    }

    /// What the disk holds when the power is back: of all that was not durable, anything may be gone.
    pub fn settle(self, rng: &mut StdRng) {
        let undurable = std::mem::take(&mut self.state.lock().unwrap().undurable);
        for act in undurable.into_iter().rev() {
            if rng.random_bool(0.5) {
                continue;
            }
            match act {
                Undurable::Created(path) if path.exists() => {
                    let length = fs::metadata(&path).unwrap().len();
                    match rng.random_range(0..=length) {
                        0 => fs::remove_file(&path).unwrap(),
                        kept => File::options()
                            .write(true)
                            .open(&path)
                            .unwrap()
                            .set_len(kept)
                            .unwrap(),
                    }
                }
                Undurable::Renamed { from, to } if to.exists() => fs::rename(to, from).unwrap(),
                Undurable::Removed { path, bytes } => fs::write(path, bytes).unwrap(),
                Undurable::Published(path) if path.exists() => fs::remove_file(path).unwrap(),
                Undurable::Created(_) | Undurable::Renamed { .. } | Undurable::Published(_) => {}
            }
        }
    }

    fn note(&self, act: Undurable) {
        self.state.lock().unwrap().undurable.push(act);
    }

    fn act(&self) -> io::Result<()> {
        let mut state = self.state.lock().unwrap();
        state.acts += 1;
        if state.is_cut {
            return Err(io::Error::other("power cut"));
        }
        match state.fail_at {
            Some((at, Failure::PowerCut)) if at <= state.acts => {
                state.is_cut = true;
                Err(io::Error::other("power cut"))
            }
            Some((at, Failure::NoSpace)) if at <= state.acts => {
                state.fail_at = None;
                Err(io::ErrorKind::StorageFull.into())
            }
            Some(_) | None => Ok(()),
        }
    }
}

impl Disk for FaultyDisk {
    fn create_dir_all(&self, folder: &Path) -> io::Result<()> {
        self.act()?;
        self.inner.create_dir_all(folder)
    }

    fn create(&self, file: &Path) -> io::Result<Box<dyn Write + Send>> {
        self.act()?;
        self.note(Undurable::Created(self.root.join(file)));
        Ok(Box::new(FaultyFile {
            disk: self.clone(),
            inner: self.inner.create(file)?,
        }))
    }

    fn open(&self, file: &Path) -> io::Result<File> {
        self.inner.open(file)
    }

    fn sync(&self) -> io::Result<()> {
        self.act()?;
        self.state.lock().unwrap().undurable.clear();
        Ok(())
    }

    fn put_if_absent(&self, file: &Path, bytes: &[u8]) -> io::Result<()> {
        self.act()?;
        let at = self.root.join(file);
        if at.exists() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        fs::write(&at, bytes)?;
        // The name is there before it is durable.
        if let Err(error) = self.act() {
            self.note(Undurable::Published(at));
            return Err(error);
        }
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.act()?;
        self.inner.rename(from, to)?;
        let (from, to) = (self.root.join(from), self.root.join(to));
        self.note(Undurable::Renamed { from, to });
        Ok(())
    }

    fn remove(&self, file: &Path) -> io::Result<()> {
        self.act()?;
        let path = self.root.join(file);
        let bytes = fs::read(&path)?;
        self.inner.remove(file)?;
        self.note(Undurable::Removed { path, bytes });
        Ok(())
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.inner.exists(path)
    }

    fn names(&self, folder: &Path) -> io::Result<Vec<String>> {
        self.inner.names(folder)
    }
}

struct FaultyFile {
    disk: FaultyDisk,
    inner: Box<dyn Write + Send>,
}

impl Write for FaultyFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.disk.act()?;
        self.inner.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
