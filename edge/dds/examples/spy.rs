//! Lists the writers on a bus and, once a second, how much each topic sends.
//!
//! ```text
//! cargo run --release -p efd-edge-dds --example spy -- [INTERFACE] [DOMAIN]
//! ```

#![expect(clippy::print_stdout, reason = "a program for a terminal")]

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::error::Error;
use std::time::Duration;

use efd_edge_dds::{
    Consumer, Discovery, DiscoveryEvent, DomainConfig, InvalidSamples, Keying, Participant, Reader,
    ReaderId, ReaderSpec, Ring, RingLimits, WriterInfo,
};

/// What one reader has shown since the last line.
#[derive(Default)]
struct Rate {
    topic: String,
    samples: u64,
    bytes: u64,
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let config = DomainConfig {
        interface: args.next(),
        domain_id: args.next().map_or(Ok(0), |text| text.parse())?,
        ..DomainConfig::default()
    };
    let participant = Participant::open(&config)?;
    let (ring, mut consumer) = Ring::new(RingLimits::default());
    let mut discovery = participant.discovery()?;
    // One reader serves all writers of a topic that offer the same.
    let mut readers: BTreeMap<String, Reader> = BTreeMap::new();
    let mut rates: BTreeMap<ReaderId, Rate> = BTreeMap::new();
    loop {
        follow(
            &participant,
            &ring,
            &mut discovery,
            &mut readers,
            &mut rates,
        )?;
        count_for_a_second(&mut consumer, &mut rates);
        for rate in rates.values_mut().filter(|rate| rate.samples > 0) {
            println!(
                "  {:>8}/s {:>12} B/s  {}",
                rate.samples, rate.bytes, rate.topic
            );
            (rate.samples, rate.bytes) = (0, 0);
        }
    }
}

fn follow(
    participant: &Participant,
    ring: &Ring,
    discovery: &mut Discovery,
    readers: &mut BTreeMap<String, Reader>,
    rates: &mut BTreeMap<ReaderId, Rate>,
) -> Result<(), Box<dyn Error>> {
    for event in discovery.poll(Duration::ZERO)? {
        match event {
            DiscoveryEvent::ParticipantAppeared(info) => {
                println!(
                    "+ participant {} {:?} {:?}",
                    info.guid, info.hostname, info.process
                );
            }
            DiscoveryEvent::ParticipantGone(guid) => println!("- participant {guid}"),
            DiscoveryEvent::WriterGone { guid, .. } => println!("- writer {guid}"),
            DiscoveryEvent::WriterAppeared(writer) => {
                println!("+ writer {writer:?}");
                let spec = spec_for(&writer);
                if let Entry::Vacant(vacant) = readers.entry(format!("{spec:?}")) {
                    let reader = participant.create_reader(&spec, ring)?;
                    rates.insert(
                        reader.id(),
                        Rate {
                            topic: writer.topic,
                            ..Rate::default()
                        },
                    );
                    vacant.insert(reader);
                }
            }
        }
    }
    Ok(())
}

fn spec_for(writer: &WriterInfo) -> ReaderSpec {
    ReaderSpec {
        topic: writer.topic.clone(),
        type_name: writer.type_name.clone(),
        keying: if writer.keyed {
            Keying::Keyed(None)
        } else {
            Keying::Keyless
        },
        partitions: writer.partitions.clone(),
        reliability: writer.reliability,
        durability: writer.durability,
        ownership: writer.ownership,
        invalid: InvalidSamples::Count,
    }
}

fn count_for_a_second(consumer: &mut Consumer, rates: &mut BTreeMap<ReaderId, Rate>) {
    let mut batch = Vec::new();
    for _ in 0..10 {
        std::thread::sleep(Duration::from_millis(100));
        while consumer.pop(&mut batch, 1000, Duration::ZERO) > 0 {
            for sample in batch.drain(..) {
                if let Some(rate) = rates.get_mut(&sample.reader()) {
                    rate.samples += 1;
                    rate.bytes += sample.payload().len() as u64;
                }
            }
        }
    }
}
