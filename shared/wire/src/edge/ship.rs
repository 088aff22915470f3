//! All lanes of all epochs, and which block goes next.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use efd_shared_model::{
    BlockId, BlockNumber, EdgeId, EpochDeclaration, EpochId, EpochLane, Lane, LaneKind, RangeSet,
    StreamNumber,
};

use super::bucket::TokenBucket;
use super::config::{EdgeConfig, FillOrder};
use super::declare::Declaring;
use super::lane::{Fresh, Landed, LaneShip, Wanted};
use super::shares::Shares;
use super::window::{Path, Unsized, Window};
use super::{Command, Durable, HeldEpoch, HeldLane};
use crate::frame::LaneKey;
use crate::moment::Moment;
use crate::stream::Class;
use crate::violation::Violation;

/// Epochs in the order in which they began.
pub(super) type Ordinal = u64;

const CLASSES: usize = 2;
/// Kinds of lanes, and the lanes of single topics that are over their budget, of whatever kind, after all others.
const KINDS: usize = 5;
const DIVERTED: usize = KINDS - 1;
/// Before a lane's first block has been read.
const BLOCK_BYTES_GUESS: u64 = 16 << 10;

/// Streams of equal priority share alike. A block that goes by its guarantee must not be overtaken without end.
const PRIORITY_OWED: i32 = 40;
const PRIORITY: [[i32; KINDS]; CLASSES] = [[40, 40, 30, 20, 10], [13, 13, 12, 11, 9]];
const _: () = assert!(PRIORITY_OWED < super::CONTROL_PRIORITY);

#[derive(Debug)]
pub(super) struct EpochShip {
    pub(super) declaration: EpochDeclaration,
    /// Streams 1 to n are declared in the buffer.
    pub(super) streams_through: StreamNumber,
    /// The centre knows of the epoch, on this connection.
    pub(super) announced: bool,
    /// Streams 1 to n are declared at the centre. `known <= sent <= streams_through`.
    pub(super) known: StreamNumber,
    /// Streams 1 to n went out on this connection, or were known when it began.
    pub(super) sent: StreamNumber,
    pub(super) lanes: BTreeMap<Lane, LaneShip>,
}

#[derive(Debug)]
pub(super) struct Ship {
    edge: EdgeId,
    fill_order: FillOrder,
    pub(super) live_for: Duration,
    pub(super) epochs: BTreeMap<Ordinal, EpochShip>,
    pub(super) by_id: BTreeMap<EpochId, Ordinal>,
    /// Lanes that have a block to send, by class and kind.
    ready: [[BTreeSet<(Ordinal, Lane)>; KINDS]; CLASSES],
    class_shares: Shares<CLASSES>,
    kind_shares: [Shares<KINDS>; CLASSES],
    /// Where a shard joins its kind's turn after it had nothing to send.
    turn_floor: [u64; KINDS],
    /// Bytes of a block of the kind: a moving mean of what was read.
    estimates: [u64; KINDS],
    link_bucket: TokenBucket,
    fill_bucket: TokenBucket,
    window: Window,
    pub(super) declaring: Declaring,
}

impl Ship {
    pub(super) fn new(config: &EdgeConfig, now: Moment) -> Self {
        let kinds = config.guarantees.of_kinds();
        Self {
            edge: config.edge,
            fill_order: config.fill_order,
            live_for: config.live_for,
            epochs: BTreeMap::new(),
            by_id: BTreeMap::new(),
            ready: Default::default(),
            class_shares: Shares::new(config.guarantees.of_classes()),
            kind_shares: [Shares::new(kinds), Shares::new(kinds)],
            turn_floor: [0; KINDS],
            estimates: [BLOCK_BYTES_GUESS; KINDS],
            link_bucket: TokenBucket::new(config.link_rate, now),
            fill_bucket: TokenBucket::new(config.fill_rate, now),
            window: Window {
                bytes_max: config.window_bytes.max(1),
                in_flight_bytes: 0,
                credit_bytes: 0,
                sent_bytes: 0,
                credit_window_bytes: 0,
                unsized_blocks: Vec::new(),
                path: Path::default(),
            },
            declaring: Declaring::default(),
        }
    }

    pub(super) fn add_epoch(&mut self, epoch: HeldEpoch) {
        let HeldEpoch {
            declaration,
            streams_through,
            lanes,
        } = epoch;
        let ordinal = self.epochs.last_key_value().map_or(0, |(last, _)| last + 1);
        let lanes = lanes.into_iter().filter(|held| held.lane.kind.is_shipped());
        let lanes = lanes.map(|held| {
            let HeldLane {
                lane,
                head,
                held,
                acked,
            } = held;
            (lane, LaneShip::new(head.0, held, acked))
        });
        if self.by_id.contains_key(&declaration.epoch) {
            debug_assert!(false, "epoch {} is there already", declaration.epoch);
            return;
        }
        self.by_id.insert(declaration.epoch, ordinal);
        let epoch = EpochShip {
            declaration,
            streams_through,
            announced: false,
            known: StreamNumber(0),
            sent: StreamNumber(0),
            lanes: lanes.collect(),
        };
        self.epochs.insert(ordinal, epoch);
    }

    fn epoch_mut(&mut self, id: EpochId) -> Option<(Ordinal, &mut EpochShip)> {
        let ordinal = *self.by_id.get(&id)?;
        Some((ordinal, self.epochs.get_mut(&ordinal)?))
    }

    pub(super) fn on_durable(&mut self, durable: Durable, now: Moment) {
        let Durable {
            lane: EpochLane { edge, epoch, lane },
            number,
            streams_through,
            bytes,
            committed_at,
        } = durable;
        if !lane.kind.is_shipped() {
            return;
        }
        let Some((ordinal, ship)) = self.epoch_mut(epoch) else {
            debug_assert!(false, "block of epoch {epoch} before its begin");
            return;
        };
        debug_assert_eq!(edge, ship.declaration.edge);
        ship.streams_through = ship.streams_through.max(streams_through);
        let fresh = Fresh {
            committed_at,
            streams_through: ship.streams_through,
            bytes,
        };
        let lane_ship = ship.lanes.entry(lane).or_default();
        lane_ship.on_durable(number.0, fresh);
        self.declare_if_due(ordinal);
        self.expire(ordinal, lane, now);
    }

    /// Also brings the index up to date.
    fn expire(&mut self, ordinal: Ordinal, lane: Lane, now: Moment) {
        if let Some(epoch) = self.epochs.get_mut(&ordinal)
            && let Some(ship) = epoch.lanes.get_mut(&lane)
        {
            ship.expire(now, self.live_for, epoch.known);
        }
        self.index(ordinal, lane);
    }

    pub(super) fn index(&mut self, ordinal: Ordinal, lane: Lane) {
        let epoch = self.epochs.get(&ordinal);
        let ship = epoch.and_then(|epoch| Some((epoch, epoch.lanes.get(&lane)?)));
        let has = ship.map_or([false; CLASSES], |(epoch, ship)| {
            let may = epoch.announced;
            [may && ship.has_live(epoch.known), may && ship.has_fill()]
        });
        let Some(kind) = kind_index(lane) else {
            return;
        };
        for (class, has) in has.into_iter().enumerate() {
            let ready = &mut self.ready[class][kind];
            if has {
                ready.insert((ordinal, lane));
            } else {
                ready.remove(&(ordinal, lane));
            }
        }
    }

    pub(super) fn index_epoch(&mut self, ordinal: Ordinal) {
        let lanes = self.epochs.get(&ordinal).map(|epoch| &epoch.lanes);
        let lanes: Vec<Lane> = lanes
            .into_iter()
            .flat_map(BTreeMap::keys)
            .copied()
            .collect();
        for lane in lanes {
            self.index(ordinal, lane);
        }
    }

    /// The block to send now, if any may be.
    pub(super) fn next_block(&mut self, now: Moment) -> Option<Command> {
        if !self.window.is_open() || !self.link_bucket.is_open(now) {
            return None;
        }
        let live_lanes: Vec<_> = self.ready[0].iter().flatten().copied().collect();
        for (ordinal, lane) in live_lanes {
            self.expire(ordinal, lane, now);
        }
        let fill_is_open = self.fill_bucket.is_open(now);
        let may_fill = self.window.is_open_for_fill();
        let fill = match fill_is_open {
            true => self.next_of_kinds(Class::Fill),
            false => [None; KINDS],
        };
        let mut live = self.next_of_kinds(Class::Live);
        // A flood's present goes after the past of all others, and leaves room as back-fill does.
        if !may_fill || fill[..DIVERTED].iter().any(Option::is_some) {
            live[DIVERTED] = None;
        }
        let kinds = [live, fill];
        let by_kind = [0, 1].map(|class| self.kind_shares[class].pick(kinds[class]));
        let classes = [0, 1].map(|class| by_kind[class].and_then(|kind| kinds[class][kind.index]));
        let by_class = self.class_shares.pick(classes)?;
        let class = [Class::Live, Class::Fill][by_class.index];
        if class == Class::Fill && !by_class.owed && !may_fill {
            return None;
        }
        let by_kind = by_kind[by_class.index]?;
        let (key, number, bytes) = self.take(class, by_kind.index)?;
        self.class_shares.charge(by_class.index, bytes, classes);
        self.kind_shares[by_class.index].charge(by_kind.index, bytes, kinds[by_class.index]);
        self.link_bucket.take(bytes);
        if class == Class::Fill {
            self.fill_bucket.take(bytes);
        }
        let id = key.at(self.edge).block(BlockNumber(number));
        self.window.in_flight_bytes += bytes;
        self.window.sent_bytes += bytes;
        self.window.path.bytes += bytes;
        self.window.path.blocks += 1;
        self.window.unsized_blocks.push(Unsized {
            id,
            class,
            charged_bytes: bytes,
        });
        let owed = by_class.owed || by_kind.owed;
        let priority = if owed {
            PRIORITY_OWED
        } else {
            PRIORITY[by_class.index][by_kind.index]
        };
        Some(Command::SendBlock {
            id,
            class,
            priority,
        })
    }

    /// Bytes of each kind's next block, as far as they are known.
    fn next_of_kinds(&self, class: Class) -> [Option<u64>; KINDS] {
        let ready = &self.ready[class_index(class)];
        std::array::from_fn(|kind| (!ready[kind].is_empty()).then_some(self.estimates[kind]))
    }

    /// One block of that class and kind: from the first epoch by policy, of its shards the one that had least.
    fn take(&mut self, class: Class, kind: usize) -> Option<(LaneKey, u64, u64)> {
        let ready = &self.ready[class_index(class)][kind];
        let &(ordinal, _) = match (class, self.fill_order) {
            (Class::Live, _) | (Class::Fill, FillOrder::OldestFirst) => ready.first()?,
            (Class::Fill, FillOrder::NewestFirst) => ready.last()?,
        };
        let epoch = self.epochs.get_mut(&ordinal)?;
        let floor = self.turn_floor[kind];
        let shards = ready.iter().filter(|(other, _)| *other == ordinal);
        let turns = shards.filter_map(|(_, lane)| {
            let ship = epoch.lanes.get(lane)?;
            Some((ship.turn_bytes.max(floor), *lane))
        });
        let (turn, lane) = turns.min()?;
        let ship = epoch.lanes.get_mut(&lane)?;
        let (number, bytes) = match class {
            Class::Live => ship.take_live()?,
            Class::Fill => {
                let bytes = self.estimates[kind];
                (ship.take_fill(self.fill_order, bytes)?, bytes)
            }
        };
        ship.turn_bytes = turn + bytes;
        self.turn_floor[kind] = turn;
        let key = LaneKey {
            epoch: epoch.declaration.epoch,
            lane,
        };
        self.index(ordinal, lane);
        Some((key, number, bytes))
    }

    /// When a block may go that only a rate holds back.
    pub(super) fn opens_at(&self) -> Option<(Moment, &'static str)> {
        if !self.window.is_open() {
            return None;
        }
        let mut ready =
            [0, 1].map(|class: usize| self.ready[class].each_ref().map(|it| !it.is_empty()));
        if !self.window.is_open_for_fill() {
            ready[0][DIVERTED] = false;
        }
        let has = |class: usize| ready[class].contains(&true);
        let link_at = self.link_bucket.opens_at();
        match (has(0), has(1)) {
            (true, _) => link_at.map(|at| (at, "link rate")),
            (false, true) if !self.window.is_open_for_fill() => None,
            (false, true) => match (link_at, self.fill_bucket.opens_at()) {
                (Some(link), fill) if fill.is_none_or(|fill| fill <= link) => {
                    Some((link, "link rate"))
                }
                (_, fill) => fill.map(|at| (at, "fill rate")),
            },
            (false, false) => None,
        }
    }

    /// `false` where the block is not one that was waited for.
    pub(super) fn on_sized(&mut self, id: BlockId, bytes: u64) -> bool {
        let Some(block) = self.landed_size(id) else {
            return false;
        };
        if let Some(kind) = kind_index(id.lane.lane) {
            let estimate = &mut self.estimates[kind];
            *estimate = (*estimate / 8 * 7 + bytes / 8).max(1);
        }
        self.refund(block, block.charged_bytes);
        self.link_bucket.take(bytes);
        if block.class == Class::Fill {
            self.fill_bucket.take(bytes);
        }
        let window = &mut self.window;
        window.sent_bytes = window.sent_bytes.saturating_add(bytes);
        window.path.bytes = window.path.bytes.saturating_add(bytes);
        if let Some((_, epoch)) = self.epoch_mut(id.lane.epoch)
            && let Some(ship) = epoch.lanes.get_mut(&id.lane.lane)
            && let Some(charged) = ship.on_sized(id.number.0, bytes)
        {
            let window = &mut self.window;
            window.in_flight_bytes = window.in_flight_bytes.saturating_sub(charged) + bytes;
        }
        true
    }

    fn landed_size(&mut self, id: BlockId) -> Option<Unsized> {
        let unsized_blocks = &mut self.window.unsized_blocks;
        let at = unsized_blocks.iter().position(|block| block.id == id)?;
        Some(unsized_blocks.swap_remove(at))
    }

    fn refund(&mut self, block: Unsized, bytes: u64) {
        self.link_bucket.give_back(bytes);
        if block.class == Class::Fill {
            self.fill_bucket.give_back(bytes);
        }
        let window = &mut self.window;
        window.sent_bytes = window.sent_bytes.saturating_sub(bytes);
        window.path.bytes = window.path.bytes.saturating_sub(bytes);
    }

    pub(super) fn on_path(&mut self, holds_bytes: u64) {
        self.window.path.holds_bytes = Some(holds_bytes);
    }

    pub(super) fn on_arrived(&mut self, bytes: u64) {
        let path = &mut self.window.path;
        path.bytes = path.bytes.saturating_sub(bytes);
        path.blocks = path.blocks.saturating_sub(1);
    }

    pub(super) fn on_unreadable(&mut self, id: BlockId) {
        if let Some(block) = self.landed_size(id) {
            self.refund(block, block.charged_bytes);
            self.on_arrived(0);
        }
        let lane = id.lane.lane;
        let Some((ordinal, epoch)) = self.epoch_mut(id.lane.epoch) else {
            return;
        };
        let Some(ship) = epoch.lanes.get_mut(&lane) else {
            return;
        };
        let landed = ship.on_damaged(id.number.0);
        self.on_landed(landed);
        self.index(ordinal, lane);
    }

    fn on_landed(&mut self, bytes: u64) {
        let window = &mut self.window;
        window.in_flight_bytes = window.in_flight_bytes.saturating_sub(bytes);
    }

    /// What retention has forgotten whole is of no interest.
    pub(super) fn on_acked(
        &mut self,
        key: LaneKey,
        ranges: &RangeSet,
    ) -> Result<Landed, Violation> {
        let edge = self.edge;
        let Some((ordinal, epoch)) = self.epoch_mut(key.epoch) else {
            return Ok(Landed::default());
        };
        let mut none = LaneShip::default();
        let ship = epoch.lanes.get_mut(&key.lane).unwrap_or(&mut none);
        let head = BlockNumber(ship.head);
        let acked = ship
            .on_acked(ranges)
            .map_err(|last| Violation::AckBeyondHead {
                lane: key.at(edge),
                last,
                head,
            });
        let landed = acked?;
        self.on_landed(landed.bytes);
        self.index(ordinal, key.lane);
        self.drop_if_spent(ordinal);
        Ok(landed)
    }

    /// `None` where there is no such lane.
    pub(super) fn on_wanted(&mut self, key: LaneKey, ranges: &RangeSet) -> Option<Wanted> {
        let (ordinal, epoch) = self.epoch_mut(key.epoch)?;
        let (known, through) = (epoch.known, epoch.streams_through);
        let ship = epoch.lanes.get_mut(&key.lane)?;
        let wanted = ship.on_wanted(ranges, known, through);
        self.on_landed(wanted.landed_bytes);
        self.index(ordinal, key.lane);
        Some(wanted)
    }

    pub(super) fn on_removed(&mut self, key: LaneKey, ranges: &RangeSet) {
        let Some((ordinal, epoch)) = self.epoch_mut(key.epoch) else {
            return;
        };
        if let Some(ship) = epoch.lanes.get_mut(&key.lane) {
            ship.on_removed(ranges);
        }
        self.index(ordinal, key.lane);
        self.drop_if_spent(ordinal);
    }

    /// An older epoch of which nothing is left needs no more memory.
    fn drop_if_spent(&mut self, ordinal: Ordinal) {
        let is_newest = self
            .epochs
            .last_key_value()
            .is_none_or(|(last, _)| *last == ordinal);
        let Some(epoch) = self.epochs.get(&ordinal) else {
            return;
        };
        if is_newest || !epoch.lanes.values().all(LaneShip::is_spent) {
            return;
        }
        let id = epoch.declaration.epoch;
        self.index_epoch(ordinal);
        self.declaring.forget(ordinal);
        self.by_id.remove(&id);
        self.epochs.remove(&ordinal);
    }

    pub(super) fn on_closed(&mut self, now: Moment) {
        for epoch in self.epochs.values_mut() {
            for ship in epoch.lanes.values_mut() {
                ship.on_closed(now, self.live_for);
            }
            epoch.announced = false;
            epoch.known = StreamNumber(0);
            epoch.sent = StreamNumber(0);
        }
        for ready in self.ready.iter_mut().flatten() {
            ready.clear();
        }
        self.declaring = Declaring::default();
        let window = &mut self.window;
        (window.in_flight_bytes, window.sent_bytes) = (0, 0);
        (window.credit_bytes, window.credit_window_bytes) = (0, 0);
        window.unsized_blocks.clear();
        window.path = Path::default();
        let ordinals: Vec<_> = self.epochs.keys().copied().collect();
        for ordinal in ordinals {
            self.drop_if_spent(ordinal);
        }
    }

    pub(super) fn on_credit(&mut self, bytes_total: u64) {
        self.window.credit_bytes = self.window.credit_bytes.max(bytes_total);
    }

    pub(super) fn on_window(&mut self, bytes: u64) {
        self.window.credit_window_bytes = bytes;
    }

    pub(super) fn in_flight_bytes(&self) -> u64 {
        self.window.in_flight_bytes
    }

    pub(super) fn self_check(&self) -> Option<String> {
        let mut flying_bytes = 0;
        for epoch in self.epochs.values() {
            let id = epoch.declaration.epoch;
            if epoch.sent < epoch.known || epoch.streams_through < epoch.sent {
                return Some(format!(
                    "epoch {id}: known {:?}, sent {:?}, declared {:?}",
                    epoch.known, epoch.sent, epoch.streams_through
                ));
            }
            for (lane, ship) in &epoch.lanes {
                flying_bytes += ship.flying_bytes();
                if let Some(broken) = ship.self_check() {
                    return Some(format!("{id}/{lane}: {broken}"));
                }
            }
        }
        let in_flight = self.window.in_flight_bytes;
        (flying_bytes != in_flight)
            .then(|| format!("{flying_bytes} bytes fly, {in_flight} are counted"))
    }
}

fn class_index(class: Class) -> usize {
    match class {
        Class::Live => 0,
        Class::Fill => 1,
    }
}

/// In order of precedence; `None` for what is never shipped.
fn kind_index(lane: Lane) -> Option<usize> {
    if lane.is_diverted() && lane.kind.is_shipped() {
        return Some(DIVERTED);
    }
    match lane.kind {
        LaneKind::Losses => Some(0),
        LaneKind::Events => Some(1),
        LaneKind::Telemetry => Some(2),
        LaneKind::Reduced => Some(3),
        LaneKind::Parked => None,
    }
}
