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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_has_a_size() {
        let fill = fill_of(Path::new("/")).unwrap();
        assert!(fill.used <= fill.limit && 0 < fill.limit, "{fill:?}");
        assert!(fill_of(Path::new("/no/such/folder")).is_err());
    }
}
