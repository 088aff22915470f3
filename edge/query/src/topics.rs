//! What topics there are, and what is known of each.

use std::collections::{BTreeMap, BTreeSet};

use efd_shared_avro::FieldType;
use efd_shared_model::{TopicKind, UtcNanos};
use efd_shared_tiers::is_measured;
use serde::Serialize;

use crate::catalogue::{component, kind_name};
use crate::error::QueryError;
use crate::library::Library;
use efd_edge_tiers::settings::name;

#[derive(Debug, Serialize)]
pub(crate) struct TopicLine {
    topic: String,
    component: String,
    kind: &'static str,
    /// The latest event time since the daemon's start, ns UTC.
    last: Option<i64>,
    records: u64,
    rate: f64,
}

#[derive(Debug, Serialize)]
pub(crate) struct TopicPage {
    topic: String,
    component: String,
    kind: &'static str,
    description: Option<String>,
    fields: Vec<FieldLine>,
    instances: Vec<i32>,
    tiers: Vec<TierLine>,
}

#[derive(Debug, Serialize)]
struct FieldLine {
    name: String,
    #[serde(rename = "type")]
    kind: &'static str,
    units: Option<String>,
    description: Option<String>,
    is_array: bool,
    elements: Option<usize>,
    /// Whether tiers have it.
    is_measured: bool,
}

#[derive(Debug, Serialize)]
struct TierLine {
    tier: String,
    from: Option<i64>,
    until: Option<i64>,
}

impl Library {
    /// By name.
    pub(crate) fn topics(&mut self, now: UtcNanos) -> Result<Vec<TopicLine>, QueryError> {
        let held = self.catalogue.all(&mut self.reader)?;
        let mut kinds: BTreeMap<String, TopicKind> = held
            .into_iter()
            .filter(|(_, declared)| !declared.dds_topic.is_empty())
            .map(|(topic, declared)| (topic, declared.kind))
            .collect();
        for topic in self.shelf.topics(None) {
            kinds
                .entry(topic.to_string())
                .or_insert(TopicKind::Telemetry);
        }
        let alive = self.holdings.activity.topics(now);
        let line = |(topic, kind): (String, TopicKind)| {
            let alive = alive.get(&topic);
            TopicLine {
                component: component(&topic).to_owned(),
                kind: kind_name(kind),
                last: alive.and_then(|(alive, _)| alive.newest).map(|it| it.0),
                records: alive.map_or(0, |(alive, _)| alive.records),
                rate: alive.map_or(0.0, |(_, rate)| *rate),
                topic,
            }
        };
        Ok(kinds.into_iter().map(line).collect())
    }

    pub(crate) fn topic_page(
        &mut self,
        topic: &str,
        now: UtcNanos,
    ) -> Result<TopicPage, QueryError> {
        let topic = self.topic(topic)?;
        let offers = self.offers(&topic, &[], (now.0, now.0));
        let mut instances: BTreeSet<Option<i32>> = self
            .holdings
            .activity
            .of(&topic.name)
            .map(|alive| alive.instances)
            .unwrap_or_default();
        if let Some((known, _)) = self.shelf.known_of(&topic.name) {
            instances.extend(known);
        }
        let is_telemetry = topic.kind == TopicKind::Telemetry;
        let fields = topic.schema.fields.iter().map(|field| FieldLine {
            name: field.name.clone(),
            kind: kind_of(&field.field_type),
            units: field.units.clone(),
            description: field.description.clone(),
            is_array: field.field_type.is_array(),
            elements: field.length,
            is_measured: is_telemetry && is_measured(&topic.schema, field),
        });
        let raw = TierLine {
            tier: "raw".into(),
            from: offers.raw.begin,
            until: offers.raw.begin.map(|_| now.0),
        };
        let tiers = self
            .shelf
            .reaches(&topic.name)
            .into_iter()
            .map(|reach| TierLine {
                tier: name(reach.resolution),
                from: reach.begin.map(|it| it.0),
                until: reach.end.map(|it| it.0.min(now.0)),
            });
        let tiers = tiers.filter(|_| is_telemetry);
        Ok(TopicPage {
            component: topic.component().to_owned(),
            kind: kind_name(topic.kind),
            description: topic.schema.description.clone(),
            fields: fields.collect(),
            instances: instances.into_iter().flatten().collect(),
            tiers: std::iter::once(raw).chain(tiers).collect(),
            topic: topic.name,
        })
    }
}

fn kind_of(field_type: &FieldType) -> &'static str {
    match field_type {
        FieldType::Scalar(scalar) | FieldType::Array(scalar) => scalar.name(),
        FieldType::Enum(_) => "enum",
        FieldType::Nested(_) => "nested",
    }
}
