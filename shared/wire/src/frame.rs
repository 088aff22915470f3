//! The frames of the control stream as values. [`codec`](crate::codec) has their bytes.

use std::time::Duration;

use efd_shared_model::{
    BlockNumber, ClockState, EdgeId, EpochDeclaration, EpochId, EpochLane, Lane, RangeSet, Schema,
    Site, StreamDeclaration, StreamNumber,
};

/// A lane of the edge that the session is with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LaneKey {
    pub epoch: EpochId,
    pub lane: Lane,
}

impl LaneKey {
    pub fn at(self, edge: EdgeId) -> EpochLane {
        let Self { epoch, lane } = self;
        EpochLane { edge, epoch, lane }
    }
}

impl From<EpochLane> for LaneKey {
    fn from(lane: EpochLane) -> Self {
        let EpochLane {
            edge: _,
            epoch,
            lane,
        } = lane;
        Self { epoch, lane }
    }
}

/// From edge to centre.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EdgeFrame {
    Hello(Hello),
    Declare(Declare),
    /// An epoch that the hello did not name: begun since, or one for which it had no room.
    Epoch(EpochDeclaration),
    Heartbeat(EdgeHeartbeat),
    Unable(Unable),
}

/// From centre to edge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CentreFrame {
    Welcome(Welcome),
    /// Streams 1 to `through` of `epoch` are durable at the centre: blocks that use them may come.
    DeclareAck {
        epoch: EpochId,
        through: StreamNumber,
    },
    /// Durable in the central log.
    Ack {
        lane: LaneKey,
        ranges: RangeSet,
    },
    /// Un-acknowledges, and asks for them (again).
    Want {
        lane: LaneKey,
        ranges: RangeSet,
    },
    /// Bytes of blocks that the edge may have sent in this session, from its begin. Never falls.
    Credit {
        bytes_total: u64,
    },
    Heartbeat,
    Refuse(Refuse),
}

/// Versions of the protocol that a peer speaks, inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Versions {
    pub oldest: u16,
    pub newest: u16,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    pub versions: Versions,
    pub edge: EdgeId,
    pub site: Site,
    /// The version of efd-edge.
    pub software: String,
    pub epochs: Vec<EpochDeclaration>,
    pub lanes: Vec<HelloLane>,
}

/// How far a lane of one of the hello's epochs goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HelloLane {
    pub key: LaneKey,
    /// The highest number that is durable.
    pub head: BlockNumber,
    /// The lowest number still held; `head` + 1 where nothing is.
    pub floor: BlockNumber,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// What both sides speak from here on.
    pub version: u16,
    /// What the centre has of the hello's lanes. May be less than it has, never more.
    pub received: Vec<(LaneKey, RangeSet)>,
    /// Streams 1 to n that the centre knows of the hello's epochs.
    pub streams: Vec<(EpochId, StreamNumber)>,
    /// Bytes of blocks that the centre is ready to have in the air at once.
    pub window_bytes: u64,
    /// The first `Credit`.
    pub credit_bytes: u64,
}

/// What streams of one epoch are. Streams go in order of their number, without gaps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declare {
    pub epoch: EpochId,
    pub streams: Vec<StreamDeclaration>,
    /// Those that this session has not carried yet.
    pub schemas: Vec<Schema>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EdgeHeartbeat {
    pub clock: ClockState,
    /// Highest durable numbers in the lanes of the newest epoch.
    pub heads: Vec<(LaneKey, BlockNumber)>,
    /// Since the oldest block that the centre has not acknowledged was committed; zero where it has all.
    pub oldest_unacked_age: Duration,
    /// Of blocks not acknowledged.
    pub backlog_bytes: u64,
}

/// Answers a `Want` as far as it cannot be granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unable {
    pub lane: LaneKey,
    pub ranges: RangeSet,
    pub reason: UnableReason,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum UnableReason {
    /// By retention. A loss names it, unless the centre had acknowledged it.
    Removed = 1,
    /// On the edge's disk. A loss names it.
    Damaged = 2,
    /// The lane does not go so far, or the edge has no such epoch.
    Unknown = 3,
}

impl UnableReason {
    pub(crate) fn from_u8(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Removed),
            2 => Some(Self::Damaged),
            3 => Some(Self::Unknown),
            _ => None,
        }
    }
}

/// The last frame of a session that the centre ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refuse {
    pub code: RefuseCode,
    /// For people: the value and the limit.
    pub text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefuseCode {
    /// The hello offers no version that the centre speaks.
    Version,
    /// The hello claims another edge or site than the certificate.
    Identity,
    /// The edge broke a rule of the protocol.
    Protocol,
    /// The centre goes down or is not ready: try again.
    Unavailable,
    /// A code of a newer centre.
    Other(u16),
}

impl RefuseCode {
    pub(crate) fn to_u16(self) -> u16 {
        match self {
            Self::Version => 1,
            Self::Identity => 2,
            Self::Protocol => 3,
            Self::Unavailable => 4,
            Self::Other(code) => code,
        }
    }

    pub(crate) fn from_u16(code: u16) -> Self {
        match code {
            1 => Self::Version,
            2 => Self::Identity,
            3 => Self::Protocol,
            4 => Self::Unavailable,
            other => Self::Other(other),
        }
    }
}

impl EdgeFrame {
    /// For messages.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Hello(_) => "hello",
            Self::Declare(_) => "declare",
            Self::Epoch(_) => "epoch",
            Self::Heartbeat(_) => "heartbeat",
            Self::Unable(_) => "unable",
        }
    }
}

impl CentreFrame {
    /// For messages.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Welcome(_) => "welcome",
            Self::DeclareAck { .. } => "declare-ack",
            Self::Ack { .. } => "ack",
            Self::Want { .. } => "want",
            Self::Credit { .. } => "credit",
            Self::Heartbeat => "heartbeat",
            Self::Refuse(_) => "refuse",
        }
    }
}
