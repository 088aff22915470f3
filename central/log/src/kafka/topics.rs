//! The log's topics: how they are called, made, and what of an existing one must be as we need it.

use std::fmt;
use std::time::Duration;

use efd_central_kafka::{Quiet, block_on};
use efd_shared_model::block::PAYLOAD_BYTES_MAX;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::config::ClientConfig;
use rdkafka::error::RDKafkaErrorCode;

use crate::{LogError, Partition};

use super::storage;

/// The largest block, its key, and the batch around it.
pub(super) const RECORD_BYTES_MAX: usize = PAYLOAD_BYTES_MAX + (1 << 20);
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
const KNOWN_AFTER: Duration = Duration::from_millis(100);
const KNOWN_TRIES: u32 = 100;
/// Of old checkpoints; Kafka keeps the newest segment besides.
const ROLE_BYTES_MAX: u64 = 1 << 30;

/// How the log's topics are made. One that exists is taken as it is, unless data would be lost in it.
#[derive(Clone, Debug)]
pub struct TopicSettings {
    /// What the names begin with: `efd.` gives `efd.meta` and `efd.log.summit.0.live`.
    pub prefix: String,
    /// Copies of each topic.
    pub replication: u16,
    /// Copies that must have a record before it counts.
    pub min_insync_replicas: u16,
    /// How long blocks stay, counted from their arrival.
    pub retain: Duration,
}

/// How many processes may run a role at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seats {
    /// Further partitions of the role's topic are nobody's.
    One,
    /// Each has its share: processes that count otherwise must not run beside each other.
    Workers(u16),
}

impl Seats {
    fn count(self) -> u16 {
        match self {
            Self::One => 1,
            Self::Workers(count) => count,
        }
    }
}

/// Each setting with its value.
type Settings = Vec<(&'static str, String)>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Meta,
    /// Checkpoints of a role, one partition for each seat.
    Role,
    Blocks,
}

impl TopicSettings {
    pub(super) fn meta(&self) -> String {
        format!("{}meta", self.prefix)
    }

    pub(super) fn of(&self, partition: &Partition) -> String {
        format!("{}log.{partition}", self.prefix)
    }

    pub(super) fn role(&self, role: &str) -> String {
        format!("{}{role}", self.prefix)
    }

    fn kind_of(&self, topic: &str) -> Option<Kind> {
        let rest = topic.strip_prefix(&self.prefix)?;
        match rest {
            "meta" => Some(Kind::Meta),
            "feed" | "lake" => Some(Kind::Role),
            _ => rest.starts_with("log.").then_some(Kind::Blocks),
        }
    }

    fn settings(&self, kind: Kind) -> Settings {
        let mut settings = vec![
            ("min.insync.replicas", self.min_insync_replicas.to_string()),
            ("max.message.bytes", RECORD_BYTES_MAX.to_string()),
            ("compression.type", "producer".into()),
            // A copy that is behind must not become the leader: what it lacks would be gone.
            ("unclean.leader.election.enable", "false".into()),
        ];
        settings.extend(match kind {
            Kind::Role => [
                ("cleanup.policy", "delete".to_owned()),
                // By size: the newest checkpoint of a quiet consumer may be old.
                ("retention.ms", "-1".into()),
                ("retention.bytes", ROLE_BYTES_MAX.to_string()),
            ],
            Kind::Meta => [
                ("cleanup.policy", "compact".to_owned()),
                // Only closed segments are compacted.
                (
                    "segment.ms",
                    Duration::from_secs(3600).as_millis().to_string(),
                ),
                ("min.cleanable.dirty.ratio", "0.2".into()),
            ],
            Kind::Blocks => [
                ("cleanup.policy", "delete".to_owned()),
                ("retention.ms", self.retain.as_millis().to_string()),
                // Retention counts from the arrival: back-fill must not expire at once.
                ("message.timestamp.type", "LogAppendTime".into()),
            ],
        });
        settings
    }
}

/// A setting of a topic that exists, with which the log cannot keep its promise.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("topic {topic} has {setting} = {found}, needed is {needed}; {why}")]
struct TopicFault {
    topic: String,
    setting: &'static str,
    found: String,
    needed: String,
    why: &'static str,
}

/// What is found otherwise than we would have made it: `Err` where blocks would be lost or refused, else for people to
/// know.
fn judge(
    topic: &str,
    setting: &'static str,
    found: &str,
    wanted: &str,
) -> Result<Option<String>, TopicFault> {
    let number = |text: &str| text.parse::<u64>().ok();
    let fault = |needed: String, why| {
        Err(TopicFault {
            topic: topic.to_owned(),
            setting,
            found: found.to_owned(),
            needed,
            why,
        })
    };
    if found == wanted {
        return Ok(None);
    }
    match setting {
        "cleanup.policy" => fault(
            wanted.to_owned(),
            "with it the log would lose what it must keep",
        ),
        "max.message.bytes" if number(found) < number(wanted) => {
            fault(format!("{wanted} or more"), "large blocks would be refused")
        }
        "min.insync.replicas" if number(found) < number(wanted) => fault(
            format!("{wanted} or more"),
            "a block would be acknowledged with fewer copies than configured",
        ),
        _ => Ok(Some(format!(
            "topic {topic} has {setting} = {found}, configured is {wanted}; the topic's own holds"
        ))),
    }
}

/// Makes and looks at topics.
pub(super) struct Topics {
    admin: AdminClient<Quiet>,
    settings: TopicSettings,
}

impl fmt::Debug for Topics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Topics").finish_non_exhaustive()
    }
}

impl Topics {
    pub(super) fn connect(
        common: &ClientConfig,
        settings: &TopicSettings,
    ) -> Result<Self, LogError> {
        let admin = common.create_with_context(Quiet);
        Ok(Self {
            admin: admin.map_err(storage("make an admin client"))?,
            settings: settings.clone(),
        })
    }

    /// Checks those of the log's topics that are there: how many.
    pub(super) fn look(&self) -> Result<usize, LogError> {
        let found = self.admin.inner().fetch_metadata(None, ANSWER_WITHIN);
        let found = found.map_err(storage("list topics"))?;
        let mut count = 0;
        for topic in found.topics() {
            let Some(kind) = self.settings.kind_of(topic.name()) else {
                continue;
            };
            self.check(topic.name(), &self.settings.settings(kind))?;
            count += 1;
        }
        Ok(count)
    }

    pub(super) fn names(&self) -> &TopicSettings {
        &self.settings
    }

    /// Makes `efd.meta`, or checks the one that is there.
    pub(super) fn ensure_meta(&self) -> Result<(), LogError> {
        self.ensure(&self.settings.meta(), (Kind::Meta, 1))
    }

    /// The same for a partition's topic.
    pub(super) fn ensure_partition(&self, partition: &Partition) -> Result<(), LogError> {
        self.ensure(&self.settings.of(partition), (Kind::Blocks, 1))
    }

    /// The topic by which processes agree on who runs a role.
    pub(super) fn ensure_role(&self, role: &str, seats: Seats) -> Result<(), LogError> {
        let topic = self.settings.role(role);
        self.ensure(&topic, (Kind::Role, seats.count()))?;
        let look = || {
            let found = self
                .admin
                .inner()
                .fetch_metadata(Some(&topic), ANSWER_WITHIN);
            let found = found.map_err(storage("look at a role's topic"))?;
            let found = found.topics().iter().find(|found| found.name() == topic);
            Ok::<_, LogError>(found.map_or(0, |found| found.partitions().len()))
        };
        let mut found = look()?;
        // One that was just made is not known to every broker at once.
        for _ in 0..KNOWN_TRIES {
            if found > 0 {
                break;
            }
            std::thread::sleep(KNOWN_AFTER);
            found = look()?;
        }
        match seats {
            Seats::One if found > 0 => Ok(()),
            Seats::Workers(count) if found == usize::from(count) => Ok(()),
            Seats::One | Seats::Workers(_) => Err(LogError::Storage {
                action: "use a topic that exists",
                reason: format!(
                    "{topic} has {found} partitions, and {} workers are configured: say `workers = {found}`",
                    seats.count()
                ),
            }),
        }
    }

    fn ensure(&self, topic: &str, (kind, partitions): (Kind, u16)) -> Result<(), LogError> {
        let settings = self.settings.settings(kind);
        let replication = TopicReplication::Fixed(self.settings.replication.into());
        let new = settings.iter().fold(
            NewTopic::new(topic, partitions.into(), replication),
            |new, (name, value)| new.set(name, value),
        );
        let options = AdminOptions::new()
            .request_timeout(Some(ANSWER_WITHIN))
            .operation_timeout(Some(ANSWER_WITHIN));
        let made = block_on(self.admin.create_topics(&[new], &options))
            .map_err(storage("create a topic of the log"))?;
        let refused = |reason: String| {
            Err(LogError::Storage {
                action: "create a topic of the log",
                reason: format!("{topic}: {reason}"),
            })
        };
        match made.into_iter().next() {
            Some(Ok(_)) => Ok(()),
            Some(Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => self.check(topic, &settings),
            Some(Err((_, RDKafkaErrorCode::InvalidReplicationFactor))) => refused(format!(
                "the cluster has fewer than {} brokers; for one broker say `replication = 1`",
                self.settings.replication
            )),
            Some(Err((_, code))) => refused(code.to_string()),
            None => refused("no answer".into()),
        }
    }

    fn check(&self, topic: &str, settings: &Settings) -> Result<(), LogError> {
        let options = AdminOptions::new().request_timeout(Some(ANSWER_WITHIN));
        let asked = [ResourceSpecifier::Topic(topic)];
        let answers = block_on(self.admin.describe_configs(&asked, &options))
            .map_err(storage("read a topic's settings"))?;
        let answer = match answers.into_iter().next() {
            Some(Ok(answer)) => answer,
            // Nobody is obliged to let us look.
            Some(Err(RDKafkaErrorCode::TopicAuthorizationFailed)) | None => {
                tracing::warn!(topic, "The settings of a topic of the log may not be read");
                return Ok(());
            }
            Some(Err(code)) => {
                return Err(LogError::Storage {
                    action: "read a topic's settings",
                    reason: format!("{topic}: {code}"),
                });
            }
        };
        for (setting, wanted) in settings {
            let found = answer.get(setting).and_then(|entry| entry.value.as_deref());
            let judged = judge(topic, setting, found.unwrap_or_default(), wanted);
            match judged {
                Ok(None) => {}
                Ok(Some(note)) => tracing::warn!("{note}"),
                Err(fault) => {
                    return Err(LogError::Storage {
                        action: "use a topic that exists",
                        reason: fault.to_string(),
                    });
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> TopicSettings {
        TopicSettings {
            prefix: "efd.".into(),
            replication: 3,
            min_insync_replicas: 2,
            retain: Duration::from_secs(7 * 86_400),
        }
    }

    #[test]
    fn names() {
        let partition = "summit.0.live".parse().unwrap();
        assert_eq!(settings().of(&partition), "efd.log.summit.0.live");
        assert_eq!(settings().meta(), "efd.meta");
    }

    /// What would lose data stops; the rest is told.
    #[test]
    fn an_existing_topic_is_judged() {
        for (setting, found, wanted) in [
            ("cleanup.policy", "compact", "delete"),
            ("cleanup.policy", "delete", "compact"),
            ("cleanup.policy", "compact,delete", "compact"),
            ("max.message.bytes", "1048588", "34603008"),
            ("max.message.bytes", "", "34603008"),
            ("min.insync.replicas", "1", "2"),
        ] {
            let fault = judge("t", setting, found, wanted).unwrap_err().to_string();
            assert!(fault.contains(setting) && fault.contains(wanted), "{fault}");
        }
        for (setting, found, wanted) in [
            ("retention.ms", "1", "2"),
            ("max.message.bytes", "50000000", "34603008"),
            ("min.insync.replicas", "3", "2"),
            ("unclean.leader.election.enable", "true", "false"),
        ] {
            assert!(judge("t", setting, found, wanted).unwrap().is_some());
            assert_eq!(judge("t", setting, found, found), Ok(None));
        }
    }
}
