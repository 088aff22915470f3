//! Avro object container files (specification 1.11, "Object Container Files"), codec `null`: the datums as they are.

use std::io::Write as _;

use efd_shared_model::bytes::Writer;

use super::files::Output;
use super::spill::SpilledRows;
use crate::outcome::InspectError;
use crate::walk::Stream;

/// Of one block of a file.
const BLOCK_BYTES: usize = 256 << 10;

pub(super) fn write(
    stream: &Stream,
    mut rows: SpilledRows<'_>,
    file: &mut Output,
) -> Result<(), InspectError> {
    let mut sync = [0; 16];
    sync.copy_from_slice(&stream.schema.fingerprint().0[..16]);
    let written = file.write_all(&header(stream, &sync));
    written.map_err(|error| file.failed(error))?;
    let mut block = Block::default();
    while let Some((_, _, datum)) = rows.next_row()? {
        block.datums.extend_from_slice(datum);
        block.count += 1;
        if BLOCK_BYTES <= block.datums.len() {
            block.end(&sync, file)?;
        }
    }
    block.end(&sync, file)
}

fn header(stream: &Stream, sync: &[u8; 16]) -> Vec<u8> {
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
    header.raw(sync);
    header.into_bytes()
}

#[derive(Default)]
struct Block {
    count: i64,
    datums: Vec<u8>,
}

impl Block {
    fn end(&mut self, sync: &[u8; 16], file: &mut Output) -> Result<(), InspectError> {
        if self.count == 0 {
            return Ok(());
        }
        let mut head = Writer::new();
        head.zigzag(self.count);
        head.zigzag(self.datums.len() as i64);
        for part in [&head.into_bytes(), &self.datums, sync.as_slice()] {
            let written = file.write_all(part);
            written.map_err(|error| file.failed(error))?;
        }
        self.datums.clear();
        self.count = 0;
        Ok(())
    }
}
