//! Configuration: a TOML file, overridden by environment variables, overridden by `--set` flags.
//!
//! The type that is read says everything else: unknown keys are refused where it is marked
//! `#[serde(deny_unknown_fields)]`, quantities carry units ([`crate::units`]), defaults are its own.
//!
//! - `EFD_EDGE__BUFFER__BYTES_MAX=200GiB` sets `buffer.bytes_max`, for the prefix `EFD_EDGE__`: after the
//!   prefix `__` goes one level down, and letters are taken as lower-case. A variable that begins with the
//!   prefix and names no key is refused like any unknown key.
//! - `--set buffer.bytes_max=200GiB` does the same; the last one counts. Keys with dots are quoted as in TOML.
//! - A value is read as TOML where it is TOML and the key wants it so (`3`, `true`, `["a", "b"]`), else as text.
//!
//! Every error names the file with line and column, or the variable or flag; the key; what is wrong with it.
//! Lines that hold a token, secret or password are not shown.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use toml::de::{DeTable, Deserializer};

mod merge;
mod place;
#[cfg(test)]
mod tests;

use merge::Override;
pub use place::Position;

/// A configuration file is a page of text; more is the wrong file.
pub const CONFIG_BYTES_MAX: u64 = 1 << 20;

/// How deep a key may be nested, in the file's own terms and in an override.
pub const KEY_DEPTH_MAX: usize = 8;

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("read the configuration {}; name another with `--config FILE`", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error(
        "the configuration {} is larger than {CONFIG_BYTES_MAX} bytes; is it the right file?",
        path.display()
    )]
    TooLarge { path: PathBuf },
    #[error("the configuration {} is not UTF-8 text", path.display())]
    NotText { path: PathBuf },
    #[error("{}:{position}: {}{message}{}", path.display(), Key(key), Excerpt(position, line))]
    InFile {
        path: PathBuf,
        position: Position,
        /// `buffer.bytes_max`, where the error has a key.
        key: Option<String>,
        message: String,
        /// The line of the file, unless it holds a secret.
        line: Option<String>,
    },
    #[error("{origin}: {}{message}", Key(key))]
    InOverride {
        /// `environment variable EFD_EDGE__SITE` or `--set site`.
        origin: String,
        key: Option<String>,
        message: String,
    },
}

/// Reads `path`, then the environment variables that begin with `env_prefix` (such as `EFD_EDGE__`), then `set`,
/// each of them `key.path=value`.
pub fn load<T: DeserializeOwned>(
    path: &Path,
    env_prefix: &str,
    set: &[String],
) -> Result<T, ConfigError> {
    let text = read(path)?;
    parse(path, &text, env_prefix, std::env::vars_os(), set)
}

/// [`load`] with the text and the environment given. `path` is for messages only.
pub fn parse<T: DeserializeOwned>(
    path: &Path,
    text: &str,
    env_prefix: &str,
    env: impl IntoIterator<Item = (OsString, OsString)>,
    set: &[String],
) -> Result<T, ConfigError> {
    let file = File { path, text };
    let root = DeTable::parse(text).map_err(|error| file.error(&error, None))?;
    let mut overrides = Vec::new();
    merge::from_environment(env_prefix, env, &mut overrides)?;
    merge::from_flags(set, &mut overrides)?;

    // A value that looks like a number may be meant as text, which only the type can say:
    // where it refuses what TOML makes of it, the text itself is offered.
    let mut as_text = BTreeSet::new();
    let mut first_refusal: Option<(usize, ConfigError)> = None;
    loop {
        let mut merged = root.clone();
        for (index, entry) in overrides.iter().enumerate() {
            let base = merge::base(text.len(), index);
            entry.apply(&mut merged, base, as_text.contains(&index))?;
        }
        let error = match T::deserialize(Deserializer::from(merged.clone())) {
            Ok(config) => return Ok(config),
            Err(error) => error,
        };
        let range = error.span().unwrap_or(0..text.len());
        let Some(index) = merge::index_at(text.len(), range.start) else {
            let key = (range != merged.span())
                .then(|| place::key_at(merged.get_ref(), &range))
                .flatten();
            return Err(file.error(&error, key));
        };
        let entry = &overrides[index];
        let refusal = entry.error(error.message());
        match first_refusal {
            Some((first, first_refusal)) if first == index => return Err(first_refusal),
            _ if entry.may_be_text() && as_text.insert(index) => {
                first_refusal = Some((index, refusal));
            }
            _ => return Err(refusal),
        }
    }
}

fn read(path: &Path) -> Result<String, ConfigError> {
    let failed = |source| ConfigError::Read {
        path: path.to_owned(),
        source,
    };
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(CONFIG_BYTES_MAX + 1).read_to_end(&mut bytes))
        .map_err(failed)?;
    if bytes.len() as u64 > CONFIG_BYTES_MAX {
        return Err(ConfigError::TooLarge {
            path: path.to_owned(),
        });
    }
    String::from_utf8(bytes).map_err(|_| ConfigError::NotText {
        path: path.to_owned(),
    })
}

struct File<'a> {
    path: &'a Path,
    text: &'a str,
}

impl File<'_> {
    fn error(&self, error: &toml::de::Error, key: Option<String>) -> ConfigError {
        let start = error.span().map_or(0, |span| span.start);
        let (position, line) = place::position(self.text, start);
        ConfigError::InFile {
            path: self.path.to_owned(),
            position,
            message: explain(error.message()),
            line: (!place::is_secret(line) && !key.as_deref().is_some_and(place::is_secret))
                .then(|| line.chars().take(160).collect()),
            key,
        }
    }
}

impl Override {
    fn error(&self, message: &str) -> ConfigError {
        ConfigError::InOverride {
            origin: self.origin.clone(),
            key: Some(self.keys.join(".")),
            message: explain(message),
        }
    }
}

/// Serde's words for a missing key do not say what to do.
fn explain(message: &str) -> String {
    match message
        .strip_prefix("missing field `")
        .and_then(|rest| rest.strip_suffix('`'))
    {
        Some(key) => format!("`{key}` is missing; add a line `{key} = …` here"),
        None => message.trim_end().to_owned(),
    }
}

struct Key<'a>(&'a Option<String>);

impl fmt::Display for Key<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_ref().map_or(Ok(()), |key| write!(f, "{key}: "))
    }
}

/// The line with a mark under the column.
struct Excerpt<'a>(&'a Position, &'a Option<String>);

impl fmt::Display for Excerpt<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(position, Some(line)) = self else {
            return Ok(());
        };
        let number = position.line.to_string();
        let margin = " ".repeat(number.len());
        let indent = " ".repeat(position.column - 1);
        write!(f, "\n  {number} | {line}\n  {margin} | {indent}^")
    }
}
