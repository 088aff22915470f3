//! What `efd-sim account --json` prints.

use anyhow::{Context as _, Result};
use serde_json::Value as Json;

/// Samples, all topics together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    pub published: u64,
    pub stored: u64,
    /// Named as lost, and not stored.
    pub lost: u64,
    /// Neither stored nor named: breaks the promise.
    pub missing: u64,
    /// Stored, and named as lost by sequence number: breaks the promise.
    pub both: u64,
    /// Stored more than once: breaks the promise.
    pub duplicate: u64,
    /// Stored, and never published: breaks the promise.
    pub unexpected: u64,
    /// Named as lost, and never published: breaks the promise.
    pub misnamed: u64,
    /// Stored from blocks that are named as lost: in flight when the link broke, and then evicted, or named by an edge that
    /// was killed before it had removed them. A rig that cuts no
    /// link under traffic, or evicts nothing, has none.
    pub arrived: u64,
    /// The whole object.
    pub json: Json,
}

/// What breaks the promise.
const FAULTS: [&str; 5] = ["missing", "both", "duplicate", "unexpected", "misnamed"];

impl Account {
    pub fn parse(line: &str) -> Result<Self> {
        let json: Json =
            serde_json::from_str(line).with_context(|| format!("parse account `{line}`"))?;
        let number = |key: &str| {
            json[key]
                .as_u64()
                .with_context(|| format!("`{key}` of account {json}"))
        };
        Ok(Self {
            published: number("published")?,
            stored: number("stored")?,
            lost: number("lost")?,
            missing: number("missing")?,
            both: number("both")?,
            duplicate: number("duplicate")?,
            unexpected: number("unexpected")?,
            misnamed: number("misnamed")?,
            arrived: number("arrived")?,
            json: json.clone(),
        })
    }

    /// One line for people.
    pub fn summary(&self) -> String {
        let Self {
            published,
            stored,
            lost,
            json,
            ..
        } = self;
        let faults: Vec<String> = FAULTS
            .iter()
            .chain(&["arrived"])
            .map(|key| format!("{key} {}", json[key]))
            .collect();
        let worst: Vec<String> = json["lines"]
            .as_object()
            .into_iter()
            .flatten()
            .filter(|_| !self.keeps_the_promise())
            .filter(|(_, line)| FAULTS.iter().any(|key| line[key].as_u64() != Some(0)))
            .map(|(topic, line)| format!("; {topic} {line}"))
            .take(3)
            .collect();
        format!(
            "published {published}, stored {stored}, lost {lost} {}, {}{}",
            json["reasons"],
            faults.join(", "),
            worst.concat()
        )
    }

    /// *published = stored ∪ named losses*, disjoint, nothing twice.
    pub fn keeps_the_promise(&self) -> bool {
        self.arrived == 0 && self.keeps_the_promise_but_for_arrivals()
    }

    /// For a link that breaks under traffic before an eviction: what was in flight may be stored, and named.
    pub fn keeps_the_promise_but_for_arrivals(&self) -> bool {
        let faults = [
            self.missing,
            self.both,
            self.duplicate,
            self.unexpected,
            self.misnamed,
        ];
        faults == [0; FAULTS.len()] && self.published == self.stored + self.lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(faulty: &str) -> Account {
        let mut json = serde_json::json!({ "published": 10, "stored": 8, "lost": 2, "arrived": 0, "lines": {} });
        for key in FAULTS {
            json[key] = 0.into();
        }
        json[faulty] = 1.into();
        Account::parse(&json.to_string()).unwrap()
    }

    #[test]
    fn every_fault_breaks_the_promise() {
        let sound = account("topics");
        assert!(sound.keeps_the_promise());
        for key in FAULTS {
            assert!(!account(key).keeps_the_promise_but_for_arrivals(), "{key}");
            assert!(account(key).summary().contains(&format!("{key} 1")));
        }
        let arrived = account("arrived");
        assert!(!arrived.keeps_the_promise() && arrived.keeps_the_promise_but_for_arrivals());
        assert!(!account("lost").keeps_the_promise(), "10 is not 8 + 1");
    }
}
