//! One error type per operation that a caller may retry, skip or report.

use std::ffi::CStr;
use std::fmt;
use std::time::Duration;

use cyclonedds_sys as dds;

/// A negative return code of the library.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct DdsCode(pub i32);

impl DdsCode {
    /// `Ok` with the value (a handle or a count), or the code that a negative one is.
    pub(crate) fn check(value: i32) -> Result<i32, Self> {
        if value < 0 {
            Err(Self(value))
        } else {
            Ok(value)
        }
    }
}

impl fmt::Display for DdsCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // SAFETY: the function accepts any code and returns a static, NUL-terminated string.
        let text = unsafe { CStr::from_ptr(dds::dds_strretcode(self.0)) };
        write!(f, "{} ({})", text.to_string_lossy(), self.0)
    }
}

impl fmt::Debug for DdsCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for DdsCode {}

/// A value in [`DomainConfig`](crate::DomainConfig) that the library would refuse or misread.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// DDS maps the domain to UDP ports; from 231 on they pass 65,535.
    #[error("domain {0} is above {max}", max = crate::config::DOMAIN_ID_MAX)]
    DomainId(u32),
    /// Interface names are 1 to 15 characters out of letters, digits and `._-:@`.
    #[error("network interface {0:?} is not an interface name")]
    Interface(String),
    /// Peers are an address or a host name, with `:port` where it is not the usual one.
    #[error("peer {0:?} is neither an address nor a host name")]
    Peer(String),
    /// A lease below 100 ms is lost by any hiccup; above a day it is none.
    #[error("participant lease {0:?} is not between 100 ms and 1 day")]
    Lease(Duration),
    /// See `sched_get_priority_max(2)`.
    #[error("realtime priority {0} is not between 1 and 99")]
    Priority(u8),
    /// Larger than what a socket takes (a signed 32-bit number).
    #[error("socket receive buffer of {0} bytes is above 1 GiB")]
    ReceiveBuffer(u32),
}

/// Why a [`Participant`](crate::Participant) could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Refused before the library was asked.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Most often: the interface does not exist, or a port is taken. `log` is what the library said.
    #[error("join DDS domain {domain_id}: {code}; {}", log.join("; "))]
    Domain {
        /// The domain that was asked for.
        domain_id: u32,
        /// The library's code.
        code: DdsCode,
        /// The library's last warnings and errors.
        log: Vec<String>,
    },
    /// The library that is linked does not lay out its receive buffers as its headers say.
    #[error("the DDS library disagrees with its headers about the layout of received messages")]
    Layout,
}

/// Why a reader, writer or discovery could not be made or read.
#[derive(Debug, thiserror::Error)]
pub enum EntityError {
    /// Topic, type or partition with a NUL inside.
    #[error("name {0:?} contains a NUL character")]
    Name(String),
    /// The library refused.
    #[error("create {what} of topic {topic:?}: {code}")]
    Create {
        /// Which entity.
        what: &'static str,
        /// Of which topic.
        topic: String,
        /// The library's code.
        code: DdsCode,
    },
    /// The library did not answer a question about an entity.
    #[error("read {what}: {code}")]
    Read {
        /// What was asked for.
        what: &'static str,
        /// The library's code.
        code: DdsCode,
    },
    /// The participant was closed.
    #[error("the participant is closed")]
    Closed,
    /// A keyed writer has nobody else to ask for its keys.
    #[error("the writer of topic {0:?} is keyed, so it needs a way to find the key")]
    KeylessWriter(String),
}

/// Why a sample was not written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// A payload begins with the 4 bytes of its encapsulation.
    #[error("payload of {0} bytes is shorter than its 4-byte encapsulation header")]
    TooShort(usize),
    /// Above what the protocol can count.
    #[error("payload of {0} bytes is above {max}", max = crate::raw::PAYLOAD_BYTES_MAX)]
    TooLong(usize),
    /// The writer's [`KeyOf`](crate::KeyOf) found no key in the payload.
    #[error("no key found in a payload of {0} bytes")]
    Unkeyable(usize),
    /// DDS times are seconds in 32 bits, not negative.
    #[error("source timestamp {0} ns does not fit a DDS time")]
    Timestamp(i64),
    /// A reliable reader is behind and the writer's `max_blocking` is over. The sample is **not** written.
    #[error("a reader is behind: not written within {0:?}")]
    Timeout(Duration),
    /// The participant was closed.
    #[error("the participant is closed")]
    Closed,
    /// Any other code of the library.
    #[error("write: {0}")]
    Dds(DdsCode),
}

/// Why closing did not end as asked.
#[derive(Debug, thiserror::Error)]
pub enum CloseError {
    /// The rest goes on in a thread of its own; what the library may still call stays alive until then.
    #[error("closing a participant with {readers} readers takes longer than {within:?}")]
    Slow {
        /// Readers that were open.
        readers: usize,
        /// The limit.
        within: Duration,
    },
}
