//! What a live writer has added since the last look.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use efd_shared_store::ReadOnlyStore;

use crate::outcome::InspectError;
use crate::screen::Screen;

/// Size and time of change of every file that a commit touches.
type Stamps = BTreeSet<(PathBuf, u64, Option<SystemTime>)>;

pub(super) struct Following {
    path: PathBuf,
    stamps: Stamps,
    /// The last look found files that had changed.
    is_unsettled: bool,
    /// What was said of the buffer already.
    said: BTreeSet<String>,
}

impl Following {
    pub(super) const EVERY: Duration = Duration::from_millis(200);

    pub(super) fn new(path: &Path, store: &ReadOnlyStore) -> Self {
        Self {
            path: path.to_owned(),
            stamps: Stamps::new(),
            is_unsettled: true,
            said: store.notices().iter().map(ToString::to_string).collect(),
        }
    }

    /// Refreshes the store where its files have changed; `false` where they have not. Looking again reads every open
    /// segment's rows, so a quiet buffer is only listed.
    pub(super) fn look(
        &mut self,
        store: &mut ReadOnlyStore,
        screen: &mut Screen<impl Write, impl Write>,
    ) -> Result<bool, InspectError> {
        let stamps = stamps(&self.path);
        let has_changed = stamps != self.stamps;
        // Two commits within one tick of the file system's clock look like one: what changed is looked at once more.
        if !has_changed && !std::mem::take(&mut self.is_unsettled) {
            return Ok(false);
        }
        self.is_unsettled = has_changed;
        self.stamps = stamps;
        store.refresh()?;
        for notice in store.notices() {
            let text = notice.to_string();
            if !self.said.contains(&text) {
                screen.damaged(&text)?;
                self.said.insert(text);
            }
        }
        Ok(true)
    }
}

/// Without `meta.db`: declarations come before the blocks that use them. Without `-shm`: readers change it too.
fn stamps(path: &Path) -> Stamps {
    let list = |folder: &Path| {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect::<Vec<_>>()
    };
    let files = if path.is_dir() {
        let lanes = list(&path.join("segments"));
        lanes.iter().flat_map(|lane| list(lane)).collect()
    } else {
        let mut wal = path.as_os_str().to_owned();
        wal.push("-wal");
        vec![path.to_owned(), wal.into()]
    };
    let stamp = |file: PathBuf| {
        let metadata = fs::metadata(&file).ok()?;
        Some((file, metadata.len(), metadata.modified().ok()))
    };
    let files = files.into_iter();
    let files = files.filter(|file| !file.to_string_lossy().ends_with("-shm"));
    files.filter_map(stamp).collect()
}
