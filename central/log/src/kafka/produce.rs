//! Appends to topics, and waits until every record is durable there.

use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message as _;
use rdkafka::producer::{
    BaseRecord, DeliveryResult, Producer as _, ProducerContext, ThreadedProducer,
};

use crate::LogError;

use super::topics::RECORD_BYTES_MAX;
use super::{log, storage};

/// A record that is not durable by then is appended again: a second copy is dropped by its block number.
const DURABLE_WITHIN: Duration = Duration::from_secs(10);
/// librdkafka answers for every record by then, whatever happened.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);
/// Until the queue, which is full, has room.
const ROOM_AFTER: Duration = Duration::from_millis(2);

#[derive(Clone, Copy, Debug)]
pub(super) struct Outgoing<'a> {
    pub(super) topic: &'a str,
    pub(super) partition: i32,
    pub(super) key: &'a str,
    pub(super) value: &'a [u8],
}

/// The answers to the records of one append.
#[derive(Debug, Default)]
struct Batch {
    state: Mutex<Answers>,
    came: Condvar,
}

#[derive(Debug, Default)]
struct Answers {
    open: usize,
    /// The last offset in each topic that was asked for, by the record's number.
    offsets: Vec<Option<i64>>,
    error: Option<(String, Option<RDKafkaErrorCode>)>,
}

impl Batch {
    fn answers(&self) -> MutexGuard<'_, Answers> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug, Default)]
struct Reports {
    /// Why nothing is answered, as far as is known.
    trouble: Mutex<Option<String>>,
    is_fatal: Mutex<bool>,
}

impl ClientContext for Reports {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let code = error.rdkafka_error_code();
        if code == Some(RDKafkaErrorCode::Fatal) {
            *lock(&self.is_fatal) = true;
        }
        let mut trouble = lock(&self.trouble);
        // That all are down is said after why one of them is.
        if code != Some(RDKafkaErrorCode::AllBrokersDown) || trouble.is_none() {
            *trouble = Some(reason.to_owned());
        }
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = Box<(Arc<Batch>, usize)>;

    fn delivery(&self, result: &DeliveryResult<'_>, opaque: Self::DeliveryOpaque) {
        let (batch, index) = *opaque;
        let mut answers = batch.answers();
        match result {
            Ok(message) => {
                lock(&self.trouble).take();
                answers.offsets[index] = Some(message.offset());
            }
            Err((error, message)) => {
                let reason = format!("{}: {error}", message.topic());
                let code = error.rdkafka_error_code();
                if code == Some(RDKafkaErrorCode::Fatal) {
                    *lock(&self.is_fatal) = true;
                }
                answers.error.get_or_insert((reason, code));
            }
        }
        answers.open -= 1;
        if answers.open == 0 {
            batch.came.notify_all();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One producer, made anew when it can go on no more.
pub(super) struct Appender {
    config: ClientConfig,
    producer: Mutex<Option<Arc<ThreadedProducer<Reports>>>>,
}

impl fmt::Debug for Appender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Appender").finish_non_exhaustive()
    }
}

impl Appender {
    /// `compression`: blocks are compressed, other records are not.
    pub(super) fn new(common: &ClientConfig, compression: &str) -> Self {
        let mut config = common.clone();
        config
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("message.timeout.ms", DURABLE_WITHIN.as_millis().to_string())
            .set("message.max.bytes", RECORD_BYTES_MAX.to_string())
            // Who appends waits for it: nothing is gained by waiting here too.
            .set("linger.ms", "0")
            .set("compression.type", compression)
            .set("queue.buffering.max.kbytes", "131072");
        Self {
            config,
            producer: Mutex::default(),
        }
    }

    fn producer(&self) -> Result<Arc<ThreadedProducer<Reports>>, LogError> {
        let mut producer = lock(&self.producer);
        if let Some(known) = producer.as_ref()
            && !*lock(&known.context().is_fatal)
        {
            return Ok(Arc::clone(known));
        }
        let made = self.config.create_with_context(Reports::default());
        let made = Arc::new(made.map_err(storage("make a producer"))?);
        *producer = Some(Arc::clone(&made));
        Ok(made)
    }

    /// Durable when this returns `Ok`, with the offset of each. After an error some may be.
    pub(super) fn append(&self, records: &[Outgoing<'_>]) -> Result<Vec<i64>, LogError> {
        let producer = self.producer()?;
        let batch = Arc::new(Batch::default());
        batch.answers().offsets = vec![None; records.len()];
        let give_up_at = now() + ANSWER_WITHIN;
        for (index, record) in records.iter().enumerate() {
            batch.answers().open += 1;
            if let Err(error) = send(&producer, record, (&batch, index), give_up_at) {
                let mut answers = batch.answers();
                answers.open -= 1;
                let code = error.rdkafka_error_code();
                let reason = format!("{}: {error}", record.topic);
                answers.error.get_or_insert((reason, code));
                break;
            }
        }
        let mut answers = batch.answers();
        while answers.open > 0 {
            let left = give_up_at.saturating_duration_since(now());
            if left.is_zero() {
                let trouble = lock(&producer.context().trouble).clone();
                let trouble = trouble.unwrap_or_else(|| "nobody says why".into());
                return Err(LogError::Storage {
                    action: "append to Kafka",
                    reason: format!("no answer within {ANSWER_WITHIN:?}: {trouble}"),
                });
            }
            let waited = batch.came.wait_timeout(answers, left);
            answers = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        match answers.error.take() {
            None => Ok(answers.offsets.iter().copied().flatten().collect()),
            Some((reason, code)) => {
                let hint = match code {
                    Some(RDKafkaErrorCode::MessageSizeTooLarge) => format!(
                        "; the topic's `max.message.bytes` must be {RECORD_BYTES_MAX} at least"
                    ),
                    Some(RDKafkaErrorCode::MessageTimedOut) => {
                        let trouble = lock(&producer.context().trouble).clone();
                        trouble.map_or_else(String::new, |trouble| format!(" ({trouble})"))
                    }
                    Some(_) | None => String::new(),
                };
                Err(LogError::Storage {
                    action: "append to Kafka",
                    reason: format!("{reason}{hint}"),
                })
            }
        }
    }
}

fn send(
    producer: &ThreadedProducer<Reports>,
    record: &Outgoing<'_>,
    (batch, index): (&Arc<Batch>, usize),
    give_up_at: Instant,
) -> Result<(), KafkaError> {
    let opaque = Box::new((Arc::clone(batch), index));
    let mut message = BaseRecord::<str, [u8], _>::with_opaque_to(record.topic, opaque)
        .partition(record.partition)
        .key(record.key)
        .payload(record.value);
    loop {
        match producer.send(message) {
            Ok(()) => return Ok(()),
            Err((error, back))
                if error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull)
                    && now() < give_up_at =>
            {
                message = back;
                std::thread::sleep(ROOM_AFTER);
            }
            Err((error, _)) => return Err(error),
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a shell: it waits for another program's answer"
)]
fn now() -> Instant {
    Instant::now()
}
