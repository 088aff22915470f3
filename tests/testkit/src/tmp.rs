//! Folders that tests work in: gone after success, kept with their logs after anything else.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::{env, fs, io, process};

/// A fresh folder. It is removed only by [`finish`](Self::finish), the last line of a test that went well: a panic, an
/// early `?`, an abort or a kill all leave it for the post-mortem.
#[derive(Debug)]
pub struct WorkDir {
    path: PathBuf,
    finished: bool,
}

impl WorkDir {
    /// `<base>/<name>-<pid>-<n>`, where base is `$EFD_TEST_TMP`, else `efd-tests` in the system's folder for temporary
    /// files. Set it to a real disk when durability is measured.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn new(name: &str) -> io::Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let base = env::var_os("EFD_TEST_TMP")
            .map_or_else(|| env::temp_dir().join("efd-tests"), PathBuf::from);
        fs::create_dir_all(&base)?;
        // A pid comes round again, and a kept folder of its earlier owner may still be there.
        loop {
            let n = NEXT.fetch_add(1, Ordering::Relaxed);
            let path = base.join(format!("{name}-{}-{n}", process::id()));
            match fs::create_dir(&path) {
                Ok(()) => {
                    return Ok(Self {
                        path,
                        finished: false,
                    });
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A path inside.
    pub fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path.join(name)
    }

    /// Removes the folder. `EFD_TEST_KEEP=1` keeps it all the same.
    ///
    /// # Errors
    /// When something in it cannot be removed.
    pub fn finish(mut self) -> io::Result<()> {
        if env::var_os("EFD_TEST_KEEP").is_some_and(|value| value == "1") {
            return Ok(());
        }
        self.finished = true;
        fs::remove_dir_all(&self.path)
    }
}

impl Drop for WorkDir {
    fn drop(&mut self) {
        if !self.finished {
            crate::say(&format!("work folder kept: {}", self.path.display()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn success_removes_and_anything_else_keeps() {
        let done = WorkDir::new("tmp-done").unwrap();
        let done_path = done.path().to_owned();
        fs::write(done.join("log"), "x").unwrap();
        done.finish().unwrap();
        assert!(!done_path.exists());

        let failing = std::panic::catch_unwind(|| {
            let work = WorkDir::new("tmp-failed").unwrap();
            fs::write(work.join("log"), work.path().to_str().unwrap()).unwrap();
            std::panic::panic_any(work.path().to_owned());
        });
        let kept = *failing.unwrap_err().downcast::<PathBuf>().unwrap();
        assert_eq!(
            fs::read_to_string(kept.join("log")).unwrap(),
            kept.to_str().unwrap()
        );
        fs::remove_dir_all(kept).unwrap();
    }

    #[test]
    fn two_of_one_name_differ() {
        let (a, b) = (
            WorkDir::new("tmp-same").unwrap(),
            WorkDir::new("tmp-same").unwrap(),
        );
        assert_ne!(a.path(), b.path());
        a.finish().unwrap();
        b.finish().unwrap();
    }
}
