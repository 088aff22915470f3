//! The lake recounts itself: what is really there, by hour, beside what its commits state.
//!
//! Beside a running writer and without its lock: nothing is written, and a file that is replaced meanwhile is no fault.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::ops::ControlFlow;
use std::path::Path;

use efd_central_log::Progress;
use efd_shared_model::{Tally, UtcNanos};

use crate::chain;
use crate::error::LakeError;
use crate::examine::{Fault, FaultKind, blocks_of, examine};
use crate::identity::{Lanes, RowId};
use crate::layout::{COMMITS, commit_number, commit_path};
use crate::live::{Folder, Live};
use crate::part::Part;

/// A part that is compacted while it is read is read again; more often than this it is not believed.
const ATTEMPTS_MAX: u32 = 16;

/// What there is of a part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartAudit {
    pub part: Part,
    /// Its files are those of this commit; [`progress_at`] tells which blocks are to be in them.
    pub commit: u64,
    /// By [hour](UtcNanos::hour): all rows that can be read, also of files that are at fault.
    pub hours: BTreeMap<i64, Tally>,
    /// By hour: how many of these are one too many. `None` where that was not asked.
    pub duplicates: Option<BTreeMap<i64, u64>>,
    /// As many as its commits state, and so many bytes.
    pub files: u64,
    pub bytes: u64,
    pub rows_stated: u64,
    pub faults: Vec<Fault>,
}

impl PartAudit {
    pub fn rows(&self) -> u64 {
        self.hours.values().map(|tally| tally.rows).sum()
    }
}

/// The sum of all parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Audit {
    /// The newest commit when it began.
    pub commit: u64,
    pub parts: u64,
    pub files: u64,
    pub bytes: u64,
    pub rows: u64,
    pub rows_stated: u64,
    pub duplicates: u64,
    pub faults: u64,
}

impl Audit {
    fn add(&mut self, part: &PartAudit) {
        self.parts += 1;
        self.files += part.files;
        self.bytes += part.bytes;
        self.rows += part.rows();
        self.rows_stated += part.rows_stated;
        self.duplicates += part
            .duplicates
            .iter()
            .flat_map(BTreeMap::values)
            .sum::<u64>();
        self.faults += part.faults.len() as u64;
    }
}

/// Reads every file of the parts that are wanted, part by part in the order of their folders, until `visit` breaks it off.
///
/// `check_duplicates` takes 24 bytes for each row of one part at a time. A part that has no file is not visited.
pub fn audit(
    root: &Path,
    wanted: &dyn Fn(&Part) -> bool,
    check_duplicates: bool,
    visit: &mut dyn FnMut(PartAudit) -> ControlFlow<()>,
) -> Result<Audit, LakeError> {
    let reader = Reader { root, wanted };
    let mut live = Live::default();
    reader.advance(&mut live, newest(root)?)?;
    let mut audit = Audit {
        commit: live.through(),
        ..Audit::default()
    };
    let mut last = String::new();
    while let Some(folder) = live.after(&last) {
        last = folder.to_owned();
        let Some(part) = reader.read_part(&mut live, &last, check_duplicates)? else {
            continue;
        };
        audit.add(&part);
        if visit(part).is_break() {
            break;
        }
    }
    Ok(audit)
}

/// Which blocks of the log are in the lake by its commit `n`; none by commit 0.
pub fn progress_at(root: &Path, n: u64) -> Result<Progress, LakeError> {
    if n == 0 {
        return Ok(Progress::default());
    }
    let path = commit_path(n);
    let bytes = fs::read(root.join(&path)).map_err(|error| LakeError::io("read", &path, error))?;
    let progress = chain::parse(&bytes, n)?.progress();
    progress.map_err(|error| LakeError::BadCommit {
        path,
        reason: error.to_string(),
    })
}

/// Number of a lake's newest commit; 0 before the first, and where there is no lake.
pub fn newest(root: &Path) -> Result<u64, LakeError> {
    let folder = Path::new(COMMITS);
    let failed = |error| LakeError::io("list", folder, error);
    let entries = match fs::read_dir(root.join(folder)) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(failed(error)),
    };
    let mut newest = 0;
    for entry in entries {
        let name = entry.map_err(failed)?.file_name();
        let number = name.to_str().and_then(commit_number);
        newest = newest.max(number.unwrap_or(0));
    }
    Ok(newest)
}

struct Reader<'a> {
    root: &'a Path,
    wanted: &'a dyn Fn(&Part) -> bool,
}

impl Reader<'_> {
    fn advance(&self, live: &mut Live, through: u64) -> Result<(), LakeError> {
        let read = |path: &Path| fs::read(self.root.join(path));
        live.advance(&read, through, self.wanted)
    }

    fn advance_to_end(&self, live: &mut Live) -> Result<(), LakeError> {
        let mut through = live.through();
        loop {
            let path = commit_path(through + 1);
            match self.root.join(&path).try_exists() {
                Ok(true) => through += 1,
                Ok(false) => return self.advance(live, through),
                Err(error) => return Err(LakeError::io("look for", &path, error)),
            }
        }
    }

    /// `None` if meanwhile it has no files any more.
    fn read_part(
        &self,
        live: &mut Live,
        name: &str,
        check_duplicates: bool,
    ) -> Result<Option<PartAudit>, LakeError> {
        for attempt in 1.. {
            let Some(folder) = live.folder(name) else {
                return Ok(None);
            };
            let part = self.read_folder(folder, live.through(), check_duplicates);
            let is_missing = |fault: &Fault| fault.kind == FaultKind::Missing;
            let missing = part.faults.iter().filter(|fault| is_missing(fault));
            let missing: Vec<_> = missing.map(|fault| fault.file.path.clone()).collect();
            if missing.is_empty() {
                return Ok(Some(part));
            }
            self.advance_to_end(live)?;
            let files = live.folder(name).map(|folder| &folder.files);
            let is_live = |path: &String| files.is_some_and(|files| files.contains_key(path));
            if attempt == ATTEMPTS_MAX || missing.iter().all(is_live) {
                return Ok(Some(part));
            }
        }
        Ok(None)
    }

    fn read_folder(&self, folder: &Folder, commit: u64, check_duplicates: bool) -> PartAudit {
        let Folder { part, files } = folder;
        let open = |path: &Path| File::open(self.root.join(path));
        let mut audit = PartAudit {
            part: part.clone(),
            commit,
            hours: BTreeMap::new(),
            duplicates: None,
            files: files.len() as u64,
            bytes: files.values().map(|file| file.bytes).sum(),
            rows_stated: files.values().map(|file| file.rows).sum(),
            faults: Vec::new(),
        };
        let mut lanes = Lanes::default();
        let mut all = Vec::new();
        for entry in files.values() {
            let mut unsound = Vec::new();
            let examined = examine(&open, entry, part, &mut lanes, &mut |row| {
                let hour = UtcNanos(row.time).hour();
                audit.hours.entry(hour).or_default().add(row.digest);
                if !row.is_sound {
                    unsound.push(row.id);
                }
                if check_duplicates {
                    all.push((row.id, hour));
                }
            });
            let fault = examined.fault(entry, || blocks_of(unsound, &lanes));
            audit.faults.extend(fault);
        }
        audit.duplicates = check_duplicates.then(|| duplicates(all));
        audit
    }
}

fn duplicates(mut rows: Vec<(RowId, i64)>) -> BTreeMap<i64, u64> {
    rows.sort_unstable();
    let mut duplicates = BTreeMap::new();
    for pair in rows.windows(2) {
        let [(before, _), (id, hour)] = pair else {
            continue;
        };
        if before == id {
            *duplicates.entry(*hour).or_default() += 1;
        }
    }
    duplicates
}
