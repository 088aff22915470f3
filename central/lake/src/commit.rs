//! A commit, as its file has it. Plain fields, versioned; `fixtures/` has one of every version.

use efd_central_log::{Progress, ProgressError};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub(crate) const VERSION: u32 = 1;

/// `_commits/<n>.json`: the files that it adds and removes, and what blocks the lake has after it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Commit {
    pub version: u32,
    /// From 1 without gaps.
    pub n: u64,
    /// When it was made, RFC 3339.
    pub time: String,
    /// The same, ns since 1970.
    pub time_ns: i64,
    pub added: Vec<FileEntry>,
    /// Paths of files whose rows are in `added`, or in no need of a place.
    pub removed: Vec<String>,
    /// Of these: files that are not what they should be, and so are kept in `_damaged/`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub damaged: Vec<String>,
    /// What commits up to this one have removed has been deleted.
    pub swept_through: u64,
    /// Of the lake, this commit included.
    pub totals: Totals,
    /// `places` and `seen`: the consumer's whole [`Progress`].
    #[serde(flatten)]
    progress: Map<String, Value>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// From the lake's root, parts separated by `/`.
    pub path: String,
    pub site: String,
    pub topic: String,
    /// Fingerprint of the Avro schema.
    pub schema: String,
    pub rows: u64,
    pub bytes: u64,
    pub sha256: String,
    /// Of the event times, ns since 1970, inclusive.
    pub time_min: i64,
    pub time_max: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Totals {
    pub files: u64,
    pub rows: u64,
    pub bytes: u64,
}

/// What a commit does to the files.
#[derive(Debug, Default)]
pub(crate) struct Change {
    pub(crate) added: Vec<FileEntry>,
    pub(crate) removed: Vec<FileEntry>,
    /// What is removed is damaged.
    pub(crate) is_damage: bool,
}

impl Commit {
    pub(crate) fn after(
        (last, totals): (u64, Totals),
        time: efd_shared_model::UtcNanos,
        change: Change,
        swept_through: u64,
        progress: &Progress,
    ) -> Self {
        let Change {
            added,
            removed,
            is_damage,
        } = change;
        let sum =
            |files: &[FileEntry], of: fn(&FileEntry) -> u64| files.iter().map(of).sum::<u64>();
        let totals = Totals {
            files: (totals.files + added.len() as u64).saturating_sub(removed.len() as u64),
            rows: (totals.rows + sum(&added, |file| file.rows))
                .saturating_sub(sum(&removed, |file| file.rows)),
            bytes: (totals.bytes + sum(&added, |file| file.bytes))
                .saturating_sub(sum(&removed, |file| file.bytes)),
        };
        let progress = match progress.to_json() {
            Value::Object(progress) => progress,
            // A progress is an object by its own account.
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_) => Map::new(),
        };
        let removed: Vec<_> = removed.into_iter().map(|file| file.path).collect();
        let damaged = is_damage.then(|| removed.clone());
        Self {
            version: VERSION,
            n: last + 1,
            time: time.to_string(),
            time_ns: time.0,
            added,
            removed,
            damaged: damaged.unwrap_or_default(),
            swept_through,
            totals,
            progress,
        }
    }

    pub fn progress(&self) -> Result<Progress, ProgressError> {
        Progress::from_json(&Value::Object(self.progress.clone()))
    }
}

#[cfg(test)]
mod tests {
    use efd_shared_model::UtcNanos;

    use super::*;

    const FIXTURE: &str = include_str!("../fixtures/commit-v1.json");

    #[test]
    fn v1_is_read_and_never_changes() {
        let commit: Commit = serde_json::from_str(FIXTURE).unwrap();
        assert_eq!(serde_json::to_string(&commit).unwrap(), FIXTURE.trim_end());

        let progress = commit.progress().unwrap();
        assert_eq!(progress.places.len(), 2);
        assert_eq!(progress.seen.len(), 1);
        let (added, removed) = (commit.added.clone(), vec![]);
        let totals = Totals {
            files: 4,
            rows: 10,
            bytes: 100,
        };
        let time = UtcNanos(commit.time_ns);
        let change = Change {
            added,
            removed,
            is_damage: false,
        };
        let mut again = Commit::after((6, totals), time, change, 3, &progress);
        again.removed.clone_from(&commit.removed);
        assert_eq!(again, commit);
    }
}
