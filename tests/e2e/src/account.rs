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
    /// Stored more than once: breaks the promise.
    pub duplicate: u64,
    /// Stored, and never published: breaks the promise.
    pub unexpected: u64,
    /// The whole object.
    pub json: Json,
}

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
            duplicate: number("duplicate")?,
            unexpected: number("unexpected")?,
            json: json.clone(),
        })
    }

    /// One line for people.
    pub fn summary(&self) -> String {
        let Self {
            published,
            stored,
            lost,
            missing,
            duplicate,
            unexpected,
            json,
        } = self;
        let worst: Vec<String> = json["lines"]
            .as_object()
            .into_iter()
            .flatten()
            .filter(|(_, line)| {
                ["missing", "duplicate", "unexpected"]
                    .iter()
                    .any(|key| line[key].as_u64() != Some(0))
            })
            .map(|(topic, line)| format!("{topic} {line}"))
            .take(3)
            .collect();
        format!(
            "published {published}, stored {stored}, lost {lost} {}, missing {missing}, duplicate {duplicate}, unexpected {unexpected}{}{}",
            json["reasons"],
            if worst.is_empty() { "" } else { "; " },
            worst.join("; ")
        )
    }

    /// *published = stored ∪ named losses*, disjoint, nothing twice.
    pub fn keeps_the_promise(&self) -> bool {
        self.missing == 0
            && self.duplicate == 0
            && self.unexpected == 0
            && self.published == self.stored + self.lost
    }
}
