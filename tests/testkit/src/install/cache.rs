//! The folder for what is downloaded, safe against interruption and against two at once.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::{env, time::Duration};

use super::{InstallError, Installer, at};
use crate::clock;

/// Where installed things are.
#[derive(Clone, Debug)]
pub struct Cache {
    root: PathBuf,
}

impl Cache {
    /// `$EFD_TEST_CACHE`, else `$XDG_CACHE_HOME/efd-tests`, else `~/.cache/efd-tests`.
    ///
    /// # Errors
    /// When none of the three variables is set.
    pub fn of_this_user() -> Result<Self, InstallError> {
        let folder = |name: &str| {
            env::var_os(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        folder("EFD_TEST_CACHE")
            .or_else(|| Some(folder("XDG_CACHE_HOME")?.join("efd-tests")))
            .or_else(|| Some(folder("HOME")?.join(".cache/efd-tests")))
            .map(Self::at)
            .ok_or(InstallError::NoCache)
    }

    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    pub fn root(&self) -> &Path {
        &self.root
    }
}

/// What tells one installed thing from another: a changed pin is another folder, so nothing in use is ever replaced.
pub(super) struct Pinned<'a> {
    pub(super) name: &'a str,
    pub(super) version: &'a str,
    /// The files that decide the contents (a pom, a list of requirements).
    pub(super) by: &'a [&'a str],
}

const STAMP: &str = ".complete";

impl Installer {
    /// The folder of `pinned`, made by `install` unless it is there already. `install` gets the empty folder, at its
    /// final path.
    pub(super) fn cached(
        &self,
        pinned: &Pinned<'_>,
        install: impl FnOnce(&Path) -> Result<(), InstallError>,
    ) -> Result<PathBuf, InstallError> {
        let Pinned { name, version, by } = pinned;
        let folder = self
            .cache
            .root
            .join(format!("{name}-{version}-{:08x}", digest(by)));
        let stamp = folder.join(STAMP);
        if stamp.exists() {
            return Ok(folder);
        }
        let _lock = self.lock(name)?;
        if stamp.exists() {
            return Ok(folder);
        }
        let begun = clock::now();
        self.report(&format!(
            "{name} {version}: installing into {}",
            folder.display()
        ));
        if folder.exists() {
            // Left by an installation that did not come to its end.
            fs::remove_dir_all(&folder).map_err(at("remove", &folder))?;
        }
        fs::create_dir_all(&folder).map_err(at("make", &folder))?;
        install(&folder)?;
        fs::write(&stamp, format!("{name} {version}\n")).map_err(at("write", &stamp))?;
        let took = clock::now().duration_since(begun);
        self.report(&format!(
            "{name} {version}: installed in {:.1} s",
            took.as_secs_f64()
        ));
        Ok(folder)
    }

    /// Held until the returned file is dropped, at the latest by the end of this process.
    pub(super) fn lock(&self, name: &str) -> Result<File, InstallError> {
        let root = &self.cache.root;
        fs::create_dir_all(root).map_err(at("make", root))?;
        let path = root.join(format!("{name}.lock"));
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(at("open", &path))?;
        if file.try_lock().is_err() {
            self.report(&format!(
                "{name}: waiting for another installation (lock {})",
                path.display()
            ));
            let taken = clock::wait_until(LOCK_WITHIN, || file.try_lock().is_ok());
            if !taken {
                return Err(at("wait an hour for the lock", &path)(
                    std::io::ErrorKind::TimedOut.into(),
                ));
            }
        }
        Ok(file)
    }
}

const LOCK_WITHIN: Duration = Duration::from_secs(3600);

/// FNV-1a: it tells apart a handful of versions of a file of ours; nothing hangs on it but a folder's name.
fn digest(parts: &[&str]) -> u32 {
    let bytes = parts.iter().flat_map(|part| part.bytes().chain([0]));
    bytes.fold(0x811c_9dc5, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    })
}
