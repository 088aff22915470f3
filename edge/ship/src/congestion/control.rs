//! How much may be on its way: the pure core.
//!
//! In:  what was acknowledged and lost, with times since the path began. Out: [`Control::window`].
//!
//! What says that a link is full is the delay: packets of a whole round, all later than the base by more than a target,
//! stand in a queue. A lost packet says nothing, as radio links lose packets; much more than those lose does.
//!
//! quinn paces by window and round trip, a quarter faster than one window a round trip. That breaks up bursts; the mean
//! rate is the window's, so the cap is in the window: cap × mean round trip is sent at the cap.
//!
//! Invariants: floor ≤ window; what is lowered is judged only by packets that were sent after it.

use std::time::Duration;

/// Bytes in packets: what is always allowed. With fewer a lost packet is found by a timer only.
const FLOOR_PACKETS: u64 = 4;
const INITIAL_PACKETS: u64 = 32;
/// A base that was not seen again for so long is measured anew: routes change.
const BASE_AGE_MAX: Duration = Duration::from_secs(10);
/// A round on a short path: timers and schedulers are not better than this.
const ROUND_MIN: Duration = Duration::from_millis(10);
/// What may wait in the queue of the link: a quarter of the base, but no less and no more than these.
const TARGET_MIN: Duration = Duration::from_millis(10);
const TARGET_MAX: Duration = Duration::from_millis(40);
/// After so many rounds lowered in vain the queue is another's.
const VAIN_ROUNDS: u32 = 3;
/// So few tell the search, which doubles, that it has come to the end.
const GLIMPSE_PACKETS: u32 = 16;
const PROBE_ROUNDS_MAX: u32 = 8;
/// What differs by less is a change of route, not a queue.
const SAME_QUEUE: Duration = Duration::from_millis(5);
/// Round trips so short are not those of radio links; there, losses are those of small buffers.
const SHORT_PATH: Duration = Duration::from_millis(5);
/// Losses in percent above which they are not the link's nature.
const LOSS_PERCENT_MAX: u64 = 12;
const LOSS_PERCENT_MAX_SHORT: u64 = 2;
/// What losses are judged by at least.
const JUDGED_PACKETS_MIN: u64 = 100;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The window doubles with each round trip.
    Search,
    /// The window is raised while the queue is short, lowered when it is not.
    Steady { step: u64, vain: Vain },
    /// The queue stands whatever we do: we hold our own against others as they do, by what is lost.
    Contended { longest_queue: Duration, span: Span },
    /// Less than the link takes, so that our own queue is gone and the base is seen.
    Probe {
        back_to: u64,
        rounds: u32,
        /// Bytes a second before.
        rate: u64,
    },
}

/// Between which the queue was, for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    shortest: Duration,
    longest: Duration,
}

impl Span {
    const NONE: Self = Self {
        shortest: Duration::MAX,
        longest: Duration::ZERO,
    };

    fn with(self, queue: Duration) -> Self {
        Self {
            shortest: self.shortest.min(queue),
            longest: self.longest.max(queue),
        }
    }

    fn width(self) -> Duration {
        self.longest.saturating_sub(self.shortest)
    }
}

/// Rounds in a row after which we got less and the queue stood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Vain {
    rounds: u32,
    /// The window before the first, and before the last.
    from: u64,
    last: u64,
    /// Bytes a second, with the window before the last.
    rate: u64,
}

impl Vain {
    const NONE: Self = Self {
        rounds: 0,
        from: 0,
        last: 0,
        rate: 0,
    };

    /// A queue of ours is drained for nothing: the link is as busy as it was. Beside others, who sends less gets less.
    fn with(self, window: u64, rate: u64) -> Self {
        let got_less = rate * 2 * self.last.max(1) < self.rate * (self.last + window);
        let (rounds, from) = match self.last {
            0 => (0, window),
            _ if got_less => (self.rounds + 1, self.from),
            _ => (0, window),
        };
        Self {
            rounds,
            from,
            last: window,
            rate,
        }
    }
}

impl Phase {
    const STEADY: Self = Self::Steady {
        step: 0,
        vain: Vain::NONE,
    };
}

/// The round trip without a queue.
#[derive(Clone, Copy, Debug)]
struct Base {
    rtt: Option<Duration>,
    seen_at: Duration,
}

impl Base {
    fn on_sample(&mut self, rtt: Duration, now: Duration) {
        match self.rtt {
            Some(base) if base + base / 32 + Duration::from_millis(1) < rtt => {}
            Some(base) => {
                self.rtt = Some(base.min(rtt));
                self.seen_at = now;
            }
            None => {
                self.rtt = Some(rtt);
                self.seen_at = now;
            }
        }
    }
}

/// Packets sent from `began` to `closed`; it ends when one that was sent later is acknowledged.
#[derive(Clone, Copy, Debug)]
struct Round {
    began: Duration,
    closed: Option<Duration>,
    samples: u32,
    shortest: Duration,
    sum: Duration,
    /// The most that was on its way.
    flight: u64,
    /// Acknowledged, from the first to the last of them.
    bytes: u64,
    first_at: Duration,
    last_at: Duration,
}

impl Round {
    fn new(began: Duration) -> Self {
        Self {
            began,
            closed: None,
            samples: 0,
            shortest: Duration::MAX,
            sum: Duration::ZERO,
            flight: 0,
            bytes: 0,
            first_at: Duration::ZERO,
            last_at: Duration::ZERO,
        }
    }

    /// Bytes a second that came through.
    fn rate(&self) -> u64 {
        let second = Duration::from_secs(1);
        scale(
            self.bytes,
            second,
            self.last_at.saturating_sub(self.first_at),
        )
    }
}

/// The shortest round trip of so many packets.
#[derive(Clone, Copy, Debug)]
struct Glimpse {
    packets: u32,
    shortest: Duration,
}

impl Glimpse {
    const NONE: Self = Self {
        packets: 0,
        shortest: Duration::MAX,
    };
}

/// Bytes since they were last judged.
#[derive(Clone, Copy, Debug, Default)]
struct Losses {
    lost: u64,
    acked: u64,
}

/// The window of one path. Times are since the path began.
#[derive(Clone, Debug)]
pub(super) struct Control {
    /// Bytes a second.
    cap: Option<u64>,
    mtu: u64,
    window: u64,
    phase: Phase,
    base: Base,
    round: Round,
    /// Of the last few packets, for the search.
    glimpse: Glimpse,
    losses: Losses,
    /// Acknowledged in the batch that is being read.
    batch: u64,
    /// Of the last round, with the delay of acknowledgements.
    mean_rtt: Duration,
    /// Bytes a second that came through in the last round.
    rate: u64,
    /// What was lost of those sent before has been answered.
    answered_at: Duration,
    /// Something was lost that has not been answered.
    unanswered: bool,
}

impl Control {
    pub(super) fn new(cap: Option<u64>, mtu: u16) -> Self {
        let mtu = u64::from(mtu);
        Self {
            cap,
            mtu,
            window: INITIAL_PACKETS * mtu,
            phase: Phase::Search,
            base: Base {
                rtt: None,
                seen_at: Duration::ZERO,
            },
            round: Round::new(Duration::ZERO),
            glimpse: Glimpse::NONE,
            losses: Losses::default(),
            batch: 0,
            mean_rtt: Duration::ZERO,
            rate: 0,
            answered_at: Duration::ZERO,
            unanswered: false,
        }
    }

    pub(super) fn window(&self) -> u64 {
        self.window
    }

    pub(super) fn initial_window(&self) -> u64 {
        INITIAL_PACKETS * self.mtu
    }

    pub(super) fn on_mtu(&mut self, mtu: u16) {
        self.mtu = mtu.into();
        self.set_window(self.window);
    }

    pub(super) fn on_ack(&mut self, now: Duration, sent: Duration, bytes: u64) {
        self.batch += bytes;
        self.losses.acked += bytes;
        let rtt = now.saturating_sub(sent);
        self.base.on_sample(rtt, now);
        self.glimpse.packets += 1;
        self.glimpse.shortest = self.glimpse.shortest.min(rtt);
        let round = &mut self.round;
        if sent >= round.began && round.closed.is_none_or(|closed| sent < closed) {
            if round.samples == 0 {
                round.first_at = now;
            }
            round.last_at = now;
            round.bytes += bytes;
            round.samples += 1;
            round.sum += rtt;
            round.shortest = round.shortest.min(rtt);
            if round.closed.is_none() && now >= round.began + ROUND_MIN {
                round.closed = Some(now);
            }
        }
        if round.closed.is_some_and(|closed| sent >= closed) {
            self.end_round(now);
        }
    }

    /// After a batch of acknowledgements; `in_flight` is what is still on its way.
    pub(super) fn on_end_acks(&mut self, now: Duration, in_flight: u64) {
        let batch = std::mem::take(&mut self.batch);
        self.round.flight = self.round.flight.max(in_flight + batch);
        match self.phase {
            Phase::Search => self.search(batch, in_flight + batch),
            Phase::Steady { .. } => {
                if self.base.seen_at + BASE_AGE_MAX < now {
                    self.probe(now);
                }
            }
            Phase::Contended { .. } | Phase::Probe { .. } => {}
        }
    }

    /// `persistent`: nothing has come through for several round trips.
    pub(super) fn on_lost(&mut self, now: Duration, sent: Duration, bytes: u64, persistent: bool) {
        if persistent {
            self.phase = Phase::Search;
            self.glimpse = Glimpse::NONE;
            self.window = self.window.min(self.initial_window());
            self.round = Round::new(now);
            self.losses = Losses::default();
            self.answered_at = now;
            return;
        }
        self.losses.lost += bytes;
        self.unanswered |= sent >= self.answered_at;
    }

    /// A router says that its queue is long.
    pub(super) fn on_mark(&mut self, now: Duration, sent: Duration) {
        if sent >= self.answered_at {
            self.answered_at = now;
            self.phase = Phase::STEADY;
            self.set_window(self.window / 8 * 7);
        }
    }
}

impl Control {
    fn target(&self) -> Duration {
        let base = self.base.rtt.unwrap_or_default();
        (base / 4).clamp(TARGET_MIN, TARGET_MAX)
    }

    fn queue(&self) -> Duration {
        match self.base.rtt {
            Some(base) if self.round.samples > 0 => self.round.shortest.saturating_sub(base),
            _ => Duration::ZERO,
        }
    }

    /// What the cap carries in a round trip, of which no more than the target waits in a queue of ours.
    fn ceiling(&self) -> u64 {
        let (Some(cap), Some(base)) = (self.cap, self.base.rtt) else {
            return u64::MAX;
        };
        let longest = match self.phase {
            // The queue is not ours; who waits in it sends no more than the cap.
            Phase::Contended { .. } => Duration::MAX,
            Phase::Search | Phase::Steady { .. } | Phase::Probe { .. } => base + self.target(),
        };
        let rtt = self.mean_rtt.clamp(base, longest);
        let bytes = u128::from(cap) * rtt.as_nanos() / 1_000_000_000;
        u64::try_from(bytes).unwrap_or(u64::MAX)
    }

    fn set_window(&mut self, bytes: u64) {
        self.window = bytes.min(self.ceiling()).max(FLOOR_PACKETS * self.mtu);
    }

    /// Within a round too, as a round doubles.
    fn search(&mut self, batch: u64, flight: u64) {
        if flight >= self.window / 2 {
            self.set_window(self.window + batch);
        }
        if self.window >= self.ceiling() {
            self.phase = Phase::STEADY;
        } else if self.glimpse.packets >= GLIMPSE_PACKETS {
            let glimpse = std::mem::replace(&mut self.glimpse, Glimpse::NONE);
            let base = self.base.rtt.unwrap_or_default();
            if glimpse.shortest > base + self.target() / 2 {
                self.leave_search();
            }
        }
    }

    /// What was seen is of when the window was half of what it is.
    fn leave_search(&mut self) {
        self.phase = Phase::STEADY;
        self.set_window(self.window / 2);
    }

    fn probe(&mut self, now: Duration) {
        self.phase = Phase::Probe {
            back_to: self.window,
            rounds: 0,
            rate: self.rate,
        };
        self.base.rtt = None;
        self.set_window(self.window / 4 * 3);
        self.round = Round::new(now);
    }

    fn end_round(&mut self, now: Duration) {
        let queue = self.queue();
        let round = std::mem::replace(&mut self.round, Round::new(now));
        if round.samples > 0 {
            self.mean_rtt = round.sum / round.samples;
        }
        let rate = round.rate();
        self.rate = rate;
        let was_used = round.flight >= self.window / 3 * 2;
        let lost_much = self.judge_losses();
        if lost_much {
            self.answered_at = now;
        }
        match self.phase {
            Phase::Search => {
                if lost_much {
                    self.leave_search();
                }
            }
            Phase::Steady { .. } | Phase::Contended { .. } if lost_much => {
                self.phase = Phase::STEADY;
                self.set_window(self.window / 4 * 3);
            }
            // What was not used says nothing about what could be.
            Phase::Steady { .. } if !was_used => self.set_window(self.window),
            Phase::Steady { step, vain } => self.steer(queue, step, vain, rate, now),
            Phase::Contended {
                longest_queue,
                span,
            } => self.contend(queue, longest_queue, span.with(queue), was_used, now),
            Phase::Probe {
                back_to,
                rounds,
                rate: before,
            } => self.go_on_probing(
                back_to,
                rounds,
                was_used && rate / 92 >= before / 100,
                before,
            ),
        }
    }

    /// As long as it `drains`: as much comes through with less on its way. The last round has seen no queue of ours.
    fn go_on_probing(&mut self, back_to: u64, rounds: u32, drains: bool, before: u64) {
        if rounds > 0 && !drains || rounds == PROBE_ROUNDS_MAX {
            self.phase = Phase::STEADY;
            self.set_window(back_to);
            return;
        }
        if drains {
            self.set_window(self.window / 4 * 3);
        }
        self.phase = Phase::Probe {
            back_to,
            rounds: rounds + 1,
            rate: before,
        };
    }

    fn steer(&mut self, queue: Duration, step: u64, vain: Vain, rate: u64, now: Duration) {
        let target = self.target();
        if queue <= target {
            let room = queue <= target / 2;
            let step = if room {
                (step * 2).clamp(self.mtu, (self.window / 8).max(self.mtu))
            } else {
                0
            };
            self.phase = Phase::Steady {
                step,
                vain: Vain::NONE,
            };
            self.set_window(self.window + step);
            return;
        }
        let vain = vain.with(self.window, rate);
        if vain.rounds >= VAIN_ROUNDS {
            self.phase = Phase::Contended {
                longest_queue: queue,
                span: Span::NONE,
            };
            self.base.seen_at = now;
            self.unanswered = false;
            self.answered_at = now;
            self.set_window(self.window.max(vain.from / 2));
            return;
        }
        self.phase = Phase::Steady { step: 0, vain };
        let base = self.base.rtt.unwrap_or_default();
        let wanted = scale(self.window, base + target / 4 * 3, base + queue);
        self.set_window(wanted.max(self.window / 2));
    }

    fn contend(
        &mut self,
        queue: Duration,
        longest_queue: Duration,
        span: Span,
        was_used: bool,
        now: Duration,
    ) {
        if queue <= self.target() {
            self.phase = Phase::STEADY;
            return;
        }
        let longest_queue = longest_queue.max(queue);
        self.phase = Phase::Contended {
            longest_queue,
            span,
        };
        if self.base.seen_at + BASE_AGE_MAX < now {
            // A queue that others fill and drain is not the same all the time; a longer route is.
            if span.width() < SAME_QUEUE {
                return self.probe(now);
            }
            self.base.seen_at = now;
            self.phase = Phase::Contended {
                longest_queue,
                span: Span::NONE,
            };
        }
        let lost = std::mem::take(&mut self.unanswered);
        if lost && queue >= longest_queue / 2 {
            self.answered_at = now;
            self.set_window(self.window / 10 * 7);
        } else if was_used {
            self.set_window(self.window + 2 * self.mtu);
        }
    }

    /// More than links lose by nature.
    fn judge_losses(&mut self) -> bool {
        let Losses { lost, acked } = self.losses;
        let all = lost + acked;
        if all < JUDGED_PACKETS_MIN * self.mtu {
            return false;
        }
        self.losses = Losses::default();
        let is_short = self.base.rtt.is_some_and(|base| base < SHORT_PATH);
        let max = if is_short {
            LOSS_PERCENT_MAX_SHORT
        } else {
            LOSS_PERCENT_MAX
        };
        lost * 100 > all * max
    }
}

fn scale(bytes: u64, numerator: Duration, denominator: Duration) -> u64 {
    let scaled = u128::from(bytes) * numerator.as_nanos() / denominator.as_nanos().max(1);
    u64::try_from(scaled).unwrap_or(u64::MAX)
}
