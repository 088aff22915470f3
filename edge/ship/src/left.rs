use std::fmt;

use efd_shared_daemon::exit::chain;
use efd_shared_wire::Violation;
use efd_shared_wire::edge::Disconnect;
use efd_shared_wire::frame::RefuseCode;

use crate::endpoint::LinkError;

/// Why a connection is no more, or was not made.
#[derive(Clone, Copy, Debug)]
pub enum Left<'a> {
    /// The other side, or the link.
    Closed(&'a LinkError),
    /// We had done with it.
    GivenUp(&'a Disconnect),
}

/// The same in a word, for metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cause {
    /// No name, no address, or no answer.
    Unreachable,
    /// It wants nothing of us, or we of it. Trying again changes nothing.
    Refused,
    /// Connected, it said nothing any more.
    Silent,
    /// It goes down and said so.
    Goodbye,
    /// It ended the connection.
    Ended,
    /// It broke the protocol.
    Violation,
    /// We go down.
    Stopped,
}

impl Cause {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Refused => "refused",
            Self::Silent => "silent",
            Self::Goodbye => "goodbye",
            Self::Ended => "ended",
            Self::Violation => "violation",
            Self::Stopped => "stopped",
        }
    }
}

impl Left<'_> {
    pub fn cause(&self) -> Cause {
        match self {
            Self::Closed(error) if error.is_refusal() => Cause::Refused,
            Self::Closed(
                LinkError::Lookup { .. }
                | LinkError::NoAddress { .. }
                | LinkError::Begin { .. }
                | LinkError::Connect { .. },
            ) => Cause::Unreachable,
            Self::Closed(
                LinkError::Open(_)
                | LinkError::Stream(_)
                | LinkError::Read(_)
                | LinkError::Ended(_)
                | LinkError::Refused { .. },
            ) => Cause::Ended,
            Self::GivenUp(Disconnect::ConnectTimeout(_) | Disconnect::WelcomeTimeout(_)) => {
                Cause::Unreachable
            }
            Self::GivenUp(Disconnect::Refused(refuse)) => match refuse.code {
                RefuseCode::Unavailable => Cause::Goodbye,
                RefuseCode::Version
                | RefuseCode::Identity
                | RefuseCode::Protocol
                | RefuseCode::Other(_) => Cause::Refused,
            },
            Self::GivenUp(Disconnect::Violation(Violation::Silent { .. })) => Cause::Silent,
            Self::GivenUp(Disconnect::Violation(_)) => Cause::Violation,
            Self::GivenUp(Disconnect::Stopped) => Cause::Stopped,
        }
    }
}

impl fmt::Display for Left<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed(error) => f.write_str(&chain(*error)),
            Self::GivenUp(reason) => reason.fmt(f),
        }
    }
}
