//! Costs: printed, not asserted. What is asserted is that nothing is lost but what our full queue refused and counted, as
//! it must where the machine gives this process no time.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use efd_edge_dds::{Reader, ReaderSpec, WriterSpec};

use crate::world::{
    Other, SOON, World, by_first_number, now, number_at, pair, read, ring, until_told, wait_for,
    write,
};

pub(crate) fn two_thousand_topics(world: &World) {
    const TOPICS: usize = 2000;
    let before = Usage::of_this_process();
    let ours = world.participant();
    let (ring, mut consumer) = ring();
    let began = now();
    let readers: Vec<Reader> = (0..TOPICS)
        .map(|i| ours.create_reader(&topic_spec(i), &ring).unwrap())
        .collect();
    let created = began.elapsed();
    let alone = Usage::of_this_process();
    let began = now();
    let mut other = Other::start(&["publish", "2000", "0", "100"]);
    assert_eq!(other.line(), "ready");
    wait_for("2,000 matches", || {
        readers
            .iter()
            .all(|reader| reader.status().unwrap().matched_writers == 1)
    });
    let matched = began.elapsed();
    let after = Usage::of_this_process();
    println!(
        "  {TOPICS} readers: created in {created:?}, +{} kB; all matched {matched:?} after the publisher's start, +{} kB more, {} threads",
        alone.rss_kb - before.rss_kb,
        after.rss_kb - alone.rss_kb,
        after.threads
    );
    other.end();
    assert_eq!(consumer.pop(&mut Vec::new(), 1, Duration::ZERO), 0);
    let began = now();
    ours.close(SOON).unwrap();
    println!("  closed with {TOPICS} readers in {:?}", began.elapsed());
    drop(readers);
}

pub(crate) fn cost_per_sample(world: &World) {
    for (topics, rate, size) in [(2000, 20_000, 200), (1, 50_000, 200), (2011, 30_000, 800)] {
        measure(world, topics, rate, size);
    }
}

/// `topics` writers in another process, together `rate` samples a second.
fn measure(world: &World, topics: usize, rate: u64, size: usize) {
    const WINDOW: Duration = Duration::from_secs(5);
    let ours = world.participant();
    let (ring, mut consumer) = ring();
    let readers: Vec<Reader> = (0..topics)
        .map(|i| ours.create_reader(&topic_spec(i), &ring).unwrap())
        .collect();
    let mut other = Other::start(&[
        "publish",
        &topics.to_string(),
        &rate.to_string(),
        &size.to_string(),
    ]);
    assert_eq!(other.line(), "ready");
    wait_for("matches", || {
        readers
            .iter()
            .all(|reader| reader.status().unwrap().matched_writers == 1)
    });

    let mut batch = Vec::new();
    // Each writer counts from 0.
    let mut next = vec![None; topics];
    let mut missing = 0u64;
    let mut latest_ns = 0;
    let mut take = |until: Option<Instant>| {
        let mut count = 0;
        loop {
            let n = consumer.pop(&mut batch, 1000, Duration::from_millis(100));
            for sample in batch.drain(..) {
                count += 1;
                latest_ns = latest_ns
                    .max(sample.received().realtime_ns - sample.source_timestamp_ns().unwrap_or(0));
                let (topic, number) = (
                    number_at(sample.payload(), 4) as usize,
                    number_at(sample.payload(), 8),
                );
                missing += u64::from(number - next[topic].unwrap_or(number));
                next[topic] = Some(number + 1);
            }
            if until.map_or(n == 0, |until| now() >= until) {
                return count;
            }
        }
    };
    take(Some(now() + Duration::from_secs(2)));
    let (began, before) = (now(), Usage::of_this_process());
    let count: u64 = take(Some(began + WINDOW));
    let (took, after) = (began.elapsed(), Usage::of_this_process());
    let said = other.end();
    take(None);
    let cpu = after.cpu().saturating_sub(before.cpu());
    println!(
        "  {topics} topics, {size} B: {:.0}/s received, {:.2} µs of CPU per sample ({:.0} % of a core), RSS {} kB, slowest hand-over {:.1} ms",
        count as f64 / took.as_secs_f64(),
        cpu.as_secs_f64() * 1e6 / count as f64,
        100.0 * cpu.as_secs_f64() / took.as_secs_f64(),
        after.rss_kb,
        latest_ns as f64 / 1e6
    );
    println!(
        "  µs by thread: {}; publisher: {}",
        after.per_sample(&before, count),
        said.trim_end()
    );
    let refused = consumer.counters().dropped_full;
    assert!(missing <= refused, "{missing} missing, {refused} refused");
    ours.close(SOON).unwrap();
}

fn topic_name(i: usize) -> String {
    format!("Component_topic_{i:05}")
}

fn topic_spec(i: usize) -> ReaderSpec {
    ReaderSpec {
        keying: by_first_number(),
        partitions: vec!["summit.*".into()],
        ..read(&topic_name(i))
    }
}

/// Writes round-robin at an even pace (a rate of 0: not at all) until told to end.
pub(crate) fn be_publishing(world: &World, topics: usize, rate: u64, size: usize) {
    let participant = world.participant();
    let spec = |i| WriterSpec {
        keying: by_first_number(),
        partitions: vec!["summit.data".into()],
        ..write(&topic_name(i))
    };
    let writers: Vec<_> = (0..topics)
        .map(|i| participant.create_writer(&spec(i)).unwrap())
        .collect();
    println!("ready");
    if rate == 0 {
        return until_told();
    }
    let told = std::thread::spawn(until_told);
    wait_for("readers", || {
        told.is_finished()
            || writers
                .iter()
                .all(|writer| writer.matched_readers().unwrap() == 1)
    });
    let before = Usage::of_this_process();
    let began = now();
    let mut sent = 0u64;
    let mut payload = pair(0, 0);
    payload.resize(size, 0);
    while !told.is_finished() {
        let due = (began.elapsed().as_secs_f64() * rate as f64) as u64;
        while sent < due {
            let topic = sent as usize % topics;
            payload[4..8].copy_from_slice(&(topic as u32).to_le_bytes());
            payload[8..12].copy_from_slice(&((sent / topics as u64) as u32).to_le_bytes());
            writers[topic].write_cdr(&payload, None).unwrap();
            sent += 1;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    let (took, after) = (began.elapsed(), Usage::of_this_process());
    println!(
        "{:.0} writes/s over {topics} writers, {:.1} µs of CPU each",
        sent as f64 / took.as_secs_f64(),
        after.cpu().saturating_sub(before.cpu()).as_secs_f64() * 1e6 / sent as f64
    );
}

struct Usage {
    by_thread: BTreeMap<String, Duration>,
    rss_kb: u64,
    threads: u64,
}

impl Usage {
    fn of_this_process() -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let value = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name)).unwrap();
            line.split_whitespace().nth(1).unwrap().parse().unwrap()
        };
        let mut by_thread: BTreeMap<String, Duration> = BTreeMap::new();
        // Threads that have ended are missing, but none ends within a window.
        for thread in std::fs::read_dir("/proc/self/task").unwrap() {
            let folder = thread.unwrap().path();
            let Ok(schedule) = std::fs::read_to_string(folder.join("schedstat")) else {
                continue;
            };
            let name = std::fs::read_to_string(folder.join("comm")).unwrap_or_default();
            let ns = schedule.split_whitespace().next().unwrap().parse().unwrap();
            *by_thread.entry(name.trim_end().to_owned()).or_default() += Duration::from_nanos(ns);
        }
        Self {
            by_thread,
            rss_kb: value("VmRSS"),
            threads: value("Threads"),
        }
    }

    fn cpu(&self) -> Duration {
        self.by_thread.values().sum()
    }

    /// CPU of each thread since `before`, µs per sample, the busiest first.
    fn per_sample(&self, before: &Self, samples: u64) -> String {
        let since = |(name, cpu): (&String, &Duration)| {
            let spent = cpu.saturating_sub(before.by_thread.get(name).copied().unwrap_or_default());
            (spent.as_secs_f64() * 1e6 / samples as f64, name.clone())
        };
        let mut threads: Vec<(f64, String)> = self.by_thread.iter().map(since).collect();
        threads.sort_by(|a, b| b.0.total_cmp(&a.0));
        let words = threads
            .iter()
            .take(4)
            .map(|(us, name)| format!("{name} {us:.2}"));
        words.collect::<Vec<_>>().join(", ")
    }
}
