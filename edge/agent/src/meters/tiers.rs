//! What the making of tiers counts.

use std::sync::atomic::{AtomicI64, AtomicU64};
use std::sync::{Mutex, MutexGuard, PoisonError};

use efd_edge_tiers::{Building, Engine};
use efd_shared_daemon::clock::utc_now;
use efd_shared_store::Reader;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use serde_json::{Value as Json, json};

use super::Count;

#[derive(Debug, Default)]
pub struct TierMeters {
    pub errors: Counter,
    samples: Count,
    windows: Count,
    late: Count,
    corrected: Count,
    merged: Count,
    early: Count,
    unfit: Count,
    given_up: Count,
    too_old: Count,
    kept: Count,
    waiting: Count,
    built: Family<BuildLabel, Gauge<f64, AtomicU64>>,
    bytes: Family<TierLabel, Count>,
    begin: Family<TierLabel, Gauge<i64, AtomicI64>>,
    told: Mutex<Told>,
}

/// As `/status` has it.
#[derive(Debug, Default)]
struct Told {
    tiers: Vec<Json>,
    building: Vec<Json>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TierLabel {
    resolution: String,
}

/// Out of what a tier is built: `blocks`, or a finer tier. `first` are all that are the finest of some topic.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BuildLabel {
    resolution: String,
    from: String,
}

impl TierMeters {
    pub(super) fn register(&self, registry: &mut Registry) {
        let mut gauge =
            |name: &str, help: &str, metric: &Count| registry.register(name, help, metric.clone());
        gauge(
            "tier_samples",
            "Samples that windows of the finest tier took",
            &self.samples,
        );
        gauge(
            "tier_windows",
            "Windows committed, of all series and tiers",
            &self.windows,
        );
        gauge(
            "tier_samples_late",
            "Samples for windows that were closed",
            &self.late,
        );
        gauge(
            "tier_windows_corrected",
            "Windows computed anew for late samples",
            &self.corrected,
        );
        gauge(
            "tier_windows_merged",
            "Corrected windows that lost their quartiles, as the raw data are gone",
            &self.merged,
        );
        gauge(
            "tier_windows_early",
            "Windows closed before their time, for want of memory",
            &self.early,
        );
        gauge(
            "tier_records_unfit",
            "Records without statistics: not of their schema, or of too many shapes",
            &self.unfit,
        );
        gauge(
            "tier_late_given_up",
            "Late samples that no window took, as too many waited or the raw data are gone",
            &self.given_up,
        );
        gauge(
            "tier_samples_too_old",
            "Samples for windows that have left their tier",
            &self.too_old,
        );
        gauge(
            "tier_windows_kept",
            "Merged windows that stayed, as the finer ones have lost samples since",
            &self.kept,
        );
        gauge(
            "tier_windows_waiting",
            "Windows that wait to be computed anew for late samples",
            &self.waiting,
        );
        registry.register(
            "tier_errors",
            "Times that the making of tiers failed and was tried again",
            self.errors.clone(),
        );
        registry.register(
            "tier_built_ratio",
            "How much is built of a tier that came later than the data; absent when all is",
            self.built.clone(),
        );
        registry.register("tier_bytes", "Bytes of a tier's files", self.bytes.clone());
        registry.register(
            "tier_begin_seconds",
            "Begin of the oldest file of a tier, Unix time",
            self.begin.clone(),
        );
    }

    #[cfg(test)]
    pub(super) fn fill(&self) {
        let (resolution, from) = ("10s".to_owned(), "blocks".to_owned());
        let label = TierLabel {
            resolution: resolution.clone(),
        };
        self.bytes.get_or_create(&label).set(1);
        self.begin.get_or_create(&label).set(1);
        let label = BuildLabel { resolution, from };
        self.built.get_or_create(&label).set(0.5);
    }

    pub(crate) fn observe(&self, engine: &Engine, reader: &Reader) {
        let counters = engine.counters();
        self.samples.set(counters.samples);
        self.windows.set(counters.windows);
        self.late.set(counters.late);
        self.corrected.set(counters.corrected);
        self.merged.set(counters.merged);
        self.early.set(counters.early);
        self.unfit.set(counters.unfit);
        self.given_up.set(counters.given_up);
        self.too_old.set(counters.too_old);
        self.kept.set(counters.kept);
        self.waiting.set(engine.late() as u64);
        self.built.clear();
        let mut building = Vec::new();
        for one in engine.building(reader) {
            let (label, done) = match one {
                Building::Blocks { done } => (("first".to_owned(), "blocks".to_owned()), done),
                Building::Merge { tier, from, done } => {
                    ((tier.to_string(), from.to_string()), done)
                }
            };
            let label = BuildLabel {
                resolution: label.0,
                from: label.1,
            };
            building.push(json!({
                "resolution": label.resolution, "from": label.from, "percent": (done * 100.0).floor(),
            }));
            self.built.get_or_create(&label).set(done);
        }
        let mut all = Vec::new();
        for (settings, holding) in engine.holding() {
            let resolution = settings.resolution.to_string();
            let label = TierLabel {
                resolution: resolution.clone(),
            };
            self.bytes.get_or_create(&label).set(holding.bytes);
            if let Some(begin) = holding.begin {
                let seconds = begin.0.div_euclid(1_000_000_000);
                self.begin.get_or_create(&label).set(seconds);
            }
            all.push(json!({
                "resolution": resolution, "bytes": holding.bytes, "bytes_max": settings.bytes_max,
                "files": holding.files, "from": holding.begin.map(|begin| begin.to_string()),
                "retain_seconds": settings.age_max.as_secs(),
                "days_that_fit": holding.begin.and_then(|begin| days_that_fit(holding.bytes, settings.bytes_max, utc_now().since(begin))),
            }));
        }
        *self.told() = Told {
            tiers: all,
            building,
        };
    }

    /// What there is, and what was done for it.
    pub(super) fn status(&self) -> (Json, Json) {
        let told = self.told();
        let work = json!({
            "samples": self.samples.get(), "windows": self.windows.get(), "late": self.late.get(),
            "corrected": self.corrected.get(), "errors": self.errors.get(),
            "waiting": self.waiting.get(), "building": told.building,
        });
        (told.tiers.clone().into(), work)
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// At the rate at which the tier grew since it has something; `None` before an hour of it.
fn days_that_fit(bytes: u64, bytes_max: u64, span_ns: i64) -> Option<f64> {
    const HOUR_NS: i64 = 3_600_000_000_000;
    let days = span_ns as f64 / (24 * HOUR_NS) as f64;
    (HOUR_NS <= span_ns && bytes > 0).then(|| bytes_max as f64 / bytes as f64 * days)
}
