//! Blocks that are opened side by side, while those before them are taken: decompressing is most of the work of a walk.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use efd_shared_model::block::Block;
use efd_shared_model::{BlockError, SealedBlock};
use efd_shared_store::Item;

use super::streams::Unwanted;

/// Uncompressed bytes that are opened at a time, while as many are taken; a block can be larger, and is then alone.
const OPEN_BYTES: usize = 4 << 20;
const THREADS_MAX: usize = 4;

/// Of a block that may hold something wanted.
pub(super) struct Chosen<'a> {
    pub(super) block: &'a SealedBlock,
    pub(super) unwanted: Unwanted,
}

/// `None`: it holds nothing wanted.
pub(super) type Opened = Result<Option<Block>, BlockError>;

impl Chosen<'_> {
    fn open(&self) -> Opened {
        if self.unwanted.is_empty() {
            return self.block.open().map(Some);
        }
        self.block
            .open_if(|stream| !self.unwanted.contains(&stream))
    }
}

/// How many threads there are for it.
pub(super) fn threads() -> usize {
    thread::available_parallelism().map_or(1, |it| it.get().min(THREADS_MAX))
}

/// How many items from the first on may be open together.
pub(super) fn fitting(items: &[Item]) -> usize {
    let mut bytes = 0usize;
    let fits = |item: &&Item| {
        if let Item::Block(_, block) = item {
            bytes = bytes.saturating_add(block.payload_bytes());
        }
        bytes <= OPEN_BYTES
    };
    items.iter().take_while(fits).count().max(1)
}

/// Opens the blocks that are there, in their order. This thread does `meanwhile` first, then helps the others.
pub(super) fn open<T>(
    blocks: &[Option<Chosen<'_>>],
    threads: usize,
    meanwhile: impl FnOnce() -> T,
) -> (Vec<Option<Opened>>, T) {
    let opened: Vec<OnceLock<Opened>> = blocks.iter().map(|_| OnceLock::new()).collect();
    let next = AtomicUsize::new(0);
    let work = || {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let (Some(block), Some(place)) = (blocks.get(index), opened.get(index)) else {
                break;
            };
            if let Some(block) = block {
                place.get_or_init(|| block.open());
            }
        }
    };
    let count = blocks.iter().flatten().count();
    let done = thread::scope(|scope| {
        for _ in 1..threads.min(count + 1) {
            scope.spawn(work);
        }
        let done = meanwhile();
        work();
        done
    });
    let opened = opened.into_iter().map(OnceLock::into_inner).collect();
    (opened, done)
}

#[cfg(test)]
mod tests {
    use efd_shared_model::block::Codec;
    use efd_shared_model::{
        BlockBuilder, BlockNumber, ClockState, EdgeId, EpochId, EpochLane, EventTimeOrigin, Lane,
        LaneKind, RecordStamps, StreamNumber, UtcNanos,
    };
    use efd_shared_store::Position;

    use super::*;

    fn block(number: u64, bytes: usize) -> SealedBlock {
        let mut builder = BlockBuilder::new();
        builder.datum(StreamNumber(1)).resize(bytes, 7);
        let stamps = RecordStamps {
            event_time: UtcNanos(number as i64),
            origin: EventTimeOrigin::SndStamp,
            implausible: false,
            latin1: false,
            instance: None,
        };
        builder.finish(StreamNumber(1), stamps);
        let log = EpochLane {
            edge: EdgeId([1; 16]),
            epoch: EpochId([2; 16]),
            lane: Lane::new(LaneKind::Events),
        };
        let id = log.block(BlockNumber(number));
        let sealed = builder.seal(id, ClockState::default(), Codec::Zstd, 1);
        sealed.unwrap()
    }

    #[test]
    fn the_order_is_that_of_the_blocks_whatever_the_threads() {
        let blocks: Vec<_> = (1..=40).map(|number| block(number, 5_000)).collect();
        let chosen = blocks.iter().enumerate();
        let chosen: Vec<_> = chosen
            .map(|(index, block)| {
                let unwanted = Unwanted::default();
                (index % 3 > 0).then_some(Chosen { block, unwanted })
            })
            .collect();
        for threads in [1, 2, 4] {
            let (opened, before) = open(&chosen, threads, || "taken");
            assert_eq!((opened.len(), before), (chosen.len(), "taken"));
            for (chosen, opened) in chosen.iter().zip(opened) {
                let number = opened.map(|opened| opened.unwrap().unwrap().header().id.number);
                assert_eq!(number, chosen.as_ref().map(|it| it.block.id().number));
            }
        }
        assert!(open(&[], 4, || ()).0.is_empty());
    }

    #[test]
    fn what_is_not_wanted_stays_closed() {
        let block = block(1, 5_000);
        for (unwanted, is_open) in [(1, false), (2, true)] {
            let chosen = Chosen {
                block: &block,
                unwanted: Unwanted::new([StreamNumber(unwanted)].into()),
            };
            let (mut opened, ()) = open(&[Some(chosen)], 2, || ());
            let opened = opened.remove(0).unwrap().unwrap();
            assert_eq!(opened.is_some(), is_open);
        }
    }

    #[test]
    fn few_large_ones_are_open_together() {
        let item = |number, bytes| Item::Block(Position(number), block(number, bytes));
        let absent = Item::Absent {
            first: Position(1),
            last: Position(2),
        };
        let third = OPEN_BYTES / 3;
        let items = [absent, item(3, third), item(4, third), item(5, third)];
        assert_eq!(fitting(&items), 3);
        assert_eq!(fitting(&[item(1, 2 * OPEN_BYTES), item(2, 1)]), 1);
        assert_eq!(fitting(&items[..1]), 1);
    }
}
