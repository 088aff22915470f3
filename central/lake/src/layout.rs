//! Where things are in the lake.

use std::path::{Path, PathBuf};

use efd_shared_model::{Fingerprint, Site, UtcNanos};
use sha2::{Digest, Sha256};

pub(crate) const COMMITS: &str = "_commits";
pub(crate) const STAGED: &str = "_tmp";
/// Files that were not what their commit states: nobody reads them here, and they are for people to look at.
pub(crate) const DAMAGED: &str = "_damaged";
/// In [`COMMITS`]: the number of a commit from which on the newest is to be sought. A hint, not truth.
pub(crate) const HINT: &str = "_checkpoint";

/// A file name has at most 255 bytes on every common file system; `efd_topic=` takes 10 of them.
const TOPIC_BYTES_MAX: usize = 240;
const TOPIC_BYTES_KEPT: usize = 200;

/// `_commits/00000000000000000042.json`
pub(crate) fn commit_path(n: u64) -> PathBuf {
    Path::new(COMMITS).join(format!("{n:020}.json"))
}

pub(crate) fn commit_number(name: &str) -> Option<u64> {
    name.strip_suffix(".json")
        .filter(|digits| digits.len() == 20)?
        .parse()
        .ok()
}

/// `0000000042-00007-1a2b3c4d.parquet`: commit, file of the commit, begin of the schema's fingerprint. Never used twice.
pub(crate) fn file_name(commit: u64, index: usize, schema: Fingerprint) -> String {
    format!("{commit:010}-{index:05}-{}.parquet", schema.short())
}

/// `efd_site=summit/efd_topic=lsst.sal.MTMount.elevation`
pub fn topic_folder(site: &Site, topic: &str) -> String {
    format!("efd_site={site}/efd_topic={}", escape(topic))
}

/// `efd_site=summit/efd_topic=lsst.sal.MTMount.elevation/efd_date=2026-11-24`
pub fn folder_of(site: &Site, topic: &str, time: UtcNanos) -> String {
    format!("{}/efd_date={}", topic_folder(site, topic), time.date())
}

/// Letters, digits, `.`, `-` and `_` stay; every other byte becomes `%` and two hexadecimal digits, which readers of
/// such folders undo. A name that would be too long keeps its begin and gets `~` and 16 digits of its SHA-256.
/// No name at all is what such readers take for null.
fn escape(topic: &str) -> String {
    if topic.is_empty() {
        return "__HIVE_DEFAULT_PARTITION__".into();
    }
    let mut escaped = String::with_capacity(topic.len());
    for byte in topic.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_') {
            escaped.push(byte.into());
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    if escaped.len() > TOPIC_BYTES_MAX {
        escaped.truncate(TOPIC_BYTES_KEPT);
        let digest = Sha256::digest(topic.as_bytes());
        escaped.push('~');
        escaped.extend(digest[..8].iter().map(|byte| format!("{byte:02x}")));
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders() {
        let site: Site = "summit".parse().unwrap();
        let check = |topic: &str, expected: &str| assert_eq!(topic_folder(&site, topic), expected);
        check(
            "lsst.sal.MTMount.logevent_x-1",
            "efd_site=summit/efd_topic=lsst.sal.MTMount.logevent_x-1",
        );
        check("a/b=ü", "efd_site=summit/efd_topic=a%2Fb%3D%C3%BC");
        check("..", "efd_site=summit/efd_topic=..");
        check("", "efd_site=summit/efd_topic=__HIVE_DEFAULT_PARTITION__");
        let (long, other) = ("/".repeat(255), format!("{}a", "/".repeat(254)));
        assert!(
            topic_folder(&site, &long)
                .split('/')
                .all(|part| part.len() <= 255)
        );
        assert_ne!(topic_folder(&site, &long), topic_folder(&site, &other));
        assert_eq!(
            folder_of(&site, "t", UtcNanos(-1)),
            "efd_site=summit/efd_topic=t/efd_date=1969-12-31"
        );
    }

    #[test]
    fn commit_names_read_back_and_sort() {
        let name = |n| {
            commit_path(n)
                .file_name()
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned()
        };
        assert_eq!(commit_number(&name(42)), Some(42));
        assert_eq!(commit_number(HINT), None);
        assert!(name(9) < name(10) && name(99_999) < name(u64::MAX));
    }
}
