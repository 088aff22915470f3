//! How fast the feed is, flat out, into brokers that are there already.
//!
//! usage: feed_load BROKERS REGISTRY_URL TOPICS BLOCKS RECORDS_PER_BLOCK PAD_BYTES
//!
//! Fills a log in memory, feeds it into topics with a prefix of this run, and prints one line of JSON.

#![expect(clippy::print_stdout, reason = "a program for a terminal")]
#![expect(clippy::disallowed_methods, reason = "it measures time")]

#[path = "../tests/common/mod.rs"]
#[expect(dead_code, clippy::unwrap_used, reason = "it is a module of the tests")]
mod common;

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use efd_central_feed::{Feed, FeedOptions, Stop, TopicFormat};
use efd_central_kafka::Connection;
use serde_json::json;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [brokers, registry, topics, blocks, records, pad] = arguments.as_slice() else {
        return Err(
            "usage: feed_load BROKERS REGISTRY_URL TOPICS BLOCKS RECORDS_PER_BLOCK PAD_BYTES"
                .into(),
        );
    };
    let spec = common::Spec {
        topics: topics.parse()?,
        records_per_block: records.parse()?,
        pad_bytes: pad.parse()?,
    };
    let blocks: u64 = blocks.parse()?;
    let log = spec.declared();
    // Opens every topic ahead of the clock.
    spec.append(&log, 1..=1);
    let folder = std::env::temp_dir().join(format!("feed-load-{}", std::process::id()));
    let mut options = FeedOptions::new(&folder, Connection::plaintext(brokers), registry.as_str());
    options.topic_format =
        TopicFormat::new(&format!("load{}.{{site}}.{{topic}}", std::process::id()))?;
    options.topics.replication = 1;
    options.checkpoint_every = Duration::from_secs(1);
    let feed = Feed::open(options)?;
    let (stop, status) = (Stop::default(), feed.status());
    let begin = Instant::now();
    let running = std::thread::spawn({
        let (log, stop) = (Arc::clone(&log), stop.clone());
        move || feed.run(log, &stop)
    });
    while status.read().blocks < 1 {
        std::thread::sleep(Duration::from_millis(5));
    }
    let open_s = begin.elapsed().as_secs_f64();
    let sealed: Vec<_> = (2..=blocks + 1).map(|number| spec.block(number)).collect();
    let (begin, cpu) = (Instant::now(), cpu_seconds());
    for block in sealed {
        efd_central_log::BlockLog::append(
            &*log,
            &[(common::partition(efd_central_log::Class::Live), block)],
        )?;
    }
    let total = (blocks + 1) * u64::from(spec.records_per_block);
    while status.read().records < total {
        std::thread::sleep(Duration::from_millis(5));
    }
    let (seconds, cpu) = (begin.elapsed().as_secs_f64(), cpu_seconds() - cpu);
    stop.set();
    running.join().map_err(|_| "the feed panicked")??;
    let status = status.read();
    let fed = total - u64::from(spec.records_per_block);
    println!(
        "{}",
        json!({
            "topics": spec.topics, "records": fed, "record_bytes": spec.pad_bytes, "open_s": open_s, "seconds": seconds,
            "records_per_s": (fed as f64 / seconds).round(), "cpu_us_per_record": cpu / fed as f64 * 1e6,
            "checkpoints": status.checkpoints, "checkpoint_bytes": status.checkpoint_bytes,
            "skipped": status.skipped, "strangers": status.strangers, "sessions": status.sessions,
        })
    );
    std::fs::remove_dir_all(folder)?;
    Ok(())
}

/// User and system time of this process: fields 14 and 15 of its `stat`, in hundredths.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(") ").next().unwrap_or("");
    let ticks = after_name
        .split(' ')
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse::<f64>().ok());
    ticks.sum::<f64>() / 100.0
}
