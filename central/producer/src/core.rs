//! Which records wait, which are under way, and where to: decides everything, sends nothing. Time is an argument.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::error::ResponseError;

use crate::answer::{Ack, Refusal, SendError, Verdict, is_of_topic};
use crate::batch::{Growing, Identity, Record, TopicIx, sequence_after};

/// What may wait and be under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub records: usize,
    pub bytes: usize,
    /// A larger record is refused at once.
    pub record_bytes: usize,
    /// A batch grows no further, except by its first record. Below the brokers' own limit.
    pub batch_bytes: usize,
    /// So much goes into a request, except for its first batch.
    pub request_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            records: 100_000,
            bytes: 64 << 20,
            record_bytes: 16 << 20,
            batch_bytes: 1_000_000,
            request_bytes: 4 << 20,
        }
    }
}

/// A broker, by the cluster's number for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct NodeId(pub i32);

/// After an answer that says so, the same is sent again so much later.
const AGAIN_AFTER: Duration = Duration::from_millis(100);
/// A topic that had a leader and is unknown for so long does not exist any more.
const GONE_AFTER: Duration = Duration::from_secs(10);
/// One that never had: a small cluster that makes thousands of topics needs its time until all of its brokers know them.
const ABSENT_AFTER: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leader {
    Unknown,
    Node(NodeId),
}

/// What may happen next to a topic's records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// Nothing waits, or what waits is not flushed.
    Rests,
    /// In [`Core::ready`].
    Queued,
    UnderWay,
    /// In [`Core::later`].
    Later,
    /// In [`Core::leaderless`].
    Leaderless,
}

#[derive(Debug)]
struct Topic {
    name: Arc<str>,
    leader: Leader,
    turn: Turn,
    is_touched: bool,
    /// Of the next batch; advanced by each that was appended.
    sequence: i32,
    /// To be sent again as it is.
    again: Option<Outgoing>,
    waiting: VecDeque<Waiting>,
    has_had_leader: bool,
    /// Since when the cluster says that there is no such topic.
    unknown_since: Option<Duration>,
}

impl Topic {
    fn has_records(&self) -> bool {
        self.again.is_some() || !self.waiting.is_empty()
    }
}

/// A batch that grows, and what comes back with the acknowledgement of each of its records.
#[derive(Debug)]
struct Waiting {
    batch: Growing,
    opaques: Vec<usize>,
}

/// A batch on its way to a broker.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub topic: TopicIx,
    pub name: Arc<str>,
    batch: Batch,
    opaques: Vec<usize>,
    cost: usize,
    /// It was sent before, and may be in its topic.
    is_doubtful: bool,
}

/// With the sequence that it keeps, whatever happens.
#[derive(Debug)]
enum Batch {
    Growing(Growing, Identity, i32),
    Sealed(Bytes),
}

impl Outgoing {
    /// What goes over the wire: each time the same.
    pub(crate) fn bytes(&mut self) -> Bytes {
        let bytes = match &self.batch {
            Batch::Growing(growing, identity, sequence) => growing.seal(*identity, *sequence),
            Batch::Sealed(bytes) => Bytes::clone(bytes),
        };
        self.batch = Batch::Sealed(Bytes::clone(&bytes));
        bytes
    }
}

/// What the cluster says of a topic's partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    Leader(NodeId),
    Error(ResponseError),
}

#[derive(Debug)]
pub(crate) struct Core {
    limits: Limits,
    identity: Option<Identity>,
    topics: Vec<Topic>,
    by_name: HashMap<Arc<str>, TopicIx>,
    /// Which were given records since the last flush.
    touched: Vec<TopicIx>,
    ready: BTreeMap<NodeId, VecDeque<TopicIx>>,
    later: Vec<(Duration, TopicIx)>,
    leaderless: BTreeSet<TopicIx>,
    /// Leaders are not asked for before.
    ask_at: Duration,
    records: usize,
    bytes: usize,
    acks: Vec<Ack>,
    fatal: Option<String>,
    trouble: Option<String>,
    is_closed: bool,
}

impl Core {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            identity: None,
            topics: Vec::new(),
            by_name: HashMap::new(),
            touched: Vec::new(),
            ready: BTreeMap::new(),
            later: Vec::new(),
            leaderless: BTreeSet::new(),
            ask_at: Duration::ZERO,
            records: 0,
            bytes: 0,
            acks: Vec::new(),
            fatal: None,
            trouble: None,
            is_closed: false,
        }
    }

    pub(crate) fn topic(&mut self, name: &str) -> TopicIx {
        if let Some(ix) = self.by_name.get(name) {
            return *ix;
        }
        let (ix, name) = (TopicIx(self.topics.len() as u32), Arc::<str>::from(name));
        self.by_name.insert(Arc::clone(&name), ix);
        self.topics.push(Topic {
            name,
            leader: Leader::Unknown,
            turn: Turn::Rests,
            is_touched: false,
            sequence: 0,
            again: None,
            waiting: VecDeque::new(),
            has_had_leader: false,
            unknown_since: None,
        });
        ix
    }

    fn topic_mut(&mut self, ix: TopicIx) -> &mut Topic {
        &mut self.topics[ix.0 as usize]
    }

    /// `unix_ms`: for topics that keep the time of creation.
    pub(crate) fn push(
        &mut self,
        ix: TopicIx,
        record: &Record<'_>,
        opaque: usize,
        unix_ms: i64,
    ) -> Result<(), SendError> {
        if self.is_closed || self.fatal.is_some() {
            return Err(SendError::Closed);
        }
        let (found, limit) = (record.bytes_max(), self.limits.record_bytes);
        if limit < found {
            return Err(SendError::TooLarge { found, limit });
        }
        let is_full = self.limits.records <= self.records || self.limits.bytes < self.bytes + found;
        if is_full && self.records > 0 {
            return Err(SendError::Full);
        }
        let batch_bytes = self.limits.batch_bytes;
        let topic = self.topic_mut(ix);
        let has_room = |waiting: &Waiting| waiting.batch.bytes() + found <= batch_bytes;
        if !topic.waiting.back().is_some_and(has_room) {
            topic.waiting.push_back(Waiting {
                batch: Growing::new(unix_ms),
                opaques: Vec::new(),
            });
        }
        let Some(Waiting { batch, opaques }) = topic.waiting.back_mut() else {
            return Err(SendError::Closed);
        };
        let before = batch.bytes();
        batch.push(record);
        opaques.push(opaque);
        let cost = batch.bytes() - before;
        if !std::mem::replace(&mut topic.is_touched, true) {
            self.touched.push(ix);
        }
        self.records += 1;
        self.bytes += cost;
        Ok(())
    }

    /// What was pushed may go. Whether anybody has to be woken for it.
    pub(crate) fn flush(&mut self) -> bool {
        let touched = std::mem::take(&mut self.touched);
        for &ix in &touched {
            let topic = self.topic_mut(ix);
            topic.is_touched = false;
            if topic.turn == Turn::Rests {
                self.queue(ix);
            }
        }
        !touched.is_empty()
    }

    /// Gives the topic the turn that fits.
    fn queue(&mut self, ix: TopicIx) {
        let topic = self.topic_mut(ix);
        if !topic.has_records() {
            topic.turn = Turn::Rests;
            return;
        }
        match topic.leader {
            Leader::Node(node) => {
                topic.turn = Turn::Queued;
                self.ready.entry(node).or_default().push_back(ix);
            }
            Leader::Unknown => {
                topic.turn = Turn::Leaderless;
                self.leaderless.insert(ix);
            }
        }
    }

    /// What the next request to a broker carries: batches of different topics. Each is answered by [`Self::handle_answer`]
    /// or [`Self::handle_unanswered`].
    pub(crate) fn take(&mut self, node: NodeId) -> Vec<Outgoing> {
        let (Some(identity), false) = (self.identity, self.is_closed || self.fatal.is_some())
        else {
            return Vec::new();
        };
        let (mut taken, mut bytes) = (Vec::new(), 0);
        while let Some(ix) = self.ready.get_mut(&node).and_then(VecDeque::pop_front) {
            let topic = &mut self.topics[ix.0 as usize];
            let next = topic
                .again
                .as_ref()
                .map(|again| again.cost)
                .or_else(|| topic.waiting.front().map(|waiting| waiting.batch.bytes()));
            let Some(cost) = next else {
                topic.turn = Turn::Rests;
                continue;
            };
            if bytes > 0 && self.limits.request_bytes < bytes + cost {
                self.ready.entry(node).or_default().push_front(ix);
                break;
            }
            let outgoing = topic.again.take().or_else(|| {
                let Waiting { batch, opaques } = topic.waiting.pop_front()?;
                Some(Outgoing {
                    topic: ix,
                    name: Arc::clone(&topic.name),
                    opaques,
                    batch: Batch::Growing(batch, identity, topic.sequence),
                    cost,
                    is_doubtful: false,
                })
            });
            bytes += cost;
            topic.turn = Turn::UnderWay;
            taken.extend(outgoing);
        }
        taken
    }

    pub(crate) fn handle_answer(&mut self, sent: Outgoing, verdict: Verdict, now: Duration) {
        match verdict {
            Verdict::Appended(base) => {
                self.trouble = None;
                let count = sent.opaques.len();
                let topic = self.topic_mut(sent.topic);
                topic.sequence = sequence_after(topic.sequence, count);
                topic.unknown_since = None;
                self.release(count, sent.cost);
                let acks = sent.opaques.iter().zip(base..);
                self.acks.extend(acks.map(|(&opaque, offset)| Ack {
                    opaque,
                    result: Ok(offset),
                }));
                self.queue(sent.topic);
            }
            Verdict::Again { reason, moved } => {
                self.trouble = Some(reason);
                // A leader that has moved has not appended it.
                let is_doubtful = sent.is_doubtful || !moved;
                self.put_off(sent, (moved, is_doubtful), now);
            }
            Verdict::Refused(refusal) if sent.is_doubtful => {
                let reason = match refusal {
                    Refusal::Record(reason) | Refusal::Topic(reason) => reason,
                };
                let reason = format!("sent twice, and refused the second time: {reason}");
                self.fail(reason);
            }
            Verdict::Refused(refusal) => {
                // The sequence was not used.
                self.refuse(&sent.opaques, sent.cost, &refusal);
                self.queue(sent.topic);
            }
            Verdict::Fatal(reason) => self.fail(reason),
        }
    }

    /// The connection ended before the answer: the same goes again, to whoever leads then.
    pub(crate) fn handle_unanswered(&mut self, sent: Outgoing, now: Duration) {
        self.put_off(sent, (true, true), now);
    }

    fn put_off(&mut self, mut sent: Outgoing, (moved, is_doubtful): (bool, bool), now: Duration) {
        let ix = sent.topic;
        sent.is_doubtful = is_doubtful;
        let topic = self.topic_mut(ix);
        topic.again = Some(sent);
        if moved {
            topic.leader = Leader::Unknown;
        }
        topic.turn = Turn::Later;
        self.later.push((now + AGAIN_AFTER, ix));
    }

    fn release(&mut self, records: usize, bytes: usize) {
        self.records = self.records.saturating_sub(records);
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    fn refuse(&mut self, opaques: &[usize], cost: usize, refusal: &Refusal) {
        self.release(opaques.len(), cost);
        self.acks.extend(opaques.iter().map(|&opaque| Ack {
            opaque,
            result: Err(refusal.clone()),
        }));
    }

    /// All that waits for the topic.
    fn refuse_topic(&mut self, ix: TopicIx, reason: String) {
        let refusal = Refusal::Topic(reason);
        let topic = self.topic_mut(ix);
        topic.unknown_since = None;
        let again = topic.again.take();
        let waiting = std::mem::take(&mut topic.waiting);
        // Doubtful or not: a topic that does not exist holds nothing.
        if let Some(again) = again {
            self.refuse(&again.opaques, again.cost, &refusal);
        }
        for Waiting { batch, opaques } in waiting {
            self.refuse(&opaques, batch.bytes(), &refusal);
        }
        self.queue(ix);
    }

    /// What was put off and is due. When to look again.
    pub(crate) fn handle_time(&mut self, now: Duration) -> Option<Duration> {
        let later = std::mem::take(&mut self.later);
        for (at, ix) in later {
            match at <= now {
                true => self.queue(ix),
                false => self.later.push((at, ix)),
            }
        }
        let asks = !self.leaderless.is_empty() || self.identity.is_none();
        let next = self.later.iter().map(|(at, _)| *at);
        next.chain(asks.then_some(self.ask_at)).min()
    }

    /// Topics whose leaders are to be asked for. Nothing where it is too early to ask again.
    pub(crate) fn leaderless(&self, now: Duration) -> Vec<(TopicIx, Arc<str>)> {
        if now < self.ask_at || self.is_closed {
            return Vec::new();
        }
        let name = |ix: &TopicIx| (*ix, Arc::clone(&self.topics[ix.0 as usize].name));
        self.leaderless.iter().map(name).collect()
    }

    pub(crate) fn handle_found(&mut self, found: Vec<(TopicIx, Found)>, now: Duration) {
        let mut is_one_left = false;
        for (ix, found) in found {
            if !self.leaderless.remove(&ix) {
                continue;
            }
            match found {
                Found::Leader(node) => {
                    let topic = self.topic_mut(ix);
                    topic.leader = Leader::Node(node);
                    topic.has_had_leader = true;
                    self.queue(ix);
                }
                Found::Error(error) if is_of_topic(error) => {
                    let name = Arc::clone(&self.topic_mut(ix).name);
                    self.refuse_topic(ix, format!("{name}: {error}"));
                }
                Found::Error(error) => {
                    let topic = self.topic_mut(ix);
                    let name = Arc::clone(&topic.name);
                    if error == ResponseError::UnknownTopicOrPartition {
                        let since = *topic.unknown_since.get_or_insert(now);
                        let patience = match topic.has_had_leader {
                            true => GONE_AFTER,
                            false => ABSENT_AFTER,
                        };
                        if patience <= now.saturating_sub(since) {
                            self.refuse_topic(ix, format!("{name}: {error}"));
                            continue;
                        }
                    }
                    self.trouble = Some(format!("{name}: {error}"));
                    self.leaderless.insert(ix);
                    is_one_left = true;
                }
            }
        }
        if is_one_left {
            self.ask_at = now + AGAIN_AFTER;
        }
    }

    /// Nobody could be asked.
    pub(crate) fn handle_not_asked(&mut self, again_at: Duration) {
        self.ask_at = again_at;
    }

    pub(crate) fn needs_identity(&self, now: Duration) -> bool {
        self.identity.is_none() && self.ask_at <= now
    }

    pub(crate) fn handle_identity(&mut self, identity: Identity) {
        self.identity = Some(identity);
    }

    pub(crate) fn note_trouble(&mut self, reason: String) {
        self.trouble = Some(reason);
    }

    pub(crate) fn fail(&mut self, reason: String) {
        self.fatal.get_or_insert(reason);
    }

    pub(crate) fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    pub(crate) fn fatal(&self) -> Option<&str> {
        self.fatal.as_deref()
    }

    pub(crate) fn acks(&mut self) -> &mut Vec<Ack> {
        &mut self.acks
    }

    /// What waits is dropped, without an answer.
    pub(crate) fn close(&mut self) {
        self.is_closed = true;
        for topic in &mut self.topics {
            topic.again = None;
            topic.waiting.clear();
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.is_closed
    }
}

#[cfg(test)]
mod tests;
