//! Names that Avro takes, from those that DDS has.

use xxhash_rust::xxh3::xxh3_64;

use crate::model::TypeName;

/// Namespace of types outside all modules: an Avro name without a dot would be taken as one of the
/// namespace around it.
const NO_MODULE: &str = "idl";

/// Of a topic's name: Kafka takes 249, with the site before it.
const NAME_BYTES_MAX: usize = 200;

/// Of the record of a topic; `None` where the topic has no part that could be a name.
pub(super) fn of_topic(dds_topic: &str) -> Option<String> {
    let service = |prefix, suffix| dds_topic.strip_prefix(prefix)?.strip_suffix(suffix);
    let ros = [
        (dds_topic.strip_prefix("rt/"), Of::RosTopic),
        (service("rq/", "Request"), Of::RosRequest),
        (service("rr/", "Reply"), Of::RosReply),
    ];
    let ros = ros
        .into_iter()
        .find_map(|(rest, of)| Some((parts(rest?), of)))
        .filter(|(parts, _)| !parts.is_empty());
    let (parts, of) = ros.unwrap_or_else(|| (parts(dds_topic), Of::Other));
    let path = parts.join("/");
    let (meant, name) = match of {
        Of::RosTopic => (format!("rt/{path}"), format!("ros/{path}")),
        Of::RosRequest => (format!("rq/{path}Request"), format!("ros/{path}/request")),
        Of::RosReply => (format!("rr/{path}Reply"), format!("ros/{path}/reply")),
        Of::Other => (path.clone(), format!("dds/{path}")),
    };
    let is_a_service =
        |last| of == Of::RosTopic && parts.len() > 1 && parts.last().is_some_and(|it| it == last);
    let mut name = name.replace('/', ".");
    if parts.is_empty() {
        return None;
    }
    let says_all = meant == dds_topic
        && !is_a_service("request")
        && !is_a_service("reply")
        && !ends_in_a_hash(&name)
        && name.len() <= NAME_BYTES_MAX;
    if !says_all {
        // ASCII, so any byte is a place to cut.
        name.truncate(NAME_BYTES_MAX - HASH_BYTES);
        name.push_str(&format!("_{:08x}", xxh3_64(dds_topic.as_bytes()) as u32));
    }
    Some(name)
}

const HASH_BYTES: usize = "_01234567".len();

fn ends_in_a_hash(name: &str) -> bool {
    let end = name
        .len()
        .checked_sub(HASH_BYTES)
        .and_then(|at| name[at..].strip_prefix('_'));
    end.is_some_and(|end| {
        end.bytes()
            .all(|it| it.is_ascii_digit() || (b'a'..=b'f').contains(&it))
    })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Of {
    RosTopic,
    RosRequest,
    RosReply,
    Other,
}

/// Of a named type.
pub(super) fn of_type(name: &TypeName) -> String {
    if let Some(parts) = of_ros(name.as_str()) {
        return parts.map(word).join(".");
    }
    let parts: Vec<String> = name.as_str().split("::").map(word).collect();
    match &parts[..] {
        [local] => format!("{NO_MODULE}.{local}"),
        _ => parts.join("."),
    }
}

/// Package, kind and local name of a type as ROS 2 names it on the bus.
fn of_ros(name: &str) -> Option<[&str; 3]> {
    let mut parts = name.split("::");
    let four = [parts.next()?, parts.next()?, parts.next()?, parts.next()?];
    let [package, kind @ ("msg" | "srv" | "action"), "dds_", local] = four else {
        return None;
    };
    let local = local.strip_suffix('_').filter(|local| !local.is_empty())?;
    parts.next().is_none().then_some([package, kind, local])
}

/// The name that IDL files have for the type that ROS 2 announces as `std_msgs::msg::dds_::String_`: without what it adds.
pub fn without_ros(dds_type: &str) -> Option<String> {
    of_ros(dds_type).map(|parts| parts.join("::"))
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
