//! Appends to topics, and waits until every record is durable there.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use efd_central_kafka::{log, retell};
use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message as _;
use rdkafka::producer::{
    BaseRecord, DeliveryResult, Producer as _, ProducerContext, ThreadedProducer,
};

use crate::{LogError, lock};

use super::topics::RECORD_BYTES_MAX;
use super::{now, storage};

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
    /// Of each record, by its number.
    offsets: Vec<Option<i64>>,
    error: Option<(String, Option<RDKafkaErrorCode>)>,
}

impl Batch {
    fn answers(&self) -> MutexGuard<'_, Answers> {
        lock(&self.state)
    }
}

#[derive(Debug, Default)]
struct Reports {
    /// Why nothing is answered, as far as is known.
    trouble: Mutex<Option<String>>,
    is_fatal: AtomicBool,
}

impl Reports {
    fn note_code(&self, code: Option<RDKafkaErrorCode>) {
        if code == Some(RDKafkaErrorCode::Fatal) {
            self.is_fatal.store(true, Ordering::Release);
        }
    }
}

impl ClientContext for Reports {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.note_code(error.rdkafka_error_code());
        retell(&mut lock(&self.trouble), &error, reason);
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
                self.note_code(code);
                answers.error.get_or_insert((reason, code));
            }
        }
        answers.open -= 1;
        if answers.open == 0 {
            batch.came.notify_all();
        }
    }
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
            && !known.context().is_fatal.load(Ordering::Acquire)
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
        let left = give_up_at.saturating_duration_since(now());
        let is_open = |answers: &mut Answers| answers.open > 0;
        let waited = batch
            .came
            .wait_timeout_while(batch.answers(), left, is_open);
        let mut answers = waited.unwrap_or_else(PoisonError::into_inner).0;
        let trouble = || lock(&producer.context().trouble).clone();
        if answers.open > 0 {
            let trouble = trouble().unwrap_or_else(|| "nobody says why".into());
            return Err(LogError::Storage {
                action: "append to Kafka",
                reason: format!("no answer within {ANSWER_WITHIN:?}: {trouble}"),
            });
        }
        match answers.error.take() {
            None => Ok(answers.offsets.iter().copied().flatten().collect()),
            Some((reason, code)) => {
                let hint = match code {
                    Some(RDKafkaErrorCode::MessageSizeTooLarge) => format!(
                        "; the topic's `max.message.bytes` must be {RECORD_BYTES_MAX} at least"
                    ),
                    Some(RDKafkaErrorCode::MessageTimedOut) => {
                        trouble().map_or_else(String::new, |trouble| format!(" ({trouble})"))
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
