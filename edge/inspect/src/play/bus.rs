//! The bus of a test bench: who is there, and writers such as SAL's.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use efd_edge_dds::{
    DomainConfig, Durability, History, KeyOf, Keying, Multicast, Ownership, Participant,
    PayloadKind, WriteError, Writer, WriterInfo, WriterSpec,
};
use efd_shared_types::sal::SalKind;

use super::cast::{Source, partition};
use super::{Options, PlayError};
use crate::pace::Pace;
use crate::pattern::Pattern;

/// Samples an instance that SAL's writers keep for who comes late (ts_ddsconfig, QoS.xml).
const LATE_JOINERS: History = History::KeepLast(100);
/// Others answer an announcement at once; this is for a busy bus.
const LOOK_AROUND: Duration = Duration::from_secs(2);
/// When no more readers come for so long, those that are there are all.
const SETTLED: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_millis(50);
const CLOSE_WITHIN: Duration = Duration::from_secs(10);
/// A reader that does not take a sample for so long is mentioned.
const HELD_UP: Duration = Duration::from_secs(5);
/// DDS counts the seconds of a source timestamp in 32 bits.
const SOURCE_TIMES: std::ops::Range<i64> = 0..(u32::MAX as i64) * 1_000_000_000;

pub(super) struct Bus {
    participant: Participant,
    partition: String,
    /// By the number of the source.
    writers: Vec<Writer>,
    /// Others, when it was looked for readers.
    participants: usize,
}

/// How a sample was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Written {
    AtOnce,
    /// After a reader had held it up for longer than is usual.
    HeldUp,
}

impl Bus {
    pub(super) fn join(options: &Options) -> Result<Self, PlayError> {
        let participant = Participant::open(&DomainConfig {
            domain_id: options.domain,
            interface: options.interface.clone(),
            multicast: if options.multicast {
                Multicast::On
            } else {
                Multicast::Off
            },
            peers: options.peers.clone(),
            lease: Duration::from_secs(10),
            // It only writes: nothing has to be received in time.
            realtime_priority: None,
            ..DomainConfig::default()
        })?;
        Ok(Self {
            participant,
            partition: options.partition.clone(),
            writers: Vec::new(),
            participants: 0,
        })
    }

    /// An error where somebody else publishes one of these topics in the same partition.
    pub(super) fn refuse_if_live(
        &mut self,
        sources: &[Arc<Source>],
        domain: u32,
        pace: &impl Pace,
    ) -> Result<(), PlayError> {
        let topics: BTreeMap<&str, &Arc<Source>> = sources
            .iter()
            .map(|source| (source.topic.dds_topic.as_str(), source))
            .collect();
        let mut discovery = self.participant.discovery()?;
        let until = pace.elapsed() + LOOK_AROUND;
        while pace.elapsed() < until {
            discovery.poll(POLL)?;
            for writer in discovery.writers() {
                let Some(source) = topics.get(writer.topic.as_str()) else {
                    continue;
                };
                let own = partition(&self.partition, &source.topic);
                if shares_partition(writer, &own) {
                    return Err(PlayError::Live {
                        domain,
                        topic: writer.topic.clone(),
                        partition: own,
                        by: who(writer),
                    });
                }
            }
        }
        self.participants = discovery.participants().count();
        Ok(())
    }

    /// Writers for all of `sources` that have none yet.
    pub(super) fn add(&mut self, sources: &[Arc<Source>]) -> Result<(), PlayError> {
        for source in sources.iter().skip(self.writers.len()) {
            let writer = self.participant.create_writer(&self.spec(source))?;
            self.writers.push(writer);
        }
        Ok(())
    }

    /// As SAL's QoS.xml has it, but for two: TRANSIENT_LOCAL stands for OpenSplice's TRANSIENT, and all is kept until
    /// its readers have it, where SAL's writers overwrite what is not taken in time.
    fn spec(&self, source: &Arc<Source>) -> WriterSpec {
        let topic = &source.topic;
        WriterSpec {
            keying: if source.plan.is_keyed() {
                Keying::Keyed(Some(key_of(Arc::clone(source))))
            } else {
                Keying::Keyless
            },
            partitions: vec![partition(&self.partition, topic)],
            durability: if topic.kind == SalKind::Event {
                Durability::TransientLocal
            } else {
                Durability::Volatile
            },
            ownership: if topic.kind == SalKind::AckCmd {
                Ownership::Exclusive
            } else {
                Ownership::Shared
            },
            history: History::KeepAll,
            durability_service: LATE_JOINERS,
            ..WriterSpec::new(topic.dds_topic.clone(), topic.dds_type.as_str())
        }
    }

    /// Until every writer has a reader, no more readers come, or `within` is over. Gives how many writers have one.
    pub(super) fn wait_for_readers(
        &self,
        within: Duration,
        pace: &impl Pace,
    ) -> Result<usize, PlayError> {
        let begin = pace.elapsed();
        let mut with_reader = BTreeSet::new();
        let mut last_came = begin;
        loop {
            for (number, writer) in self.writers.iter().enumerate() {
                if !with_reader.contains(&number) && writer.matched_readers()? > 0 {
                    with_reader.insert(number);
                    last_came = pace.elapsed();
                }
            }
            let now = pace.elapsed();
            let has_settled = !with_reader.is_empty() && last_came + SETTLED <= now;
            if with_reader.len() == self.writers.len() || has_settled || begin + within <= now {
                return Ok(with_reader.len());
            }
            pace.sleep(POLL);
        }
    }

    pub(super) fn participants(&self) -> usize {
        self.participants
    }

    /// Waits for as long as a reader is behind. `source_time`: ns since 1970; what DDS cannot say is the present.
    pub(super) fn write(
        &self,
        source: usize,
        payload: &[u8],
        source_time: Option<i64>,
        pace: &impl Pace,
    ) -> Result<Written, PlayError> {
        let Some(writer) = self.writers.get(source) else {
            return Ok(Written::AtOnce);
        };
        let source_time = source_time.filter(|time| SOURCE_TIMES.contains(time));
        let begin = pace.elapsed();
        while let Err(error) = writer.write_cdr(payload, source_time) {
            if !matches!(error, WriteError::Timeout(_)) {
                return Err(error.into());
            }
        }
        let took = pace.elapsed().saturating_sub(begin);
        Ok(if took < HELD_UP {
            Written::AtOnce
        } else {
            Written::HeldUp
        })
    }

    /// Leaves after `linger`, in which reliable readers get what they still lack.
    pub(super) fn leave(self, linger: Duration, pace: &impl Pace) {
        pace.sleep(linger);
        drop(self.writers);
        // The process ends next: a participant that closes slowly is then gone as well.
        drop(self.participant.close(CLOSE_WITHIN));
    }
}

/// Partitions of either side may be patterns.
fn shares_partition(writer: &WriterInfo, own: &str) -> bool {
    let mut partitions = writer.partitions.iter();
    partitions.any(|theirs| Pattern::new(theirs).matches(own))
}

fn who(writer: &WriterInfo) -> String {
    let host = writer.hostname.as_deref().unwrap_or("an unnamed host");
    match &writer.process {
        Some(process) => format!("{process} on {host}"),
        None => host.to_owned(),
    }
}

fn key_of(source: Arc<Source>) -> KeyOf {
    use efd_edge_transcode::KeyOf as Holds;
    Arc::new(move |payload, key| {
        let holds = match key.payload_kind() {
            PayloadKind::Sample => Holds::Sample,
            PayloadKind::KeyOnly => Holds::Key,
        };
        let mut bytes = Vec::with_capacity(16);
        let found = source.plan.key_bytes(payload, holds, &mut bytes).is_ok();
        if found {
            key.push(&bytes);
        }
        found
    })
}
