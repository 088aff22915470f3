//! Publishers that do not do what they should, as they are told of.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use serde_json::{Value as Json, json};

use super::Count;
use crate::lint::{Change, Finding, Kind, Lint};

/// Of each kind; the count is of all.
const SHOWN_MAX: usize = 50;
/// Of one second; the rest is counted in one line.
const LINES_MAX: usize = 20;

#[derive(Debug, Default)]
pub struct PublisherMeters {
    findings: Family<KindLabel, Count>,
    told: Mutex<Told>,
}

#[derive(Debug, Default)]
struct Told {
    counts: BTreeMap<Kind, u64>,
    findings: Vec<Finding>,
    unnamed: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabel {
    kind: &'static str,
}

impl PublisherMeters {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "publisher_findings",
            "Publishers whose clock, rate, values or numbers are not as they should be, at present, by kind",
            self.findings.clone(),
        );
        for kind in Kind::ALL {
            self.set(kind, 0);
        }
    }

    fn set(&self, kind: Kind, count: u64) {
        let kind = kind.as_str();
        self.findings.get_or_create(&KindLabel { kind }).set(count);
    }

    /// What began and ended is logged.
    pub(crate) fn observe(&self, lint: &Lint, changes: &[Change]) {
        let (named, rest) = changes.split_at(changes.len().min(LINES_MAX));
        for change in named {
            log(change);
        }
        if !rest.is_empty() {
            tracing::warn!(
                findings = rest.len(),
                "More publishers changed in the same second; efd-edge status has those that are off"
            );
        }
        let mut told = Told {
            unnamed: lint.unnamed(),
            ..Told::default()
        };
        for finding in lint.findings() {
            let count = told.counts.entry(finding.kind).or_default();
            *count += 1;
            if *count <= SHOWN_MAX as u64 {
                told.findings.push(finding.clone());
            }
        }
        for kind in Kind::ALL {
            self.set(kind, told.counts.get(&kind).copied().unwrap_or(0));
        }
        *self.told() = told;
    }

    pub(super) fn status(&self) -> Json {
        let told = self.told();
        let counts: serde_json::Map<_, _> = Kind::ALL
            .into_iter()
            .map(|kind| {
                let count = told.counts.get(&kind).copied().unwrap_or(0);
                (kind.as_str().to_owned(), count.into())
            })
            .collect();
        let findings = told.findings.iter().map(to_json);
        json!({
            "count": told.counts.values().sum::<u64>() + told.unnamed, "by_kind": counts,
            "findings": findings.collect::<Vec<_>>(),
        })
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn to_json(finding: &Finding) -> Json {
    json!({
        "kind": finding.kind.as_str(), "topic": finding.topic, "identity": finding.identity,
        "since": finding.since.to_string(), "value": finding.value, "limit": finding.limit, "text": finding.text,
    })
}

fn log(change: &Change) {
    match change {
        Change::Began(finding) => tracing::warn!(
            kind = finding.kind.as_str(),
            topic = finding.topic,
            identity = finding.identity,
            value = finding.value,
            limit = finding.limit,
            text = finding.text,
            "A publisher is off"
        ),
        Change::Ended(finding) => tracing::info!(
            kind = finding.kind.as_str(),
            topic = finding.topic,
            identity = finding.identity,
            since = %finding.since,
            text = finding.text,
            "A publisher is as before"
        ),
    }
}
