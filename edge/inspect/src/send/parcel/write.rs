//! Seals.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use efd_edge_ship::Source;
use efd_shared_model::bytes::Writer;
use efd_shared_model::epoch::write_lane;
use efd_shared_model::{BlockNumber, EpochLane, Fingerprint, LaneKind, StreamNumber};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use super::{BLOCK, END, EPOCH, HEADER_BYTES, MAGIC, SCHEMA, VERSION};
use crate::outcome::InspectError;
use crate::screen::Screen;
use crate::send::shipment::Shipment;
use crate::send::{SendError, partial};
use crate::table::size;

/// What was sealed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sealed {
    pub(crate) blocks: u64,
    pub(crate) bytes: u64,
}

/// Blocks between two lines of progress.
const PROGRESS_BLOCKS: u64 = 256;

/// Writes the file, which has its name only when it is whole and durable. A block that cannot be read is named and left out.
pub(crate) fn seal(
    shipment: &Shipment,
    mut source: impl Source,
    path: &Path,
    screen: &mut Screen<impl Write, impl Write>,
) -> Result<Sealed, InspectError> {
    let partial = partial(path);
    let failed = |source: io::Error| SendError::Seal {
        path: path.to_owned(),
        source,
    };
    if path.symlink_metadata().is_ok() {
        return Err(SendError::Exists {
            path: path.to_owned(),
        }
        .into());
    }
    let file = File::create(&partial).map_err(failed)?;
    let mut out = Entries::begin(BufWriter::with_capacity(1 << 20, file)).map_err(failed)?;
    let sealed = fill(shipment, &mut source, &mut out, path, screen);
    let finished = sealed.and_then(|blocks| {
        let bytes = out.end(blocks).map_err(failed)?;
        fs::rename(&partial, path).map_err(failed)?;
        // The name is durable too.
        let folder = path.parent().filter(|it| !it.as_os_str().is_empty());
        File::open(folder.unwrap_or_else(|| Path::new(".")))
            .and_then(|folder| folder.sync_all())
            .map_err(failed)?;
        Ok(Sealed { blocks, bytes })
    });
    if finished.is_err() {
        // It would only take the place that was missing.
        let _removed = fs::remove_file(&partial).is_ok();
    }
    screen.clear_progress()?;
    finished
}

fn fill(
    shipment: &Shipment,
    source: &mut impl Source,
    out: &mut Entries<BufWriter<File>>,
    path: &Path,
    screen: &mut Screen<impl Write, impl Write>,
) -> Result<u64, InspectError> {
    declarations(shipment, source, out, path)?;
    let (mut blocks, total) = (0, shipment.blocks());
    for kind in LaneKind::ALL {
        for epoch in &shipment.epochs {
            for lane in epoch.lanes.iter().filter(|lane| lane.lane.kind == kind) {
                let log = EpochLane {
                    edge: shipment.edge,
                    epoch: epoch.declaration.epoch,
                    lane: lane.lane,
                };
                for number in lane.held.iter().flatten() {
                    let id = log.block(BlockNumber(number));
                    let block = match source.block(&id) {
                        Ok(block) => block,
                        Err(reason) => {
                            screen.damaged(format_args!("block {id}: {reason}"))?;
                            continue;
                        }
                    };
                    let mut key = Writer::new();
                    key.raw(&log.epoch.0);
                    write_lane(&mut key, log.lane);
                    key.u64(number);
                    out.entry(BLOCK, &[key.as_bytes(), &block.bytes()[..]])
                        .map_err(|source| SendError::Seal {
                            path: path.to_owned(),
                            source,
                        })?;
                    blocks += 1;
                    if u64::is_multiple_of(blocks, PROGRESS_BLOCKS) {
                        let bytes = size(out.bytes);
                        screen.progress(format_args!("{blocks} of {total} blocks, {bytes}"))?;
                    }
                }
            }
        }
    }
    Ok(blocks)
}

fn declarations(
    shipment: &Shipment,
    source: &mut impl Source,
    out: &mut Entries<BufWriter<File>>,
    path: &Path,
) -> Result<(), InspectError> {
    let failed = |source: io::Error| SendError::Seal {
        path: path.to_owned(),
        source,
    };
    let mut written: BTreeSet<Fingerprint> = BTreeSet::new();
    for epoch in &shipment.epochs {
        let id = epoch.declaration.epoch;
        let streams = source
            .streams(id, StreamNumber(1), epoch.streams_through)
            .map_err(|source| SendError::Declarations { epoch: id, source })?;
        let mut body = Writer::new();
        epoch.declaration.write(&mut body);
        body.varint(streams.len() as u64);
        for (stream, schema) in &streams {
            if written.insert(schema.fingerprint()) {
                out.entry(SCHEMA, &[schema.text().as_bytes()])
                    .map_err(failed)?;
            }
            stream.write(&mut body);
        }
        body.varint(epoch.lanes.len() as u64);
        for lane in &epoch.lanes {
            write_lane(&mut body, lane.lane);
            body.varint(lane.head.0);
        }
        out.entry(EPOCH, &[body.as_bytes()]).map_err(failed)?;
    }
    Ok(())
}

struct Entries<W> {
    out: W,
    checksums: Xxh3,
    bytes: u64,
}

impl Entries<BufWriter<File>> {
    fn begin(mut out: BufWriter<File>) -> io::Result<Self> {
        let mut header = Writer::new();
        header.raw(&MAGIC);
        header.u16(VERSION);
        header.u64(xxh3_64(header.as_bytes()));
        debug_assert_eq!(header.len(), HEADER_BYTES);
        out.write_all(header.as_bytes())?;
        Ok(Self {
            out,
            checksums: Xxh3::new(),
            bytes: header.len() as u64,
        })
    }

    fn entry(&mut self, kind: u8, parts: &[&[u8]]) -> io::Result<()> {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        // Blocks and declarations have limits far below it.
        let length = u32::try_from(length).map_err(io::Error::other)?;
        let mut header = [kind, 0, 0, 0, 0];
        header[1..].copy_from_slice(&length.to_le_bytes());
        let mut checksum = Xxh3::new();
        for part in [&header[..]].iter().chain(parts) {
            checksum.update(part);
            self.out.write_all(part)?;
            self.bytes += part.len() as u64;
        }
        let checksum = checksum.digest().to_le_bytes();
        self.checksums.update(&checksum);
        self.bytes += checksum.len() as u64;
        self.out.write_all(&checksum)
    }

    /// Gives the bytes of the whole, which is durable.
    fn end(mut self, blocks: u64) -> io::Result<u64> {
        let mut body = Writer::new();
        body.varint(blocks);
        body.raw(&self.checksums.digest128().to_le_bytes());
        self.entry(END, &[body.as_bytes()])?;
        self.out.flush()?;
        self.out.get_ref().sync_all()?;
        Ok(self.bytes)
    }
}
