//! A log, a cluster, a registry and a disk in memory; sessions that begin, crash and fail at any step.
//! The law: the cluster's topics hold the records of the log, each once, in its right topic, in order.

mod saved;
mod shards;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use efd_central_log::{Class, MemoryLog, Partition};
use efd_shared_model::block::Codec;
use efd_shared_model::ids::EpochLane;
use efd_shared_model::{
    BlockBuilder, BlockId, BlockNumber, ClockState, EdgeId, EpochDeclaration, EventTimeOrigin,
    Lane, LaneKind, RecordId, RecordStamps, Schema, SealedBlock, StreamDeclaration, TopicKind,
    UtcNanos,
};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;
use crate::account::has;
use crate::broker::memory::{Cluster, LARGE, MemoryBroker};
use crate::folder::FolderError;
use crate::registry::RegistryError;
use crate::store::{CheckpointStore, StoreError};
use crate::wire::SchemaId;

const STREAMS: u32 = 5;
const EPOCHS: u8 = 2;
const STAMPS: RecordStamps = RecordStamps {
    event_time: UtcNanos(1),
    origin: EventTimeOrigin::Source,
    implausible: false,
    latin1: false,
    instance: None,
};

/// Whatever fails: `SIM_SEED=<n>` replays one world.
#[test]
fn each_record_once_whatever_fails() {
    for seed in seeds(500) {
        if let Err(broken) = World::new(seed, sabotaged()).run() {
            panic!("SIM_SEED={seed}: {broken}");
        }
    }
}

/// The law can fail: a feed that does not read back breaks it.
#[test]
fn a_feed_that_does_not_read_back_is_caught() {
    let caught = (0..50)
        .filter(|&seed| World::new(seed, true).run().is_err())
        .count();
    assert!(caught > 25, "{caught} of 50");
}

/// A topic that takes nothing is owed everything, costs a few ranges, and does not hold up the others.
#[test]
fn a_parked_topic_holds_up_nothing() {
    let mut world = World::new(1, false);
    world.calm();
    world
        .cluster
        .borrow_mut()
        .forbidden
        .insert("summit.t1".into());
    for _ in 0..300 {
        world.append(Class::Live);
    }
    for _ in 0..3_000 {
        world.step(Duration::from_millis(20)).unwrap();
    }
    let checkpoint = world.store.checkpoint();
    let progress = &checkpoint.progress;
    assert!(
        world.blocks.keys().all(|&id| has(progress, id)),
        "every block is settled"
    );
    let mark = &checkpoint.outputs["summit.t1"];
    assert!(mark.parked.is_some());
    assert!(
        mark.owed.size() <= 2 * usize::from(EPOCHS),
        "{}",
        mark.owed.size()
    );
    assert!(
        world
            .cluster
            .borrow()
            .topics
            .get("summit.t1")
            .is_none_or(Vec::is_empty)
    );
    world.finish().unwrap();
    world.check_order().unwrap();
}

/// Blocks that are owed to a topic and have nothing for it are passed without a rest, however many.
#[test]
fn what_is_owed_is_looked_for_without_a_rest() {
    let mut world = World::new(3, false);
    world.calm();
    world.step(Duration::ZERO).unwrap();
    let account = &mut world.session.as_mut().unwrap().account;
    let output = account.open("summit.none", None);
    account.output_mut(output).park("test".into());
    for _ in 0..1000 {
        world.append(Class::Live);
    }
    while world.step(Duration::ZERO).unwrap() != Some(Step::Idle) {}
    // It is noticed, and tried.
    for _ in 0..2 {
        world.step(Duration::from_secs(1)).unwrap();
    }
    let mut rests = 0;
    let owed = |world: &World| {
        let account = &world.session.as_ref().unwrap().account;
        account.output(output).owed.size()
    };
    while owed(&world) > 0 {
        rests += u32::from(world.step(Duration::ZERO).unwrap() == Some(Step::Idle));
        assert_eq!(rests, 0, "rests while blocks are owed");
    }
}

/// A single record that is refused is owed alone; its neighbours in the batch get through.
#[test]
fn a_large_record_is_owed_alone() {
    let mut world = World::new(2, false);
    world.calm();
    world.cluster.borrow_mut().refuses_large = true;
    for _ in 0..200 {
        world.append(Class::Live);
    }
    for _ in 0..20_000 {
        world.step(Duration::from_millis(20)).unwrap();
    }
    let (cluster, large) = (world.cluster.borrow(), &world.large);
    let produced: BTreeSet<RecordId> = cluster.topics.values().flatten().copied().collect();
    assert!(!large.is_empty() && large.is_disjoint(&produced));
    assert_eq!(produced.len() + large.len(), world.records().len());
    let owed = world.store.checkpoint().outputs.into_values();
    let owed: u64 = owed
        .flat_map(|mark| mark.owed.records.into_values())
        .map(|o| o.indexes.member_count())
        .sum();
    assert_eq!(owed, large.len() as u64);
    drop(cluster);
    world.finish().unwrap();
}

/// What the registry refuses goes to a topic of its own, also after the registry has changed its mind.
#[test]
fn a_refused_schema_keeps_its_own_topic() {
    let mut world = World::new(3, false);
    world.calm();
    world.registry.refused.insert("summit.t2-value".into());
    for round in 0..4 {
        for _ in 0..50 {
            world.append(Class::Live);
        }
        for _ in 0..300 {
            world.step(Duration::from_millis(20)).unwrap();
        }
        if round == 1 {
            world.registry.refused.clear();
            world.crash();
        }
    }
    world.finish().unwrap();
    let cluster = world.cluster.borrow();
    assert!(!cluster.topics.contains_key("summit.t2"));
    let own = format!("summit.t2.{}", World::schema(2).fingerprint().short());
    assert!(!cluster.topics[&own].is_empty());
}

/// Without the checkpoint file everything is read back, and nothing is produced again.
#[test]
fn a_lost_checkpoint_costs_reading_only() {
    let mut world = World::new(4, false);
    world.calm();
    for _ in 0..100 {
        world.append(Class::Live);
    }
    for _ in 0..2_000 {
        world.step(Duration::from_millis(20)).unwrap();
    }
    world.crash();
    world.store.text = None;
    world.finish().unwrap();
}

fn seeds(count: u64) -> Vec<u64> {
    let fixed = std::env::var("SIM_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    fixed.map_or_else(|| (0..count).collect(), |seed| vec![seed])
}

fn sabotaged() -> bool {
    cfg!(feature = "sabotage") && std::env::var("EFD_SABOTAGE").is_ok_and(|name| name == "no-dedup")
}

struct World {
    seed: u64,
    rng: StdRng,
    now: Duration,
    log: Arc<MemoryLog>,
    blocks: BTreeMap<BlockId, (SealedBlock, Partition)>,
    numbers: BTreeMap<EpochLane, u64>,
    large: BTreeSet<RecordId>,
    cluster: Rc<RefCell<Cluster>>,
    registry: MemoryRegistry,
    store: MemoryStore,
    session: Option<Session<MemoryLog, MemoryBroker>>,
    connections: u64,
    no_dedup: bool,
    /// Something was refused: then order is not promised.
    is_disordered: bool,
}

#[derive(Default)]
struct MemoryRegistry {
    is_down: bool,
    refused: BTreeSet<String>,
    ids: BTreeMap<(String, String), u32>,
}

impl Registry for MemoryRegistry {
    fn register(&mut self, subject: &str, schema: &Schema) -> Result<SchemaId, RegistryError> {
        if self.is_down {
            return Err(RegistryError::Unavailable("down".into()));
        }
        if self.refused.contains(subject) {
            return Err(RegistryError::Refused {
                subject: subject.into(),
                status: 409,
                reason: "incompatible".into(),
            });
        }
        let next = self.ids.len() as u32;
        let key = (subject.to_owned(), schema.text().to_owned());
        Ok(SchemaId(*self.ids.entry(key).or_insert(next)))
    }
}

#[derive(Default)]
struct MemoryStore {
    text: Option<String>,
    is_broken: bool,
    saves: u64,
}

impl CheckpointStore for MemoryStore {
    fn save(&mut self, checkpoint: &Checkpoint) -> Result<(), StoreError> {
        if self.is_broken {
            return Err(FolderError::Locked {
                path: "broken".into(),
            }
            .into());
        }
        self.saves += 1;
        self.text = Some(checkpoint.to_text());
        Ok(())
    }
}

impl MemoryStore {
    fn checkpoint(&self) -> Checkpoint {
        let text = self.text.as_deref();
        text.map_or_else(Checkpoint::default, |text| {
            Checkpoint::from_text(text).unwrap()
        })
    }
}

impl World {
    fn new(seed: u64, no_dedup: bool) -> Self {
        let log = MemoryLog::default();
        let schemas: Vec<Schema> = (1..=STREAMS).map(Self::schema).collect();
        let streams: Vec<StreamDeclaration> = (1..=STREAMS)
            .zip(&schemas)
            .map(|(number, schema)| StreamDeclaration {
                number: StreamNumber(number),
                topic: format!("t{number}"),
                dds_topic: String::new(),
                dds_type: String::new(),
                kind: TopicKind::Event,
                schema: schema.fingerprint(),
            })
            .collect();
        for epoch in 1..=EPOCHS {
            let declaration = EpochDeclaration {
                edge: EdgeId([1; 16]),
                site: "summit".parse().unwrap(),
                epoch: EpochId([epoch; 16]),
                parent: None,
                began: ClockState::default(),
                software: "test".into(),
            };
            log.declare(&declaration, &streams, &schemas).unwrap();
        }
        Self {
            seed,
            rng: StdRng::seed_from_u64(seed),
            now: Duration::ZERO,
            log: Arc::new(log),
            blocks: BTreeMap::new(),
            numbers: BTreeMap::new(),
            large: BTreeSet::new(),
            cluster: Rc::default(),
            registry: MemoryRegistry::default(),
            store: MemoryStore::default(),
            session: None,
            connections: 0,
            no_dedup,
            is_disordered: false,
        }
    }

    fn schema(number: u32) -> Schema {
        Schema::new(format!("{{\"type\":\"bytes\",\"doc\":\"{number}\"}}"))
    }

    fn run(&mut self) -> Result<(), String> {
        self.cluster.borrow_mut().fatal_percent = self.rng.random_range(0..4);
        let may_refuse = self.rng.random_bool(0.6);
        for _ in 0..self.rng.random_range(50..400) {
            match self.rng.random_range(0..100) {
                0..30 => {
                    let class = if self.rng.random_bool(0.7) {
                        Class::Live
                    } else {
                        Class::Fill
                    };
                    self.append(class);
                }
                30..33 => self.append_again(),
                33..36 => self.crash(),
                36..38 if may_refuse => self.toggle_topic(),
                38..39 if may_refuse => {
                    let refuses = self.rng.random_bool(0.5);
                    self.is_disordered |= refuses;
                    self.cluster.borrow_mut().refuses_large = refuses;
                }
                39..41 => self.toggle_services(may_refuse),
                _ => {
                    let pass = Duration::from_millis(self.rng.random_range(0..400));
                    self.step(pass)?;
                }
            }
        }
        self.finish()?;
        if self.is_disordered {
            Ok(())
        } else {
            self.check_order()
        }
    }

    fn calm(&mut self) {
        self.cluster.borrow_mut().fatal_percent = 0;
        self.cluster.borrow_mut().is_down = false;
        self.registry.is_down = false;
        self.store.is_broken = false;
    }

    fn toggle_topic(&mut self) {
        self.is_disordered = true;
        let topic = format!("summit.t{}", self.rng.random_range(1..=STREAMS));
        let mut cluster = self.cluster.borrow_mut();
        let Cluster {
            forbidden,
            unreadable,
            ..
        } = &mut *cluster;
        let rights = if self.rng.random_bool(0.5) {
            forbidden
        } else {
            unreadable
        };
        if !rights.remove(&topic) {
            rights.insert(topic);
        }
    }

    fn toggle_services(&mut self, may_refuse: bool) {
        match self.rng.random_range(0..4) {
            0 => self.registry.is_down ^= true,
            1 => self.store.is_broken ^= true,
            2 => self.cluster.borrow_mut().is_down ^= true,
            _ if may_refuse => {
                let stream = self.rng.random_range(1..=STREAMS);
                self.registry
                    .refused
                    .insert(format!("summit.t{stream}-value"));
                if self.rng.random_bool(0.2) {
                    let own = Self::schema(stream).fingerprint().short();
                    self.registry
                        .refused
                        .insert(format!("summit.t{stream}.{own}-value"));
                    self.is_disordered = true;
                }
            }
            _ => {}
        }
    }

    fn append(&mut self, class: Class) {
        let lane = EpochLane {
            edge: EdgeId([1; 16]),
            epoch: EpochId([self.rng.random_range(1..=EPOCHS); 16]),
            lane: Lane::new(LaneKind::Events),
        };
        let number = self.numbers.entry(lane).or_default();
        *number += 1;
        let id = lane.block(BlockNumber(*number));
        let mut builder = BlockBuilder::new();
        let mut large = Vec::new();
        let mut index = 0;
        for stream in (1..=STREAMS).map(StreamNumber) {
            // The first stream has no record in most blocks.
            let count = self
                .rng
                .random_range(0..6u32)
                .saturating_sub(if stream.0 == 1 { 4 } else { 1 });
            for _ in 0..count {
                let is_large = self.rng.random_bool(0.02);
                builder
                    .datum(stream)
                    .extend([if is_large { LARGE } else { 0 }, 1, 2]);
                builder.finish(stream, STAMPS);
                if is_large {
                    large.push(index);
                }
                index += 1;
            }
        }
        let Some(block) = builder.seal(id, ClockState::default(), Codec::None, 1) else {
            *self.numbers.entry(lane).or_default() -= 1;
            return;
        };
        self.large
            .extend(large.into_iter().map(|index| RecordId { block: id, index }));
        let partition = Partition {
            site: "summit".parse().unwrap(),
            shard: 0,
            class,
        };
        self.log
            .append(&[(partition.clone(), block.clone())])
            .unwrap();
        self.blocks.insert(id, (block, partition));
    }

    /// A block that stands in the log already, in either partition.
    fn append_again(&mut self) {
        let count = self.blocks.len();
        if count == 0 {
            return;
        }
        let at = self.rng.random_range(0..count);
        let (block, mut partition) = self.blocks.values().nth(at).cloned().unwrap();
        if self.rng.random_bool(0.5) {
            partition.class = Class::Live;
        }
        self.log.append(&[(partition, block)]).unwrap();
        self.is_disordered = true;
    }

    fn crash(&mut self) {
        self.session = None;
    }

    fn step(&mut self, pass: Duration) -> Result<Option<Step>, String> {
        self.now += pass;
        if self.session.is_none() {
            self.connections += 1;
            let broker = MemoryBroker::connect(&self.cluster, self.seed * 1000 + self.connections);
            let settings = Settings {
                topic_format: TopicFormat::default(),
                shard: Shard::WHOLE,
                checkpoint_every: Duration::from_secs(1),
                retry_after: Duration::from_millis(500),
                in_flight_blocks_max: 8,
                no_dedup: self.no_dedup,
                dies_at_save: None,
            };
            let started = Session::start(
                settings,
                Arc::clone(&self.log),
                broker,
                self.store.checkpoint(),
                self.now,
            );
            self.session = started.ok();
        }
        let Some(session) = &mut self.session else {
            return Ok(None);
        };
        let saves = self.store.saves;
        let mut hands = Hands {
            registry: &mut self.registry,
            store: &mut self.store,
        };
        let step = session.step(self.now, Duration::ZERO, &mut hands);
        if saves != self.store.saves {
            self.check_checkpoint()?;
        }
        if step.is_err() {
            self.session = None;
        }
        Ok(step.ok())
    }

    /// Everything works again: the feed comes to rest, and the law holds.
    fn finish(&mut self) -> Result<(), String> {
        self.calm();
        self.cluster.borrow_mut().forbidden.clear();
        self.cluster.borrow_mut().unreadable.clear();
        self.cluster.borrow_mut().refuses_large = false;
        self.registry.refused.clear();
        for _ in 0..50_000 {
            let step = self.step(Duration::from_millis(100))?;
            let owes = |session: &Session<MemoryLog, MemoryBroker>| {
                session
                    .account
                    .outputs()
                    .any(|(_, output)| output.parked.is_some() || !output.owed.is_empty())
            };
            if step == Some(Step::Idle) && !self.session.as_ref().is_none_or(owes) {
                return self.check_law();
            }
        }
        Err("the feed does not come to rest".into())
    }

    fn records(&self) -> BTreeMap<RecordId, u32> {
        let mut records = BTreeMap::new();
        for (id, (block, _)) in &self.blocks {
            for (stream, record) in block.open().unwrap().records() {
                let index = record.index;
                records.insert(RecordId { block: *id, index }, stream.0);
            }
        }
        records
    }

    fn check_law(&self) -> Result<(), String> {
        let expected = self.records();
        let mut found: BTreeMap<RecordId, u32> = BTreeMap::new();
        for (topic, ids) in &self.cluster.borrow().topics {
            let stream: u32 = topic.split('.').nth(1).unwrap()[1..].parse().unwrap();
            for id in ids {
                if found.insert(*id, stream).is_some() {
                    return Err(format!("{id} stands twice"));
                }
            }
        }
        let missing = expected.keys().filter(|id| !found.contains_key(id)).count();
        if missing > 0 {
            return Err(format!(
                "{missing} of {} records are missing",
                expected.len()
            ));
        }
        if found != expected {
            return Err("a record is in a wrong topic".into());
        }
        Ok(())
    }

    /// Per topic and partition of the log, in the order of the log.
    fn check_order(&self) -> Result<(), String> {
        for (topic, ids) in &self.cluster.borrow().topics {
            let mut last: BTreeMap<(EpochLane, Class), RecordId> = BTreeMap::new();
            for id in ids {
                let class = self.blocks[&id.block].1.class;
                let previous = last.insert((id.block.lane, class), *id);
                if previous.is_some_and(|previous| *id <= previous) {
                    return Err(format!("{topic}: {id} is behind {previous:?}"));
                }
            }
        }
        Ok(())
    }

    /// What a checkpoint claims is so at the moment it is written.
    fn check_checkpoint(&self) -> Result<(), String> {
        let checkpoint = self.store.checkpoint();
        let cluster = self.cluster.borrow();
        let present: BTreeSet<RecordId> = cluster.topics.values().flatten().copied().collect();
        let is_owed = |id: &RecordId| {
            checkpoint.outputs.values().any(|mark| {
                let records = mark.owed.records.get(&id.block);
                mark.owed.has_block(id.block)
                    || records.is_some_and(|owed| owed.indexes.contains(id.index.into()))
            })
        };
        for id in self
            .records()
            .keys()
            .filter(|id| has(&checkpoint.progress, id.block))
        {
            if !present.contains(id) && !is_owed(id) {
                return Err(format!(
                    "checkpoint claims {id}, which is neither in a topic nor owed"
                ));
            }
        }
        if self.no_dedup {
            return Ok(());
        }
        for (topic, ids) in &cluster.topics {
            let end = checkpoint.outputs.get(topic).map_or(0, |mark| mark.end);
            for id in &ids[..ids.len().min(end.max(0) as usize)] {
                let owed = &checkpoint.outputs[topic].owed;
                let is_owed = owed
                    .records
                    .get(&id.block)
                    .is_some_and(|o| o.indexes.contains(id.index.into()))
                    || owed.has_block(id.block);
                if !has(&checkpoint.progress, id.block) || is_owed {
                    let (has, mark) = (
                        has(&checkpoint.progress, id.block),
                        &checkpoint.outputs[topic],
                    );
                    return Err(format!(
                        "{topic}: {id} lies before {end}, and would be produced again: settled {has}, {mark:?}"
                    ));
                }
            }
        }
        Ok(())
    }
}
