//! What was parked for want of its type becomes records when the type is known.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use efd_shared_daemon::clock::utc_now;
use efd_shared_model::{LaneKind, Loss, LossReason, UtcNanos};
use efd_shared_store::{Item, Position};
use efd_shared_types::general::without_ros;

use super::{Pipeline, State};
use crate::binding::{Binding, KnownType, NoPlan, Reading, TopicPlan};
use crate::commit::lane_name;
use crate::intake::Received;
use crate::parked::{Parked, ParkedKind, ParkedReason, general_progress_key, sal_progress_key};

const READ_BYTES: usize = 4 << 20;
/// Records are committed after so many bytes, so that few parked blocks share a commit with the one that fills it.
const COMMIT_BYTES: usize = 4 << 20;

/// What one pass over the lane reads.
struct Pass {
    kinds: BTreeMap<ParkedKind, Kind>,
    /// Where it stands how far the pass has come.
    progress: BTreeSet<(LaneKind, String)>,
    records: u64,
}

struct Kind {
    plan: Result<Arc<TopicPlan>, NoPlan>,
    /// So far it has been read before.
    through: Position,
}

impl Pipeline {
    /// All kinds of this type in one pass.
    pub(super) fn read_parked(&mut self, state: &mut State, dds_type: &str, known: &KnownType) {
        let is_meant = |kind: &ParkedKind| {
            *kind.dds_type == *dds_type || without_ros(&kind.dds_type).as_deref() == Some(dds_type)
        };
        let mut pass = Pass {
            kinds: BTreeMap::new(),
            progress: BTreeSet::new(),
            records: 0,
        };
        for kind in state.parked.iter().filter(|kind| is_meant(kind)) {
            let plan = known.plan(kind.offered()).map(Arc::new);
            if let Ok(plan) = &plan {
                let key = match plan.reading {
                    Reading::Sal(_) => sal_progress_key(&kind.dds_type),
                    Reading::General(_) => general_progress_key(&kind.dds_type),
                };
                pass.progress.insert((plan.lane(), key));
            }
            let through = kind.read_through(&self.reader);
            pass.kinds.insert(kind.clone(), Kind { plan, through });
        }
        // Where no kind has a plan, all wait for another type of this name.
        if pass.progress.is_empty() {
            return;
        }
        self.settle(state);
        self.intake.stay_at_home(true);
        let is_whole = self.run_pass(state, &mut pass);
        self.intake.stay_at_home(false);
        if !is_whole {
            return;
        }
        state.parked.retain(|kind| !pass.kinds.contains_key(kind));
        if pass.records > 0 {
            tracing::info!(
                dds_type,
                count = pass.records,
                "Parked samples became records"
            );
        }
    }

    /// `false`: the lane could not be read to its end.
    fn run_pass(&mut self, state: &mut State, pass: &mut Pass) -> bool {
        let lane = lane_name(LaneKind::Parked);
        let first = pass.kinds.values().map(|kind| kind.through).min();
        let mut next = first.unwrap_or(Position::NONE).next();
        let head = self.reader.head(&lane);
        while next <= head {
            let items = match self.reader.read(&lane, next, READ_BYTES) {
                Ok(items) => items,
                Err(error) => {
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        "Reading parked samples failed"
                    );
                    return false;
                }
            };
            let Some(end) = items.last().map(Item::next) else {
                break;
            };
            for item in &items {
                if COMMIT_BYTES <= self.intake.batch().datum_bytes() {
                    self.settle(state);
                }
                let before = pass.records;
                self.read_parked_item(state, pass, item);
                if before < pass.records {
                    self.note_progress(pass, item.next());
                }
            }
            next = end;
        }
        self.note_progress(pass, next);
        self.settle(state);
        true
    }

    /// In the transactions of the records.
    fn note_progress(&mut self, pass: &Pass, next: Position) {
        let through = Position(next.0 - 1).0.to_le_bytes();
        for (lane, key) in &pass.progress {
            self.intake.set_state(*lane, key.clone(), through.to_vec());
        }
    }

    fn read_parked_item(&mut self, state: &mut State, pass: &mut Pass, item: &Item) {
        let Item::Block(position, sealed) = item else {
            return tracing::error!(?item, "Parked samples cannot be read");
        };
        let block = match sealed.open() {
            Ok(block) => block,
            Err(error) => {
                return tracing::error!(%error, %position, "Parked samples cannot be read");
            }
        };
        for (_, record) in block.records() {
            let parked = match Parked::decode(record.datum) {
                Ok(parked) => parked,
                Err(error) => {
                    tracing::error!(%error, %position, "A parked sample cannot be read");
                    continue;
                }
            };
            if parked.reason != ParkedReason::Untyped {
                continue;
            }
            let kind = pass.kinds.get(&ParkedKind::of(&parked));
            let Some(kind) = kind.filter(|kind| kind.through < *position) else {
                continue;
            };
            pass.records += 1;
            if !self.intake.batch().has_room() {
                self.commit(state);
            }
            match &kind.plan {
                Ok(plan) => self.give_parked(plan, parked),
                Err(why) => self.name_parked(parked, why),
            }
        }
    }

    fn give_parked(&mut self, plan: &Arc<TopicPlan>, parked: Parked<'_>) {
        let binding = Binding {
            dds_topic: parked.dds_topic.into(),
            dds_type: parked.dds_type.into(),
            keeps_history: parked.keeps_history,
            history_until: UtcNanos(i64::MAX),
            plan: Some(Arc::clone(plan)),
        };
        let Parked {
            payload,
            received,
            source,
            ..
        } = parked;
        let received = Received {
            payload,
            received,
            source,
        };
        self.intake.sample(&binding, received, utc_now());
    }

    /// Its type is known, and it can be no record of it.
    fn name_parked(&mut self, parked: Parked<'_>, why: &NoPlan) {
        let loss = Loss {
            topic: parked.dds_topic.to_owned(),
            count: 1,
            detail: why.to_string(),
            ..Loss::new(
                LossReason::Untyped,
                parked.received,
                parked.received.saturating_add(1),
            )
        };
        self.intake.name_loss(&loss, utc_now());
    }

    /// What earlier starts parked; one pass over a lane that is bounded and mostly empty.
    pub(super) fn find_parked(&mut self) -> BTreeSet<ParkedKind> {
        let lane = lane_name(LaneKind::Parked);
        let (mut kinds, mut next) = (BTreeSet::new(), Position::FIRST);
        while next <= self.reader.head(&lane) {
            let items = self
                .reader
                .read(&lane, next, 4 << 20)
                .unwrap_or_else(|error| {
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        "Reading parked samples failed"
                    );
                    Vec::new()
                });
            let Some(last) = items.last() else { break };
            next = last.next();
            for item in &items {
                let Item::Block(_, sealed) = item else {
                    continue;
                };
                let Ok(block) = sealed.open() else { continue };
                let untyped = |datum| {
                    Parked::decode(datum)
                        .ok()
                        .filter(|parked| parked.reason == ParkedReason::Untyped)
                };
                let untyped = block
                    .records()
                    .filter_map(|(_, record)| untyped(record.datum));
                kinds.extend(untyped.map(|parked| ParkedKind::of(&parked)));
            }
        }
        kinds
    }
}
