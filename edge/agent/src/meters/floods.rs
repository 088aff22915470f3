//! Topics that are over their budget.

use std::sync::{Mutex, PoisonError};

use prometheus_client::registry::Registry;
use serde_json::{Value as Json, json};

use super::Count;
use crate::budget::{BudgetCounters, Budgets};

#[derive(Debug, Default)]
pub struct FloodMeters {
    diverted: Count,
    diversions: Count,
    refused: Count,
    bytes: Count,
    topics: Mutex<Vec<Json>>,
}

impl FloodMeters {
    pub(super) fn register(&self, registry: &mut Registry) {
        for (name, help, metric) in [
            (
                "flooding_topics",
                "Topics over their budget, in lanes of their own now",
                &self.diverted,
            ),
            (
                "floods",
                "Topics diverted to lanes of their own since the start",
                &self.diversions,
            ),
            (
                "floods_not_diverted",
                "Times that a topic over its budget found no more lanes",
                &self.refused,
            ),
            (
                "flood_bytes",
                "Records that went to lanes of single topics",
                &self.bytes,
            ),
        ] {
            registry.register(name, help, metric.clone());
        }
    }

    pub fn observe(&self, budgets: &Budgets) {
        let BudgetCounters {
            diversions,
            diverted,
            refused,
            diverted_bytes,
        } = budgets.counters();
        self.refused.set(refused);
        self.bytes.set(diverted_bytes);
        let changed = self.diversions.get() != diversions || self.diverted.get() != diverted;
        self.diversions.set(diversions);
        self.diverted.set(diverted);
        if changed {
            let topics = budgets.diverted_topics();
            let topics = topics
                .map(|(topic, lane)| json!({ "topic": topic, "lane": lane.to_string() }))
                .collect();
            *self.topics.lock().unwrap_or_else(PoisonError::into_inner) = topics;
        }
    }

    pub(super) fn status(&self) -> Json {
        let topics = self.topics.lock().unwrap_or_else(PoisonError::into_inner);
        json!({
            "diverted": *topics, "since_start": self.diversions.get(), "not_diverted": self.refused.get(),
            "bytes": self.bytes.get(),
        })
    }
}
