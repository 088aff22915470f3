//! Which reader serves a writer.

use std::sync::Arc;

use efd_edge_dds::{
    Durability, KeyOf, Keying, Ownership, PayloadKind, ReaderSpec, Reliability, WriterInfo,
};
use efd_edge_transcode::KeyOf as Holds;
use efd_shared_daemon::clock::utc_now;
use efd_shared_types::xtypes::TypeId;

use super::types::{Asked, keeps_history};
use crate::binding::{Binding, TopicPlan};

/// One reader serves all writers of a topic that offer the same. Readers of one topic may get each other's samples; the
/// intake takes each from its writer's reader alone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ReaderKey {
    topic: String,
    type_name: String,
    /// As it was known when the reader was made: two types may have their keys in different places.
    announced: Option<TypeId>,
    keyed: bool,
    reliable: bool,
    keeps_history: bool,
    exclusive: bool,
}

impl ReaderKey {
    pub(super) fn of(info: &WriterInfo, asked: &Asked) -> Self {
        Self {
            topic: info.topic.clone(),
            type_name: info.type_name.clone(),
            announced: asked.announced().map(|announced| announced.id),
            keyed: info.keyed,
            reliable: matches!(info.reliability, Reliability::Reliable { .. }),
            keeps_history: keeps_history(info),
            exclusive: info.ownership == Ownership::Exclusive,
        }
    }

    /// Of the same writer, which offers something else now. Its type is the one that the reader was made with.
    pub(super) fn renewed(&self, info: &WriterInfo) -> Self {
        Self {
            announced: self.announced,
            ..Self::of(info, &Asked::Nothing)
        }
    }
}

pub(super) fn reader_spec(
    info: &WriterInfo,
    partitions: &[String],
    plan: Option<&Arc<TopicPlan>>,
) -> ReaderSpec {
    let keying = match (info.keyed, plan) {
        (false, _) => Keying::Keyless,
        (true, None) => Keying::Keyed(None),
        (true, Some(plan)) => Keying::Keyed(Some(key_of(Arc::clone(plan)))),
    };
    ReaderSpec {
        topic: info.topic.clone(),
        type_name: info.type_name.clone(),
        keying,
        partitions: partitions.to_vec(),
        reliability: info.reliability,
        durability: info.durability.min(Durability::TransientLocal),
        ownership: info.ownership,
        invalid: Default::default(),
    }
}

pub(super) fn binding(info: &WriterInfo, plan: Option<Arc<TopicPlan>>) -> Binding {
    Binding {
        dds_topic: info.topic.as_str().into(),
        dds_type: info.type_name.as_str().into(),
        keeps_history: keeps_history(info),
        history_until: utc_now().saturating_add(CLOCKS_APART_NS),
        plan,
    }
}

/// A writer's clock may be ahead of ours by so much.
const CLOCKS_APART_NS: i64 = 300 * 1_000_000_000;

/// Runs on the receive threads: no lock, no wait.
fn key_of(plan: Arc<TopicPlan>) -> KeyOf {
    Arc::new(move |payload, key| {
        let holds = match key.payload_kind() {
            PayloadKind::Sample => Holds::Sample,
            PayloadKind::KeyOnly => Holds::Key,
        };
        let mut bytes = Vec::with_capacity(16);
        let found = plan.reading.key_bytes(payload, holds, &mut bytes).is_ok();
        if found {
            key.push(&bytes);
        }
        found
    })
}
