//! A sample in XCDR1 with padding that is not zero, as OpenSplice and others send it.

use std::convert::Infallible;

use rustdds::RepresentationIdentifier;
use rustdds::bytes::Bytes;
use rustdds::no_key::SerializerAdapter;
use rustdds::with_key;

use crate::types::{Key, Numbered};

#[derive(Debug)]
pub(crate) struct Garbage;

impl SerializerAdapter<Numbered> for Garbage {
    type Error = Infallible;

    fn output_encoding() -> RepresentationIdentifier {
        RepresentationIdentifier::CDR_LE
    }

    fn to_bytes(value: &Numbered) -> Result<Bytes, Infallible> {
        let Numbered {
            number,
            unit,
            axis,
            time,
            efd_edge,
        } = value;
        let mut to = number.to_le_bytes().to_vec();
        to.extend(unit.to_le_bytes());
        text(axis, &mut to);
        pad(8, &mut to);
        to.extend(time.to_le_bytes());
        text(efd_edge, &mut to);
        pad(4, &mut to);
        Ok(to.into())
    }
}

impl with_key::SerializerAdapter<Numbered> for Garbage {
    fn key_to_bytes(key: &Key) -> Result<Bytes, Infallible> {
        let mut to = key.unit.to_le_bytes().to_vec();
        text(&key.axis, &mut to);
        Ok(to.into())
    }
}

fn text(text: &str, to: &mut Vec<u8>) {
    pad(4, to);
    to.extend((text.len() as u32 + 1).to_le_bytes());
    to.extend(text.as_bytes());
    to.push(0);
}

fn pad(size: usize, to: &mut Vec<u8>) {
    to.resize(to.len().next_multiple_of(size), 0xa5);
}
