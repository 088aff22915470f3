use std::time::Duration;

use efd_shared_model::{EdgeId, Site};

/// What the site decides about shipping.
#[derive(Clone, Debug)]
pub struct EdgeConfig {
    pub edge: EdgeId,
    pub site: Site,
    /// The version of efd-edge.
    pub software: String,
    /// Bytes per second of everything that goes out; `None`: as congestion control allows.
    pub link_rate: Option<u64>,
    /// Bytes per second of back-fill, within the former.
    pub fill_rate: Option<u64>,
    pub fill_order: FillOrder,
    pub guarantees: Guarantees,
    /// How long after its commit a block goes out as live.
    pub live_for: Duration,
    /// Bytes of blocks sent and not acknowledged, at most about that many (a block more). Where it is less than link rate × (round trip and
    /// the log's commit), the link is not filled.
    pub window_bytes: u64,
    /// How many there are to choose from, the preferred one first.
    pub centres: usize,
    /// Where there is only one. A connection that is given up too soon helps nobody.
    pub patience: Patience,
    /// Where another one may do better. After each round in vain it is doubled, up to the former.
    pub patience_with_others: Patience,
    pub heartbeat_every: Duration,
    pub retry_after: Duration,
    pub retry_after_max: Duration,
}

impl EdgeConfig {
    pub fn new(edge: EdgeId, site: Site, software: impl Into<String>) -> Self {
        Self {
            edge,
            site,
            software: software.into(),
            link_rate: None,
            fill_rate: None,
            fill_order: FillOrder::OldestFirst,
            guarantees: Guarantees::default(),
            live_for: Duration::from_secs(5),
            window_bytes: 32 << 20,
            centres: 1,
            patience: Patience {
                connect_within: Duration::from_secs(10),
                welcome_within: Duration::from_secs(10),
                silence_max: Duration::from_secs(10),
            },
            // Packets of the handshake are sent again after 1 s.
            patience_with_others: Patience {
                connect_within: Duration::from_millis(2500),
                welcome_within: Duration::from_secs(3),
                silence_max: Duration::from_secs(3),
            },
            heartbeat_every: Duration::from_secs(2),
            retry_after: Duration::from_millis(250),
            retry_after_max: Duration::from_secs(30),
        }
    }
}

/// How long a centre may take before the edge has done with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    pub connect_within: Duration,
    pub welcome_within: Duration,
    /// One that says nothing for so long is gone. Several times its heartbeat.
    pub silence_max: Duration,
}

impl EdgeConfig {
    /// After so many rounds in vain. What is silent for long after it was heard is not at the end of a slow link.
    pub(super) fn patience(&self, has_others: bool, vain_rounds: u32) -> Patience {
        if !has_others {
            return self.patience;
        }
        let (short, long) = (self.patience_with_others, self.patience);
        let factor = 1u32.checked_shl(vain_rounds).unwrap_or(u32::MAX);
        let stretch = |short: Duration, long| short.saturating_mul(factor).min(long);
        Patience {
            connect_within: stretch(short.connect_within, long.connect_within),
            welcome_within: stretch(short.welcome_within, long.welcome_within),
            silence_max: short.silence_max,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum FillOrder {
    /// Consumers see the past in its order. After a long outage the hours just before the present come last.
    #[default]
    OldestFirst,
    /// What happened just before the link came back is there first; consumers see the past backwards.
    NewestFirst,
}

/// Percent of the bytes that are kept for whoever waits, against those that take precedence over it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guarantees {
    fill: u8,
    events: u8,
    telemetry: u8,
    reduced: u8,
}

/// A guarantee that leaves nothing to those that take precedence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{what} are guaranteed {percent} % together, at most {max} % can be")]
pub struct GuaranteesError {
    pub what: &'static str,
    pub percent: u32,
    pub max: u32,
}

const FILL_PERCENT_MAX: u32 = 90;
const KINDS_PERCENT_MAX: u32 = 90;
/// Lanes of topics that are over their budget, against all others.
const DIVERTED_PERCENT: u8 = 5;

impl Guarantees {
    /// `fill` against live; and within each of the two `events` against losses, `telemetry` against both, `reduced`
    /// (downsampled rows) against all.
    pub fn new(fill: u8, events: u8, telemetry: u8, reduced: u8) -> Result<Self, GuaranteesError> {
        let check = |what, percent, max| {
            if percent <= max {
                Ok(())
            } else {
                Err(GuaranteesError { what, percent, max })
            }
        };
        let kinds = u32::from(events) + u32::from(telemetry) + u32::from(reduced);
        check("back-fill blocks", fill.into(), FILL_PERCENT_MAX)?;
        check("events, telemetry and reduced", kinds, KINDS_PERCENT_MAX)?;
        Ok(Self {
            fill,
            events,
            telemetry,
            reduced,
        })
    }

    /// Live, fill.
    pub(super) fn of_classes(self) -> [u8; 2] {
        [0, self.fill]
    }

    /// Losses, events, telemetry, reduced, diverted.
    pub(super) fn of_kinds(self) -> [u8; 5] {
        let Self {
            fill: _,
            events,
            telemetry,
            reduced,
        } = self;
        [0, events, telemetry, reduced, DIVERTED_PERCENT]
    }
}

impl Default for Guarantees {
    fn default() -> Self {
        Self {
            fill: 10,
            events: 30,
            telemetry: 30,
            reduced: 5,
        }
    }
}
