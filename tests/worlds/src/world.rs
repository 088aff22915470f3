use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use efd_shared_model::{BlockId, EpochId, EpochLane, LaneKind, StreamNumber};
use efd_shared_wire::edge::Attempt;
use efd_shared_wire::{Class, Moment};

use crate::centre::CentreSite;
use crate::edge::EdgeSite;
use crate::law::{Breach, Law};
use crate::link::{Link, LinkId};
use crate::plan::{Plan, Sabotage};
use crate::random::Dice;

/// Everything that is going to happen. What belongs to a process or a connection that is gone is dropped when its time comes.
#[derive(Debug)]
pub(crate) enum Event {
    Commit {
        edge: usize,
        life: u64,
    },
    EdgeSynced {
        edge: usize,
        life: u64,
    },
    EdgeTimer {
        edge: usize,
        life: u64,
    },
    EdgeStart {
        edge: usize,
    },
    Connected {
        edge: usize,
        life: u64,
        attempt: Attempt,
    },
    StreamsRead {
        edge: usize,
        life: u64,
        epoch: EpochId,
        first: StreamNumber,
        through: StreamNumber,
    },
    BlockRead {
        link: LinkId,
        id: BlockId,
        class: Class,
        priority: i32,
    },
    BlockLeft {
        link: LinkId,
        bytes: Bytes,
    },
    BlockArrives {
        link: LinkId,
        bytes: Bytes,
    },
    ToCentre {
        link: LinkId,
        bytes: Bytes,
    },
    ToEdge {
        link: LinkId,
        bytes: Bytes,
    },
    EdgeHears {
        link: LinkId,
    },
    CentreHears {
        link: LinkId,
    },
    CentreTimer {
        link: LinkId,
    },
    CentreStart,
    LookedUp {
        link: LinkId,
        epochs: Vec<EpochId>,
        lanes: Vec<EpochLane>,
    },
    LogSynced {
        life: u64,
    },
    LogResumes,
    FaultStep,
    Heal,
    SettleCheck,
}

/// How a world ended badly.
#[derive(Clone, Debug)]
pub struct Failure {
    pub seed: u64,
    pub at: Moment,
    pub breach: Breach,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, at, breach } = self;
        let seconds = at.0 as f64 / 1e9;
        write!(f, "SIM_SEED={seed:#x} after {seconds:.6} s: {breach:?}")
    }
}

/// How a world ended well.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    pub events: u64,
    pub connections: u64,
    pub edge_crashes: u64,
    pub centre_crashes: u64,
    /// Blocks at the centre, once each.
    pub delivered: usize,
    /// Blocks named as lost.
    pub lost: usize,
    /// Blocks that the log had more than once.
    pub repeats: usize,
    /// Blocks that the edges were asked for again.
    pub wanted: u64,
    /// From commit to durable at the centre, of what was committed in the course of the world.
    pub delays: Vec<Delay>,
}

#[derive(Clone, Copy, Debug)]
pub struct Delay {
    pub kind: LaneKind,
    pub class: Class,
    pub delay: Duration,
}

#[derive(Debug)]
pub struct World {
    pub(crate) plan: Plan,
    seed: u64,
    pub(crate) now: Moment,
    queue: BTreeMap<(Moment, u64), Event>,
    queued: u64,
    pub(crate) dice: Dice,
    pub(crate) edges: Vec<EdgeSite>,
    pub(crate) centre: CentreSite,
    pub(crate) links: BTreeMap<LinkId, Link>,
    pub(crate) law: Law,
    /// Nobody commits any more, nothing goes wrong any more.
    pub(crate) is_calm: bool,
    pub(crate) summary: Summary,
    trace: bool,
}

/// How many events pass between two looks into the machines, which take time; what is wrong there stays wrong.
const LOOK_EVERY: u64 = 16;
/// About the time between two steps at which something may go wrong.
const FAULT_EVERY: Duration = Duration::from_millis(333);
const SETTLE_EVERY: Duration = Duration::from_millis(500);

impl World {
    /// With `trace`, every event goes to standard error.
    pub fn new(plan: Plan, seed: u64, trace: bool) -> Self {
        let mut dice = Dice::new(seed);
        let count = plan.edges.unwrap_or_else(|| 1 + dice.index(3));
        let mut world = Self {
            edges: Vec::new(),
            centre: CentreSite::new(&plan, &mut dice),
            plan,
            seed,
            now: Moment(0),
            queue: BTreeMap::new(),
            queued: 0,
            dice,
            links: BTreeMap::new(),
            law: Law::default(),
            is_calm: false,
            summary: Summary::default(),
            trace,
        };
        for edge in 0..count {
            let site = EdgeSite::new(edge, &world.plan, &mut world.dice);
            world.edges.push(site);
            world.lay_backlog(edge);
            world.after(Duration::ZERO, Event::EdgeStart { edge });
        }
        world.after(FAULT_EVERY, Event::FaultStep);
        world.after(world.plan.lasts, Event::Heal);
        world
    }

    /// To the end, or to the first breach of the law.
    pub fn run(mut self) -> Result<Summary, Failure> {
        let deadline = Moment(0) + self.plan.lasts + self.plan.settles_within;
        while let Some(((at, _), event)) = self.queue.pop_first() {
            self.now = at;
            self.summary.events += 1;
            if self.trace {
                self.note(format_args!("{event:?}"));
            }
            let is_check = matches!(event, Event::SettleCheck);
            self.on_event(event).map_err(|breach| self.failed(breach))?;
            if is_check && self.is_settled() {
                return self.settle();
            }
            if deadline < at {
                let stuck = Breach::Stuck(self.unsettled());
                return Err(self.failed(stuck));
            }
        }
        let stuck = Breach::Stuck("nothing is left to happen".into());
        Err(self.failed(stuck))
    }

    fn failed(&self, breach: Breach) -> Failure {
        Failure {
            seed: self.seed,
            at: self.now,
            breach,
        }
    }

    fn settle(mut self) -> Result<Summary, Failure> {
        let dedup = self.plan.sabotage != Some(Sabotage::NoDedup);
        let reckoning = self.law.check_end(&self.centre.log.durable, dedup);
        let reckoning = reckoning.map_err(|breach| self.failed(breach))?;
        self.count_sessions();
        self.summary.delivered = reckoning.delivered;
        self.summary.lost = reckoning.lost;
        self.summary.repeats = reckoning.repeats;
        let delays = self.law.delays.iter().map(|(id, class, delay)| Delay {
            kind: id.lane.lane.kind,
            class: *class,
            delay: *delay,
        });
        self.summary.delays = delays.collect();
        Ok(self.summary)
    }

    pub(crate) fn after(&mut self, wait: Duration, event: Event) {
        self.at(self.now + wait, event);
    }

    pub(crate) fn at(&mut self, at: Moment, event: Event) {
        self.queued += 1;
        self.queue.insert((at, self.queued), event);
    }

    #[expect(clippy::print_stderr, reason = "the trace of one replayed seed")]
    pub(crate) fn note(&self, what: fmt::Arguments<'_>) {
        if self.trace {
            let text = what.to_string();
            let text = text.get(..300).unwrap_or(&text);
            eprintln!("{:>14.6} {text}", self.now.0 as f64 / 1e9);
        }
    }

    fn on_event(&mut self, event: Event) -> Result<(), Breach> {
        match event {
            Event::Commit { edge, life } => self.on_commit(edge, life),
            Event::EdgeSynced { edge, life } => self.on_edge_synced(edge, life),
            Event::EdgeTimer { edge, life } => self.on_edge_timer(edge, life),
            Event::EdgeStart { edge } => self.on_edge_start(edge),
            Event::Connected {
                edge,
                life,
                attempt,
            } => self.on_connected(edge, life, attempt),
            Event::StreamsRead {
                edge,
                life,
                epoch,
                first,
                through,
            } => self.on_streams_read(edge, life, epoch, first..=through),
            Event::BlockRead {
                link,
                id,
                class,
                priority,
            } => self.on_block_read(link, id, class, priority),
            Event::BlockLeft { link, bytes } => {
                self.on_block_left(link, bytes);
                Ok(())
            }
            Event::BlockArrives { link, bytes } => self.on_block_arrives(link, bytes),
            Event::ToCentre { link, bytes } => self.on_to_centre(link, &bytes),
            Event::ToEdge { link, bytes } => self.on_to_edge(link, &bytes),
            Event::EdgeHears { link } => self.on_edge_hears(link),
            Event::CentreHears { link } => {
                self.on_centre_hears(link);
                Ok(())
            }
            Event::CentreTimer { link } => self.on_centre_timer(link),
            Event::CentreStart => {
                self.centre.is_up = true;
                Ok(())
            }
            Event::LookedUp {
                link,
                epochs,
                lanes,
            } => self.on_looked_up(link, &epochs, &lanes),
            Event::LogSynced { life } => self.on_log_synced(life),
            Event::LogResumes => self.on_log_resumes(),
            Event::FaultStep => self.on_fault_step(),
            Event::Heal => {
                self.is_calm = true;
                for edge in &mut self.edges {
                    edge.unreachable_until = self.now;
                }
                self.after(SETTLE_EVERY, Event::SettleCheck);
                self.on_log_resumes()
            }
            Event::SettleCheck => {
                self.after(SETTLE_EVERY, Event::SettleCheck);
                Ok(())
            }
        }
    }

    pub(crate) fn is_time_to_look(&self) -> bool {
        self.summary.events.is_multiple_of(LOOK_EVERY)
    }

    fn is_settled(&self) -> bool {
        let edges = self.edges.iter().all(EdgeSite::is_settled);
        edges && self.centre.is_up && self.centre.log.pending.is_empty()
    }

    fn unsettled(&self) -> String {
        let edges: Vec<_> = self.edges.iter().map(EdgeSite::describe).collect();
        format!(
            "{edges:?}, {} in the log's queue",
            self.centre.log.pending.len()
        )
    }

    fn on_fault_step(&mut self) -> Result<(), Breach> {
        if self.is_calm {
            return Ok(());
        }
        let wait = FAULT_EVERY / 2 + self.dice.micros(0..FAULT_EVERY.as_micros() as u64);
        self.after(wait, Event::FaultStep);
        let faults = self.plan.faults.clone();
        let edge = self.dice.index(self.edges.len());
        if self.dice.chance(faults.cut) {
            self.cut(edge);
        }
        if self.dice.chance(faults.half_open) {
            self.half_open(edge);
        }
        if self.dice.chance(faults.outage) {
            let until = self.now + self.dice.millis(500..15_000);
            self.edges[edge].unreachable_until = until;
            self.cut(edge);
        }
        if self.dice.chance(faults.edge_crash) {
            self.crash_edge(edge);
        }
        if self.dice.chance(faults.centre_crash) {
            self.crash_centre();
        }
        if self.dice.chance(faults.log_disk_loss) {
            self.crash_centre();
            self.lose_log_disk();
        }
        if self.dice.chance(faults.retention) {
            self.retain(edge)?;
        }
        if self.dice.chance(faults.log_loss) {
            self.lose_from_log(edge)?;
        }
        if self.dice.chance(faults.log_stall) {
            self.stall_log()?;
        }
        Ok(())
    }

    /// Both ends are told, each in its time.
    fn cut(&mut self, edge: usize) {
        let links = self.links.iter_mut().filter(|(_, link)| link.edge == edge);
        let mut told = Vec::new();
        for (&id, link) in links {
            link.carries_up = false;
            link.carries_down = false;
            told.push(id);
        }
        for link in told {
            let (edge_wait, centre_wait) = (self.dice.millis(0..3000), self.dice.millis(0..3000));
            self.after(edge_wait, Event::EdgeHears { link });
            self.after(centre_wait, Event::CentreHears { link });
        }
    }

    /// Nobody is told before the transport's own timeout, which is longer than the machines' patience.
    fn half_open(&mut self, edge: usize) {
        let (up, down) = (self.dice.chance(700), self.dice.chance(700));
        let links = self.links.iter_mut().filter(|(_, link)| link.edge == edge);
        let mut told = Vec::new();
        for (&id, link) in links {
            link.carries_up &= !up;
            link.carries_down &= !down;
            told.push(id);
        }
        if up || down {
            for link in told {
                self.after(Duration::from_secs(60), Event::EdgeHears { link });
                self.after(Duration::from_secs(60), Event::CentreHears { link });
            }
        }
    }

    /// On the control stream towards the centre.
    pub(crate) fn send_up(&mut self, id: LinkId, bytes: Vec<u8>) {
        let jitter = self.dice.micros(0..20_000);
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        link.up_at = link.up_at.max(self.now + link.latency + jitter);
        let at = link.up_at;
        let bytes = bytes.into();
        self.at(at, Event::ToCentre { link: id, bytes });
    }

    pub(crate) fn send_down(&mut self, id: LinkId, bytes: Vec<u8>) {
        let jitter = self.dice.micros(0..20_000);
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        link.down_at = link.down_at.max(self.now + link.latency + jitter);
        let at = link.down_at;
        let bytes = bytes.into();
        self.at(at, Event::ToEdge { link: id, bytes });
    }

    /// The transport takes the block; it leaves when the link is free and nothing of higher priority waits.
    pub(crate) fn send_block(&mut self, id: LinkId, priority: i32, bytes: Bytes) {
        if let Some(link) = self.links.get_mut(&id) {
            link.queued += 1;
            link.queue.insert((Reverse(priority), link.queued), bytes);
            self.transmit(id);
        }
    }

    fn transmit(&mut self, id: LinkId) {
        let Some(link) = self.links.get_mut(&id).filter(|link| !link.is_busy) else {
            return;
        };
        if let Some((_, bytes)) = link.queue.pop_first() {
            link.is_busy = true;
            let nanos = bytes.len() as u64 * 1_000_000_000 / link.rate;
            let wait = Duration::from_nanos(nanos);
            self.after(wait, Event::BlockLeft { link: id, bytes });
        }
    }

    /// A loss on the way is a delay: streams are reliable, and overtake each other.
    fn on_block_left(&mut self, id: LinkId, bytes: Bytes) {
        let resent = self.dice.chance(50);
        let jitter = self.dice.millis(if resent { 100..1500 } else { 0..30 });
        let doubled = self.dice.chance(self.plan.faults.doubled);
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        link.is_busy = false;
        let wait = link.latency + jitter;
        if doubled {
            let bytes = bytes.clone();
            let again = wait + self.dice.millis(0..500);
            self.after(again, Event::BlockArrives { link: id, bytes });
        }
        self.after(wait, Event::BlockArrives { link: id, bytes });
        self.transmit(id);
    }

    /// Neither end knows of it any more.
    pub(crate) fn forget_link(&mut self, id: LinkId) {
        let gone = |link: &Link| !link.edge_is_open && !link.centre_is_open;
        if self.links.get(&id).is_some_and(gone) {
            self.links.remove(&id);
        }
    }
}
