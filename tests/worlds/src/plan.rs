use std::time::Duration;

/// What a world is made of. What is not fixed here, the seed decides.
#[derive(Clone, Debug)]
pub struct Plan {
    /// `None`: 1 to 3.
    pub edges: Option<usize>,
    /// How long the edges write, and faults come.
    pub lasts: Duration,
    /// How long everything may then take to arrive.
    pub settles_within: Duration,
    pub faults: Faults,
    pub sabotage: Option<Sabotage>,
    /// Bytes per second that a link carries; `None`: the seed decides.
    pub link_rate: Option<u64>,
    /// One way; `None`: the seed decides.
    pub latency: Option<Duration>,
    /// Whether windows and the log's room may be so small that they, not the link, hold the blocks back.
    pub may_be_cramped: bool,
    /// Blocks of telemetry on each disk before the world begins.
    pub backlog: u64,
}

impl Plan {
    /// Everything goes wrong now and then.
    pub fn storm() -> Self {
        Self {
            edges: None,
            lasts: Duration::from_secs(40),
            settles_within: Duration::from_secs(600),
            faults: Faults::storm(),
            sabotage: None,
            link_rate: None,
            latency: None,
            may_be_cramped: true,
            backlog: 0,
        }
    }

    /// Nothing goes wrong.
    pub fn calm() -> Self {
        Self {
            edges: Some(1),
            faults: Faults::none(),
            latency: Some(Duration::from_millis(20)),
            may_be_cramped: false,
            ..Self::storm()
        }
    }
}

/// How often in a thousand fault steps (about 3 a second) each thing goes wrong.
#[derive(Clone, Debug)]
pub struct Faults {
    pub cut: u64,
    /// The connection swallows everything, in one direction or both, and nobody is told.
    pub half_open: u64,
    /// No connection can be made for a while.
    pub outage: u64,
    pub edge_crash: u64,
    pub centre_crash: u64,
    /// The log takes nothing for a while, and says so.
    pub log_stall: u64,
    /// The log loses blocks that were durable.
    pub log_loss: u64,
    /// The log loses everything, declarations too.
    pub log_disk_loss: u64,
    /// Retention removes blocks at an edge, acknowledged or not.
    pub retention: u64,
    /// Of a thousand blocks, how many cannot be read back.
    pub damaged: u64,
    /// Of a thousand blocks, how many arrive twice.
    pub doubled: u64,
}

impl Faults {
    pub fn none() -> Self {
        Self {
            cut: 0,
            half_open: 0,
            outage: 0,
            edge_crash: 0,
            centre_crash: 0,
            log_stall: 0,
            log_loss: 0,
            log_disk_loss: 0,
            retention: 0,
            damaged: 0,
            doubled: 0,
        }
    }

    pub fn storm() -> Self {
        Self {
            cut: 80,
            half_open: 40,
            outage: 20,
            edge_crash: 40,
            centre_crash: 25,
            log_stall: 30,
            log_loss: 20,
            log_disk_loss: 3,
            retention: 60,
            damaged: 5,
            doubled: 20,
        }
    }
}

/// A lie that one end tells. Each must be found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sabotage {
    /// The centre acknowledges before the log has synced.
    AckEarly,
    /// The consumer of the log does not drop what it has seen.
    NoDedup,
    /// The edge offers blocks before its disk has synced.
    SendEarly,
    /// The log forgets one block in fifty and says that it is durable.
    DropOne,
    /// The centre says that streams are declared before the log has synced.
    DeclareEarly,
    /// The edge's retention names no losses.
    SilentEviction,
}
