//! What is to be done with the samples of a writer: its type's plan, or the parking lane while the type is not known.
//! Chosen per writer: two writers of one topic may announce two types.

use std::sync::Arc;

use efd_edge_transcode::Plan;
use efd_shared_model::{LaneKind, Schema, TopicKind};
use efd_shared_types::registry::Registered;
use efd_shared_types::sal::SalKind;

/// Everything that follows from a type, made once and shared by its writers.
#[derive(Debug)]
pub struct TopicPlan {
    /// `lsst.sal.MTMount.elevation`
    pub topic: String,
    pub dds_topic: String,
    pub dds_type: String,
    pub kind: TopicKind,
    pub schema: Schema,
    pub plan: Plan,
}

impl TopicPlan {
    /// `None` for a struct that nobody publishes, or that has no mapping yet.
    pub fn of(registered: &Registered) -> Option<Self> {
        let (topic, schema) = registered.sal()?;
        Some(Self {
            topic: topic.avro_name(),
            dds_topic: topic.dds_topic.clone(),
            dds_type: topic.dds_type.as_str().to_owned(),
            kind: match topic.kind {
                SalKind::Telemetry => TopicKind::Telemetry,
                SalKind::Event => TopicKind::Event,
                SalKind::Command => TopicKind::Command,
                SalKind::AckCmd => TopicKind::AckCmd,
            },
            schema: Schema::new(schema.json.clone()),
            plan: Plan::compile(topic),
        })
    }

    pub fn lane(&self) -> LaneKind {
        self.kind.lane()
    }
}

/// How a writer's samples are read.
#[derive(Clone, Debug)]
pub struct Binding {
    pub dds_topic: Arc<str>,
    pub dds_type: Arc<str>,
    /// The writer repeats its history to late joiners, us after a restart among them.
    pub keeps_history: bool,
    /// `None`: the type is not known yet.
    pub plan: Option<Arc<TopicPlan>>,
}
