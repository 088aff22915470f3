//! What is missing, refuses, or is too large.

use std::time::Duration;

use efd_central_feed::State;
use efd_shared_model::Schema;
use efd_tests_testkit::tmp::WorkDir;
use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use serde_json::json;

use crate::common::Spec;
use crate::kit::{Running, Services, block_on, check_law, options, read_all, services};

const SPEC: Spec = Spec {
    topics: 10,
    records_per_block: 40,
    pad_bytes: 20,
};

#[test]
fn a_registry_that_is_down_is_waited_for() {
    let Some(mut services) = services("a_registry_that_is_down_is_waited_for") else {
        return;
    };
    let dir = WorkDir::new("feed-registry-down").unwrap();
    services.registry.kill9().unwrap();
    let log = SPEC.declared();
    SPEC.append(&log, 1..=30);
    let feed = Running::start(options(&services, "noreg", dir.path()), &log);
    let status = feed.wait("waiting", |status| {
        matches!(status.state, State::WaitingForRegistry(_))
    });
    assert_eq!((status.records, status.lag_blocks), (0, 30));
    services.registry.restart().unwrap();
    feed.wait_settled(30);
    feed.stop();
    check_law(SPEC, 30, &read_all(&services, "noreg."));
    dir.finish().unwrap();
}

#[test]
fn a_broker_that_is_down_is_waited_for() {
    let Some(mut services) = services("a_broker_that_is_down_is_waited_for") else {
        return;
    };
    let dir = WorkDir::new("feed-broker-down").unwrap();
    services.kafka.kill9().unwrap();
    let log = SPEC.declared();
    SPEC.append(&log, 1..=30);
    let feed = Running::start(options(&services, "nobroker", dir.path()), &log);
    feed.wait("waiting", |status| {
        matches!(status.state, State::WaitingForBroker(_))
    });
    services.kafka.restart().unwrap();
    let status = feed.wait_settled(30);
    assert_eq!(status.state, State::Running);
    feed.stop();
    check_law(SPEC, 30, &read_all(&services, "nobroker."));
    dir.finish().unwrap();
}

/// The default of three copies, on one broker: says what to do, and loses nothing.
#[test]
fn too_few_brokers_are_named() {
    let Some(services) = services("too_few_brokers_are_named") else {
        return;
    };
    let dir = WorkDir::new("feed-few").unwrap();
    let log = SPEC.declared();
    SPEC.append(&log, 1..=2);
    let mut options = options(&services, "few", dir.path());
    options.topics.replication = 3;
    let feed = Running::start(options, &log);
    let says_so = |state: &State| matches!(state, State::WaitingForBroker(why) if why.contains("`replication = 1`"));
    feed.wait("advice", |status| says_so(&status.state));
    assert_eq!(feed.stop().records, 0);
    dir.finish().unwrap();
}

/// One schema is refused: its records land in a topic of their own, and stay there after a restart although the
/// registry takes everything by then.
#[test]
fn a_refused_schema_lands_beside() {
    let Some(services) = services("a_refused_schema_lands_beside") else {
        return;
    };
    let dir = WorkDir::new("feed-refused").unwrap();
    let subject = "refused.summit.lsst.sal.Test.t3-value";
    let incompatible = Schema::new(
        r#"{"type":"record","name":"t3","namespace":"lsst.sal.Test","fields":[{"name":"n","type":"string"}]}"#,
    );
    let base = services.registry.url();
    let body = json!({ "schema": incompatible.text() }).to_string();
    ureq::post(&format!("{base}/subjects/{subject}/versions"))
        .content_type("application/json")
        .send(body)
        .unwrap();
    let set = |level: &str| {
        let body = json!({ "compatibility": level }).to_string();
        ureq::put(&format!("{base}/config/{subject}"))
            .content_type("application/json")
            .send(body)
            .unwrap();
    };
    set("FULL");
    let log = SPEC.declared();
    SPEC.append(&log, 1..=20);
    let feed = Running::start(options(&services, "refused", dir.path()), &log);
    let status = feed.wait_settled(20);
    assert_eq!(
        (status.registry_refusals, status.parked.len()),
        (1, 0),
        "{status:#?}"
    );
    feed.stop();
    set("NONE");
    SPEC.append(&log, 21..=40);
    let feed = Running::start(options(&services, "refused", dir.path()), &log);
    feed.wait_settled(20);
    feed.stop();
    let read = read_all(&services, "refused.");
    check_law(SPEC, 40, &read);
    let own = format!(
        "refused.summit.lsst.sal.Test.t3.{}",
        Spec::schema(3).fingerprint().short()
    );
    assert_eq!(
        read.iter().filter(|record| record.topic == own).count(),
        40 * 4
    );
    assert!(!read.iter().any(|record| record.topic.ends_with(".t3")));
    dir.finish().unwrap();
}

/// A topic of somebody else's making takes only small records: the large ones are owed, by name, through restarts; the
/// others get through; and when the topic takes them, they follow.
#[test]
fn records_that_are_too_large_are_owed() {
    let Some(services) = services("records_that_are_too_large_are_owed") else {
        return;
    };
    let dir = WorkDir::new("feed-large").unwrap();
    let spec = Spec {
        pad_bytes: 3000,
        ..SPEC
    };
    let topic = "large.summit.lsst.sal.Test.t5";
    let admin = admin(&services);
    let new = NewTopic::new(topic, 1, TopicReplication::Fixed(1)).set("max.message.bytes", "2000");
    block_on(admin.create_topics([&new], &AdminOptions::new())).unwrap()[0]
        .as_ref()
        .unwrap();
    let log = spec.declared();
    spec.append(&log, 1..=20);
    let mut options = options(&services, "large", dir.path());
    options.kafka.properties.insert("compression.type", "none");
    let feed = Running::start(options.clone(), &log);
    let owes_all = |parked: &[efd_central_feed::ParkedOutput]| matches!(parked, [one] if one.topic == topic && !one.whole && one.owed_records == 20 * 4);
    feed.wait_settled(20);
    feed.wait("owed records", |status| owes_all(&status.parked));
    feed.stop();
    let feed = Running::start(options, &log);
    feed.wait("owed records", |status| owes_all(&status.parked));
    assert_eq!(read_all(&services, "large.").len(), 20 * 36);
    let wider = AlterConfig::new(ResourceSpecifier::Topic(topic)).set("max.message.bytes", "10000");
    block_on(admin.alter_configs([&wider], &AdminOptions::new())).unwrap()[0]
        .as_ref()
        .unwrap();
    feed.wait("payment", |status| status.parked.is_empty());
    feed.stop();
    let mut read = read_all(&services, "large.");
    read.sort_by_key(|record| record.id);
    check_law(spec, 20, &read);
    dir.finish().unwrap();
}

/// Somebody deletes a topic while the feed runs: its new records go on in the topic made anew, the others are not held up.
#[test]
fn a_deleted_topic_does_not_stop_the_feed() {
    let Some(services) = services("a_deleted_topic_does_not_stop_the_feed") else {
        return;
    };
    let dir = WorkDir::new("feed-deleted").unwrap();
    let log = SPEC.declared();
    SPEC.append(&log, 1..=20);
    let mut options = options(&services, "deleted", dir.path());
    options
        .kafka
        .properties
        .insert("topic.metadata.propagation.max.ms", "500");
    let feed = Running::start(options, &log);
    feed.wait_settled(20);
    let topic = "deleted.summit.lsst.sal.Test.t5";
    block_on(admin(&services).delete_topics(&[topic], &AdminOptions::new())).unwrap()[0]
        .as_ref()
        .unwrap();
    std::thread::sleep(Duration::from_secs(1));
    SPEC.append(&log, 21..=40);
    feed.wait("rest", |status| {
        status.lag_blocks == 0 && status.parked.is_empty() && status.blocks >= 40
    });
    feed.stop();
    let read = read_all(&services, "deleted.");
    let of = |is: bool| {
        read.iter()
            .filter(move |record| (record.topic == topic) == is)
    };
    assert_eq!(of(false).count(), 40 * 36);
    let after: Vec<u64> = of(true).map(|record| record.id.block.number.0).collect();
    assert_eq!(after.iter().filter(|number| **number > 20).count(), 20 * 4);
    dir.finish().unwrap();
}

fn admin(services: &Services) -> AdminClient<DefaultClientContext> {
    ClientConfig::new()
        .set("bootstrap.servers", services.kafka.bootstrap())
        .create()
        .unwrap()
}
