//! Workers that share the work by component, over lanes that are split into more or fewer shards.

use efd_shared_model::component_of;

use super::*;

const TOPICS: u32 = 12;
const WORKERS: u16 = 4;

/// By the count of shards that the edge has at the time, with blocks numbered on.
struct Lanes {
    log: Arc<MemoryLog>,
    next: BTreeMap<u16, u64>,
    records: BTreeSet<RecordId>,
}

fn topic(number: u32) -> String {
    format!("lsst.sal.C{}.t{number}", number % 7)
}

impl Lanes {
    fn new() -> Self {
        let log = MemoryLog::default();
        let schema = Schema::new("\"bytes\"");
        let stream = |number| StreamDeclaration {
            number: StreamNumber(number),
            topic: topic(number),
            dds_topic: String::new(),
            dds_type: String::new(),
            kind: TopicKind::Event,
            schema: schema.fingerprint(),
        };
        let streams: Vec<_> = (1..=TOPICS).map(stream).collect();
        let epoch = EpochDeclaration {
            edge: EdgeId([1; 16]),
            site: "summit".parse().unwrap(),
            epoch: EpochId([1; 16]),
            parent: None,
            began: ClockState::default(),
            software: "test".into(),
        };
        log.declare(&epoch, &streams, std::slice::from_ref(&schema))
            .unwrap();
        Self {
            log: Arc::new(log),
            next: BTreeMap::new(),
            records: BTreeSet::new(),
        }
    }

    /// A record of every topic, in a block for each shard.
    fn append(&mut self, shards: u16) {
        for shard in Shard::all(shards).unwrap() {
            let lane = EpochLane {
                edge: EdgeId([1; 16]),
                epoch: EpochId([1; 16]),
                lane: Lane {
                    kind: LaneKind::Events,
                    shard: shard.number(),
                },
            };
            let number = self.next.entry(shard.number()).or_insert(0);
            *number += 1;
            let id = lane.block(BlockNumber(*number));
            let mut builder = BlockBuilder::new();
            let mut count = 0;
            let ours = (1..=TOPICS).filter(|number| shard.has(component_of(&topic(*number))));
            for stream in ours.map(StreamNumber) {
                builder.datum(stream).push(0);
                builder.finish(stream, STAMPS);
                count += 1;
            }
            let Some(block) = builder.seal(id, ClockState::default(), Codec::None, 1) else {
                *number -= 1;
                continue;
            };
            self.records
                .extend((0..count).map(|index| RecordId { block: id, index }));
            let partition = Partition {
                site: "summit".parse().unwrap(),
                shard: shard.number(),
                class: Class::Live,
            };
            self.log.append(&[(partition, block)]).unwrap();
        }
    }
}

/// From one shard to four and back, each worker killed in between: each record once, and no topic has two workers.
#[test]
fn workers_share_the_topics_whatever_the_lanes() {
    let mut lanes = Lanes::new();
    let cluster = Rc::<RefCell<Cluster>>::default();
    let workers: Vec<Shard> = Shard::all(WORKERS).unwrap().collect();
    let mut stores: Vec<MemoryStore> = workers.iter().map(|_| MemoryStore::default()).collect();
    let mut registry = MemoryRegistry::default();
    let mut topics_of: Vec<BTreeSet<String>> = vec![BTreeSet::new(); workers.len()];
    let mut now = Duration::ZERO;
    for (round, shards) in [1, 4, 2, 1].into_iter().enumerate() {
        for _ in 0..10 {
            lanes.append(shards);
        }
        for (ix, &shard) in workers.iter().enumerate() {
            let settings = Settings {
                topic_format: TopicFormat::default(),
                shard,
                checkpoint_every: Duration::from_secs(1),
                retry_after: Duration::from_millis(500),
                in_flight_blocks_max: 8,
                no_dedup: false,
                dies_at_save: None,
            };
            let checkpoint = match &stores[ix].text {
                Some(_) => stores[ix].checkpoint(),
                None => Checkpoint {
                    shard,
                    ..Checkpoint::default()
                },
            };
            assert_eq!(checkpoint.shard, shard);
            let broker = MemoryBroker::connect(&cluster, (round * 10 + ix) as u64);
            let log = Arc::clone(&lanes.log);
            let mut session = Session::start(settings, log, broker, checkpoint, now).unwrap();
            let mut hands = Hands {
                registry: &mut registry,
                store: &mut stores[ix],
            };
            // The last of them is killed before its checkpoint.
            for _ in 0..2000 {
                now += Duration::from_millis(2);
                session.step(now, Duration::ZERO, &mut hands).unwrap();
            }
            let opened = session
                .account
                .outputs()
                .map(|(_, output)| output.topic.clone());
            topics_of[ix].extend(opened);
        }
    }
    let cluster = cluster.borrow();
    let mut fed = BTreeSet::new();
    for (topic, records) in &cluster.topics {
        assert!(!records.is_empty(), "{topic}");
        for &id in records {
            assert!(fed.insert(id), "{id} stands twice");
        }
    }
    assert_eq!(fed, lanes.records);
    for (ix, topics) in topics_of.iter().enumerate() {
        let others = topics_of
            .iter()
            .enumerate()
            .filter(|(other, _)| *other != ix);
        assert!(
            others
                .flat_map(|(_, topics)| topics)
                .all(|topic| !topics.contains(topic))
        );
    }
    assert!(topics_of.iter().filter(|topics| !topics.is_empty()).count() > 1);
}
