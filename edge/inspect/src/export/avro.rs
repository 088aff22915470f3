//! Avro object container files (specification 1.11, "Object Container Files"), codec `null`: the datums as they are.

use std::io::Write as _;
use std::path::PathBuf;

use efd_shared_avro::{DatumError, Decoder};
use efd_shared_model::RecordRef;
use efd_shared_model::bytes::Writer;

use super::files::Appending;
use crate::outcome::InspectError;
use crate::walk::Stream;

/// Of one block of a file.
const BLOCK_BYTES: usize = 256 << 10;

#[derive(Debug)]
pub(super) struct AvroFile {
    decoder: Decoder,
    file: Appending,
    sync: [u8; 16],
    /// Begins the file.
    header: Option<Vec<u8>>,
    count: i64,
    block: Vec<u8>,
    /// Blocks that are complete.
    blocks: Writer,
}

impl AvroFile {
    pub(super) fn new(stream: &Stream, file: Appending) -> Self {
        let mut sync = [0; 16];
        sync.copy_from_slice(&stream.schema.fingerprint().0[..16]);
        let mut header = Writer::new();
        header.raw(b"Obj\x01");
        let metadata = [
            ("avro.schema", stream.schema.text()),
            ("avro.codec", "null"),
            ("efd.topic", &stream.topic),
        ];
        header.zigzag(metadata.len() as i64);
        for text in metadata.iter().flat_map(|(key, value)| [*key, *value]) {
            header.zigzag(text.len() as i64);
            header.raw(text.as_bytes());
        }
        header.zigzag(0);
        header.raw(&sync);
        Self {
            decoder: stream.decoder.clone(),
            file,
            sync,
            header: Some(header.into_bytes()),
            count: 0,
            block: Vec::new(),
            blocks: Writer::new(),
        }
    }

    pub(super) fn add(&mut self, record: &RecordRef<'_>) -> Result<(), DatumError> {
        // A datum that does not fit would make all that follow it unreadable.
        self.decoder.check(record.datum)?;
        self.block.extend_from_slice(record.datum);
        self.count += 1;
        if BLOCK_BYTES <= self.block.len() {
            self.end_block();
        }
        Ok(())
    }

    fn end_block(&mut self) {
        if self.count > 0 {
            self.blocks.zigzag(self.count);
            self.blocks.zigzag(self.block.len() as i64);
            self.blocks.raw(&self.block);
            self.blocks.raw(&self.sync);
            self.block.clear();
            self.count = 0;
        }
    }

    pub(super) fn waiting_bytes(&self) -> usize {
        self.block.capacity() + self.blocks.len()
    }

    pub(super) fn write(&mut self) -> Result<(), InspectError> {
        self.end_block();
        let header = self.header.take().unwrap_or_default();
        let blocks = std::mem::take(&mut self.blocks).into_bytes();
        self.block = Vec::new();
        let written = self
            .file
            .write_all(&header)
            .and_then(|()| self.file.write_all(&blocks))
            .and_then(|()| self.file.flush());
        written.map_err(|error| self.file.failed(error))
    }

    pub(super) fn finish(mut self) -> Result<PathBuf, InspectError> {
        self.write()?;
        self.file.finish()
    }
}
