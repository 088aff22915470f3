//! The public topics as any reader of the cluster finds them: recounted, or looked through for one record.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use efd_central_kafka::{Quiet, block_on};
use efd_shared_model::{RecordId, Site, UtcNanos};
use rdkafka::Offset;
use rdkafka::admin::{AdminClient, AdminOptions, ResourceSpecifier};

use crate::broker::BrokerError;
use crate::kafka::reader::{Reader, Unread, UnreadTopic};
use crate::kafka::{ANSWER_WITHIN, make_admin, unavailable};
use crate::options::{FeedOptions, TopicFormat};
use crate::route::{is_own_topic, plain_topic};

/// Topics whose settings one request asks for.
const SETTINGS_MAX: usize = 500;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("read the public topics: {0}")]
pub struct PublicError(String);

impl From<BrokerError> for PublicError {
    fn from(error: BrokerError) -> Self {
        Self(error.to_string())
    }
}

/// A reader of its own, beside the feed.
pub struct PublicTopics {
    reader: Reader,
    admin: AdminClient<Quiet>,
    format: TopicFormat,
}

impl fmt::Debug for PublicTopics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PublicTopics").finish_non_exhaustive()
    }
}

/// A record met in a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Met {
    /// Which of the topics.
    pub topic: usize,
    pub id: RecordId,
    pub event_time: UtcNanos,
}

/// A topic that was read to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recounted {
    /// Offsets, the end exclusive.
    pub begin: i64,
    pub end: i64,
    /// Records without a feed's headers.
    pub strangers: u64,
    /// Nothing is said of records that were appended before: the topic's own retention may have taken them. `None`: it has
    /// taken none.
    pub kept_since: Option<UtcNanos>,
    /// Why it was not read.
    pub unread: Option<String>,
}

/// Where a record stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spot {
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    /// By the broker's clock; `None` where the topic does not keep it.
    pub appended: Option<UtcNanos>,
}

/// How a search went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The first place of each record that was met.
    pub spots: BTreeMap<RecordId, Spot>,
    /// Records that were read.
    pub read: u64,
    /// The topics were read to their ends, or as far as all was found.
    pub is_whole: bool,
}

impl PublicTopics {
    pub fn connect(options: &FeedOptions) -> Result<Self, PublicError> {
        Ok(Self {
            reader: Reader::connect(&options.kafka)?,
            admin: make_admin(&options.kafka)?,
            format: options.topic_format.clone(),
        })
    }

    /// How a stream's records are called in public.
    pub fn name(&self, site: &Site, topic: &str) -> String {
        self.format.name(site, topic)
    }

    /// Topics that the cluster has of these names, with the name: the plain ones, and those of schemas that the registry
    /// refused.
    pub fn of_names(
        &self,
        names: &BTreeSet<String>,
    ) -> Result<BTreeMap<String, String>, PublicError> {
        Ok(assign(names, self.reader.topics()?))
    }

    /// Reads the topics from the beginning that they still have to the end that they have now. Records that come meanwhile
    /// are not met. `None` where `go_on`, which is asked often, ended it.
    pub fn recount(
        &mut self,
        topics: &[&str],
        now: UtcNanos,
        go_on: &dyn Fn() -> bool,
        take: &mut dyn FnMut(Met),
    ) -> Result<Option<Vec<Recounted>>, PublicError> {
        let ends = self.reader.bounds(topics, Offset::End)?;
        let begins = self.reader.bounds(topics, Offset::Beginning)?;
        let mut recounted = Vec::with_capacity(topics.len());
        let mut unread = Unread::new();
        for (span, (topic, bounds)) in topics.iter().zip(begins.into_iter().zip(ends)).enumerate() {
            let (begin, end, why) = match bounds {
                (Ok(begin), Ok(end)) => (begin, end, None),
                (Err(why), _) | (_, Err(why)) => (0, 0, Some(why)),
            };
            if begin < end {
                let next = begin;
                unread.insert((*topic).to_owned(), UnreadTopic { span, next, end });
            }
            recounted.push(Recounted {
                begin,
                end,
                strangers: 0,
                kept_since: None,
                unread: why,
            });
        }
        let mut first_appended = vec![None; topics.len()];
        let read = self.reader.read(
            unread,
            &mut |met| {
                first_appended[met.span] = first_appended[met.span].or(met.appended);
                match met.id.zip(met.time) {
                    Some((id, event_time)) => take(Met {
                        topic: met.span,
                        id,
                        event_time,
                    }),
                    None => recounted[met.span].strangers += 1,
                }
            },
            go_on,
        )?;
        let Some(forbidden) = read else {
            return Ok(None);
        };
        for span in forbidden {
            recounted[span].unread = Some("may not be read (topic authorization failed)".into());
        }
        let has_lost = |at: &usize| recounted[*at].begin > 0;
        let cut: Vec<usize> = (0..topics.len()).filter(has_lost).collect();
        for some in cut.chunks(SETTINGS_MAX) {
            let names: Vec<&str> = some.iter().map(|at| topics[*at]).collect();
            for (at, keeps) in some.iter().zip(self.keeps(&names)?) {
                recounted[*at].kept_since = kept_since(keeps, first_appended[*at], now);
            }
        }
        Ok(Some(recounted))
    }

    /// Looks for records in topics, among what was appended at `since` or later.
    pub fn find(
        &mut self,
        topics: &[&str],
        since: UtcNanos,
        wanted: &BTreeSet<RecordId>,
        go_on: &dyn Fn() -> bool,
    ) -> Result<Found, PublicError> {
        let begins = self.reader.appended_since(topics, since)?;
        let ends = self.reader.bounds(topics, Offset::End)?;
        let mut unread = Unread::new();
        for (span, (topic, bounds)) in topics.iter().zip(begins.into_iter().zip(ends)).enumerate() {
            if let (Ok(Some(next)), Ok(end)) = bounds
                && next < end
            {
                unread.insert((*topic).to_owned(), UnreadTopic { span, next, end });
            }
        }
        let found = std::cell::RefCell::new(Found::default());
        let is_done = || found.borrow().spots.len() == wanted.len();
        let read = self.reader.read(
            unread,
            &mut |met| {
                let mut found = found.borrow_mut();
                found.read += 1;
                if let Some(id) = met.id.filter(|id| wanted.contains(id)) {
                    found.spots.entry(id).or_insert_with(|| Spot {
                        topic: topics[met.span].to_owned(),
                        partition: crate::kafka::PARTITION,
                        offset: met.offset,
                        appended: met.appended,
                    });
                }
            },
            &|| !is_done() && go_on(),
        )?;
        let is_whole = read.is_some_and(|forbidden| forbidden.is_empty()) || is_done();
        Ok(Found {
            is_whole,
            ..found.into_inner()
        })
    }

    fn keeps(&self, topics: &[&str]) -> Result<Vec<Keeps>, PublicError> {
        let options = AdminOptions::new().request_timeout(Some(ANSWER_WITHIN));
        let asked: Vec<_> = topics
            .iter()
            .map(|topic| ResourceSpecifier::Topic(topic))
            .collect();
        let answers = block_on(self.admin.describe_configs(&asked, &options))
            .map_err(unavailable("read topics' settings"))?;
        let mut by_topic = BTreeMap::new();
        // Nobody is obliged to let us look.
        for resource in answers.into_iter().flatten() {
            let text = |name: &str| resource.get(name)?.value.clone();
            let keeps = Keeps::of(
                text("cleanup.policy").as_deref(),
                text("retention.ms").as_deref(),
                text("retention.bytes").as_deref(),
            );
            if let rdkafka::admin::OwnedResourceSpecifier::Topic(name) = resource.specifier {
                by_topic.insert(name, keeps);
            }
        }
        let keeps = |topic: &&str| by_topic.get(*topic).copied().unwrap_or(Keeps::Unknown);
        Ok(topics.iter().map(keeps).collect())
    }
}

/// How long a topic keeps what it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keeps {
    /// All of it.
    Always,
    /// What is older may be gone.
    For(Duration),
    /// What is gone by size or by key, or by what nobody may look at.
    Unknown,
}

impl Keeps {
    fn of(policy: Option<&str>, millis: Option<&str>, bytes: Option<&str>) -> Self {
        let number = |text: Option<&str>| text.and_then(|text| text.parse::<i64>().ok());
        match (policy, number(millis), number(bytes)) {
            (Some("delete"), Some(millis), Some(..0)) => match u64::try_from(millis) {
                Ok(millis) => Self::For(Duration::from_millis(millis)),
                Err(_) => Self::Always,
            },
            _ => Self::Unknown,
        }
    }
}

/// Of a topic whose first records are gone.
fn kept_since(keeps: Keeps, first_appended: Option<UtcNanos>, now: UtcNanos) -> Option<UtcNanos> {
    let by_settings = match keeps {
        Keeps::Always => return None,
        Keeps::For(time) => {
            let nanos = i64::try_from(time.as_nanos()).unwrap_or(i64::MAX);
            now.saturating_sub(nanos)
        }
        Keeps::Unknown => now,
    };
    // What went before the first that is there was appended before it.
    Some(first_appended.map_or(by_settings, |first| first.min(by_settings)))
}

/// Each topic with the name that it is of.
fn assign(names: &BTreeSet<String>, topics: BTreeSet<String>) -> BTreeMap<String, String> {
    let plain: BTreeMap<String, &String> =
        names.iter().map(|name| (plain_topic(name), name)).collect();
    let (long, _): (Vec<&String>, Vec<&String>) = names
        .iter()
        .partition(|name| plain_topic(name) != **name || LONG_CHARS < name.len());
    let name_of = |topic: &String| {
        let short = || {
            let (begin, _) = topic.rsplit_once('.')?;
            names.get(begin).filter(|name| is_own_topic(name, topic))
        };
        let of_long = || long.iter().find(|name| is_own_topic(name, topic)).copied();
        plain.get(topic).copied().or_else(short).or_else(of_long)
    };
    let assigned = topics.into_iter().filter_map(|topic| {
        let name = name_of(&topic)?.clone();
        Some((topic, name))
    });
    assigned.collect()
}

/// A name that is longer is shortened where a suffix comes to it.
const LONG_CHARS: usize = 230;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_told_apart_by_their_names() {
        let long = "y".repeat(245);
        let names = ["s.a".to_owned(), "s.a.b".to_owned(), long.clone()];
        let own = crate::route::RouteKey {
            name: long.clone(),
            fingerprint: efd_shared_model::Fingerprint::of("{}"),
        };
        let topics = [
            "s.a",
            "s.a.b",
            "s.a.44136fa3",
            "s.a.b.44136fa3",
            "s.a.c",
            "s.a.4413",
            "other",
            &own.own_topic(),
        ];
        let assigned = assign(&names.into(), topics.map(str::to_owned).into());
        let found: Vec<_> = assigned
            .iter()
            .map(|(topic, name)| (&**topic, &**name))
            .collect();
        let own = own.own_topic();
        let expected = [
            ("s.a", "s.a"),
            ("s.a.44136fa3", "s.a"),
            ("s.a.b", "s.a.b"),
            ("s.a.b.44136fa3", "s.a.b"),
            (&*own, &*long),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn what_retention_may_have_taken() {
        let hour = 3_600_000_000_000;
        let keeps = |policy, millis, bytes| Keeps::of(Some(policy), Some(millis), Some(bytes));
        let an_hour = keeps("delete", "3600000", "-1");
        assert_eq!(an_hour, Keeps::For(Duration::from_secs(3600)));
        assert_eq!(keeps("delete", "-1", "-1"), Keeps::Always);
        for unknown in [
            keeps("delete", "-1", "1000000"),
            keeps("compact", "-1", "-1"),
            keeps("compact,delete", "3600000", "-1"),
            Keeps::of(None, None, None),
        ] {
            assert_eq!(unknown, Keeps::Unknown);
        }
        let now = UtcNanos(10 * hour);
        let since = |keeps, first: Option<i64>| {
            kept_since(keeps, first.map(|hours| UtcNanos(hours * hour)), now).map(|it| it.0 / hour)
        };
        assert_eq!(since(Keeps::Always, Some(9)), None);
        assert_eq!(since(an_hour, None), Some(9));
        assert_eq!(since(an_hour, Some(4)), Some(4));
        assert_eq!(since(an_hour, Some(10)), Some(9));
        assert_eq!(since(Keeps::Unknown, Some(8)), Some(8));
        assert_eq!(since(Keeps::Unknown, None), Some(10));
    }
}
