//! Samples of topics that are not SAL's: nothing in them says when they were written, by whom, or what came before.

use std::sync::Arc;

use efd_edge_transcode::{GeneralPlan, GeneralStamps};
use efd_shared_model::block::DATUM_BYTES_MAX;
use efd_shared_model::{EventTimeOrigin, RecordStamps};

use super::{Intake, Received, Target};
use crate::binding::{Binding, TopicPlan};

impl Intake {
    pub(super) fn general(
        &mut self,
        binding: &Binding,
        plan: &Arc<TopicPlan>,
        reading: &GeneralPlan,
        sample: Received<'_>,
    ) {
        let Target {
            stream,
            lane,
            topic,
            budget,
            linted: _,
        } = self.bound(plan);
        let stamps = GeneralStamps {
            source: sample.source.map(|source| source.0),
            received: sample.received.0,
        };
        let builder = self.batch.builder(lane);
        let out = builder.datum(stream);
        let begin = out.len();
        let outcome = match reading.transcode(sample.payload, &stamps, out) {
            Ok(outcome) => outcome,
            Err(error) => {
                builder.abandon(stream);
                return self.undecodable(binding, plan, sample, &error);
            }
        };
        let bytes = out.len() - begin;
        if DATUM_BYTES_MAX < bytes {
            builder.abandon(stream);
            let why = format!("record of {bytes} bytes, at most {DATUM_BYTES_MAX} are taken");
            return self.undecodable(binding, plan, sample, &why);
        }
        if let Some(source) = sample.plausible_source()
            && binding.keeps_history
        {
            let content = &out[begin + outcome.content..];
            let publishers = self.publishers.entry(lane.kind).or_default();
            let histories = &mut publishers.histories;
            let is_known = histories.has_recorded(topic, source, content, sample.received);
            if is_known && source < binding.history_until {
                builder.abandon(stream);
                self.counters.duplicates += 1;
                return;
            }
        }
        self.counters.defaulted_members += u64::from(outcome.defaulted_members);
        let source = sample.plausible_source();
        let stamps = RecordStamps {
            event_time: source.unwrap_or(sample.received),
            origin: match source {
                Some(_) => EventTimeOrigin::Source,
                None => EventTimeOrigin::Reception,
            },
            implausible: source.is_none() && sample.source.is_some(),
            latin1: outcome.latin1_texts > 0,
            instance: None,
        };
        self.record(lane, stream, stamps, bytes, outcome.latin1_texts);
        self.charge(budget, bytes);
    }
}
