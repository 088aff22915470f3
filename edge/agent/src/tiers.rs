//! The thread that makes the tiers. It reads what is durable, as shipping does, and nothing waits for it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use efd_edge_query::Activity;
use efd_edge_tiers::{Engine, TierError, TierSettings, WorkHours};
use efd_shared_daemon::clock::ClockReader;
use efd_shared_daemon::idle::run_nice;
use efd_shared_daemon::shutdown::Stop;
use efd_shared_store::Reader;
use efd_shared_store::database::Disk;

use crate::meters::Meters;

const IDLE: Duration = Duration::from_secs(1);
/// After a failure, until the disk has had time to recover.
const RETRY: Duration = Duration::from_secs(10);
/// Of the kernel's nice levels: under load live work gets ten times as much.
const NICE: i32 = 10;

#[derive(Debug)]
pub struct TierMaker {
    /// The buffer's.
    pub folder: PathBuf,
    pub settings: Vec<TierSettings>,
    /// Of what may wait.
    pub hours: WorkHours,
    pub reader: Reader,
    pub clock: ClockReader,
    pub meters: Arc<Meters>,
    pub activity: Arc<Activity>,
    pub stop: Stop,
}

impl TierMaker {
    /// Until a stop is asked for. What fails is told and tried again; raw data are safe without it.
    pub fn run(mut self) {
        let _running = self.stop.register("tiers");
        run_nice(NICE);
        while !self.stop.is_asked() {
            let Err(error) = self.make() else {
                break;
            };
            self.meters.tiers.errors.inc();
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "The tiers do not come on; tried again"
            );
            match error.set_aside(&self.folder) {
                Ok(Some(path)) => {
                    tracing::error!(path = %path.display(), "A damaged file of a tier was set aside");
                    continue;
                }
                Ok(None) => {}
                Err(error) => tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "A damaged file of a tier cannot be set aside"
                ),
            }
            self.stop.wait_timeout(RETRY);
        }
    }

    fn make(&mut self) -> Result<(), TierError> {
        let engine = Engine::open(&self.folder, &self.settings, &Disk::default())?;
        let mut engine = engine.within(self.hours.clone());
        self.observe(&engine);
        while !self.stop.is_asked() {
            let is_more = engine.step(&mut self.reader, &self.clock.state())?;
            self.observe(&engine);
            if !is_more {
                self.stop.wait_timeout(IDLE);
            }
        }
        engine.stop(&mut self.reader, &self.clock.state())
    }

    fn observe(&self, engine: &Engine) {
        self.activity.set_building(engine.unfinished());
        self.meters.tiers.observe(engine, &self.reader);
    }
}
