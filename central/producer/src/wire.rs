//! Requests and answers of Kafka's protocol, as far as a producer needs them.

use std::collections::BTreeMap;
use std::sync::Arc;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    ApiKey, InitProducerIdRequest, InitProducerIdResponse, MetadataRequest, MetadataResponse,
    ProduceRequest, ProduceResponse, ProducerId, TopicName,
};
use kafka_protocol::protocol::StrBytes;

use crate::answer::{Verdict, judge};
use crate::batch::{Identity, TopicIx};
use crate::core::{Found, NodeId, Outgoing};
use crate::link::{Link, LinkError};

/// Topics have one partition: order is by topic.
const PARTITION: i32 = 0;
/// All replicas that are in sync.
const ACKS_ALL: i16 = -1;
/// How long a broker waits for its followers before it says that they are late.
const FOLLOWERS_WITHIN_MS: i32 = 10_000;

/// Versions that are spoken, lowest and highest. The lowest are of Kafka 2.1.
pub(crate) const VERSIONS: [(ApiKey, i16, i16); 5] = [
    (ApiKey::Produce, 7, 9),
    (ApiKey::Metadata, 4, 9),
    (ApiKey::InitProducerId, 1, 4),
    (ApiKey::SaslHandshake, 1, 1),
    (ApiKey::SaslAuthenticate, 0, 2),
];

fn topic_name(name: &str) -> TopicName {
    TopicName(StrBytes::from_string(name.to_owned()))
}

fn data_of(outgoing: &mut Outgoing) -> TopicProduceData {
    let partition = PartitionProduceData::default()
        .with_index(PARTITION)
        .with_records(Some(outgoing.bytes()));
    TopicProduceData::default()
        .with_name(topic_name(&outgoing.name))
        .with_partition_data(vec![partition])
}

/// A verdict for each of `batches`, in order.
pub(crate) fn produce(
    link: &mut Link,
    batches: &mut [Outgoing],
) -> Result<Vec<Verdict>, LinkError> {
    let request = ProduceRequest::default()
        .with_transactional_id(None)
        .with_acks(ACKS_ALL)
        .with_timeout_ms(FOLLOWERS_WITHIN_MS)
        .with_topic_data(batches.iter_mut().map(data_of).collect());
    let answer: ProduceResponse = link.call(ApiKey::Produce, &request)?;
    let mut verdicts = BTreeMap::new();
    for topic in &answer.responses {
        for partition in &topic.partition_responses {
            let name = topic.name.as_str();
            let message = partition
                .error_message
                .as_ref()
                .map(|message| message.as_str());
            let verdict = judge(name, partition.error_code, partition.base_offset, message);
            verdicts.insert(name, verdict);
        }
    }
    let unanswered = |name: &str| Verdict::Again {
        reason: format!("{name}: the broker's answer leaves it out"),
        moved: true,
    };
    let of = |batch: &Outgoing| {
        verdicts
            .remove(&*batch.name)
            .unwrap_or_else(|| unanswered(&batch.name))
    };
    Ok(batches.iter().map(of).collect())
}

/// `host:port` of each broker.
pub(crate) type Nodes = BTreeMap<NodeId, String>;

/// Who leads the topics.
pub(crate) fn find(
    link: &mut Link,
    topics: &[(TopicIx, Arc<str>)],
) -> Result<(Nodes, Vec<(TopicIx, Found)>), LinkError> {
    let asked = topics
        .iter()
        .map(|(_, name)| MetadataRequestTopic::default().with_name(Some(topic_name(name))));
    let request = MetadataRequest::default()
        .with_topics(Some(asked.collect()))
        .with_allow_auto_topic_creation(false);
    let answer: MetadataResponse = link.call(ApiKey::Metadata, &request)?;
    let nodes = answer.brokers.iter().map(|broker| {
        let address = format!("{}:{}", broker.host.as_str(), broker.port);
        (NodeId(broker.node_id.0), address)
    });
    let mut found = BTreeMap::new();
    for topic in &answer.topics {
        let Some(name) = &topic.name else { continue };
        let partition = topic
            .partitions
            .iter()
            .find(|partition| partition.partition_index == PARTITION);
        let error = ResponseError::try_from_code(topic.error_code);
        let of_partition = partition
            .and_then(|partition| ResponseError::try_from_code(partition.error_code))
            // A replica that is down does not matter.
            .filter(|error| *error != ResponseError::ReplicaNotAvailable);
        let leader = partition.map(|partition| partition.leader_id.0);
        let answer = match (error.or(of_partition), leader) {
            (Some(error), _) => Found::Error(error),
            (None, Some(leader @ 0..)) => Found::Leader(NodeId(leader)),
            (None, Some(_)) => Found::Error(ResponseError::LeaderNotAvailable),
            (None, None) => Found::Error(ResponseError::UnknownTopicOrPartition),
        };
        found.insert(name.as_str(), answer);
    }
    let of = |(ix, name): &(TopicIx, Arc<str>)| {
        let left_out = || Found::Error(ResponseError::UnknownTopicOrPartition);
        (*ix, found.remove(&**name).unwrap_or_else(left_out))
    };
    Ok((nodes.collect(), topics.iter().map(of).collect()))
}

/// A new one.
pub(crate) fn identify(link: &mut Link) -> Result<Identity, LinkError> {
    let request = InitProducerIdRequest::default()
        .with_transactional_id(None)
        .with_transaction_timeout_ms(60_000)
        .with_producer_id(ProducerId(-1))
        .with_producer_epoch(-1);
    let answer: InitProducerIdResponse = link.call(ApiKey::InitProducerId, &request)?;
    match ResponseError::try_from_code(answer.error_code) {
        Some(error) => Err(LinkError::Refused(format!(
            "a producer's identity: {error}"
        ))),
        None => Ok(Identity {
            id: answer.producer_id.0,
            epoch: answer.producer_epoch,
        }),
    }
}
