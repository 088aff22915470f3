//! A cluster in memory, and connections to it that lose acknowledgements, die, and refuse, by a seeded die.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use efd_shared_model::RecordId;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::{
    Ack, Broker, BrokerError, Ensured, Met, Outgoing, OutputIx, Refusal, SendError, Span, Token,
};

/// Records whose datum begins with this byte are large.
pub(crate) const LARGE: u8 = 0xff;

#[derive(Debug, Default)]
pub(crate) struct Cluster {
    pub topics: BTreeMap<String, Vec<RecordId>>,
    /// Topics that take nothing.
    pub forbidden: BTreeSet<String>,
    /// Topics that give nothing.
    pub unreadable: BTreeSet<String>,
    pub refuses_large: bool,
    pub is_down: bool,
    /// Of a hundred polls, how many end the connection.
    pub fatal_percent: u32,
}

#[derive(Debug)]
pub(crate) struct MemoryBroker {
    cluster: Rc<RefCell<Cluster>>,
    rng: StdRng,
    queue: VecDeque<Queued>,
    acks: VecDeque<Ack>,
}

#[derive(Debug)]
struct Queued {
    topic: String,
    output: OutputIx,
    token: Token,
    id: RecordId,
    is_large: bool,
}

const QUEUE_MAX: usize = 20;
const BATCH_MAX: usize = 4;

impl MemoryBroker {
    pub(crate) fn connect(cluster: &Rc<RefCell<Cluster>>, seed: u64) -> Self {
        Self {
            cluster: Rc::clone(cluster),
            rng: StdRng::seed_from_u64(seed),
            queue: VecDeque::new(),
            acks: VecDeque::new(),
        }
    }

    /// The next records of one topic arrive as a batch, which is taken or refused as a whole.
    fn batch_arrives(&mut self) {
        let Some(topic) = self.queue.front().map(|queued| queued.topic.clone()) else {
            return;
        };
        let size = self.rng.random_range(1..=BATCH_MAX);
        let mut batch = Vec::new();
        while batch.len() < size
            && self
                .queue
                .front()
                .is_some_and(|queued| queued.topic == topic)
        {
            batch.extend(self.queue.pop_front());
        }
        let mut cluster = self.cluster.borrow_mut();
        let refusal = if cluster.forbidden.contains(&topic) {
            Some(Refusal::Output("forbidden".into()))
        } else if cluster.refuses_large && batch.iter().any(|queued| queued.is_large) {
            Some(Refusal::Record("too large".into()))
        } else {
            None
        };
        let log = cluster.topics.entry(topic).or_default();
        for queued in batch {
            let result = match &refusal {
                Some(refusal) => Err(refusal.clone()),
                None => {
                    log.push(queued.id);
                    Ok(log.len() as i64 - 1)
                }
            };
            self.acks.push_back(Ack {
                output: queued.output,
                token: queued.token,
                result,
            });
        }
    }
}

/// The process dies: of what it had sent, some still arrives, in order.
impl Drop for MemoryBroker {
    fn drop(&mut self) {
        for _ in 0..self.rng.random_range(0..=QUEUE_MAX / 2) {
            self.batch_arrives();
        }
    }
}

impl Broker for MemoryBroker {
    fn ensure(&mut self, topics: &[&str]) -> Result<Vec<Ensured>, BrokerError> {
        let mut cluster = self.cluster.borrow_mut();
        if cluster.is_down {
            return Err(BrokerError::Unavailable("down".into()));
        }
        let mut answer = |topic: &&str| {
            if cluster.forbidden.contains(*topic) {
                return Ensured::Refused("forbidden".into());
            }
            let is_new = !cluster.topics.contains_key(*topic);
            cluster.topics.entry((*topic).to_owned()).or_default();
            if is_new {
                Ensured::Created
            } else {
                Ensured::Existed
            }
        };
        Ok(topics.iter().map(&mut answer).collect())
    }

    fn read_back(
        &mut self,
        spans: &[Span],
        met: &mut dyn FnMut(Met),
    ) -> Result<Vec<Result<i64, String>>, BrokerError> {
        let cluster = self.cluster.borrow();
        if cluster.is_down {
            return Err(BrokerError::Unavailable("down".into()));
        }
        let mut ends = Vec::new();
        for (span, Span { topic, from }) in spans.iter().enumerate() {
            if cluster.unreadable.contains(topic) {
                ends.push(Err("may not be read".into()));
                continue;
            }
            let log = cluster.topics.get(topic).map_or(&[][..], Vec::as_slice);
            let from = from.filter(|&from| from <= log.len() as i64).unwrap_or(0);
            for (offset, id) in (0..).zip(log).skip(from as usize) {
                let id = Some(*id);
                met(Met {
                    span,
                    offset,
                    id,
                    time: None,
                    appended: None,
                });
            }
            ends.push(Ok(log.len() as i64));
        }
        Ok(ends)
    }

    fn send(&mut self, record: &Outgoing<'_>) -> Result<(), SendError> {
        if QUEUE_MAX <= self.queue.len() {
            return Err(SendError::Full);
        }
        self.queue.push_back(Queued {
            topic: record.topic.to_owned(),
            output: record.output,
            token: record.token,
            id: record.id,
            is_large: record.datum.first() == Some(&LARGE),
        });
        Ok(())
    }

    fn flush(&mut self) {}

    fn poll(&mut self, _wait: Duration, acks: &mut Vec<Ack>) -> Result<(), BrokerError> {
        let (is_down, fatal_percent) = {
            let cluster = self.cluster.borrow();
            (cluster.is_down, cluster.fatal_percent)
        };
        if is_down {
            return Ok(());
        }
        for _ in 0..self.rng.random_range(0..=3) {
            self.batch_arrives();
        }
        if self.rng.random_range(0..100) < fatal_percent {
            return Err(BrokerError::Fatal("nobody knows".into()));
        }
        let count = self.rng.random_range(0..=self.acks.len());
        acks.extend(self.acks.drain(..count));
        Ok(())
    }

    fn trouble(&self) -> Option<String> {
        self.cluster.borrow().is_down.then(|| "down".into())
    }
}
