//! The shell of an edge's session machine: a disk, a writer, a process that crashes.

mod connection;
mod writer;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use efd_shared_model::{ClockState, EdgeId, EpochId, EpochLane, Lane, RangeSet, Site};
use efd_shared_wire::edge::{Command, Disconnect, EdgeCounters, FillOrder};
use efd_shared_wire::frame::RefuseCode;
use efd_shared_wire::{EdgeConfig, EdgeFrame, EdgeSession, Moment, Violation};

use crate::disk::{Batch, Disk};
use crate::law::Breach;
use crate::link::LinkId;
use crate::plan::Plan;
use crate::random::Dice;
use crate::world::{Event, World};

#[derive(Debug)]
pub(crate) struct EdgeSite {
    id: EdgeId,
    site: Site,
    config: EdgeConfig,
    latency: Duration,
    rate: u64,
    pub(crate) unreachable_until: Moment,
    pub(crate) disk: Disk,
    /// Counts processes.
    life: u64,
    process: Option<Process>,
}

#[derive(Debug)]
struct Process {
    session: EdgeSession,
    writer: Writer,
    /// What the session wants persisted; goes to the disk with the next sync.
    acks: Vec<(EpochLane, RangeSet, bool)>,
    link: Option<LinkId>,
    timer_at: Option<Moment>,
}

/// Numbers what it commits; nothing of it survives the process.
#[derive(Debug, Default)]
struct Writer {
    epoch: Option<EpochId>,
    streams: u32,
    heads: BTreeMap<Lane, u64>,
    /// Committed, not yet durable.
    unsynced: VecDeque<Batch>,
    synced_at: Moment,
}

impl EdgeSite {
    pub(crate) fn new(index: usize, plan: &Plan, dice: &mut Dice) -> Self {
        let id = EdgeId(dice.id());
        let site: Site = ["summit", "tucson", "base"][index % 3]
            .parse()
            .unwrap_or_else(|error| panic!("{error}"));
        let rate = plan
            .link_rate
            .unwrap_or_else(|| dice.within(50_000..2_000_000));
        let mut config = EdgeConfig::new(id, site.clone(), "world");
        config.link_rate = dice.chance(500).then_some(rate);
        config.fill_order = if dice.chance(500) {
            FillOrder::NewestFirst
        } else {
            FillOrder::OldestFirst
        };
        config.window_bytes = if plan.may_be_cramped && dice.chance(300) {
            20_000
        } else {
            1 << 20
        };
        Self {
            id,
            site,
            config,
            latency: plan.latency.unwrap_or_else(|| dice.millis(1..300)),
            rate,
            unreachable_until: Moment(0),
            disk: Disk::default(),
            life: 0,
            process: None,
        }
    }

    pub(crate) fn id(&self) -> EdgeId {
        self.id
    }

    pub(crate) fn is_settled(&self) -> bool {
        self.process.as_ref().is_some_and(|process| {
            process.session.is_streaming()
                && process.session.vitals().unacked_blocks == 0
                && process.writer.unsynced.is_empty()
        })
    }

    pub(crate) fn describe(&self) -> String {
        match &self.process {
            None => "down".into(),
            Some(process) => format!(
                "{:?}, timeout {:?}, {} unsynced, {:?}",
                process.session.vitals(),
                process.session.poll_timeout(),
                process.writer.unsynced.len(),
                process.session.counters()
            ),
        }
    }
}

/// The process.
impl World {
    pub(crate) fn on_edge_start(&mut self, edge: usize) -> Result<(), Breach> {
        let seed = self.dice.next();
        let now = self.now;
        let site = &mut self.edges[edge];
        if site.process.is_some() {
            return Ok(());
        }
        site.life += 1;
        let life = site.life;
        let mut session = EdgeSession::new(site.config.clone(), seed, now);
        session.handle_start(site.disk.held(), now);
        site.process = Some(Process {
            session,
            writer: Writer::default(),
            acks: Vec::new(),
            link: None,
            timer_at: None,
        });
        let wait = self.dice.millis(10..500);
        self.after(wait, Event::Commit { edge, life });
        self.pump_edge(edge)
    }

    pub(crate) fn crash_edge(&mut self, edge: usize) {
        let Some(process) = self.edges[edge].process.take() else {
            return;
        };
        self.summary.edge_crashes += 1;
        self.count_session(process.session.counters());
        self.note(format_args!("edge {edge} crashes"));
        if let Some(link) = process.link {
            self.close_edge_end(link, 20_000);
        }
        let wait = self.dice.millis(100..5000);
        self.after(wait, Event::EdgeStart { edge });
    }

    fn count_session(&mut self, counters: EdgeCounters) {
        self.summary.connections += counters.connections;
        self.summary.wanted += counters.blocks_wanted;
    }

    /// Of the processes that live to the end.
    pub(crate) fn count_sessions(&mut self) {
        let processes = self.edges.iter().filter_map(|site| site.process.as_ref());
        let counters: Vec<_> = processes
            .map(|process| process.session.counters())
            .collect();
        for counters in counters {
            self.count_session(counters);
        }
    }

    /// The centre hears of it after the latency, or, where the link swallows it, much later.
    fn close_edge_end(&mut self, id: LinkId, later_ms: u64) {
        let late = self.dice.millis(0..later_ms);
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        link.edge_is_open = false;
        let wait = if link.carries_up { link.latency } else { late };
        (link.carries_up, link.carries_down) = (false, false);
        link.queue.clear();
        self.after(wait, Event::CentreHears { link: id });
        self.forget_link(id);
    }

    fn process(&mut self, edge: usize, life: u64) -> Option<&mut Process> {
        let site = &mut self.edges[edge];
        let process = site.process.as_mut();
        process.filter(|_| site.life == life)
    }

    pub(crate) fn on_edge_timer(&mut self, edge: usize, life: u64) -> Result<(), Breach> {
        let now = self.now;
        let Some(process) = self.process(edge, life) else {
            return Ok(());
        };
        if process.timer_at.is_some_and(|at| at <= now) {
            process.timer_at = None;
        }
        let is_due = |session: &EdgeSession| session.poll_timeout().filter(|(at, _)| *at <= now);
        if is_due(&process.session).is_some() {
            process.session.handle_timeout(now);
        }
        self.pump_edge(edge)?;
        // It would spin.
        match self
            .process(edge, life)
            .and_then(|process| is_due(&process.session))
        {
            None => Ok(()),
            Some((_, reason)) => Err(Breach::Invariant(format!("{reason} stands after its time"))),
        }
    }

    /// Does what the machine says, and sets its timer.
    pub(crate) fn pump_edge(&mut self, edge: usize) -> Result<(), Breach> {
        let now = self.now;
        while let Some(process) = &mut self.edges[edge].process
            && let Some(command) = process.session.poll_command(now)
        {
            self.obey_edge(edge, command)?;
        }
        let looks = self.is_time_to_look();
        let site = &mut self.edges[edge];
        let (life, Some(process)) = (site.life, &mut site.process) else {
            return Ok(());
        };
        if looks && let Some(broken) = process.session.self_check() {
            return Err(Breach::Invariant(broken));
        }
        if let Some((at, reason)) = process.session.poll_timeout()
            && process.timer_at.is_none_or(|set| at < set)
        {
            let at = at.max(now);
            process.timer_at = Some(at);
            self.note(format_args!("edge {edge} wakes at {} for {reason}", at.0));
            self.at(at, Event::EdgeTimer { edge, life });
        }
        Ok(())
    }

    fn obey_edge(&mut self, edge: usize, command: Command) -> Result<(), Breach> {
        self.note(format_args!("edge {edge}: {command:?}"));
        let site = &mut self.edges[edge];
        let (life, latency) = (site.life, site.latency);
        let Some(process) = &mut site.process else {
            return Ok(());
        };
        match command {
            Command::Connect { attempt, centre: _ } => {
                process.link = None;
                let wait = latency * 2 + self.dice.millis(1..50);
                let connected = Event::Connected {
                    edge,
                    life,
                    attempt,
                };
                self.after(wait, connected);
                Ok(())
            }
            Command::SendFrame(frame) => self.send_frame(edge, &frame),
            Command::SendHeartbeat(vitals) => {
                let frame = vitals.frame(ClockState::default(), Duration::ZERO, 0);
                self.send_frame(edge, &frame)
            }
            Command::ReadStreams {
                epoch,
                first,
                through,
            } => {
                let wait = self.dice.micros(0..2000);
                let read = Event::StreamsRead {
                    edge,
                    life,
                    epoch,
                    first,
                    through,
                };
                self.after(wait, read);
                Ok(())
            }
            Command::SendBlock {
                id,
                class,
                priority,
            } => {
                let Some(link) = process.link else {
                    return Err(Breach::Invariant(format!("{id} sent without a connection")));
                };
                let wait = self.dice.micros(0..1000);
                let read = Event::BlockRead {
                    link,
                    id,
                    class,
                    priority,
                };
                self.after(wait, read);
                Ok(())
            }
            Command::PersistAcks { lane, ranges } => {
                self.law.check_acked(lane, &ranges)?;
                process.acks.push((lane, ranges, true));
                Ok(())
            }
            Command::PersistUnacks { lane, ranges } => {
                process.acks.push((lane, ranges, false));
                Ok(())
            }
            Command::Disconnect { reason } => {
                if let Some(link) = process.link.take() {
                    self.close_edge_end(link, 20_000);
                }
                match reason {
                    Disconnect::Violation(Violation::Silent { .. })
                    | Disconnect::ConnectTimeout(_)
                    | Disconnect::WelcomeTimeout(_)
                    | Disconnect::Stopped => Ok(()),
                    // The centre lost patience with a connection that was half open.
                    Disconnect::Refused(refuse) if refuse.code == RefuseCode::Unavailable => Ok(()),
                    Disconnect::Refused(_) | Disconnect::Violation(_) => {
                        Err(Breach::Accusation(format!("edge {edge}: {reason}")))
                    }
                }
            }
        }
    }

    fn send_frame(&mut self, edge: usize, frame: &EdgeFrame) -> Result<(), Breach> {
        let Some(process) = &self.edges[edge].process else {
            return Ok(());
        };
        let bytes = frame.encode(process.session.version());
        let bytes = bytes.map_err(|error| Breach::Accusation(error.to_string()))?;
        if let Some(link) = process.link {
            self.send_up(link, bytes);
        }
        Ok(())
    }
}
