//! A file system of a test's own, which can be frozen: a disk that takes nothing and gives no error.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use std::{fs, io};

use crate::process::{self, ProcessError};

#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    #[error("make {}", path.display())]
    Image {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("run {program}")]
    Start {
        program: &'static str,
        #[source]
        source: ProcessError,
    },
    /// Mounting and freezing need root, a loop device, mkfs.ext4 and fsfreeze.
    #[error("{program}: {said}")]
    Refused { program: &'static str, said: String },
}

/// An ext4 file system in a file, mounted. Thawed and unmounted when dropped.
#[derive(Debug)]
pub struct Volume {
    mounted: PathBuf,
    is_frozen: bool,
}

const PATIENCE: Duration = Duration::from_secs(60);

impl Volume {
    /// Mounts `bytes` at `folder`, which is made; the image stands beside it.
    ///
    /// # Errors
    /// When the image cannot be made or mounted.
    pub fn mount(folder: &Path, bytes: u64) -> Result<Self, VolumeError> {
        let image = folder.with_extension("img");
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| VolumeError::Image { path, source }
        };
        let file = fs::File::create(&image).map_err(failed(&image))?;
        file.set_len(bytes).map_err(failed(&image))?;
        fs::create_dir_all(folder).map_err(failed(folder))?;
        // As large file systems have them: SQLite takes room for its shared memory by pages of that size, and a smaller block
        // leaves holes in them, whose use kills the process when the disk is full.
        let mut mkfs = Command::new("mkfs.ext4");
        run("mkfs.ext4", mkfs.args(["-q", "-b", "4096"]).arg(&image))?;
        run(
            "mount",
            Command::new("mount")
                .args(["-o", "loop"])
                .args([image.as_path(), folder]),
        )?;
        Ok(Self {
            mounted: folder.to_owned(),
            is_frozen: false,
        })
    }

    /// Takes all but about `left` bytes, until what is returned is dropped.
    ///
    /// # Errors
    /// When the file that takes them cannot be made.
    pub fn fill(&self, left: u64) -> Result<Filler, VolumeError> {
        static FILLERS: AtomicU64 = AtomicU64::new(0);
        let number = FILLERS.fetch_add(1, Ordering::Relaxed);
        let path = self.mounted.join(format!("filler-{number}"));
        let written = write_until_full(&path, left);
        let filler = Filler(path);
        match written {
            Ok(()) => Ok(filler),
            Err(source) => Err(VolumeError::Image {
                path: filler.0.clone(),
                source,
            }),
        }
    }

    /// Every write waits until [`thaw`](Self::thaw); whoever waits cannot be killed.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn freeze(&mut self) -> Result<(), VolumeError> {
        run(
            "fsfreeze",
            Command::new("fsfreeze").arg("-f").arg(&self.mounted),
        )?;
        self.is_frozen = true;
        Ok(())
    }

    /// # Errors
    /// When the kernel refuses.
    pub fn thaw(&mut self) -> Result<(), VolumeError> {
        run(
            "fsfreeze",
            Command::new("fsfreeze").arg("-u").arg(&self.mounted),
        )?;
        self.is_frozen = false;
        Ok(())
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        let thawed = if self.is_frozen { self.thaw() } else { Ok(()) };
        let mut umount = Command::new("umount");
        umount.arg("--lazy").arg(&self.mounted);
        for result in [thawed, run("umount", &mut umount)] {
            if let Err(error) = result {
                crate::say(&format!("{}: {error}", self.mounted.display()));
            }
        }
    }
}

/// The space that it takes is free again when it is dropped.
#[derive(Debug)]
pub struct Filler(PathBuf);

impl Drop for Filler {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.0) {
            crate::say(&format!("{}: {error}", self.0.display()));
        }
    }
}

fn write_until_full(path: &Path, left: u64) -> io::Result<()> {
    let mut file = fs::File::create(path)?;
    for size in [1 << 20, 1 << 16, 1 << 10, 1] {
        while file.write_all(&vec![7; size]).is_ok() {}
    }
    let length = file.metadata()?.len();
    file.set_len(length.saturating_sub(left))?;
    match file.sync_all() {
        Err(error) if error.kind() != io::ErrorKind::StorageFull => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn run(program: &'static str, command: &mut Command) -> Result<(), VolumeError> {
    let taken = std::mem::replace(command, Command::new("true"));
    let captured =
        process::run(taken, PATIENCE).map_err(|source| VolumeError::Start { program, source })?;
    if captured.status.success() {
        return Ok(());
    }
    Err(VolumeError::Refused {
        program,
        said: captured.stderr.trim().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::tmp::WorkDir;

    #[test]
    fn a_frozen_volume_takes_nothing_until_it_thaws() {
        let folder = WorkDir::new("volume").unwrap();
        let mut volume = match Volume::mount(&folder.join("disk"), 16 << 20) {
            Ok(volume) => volume,
            Err(error) => return crate::skip("volume", &error),
        };
        let file = folder.join("disk").join("file");
        fs::write(&file, "before").unwrap();
        volume.freeze().unwrap();
        let (done, written) = mpsc::channel();
        let writing = std::thread::spawn(move || {
            fs::write(&file, "after").unwrap();
            done.send(()).unwrap();
        });
        assert!(written.recv_timeout(Duration::from_millis(300)).is_err());
        volume.thaw().unwrap();
        written.recv_timeout(Duration::from_secs(20)).unwrap();
        writing.join().unwrap();
        drop(volume);
        folder.finish().unwrap();
    }

    #[test]
    fn a_filled_volume_takes_nothing_until_there_is_room() {
        let folder = WorkDir::new("volume-full").unwrap();
        let volume = match Volume::mount(&folder.join("disk"), 16 << 20) {
            Ok(volume) => volume,
            Err(error) => return crate::skip("volume", &error),
        };
        let file = folder.join("disk").join("file");
        let full = volume.fill(0).unwrap();
        let error = fs::write(&file, [7; 100_000]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        drop(full);
        let _almost_full = volume.fill(1 << 20).unwrap();
        fs::write(&file, [7; 100_000]).unwrap();
        drop(volume);
        folder.finish().unwrap();
    }
}
