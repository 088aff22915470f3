//! What topics that keep history for late joiners have sent, where no sequence number tells: by the time that the writer
//! stamped, and what it wrote.
//!
//! A writer that stamps no time (RustDDS) gives nothing to know a repetition by: its history is recorded again.

use std::collections::{BTreeMap, BTreeSet};

use efd_shared_model::UtcNanos;
use efd_shared_model::bytes::{ByteError, Reader, Writer};
use xxhash_rust::xxh3::xxh3_64;

use super::TopicIndex;

/// Samples remembered, shared out evenly among the topics; about 32 bytes each.
const SAMPLES_MAX: usize = 1 << 18;
/// Whatever the share.
const TOPIC_SAMPLES_MIN: usize = 128;
const TOPICS_MAX: usize = 100_000;

/// Source time in nanoseconds since 1970, XXH3 of the datum behind its times.
type Seen = (i64, u64);

#[derive(Debug, Default)]
pub struct Histories {
    by_topic: BTreeMap<TopicIndex, Topic>,
}

#[derive(Debug)]
struct Topic {
    seen: BTreeSet<Seen>,
    /// When something of it was last received, repetitions too.
    heard: UtcNanos,
}

impl Default for Topic {
    fn default() -> Self {
        Self {
            seen: BTreeSet::new(),
            heard: UtcNanos(i64::MIN),
        }
    }
}

impl Histories {
    /// Takes note of a sample. `true`: one like it was recorded before.
    ///
    /// `content`: the datum without its times. What is older than all that is remembered counts as new: better twice
    /// than not at all.
    pub fn has_recorded(
        &mut self,
        topic: TopicIndex,
        source: UtcNanos,
        content: &[u8],
        received: UtcNanos,
    ) -> bool {
        let share = self.share();
        let Topic { seen, heard } = self.by_topic.entry(topic).or_default();
        *heard = received.max(*heard);
        if !seen.insert((source.0, xxh3_64(content))) {
            return true;
        }
        while seen.len() > share {
            seen.pop_first();
        }
        false
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_topic.is_empty()
    }

    /// Those from which something was heard since `before`.
    pub(super) fn alive(&self, before: UtcNanos) -> impl Iterator<Item = TopicIndex> {
        let alive = self.by_topic.iter();
        alive
            .filter(move |(_, topic)| before <= topic.heard)
            .map(|(index, _)| *index)
    }

    fn share(&self) -> usize {
        (SAMPLES_MAX / self.by_topic.len().max(1)).max(TOPIC_SAMPLES_MIN)
    }

    /// Of the topics of `places`, which are numbered anew by them.
    pub(super) fn write(&self, places: &BTreeMap<TopicIndex, u64>, out: &mut Writer) {
        let written = || {
            self.by_topic
                .iter()
                .filter_map(|(index, topic)| Some((*places.get(index)?, topic)))
        };
        out.varint(written().count() as u64);
        for (place, Topic { seen, heard }) in written() {
            out.varint(place);
            out.i64(heard.0);
            out.varint(seen.len() as u64);
            let mut last = 0i64;
            for (at, hash) in seen {
                out.zigzag(at.wrapping_sub(last));
                out.u64(*hash);
                last = *at;
            }
        }
    }

    pub(super) fn read(reader: &mut Reader<'_>, topics: usize) -> Result<Self, ByteError> {
        let mut by_topic = BTreeMap::new();
        for _ in 0..reader.count("topics with history", TOPICS_MAX)? {
            let index = TopicIndex(reader.count("topics", topics.saturating_sub(1))? as u32);
            let heard = UtcNanos(reader.i64()?);
            let (mut seen, mut last) = (BTreeSet::new(), 0i64);
            for _ in 0..reader.count("samples of a topic's history", SAMPLES_MAX)? {
                last = last.wrapping_add(reader.zigzag()?);
                seen.insert((last, reader.u64()?));
            }
            by_topic.insert(index, Topic { seen, heard });
        }
        Ok(Self { by_topic })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: TopicIndex = TopicIndex(0);
    const B: TopicIndex = TopicIndex(1);

    #[test]
    fn repetitions_are_known_by_time_and_content() {
        let mut histories = Histories::default();
        let mut take = |topic, at, content: &[u8]| {
            histories.has_recorded(topic, UtcNanos(at), content, UtcNanos(0))
        };
        assert!(!take(A, 5, b"x"));
        assert!(take(A, 5, b"x"));
        for other in [(B, 5, b"x"), (A, 6, b"x"), (A, 5, b"y"), (A, -1, b"x")] {
            assert!(!take(other.0, other.1, other.2), "{other:?}");
            assert!(take(other.0, other.1, other.2), "{other:?}");
        }
    }

    /// The oldest are forgotten, and then count as new; nothing new is ever taken for a repetition.
    #[test]
    fn memory_is_bounded_and_shared_out() {
        let mut histories = Histories::default();
        let topics = SAMPLES_MAX / 1024;
        for topic in 0..topics as u32 {
            histories.has_recorded(TopicIndex(topic), UtcNanos(0), b"", UtcNanos(0));
        }
        for at in 1..=2048 {
            assert!(!histories.has_recorded(A, UtcNanos(at), b"", UtcNanos(0)));
        }
        assert_eq!(histories.by_topic[&A].seen.len(), 1024);
        assert!(histories.has_recorded(A, UtcNanos(1025), b"", UtcNanos(0)));
        assert!(!histories.has_recorded(A, UtcNanos(1024), b"", UtcNanos(0)));
    }
}
