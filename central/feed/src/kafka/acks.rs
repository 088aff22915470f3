//! What librdkafka's thread tells ours: acknowledgements, and what an error means.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use efd_central_kafka::{log, retell};
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::producer::{DeliveryResult, ProducerContext};

use crate::broker::{Ack, BrokerError, OutputIx, Refusal, Token};

/// Bounded by the records in flight.
#[derive(Debug, Default)]
pub(super) struct Acks {
    inbox: Mutex<Inbox>,
    came: Condvar,
}

#[derive(Debug, Default)]
struct Inbox {
    acks: Vec<Ack>,
    /// An answer after which nobody knows what arrived.
    fatal: Option<String>,
    /// Why there is no answer, until there is one.
    trouble: Option<String>,
}

impl Acks {
    fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Acks {
    /// Adds what came to `acks`; waits up to `wait` for a first one.
    pub(super) fn take(&self, wait: Duration, acks: &mut Vec<Ack>) -> Result<(), BrokerError> {
        let mut inbox = self.inbox();
        if inbox.acks.is_empty() && inbox.fatal.is_none() && !wait.is_zero() {
            let waited = self.came.wait_timeout(inbox, wait);
            inbox = waited.map_or_else(|poisoned| poisoned.into_inner().0, |(inbox, _)| inbox);
        }
        if let Some(reason) = inbox.fatal.take() {
            return Err(BrokerError::Fatal(reason));
        }
        if acks.is_empty() {
            std::mem::swap(&mut inbox.acks, acks);
        } else {
            acks.append(&mut inbox.acks);
        }
        Ok(())
    }

    pub(super) fn trouble(&self) -> Option<String> {
        self.inbox().trouble.clone()
    }
}

impl ClientContext for Acks {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let mut inbox = self.inbox();
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::Fatal) {
            inbox.fatal = Some(reason.to_owned());
        }
        retell(&mut inbox.trouble, &error, reason);
        self.came.notify_all();
    }
}

impl ProducerContext for Acks {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, opaque: usize) {
        let (output, token) = unpack(opaque);
        let mut inbox = self.inbox();
        let result = match result {
            // In the topic, but nobody knows where: the broker recognised a second sending of long ago.
            Ok(message) if message.offset() < 0 => {
                let reason = format!(
                    "a record of {} was acknowledged without its offset",
                    message.topic()
                );
                inbox.fatal.get_or_insert(reason);
                self.came.notify_all();
                return;
            }
            Ok(message) => {
                inbox.trouble = None;
                Ok(message.offset())
            }
            Err((error, _)) => match judge(error) {
                Judged::Refused(refusal) => Err(refusal),
                Judged::Unknown(reason) => {
                    inbox.fatal.get_or_insert(reason);
                    self.came.notify_all();
                    return;
                }
            },
        };
        inbox.acks.push(Ack {
            output,
            token,
            result,
        });
        if inbox.acks.len() == 1 {
            self.came.notify_all();
        }
    }
}

/// Bits of an opaque: output, slot, index. `RECORDS_MAX` is 2^20.
const INDEX_BITS: u32 = 20;
const SLOT_BITS: u32 = 20;
const OUTPUT_BITS: u32 = 24;
const _: () = assert!(efd_shared_model::block::RECORDS_MAX <= 1 << INDEX_BITS);
const _: () = assert!(INDEX_BITS + SLOT_BITS + OUTPUT_BITS == usize::BITS);

pub(super) fn pack(output: OutputIx, token: Token) -> usize {
    ((output.0 as usize) << (SLOT_BITS + INDEX_BITS))
        | ((token.slot as usize) << INDEX_BITS)
        | token.index as usize
}

fn unpack(opaque: usize) -> (OutputIx, Token) {
    let bits = |from: u32, count: u32| ((opaque >> from) & ((1 << count) - 1)) as u32;
    let token = Token {
        slot: bits(INDEX_BITS, SLOT_BITS),
        index: bits(0, INDEX_BITS),
    };
    (OutputIx(bits(INDEX_BITS + SLOT_BITS, OUTPUT_BITS)), token)
}

pub(super) enum Judged {
    /// The record is certainly not in the topic.
    Refused(Refusal),
    Unknown(String),
}

pub(super) fn judge(error: &KafkaError) -> Judged {
    use RDKafkaErrorCode as Code;
    let reason = error.to_string();
    let is = |codes: &[Code]| {
        error
            .rdkafka_error_code()
            .is_some_and(|code| codes.contains(&code))
    };
    if is(&[
        Code::MessageSizeTooLarge,
        Code::InvalidMessageSize,
        Code::InvalidRecord,
        Code::MessageBatchTooLarge,
    ]) {
        Judged::Refused(Refusal::Record(reason))
    } else if is(&[
        Code::UnknownTopic,
        Code::UnknownPartition,
        Code::UnknownTopicOrPartition,
        Code::TopicAuthorizationFailed,
        Code::InvalidTopic,
        Code::PolicyViolation,
    ]) {
        Judged::Refused(Refusal::Output(reason))
    } else {
        Judged::Unknown(reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opaques_read_back() {
        for (output, slot, index) in [
            (0, 0, 0),
            (0x00ab_cdef, 0xf_edcb, 0x1_2345),
            ((1 << 24) - 1, (1 << 20) - 1, (1 << 20) - 1),
        ] {
            let (output, token) = (OutputIx(output), Token { slot, index });
            assert_eq!(unpack(pack(output, token)), (output, token));
        }
    }
}
