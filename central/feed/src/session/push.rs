//! Sends the records of one block, as far as the producer takes them.

use efd_central_log::{BlockLog, Class, LogError};
use efd_shared_model::{Block, EpochId, RecordId, StreamNumber};

use crate::account::{Purpose, SlotIx};
use crate::broker::{Broker, Outgoing, Refusal, SendError, Token};
use crate::wire::FRAME_BYTES;

use super::{Destination, Session, SessionError};

/// A block on its way to the producer, and how far it is.
#[derive(Debug)]
pub(super) struct Job {
    pub slot: SlotIx,
    pub block: Block,
    pub is_routed: bool,
    class: Class,
    purpose: Purpose,
    /// Each record waits for the answer to the one before: a batch is refused as a whole, and only one of it may be
    /// to blame.
    pub one_by_one: bool,
    section: usize,
    record: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pushed {
    All,
    /// Acknowledgements must come first.
    Later,
}

impl Job {
    pub(super) fn new(slot: SlotIx, block: Block, class: Class, purpose: Purpose) -> Self {
        Self {
            slot,
            block,
            is_routed: false,
            class,
            purpose,
            one_by_one: false,
            section: 0,
            record: 0,
        }
    }
}

/// The log takes no block before its declarations, so this is a broken log.
fn undeclared((epoch, number): (EpochId, StreamNumber)) -> SessionError {
    let missing = vec![number.0];
    LogError::Undeclared { epoch, missing }.into()
}

impl<L: BlockLog + ?Sized, B: Broker> Session<L, B> {
    pub(super) fn push(&mut self, job: &mut Job) -> Result<Pushed, SessionError> {
        let block_id = job.block.header().id;
        for section in job.block.sections().skip(job.section) {
            let stream = (block_id.lane.epoch, section.stream());
            let (output, key) = match self.streams.get(&stream) {
                Some(Destination::Output(output, key)) => (*output, key),
                Some(Destination::Elsewhere) => {
                    job.section += 1;
                    continue;
                }
                None => return Err(undeclared(stream)),
            };
            let schema = self.routes.get(&**key).and_then(|route| route.schema);
            let is_asked_for =
                job.purpose == Purpose::Deliver || job.purpose == Purpose::Retry(output);
            let records =
                section
                    .records()
                    .skip(if is_asked_for { job.record } else { usize::MAX });
            for record in records {
                if job.one_by_one && !self.account.is_answered(job.slot) {
                    return Ok(Pushed::Later);
                }
                if self.account.offer(job.slot, output, record.index) {
                    let Some(schema) = schema else {
                        let refusal = Refusal::Output("its schema has no id".to_owned());
                        self.account.refuse(job.slot, output, record.index, refusal);
                        job.record += 1;
                        continue;
                    };
                    let outgoing = Outgoing {
                        output,
                        topic: &self.account.output(output).topic,
                        instance: record.stamps.instance,
                        schema,
                        id: RecordId {
                            block: block_id,
                            index: record.index,
                        },
                        event_time: record.stamps.event_time,
                        class: job.class,
                        datum: record.datum,
                        token: Token {
                            slot: job.slot.0,
                            index: record.index,
                        },
                    };
                    match self.broker.send(&outgoing) {
                        Ok(()) => {
                            self.account.sent(job.slot, output);
                            self.bytes += (FRAME_BYTES + record.datum.len()) as u64;
                        }
                        Err(SendError::Full) => return Ok(Pushed::Later),
                        Err(SendError::Refused(refusal)) => {
                            self.account.refuse(job.slot, output, record.index, refusal);
                        }
                        Err(SendError::Failed(error)) => return Err(error.into()),
                    }
                }
                job.record += 1;
            }
            job.section += 1;
            job.record = 0;
        }
        self.account.handed_over(job.slot);
        self.is_dirty = true;
        Ok(Pushed::All)
    }
}
