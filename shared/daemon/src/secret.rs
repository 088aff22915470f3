//! Text that must not appear in a log, an error or a status page.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use serde::de::{self, Deserialize, Deserializer, Visitor};

/// A token. `Debug` hides it, nothing serializes it, and comparing it takes as long as it is wrong.
#[derive(Clone)]
pub struct Secret(String);

/// A token is sent in an HTTP header: printable ASCII without spaces, of a length that cannot be guessed.
pub const SECRET_CHARS_MIN: usize = 16;
pub const SECRET_CHARS_MAX: usize = 1024;

#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    #[error(
        "the token has {chars} characters; {SECRET_CHARS_MIN} to {SECRET_CHARS_MAX} are needed (try `openssl rand -hex 32`)"
    )]
    Length { chars: usize },
    #[error("the token holds a space or a character that is not printable ASCII")]
    Character,
    #[error("read the token from {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("the token in {}", path.display())]
    InFile {
        path: PathBuf,
        #[source]
        source: Box<Self>,
    },
}

impl Secret {
    pub fn new(text: &str) -> Result<Self, SecretError> {
        let chars = text.chars().count();
        if !(SECRET_CHARS_MIN..=SECRET_CHARS_MAX).contains(&chars) {
            return Err(SecretError::Length { chars });
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(SecretError::Character);
        }
        Ok(Self(text.to_owned()))
    }

    /// The first line of a file.
    pub fn from_file(path: &Path) -> Result<Self, SecretError> {
        let text = std::fs::read_to_string(path).map_err(|source| SecretError::Read {
            path: path.to_owned(),
            source,
        })?;
        Self::new(text.lines().next().unwrap_or_default().trim()).map_err(|source| {
            SecretError::InFile {
                path: path.to_owned(),
                source: Box::new(source),
            }
        })
    }

    /// The text itself, for the one place that sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Every byte is looked at, so that the time taken does not tell how many were right.
    pub fn matches(&self, offered: &[u8]) -> bool {
        let own = self.0.as_bytes();
        let differing =
            own.iter()
                .enumerate()
                .fold(own.len() ^ offered.len(), |sum, (index, byte)| {
                    sum | usize::from(byte ^ offered.get(index).copied().unwrap_or(!byte))
                });
        std::hint::black_box(differing) == 0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(not shown)")
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        // Serde's own message for a value of the wrong kind would print the value.
        fn wrong_kind<E: de::Error>() -> Result<Secret, E> {
            Err(E::custom(
                "a token is text in quotes (the value is not shown)",
            ))
        }

        impl Visitor<'_> for Text {
            type Value = Secret;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a token in quotes")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Secret, E> {
                Secret::new(text).map_err(E::custom)
            }

            fn visit_bool<E: de::Error>(self, _: bool) -> Result<Secret, E> {
                wrong_kind()
            }

            fn visit_i64<E: de::Error>(self, _: i64) -> Result<Secret, E> {
                wrong_kind()
            }

            fn visit_u64<E: de::Error>(self, _: u64) -> Result<Secret, E> {
                wrong_kind()
            }

            fn visit_f64<E: de::Error>(self, _: f64) -> Result<Secret, E> {
                wrong_kind()
            }
        }

        deserializer.deserialize_str(Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "correct-horse-battery";

    #[test]
    fn is_compared_whole_and_never_shown() {
        let secret = Secret::new(TOKEN).unwrap();
        assert!(secret.matches(TOKEN.as_bytes()));
        for wrong in [
            "",
            "correct",
            "correct-horse-batterx",
            "correct-horse-battery1",
        ] {
            assert!(!secret.matches(wrong.as_bytes()), "{wrong}");
        }
        assert!(!format!("{secret:?}").contains("horse"));
    }

    #[test]
    fn weak_and_unsendable_tokens_are_refused() {
        assert!(matches!(
            Secret::new("short"),
            Err(SecretError::Length { chars: 5 })
        ));
        assert!(matches!(
            Secret::new("sixteen chars and spaces"),
            Err(SecretError::Character)
        ));
        assert!(matches!(
            Secret::new("line\r\nbreaks-in-a-header"),
            Err(SecretError::Character)
        ));
    }

    #[test]
    fn comes_from_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        std::fs::write(&path, format!("{TOKEN}\n")).unwrap();
        assert!(Secret::from_file(&path).unwrap().matches(TOKEN.as_bytes()));
        std::fs::write(&path, "").unwrap();
        let error = crate::exit::chain(&Secret::from_file(&path).unwrap_err());
        assert!(
            error.contains("token") && error.contains("0 characters"),
            "{error}"
        );
    }
}
