//! The disk that the buffer is on.

use std::path::Path;

use anyhow::{Context as _, Result};

/// Bytes of the file system that holds `path`, or its nearest parent that exists.
pub fn bytes_of_disk(path: &Path) -> Result<u64> {
    let existing = path
        .ancestors()
        .find(|ancestor| ancestor.exists())
        .context("no such folder")?;
    let stat = rustix::fs::statvfs(existing)
        .with_context(|| format!("ask for the size of the disk of {}", existing.display()))?;
    Ok(stat.f_blocks.saturating_mul(stat.f_frsize))
}
