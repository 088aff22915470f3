//! What a broker's answer means.

use kafka_protocol::error::ResponseError;

/// Why a record is certainly not in its topic, and who is to blame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The batch that it is in (too large, invalid): another may pass.
    Record(String),
    /// The topic (gone, forbidden): no other will pass either.
    Topic(String),
}

/// What became of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ack {
    /// As it was given to `send`.
    pub opaque: usize,
    /// The record's offset.
    pub result: Result<i64, Refusal>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// Acknowledgements must be taken first.
    #[error("what may be under way is under way")]
    Full,
    #[error("a record of {found} bytes, at most {limit} are sent")]
    TooLarge { found: usize, limit: usize },
    /// After a purge, or after something fatal.
    #[error("the producer is closed")]
    Closed,
}

/// Nobody knows which of the records under way arrived.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Fatal(pub String);

/// What is done about a partition's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The first record's offset.
    Appended(i64),
    /// The same again, later; by the leader that is asked for first, where `moved`.
    Again {
        reason: String,
        moved: bool,
    },
    Refused(Refusal),
    Fatal(String),
}

/// Of the error code and offset in a ProduceResponse.
pub(crate) fn judge(topic: &str, code: i16, offset: i64, message: Option<&str>) -> Verdict {
    use ResponseError as E;
    let Some(error) = ResponseError::try_from_code(code) else {
        return match offset {
            0.. => Verdict::Appended(offset),
            // In the topic, but nobody knows where.
            _ => Verdict::Fatal(format!(
                "records of {topic} were acknowledged without their offset"
            )),
        };
    };
    let reason = match message {
        Some(message) => format!("{topic}: {error}: {message}"),
        None => format!("{topic}: {error}"),
    };
    let is = |errors: &[E]| errors.contains(&error);
    if is(&[
        E::NotLeaderOrFollower,
        E::LeaderNotAvailable,
        E::UnknownTopicOrPartition,
        E::FencedLeaderEpoch,
        E::UnknownLeaderEpoch,
        E::KafkaStorageError,
        E::ReplicaNotAvailable,
    ]) {
        Verdict::Again {
            reason,
            moved: true,
        }
    } else if is(&[
        E::RequestTimedOut,
        E::NotEnoughReplicas,
        E::NotEnoughReplicasAfterAppend,
        E::NetworkException,
        E::ThrottlingQuotaExceeded,
        E::CoordinatorLoadInProgress,
        E::ConcurrentTransactions,
    ]) {
        Verdict::Again {
            reason,
            moved: false,
        }
    } else if is(&[
        E::MessageTooLarge,
        E::RecordListTooLarge,
        E::InvalidRecord,
        E::InvalidTimestamp,
        E::UnsupportedCompressionType,
    ]) {
        Verdict::Refused(Refusal::Record(reason))
    } else if is_of_topic(error) {
        Verdict::Refused(Refusal::Topic(reason))
    } else {
        Verdict::Fatal(reason)
    }
}

/// Whether all records of the topic would be refused.
pub(crate) fn is_of_topic(error: ResponseError) -> bool {
    [
        ResponseError::TopicAuthorizationFailed,
        ResponseError::ClusterAuthorizationFailed,
        ResponseError::InvalidTopicException,
        ResponseError::PolicyViolation,
    ]
    .contains(&error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_answer() {
        let of = |error: ResponseError| judge("t", error.code(), -1, None);
        assert_eq!(judge("t", 0, 7, None), Verdict::Appended(7));
        assert!(matches!(judge("t", 0, -1, None), Verdict::Fatal(_)));
        assert!(matches!(
            of(ResponseError::NotLeaderOrFollower),
            Verdict::Again { moved: true, .. }
        ));
        assert!(matches!(
            of(ResponseError::NotEnoughReplicasAfterAppend),
            Verdict::Again { moved: false, .. }
        ));
        assert!(matches!(
            of(ResponseError::MessageTooLarge),
            Verdict::Refused(Refusal::Record(_))
        ));
        assert!(matches!(
            of(ResponseError::TopicAuthorizationFailed),
            Verdict::Refused(Refusal::Topic(_))
        ));
        for error in [
            ResponseError::OutOfOrderSequenceNumber,
            ResponseError::DuplicateSequenceNumber,
            ResponseError::UnknownProducerId,
            ResponseError::InvalidProducerEpoch,
            ResponseError::UnknownServerError,
        ] {
            assert!(matches!(of(error), Verdict::Fatal(_)), "{error}");
        }
        let refused = judge("t", 10, -1, Some("too big"));
        assert!(format!("{refused:?}").contains("too big"));
    }
}
