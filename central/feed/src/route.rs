//! Which topic a stream's records go to, under which schema.

use std::collections::BTreeMap;

use efd_shared_model::Fingerprint;

use crate::options::TOPIC_CHARS_MAX;
use crate::wire::SchemaId;

/// A schema under a public name: what is registered, once.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RouteKey {
    /// The name by the topic format.
    pub name: String,
    pub fingerprint: Fingerprint,
}

/// Durable: once taken, the way does not change, whatever the registry says later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    pub topic: String,
    /// `None` where the registry refuses the schema under every name: the records are owed.
    pub schema: Option<SchemaId>,
    /// The registry refused the schema under the plain name.
    pub refused: bool,
}

/// By name and fingerprint; the part of a checkpoint that only grows.
pub type Routes = BTreeMap<RouteKey, Route>;

impl RouteKey {
    /// The topic where the registry agrees.
    pub(crate) fn plain_topic(&self) -> String {
        plain_topic(&self.name)
    }

    /// The topic where it does not.
    pub(crate) fn own_topic(&self) -> String {
        shortened(&self.name, &format!(".{}", self.fingerprint.short()))
    }
}

/// Of a name by the topic format, where the registry agrees.
pub fn plain_topic(name: &str) -> String {
    shortened(name, "")
}

/// Whether it is the topic of a schema of this name that the registry refused under the plain one.
pub(crate) fn is_own_topic(name: &str, topic: &str) -> bool {
    let Some((_, digits)) = topic.rsplit_once('.') else {
        return false;
    };
    let is_fingerprint = digits.len() == Fingerprint::of("").short().len()
        && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_fingerprint && shortened(name, &format!(".{digits}")) == topic
}

/// A name that is too long for Kafka keeps its begin and is told apart by a fingerprint of all of it.
fn shortened(name: &str, suffix: &str) -> String {
    let room = TOPIC_CHARS_MAX - suffix.len();
    if name.len() <= room {
        return format!("{name}{suffix}");
    }
    let whole = Fingerprint::of(name).short();
    // Names are ASCII by `TopicFormat::name`.
    let begin: String = name.chars().take(room - 1 - whole.len()).collect();
    format!("{begin}.{whole}{suffix}")
}

pub(crate) fn subject(topic: &str) -> String {
    format!("{topic}-value")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_any_length_stay_legal_and_apart() {
        let key = |name: String| RouteKey {
            name,
            fingerprint: Fingerprint::of("{}"),
        };
        let short = key("summit.lsst.sal.Test.scalars".into());
        assert_eq!(short.plain_topic(), "summit.lsst.sal.Test.scalars");
        assert_eq!(short.own_topic(), "summit.lsst.sal.Test.scalars.44136fa3");
        let (a, b) = (key("x".repeat(300)), key("x".repeat(301)));
        for topic in [a.plain_topic(), a.own_topic()] {
            assert_eq!(topic.len(), TOPIC_CHARS_MAX);
        }
        assert_ne!(a.plain_topic(), b.plain_topic());
        for key in [&short, &a, &b] {
            assert!(is_own_topic(&key.name, &key.own_topic()));
            assert!(!is_own_topic(&key.name, &key.plain_topic()));
        }
        assert!(!is_own_topic(&a.name, &b.own_topic()));
        assert!(a.own_topic().ends_with(".44136fa3"));
    }
}
