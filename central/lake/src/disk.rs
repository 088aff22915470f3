//! The seam to the file system: few acts, each of which says what is durable after it.

use std::fmt;
use std::fs::{self, File, TryLockError};
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

/// Paths are relative to the lake's root.
pub trait Disk: fmt::Debug + Send + Sync + 'static {
    fn create_dir_all(&self, folder: &Path) -> io::Result<()>;

    /// A new file, or an old one emptied. Not durable before [`Self::sync`].
    fn create(&self, file: &Path) -> io::Result<Box<dyn Write + Send>>;

    fn open(&self, file: &Path) -> io::Result<File>;

    /// When this returns `Ok`, all that was created, renamed and removed before is durable.
    fn sync(&self) -> io::Result<()>;

    /// A file of these bytes, durable when this returns `Ok`. [`io::ErrorKind::AlreadyExists`] where there is one.
    fn put_if_absent(&self, file: &Path, bytes: &[u8]) -> io::Result<()>;

    /// Replaces `to`. Not durable before [`Self::sync`].
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    fn remove(&self, file: &Path) -> io::Result<()>;

    fn exists(&self, path: &Path) -> io::Result<bool>;

    /// Names in a folder, ascending; none where there is no folder.
    fn names(&self, folder: &Path) -> io::Result<Vec<String>>;

    fn read(&self, file: &Path) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.open(file)?.read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

/// A folder on a local file system, held by one process.
#[derive(Debug)]
pub struct LocalDisk {
    root: PathBuf,
    /// Of the root, opened before anything is written: `syncfs` on it reports every write-back error since (Linux 5.8).
    folder: File,
    _lock: File,
}

const LOCK: &str = "_lock";
/// Where [`Disk::put_if_absent`] prepares a file.
const SCRATCH: &str = "_tmp/_put";

impl LocalDisk {
    /// Makes the folder. [`io::ErrorKind::WouldBlock`] where another process holds it.
    pub fn hold(root: PathBuf) -> io::Result<Self> {
        fs::create_dir_all(root.join("_tmp"))?;
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(root.join(LOCK))?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => io::ErrorKind::WouldBlock.into(),
            TryLockError::Error(error) => error,
        })?;
        let folder = File::open(&root)?;
        Ok(Self {
            root,
            folder,
            _lock: lock,
        })
    }

    fn at(&self, path: &Path) -> PathBuf {
        self.root.join(path)
    }
}

impl Disk for LocalDisk {
    fn create_dir_all(&self, folder: &Path) -> io::Result<()> {
        fs::create_dir_all(self.at(folder))
    }

    fn create(&self, file: &Path) -> io::Result<Box<dyn Write + Send>> {
        Ok(Box::new(BufWriter::with_capacity(
            64 << 10,
            File::create(self.at(file))?,
        )))
    }

    fn open(&self, file: &Path) -> io::Result<File> {
        File::open(self.at(file))
    }

    /// One `syncfs` for thousands of files and their folders. It also waits for what others have written to the same
    /// file system: give the lake its own where that is much.
    fn sync(&self) -> io::Result<()> {
        Ok(rustix::fs::syncfs(&self.folder)?)
    }

    fn put_if_absent(&self, file: &Path, bytes: &[u8]) -> io::Result<()> {
        let (scratch, file) = (self.root.join(SCRATCH), self.at(file));
        // What an earlier attempt left may be a link to a commit: to empty it would empty the commit.
        match fs::remove_file(&scratch) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let mut written = File::create_new(&scratch)?;
        written.write_all(bytes)?;
        written.sync_all()?;
        // A link, unlike a rename, refuses to replace.
        fs::hard_link(&scratch, &file)?;
        File::open(file.parent().unwrap_or(&self.root))?.sync_all()?;
        fs::remove_file(&scratch)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(self.at(from), self.at(to))
    }

    fn remove(&self, file: &Path) -> io::Result<()> {
        fs::remove_file(self.at(file))
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.at(path).try_exists()
    }

    fn names(&self, folder: &Path) -> io::Result<Vec<String>> {
        let entries = match fs::read_dir(self.at(folder)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut names = entries
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect::<io::Result<Vec<_>>>()?;
        names.sort_unstable();
        Ok(names)
    }
}
