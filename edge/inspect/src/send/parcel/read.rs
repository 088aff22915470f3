//! Opens what was sealed: one pass over the entries, which reads declarations and passes over blocks.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use bytes::Bytes;
use efd_edge_ship::{Source, SourceError};
use efd_shared_model::bytes::{ByteError, Reader};
use efd_shared_model::epoch::read_lane;
use efd_shared_model::{
    BlockId, BlockNumber, EpochDeclaration, EpochId, Fingerprint, Lane, RangeSet, Schema,
    SealedBlock, StreamDeclaration, StreamNumber,
};
use efd_shared_wire::edge::{HeldEpoch, HeldLane};
use efd_shared_wire::frame::LaneKey;
use efd_shared_wire::limits::{LANES_MAX, STREAMS_MAX};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use super::{
    BLOCK, BLOCK_KEY_BYTES, BODY_BYTES_MAX, CHECKSUM_BYTES, END, ENTRY_HEADER_BYTES, EPOCH,
    HEADER_BYTES, MAGIC, SCHEMA, VERSION,
};

/// Every how many blocks of a lane the place of one is remembered: bounds what a parcel of millions takes of memory.
const REMEMBERED_EVERY: u64 = 64;

/// Bits that may be wrong in a header that is still taken for one: every entry has a checksum of its own.
const FLIPPED_MAX: u32 = 8;

/// Whether the file begins as one, or nearly.
pub fn is_parcel(path: &Path) -> bool {
    let mut header = [0; HEADER_BYTES];
    let is_file = path.is_file();
    let mut read = || File::open(path).and_then(|mut file| file.read_exact(&mut header));
    is_file && read().is_ok() && (header.starts_with(&MAGIC) || is_nearly_ours(&header))
}

/// A header of this version in which a few bits are not what they were.
fn is_nearly_ours(header: &[u8; HEADER_BYTES]) -> bool {
    let mut ours = [0; HEADER_BYTES];
    ours[..4].copy_from_slice(&MAGIC);
    ours[4..6].copy_from_slice(&VERSION.to_le_bytes());
    let checksum = xxh3_64(&ours[..6]).to_le_bytes();
    ours[6..].copy_from_slice(&checksum);
    let flipped = ours.iter().zip(header).map(|(a, b)| (a ^ b).count_ones());
    flipped.sum::<u32>() <= FLIPPED_MAX
}

/// A sealed file. `F` is what it lies in.
#[derive(Debug)]
pub struct Parcel<F = File> {
    file: Buffered<F>,
    epochs: BTreeMap<EpochId, EpochIn>,
    schemas: HashMap<Fingerprint, Schema>,
    places: BTreeMap<LaneKey, Places>,
    undeclared: BTreeSet<LaneKey>,
    /// What is wrong with it, in words.
    faults: Vec<String>,
}

/// Why nothing at all can be read of it.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("not a sealed file, or its first bytes are damaged")]
    NotAParcel,
    #[error("it was sealed in version {found}, this build reads up to {VERSION}")]
    Newer { found: u16 },
    #[error("read it")]
    Read(#[from] io::Error),
}

/// Faults that are told one by one: more say nothing more.
const FAULTS_MAX: usize = 10_000;

#[derive(Debug)]
struct EpochIn {
    declaration: EpochDeclaration,
    streams: Vec<StreamDeclaration>,
    heads: Vec<(Lane, BlockNumber)>,
}

#[derive(Debug, Default)]
struct Places {
    held: RangeSet,
    count: u64,
    /// Number, offset of the entry; ascending.
    remembered: Vec<(u64, u64)>,
    /// Behind the block that was read last.
    after_last: Option<(u64, u64)>,
}

impl<F: Read + Seek> Parcel<F> {
    /// Reads all but the blocks. What is damaged is named in [`Self::faults`], and the rest is there.
    pub fn open(file: F) -> Result<Self, OpenError> {
        let mut parcel = Self {
            file: Buffered::new(file)?,
            epochs: BTreeMap::new(),
            schemas: HashMap::new(),
            places: BTreeMap::new(),
            undeclared: BTreeSet::new(),
            faults: Vec::new(),
        };
        parcel.check_header()?;
        parcel.scan()?;
        Ok(parcel)
    }

    pub fn faults(&self) -> &[String] {
        &self.faults
    }

    fn check_header(&mut self) -> Result<(), OpenError> {
        let mut header = [0; HEADER_BYTES];
        let read = self.file.read_at(0, &mut header);
        read.map_err(|_| OpenError::NotAParcel)?;
        let (said, checksum) = header.split_at(6);
        let is_whole = checksum == xxh3_64(said).to_le_bytes();
        let version = u16::from_le_bytes([header[4], header[5]]);
        if !said.starts_with(&MAGIC) || !is_whole {
            if !is_nearly_ours(&header) {
                return Err(OpenError::NotAParcel);
            }
            self.faults.push("its header is damaged".into());
            return Ok(());
        }
        if VERSION < version {
            return Err(OpenError::Newer { found: version });
        }
        Ok(())
    }

    fn scan(&mut self) -> io::Result<()> {
        let (mut at, mut checksums, mut ended) = (HEADER_BYTES as u64, Xxh3::new(), false);
        let mut blocks = 0;
        while at < self.file.length && self.faults.len() < FAULTS_MAX {
            let Some(entry) = self.file.entry(at)? else {
                self.faults.push(format!(
                    "cut off at byte {at}: what follows is missing or not an entry"
                ));
                return Ok(());
            };
            if ended {
                self.faults
                    .push(format!("something follows its end, at byte {at}"));
                return Ok(());
            }
            ended = entry.kind == END;
            let stored = self.file.checksum_of(&entry)?;
            if entry.kind == BLOCK {
                blocks += 1;
                self.on_block(&entry)?;
            } else {
                let body = self.file.body(&entry)?;
                let sum = entry.checksum(&body);
                if sum == stored {
                    if let Err(error) = self.on_declaration(&entry, &body, blocks, &checksums) {
                        self.faults.push(format!("entry at byte {at}: {error}"));
                    }
                } else {
                    self.faults
                        .push(format!("entry at byte {at}: its checksum is wrong"));
                }
            }
            checksums.update(&stored);
            at = entry.next();
        }
        if !ended && self.file.length <= at {
            self.faults.push("cut off: it has no end".into());
        }
        Ok(())
    }

    fn on_block(&mut self, entry: &Entry) -> io::Result<()> {
        let mut key = [0; BLOCK_KEY_BYTES];
        let read = if entry.length < BLOCK_KEY_BYTES as u64 {
            None
        } else {
            self.file.read_at(entry.body_at(), &mut key)?;
            block_key(&key).ok()
        };
        let Some((key, number)) = read else {
            let at = entry.at;
            self.faults.push(format!("entry at byte {at}: not a block"));
            return Ok(());
        };
        let is_declared = |epoch: &EpochIn| epoch.heads.iter().any(|(lane, _)| *lane == key.lane);
        if !self.epochs.get(&key.epoch).is_some_and(is_declared) {
            // Once a lane: where a declaration is damaged, its blocks may be millions.
            if self.undeclared.insert(key) {
                let (at, epoch, lane) = (entry.at, key.epoch, key.lane);
                self.faults.push(format!(
                    "entry at byte {at}: block {number} of {epoch}/{lane}, which is not declared; more may follow"
                ));
            }
            return Ok(());
        }
        let places = self.places.entry(key).or_default();
        if places.held.last() >= Some(number) {
            let at = entry.at;
            self.faults.push(format!(
                "entry at byte {at}: block {number} is out of order"
            ));
            return Ok(());
        }
        if places.count.is_multiple_of(REMEMBERED_EVERY) {
            places.remembered.push((number, entry.at));
        }
        places.count += 1;
        places.held.insert(number);
        Ok(())
    }

    fn on_declaration(
        &mut self,
        entry: &Entry,
        body: &[u8],
        blocks: u64,
        checksums: &Xxh3,
    ) -> Result<(), String> {
        match entry.kind {
            SCHEMA => {
                let text = std::str::from_utf8(body).map_err(|error| error.to_string())?;
                let schema = Schema::new(text);
                self.schemas.insert(schema.fingerprint(), schema);
            }
            EPOCH => {
                let epoch = read_epoch(body).map_err(|error| error.to_string())?;
                self.epochs.insert(epoch.declaration.epoch, epoch);
            }
            END => {
                let mut reader = Reader::new(body);
                let mut read = || Ok::<_, ByteError>((reader.varint()?, reader.array::<16>()?));
                let (said, sum) = read().map_err(|error| error.to_string())?;
                if said != blocks {
                    return Err(format!("{said} blocks were sealed, and {blocks} are here"));
                }
                if sum != checksums.digest128().to_le_bytes() {
                    return Err("entries before it were altered".into());
                }
            }
            other => return Err(format!("its kind {other} is not known")),
        }
        Ok(())
    }

    /// What it holds, as a shipper begins with it.
    pub fn held(&self) -> Vec<HeldEpoch> {
        let held = |epoch: &EpochIn| {
            let id = epoch.declaration.epoch;
            let is_here = |stream: &&StreamDeclaration| self.schemas.contains_key(&stream.schema);
            let streams = epoch.streams.iter().take_while(is_here).count();
            let lanes = epoch.heads.iter().filter_map(|&(lane, head)| {
                let places = self.places.get(&LaneKey { epoch: id, lane })?;
                Some(HeldLane {
                    lane,
                    head: head.max(BlockNumber(places.held.last().unwrap_or(0))),
                    held: places.held.clone(),
                    acked: RangeSet::new(),
                })
            });
            HeldEpoch {
                declaration: epoch.declaration.clone(),
                streams_through: StreamNumber(u32::try_from(streams).unwrap_or(u32::MAX)),
                lanes: lanes.collect(),
            }
        };
        let mut epochs: Vec<_> = self.epochs.values().map(held).collect();
        epochs.sort_by_key(|epoch| epoch.declaration.began.utc);
        epochs
    }

    fn find(&mut self, key: LaneKey, number: u64) -> io::Result<Option<Entry>> {
        let Some(places) = self.places.get(&key) else {
            return Ok(None);
        };
        let behind = places
            .remembered
            .partition_point(|(first, _)| *first <= number);
        let Some(&remembered) = behind
            .checked_sub(1)
            .and_then(|it| places.remembered.get(it))
        else {
            return Ok(None);
        };
        let near = places
            .after_last
            .filter(|(last, _)| remembered.0 <= *last && *last < number);
        let mut at = near.unwrap_or(remembered).1;
        while let Some(entry) = self.file.entry(at)?.filter(|entry| entry.kind != END) {
            let mut found = [0; BLOCK_KEY_BYTES];
            if entry.kind == BLOCK && BLOCK_KEY_BYTES as u64 <= entry.length {
                self.file.read_at(entry.body_at(), &mut found)?;
                match block_key(&found) {
                    Ok((lane, here)) if lane == key && here == number => return Ok(Some(entry)),
                    Ok((lane, here)) if lane != key || number < here => return Ok(None),
                    Ok(_) | Err(_) => {}
                }
            }
            at = entry.next();
        }
        Ok(None)
    }
}

impl<F: Read + Seek> Parcel<F> {
    /// Reads every block, and gives how many are whole and their bytes; what is not goes to `fault`, which may end it.
    pub fn check<E>(
        &mut self,
        mut fault: impl FnMut(BlockId, SourceError) -> Result<(), E>,
        mut progress: impl FnMut(u64, u64) -> Result<(), E>,
    ) -> Result<(u64, u64), E> {
        let (mut blocks, mut bytes) = (0, 0);
        for epoch in self.held() {
            let edge = epoch.declaration.edge;
            for lane in epoch.lanes {
                let key = LaneKey {
                    epoch: epoch.declaration.epoch,
                    lane: lane.lane,
                };
                for number in lane.held.iter().flatten() {
                    let id = key.at(edge).block(BlockNumber(number));
                    match self.read_block(&id) {
                        Ok(block) => {
                            blocks += 1;
                            bytes += block.bytes().len() as u64;
                        }
                        Err(reason) => fault(id, reason)?,
                    }
                    progress(blocks, bytes)?;
                }
            }
        }
        Ok((blocks, bytes))
    }

    fn read_block(&mut self, id: &BlockId) -> Result<SealedBlock, SourceError> {
        let key = LaneKey::from(id.lane);
        let entry = self
            .find(key, id.number.0)?
            .ok_or("not in the sealed file")?;
        let body = self.file.body(&entry)?;
        if entry.checksum(&body) != self.file.checksum_of(&entry)? {
            return Err("its checksum in the sealed file is wrong".into());
        }
        if let Some(places) = self.places.get_mut(&key) {
            places.after_last = Some((id.number.0, entry.next()));
        }
        let block = SealedBlock::parse(Bytes::from(body).slice(BLOCK_KEY_BYTES..))?;
        block.verify()?;
        if block.id() != *id {
            return Err(format!("it says that it is {}", block.id()).into());
        }
        Ok(block)
    }
}

impl<F: Read + Seek + Send + std::fmt::Debug + 'static> Source for Parcel<F> {
    fn block(&mut self, id: &BlockId) -> Result<SealedBlock, SourceError> {
        self.read_block(id)
    }

    fn streams(
        &mut self,
        epoch: EpochId,
        first: StreamNumber,
        through: StreamNumber,
    ) -> Result<Vec<(StreamDeclaration, Schema)>, SourceError> {
        let streams = self.epochs.get(&epoch).map_or(&[][..], |it| &it.streams);
        let wanted = streams
            .iter()
            .filter(|stream| (first..=through).contains(&stream.number));
        Ok(wanted
            .map_while(|stream| Some((stream.clone(), self.schemas.get(&stream.schema)?.clone())))
            .collect())
    }
}

fn block_key(bytes: &[u8]) -> Result<(LaneKey, u64), ByteError> {
    let mut reader = Reader::new(bytes);
    let epoch = EpochId(reader.array()?);
    let lane = read_lane(&mut reader)?;
    Ok((LaneKey { epoch, lane }, reader.u64()?))
}

fn read_epoch(body: &[u8]) -> Result<EpochIn, ByteError> {
    let mut reader = Reader::new(body);
    let declaration = EpochDeclaration::read(&mut reader)?;
    let count = reader.count("streams", STREAMS_MAX as usize)?;
    let mut streams = Vec::new();
    for number in 1..=count {
        let stream = StreamDeclaration::read(&mut reader)?;
        if stream.number.0 as usize != number {
            return Err(reader.invalid("number of a stream"));
        }
        streams.push(stream);
    }
    let count = reader.count("lanes", LANES_MAX)?;
    let heads = (0..count)
        .map(|_| Ok((read_lane(&mut reader)?, BlockNumber(reader.varint()?))))
        .collect::<Result<_, ByteError>>()?;
    reader.finish()?;
    Ok(EpochIn {
        declaration,
        streams,
        heads,
    })
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    at: u64,
    kind: u8,
    length: u64,
}

impl Entry {
    fn body_at(&self) -> u64 {
        self.at + ENTRY_HEADER_BYTES as u64
    }

    fn next(&self) -> u64 {
        self.body_at() + self.length + CHECKSUM_BYTES as u64
    }

    fn checksum(&self, body: &[u8]) -> [u8; CHECKSUM_BYTES] {
        let mut header = [self.kind, 0, 0, 0, 0];
        // It was read from four bytes.
        header[1..].copy_from_slice(&(self.length as u32).to_le_bytes());
        let mut sum = Xxh3::new();
        sum.update(&header);
        sum.update(body);
        sum.digest().to_le_bytes()
    }
}

/// A file read at any place, through a window: most reads are a few bytes, near the one before.
#[derive(Debug)]
struct Buffered<F> {
    file: F,
    length: u64,
    window: Vec<u8>,
    window_at: u64,
}

const WINDOW_BYTES: usize = 64 << 10;

impl<F: Read + Seek> Buffered<F> {
    fn new(mut file: F) -> io::Result<Self> {
        Ok(Self {
            length: file.seek(SeekFrom::End(0))?,
            file,
            window: Vec::new(),
            window_at: 0,
        })
    }

    fn read_at(&mut self, at: u64, out: &mut [u8]) -> io::Result<()> {
        let end = at + out.len() as u64;
        let window_end = self.window_at + self.window.len() as u64;
        let is_inside = self.window_at <= at && end <= window_end;
        if !is_inside {
            self.file.seek(SeekFrom::Start(at))?;
            if out.len() > WINDOW_BYTES {
                return self.file.read_exact(out);
            }
            self.window.clear();
            self.window_at = at;
            (&mut self.file)
                .take(WINDOW_BYTES as u64)
                .read_to_end(&mut self.window)?;
        }
        let from = (at - self.window_at) as usize;
        let bytes = self.window.get(from..from + out.len());
        let bytes = bytes.ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(bytes);
        Ok(())
    }

    /// `None` where no whole entry is there.
    fn entry(&mut self, at: u64) -> io::Result<Option<Entry>> {
        let mut header = [0; ENTRY_HEADER_BYTES];
        if self.length < at + (ENTRY_HEADER_BYTES + CHECKSUM_BYTES) as u64 {
            return Ok(None);
        }
        self.read_at(at, &mut header)?;
        let [kind, length @ ..] = header;
        let length = u32::from_le_bytes(length).into();
        let entry = Entry { at, kind, length };
        let is_whole = length <= BODY_BYTES_MAX as u64 && entry.next() <= self.length;
        Ok(is_whole.then_some(entry))
    }

    fn body(&mut self, entry: &Entry) -> io::Result<Vec<u8>> {
        // The length is that of an entry that fits into the file.
        let mut body = vec![0; entry.length as usize];
        self.read_at(entry.body_at(), &mut body)?;
        Ok(body)
    }

    fn checksum_of(&mut self, entry: &Entry) -> io::Result<[u8; CHECKSUM_BYTES]> {
        let mut checksum = [0; CHECKSUM_BYTES];
        self.read_at(entry.next() - CHECKSUM_BYTES as u64, &mut checksum)?;
        Ok(checksum)
    }
}
