//! Version 1 of the frames. Its bytes never change: `fixtures/v1` and `WIRE.md` hold them.

use std::time::Duration;

use efd_shared_model::bytes::{ByteError, Reader, Writer};
use efd_shared_model::epoch::{VERSION_CHARS_MAX, read_lane, write_lane};
use efd_shared_model::ids::SITE_CHARS_MAX;
use efd_shared_model::schema::SCHEMA_BYTES_MAX;
use efd_shared_model::{
    BlockNumber, ClockState, EdgeId, EpochDeclaration, EpochId, RangeSet, Schema,
    StreamDeclaration, StreamNumber,
};

use crate::codec::{WireError, WireVersion, kind, named};
use crate::frame::{
    CentreFrame, Declare, EdgeFrame, EdgeHeartbeat, Hello, HelloLane, LaneKey, Unable,
    UnableReason, Versions, Welcome,
};
use crate::limits::{
    DECLARE_BYTES_MAX, DECLARE_STREAMS_MAX, EPOCHS_MAX, LANES_MAX, RANGES_MAX, WELCOME_RANGES_MAX,
};

const DECLARE_ZSTD_LEVEL: i32 = 3;
const VERSION: u16 = WireVersion::V1.number();

/// The head of a hello has been written.
pub(crate) fn write_edge(frame: &EdgeFrame, out: &mut Writer) -> Result<(), WireError> {
    match frame {
        EdgeFrame::Hello(hello) => write_hello(hello, out),
        EdgeFrame::Declare(declare) => {
            out.u8(kind::DECLARE);
            write_declare(declare, out)?;
        }
        EdgeFrame::Epoch(declaration) => {
            out.u8(kind::EPOCH);
            declaration.write(out);
        }
        EdgeFrame::Heartbeat(heartbeat) => {
            out.u8(kind::EDGE_HEARTBEAT);
            write_heartbeat(heartbeat, out);
        }
        EdgeFrame::Unable(Unable {
            lane,
            ranges,
            reason,
        }) => {
            out.u8(kind::UNABLE);
            write_key(out, *lane);
            out.u8(*reason as u8);
            ranges.write(out);
        }
    }
    Ok(())
}

pub(crate) fn read_edge(kind: u8, mut reader: Reader<'_>) -> Result<EdgeFrame, WireError> {
    let reader = &mut reader;
    match kind {
        kind::DECLARE => read_declare(reader).map(EdgeFrame::Declare),
        kind::EPOCH => whole(reader, EpochDeclaration::read)
            .map(EdgeFrame::Epoch)
            .map_err(named("epoch")),
        kind::EDGE_HEARTBEAT => whole(reader, read_heartbeat)
            .map(EdgeFrame::Heartbeat)
            .map_err(named("heartbeat")),
        kind::UNABLE => whole(reader, read_unable)
            .map(EdgeFrame::Unable)
            .map_err(named("unable")),
        found => Err(WireError::Kind {
            frame: "edge",
            found,
            version: VERSION,
        }),
    }
}

pub(crate) fn write_centre(frame: &CentreFrame, out: &mut Writer) {
    match frame {
        CentreFrame::Welcome(welcome) => {
            out.u8(kind::WELCOME);
            write_welcome(welcome, out);
        }
        CentreFrame::DeclareAck { epoch, through } => {
            out.u8(kind::DECLARE_ACK);
            out.raw(&epoch.0);
            out.varint(through.0.into());
        }
        CentreFrame::Ack { lane, ranges } => {
            out.u8(kind::ACK);
            write_key(out, *lane);
            ranges.write(out);
        }
        CentreFrame::Want { lane, ranges } => {
            out.u8(kind::WANT);
            write_key(out, *lane);
            ranges.write(out);
        }
        CentreFrame::Credit { bytes_total } => {
            out.u8(kind::CREDIT);
            out.varint(*bytes_total);
        }
        CentreFrame::Heartbeat => out.u8(kind::CENTRE_HEARTBEAT),
        // Its bytes are the same in every version.
        CentreFrame::Refuse(_) => {}
    }
}

pub(crate) fn read_centre(kind: u8, mut reader: Reader<'_>) -> Result<CentreFrame, WireError> {
    let reader = &mut reader;
    match kind {
        kind::DECLARE_ACK => whole(reader, |reader| {
            Ok(CentreFrame::DeclareAck {
                epoch: EpochId(reader.array()?),
                through: read_stream_number(reader)?,
            })
        })
        .map_err(named("declare-ack")),
        kind::ACK => whole(reader, |reader| {
            Ok(CentreFrame::Ack {
                lane: read_key(reader)?,
                ranges: RangeSet::read(reader, RANGES_MAX)?,
            })
        })
        .map_err(named("ack")),
        kind::WANT => whole(reader, |reader| {
            Ok(CentreFrame::Want {
                lane: read_key(reader)?,
                ranges: RangeSet::read(reader, RANGES_MAX)?,
            })
        })
        .map_err(named("want")),
        kind::CREDIT => whole(reader, |reader| {
            Ok(CentreFrame::Credit {
                bytes_total: reader.varint()?,
            })
        })
        .map_err(named("credit")),
        kind::CENTRE_HEARTBEAT => {
            whole(reader, |_| Ok(CentreFrame::Heartbeat)).map_err(named("heartbeat"))
        }
        found => Err(WireError::Kind {
            frame: "centre",
            found,
            version: VERSION,
        }),
    }
}

/// The head has been written.
fn write_hello(hello: &Hello, out: &mut Writer) {
    let Hello {
        versions: _,
        edge,
        site,
        software,
        epochs,
        lanes,
    } = hello;
    out.raw(&edge.0);
    out.text(site.as_str());
    out.text(software);
    out.varint(epochs.len() as u64);
    for epoch in epochs {
        epoch.write(out);
    }
    out.varint(lanes.len() as u64);
    for HelloLane { key, head, floor } in lanes {
        write_key(out, *key);
        out.varint(head.0);
        out.varint(floor.0);
    }
}

/// The layout is for every version: a later one may add to its end, and what follows the end is for later ones.
pub(crate) fn read_hello(
    versions: Versions,
    mut reader: Reader<'_>,
) -> Result<EdgeFrame, ByteError> {
    let reader = &mut reader;
    let edge = EdgeId(reader.array()?);
    let site = reader.text("characters of a site", SITE_CHARS_MAX)?;
    let site = site.parse().map_err(|_| reader.invalid("site"))?;
    let software = reader.text("characters of a version", VERSION_CHARS_MAX)?;
    let software = software.to_owned();
    let epochs = reader.count("epochs", EPOCHS_MAX)?;
    let epochs = read_each(epochs, || EpochDeclaration::read(reader))?;
    let lanes = reader.count("lanes", LANES_MAX)?;
    let lanes = read_each(lanes, || {
        Ok(HelloLane {
            key: read_key(reader)?,
            head: BlockNumber(reader.varint()?),
            floor: BlockNumber(reader.varint()?),
        })
    })?;
    Ok(EdgeFrame::Hello(Hello {
        versions,
        edge,
        site,
        software,
        epochs,
        lanes,
    }))
}

fn write_welcome(welcome: &Welcome, out: &mut Writer) {
    let Welcome {
        version,
        received,
        streams,
        window_bytes,
        credit_bytes,
    } = welcome;
    out.u16(*version);
    out.varint(received.len() as u64);
    for (key, ranges) in received {
        write_key(out, *key);
        ranges.write(out);
    }
    out.varint(streams.len() as u64);
    for (epoch, through) in streams {
        out.raw(&epoch.0);
        out.varint(through.0.into());
    }
    out.varint(*window_bytes);
    out.varint(*credit_bytes);
}

/// The version has been read.
pub(crate) fn read_welcome(version: u16, mut reader: Reader<'_>) -> Result<CentreFrame, WireError> {
    whole(&mut reader, |reader| {
        let lanes = reader.count("lanes", LANES_MAX)?;
        let mut ranges_left = WELCOME_RANGES_MAX;
        let received = read_each(lanes, || {
            let key = read_key(reader)?;
            let ranges = RangeSet::read(reader, ranges_left)?;
            ranges_left -= ranges.range_count();
            Ok((key, ranges))
        })?;
        let epochs = reader.count("epochs", EPOCHS_MAX)?;
        let streams = read_each(epochs, || {
            Ok((EpochId(reader.array()?), read_stream_number(reader)?))
        })?;
        Ok(CentreFrame::Welcome(Welcome {
            version,
            received,
            streams,
            window_bytes: reader.varint()?,
            credit_bytes: reader.varint()?,
        }))
    })
    .map_err(named("welcome"))
}

fn write_declare(declare: &Declare, out: &mut Writer) -> Result<(), WireError> {
    let Declare {
        epoch,
        streams,
        schemas,
    } = declare;
    let mut plain = Writer::new();
    plain.varint(streams.len() as u64);
    for stream in streams {
        stream.write(&mut plain);
    }
    plain.varint(schemas.len() as u64);
    for schema in schemas {
        plain.text(schema.text());
    }
    let bytes = plain.len();
    if bytes > DECLARE_BYTES_MAX {
        return Err(WireError::DeclareTooLarge { bytes });
    }
    let packed = zstd::bulk::compress(plain.as_bytes(), DECLARE_ZSTD_LEVEL).map_err(|error| {
        WireError::Zstd {
            action: "compress",
            reason: error.to_string(),
        }
    })?;
    out.raw(&epoch.0);
    out.u32(bytes as u32);
    out.raw(&packed);
    Ok(())
}

fn read_declare(reader: &mut Reader<'_>) -> Result<Declare, WireError> {
    let name = named("declare");
    let epoch = EpochId(reader.array().map_err(name)?);
    let bytes = reader.u32().map_err(name)? as usize;
    if bytes > DECLARE_BYTES_MAX {
        return Err(WireError::DeclareTooLarge { bytes });
    }
    let packed = reader.take(reader.remaining()).map_err(name)?;
    let zstd_error = |reason: String| WireError::Zstd {
        action: "decompress",
        reason,
    };
    let plain =
        zstd::bulk::decompress(packed, bytes).map_err(|error| zstd_error(error.to_string()))?;
    if plain.len() != bytes {
        let found = plain.len();
        return Err(zstd_error(format!("{found} bytes, frame says {bytes}")));
    }
    whole(&mut Reader::new(&plain), |reader| {
        let count = reader.count("streams", DECLARE_STREAMS_MAX)?;
        let streams = read_each(count, || StreamDeclaration::read(reader))?;
        let count = reader.count("schemas", DECLARE_STREAMS_MAX)?;
        let schemas = read_each(count, || {
            Ok(Schema::new(
                reader.text("bytes of a schema", SCHEMA_BYTES_MAX)?,
            ))
        })?;
        Ok(Declare {
            epoch,
            streams,
            schemas,
        })
    })
    .map_err(name)
}

fn write_heartbeat(heartbeat: &EdgeHeartbeat, out: &mut Writer) {
    let EdgeHeartbeat {
        clock,
        heads,
        oldest_unacked_age,
        backlog_bytes,
    } = heartbeat;
    clock.write(out);
    out.varint(heads.len() as u64);
    for (key, head) in heads {
        write_key(out, *key);
        out.varint(head.0);
    }
    out.varint(u64::try_from(oldest_unacked_age.as_nanos()).unwrap_or(u64::MAX));
    out.varint(*backlog_bytes);
}

fn read_heartbeat(reader: &mut Reader<'_>) -> Result<EdgeHeartbeat, ByteError> {
    let clock = ClockState::read(reader)?;
    let lanes = reader.count("lanes", LANES_MAX)?;
    let heads = read_each(lanes, || {
        Ok((read_key(reader)?, BlockNumber(reader.varint()?)))
    })?;
    Ok(EdgeHeartbeat {
        clock,
        heads,
        oldest_unacked_age: Duration::from_nanos(reader.varint()?),
        backlog_bytes: reader.varint()?,
    })
}

fn read_unable(reader: &mut Reader<'_>) -> Result<Unable, ByteError> {
    let lane = read_key(reader)?;
    let reason = UnableReason::from_u8(reader.u8()?);
    Ok(Unable {
        lane,
        reason: reason.ok_or_else(|| reader.invalid("reason"))?,
        ranges: RangeSet::read(reader, RANGES_MAX)?,
    })
}

fn write_key(out: &mut Writer, key: LaneKey) {
    let LaneKey { epoch, lane } = key;
    out.raw(&epoch.0);
    write_lane(out, lane);
}

fn read_key(reader: &mut Reader<'_>) -> Result<LaneKey, ByteError> {
    Ok(LaneKey {
        epoch: EpochId(reader.array()?),
        lane: read_lane(reader)?,
    })
}

/// Zero stands for "none yet".
fn read_stream_number(reader: &mut Reader<'_>) -> Result<StreamNumber, ByteError> {
    let number = u32::try_from(reader.varint()?);
    Ok(StreamNumber(
        number.map_err(|_| reader.invalid("stream number"))?,
    ))
}

/// Grows as it reads: a count within its limit but not borne out by the bytes costs nothing.
fn read_each<T>(
    count: usize,
    mut read: impl FnMut() -> Result<T, ByteError>,
) -> Result<Vec<T>, ByteError> {
    (0..count).map(|_| read()).collect()
}

fn whole<T>(
    reader: &mut Reader<'_>,
    read: impl FnOnce(&mut Reader<'_>) -> Result<T, ByteError>,
) -> Result<T, ByteError> {
    let value = read(reader)?;
    reader.clone().finish()?;
    Ok(value)
}
