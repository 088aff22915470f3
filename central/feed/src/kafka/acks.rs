//! What comes back with an acknowledgement: which record it is of.

use efd_central_producer::Refusal as Refused;

use crate::broker::{Ack, OutputIx, Refusal, Token};

/// Bits of an opaque: output, slot, index. `RECORDS_MAX` is 2^20.
const INDEX_BITS: u32 = 20;
const SLOT_BITS: u32 = 20;
const OUTPUT_BITS: u32 = 24;
const _: () = assert!(efd_shared_model::block::RECORDS_MAX <= 1 << INDEX_BITS);
const _: () = assert!(INDEX_BITS + SLOT_BITS + OUTPUT_BITS == usize::BITS);

pub(super) fn pack(output: OutputIx, token: Token) -> usize {
    ((output.0 as usize) << (SLOT_BITS + INDEX_BITS))
        | ((token.slot as usize) << INDEX_BITS)
        | token.index as usize
}

fn unpack(opaque: usize) -> (OutputIx, Token) {
    let bits = |from: u32, count: u32| ((opaque >> from) & ((1 << count) - 1)) as u32;
    let token = Token {
        slot: bits(INDEX_BITS, SLOT_BITS),
        index: bits(0, INDEX_BITS),
    };
    (OutputIx(bits(INDEX_BITS + SLOT_BITS, OUTPUT_BITS)), token)
}

pub(super) fn ack_of(ack: efd_central_producer::Ack) -> Ack {
    let (output, token) = unpack(ack.opaque);
    let result = ack.result.map_err(|refused| match refused {
        Refused::Record(reason) => Refusal::Record(reason),
        Refused::Topic(reason) => Refusal::Output(reason),
    });
    Ack {
        output,
        token,
        result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opaques_read_back() {
        for (output, slot, index) in [
            (0, 0, 0),
            (0x00ab_cdef, 0xf_edcb, 0x1_2345),
            ((1 << 24) - 1, (1 << 20) - 1, (1 << 20) - 1),
        ] {
            let (output, token) = (OutputIx(output), Token { slot, index });
            assert_eq!(unpack(pack(output, token)), (output, token));
        }
    }
}
