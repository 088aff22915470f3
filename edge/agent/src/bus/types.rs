//! What types are known, from IDL files and from writers, and the plans that were made of them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use efd_edge_dds::{Durability, WriterInfo};
use efd_shared_types::general::without_ros;
use efd_shared_types::xtypes::{Announced, TypeId};

use crate::binding::{KnownType, NoPlan, Offered, PLANS_MAX, TopicPlan};
use crate::idl::IdlFolders;

/// Topics that are not SAL's have a plan for each topic and each kind of writer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct PlanKey {
    topic: String,
    type_name: String,
    announced: Option<TypeId>,
    keeps_history: bool,
}

/// What a writer said when it was asked for its type.
#[derive(Clone, Debug)]
pub(super) enum Asked {
    /// It announces none.
    Nothing,
    NoAnswerYet,
    Told(Arc<Announced>),
    /// Of no use, for this reason.
    Refused(String),
}

impl Asked {
    pub(super) fn announced(&self) -> Option<&Arc<Announced>> {
        match self {
            Self::Told(announced) => Some(announced),
            Self::Nothing | Self::NoAnswerYet | Self::Refused(_) => None,
        }
    }
}

/// Why samples of a writer are kept as they come.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Lack {
    #[error("neither the writer nor an IDL file says what the type is")]
    Unknown,
    #[error("the writer has not answered what its type is, and no IDL file has it")]
    Unanswered,
    #[error("no IDL file has the type, and what the writer announces is of no use: {0}")]
    Announcement(String),
    #[error("no mapping to records: {0}")]
    NoPlan(#[from] NoPlan),
}

#[derive(Debug)]
pub(super) struct Types {
    idl: IdlFolders,
    plans: BTreeMap<PlanKey, Arc<TopicPlan>>,
}

impl Types {
    pub(super) fn new(idl: IdlFolders) -> Self {
        let plans = BTreeMap::new();
        Self { idl, plans }
    }

    pub(super) fn unreadable_folders(&self) -> impl Iterator<Item = &Path> + std::fmt::Debug {
        self.idl.unreadable().keys().map(|folder| folder.as_path())
    }

    pub(super) fn registered(&self, dds_type: &str) -> Option<KnownType> {
        let registered = self.idl.registry().get(dds_type).cloned();
        registered.map(KnownType::Registered)
    }

    /// What is known of a writer's type.
    pub(super) fn known(&self, info: &WriterInfo, asked: &Asked) -> Option<KnownType> {
        let registered = self.idl.registry().get(&info.type_name).cloned();
        match asked.announced() {
            None => registered.map(KnownType::Registered),
            Some(announced) => Some(KnownType::Announced(Arc::clone(announced), registered)),
        }
    }

    pub(super) fn plan(
        &mut self,
        info: &WriterInfo,
        asked: &Asked,
    ) -> Result<Arc<TopicPlan>, Lack> {
        let keeps_history = keeps_history(info);
        let key = PlanKey {
            topic: info.topic.clone(),
            type_name: info.type_name.clone(),
            announced: asked.announced().map(|announced| announced.id),
            keeps_history,
        };
        if let Some(plan) = self.plans.get(&key) {
            return Ok(Arc::clone(plan));
        }
        let known = self.known(info, asked).ok_or_else(|| match asked {
            Asked::Nothing | Asked::Told(_) => Lack::Unknown,
            Asked::NoAnswerYet => Lack::Unanswered,
            Asked::Refused(why) => Lack::Announcement(why.clone()),
        })?;
        let offered = Offered {
            dds_topic: &info.topic,
            dds_type: &info.type_name,
            keeps_history,
        };
        let plan = known.plan(offered).inspect_err(|error| {
            tracing::warn!(%error, topic = info.topic, "No mapping for a type");
        })?;
        let plan = Arc::new(plan);
        if self.plans.len() >= PLANS_MAX {
            // Programs that people run bring topics of their own: besides us, the intake has each.
            self.plans.retain(|_, plan| Arc::strong_count(plan) > 2);
        }
        self.plans.insert(key, Arc::clone(&plan));
        Ok(plan)
    }

    /// Names of types that came or changed; what was planned by them is forgotten.
    pub(super) fn look_at_idl(&mut self) -> BTreeSet<String> {
        let changes = self.idl.look();
        let touched: BTreeSet<String> = changes
            .iter()
            .flat_map(|change| change.added.iter().chain(&change.changed))
            .map(|name| name.as_str().to_owned())
            .collect();
        if !touched.is_empty() {
            tracing::info!(types = touched.len(), "IDL types came or changed");
            self.plans
                .retain(|key, _| !is_among(&touched, &key.type_name));
        }
        touched
    }
}

/// Whether one of the IDL `names` is what the bus calls `dds_type`.
pub(super) fn is_among(names: &BTreeSet<String>, dds_type: &str) -> bool {
    names.contains(dds_type) || without_ros(dds_type).is_some_and(|name| names.contains(&name))
}

/// As SAL's events do.
pub(super) fn keeps_history(info: &WriterInfo) -> bool {
    info.durability >= Durability::TransientLocal
}
