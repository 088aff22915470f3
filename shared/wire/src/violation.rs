use efd_shared_model::{
    BlockId, BlockNumber, EdgeId, EpochId, EpochLane, Fingerprint, Site, StreamNumber,
};

use crate::codec::WireError;
use crate::frame::RefuseCode;
use crate::stream::BlockStreamError;

/// A rule of the protocol that the peer broke. It ends the connection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    #[error("{frame} frame {when}")]
    Unexpected {
        frame: &'static str,
        when: &'static str,
    },
    #[error(
        "hello of edge {claimed_edge} at {claimed_site}, the certificate is of {edge} at {site}"
    )]
    Identity {
        claimed_edge: EdgeId,
        claimed_site: Site,
        edge: EdgeId,
        site: Site,
    },
    #[error(
        "epoch {epoch} is of edge {claimed_edge} at {claimed_site}, the session is with {edge} at {site}"
    )]
    ForeignEpoch {
        epoch: EpochId,
        claimed_edge: EdgeId,
        claimed_site: Site,
        edge: EdgeId,
        site: Site,
    },
    #[error("epoch {epoch} is declared anew and differently")]
    EpochChanged { epoch: EpochId },
    #[error("epoch {epoch} was not announced in this session")]
    UnknownEpoch { epoch: EpochId },
    #[error("{count} {what} in one session, at most {max} are taken")]
    TooMany {
        what: &'static str,
        count: usize,
        max: usize,
    },
    #[error("epoch {epoch}: stream {found} is declared where {expected} is due", found = .found.0, expected = .expected.0)]
    StreamGap {
        epoch: EpochId,
        expected: StreamNumber,
        found: StreamNumber,
    },
    #[error("epoch {epoch}: stream {stream} has schema {fingerprint}, whose text did not come", stream = .stream.0)]
    SchemaMissing {
        epoch: EpochId,
        stream: StreamNumber,
        fingerprint: Fingerprint,
    },
    #[error("block {id} came in a session with edge {edge}")]
    ForeignBlock { id: BlockId, edge: EdgeId },
    #[error("block {id} is of a lane that is never shipped")]
    NotShipped { id: BlockId },
    #[error("block {id} uses stream {needs}, declared are 1 to {declared}", needs = .needs.0, declared = .declared.0)]
    Undeclared {
        id: BlockId,
        needs: StreamNumber,
        declared: StreamNumber,
    },
    #[error("{received} bytes of blocks came, credit was given for {granted}")]
    CreditExceeded { received: u64, granted: u64 },
    #[error("block {last} of {lane} is acknowledged, it goes to {head}")]
    AckBeyondHead {
        lane: EpochLane,
        last: u64,
        head: BlockNumber,
    },
    #[error("streams 1 to {acked} of epoch {epoch} are acknowledged, 1 to {sent} were sent", acked = .acked.0, sent = .sent.0)]
    StreamAckBeyondSent {
        epoch: EpochId,
        acked: StreamNumber,
        sent: StreamNumber,
    },
    #[error("the log refuses block {id}: {reason}")]
    BlockRefused { id: BlockId, reason: String },
    #[error("the log refuses declarations of epoch {epoch}: {reason}")]
    DeclarationRefused { epoch: EpochId, reason: String },
    #[error("nothing came for {silent_ms} ms, at most {max_ms} are waited")]
    Silent { silent_ms: u64, max_ms: u64 },
    #[error("{0}")]
    Wire(#[from] WireError),
    #[error("{0}")]
    Block(#[from] BlockStreamError),
}

impl Violation {
    /// What the centre tells the edge about it.
    pub fn refuse_code(&self) -> RefuseCode {
        match self {
            Self::Identity { .. } | Self::ForeignEpoch { .. } => RefuseCode::Identity,
            Self::Wire(WireError::NoCommonVersion { .. }) => RefuseCode::Version,
            Self::Silent { .. } => RefuseCode::Unavailable,
            Self::Unexpected { .. }
            | Self::EpochChanged { .. }
            | Self::UnknownEpoch { .. }
            | Self::TooMany { .. }
            | Self::StreamGap { .. }
            | Self::SchemaMissing { .. }
            | Self::ForeignBlock { .. }
            | Self::NotShipped { .. }
            | Self::Undeclared { .. }
            | Self::CreditExceeded { .. }
            | Self::AckBeyondHead { .. }
            | Self::StreamAckBeyondSent { .. }
            | Self::BlockRefused { .. }
            | Self::DeclarationRefused { .. }
            | Self::Wire(_)
            | Self::Block(_) => RefuseCode::Protocol,
        }
    }
}
