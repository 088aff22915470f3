//! A file that is given up when the disk is full.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::disk;

#[derive(Debug)]
pub(crate) struct Reserve {
    path: PathBuf,
    bytes: u64,
    held: bool,
}

impl Reserve {
    /// Makes it if there is space.
    pub(crate) fn new(root: &Path, bytes: u64) -> Self {
        let path = root.join("reserve");
        let held = bytes > 0 && disk::file_bytes(&path) == bytes;
        let mut reserve = Self { path, bytes, held };
        reserve.restore();
        reserve
    }

    /// Gives the space back to the file system; `false` if it was given back before.
    pub(crate) fn release(&mut self) -> bool {
        if !self.held {
            return false;
        }
        self.held = false;
        match fs::remove_file(&self.path) {
            Ok(()) => {
                tracing::warn!(bytes = self.bytes, "No space left: the reserve is given up");
                true
            }
            Err(error) => {
                tracing::error!(path = %self.path.display(), %error, "Giving up the reserve failed");
                false
            }
        }
    }

    pub(crate) fn is_held(&self) -> bool {
        self.held || self.bytes == 0
    }

    /// Takes the space again, if there is as much.
    pub(crate) fn restore(&mut self) {
        if self.is_held() {
            return;
        }
        match self.write() {
            Ok(()) => self.held = true,
            Err(error) => {
                tracing::debug!(%error, bytes = self.bytes, "No space for the reserve");
                if let Err(error) = fs::remove_file(&self.path) {
                    tracing::debug!(%error, "Removing the unfinished reserve failed");
                }
            }
        }
    }

    /// Bytes that a file system does not fold away, as it could a hole or zeros.
    fn write(&self) -> std::io::Result<()> {
        let mut file = File::create(&self.path)?;
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut chunk = Vec::with_capacity(CHUNK_BYTES);
        let mut left = self.bytes;
        while left > 0 {
            chunk.clear();
            while chunk.len() < CHUNK_BYTES {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                chunk.extend_from_slice(&state.to_le_bytes());
            }
            let now = left.min(CHUNK_BYTES as u64);
            file.write_all(&chunk[..now as usize])?;
            left -= now;
        }
        file.sync_all()
    }
}

const CHUNK_BYTES: usize = 64 << 10;
