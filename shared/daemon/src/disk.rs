//! How full a disk is.

use std::io;
use std::path::Path;

use crate::queues::Fill;

/// Of the file system that holds `path`: bytes in use, by whomever, and how many there are for us with them.
pub fn fill_of(path: &Path) -> io::Result<Fill> {
    let stat = rustix::fs::statvfs(path)?;
    let used = stat.f_blocks.saturating_sub(stat.f_bfree);
    let all = used.saturating_add(stat.f_bavail);
    let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
    Ok(Fill::new(bytes(used), bytes(all)))
}

/// Bytes of the file system that holds `path`, or its nearest parent that exists.
pub fn bytes_of_disk(path: &Path) -> io::Result<u64> {
    let mut ancestors = path.ancestors();
    let existing = ancestors.find(|ancestor| ancestor.exists()).unwrap_or(path);
    let stat = rustix::fs::statvfs(existing).map_err(|error| {
        let error = io::Error::from(error);
        io::Error::new(
            error.kind(),
            format!("size of the disk of {}: {error}", path.display()),
        )
    })?;
    Ok(stat.f_blocks.saturating_mul(stat.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_has_a_size() {
        let fill = fill_of(Path::new("/")).unwrap();
        assert!(fill.used <= fill.limit && 0 < fill.limit, "{fill:?}");
        assert!(fill_of(Path::new("/no/such/folder")).is_err());
        let bytes = bytes_of_disk(Path::new("/no/such/folder")).unwrap();
        assert!(fill.limit <= bytes, "{bytes}");
    }
}
