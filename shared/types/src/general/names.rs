//! Names that Avro takes, from those that DDS has.

use crate::model::TypeName;

/// Namespace of types outside all modules: an Avro name without a dot would be taken as one of the
/// namespace around it.
const NO_MODULE: &str = "idl";

/// Of the record of a topic; `None` where the topic has no part that could be a name.
pub(super) fn of_topic(dds_topic: &str) -> Option<String> {
    let service = |prefix, suffix| dds_topic.strip_prefix(prefix)?.strip_suffix(suffix);
    let ros = [
        (dds_topic.strip_prefix("rt/"), None),
        (service("rq/", "Request"), Some("request")),
        (service("rr/", "Reply"), Some("reply")),
    ];
    let ros = ros
        .into_iter()
        .find_map(|(rest, last)| Some((parts(rest?), last)));
    let (scope, parts, last) = match ros {
        Some((parts, last)) if !parts.is_empty() => ("ros", parts, last),
        Some(_) | None => ("dds", parts(dds_topic), None),
    };
    if parts.is_empty() {
        return None;
    }
    let first = std::iter::once(scope.to_owned());
    let name: Vec<String> = first.chain(parts).chain(last.map(str::to_owned)).collect();
    Some(name.join("."))
}

/// Of a named type.
pub(super) fn of_type(name: &TypeName) -> String {
    let parts: Vec<&str> = name.as_str().split("::").collect();
    if let [package, kind @ ("msg" | "srv" | "action"), "dds_", local] = parts[..]
        && let Some(local) = local.strip_suffix('_')
        && !local.is_empty()
    {
        return [package, kind, local].map(word).join(".");
    }
    let parts: Vec<String> = parts.into_iter().map(word).collect();
    match &parts[..] {
        [local] => format!("{NO_MODULE}.{local}"),
        _ => parts.join("."),
    }
}

/// One part of a name.
pub(super) fn word(text: &str) -> String {
    let taken = |letter: char| letter.is_ascii_alphanumeric();
    let mut word: String = text
        .chars()
        .map(|letter| if taken(letter) { letter } else { '_' })
        .collect();
    if word
        .chars()
        .next()
        .is_none_or(|first| first.is_ascii_digit())
    {
        word.insert(0, '_');
    }
    word
}

fn parts(text: &str) -> Vec<String> {
    let text = text.replace("::", "/");
    let parts = text.split(['/', '.']).filter(|part| !part.is_empty());
    parts.map(word).collect()
}
