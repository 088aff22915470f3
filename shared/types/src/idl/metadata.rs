//! The comments in which SAL keeps what IDL has no word for.

use crate::model::{Metadata, Versions};

/// What follows `@Metadata=` in a comment; `None` where it is not of the known form.
///
/// The description runs to the *last* quote of the line: it may itself hold quotes, parentheses
/// and commas.
pub(super) fn metadata(comment: &str) -> Option<Metadata> {
    let mut rest = comment.strip_prefix('(')?.trim_start();
    let mut metadata = Metadata::default();
    if let Some(value) = rest.strip_prefix("Units=\"") {
        let (units, after) = value.split_once('"')?;
        metadata.units = Some(units.to_owned());
        rest = after.trim_start().trim_start_matches(',').trim_start();
    }
    if let Some(value) = rest.strip_prefix("Description=\"") {
        metadata.description = Some(value[..value.rfind('"')?].to_owned());
    } else if !rest.starts_with(')') {
        return None;
    }
    Some(metadata)
}

/// The text after `@Metadata=` of a `//` comment that has one.
pub(super) fn find_metadata(comment: &str) -> Option<&str> {
    comment.split_once("@Metadata=").map(|(_, rest)| rest)
}

/// `// SAL_VERSION=7.2.0 XML_VERSION=22.1.0`, on the first line only.
pub(super) fn versions(source: &str) -> Versions {
    let first = source.lines().next().unwrap_or_default();
    let Some(comment) = first
        .trim_start_matches('\u{feff}')
        .trim_start()
        .strip_prefix("//")
    else {
        return Versions::default();
    };
    let value_of = |key: &str| {
        comment
            .split_ascii_whitespace()
            .find_map(|word| word.strip_prefix(key))
            .filter(|value| !value.is_empty())
            .map(str::to_owned)
    };
    Versions {
        sal: value_of("SAL_VERSION="),
        xml: value_of("XML_VERSION="),
    }
}
