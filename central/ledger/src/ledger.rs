//! The consumer's core, step by step: time is an argument.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

use efd_central_log::{BlockLog, Delivery, LogError, Progress, Stream};
use efd_shared_avro::{Numbered, Numbers, RecordSchema};
use efd_shared_model::block::Section;
use efd_shared_model::committed::COMMITTED_TOPIC;
use efd_shared_model::digest::{LaneDigest, Tally};
use efd_shared_model::loss::LOSS_TOPIC;
use efd_shared_model::{
    BlockHeader, Committed, EpochId, EpochLane, Loss, RangeSet, Site, StreamNumber, TopicKind,
    UtcNanos,
};

use crate::book::{BlockLoss, BlockRow, Book, NumberLoss, Page};
use crate::numbers::{Mark, Runs, Span};
use crate::series::{LaneNumber, PublisherKey, PublisherNumber, SeriesNumber};
use crate::{Hour, LedgerError, Standing};

/// Streams that are remembered; more are looked up again.
const STREAMS_MAX: usize = 1 << 16;

/// A book that this process alone writes.
#[derive(Debug)]
pub struct Ledger {
    folder: PathBuf,
    book: Book,
    streams: HashMap<(EpochId, StreamNumber), Arc<Known>>,
    series: BTreeMap<(Site, String), SeriesNumber>,
    publishers: BTreeMap<PublisherKey, (PublisherNumber, Runs)>,
    lanes: BTreeMap<EpochLane, LaneNumber>,
    page: Page,
    /// What the book and the page have together.
    progress: Progress,
    committed: Progress,
    counters: Counters,
    numbers: Numbers,
    /// Days of UTC that were counted in since somebody asked.
    touched: BTreeSet<i64>,
    /// Blocks that were absent when statements were compared last.
    pub(crate) suspects: BTreeMap<EpochLane, RangeSet>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    pub blocks: u64,
    pub records: u64,
    /// Losses that were named.
    pub losses: u64,
    /// Blocks, and records of losses, that do not decode.
    pub unreadable: u64,
    pub commits: u64,
    /// Statements of edges.
    pub compared: u64,
    /// Of them, those of which blocks have other records than the edge says.
    pub differing: u64,
    /// Blocks that edges believed to be here, and were asked for.
    pub silent_blocks: u64,
}

/// Of a stream.
#[derive(Debug)]
struct Known {
    series: SeriesNumber,
    site: Site,
    is_of_losses: bool,
    is_of_statements: bool,
    numbered: Option<Numbered>,
}

impl Ledger {
    pub fn open(folder: PathBuf) -> Result<(Self, Progress), LedgerError> {
        let book = Book::create(&folder)?;
        let opened = book.load()?;
        let progress = opened.progress.clone();
        let ledger = Self {
            folder,
            book,
            streams: HashMap::new(),
            series: opened.series,
            publishers: opened.publishers,
            lanes: opened.lanes,
            page: Page::default(),
            committed: opened.progress.clone(),
            progress: opened.progress,
            counters: Counters::default(),
            numbers: Numbers::default(),
            touched: BTreeSet::new(),
            suspects: BTreeMap::new(),
        };
        Ok((ledger, progress))
    }

    /// A second connection, for whoever asks.
    pub fn reader(&self) -> Result<Book, LedgerError> {
        Book::open(&self.folder)
    }

    pub fn counters(&self) -> Counters {
        self.counters
    }

    pub fn committed(&self) -> &Progress {
        &self.committed
    }

    pub fn has_news(&self) -> bool {
        self.progress != self.committed
    }

    /// Blocks that the next commit writes.
    pub fn waiting(&self) -> usize {
        self.page.blocks.len()
    }

    /// A block that was taken before is dropped. On an error, which is the log's, nothing was taken: offer it again.
    pub fn take<L: BlockLog + ?Sized>(
        &mut self,
        log: &L,
        delivery: &Delivery,
        now: UtcNanos,
    ) -> Result<(), LogError> {
        let Delivery {
            partition,
            place,
            block: sealed,
        } = delivery;
        if !self.progress.has(sealed) {
            let mut tally = Tally::default();
            match sealed.open() {
                Ok(block) => {
                    let epoch = sealed.id().lane.epoch;
                    let known = block
                        .sections()
                        .map(|section| self.known(log, epoch, section.stream()))
                        .collect::<Result<Vec<_>, _>>()?;
                    let digests = LaneDigest::new(&sealed.id().lane);
                    for (section, known) in block.sections().zip(known) {
                        let known = known.as_deref();
                        tally.union(self.take_section(known, sealed.header(), section, &digests));
                    }
                    self.counters.records += u64::from(sealed.header().records);
                }
                Err(error) => {
                    self.counters.unreadable += 1;
                    tracing::error!(%error, block = %sealed.id(), "A block of the log cannot be read, and is not counted");
                }
            }
            self.note_block(delivery, tally, now);
            self.progress.insert(sealed);
            self.counters.blocks += 1;
        }
        self.progress.reach(partition, place.next());
        Ok(())
    }

    /// Takes over how far a follower is whose every delivery has been taken.
    pub fn pass(&mut self, follower: &Progress) {
        self.progress.pass(follower);
    }

    /// On an error nothing is lost: call it again.
    pub fn commit(&mut self) -> Result<(), LedgerError> {
        self.book.commit(&self.page, &self.progress)?;
        let hours = self.page.hours.keys();
        self.touched
            .extend(hours.map(|(_, hour)| hour.begin().day()));
        self.page = Page::default();
        self.committed.clone_from(&self.progress);
        self.counters.commits += 1;
        Ok(())
    }

    pub(crate) fn settle(
        &mut self,
        said: &Committed,
        standing: Standing,
    ) -> Result<(), LedgerError> {
        self.book.set_standing(said, standing)?;
        self.counters.compared += 1;
        self.counters.differing += u64::from(standing == Standing::Differs);
        Ok(())
    }

    /// Blocks that edges believe to be here, and that are not: news.
    pub(crate) fn note_silent(&mut self, blocks: u64) {
        self.counters.silent_blocks += blocks;
    }

    /// Days since 1970 whose account may have changed; each is told once.
    pub fn take_touched(&mut self) -> BTreeSet<i64> {
        std::mem::take(&mut self.touched)
    }

    /// Lets go of where blocks stand that the log does not hold any more.
    pub fn forget_old<L: BlockLog + ?Sized>(&mut self, log: &L) -> Result<(), LedgerError> {
        for partition in log.partitions()? {
            let (first, _) = log.bounds(&partition)?;
            self.book.forget_blocks(&partition, first)?;
        }
        Ok(())
    }

    /// `None` where the log knows no such stream.
    fn known<L: BlockLog + ?Sized>(
        &mut self,
        log: &L,
        epoch: EpochId,
        number: StreamNumber,
    ) -> Result<Option<Arc<Known>>, LogError> {
        if let Some(known) = self.streams.get(&(epoch, number)) {
            return Ok(Some(Arc::clone(known)));
        }
        let Some(stream) = log.stream(epoch, number)? else {
            return Ok(None);
        };
        let Stream {
            site,
            declaration,
            schema,
        } = &*stream;
        let is_numbered = match declaration.kind {
            TopicKind::Telemetry | TopicKind::Event | TopicKind::Command | TopicKind::AckCmd => {
                true
            }
            TopicKind::Loss | TopicKind::Parked | TopicKind::Reduced => false,
        };
        let known = Arc::new(Known {
            series: self.series(site, &declaration.topic, declaration.kind),
            site: site.clone(),
            is_of_losses: declaration.topic == LOSS_TOPIC,
            is_of_statements: declaration.topic == COMMITTED_TOPIC,
            numbered: is_numbered.then(|| numbered(schema.text())).flatten(),
        });
        if self.streams.len() >= STREAMS_MAX {
            self.streams.clear();
        }
        self.streams.insert((epoch, number), Arc::clone(&known));
        Ok(Some(known))
    }

    fn series(&mut self, site: &Site, topic: &str, kind: TopicKind) -> SeriesNumber {
        let key = (site.clone(), topic.to_owned());
        if let Some(&number) = self.series.get(&key) {
            return number;
        }
        let number = SeriesNumber(self.series.len() as i64 + 1);
        let (site, topic) = key.clone();
        self.page.series.push((number, site, topic, kind));
        self.series.insert(key, number);
        number
    }

    /// Gives the section's records. Of a stream that is not known they are counted for the block alone.
    fn take_section(
        &mut self,
        known: Option<&Known>,
        header: &BlockHeader,
        section: Section<'_>,
        digests: &LaneDigest,
    ) -> Tally {
        let mut tally = Tally::default();
        for record in section.records() {
            let digest = digests.of(header.id.number, record.index);
            tally.add(digest);
            let Some(known) = known else {
                continue;
            };
            let time = record.stamps.event_time;
            let hour = Hour::of(time);
            let count = self.page.hours.entry((known.series, hour)).or_default();
            count.add(digest);
            if known.is_of_losses {
                match Loss::decode(record.datum) {
                    Ok(loss) => self.take_loss(&known.site, header, &loss),
                    Err(_) => self.counters.unreadable += 1,
                }
            } else if known.is_of_statements {
                match Committed::decode(record.datum) {
                    // An edge speaks for itself, and no block is empty.
                    Ok(said)
                        if said.lane.edge == header.id.lane.edge
                            && said.last_block - said.first_block < said.records.rows =>
                    {
                        self.page.committed.push(said);
                    }
                    Ok(_) | Err(_) => self.counters.unreadable += 1,
                }
            } else if let Some(numbered) = &known.numbered {
                let mut numbers = std::mem::take(&mut self.numbers);
                if numbered.read(record.datum, &mut numbers).is_ok() && numbers.sequence > 0 {
                    let instance = record.stamps.instance.map_or(-1, i64::from);
                    self.number(known.series, instance, &numbers, time);
                }
                self.numbers = numbers;
            }
        }
        tally
    }

    fn number(&mut self, series: SeriesNumber, instance: i64, numbers: &Numbers, time: UtcNanos) {
        let mark = Mark {
            number: numbers.sequence,
            time,
        };
        let key = PublisherKey {
            series,
            instance,
            identity: numbers.identity.clone(),
            origin: numbers.origin,
        };
        let (publisher, runs) = publisher(&mut self.publishers, &mut self.page, key);
        let run = runs.place(mark);
        if let Some(extent) = runs.get(run) {
            self.page.runs.insert((publisher, run), *extent);
        }
        let span = Span::of(mark.number);
        self.page
            .spans
            .entry((publisher, run, Hour::of(time)))
            .and_modify(|known| known.merge(span))
            .or_insert(span);
    }

    fn take_loss(&mut self, site: &Site, header: &BlockHeader, loss: &Loss) {
        self.counters.losses += 1;
        let reason = loss.reason.as_str();
        if !loss.topic.is_empty() && 0 < loss.first_seq && loss.first_seq <= loss.last_seq {
            // Named before its first record comes: what kind it is, its name tells.
            let series = self.series(site, &loss.topic, kind_of(&loss.topic));
            let key = PublisherKey {
                series,
                instance: loss.sal_index,
                identity: loss.identity.clone(),
                origin: loss.origin,
            };
            let (publisher, _) = publisher(&mut self.publishers, &mut self.page, key);
            self.page.number_losses.push(NumberLoss {
                publisher,
                reason,
                first: loss.first_seq,
                last: loss.last_seq,
                count: loss.count,
                until: loss.until,
            });
        } else if loss.topic.is_empty() && !loss.lane.is_empty() {
            let edge = header.id.lane.edge.to_string();
            self.page.block_losses.push(BlockLoss {
                site: site.to_string(),
                lane: (edge, loss.epoch.clone(), loss.lane.clone()),
                reason: reason.to_owned(),
                first: loss.first_block,
                last: loss.last_block,
                count: loss.count,
                from: loss.from,
                until: loss.until,
            });
        } else {
            let key = (
                site.to_string(),
                loss.topic.clone(),
                Hour::of(loss.from),
                reason,
            );
            let other = self.page.other_losses.entry(key).or_default();
            other.losses += 1;
            match u64::try_from(loss.count) {
                Ok(count) => other.samples += count,
                Err(_) => other.uncounted += 1,
            }
        }
    }

    fn note_block(&mut self, delivery: &Delivery, tally: Tally, now: UtcNanos) {
        let header = delivery.block.header();
        let next = LaneNumber(self.lanes.len() as i64 + 1);
        let lane = *self.lanes.entry(header.id.lane).or_insert(next);
        if lane == next {
            let site = delivery.partition.site.clone();
            self.page.lanes.push((lane, header.id.lane, site));
        }
        self.page.blocks.push(BlockRow {
            partition: delivery.partition.to_string(),
            place: delivery.place.0,
            lane,
            number: header.id.number.0,
            records: u32::try_from(tally.rows).unwrap_or(u32::MAX),
            sealed: header.clock.utc,
            taken: now,
            event: (header.event_time_min, header.event_time_max),
            digest: tally.digest,
        });
    }
}

fn publisher<'a>(
    publishers: &'a mut BTreeMap<PublisherKey, (PublisherNumber, Runs)>,
    page: &mut Page,
    key: PublisherKey,
) -> (PublisherNumber, &'a mut Runs) {
    let next = PublisherNumber(publishers.len() as i64 + 1);
    let (number, runs) = publishers.entry(key).or_insert_with_key(|key| {
        page.publishers.push((next, key.clone()));
        (next, Runs::default())
    });
    (*number, runs)
}

fn numbered(schema: &str) -> Option<Numbered> {
    Numbered::of(&RecordSchema::parse(schema).ok()?.into())
}

/// By SAL's rules of names.
fn kind_of(topic: &str) -> TopicKind {
    let name = topic.rsplit('.').next().unwrap_or(topic);
    if name.starts_with("logevent_") {
        TopicKind::Event
    } else if name.starts_with("command_") {
        TopicKind::Command
    } else if name.starts_with("ackcmd") {
        TopicKind::AckCmd
    } else {
        TopicKind::Telemetry
    }
}
