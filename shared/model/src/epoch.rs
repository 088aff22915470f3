//! An epoch: one start of an edge's writer, with its parent, so that a clone or a restored backup shows.

use crate::bytes::{ByteError, Reader, Writer};
use crate::clock::ClockState;
use crate::ids::{BlockNumber, EdgeId, EpochId, Lane, LaneKind, Site};

/// Lanes of one epoch, shards included.
pub const LANES_MAX: usize = 4096;
pub const VERSION_CHARS_MAX: usize = 64;

/// Two children of one parent are a clone: reported loudly, the data of both kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EpochDeclaration {
    pub edge: EdgeId,
    pub site: Site,
    pub epoch: EpochId,
    /// `None` for the first epoch of a buffer.
    pub parent: Option<Parent>,
    pub began: ClockState,
    /// The version of efd-edge that began it.
    pub software: String,
}

/// The epoch before, and how far each of its lanes was durable when this one began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parent {
    pub epoch: EpochId,
    pub heads: Vec<(Lane, BlockNumber)>,
}

impl EpochDeclaration {
    pub fn write(&self, out: &mut Writer) {
        let Self {
            edge,
            site,
            epoch,
            parent,
            began,
            software,
        } = self;
        out.raw(&edge.0);
        out.text(site.as_str());
        out.raw(&epoch.0);
        match parent {
            None => out.u8(0),
            Some(Parent { epoch, heads }) => {
                out.u8(1);
                out.raw(&epoch.0);
                out.varint(heads.len() as u64);
                for (lane, number) in heads {
                    write_lane(out, *lane);
                    out.varint(number.0);
                }
            }
        }
        began.write(out);
        out.text(software);
    }

    pub fn read(reader: &mut Reader<'_>) -> Result<Self, ByteError> {
        let edge = EdgeId(reader.array()?);
        let site = reader.text("characters of a site", crate::ids::SITE_CHARS_MAX)?;
        let site = site.parse().map_err(|_| reader.invalid("site"))?;
        let epoch = EpochId(reader.array()?);
        let parent = match reader.u8()? {
            0 => None,
            1 => {
                let epoch = EpochId(reader.array()?);
                let count = reader.count("lanes", LANES_MAX)?;
                let heads = (0..count)
                    .map(|_| Ok((read_lane(reader)?, BlockNumber(reader.varint()?))))
                    .collect::<Result<_, ByteError>>()?;
                Some(Parent { epoch, heads })
            }
            _ => return Err(reader.invalid("parent flag")),
        };
        let began = ClockState::read(reader)?;
        let software = reader
            .text("characters of a version", VERSION_CHARS_MAX)?
            .to_owned();
        Ok(Self {
            edge,
            site,
            epoch,
            parent,
            began,
            software,
        })
    }
}

pub fn write_lane(out: &mut Writer, lane: Lane) {
    out.u8(lane.kind as u8);
    out.u16(lane.shard);
}

pub fn read_lane(reader: &mut Reader<'_>) -> Result<Lane, ByteError> {
    let kind = LaneKind::from_u8(reader.u8()?).ok_or_else(|| reader.invalid("lane"))?;
    Ok(Lane {
        kind,
        shard: reader.u16()?,
    })
}
