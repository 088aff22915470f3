//! Follows `efd.meta` into a [`Table`]: from its begin at the start, then as it grows.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use efd_central_kafka::Quiet;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::Message as _;
use rdkafka::{Offset, TopicPartitionList};

use crate::signal::Signal;
use crate::{LogError, lock};

use super::meta::Table;
use super::readers::bounds;
use super::{PARTITION, consumer_config, spawn, storage};

const LOOK_EVERY: Duration = Duration::from_millis(100);
/// The whole topic, at the start.
const FIRST_WITHIN: Duration = Duration::from_secs(120);
/// What another process has just written.
const NEXT_WITHIN: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
struct Followed {
    table: Table,
    /// Offset of the next record.
    next: i64,
    trouble: Option<String>,
}

#[derive(Debug, Default)]
struct Shared {
    followed: Mutex<Followed>,
    grew: Condvar,
    is_stopped: AtomicBool,
}

impl Shared {
    fn followed(&self) -> MutexGuard<'_, Followed> {
        lock(&self.followed)
    }
}

pub(super) struct Meta {
    topic: String,
    consumer: Arc<BaseConsumer<Quiet>>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl fmt::Debug for Meta {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Meta").finish_non_exhaustive()
    }
}

impl Drop for Meta {
    fn drop(&mut self) {
        self.shared.is_stopped.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("The thread that follows the log's declarations panicked");
        }
    }
}

impl Meta {
    /// Reads the topic to its end.
    pub(super) fn open(
        common: &ClientConfig,
        topic: &str,
        signal: Arc<Signal>,
    ) -> Result<Self, LogError> {
        let mut config = consumer_config(common, topic);
        config
            // Only compaction removes records, and what it leaves is everything.
            .set("auto.offset.reset", "earliest")
            .set("fetch.wait.max.ms", "500");
        let consumer: BaseConsumer<Quiet> = config
            .create_with_context(Quiet)
            .map_err(storage("make a consumer"))?;
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, PARTITION, Offset::Beginning)
            .and_then(|()| consumer.assign(&list))
            .map_err(storage("read the log's declarations"))?;
        let consumer = Arc::new(consumer);
        let shared = Arc::<Shared>::default();
        let thread = {
            let (consumer, shared) = (Arc::clone(&consumer), Arc::clone(&shared));
            spawn("log-meta".into(), move || {
                follow(&consumer, &shared, &signal);
            })?
        };
        let meta = Self {
            topic: topic.to_owned(),
            consumer,
            shared,
            thread: Some(thread),
        };
        meta.sync(FIRST_WITHIN)?;
        Ok(meta)
    }

    /// Reads of what is known now.
    pub(super) fn with<T>(&self, read: impl FnOnce(&mut Table) -> T) -> T {
        read(&mut self.shared.followed().table)
    }

    /// Until everything is known that was in the topic when this was called.
    pub(super) fn catch_up(&self) -> Result<(), LogError> {
        self.sync(NEXT_WITHIN)
    }

    fn sync(&self, within: Duration) -> Result<(), LogError> {
        let (_, end) = bounds(&self.consumer, &self.topic)?;
        // The place that counts from 1 after the last record is the offset of it, counted from 0, plus 1.
        self.wait_for(i64::try_from(end.0).unwrap_or(i64::MAX) - 1, within)
    }

    /// Until the record with this offset is known.
    pub(super) fn wait_through(&self, offset: i64) -> Result<(), LogError> {
        self.wait_for(offset + 1, NEXT_WITHIN)
    }

    fn wait_for(&self, next: i64, within: Duration) -> Result<(), LogError> {
        let is_behind = |followed: &mut Followed| followed.next < next;
        let waited = self
            .shared
            .grew
            .wait_timeout_while(self.shared.followed(), within, is_behind);
        let followed = waited.unwrap_or_else(PoisonError::into_inner).0;
        if next <= followed.next {
            return Ok(());
        }
        let trouble = followed.trouble.as_ref();
        Err(LogError::Storage {
            action: "read the log's declarations",
            reason: format!(
                "{}: record {} of {next} within {within:?}{}",
                self.topic,
                followed.next,
                trouble.map_or_else(String::new, |trouble| format!(": {trouble}"))
            ),
        })
    }
}

fn follow(consumer: &BaseConsumer<Quiet>, shared: &Shared, signal: &Signal) {
    while !shared.is_stopped.load(Ordering::Acquire) {
        let message = match consumer.poll(LOOK_EVERY) {
            None => {
                // Compaction may have taken the last records.
                note_position(consumer, shared);
                continue;
            }
            Some(Err(error)) => {
                tracing::debug!(%error, "Following the log's declarations");
                shared.followed().trouble = Some(error.to_string());
                continue;
            }
            Some(Ok(message)) => message,
        };
        let key = String::from_utf8_lossy(message.key().unwrap_or_default());
        let mut followed = shared.followed();
        followed.trouble = None;
        // A removal says nothing that a reader of now must forget.
        if let Some(value) = message.payload()
            && let Err(error) = followed.table.apply(&key, value)
        {
            tracing::warn!(topic = message.topic(), offset = message.offset(), %error, "Declarations");
        }
        followed.next = message.offset() + 1;
        let is_partition = key.starts_with("partition/");
        drop(followed);
        shared.grew.notify_all();
        if is_partition {
            signal.raise();
        }
    }
}

fn note_position(consumer: &BaseConsumer<Quiet>, shared: &Shared) {
    let Ok(positions) = consumer.position() else {
        return;
    };
    for element in positions.elements() {
        if let Offset::Offset(position) = element.offset() {
            let mut followed = shared.followed();
            if followed.next < position {
                followed.next = position;
                drop(followed);
                shared.grew.notify_all();
            }
        }
    }
}
