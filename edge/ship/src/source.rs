//! Where blocks come from.

use efd_shared_model::{BlockId, EpochId, Schema, SealedBlock, StreamDeclaration, StreamNumber};
use efd_shared_store::{Item, Reader};

/// Why something cannot be given.
pub type SourceError = Box<dyn std::error::Error + Send + Sync>;

/// Read on a thread that may block.
pub trait Source: Send + std::fmt::Debug + 'static {
    /// The block as it was sealed, its digest checked.
    fn block(&mut self, id: &BlockId) -> Result<SealedBlock, SourceError>;

    /// Declarations of `first` to `through` with their schemas, in order and without gaps from the first on; fewer where
    /// one of them is damaged.
    fn streams(
        &mut self,
        epoch: EpochId,
        first: StreamNumber,
        through: StreamNumber,
    ) -> Result<Vec<(StreamDeclaration, Schema)>, SourceError>;
}

/// A buffer.
impl Source for Reader {
    fn block(&mut self, id: &BlockId) -> Result<SealedBlock, SourceError> {
        match self.read_block(&id.lane, id.number)? {
            Some(Item::Block(_, block)) => {
                block.verify()?;
                Ok(block)
            }
            Some(Item::Damaged(damaged)) => Err(damaged.reason.to_string().into()),
            Some(Item::Absent { .. }) | None => Err("not held".into()),
        }
    }

    fn streams(
        &mut self,
        epoch: EpochId,
        first: StreamNumber,
        through: StreamNumber,
    ) -> Result<Vec<(StreamDeclaration, Schema)>, SourceError> {
        let mut pairs = Vec::new();
        let streams = Self::streams(self, epoch)?;
        for stream in streams
            .into_iter()
            .filter(|stream| (first..=through).contains(&stream.number))
        {
            // The store takes no stream without its schema; one that a damaged file lost ends the sequence here.
            let Some(schema) = self.schema(&stream.schema)? else {
                break;
            };
            pairs.push((stream, schema));
        }
        Ok(pairs)
    }
}
