//! Many seeds, or one again.

use crate::plan::Plan;
use crate::world::{Failure, Summary, World};

/// What all the worlds came to, together.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    pub worlds: u64,
    pub events: u64,
    pub connections: u64,
    pub edge_crashes: u64,
    pub centre_crashes: u64,
    pub delivered: usize,
    pub lost: usize,
    pub repeats: usize,
    pub wanted: u64,
}

/// Seeds that `EFD_SEEDS=N` asks for, else `default`; the one of `SIM_SEED=0x…` alone where that is set.
pub fn seeds(default: u64) -> Vec<u64> {
    if let Some(seed) = replayed() {
        return vec![seed];
    }
    let asked = std::env::var("EFD_SEEDS").ok();
    let count = asked.and_then(|text| text.parse().ok()).unwrap_or(default);
    (1..=count).collect()
}

fn replayed() -> Option<u64> {
    let text = std::env::var("SIM_SEED").ok()?;
    let digits = text.strip_prefix("0x").unwrap_or(&text);
    u64::from_str_radix(digits, 16).ok()
}

/// One world. A replayed seed is traced.
pub fn world(plan: Plan, seed: u64) -> Result<Summary, Failure> {
    let crashed = Crashed(seed);
    let outcome = World::new(plan, seed, replayed().is_some()).run();
    std::mem::forget(crashed);
    outcome
}

/// Every seed, on every core; the failure of the first seed that fails.
pub fn worlds(plan: &Plan, seeds: &[u64]) -> Result<Totals, Failure> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let share = seeds.len().div_ceil(cores).max(1);
    let run_share = |seeds: &[u64]| {
        let mut totals = Totals::default();
        for &seed in seeds {
            totals.add(&world(plan.clone(), seed)?);
        }
        Ok(totals)
    };
    let outcomes: Vec<_> = std::thread::scope(|scope| {
        let shares = seeds.chunks(share);
        let running: Vec<_> = shares
            .map(|seeds| scope.spawn(move || run_share(seeds)))
            .collect();
        let joined = running.into_iter().map(|thread| thread.join());
        joined
            .map(|outcome| outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    });
    let mut totals = Totals::default();
    for outcome in outcomes {
        totals.join(outcome?);
    }
    Ok(totals)
}

impl Totals {
    fn add(&mut self, summary: &Summary) {
        let Summary {
            events,
            connections,
            edge_crashes,
            centre_crashes,
            delivered,
            lost,
            repeats,
            wanted,
            delays: _,
        } = *summary;
        self.join(Self {
            worlds: 1,
            events,
            connections,
            edge_crashes,
            centre_crashes,
            delivered,
            lost,
            repeats,
            wanted,
        });
    }

    fn join(&mut self, other: Self) {
        let Self {
            worlds,
            events,
            connections,
            edge_crashes,
            centre_crashes,
            delivered,
            lost,
            repeats,
            wanted,
        } = other;
        self.worlds += worlds;
        self.events += events;
        self.connections += connections;
        self.edge_crashes += edge_crashes;
        self.centre_crashes += centre_crashes;
        self.delivered += delivered;
        self.lost += lost;
        self.repeats += repeats;
        self.wanted += wanted;
    }
}

/// Names the seed where a machine panics.
struct Crashed(u64);

impl Drop for Crashed {
    #[expect(clippy::print_stderr, reason = "a panic must name its seed")]
    fn drop(&mut self) {
        eprintln!("panicked in SIM_SEED={:#x}", self.0);
    }
}
