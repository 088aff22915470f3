//! A password out of a file.

use std::fmt;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// Any text that a broker or a registry takes. `Debug` hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(String);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    #[error("read the password from {}: {reason}", path.display())]
    Read { path: PathBuf, reason: String },
    #[error("the password in {}: {what}", path.display())]
    Unusable { path: PathBuf, what: &'static str },
}

impl Password {
    /// The first line of a file, as it is.
    pub fn from_file(path: &Path) -> Result<Self, PasswordError> {
        let text = fs::read_to_string(path).map_err(|error| PasswordError::Read {
            path: path.to_owned(),
            reason: error.to_string(),
        })?;
        let line = text.lines().next().unwrap_or_default();
        let unusable = |what| PasswordError::Unusable {
            path: path.to_owned(),
            what,
        };
        if line.is_empty() {
            return Err(unusable("the first line is empty"));
        }
        if line.chars().any(char::is_control) {
            return Err(unusable("it has a control character"));
        }
        Ok(Self(line.to_owned()))
    }

    /// For the one place that sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Password {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(not shown)")
    }
}

/// What to say of a file with a secret that others than its owner and group may read.
pub fn exposed(path: &Path) -> Option<String> {
    let mode = fs::metadata(path).ok()?.permissions().mode() & 0o7777;
    let path = path.display();
    (mode & 0o007 != 0)
        .then(|| format!("others may read the secret {path} (mode {mode:04o}); `chmod 600 {path}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_a_file_s_first_line_and_never_shown() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        fs::write(&path, "hunter2 and more \nnot this\n").unwrap();
        let password = Password::from_file(&path).unwrap();
        assert_eq!(password.expose(), "hunter2 and more ");
        assert!(!format!("{password:?}").contains("hunter2"));

        fs::write(&path, "\nhunter2\n").unwrap();
        let error = Password::from_file(&path).unwrap_err().to_string();
        assert!(error.contains("first line is empty"), "{error}");
        fs::write(&path, "hunter2\u{7}\n").unwrap();
        let error = Password::from_file(&path).unwrap_err().to_string();
        assert!(
            error.contains("control") && !error.contains("hunter2"),
            "{error}"
        );
        let error = Password::from_file(folder.path()).unwrap_err().to_string();
        assert!(error.contains("read the password from"), "{error}");
    }

    #[test]
    fn one_for_all_eyes_is_told_of() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        fs::write(&path, "hunter2\n").unwrap();
        for (mode, is_told) in [(0o600, false), (0o640, false), (0o644, true)] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(exposed(&path).is_some(), is_told, "{mode:o}");
        }
    }
}
