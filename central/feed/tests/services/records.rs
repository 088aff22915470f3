//! What ordinary consumers see.

use efd_central_log::{BlockLog, Class};
use efd_shared_model::loss::Loss;
use efd_tests_testkit::install::Installer;
use efd_tests_testkit::tmp::WorkDir;
use rdkafka::admin::{AdminClient, AdminOptions, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use serde_json::{Value, json};

use crate::common::{self, Spec, loss_block, partition};
use crate::kit::{Running, SOON, Services, check_law, options, read_all, services};

const SPEC: Spec = Spec {
    topics: 20,
    records_per_block: 50,
    pad_bytes: 30,
};

#[test]
fn records_are_as_documented() {
    let Some(services) = services("records_are_as_documented") else {
        return;
    };
    let dir = WorkDir::new("feed-records").unwrap();
    let log = SPEC.declared();
    SPEC.append(&log, 1..=40);
    let (block, loss) = loss_block(SPEC, 1);
    log.append(&[(partition(Class::Live), block)]).unwrap();
    let feed = Running::start(options(&services, "records", dir.path()), &log);
    feed.wait_settled(41);
    let status = feed.stop();
    assert_eq!(
        (status.records, status.skipped, status.sessions),
        (40 * 50 + 1, 0, 1),
        "{status:#?}"
    );
    assert!(
        status.parked.is_empty() && status.strangers == 0 && status.duplicates == 0,
        "{status:#?}"
    );
    assert_eq!(status.topics, 21);

    let mut read = read_all(&services, "records.");
    let losses: Vec<_> = read
        .extract_if(.., |record| record.topic.ends_with("efd.losses"))
        .collect();
    assert_eq!(losses.len(), 1);
    assert_eq!(losses[0].topic, "records.summit.efd.losses");
    assert_eq!(Loss::decode(&losses[0].payload[5..]).unwrap(), loss);
    check_law(SPEC, 40, &read);
    for record in &read {
        let n = common::decode(&record.payload[5..]) as u64;
        let stamps = common::stamps(n);
        assert_eq!(record.time, stamps.event_time);
        assert_eq!(
            record.key,
            stamps.instance.map(|instance| instance.to_string())
        );
        let class = if record.id.block.number.0.is_multiple_of(10) {
            "fill"
        } else {
            "live"
        };
        assert_eq!(record.class, class);
        assert!(record.is_log_append_time);
    }
    let first = &read[0];
    let registered = registered(&services, &first.topic);
    assert_eq!(first.payload[0], 0);
    assert_eq!(
        json!(u32::from_be_bytes(first.payload[1..5].try_into().unwrap())),
        registered["id"]
    );
    let stream: u32 = first.topic.rsplit(".t").next().unwrap().parse().unwrap();
    let schema: Value = serde_json::from_str(registered["schema"].as_str().unwrap()).unwrap();
    assert_eq!(
        schema,
        serde_json::from_str::<Value>(Spec::schema(stream).text()).unwrap()
    );
    check_topic(&services, &first.topic);
    dir.finish().unwrap();
}

/// Confluent's own client, in Python, with its Avro deserializer.
#[test]
fn an_independent_consumer_reads_them() {
    let Some(services) = services("an_independent_consumer_reads_them") else {
        return;
    };
    let dir = WorkDir::new("feed-python").unwrap();
    let log = SPEC.declared();
    SPEC.append(&log, 1..=20);
    let feed = Running::start(options(&services, "python", dir.path()), &log);
    feed.wait_settled(20);
    feed.stop();
    let python = Installer::new().unwrap().python().unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/services/read_back.py");
    let arguments = [
        &services.kafka.bootstrap(),
        &services.registry.url(),
        "python.summit.",
    ];
    let read = python.run(script, arguments, SOON).unwrap();
    // Gauss: the records are numbered from 0.
    let count = 20 * 50u64;
    let expected = json!({"records": count, "ids": count, "sum": count * (count - 1) / 2, "pads": [30], "topics": 20});
    assert_eq!(read, expected);
    dir.finish().unwrap();
}

fn registered(services: &Services, topic: &str) -> Value {
    let address = format!(
        "{}/subjects/{topic}-value/versions/latest",
        services.registry.url()
    );
    let text = ureq::get(&address)
        .call()
        .unwrap()
        .body_mut()
        .read_to_string()
        .unwrap();
    serde_json::from_str(&text).unwrap()
}

fn check_topic(services: &Services, topic: &str) {
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new()
        .set("bootstrap.servers", services.kafka.bootstrap())
        .create()
        .unwrap();
    let wanted = [ResourceSpecifier::Topic(topic)];
    let described =
        crate::kit::block_on(admin.describe_configs(&wanted, &AdminOptions::new())).unwrap();
    let resource = described[0].as_ref().unwrap();
    let value = |name: &str| resource.get(name).unwrap().value.clone().unwrap();
    assert_eq!(value("message.timestamp.type"), "LogAppendTime");
    assert_eq!(value("min.insync.replicas"), "1");
    let bytes_max: usize = value("max.message.bytes").parse().unwrap();
    assert!(bytes_max > efd_shared_model::block::DATUM_BYTES_MAX);
}
