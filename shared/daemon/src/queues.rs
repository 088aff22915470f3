//! How full each bounded queue is: as a metric, in `/status`, and in the log when 10, 50 or 90 % is passed.
//!
//! In:  for each queue a [`Fill`], asked for once a second. Out: `queue_ratio`, `queue_limit` and `queue_overflows` by
//! queue; a line when a [`Mark`] is passed, and one when it falls back.
//!
//! Anything with a limit that must not be reached is a queue here: memory, a disk, bytes that wait for a link.

mod fill;

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use serde_json::{Value as Json, json};

pub use fill::{Fill, Mark, Passed, Watch};

use crate::shutdown::Stop;

const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Queues {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    ratio: Family<QueueLabel, Gauge<f64, AtomicU64>>,
    limit: Family<QueueLabel, Gauge<u64, AtomicU64>>,
    overflows: Family<QueueLabel, Gauge<u64, AtomicU64>>,
    queues: Mutex<BTreeMap<&'static str, Queue>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct QueueLabel {
    queue: &'static str,
}

struct Queue {
    probe: Box<dyn Fn() -> Option<Fill> + Send>,
    fill: Option<Fill>,
    watch: Watch,
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queue")
            .field("fill", &self.fill)
            .field("watch", &self.watch)
            .finish_non_exhaustive()
    }
}

impl Queues {
    /// `registry`: with the daemon's prefix.
    pub fn register(registry: &mut Registry) -> Self {
        let queues = Self::default();
        registry.register(
            "queue_ratio",
            "How full a queue is, of its limit, by queue",
            queues.inner.ratio.clone(),
        );
        registry.register(
            "queue_limit",
            "The limit of a queue, in bytes or pieces, by queue",
            queues.inner.limit.clone(),
        );
        registry.register(
            "queue_overflows",
            "What a full queue did not take since the start, by queue; absent where whoever fills it waits",
            queues.inner.overflows.clone(),
        );
        queues
    }

    /// `probe` gives `None` while there is no such queue. It is asked by a thread that may wait.
    pub fn add(&self, name: &'static str, probe: impl Fn() -> Option<Fill> + Send + 'static) {
        let queue = Queue {
            probe: Box::new(probe),
            fill: None,
            watch: Watch::default(),
        };
        self.queues().insert(name, queue);
    }

    /// Asks every queue, and says what was passed.
    pub fn look(&self) {
        for (&name, queue) in &mut *self.queues() {
            queue.fill = (queue.probe)();
            let Some(fill) = queue.fill else {
                continue;
            };
            let label = QueueLabel { queue: name };
            self.inner.ratio.get_or_create(&label).set(fill.ratio());
            self.inner.limit.get_or_create(&label).set(fill.limit);
            if let Some(overflows) = fill.overflows {
                self.inner.overflows.get_or_create(&label).set(overflows);
            }
            if let Some(passed) = queue.watch.look(fill) {
                log(name, fill, passed);
            }
        }
    }

    /// Looks once a second, on a thread of its own, until a stop is asked for.
    ///
    /// # Errors
    /// When the thread cannot be made.
    pub fn watch(&self, stop: Stop) -> std::io::Result<()> {
        let queues = self.clone();
        let thread = std::thread::Builder::new().name("queues".into());
        thread.spawn(move || {
            queues.look();
            while !stop.wait_timeout(LOOK_EVERY) {
                queues.look();
            }
        })?;
        Ok(())
    }

    /// The section `queues` of `/status`.
    pub fn status(&self) -> Json {
        let queues = self.queues();
        let known = queues.iter().filter_map(|(name, queue)| {
            let fill = queue.fill?;
            let json = json!({
                "used": fill.used, "limit": fill.limit, "ratio": fill.ratio(), "overflows": fill.overflows,
            });
            Some(((*name).to_owned(), json))
        });
        known.collect::<serde_json::Map<_, _>>().into()
    }

    fn queues(&self) -> MutexGuard<'_, BTreeMap<&'static str, Queue>> {
        self.inner
            .queues
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// The fullest of the section `queues` of a `/status`, in words; disks, which are never empty, apart.
pub fn fullest(queues: &Json) -> Option<String> {
    let ratio = |queue: &Json| queue["ratio"].as_f64().unwrap_or(0.0);
    let queues = || queues.as_object().into_iter().flatten();
    let is_disk = |name: &str| name.ends_with("disk_bytes");
    let others = queues().filter(|(name, _)| !is_disk(name));
    let (name, queue) = others.max_by(|a, b| ratio(a.1).total_cmp(&ratio(b.1)))?;
    let words = |name: &str, queue: &Json| {
        format!("{} {:.0} %", name.replace('_', " "), ratio(queue) * 100.0)
    };
    let mut text = format!("the fullest is {}", words(name, queue));
    for (name, queue) in queues().filter(|(name, _)| is_disk(name)) {
        text += &format!(", {}", words(name, queue));
    }
    Some(text)
}

/// What of the section `queues` of a `/status` needs a look.
pub fn complaints(queues: &Json) -> Vec<String> {
    let queues = queues.as_object().into_iter().flatten();
    let full = queues.filter_map(|(name, queue)| {
        let ratio = queue["ratio"].as_f64()?;
        (Mark::NineTenths.ratio() <= ratio).then(|| {
            format!(
                "{} is {:.0} % full: {} of {}",
                name.replace('_', " "),
                ratio * 100.0,
                queue["used"],
                queue["limit"]
            )
        })
    });
    full.collect()
}

fn log(queue: &'static str, fill: Fill, passed: Passed) {
    let Fill { used, limit, .. } = fill;
    match passed {
        Passed::Up(Mark::Tenth) => {
            tracing::info!(queue, used, limit, "A queue is more than 10 % full");
        }
        Passed::Up(Mark::Half) => {
            tracing::warn!(queue, used, limit, "A queue is more than 50 % full");
        }
        Passed::Up(Mark::NineTenths) => {
            tracing::error!(queue, used, limit, "A queue is more than 90 % full");
        }
        Passed::Down(mark) => tracing::info!(
            queue,
            used,
            limit,
            "A queue is less than {:.0} % full again",
            mark.ratio() * 100.0
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;

    #[test]
    fn what_is_full_is_told_and_counted() {
        let mut registry = Registry::default();
        let queues = Queues::register(registry.sub_registry_with_prefix("efd_test"));
        let used = Arc::new(AtomicU64::new(50));
        let seen = Arc::clone(&used);
        queues.add("ring_bytes", move || {
            let fill = Fill::new(seen.load(Ordering::Relaxed), 100);
            Some(fill.with_overflows(3))
        });
        queues.add("absent", || None);
        queues.look();
        assert_eq!(complaints(&queues.status()), Vec::<String>::new());
        used.store(95, Ordering::Relaxed);
        queues.look();
        let status = queues.status();
        assert_eq!(complaints(&status), ["ring bytes is 95 % full: 95 of 100"]);
        assert_eq!(status.as_object().unwrap().len(), 1);
        queues.add("disk_bytes", || Some(Fill::new(1, 2)));
        queues.look();
        assert_eq!(
            fullest(&queues.status()).unwrap(),
            "the fullest is ring bytes 95 %, disk bytes 50 %"
        );
        assert_eq!(fullest(&Json::Null), None);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for line in [
            "efd_test_queue_ratio{queue=\"ring_bytes\"} 0.95",
            "efd_test_queue_limit{queue=\"ring_bytes\"} 100",
            "efd_test_queue_overflows{queue=\"ring_bytes\"} 3",
        ] {
            assert!(text.contains(line), "{text}");
        }
    }
}
