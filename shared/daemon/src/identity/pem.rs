//! Reading certificates and keys from PEM files.

use std::fmt;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// A chain is a few KiB.
const PEM_BYTES_MAX: u64 = 1 << 20;

const CERTIFICATE: &str = "a certificate (`-----BEGIN CERTIFICATE-----`)";
const KEY: &str = "a private key without a password (`-----BEGIN PRIVATE KEY-----`)";

#[derive(Debug, thiserror::Error)]
pub enum PemError {
    #[error("read {}, which should hold {expected}", path.display())]
    Read {
        path: PathBuf,
        expected: &'static str,
        source: io::Error,
    },
    #[error(
        "{} is larger than {PEM_BYTES_MAX} bytes; it should hold {expected}",
        path.display()
    )]
    TooLarge {
        path: PathBuf,
        expected: &'static str,
    },
    #[error("{} should hold {expected}, and holds {found}", path.display())]
    Other {
        path: PathBuf,
        expected: &'static str,
        found: String,
    },
    /// What is damaged is not told: it may be a key.
    #[error("{} is damaged PEM; it should hold {expected}", path.display())]
    Damaged {
        path: PathBuf,
        expected: &'static str,
    },
}

/// All certificates of a file, at least one.
pub(super) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, PemError> {
    let bytes = read(path, CERTIFICATE)?;
    let found: Vec<_> = CertificateDer::pem_slice_iter(&bytes)
        .collect::<Result<_, _>>()
        .map_err(|_| damaged(path, CERTIFICATE))?;
    if found.is_empty() {
        return Err(other(path, CERTIFICATE, &bytes));
    }
    Ok(found)
}

/// The first private key of a file.
pub(super) fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, PemError> {
    let bytes = read(path, KEY)?;
    let found = PrivateKeyDer::pem_slice_iter(&bytes)
        .next()
        .transpose()
        .map_err(|_| damaged(path, KEY))?;
    found.ok_or_else(|| other(path, KEY, &bytes))
}

/// The text of a private key, for [`super::ca`].
pub(super) fn private_key_text(path: &Path) -> Result<String, PemError> {
    String::from_utf8(read(path, KEY)?).map_err(|_| damaged(path, KEY))
}

fn read(path: &Path, expected: &'static str) -> Result<Vec<u8>, PemError> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(PEM_BYTES_MAX + 1).read_to_end(&mut bytes))
        .map_err(|source| PemError::Read {
            path: path.to_owned(),
            expected,
            source,
        })?;
    if bytes.len() as u64 > PEM_BYTES_MAX {
        return Err(PemError::TooLarge {
            path: path.to_owned(),
            expected,
        });
    }
    Ok(bytes)
}

fn damaged(path: &Path, expected: &'static str) -> PemError {
    PemError::Damaged {
        path: path.to_owned(),
        expected,
    }
}

/// Names the sections that are there: two files that were swapped are the commonest mistake.
fn other(path: &Path, expected: &'static str, bytes: &[u8]) -> PemError {
    let text = String::from_utf8_lossy(bytes);
    let mut sections: Vec<_> = text
        .lines()
        .filter_map(|line| {
            line.trim()
                .strip_prefix("-----BEGIN ")?
                .strip_suffix("-----")
        })
        .map(|label| label.chars().take(40).collect::<String>())
        .take(8)
        .collect();
    sections.dedup();
    PemError::Other {
        path: path.to_owned(),
        expected,
        found: match sections.as_slice() {
            [] => "no PEM section".to_owned(),
            sections => sections.join(", "),
        },
    }
}

/// A private key that others than its owner may read. Worth a warning at start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExposedKey {
    pub path: PathBuf,
    /// The permission bits, such as 0o644.
    pub mode: u32,
}

impl fmt::Display for ExposedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        write!(
            f,
            "others may read the private key {path} (mode {:04o}); `chmod 600 {path}`",
            self.mode
        )
    }
}

impl ExposedKey {
    pub(super) fn find(path: &Path) -> Option<Self> {
        let mode = std::fs::metadata(path).ok()?.permissions().mode() & 0o7777;
        (mode & 0o077 != 0).then(|| Self {
            path: path.to_owned(),
            mode,
        })
    }
}
