//! Values from the environment and from flags, laid over the file's tree.
//!
//! Each override has a range of offsets of its own behind the end of the file's text,
//! so that an error's offset tells which of them it is about.

use std::borrow::Cow;
use std::ffi::OsString;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{ConfigError, KEY_DEPTH_MAX};

pub(super) struct Override {
    /// `environment variable EFD_EDGE__SITE` or `--set site`.
    pub(super) origin: String,
    /// Never empty.
    pub(super) keys: Vec<String>,
    text: String,
}

/// Sorted by name, so that the order of the environment does not matter.
pub(super) fn from_environment(
    prefix: &str,
    env: impl IntoIterator<Item = (OsString, OsString)>,
    overrides: &mut Vec<Override>,
) -> Result<(), ConfigError> {
    let mut found: Vec<(String, OsString)> = env
        .into_iter()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
        .filter(|(name, _)| name.starts_with(prefix))
        .collect();
    found.sort();
    for (name, value) in found {
        let origin = format!("environment variable {name}");
        let keys = name[prefix.len()..]
            .split("__")
            .map(str::to_ascii_lowercase)
            .collect();
        let Ok(text) = value.into_string() else {
            return Err(refused(origin, "the value is not UTF-8 text"));
        };
        overrides.push(Override::new(origin, keys, text)?);
    }
    Ok(())
}

pub(super) fn from_flags(set: &[String], overrides: &mut Vec<Override>) -> Result<(), ConfigError> {
    for flag in set {
        let Some((key, text)) = flag.split_once('=') else {
            let shown: String = flag.chars().take(64).collect();
            return Err(refused(
                format!("--set {shown}"),
                "there is no `=`; write it like `--set buffer.bytes_max=200GiB`",
            ));
        };
        let origin = format!("--set {}", key.trim());
        let Some(keys) = dotted(key) else {
            return Err(refused(
                origin,
                "the key is not one of TOML; write it like `buffer.bytes_max`",
            ));
        };
        overrides.push(Override::new(origin, keys, text.trim().to_owned())?);
    }
    Ok(())
}

/// The parts of a TOML key, quoted ones included.
fn dotted(key: &str) -> Option<Vec<String>> {
    if key.contains(['\n', '=', '[', '#']) {
        return None;
    }
    let line = format!("{key}=0");
    let mut table = DeTable::parse(&line).ok()?.into_inner();
    let mut keys = Vec::new();
    loop {
        let (key, value) = std::mem::take(&mut table).into_iter().next()?;
        keys.push(key.into_inner().into_owned());
        match value.into_inner() {
            DeValue::Table(inner) => table = inner,
            DeValue::Integer(_) => return Some(keys),
            DeValue::String(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Array(_) => return None,
        }
    }
}

fn refused(origin: String, message: &str) -> ConfigError {
    ConfigError::InOverride {
        origin,
        key: None,
        message: message.to_owned(),
    }
}

impl Override {
    fn new(origin: String, keys: Vec<String>, text: String) -> Result<Self, ConfigError> {
        if keys.iter().any(String::is_empty) {
            return Err(refused(origin, "a part of the key is empty"));
        }
        if keys.len() > KEY_DEPTH_MAX {
            let message = format!("the key has {} parts, at most {KEY_DEPTH_MAX}", keys.len());
            return Err(refused(origin, &message));
        }
        Ok(Self { origin, keys, text })
    }

    /// Whether the value was taken for something else than text, and could be text.
    pub(super) fn may_be_text(&self) -> bool {
        !matches!(self.value(false), DeValue::String(_))
    }

    fn value(&self, as_text: bool) -> DeValue<'_> {
        let text = || DeValue::String(Cow::Borrowed(self.text.as_str()));
        if as_text {
            return text();
        }
        DeValue::parse(&self.text).map_or_else(|_| text(), Spanned::into_inner)
    }

    /// Sets the value in `root`; all of it gets the offset `base`.
    pub(super) fn apply<'a>(
        &'a self,
        root: &mut Spanned<DeTable<'a>>,
        base: usize,
        as_text: bool,
    ) -> Result<(), ConfigError> {
        let range = base..base + 1;
        let mut table = root.get_mut();
        let (last, sections) = self
            .keys
            .split_last()
            .ok_or_else(|| refused(self.origin.clone(), "the key is empty"))?;
        for (depth, section) in sections.iter().enumerate() {
            let entry = table
                .entry(spanned(section, &range))
                .or_insert_with(|| Spanned::new(range.clone(), DeValue::Table(DeTable::new())));
            let kind = entry.get_ref().type_str();
            let DeValue::Table(inner) = entry.get_mut() else {
                let path = self.keys[..=depth].join(".");
                return Err(self.error(&format!("`{path}` is a {kind}, not a section")));
            };
            table = inner;
        }
        // Taken out first: an existing key would keep its own place.
        table.remove(last.as_str());
        let value = placed(Spanned::new(range.clone(), self.value(as_text)), &range);
        table.insert(spanned(last, &range), value);
        Ok(())
    }
}

fn spanned<'a>(key: &'a str, range: &Range<usize>) -> Spanned<Cow<'a, str>> {
    Spanned::new(range.clone(), Cow::Borrowed(key))
}

/// `value` and all within it at `range`.
fn placed<'a>(value: Spanned<DeValue<'a>>, range: &Range<usize>) -> Spanned<DeValue<'a>> {
    let moved = match value.into_inner() {
        DeValue::Table(table) => DeValue::Table(
            table
                .into_iter()
                .map(|(key, value)| {
                    let key = Spanned::new(range.clone(), key.into_inner());
                    (key, placed(value, range))
                })
                .collect(),
        ),
        DeValue::Array(mut items) => {
            for item in items.iter_mut() {
                let taken =
                    std::mem::replace(item, Spanned::new(range.clone(), DeValue::Boolean(false)));
                *item = placed(taken, range);
            }
            DeValue::Array(items)
        }
        value @ (DeValue::String(_)
        | DeValue::Integer(_)
        | DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_)) => value,
    };
    Spanned::new(range.clone(), moved)
}

/// Where override `index` stands: behind the text and its closing newline, one offset each.
pub(super) fn base(text_len: usize, index: usize) -> usize {
    text_len + 1 + index
}

/// The override that an offset belongs to, if it is not of the file.
pub(super) fn index_at(text_len: usize, offset: usize) -> Option<usize> {
    offset.checked_sub(text_len + 1)
}
