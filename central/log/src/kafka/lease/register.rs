//! A value that only the owner of a seat can replace: a record in the seat's partition, and its offset committed by the
//! group. A record that was written and not committed is nobody's.

use std::fmt;
use std::sync::Mutex;
use std::time::Duration;

use efd_central_kafka::Quiet;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::Message as _;
use rdkafka::{Offset, TopicPartitionList};

use crate::kafka::produce::{Appender, Outgoing};
use crate::kafka::{consumer_config, now, storage};
use crate::{LogError, lock};

const ANSWER_WITHIN: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(100);

pub(super) struct Register {
    topic: String,
    appender: Appender,
    consumer: Mutex<BaseConsumer<Quiet>>,
}

impl fmt::Debug for Register {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Register").finish_non_exhaustive()
    }
}

impl Register {
    pub(super) fn new(common: &ClientConfig, topic: &str) -> Result<Self, LogError> {
        let consumer = consumer_config(common, topic)
            .set("auto.offset.reset", "error")
            .create_with_context(Quiet)
            .map_err(storage("make a consumer"))?;
        Ok(Self {
            topic: topic.to_owned(),
            appender: Appender::new(common, "lz4"),
            consumer: Mutex::new(consumer),
        })
    }

    /// Gives the record's offset.
    pub(super) fn write(&self, partition: i32, key: &str, value: &[u8]) -> Result<i64, LogError> {
        let record = Outgoing {
            topic: &self.topic,
            partition,
            key,
            value,
        };
        let offsets = self.appender.append(&[record])?;
        offsets.first().copied().ok_or_else(|| LogError::Storage {
            action: "write a checkpoint",
            reason: "no answer".into(),
        })
    }

    pub(super) fn read(&self, partition: i32, offset: i64) -> Result<Vec<u8>, LogError> {
        let consumer = lock(&self.consumer);
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&self.topic, partition, Offset::Offset(offset))
            .and_then(|()| consumer.assign(&list))
            .map_err(storage("read a checkpoint"))?;
        let failed = |reason: String| LogError::Storage {
            action: "read a checkpoint",
            reason: format!(
                "{} partition {partition} offset {offset}: {reason}",
                self.topic
            ),
        };
        let give_up_at = now() + ANSWER_WITHIN;
        let found = loop {
            match consumer.poll(LOOK_EVERY) {
                Some(Ok(message)) if message.offset() == offset => {
                    break Ok(message.payload().unwrap_or_default().to_vec());
                }
                Some(Ok(message)) => {
                    break Err(failed(format!("the next is at {}", message.offset())));
                }
                Some(Err(error)) if give_up_at <= now() => break Err(failed(error.to_string())),
                None if give_up_at <= now() => break Err(failed("no answer".into())),
                Some(Err(_)) | None => {}
            }
        };
        consumer.unassign().map_err(storage("read a checkpoint"))?;
        found
    }
}
