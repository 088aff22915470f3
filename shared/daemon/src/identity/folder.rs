//! The three files of a daemon in one folder, as [`ca`](super::ca) leaves them.

use std::path::{Path, PathBuf};

use super::ca::CA_CERTIFICATE_FILE;
use super::tls::CertificateFiles;

#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    #[error("list the folder of certificates {}", folder.display())]
    List {
        folder: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error(
        "{} has no `{prefix}*.crt`; issue one with `efd-central ca` (issue-central, issue-edge, issue-rescue), and copy its .crt and .key, and {CA_CERTIFICATE_FILE}, there",
        folder.display()
    )]
    None { folder: PathBuf, prefix: String },
    #[error("{} has several: {}; leave the one that is this machine's", folder.display(), names.join(", "))]
    Several { folder: PathBuf, names: Vec<String> },
}

impl CertificateFiles {
    /// `ca.crt` and the one certificate whose name begins with `prefix` and ends with `.crt`, its key beside it.
    pub fn in_folder(folder: &Path, prefix: &str) -> Result<Self, FolderError> {
        let failed = |source| FolderError::List {
            folder: folder.to_owned(),
            source,
        };
        let mut names = Vec::new();
        for entry in std::fs::read_dir(folder).map_err(failed)? {
            let name = entry
                .map_err(failed)?
                .file_name()
                .to_string_lossy()
                .into_owned();
            if name.starts_with(prefix) && name.ends_with(".crt") && name != CA_CERTIFICATE_FILE {
                names.push(name);
            }
        }
        names.sort();
        let name = match &names[..] {
            [one] => one,
            [] => {
                return Err(FolderError::None {
                    folder: folder.to_owned(),
                    prefix: prefix.to_owned(),
                });
            }
            [_, _, ..] => {
                return Err(FolderError::Several {
                    folder: folder.to_owned(),
                    names,
                });
            }
        };
        let certificate = folder.join(name);
        let key = certificate.with_extension("key");
        Ok(Self {
            ca: folder.join(CA_CERTIFICATE_FILE),
            certificate,
            key,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_certificate_of_the_prefix_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        let find = || CertificateFiles::in_folder(folder.path(), "summit-");
        assert!(matches!(find(), Err(FolderError::None { .. })));
        for name in ["ca.crt", "central-main.crt", "summit-1.crt", "summit-1.key"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        let files = find().unwrap();
        assert_eq!(files.certificate, folder.path().join("summit-1.crt"));
        assert_eq!(files.key, folder.path().join("summit-1.key"));
        std::fs::write(folder.path().join("summit-2.crt"), "").unwrap();
        assert_eq!(
            find().unwrap_err().to_string().matches("summit-").count(),
            2
        );
    }
}
