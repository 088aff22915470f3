//! Blocks that are opened side by side: decompressing is most of the work of a walk.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use efd_shared_model::block::Block;
use efd_shared_model::{BlockError, SealedBlock};
use efd_shared_store::Item;

/// Uncompressed bytes that are open at a time; a block can be larger, and is then alone.
const OPEN_BYTES: usize = 8 << 20;
const THREADS_MAX: usize = 4;

pub(super) type Opened = Result<Block, BlockError>;

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

/// Opens the blocks that are there, in their order.
pub(super) fn open(blocks: &[Option<&SealedBlock>], threads: usize) -> Vec<Option<Opened>> {
    let count = blocks.iter().flatten().count();
    if count < 2 || threads < 2 {
        return blocks
            .iter()
            .map(|block| Some(block.as_ref()?.open()))
            .collect();
    }
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
    thread::scope(|scope| {
        for _ in 1..threads.min(count) {
            scope.spawn(work);
        }
        work();
    });
    opened.into_iter().map(OnceLock::into_inner).collect()
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
            .map(|(index, block)| (index % 3 > 0).then_some(block))
            .collect();
        for threads in [1, 2, 4] {
            let opened = open(&chosen, threads);
            assert_eq!(opened.len(), chosen.len());
            for (block, opened) in chosen.iter().zip(opened) {
                let number = opened.map(|opened| opened.unwrap().header().id.number);
                assert_eq!(number, block.map(|block| block.id().number));
            }
        }
        assert!(open(&[], 4).is_empty());
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
