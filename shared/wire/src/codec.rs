//! Frames to bytes and back. What every version shares is here: the length before a frame, its kind, the hello, the
//! head of a welcome, and a refusal. The rest is in one file per version.

use bytes::{Buf, Bytes, BytesMut};
use efd_shared_model::bytes::{ByteError, Reader, Writer};

use crate::frame::{CentreFrame, EdgeFrame, Refuse, RefuseCode, Versions};
use crate::limits::{DECLARE_BYTES_MAX, FRAME_BYTES_MAX, REFUSE_CHARS_MAX};
use crate::v1;

/// The ALPN of the QUIC connection.
pub const ALPN: &[u8] = b"efd";
/// What a hello begins with.
pub const MAGIC: [u8; 4] = *b"EFDW";
const LENGTH_BYTES: usize = 4;

pub(crate) mod kind {
    pub(crate) const HELLO: u8 = 1;
    pub(crate) const DECLARE: u8 = 2;
    pub(crate) const EPOCH: u8 = 3;
    pub(crate) const EDGE_HEARTBEAT: u8 = 4;
    pub(crate) const UNABLE: u8 = 5;
    pub(crate) const WELCOME: u8 = 65;
    pub(crate) const DECLARE_ACK: u8 = 66;
    pub(crate) const ACK: u8 = 67;
    pub(crate) const WANT: u8 = 68;
    pub(crate) const CREDIT: u8 = 69;
    pub(crate) const CENTRE_HEARTBEAT: u8 = 70;
    pub(crate) const REFUSE: u8 = 71;
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    #[error("frame of {bytes} bytes, at most {FRAME_BYTES_MAX} are taken")]
    TooLarge { bytes: usize },
    #[error("{frame} frame of kind {found} is not known in wire {version}")]
    Kind {
        frame: &'static str,
        found: u8,
        version: u16,
    },
    #[error("hello begins with {found:02x?}, expected {MAGIC:02x?}")]
    Magic { found: [u8; 4] },
    #[error(
        "peer speaks wire {} to {}, this build {} to {}",
        theirs.oldest, theirs.newest, WireVersion::SPOKEN.oldest, WireVersion::SPOKEN.newest
    )]
    NoCommonVersion { theirs: Versions },
    #[error(
        "declarations of {bytes} bytes before compression, at most {DECLARE_BYTES_MAX} are taken"
    )]
    DeclareTooLarge { bytes: usize },
    #[error("{action} declarations: {reason}")]
    Zstd {
        action: &'static str,
        reason: String,
    },
    #[error("read {frame} frame: {source}")]
    Bytes {
        frame: &'static str,
        source: ByteError,
    },
}

/// A version of the protocol that this build speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum WireVersion {
    V1,
}

impl WireVersion {
    pub const OLDEST: Self = Self::V1;
    pub const NEWEST: Self = Self::V1;
    /// What this build offers in a hello.
    pub const SPOKEN: Versions = Versions {
        oldest: Self::OLDEST.number(),
        newest: Self::NEWEST.number(),
    };

    pub const fn number(self) -> u16 {
        match self {
            Self::V1 => 1,
        }
    }

    fn from_number(number: u16) -> Option<Self> {
        match number {
            1 => Some(Self::V1),
            _ => None,
        }
    }

    /// The newest that both sides speak.
    pub fn common(theirs: Versions) -> Result<Self, WireError> {
        let newest = theirs.newest.min(Self::NEWEST.number());
        Self::from_number(newest)
            .filter(|_| theirs.oldest <= newest)
            .ok_or(WireError::NoCommonVersion { theirs })
    }
}

/// Takes the control stream's bytes as they come, in pieces of any size, and gives whole frames.
#[derive(Debug, Default)]
pub struct FrameBuffer {
    bytes: BytesMut,
}

impl FrameBuffer {
    pub fn new() -> Self {
        Self::default()
    }

    /// Follow every push with [`Self::next_frame`] until it gives `None`: the buffer then holds less than one frame.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Kind and body of the next frame; `None` where it is not whole yet. After an error the stream is of no more use.
    pub fn next_frame(&mut self) -> Result<Option<Bytes>, WireError> {
        let Some(&length) = self.bytes.first_chunk::<LENGTH_BYTES>() else {
            return Ok(None);
        };
        let length = u32::from_le_bytes(length) as usize;
        if length > FRAME_BYTES_MAX {
            return Err(WireError::TooLarge { bytes: length });
        }
        if self.bytes.len() < LENGTH_BYTES + length {
            self.bytes.reserve(LENGTH_BYTES + length - self.bytes.len());
            return Ok(None);
        }
        self.bytes.advance(LENGTH_BYTES);
        Ok(Some(self.bytes.split_to(length).freeze()))
    }
}

impl EdgeFrame {
    /// With its length in front, ready for the control stream. A hello is the same in every version.
    pub fn encode(&self, version: WireVersion) -> Result<Vec<u8>, WireError> {
        let mut out = Writer::new();
        if let Self::Hello(hello) = self {
            out.u8(kind::HELLO);
            out.raw(&MAGIC);
            out.u16(hello.versions.oldest);
            out.u16(hello.versions.newest);
        }
        match version {
            WireVersion::V1 => v1::write_edge(self, &mut out)?,
        }
        with_length(&out)
    }

    /// Reads what [`FrameBuffer::next_frame`] gave.
    pub fn decode(frame: &[u8], version: WireVersion) -> Result<Self, WireError> {
        let mut reader = Reader::new(frame);
        let kind = reader.u8().map_err(named("edge"))?;
        if kind == kind::HELLO {
            return decode_hello(reader);
        }
        match version {
            WireVersion::V1 => v1::read_edge(kind, reader),
        }
    }
}

fn decode_hello(mut reader: Reader<'_>) -> Result<EdgeFrame, WireError> {
    let name = named("hello");
    let found = reader.array().map_err(name)?;
    if found != MAGIC {
        return Err(WireError::Magic { found });
    }
    let versions = Versions {
        oldest: reader.u16().map_err(name)?,
        newest: reader.u16().map_err(name)?,
    };
    WireVersion::common(versions)?;
    v1::read_hello(versions, reader).map_err(name)
}

impl CentreFrame {
    /// With its length in front, ready for the control stream.
    pub fn encode(&self, version: WireVersion) -> Result<Vec<u8>, WireError> {
        let mut out = Writer::new();
        match self {
            Self::Refuse(refuse) => write_refuse(refuse, &mut out),
            Self::Welcome(_)
            | Self::DeclareAck { .. }
            | Self::Ack { .. }
            | Self::Want { .. }
            | Self::Credit { .. }
            | Self::Heartbeat => match version {
                WireVersion::V1 => v1::write_centre(self, &mut out),
            },
        }
        with_length(&out)
    }

    /// Reads what [`FrameBuffer::next_frame`] gave. A welcome says itself in which version it is.
    pub fn decode(frame: &[u8], version: WireVersion) -> Result<Self, WireError> {
        let mut reader = Reader::new(frame);
        match reader.u8().map_err(named("centre"))? {
            kind::REFUSE => read_refuse(reader).map_err(named("refuse")),
            kind::WELCOME => {
                let number = reader.u16().map_err(named("welcome"))?;
                let theirs = Versions {
                    oldest: number,
                    newest: number,
                };
                match WireVersion::common(theirs)? {
                    WireVersion::V1 => v1::read_welcome(number, reader),
                }
            }
            kind => match version {
                WireVersion::V1 => v1::read_centre(kind, reader),
            },
        }
    }
}

fn write_refuse(refuse: &Refuse, out: &mut Writer) {
    let Refuse { code, text } = refuse;
    out.u8(kind::REFUSE);
    out.u16(code.to_u16());
    let end = text.floor_char_boundary(REFUSE_CHARS_MAX);
    out.text(&text[..end]);
}

fn read_refuse(mut reader: Reader<'_>) -> Result<CentreFrame, ByteError> {
    let refuse = Refuse {
        code: RefuseCode::from_u16(reader.u16()?),
        text: reader
            .text("characters of a reason", REFUSE_CHARS_MAX)?
            .to_owned(),
    };
    reader.finish()?;
    Ok(CentreFrame::Refuse(refuse))
}

fn with_length(frame: &Writer) -> Result<Vec<u8>, WireError> {
    let bytes = frame.len();
    if bytes > FRAME_BYTES_MAX {
        return Err(WireError::TooLarge { bytes });
    }
    let mut out = Vec::with_capacity(LENGTH_BYTES + bytes);
    out.extend_from_slice(&(bytes as u32).to_le_bytes());
    out.extend_from_slice(frame.as_bytes());
    Ok(out)
}

pub(crate) fn named(frame: &'static str) -> impl Fn(ByteError) -> WireError + Copy {
    move |source| WireError::Bytes { frame, source }
}
