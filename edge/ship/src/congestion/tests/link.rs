//! A link of one bottleneck in virtual time, and senders that share it, as quinn and as TCP send.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::Duration;

use super::super::control::Control;

pub(super) const MTU: u16 = 1372;
const ACK_DELAY: Duration = Duration::from_millis(25);

#[derive(Clone, Debug)]
pub(super) struct Shape {
    /// Bytes a second.
    pub(super) rate: u64,
    pub(super) one_way: Duration,
    pub(super) queue: Duration,
    /// In thousandths, each way.
    pub(super) loss: u64,
    pub(super) cut: bool,
}

impl Shape {
    pub(super) fn new(megabits: u64, rtt_ms: u64, loss_percent: u64) -> Self {
        Self {
            rate: megabits * 125_000,
            one_way: Duration::from_millis(rtt_ms) / 2,
            queue: Duration::from_millis(300),
            loss: loss_percent * 10,
            cut: false,
        }
    }
}

/// Who decides how much is on its way.
#[derive(Debug)]
pub(super) enum Governor {
    Ours(Box<Control>),
    /// One packet more each round trip, half when something is lost.
    Aimd {
        window: u64,
        grown: u64,
        slow_start: bool,
        halved_at: Duration,
    },
}

impl Governor {
    pub(super) fn ours(cap_megabits: Option<u64>) -> Self {
        Self::Ours(Box::new(Control::new(
            cap_megabits.map(|cap| cap * 125_000),
            MTU,
        )))
    }

    pub(super) fn aimd() -> Self {
        Self::Aimd {
            window: 10 * u64::from(MTU),
            grown: 0,
            slow_start: true,
            halved_at: Duration::ZERO,
        }
    }

    fn window(&self) -> u64 {
        match self {
            Self::Ours(control) => control.window(),
            Self::Aimd { window, .. } => *window,
        }
    }
}

#[derive(Debug)]
pub(super) struct Flow {
    governor: Governor,
    begins: Duration,
    /// Bytes a second that there are to send; `None`: always more.
    pub(super) has: Option<u64>,
    next: u64,
    sent: BTreeMap<u64, Duration>,
    in_flight: u64,
    largest_acked: Option<u64>,
    srtt: Duration,
    tokens: f64,
    filled_at: Duration,
    timer_at: Option<Duration>,
    is_paced: bool,
    backoff: u32,
    probes: u32,
    /// At the far end: in the order of arrival, how many of them were told.
    received: Vec<u64>,
    untold: usize,
    read: usize,
    pub(super) delivered: u64,
    pub(super) sent_bytes: u64,
    pub(super) lost: u64,
}

impl Flow {
    pub(super) fn window(&self) -> u64 {
        self.governor.window()
    }
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Arrive {
        flow: usize,
        packet: u64,
    },
    AckDue {
        flow: usize,
    },
    /// The first so many of what was received.
    Ack {
        flow: usize,
        through: usize,
    },
    Wake {
        flow: usize,
    },
    Paced {
        flow: usize,
    },
}

#[derive(Debug)]
pub(super) struct World {
    now: Duration,
    pub(super) shape: Shape,
    pub(super) flows: Vec<Flow>,
    events: BinaryHeap<Reverse<(Duration, u64, Event)>>,
    count: u64,
    free_at: Duration,
    random: u64,
    /// Of every packet that was queued, since it was last asked for.
    waits: Vec<Duration>,
}

impl World {
    pub(super) fn new(shape: Shape, flows: Vec<(Governor, Duration)>) -> Self {
        let flows = flows.into_iter().map(|(governor, begins)| Flow {
            governor,
            begins,
            has: None,
            next: 0,
            sent: BTreeMap::new(),
            in_flight: 0,
            largest_acked: None,
            srtt: Duration::from_millis(333),
            tokens: 0.0,
            filled_at: begins,
            timer_at: None,
            is_paced: false,
            backoff: 0,
            probes: 0,
            received: Vec::new(),
            untold: 0,
            read: 0,
            delivered: 0,
            sent_bytes: 0,
            lost: 0,
        });
        let mut world = Self {
            now: Duration::ZERO,
            shape,
            flows: flows.collect(),
            events: BinaryHeap::new(),
            count: 0,
            free_at: Duration::ZERO,
            random: 0x9e37_79b9_7f4a_7c15,
            waits: Vec::new(),
        };
        for flow in 0..world.flows.len() {
            world.at(world.flows[flow].begins, Event::Wake { flow });
        }
        world
    }

    fn at(&mut self, time: Duration, event: Event) {
        self.count += 1;
        self.events.push(Reverse((time, self.count, event)));
    }

    fn is_lost(&mut self) -> bool {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.shape.cut || (self.random >> 11) % 1000 < self.shape.loss
    }

    pub(super) fn run(&mut self, seconds: u64) {
        let end = self.now + Duration::from_secs(seconds);
        while let Some(Reverse((time, ..))) = self.events.peek() {
            if *time > end {
                break;
            }
            let Some(Reverse((time, _, event))) = self.events.pop() else {
                break;
            };
            self.now = time;
            self.happen(event);
        }
        self.now = end;
    }

    /// Delivered bytes of each flow in that time.
    pub(super) fn measure(&mut self, seconds: u64) -> Vec<u64> {
        let before: Vec<u64> = self.flows.iter().map(|flow| flow.delivered).collect();
        self.waits.clear();
        self.run(seconds);
        self.flows
            .iter()
            .zip(before)
            .map(|(flow, before)| flow.delivered - before)
            .collect()
    }

    /// Percent of what the link carries.
    pub(super) fn percent(&mut self, seconds: u64) -> u64 {
        let carried: u64 = self.measure(seconds).iter().sum();
        carried * 100 / (self.shape.rate * seconds)
    }

    /// The wait that so many percent of the packets did not exceed.
    pub(super) fn wait(&self, percent: usize) -> Duration {
        let mut waits = self.waits.clone();
        waits.sort_unstable();
        waits
            .get(waits.len() * percent / 100)
            .copied()
            .unwrap_or_default()
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Arrive { flow, packet } => {
                let at = &mut self.flows[flow];
                at.received.push(packet);
                at.delivered += u64::from(MTU);
                at.untold += 1;
                if at.untold >= 2 {
                    self.tell(flow);
                } else {
                    let due = self.now + ACK_DELAY;
                    self.at(due, Event::AckDue { flow });
                }
            }
            Event::AckDue { flow } => {
                if self.flows[flow].untold > 0 {
                    self.tell(flow);
                }
            }
            Event::Ack { flow, through } => {
                self.on_ack(flow, through);
                self.send(flow);
            }
            Event::Paced { flow } => {
                self.flows[flow].is_paced = false;
                self.send(flow);
            }
            Event::Wake { flow } => {
                let at = &mut self.flows[flow];
                if at.timer_at.is_some_and(|timer_at| timer_at <= self.now) {
                    at.backoff += 1;
                    at.probes = 2;
                    at.timer_at = None;
                }
                self.send(flow);
            }
        }
    }

    fn tell(&mut self, flow: usize) {
        self.flows[flow].untold = 0;
        let through = self.flows[flow].received.len();
        if !self.is_lost() {
            let at = self.now + self.shape.one_way;
            self.at(at, Event::Ack { flow, through });
        }
    }

    fn send(&mut self, index: usize) {
        let mtu = u64::from(MTU);
        loop {
            let now = self.now;
            let flow = &mut self.flows[index];
            let window = flow.governor.window();
            if flow.probes > 0 {
                flow.probes -= 1;
            } else {
                if flow.in_flight + mtu >= window {
                    return;
                }
                if let Some(has) = flow.has {
                    let next_at = Duration::from_secs_f64(flow.sent_bytes as f64 / has as f64);
                    if now < next_at {
                        if !std::mem::replace(&mut flow.is_paced, true) {
                            self.at(next_at, Event::Paced { flow: index });
                        }
                        return;
                    }
                }
                // As quinn does it.
                let rate = window as f64 * 1.25 / flow.srtt.as_secs_f64();
                let capacity = (rate / 1.25 * 0.002).clamp(10.0 * mtu as f64, 256.0 * mtu as f64);
                let elapsed = now.saturating_sub(flow.filled_at).as_secs_f64();
                flow.tokens = (flow.tokens + elapsed * rate).min(capacity);
                flow.filled_at = now;
                if flow.tokens < mtu as f64 {
                    let wait = Duration::from_secs_f64((capacity - flow.tokens) / rate);
                    if !std::mem::replace(&mut flow.is_paced, true) {
                        self.at(now + wait, Event::Paced { flow: index });
                    }
                    return;
                }
                flow.tokens -= mtu as f64;
            }
            let packet = flow.next;
            flow.next += 1;
            flow.sent.insert(packet, now);
            flow.in_flight += mtu;
            flow.sent_bytes += mtu;
            let timer_at = now + (flow.srtt * 2 + ACK_DELAY) * 2u32.pow(flow.backoff.min(6));
            flow.timer_at = Some(timer_at);
            self.at(timer_at, Event::Wake { flow: index });
            let start = self.free_at.max(now);
            if start - now > self.shape.queue {
                continue;
            }
            self.waits.push(start - now);
            self.free_at = start + Duration::from_secs_f64(mtu as f64 / self.shape.rate as f64);
            let arrives = self.free_at + self.shape.one_way;
            if !self.is_lost() {
                self.at(
                    arrives,
                    Event::Arrive {
                        flow: index,
                        packet,
                    },
                );
            }
        }
    }

    fn on_ack(&mut self, index: usize, through: usize) {
        let (now, mtu) = (self.now, u64::from(MTU));
        let flow = &mut self.flows[index];
        if through <= flow.read {
            return;
        }
        let news = flow.received[flow.read..through].to_vec();
        flow.read = through;
        flow.backoff = 0;
        let mut last_sent = None;
        for packet in news {
            // Deemed lost before.
            let Some(sent) = flow.sent.remove(&packet) else {
                continue;
            };
            flow.in_flight -= mtu;
            if flow.largest_acked.is_none_or(|largest| largest < packet) {
                flow.largest_acked = Some(packet);
                last_sent = Some(sent);
            }
            match &mut flow.governor {
                Governor::Ours(control) => control.on_ack(now, sent, mtu),
                Governor::Aimd {
                    window,
                    slow_start: true,
                    ..
                } => *window += mtu,
                Governor::Aimd { window, grown, .. } => {
                    *grown += mtu;
                    if *grown >= *window {
                        *grown -= *window;
                        *window += mtu;
                    }
                }
            }
        }
        if let Governor::Ours(control) = &mut flow.governor {
            control.on_end_acks(now, flow.in_flight);
        }
        if let Some(sent) = last_sent {
            flow.srtt = (flow.srtt * 7 + (now - sent)) / 8;
        }
        let Some(largest) = flow.largest_acked else {
            return;
        };
        let too_old = now.saturating_sub(flow.srtt * 9 / 8);
        let lost: Vec<_> = flow
            .sent
            .range(..largest)
            .filter(|(packet, sent)| **packet + 3 <= largest || **sent <= too_old)
            .map(|(packet, sent)| (*packet, *sent))
            .collect();
        let (Some(&(_, first)), Some(&(_, last))) = (lost.first(), lost.last()) else {
            return;
        };
        for (packet, _) in &lost {
            flow.sent.remove(packet);
        }
        let bytes = lost.len() as u64 * mtu;
        flow.in_flight -= bytes;
        flow.lost += bytes;
        let persistent = lost.len() > 2 && last - first > (flow.srtt * 2 + ACK_DELAY) * 3;
        match &mut flow.governor {
            Governor::Ours(control) => control.on_lost(now, last, bytes, persistent),
            Governor::Aimd {
                window,
                slow_start,
                halved_at,
                ..
            } => {
                if last >= *halved_at {
                    *halved_at = now;
                    *slow_start = false;
                    *window = (*window / 2).max(2 * mtu);
                }
            }
        }
    }
}
