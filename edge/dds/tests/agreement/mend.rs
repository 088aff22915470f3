//! The ids of optional members, which headers in XCDR1 have. Cyclone's IDL compiler writes them behind
//! the instructions of a type, as pairs of the place of the member's instruction and its id. What makes
//! instructions from a TypeObject (`typebuilder_add_mid_table` in `ddsi_typebuilder.c`, 11.0.1) leaves
//! the places at zero and puts them where the ids belong; here the pairs are written as they should be.
//!
//! Instructions are described in `dds_opcodes.h`.

use std::collections::BTreeSet;

use cyclonedds_sys as dds;
use efd_shared_types::model::Extensibility;

use crate::types::{MemberTy, StructTy, Ty, UnionTy};

const MID: u32 = dds::dds_stream_opcode_DDS_SOP_MID;
const PLC: u32 = dds::dds_stream_opcode_DDS_SOP_PLC;
const DLC: u32 = dds::dds_stream_opcode_DDS_SOP_DLC;
const RTS: u32 = dds::dds_stream_opcode_DDS_SOP_RTS;
const OPCODE: u32 = 0xff00_0000;

/// Writes the pairs into the instructions of `ty`.
pub fn member_ids(ops: &mut [u32], ty: &StructTy) {
    let mut places = Places {
        ops,
        found: Vec::new(),
        seen: BTreeSet::new(),
    };
    places.structure(ty, 0);
    let found = places.found;
    if found.is_empty() {
        return;
    }
    // The last instruction ends the table.
    let end = ops.len() - 1;
    let pairs = ops[end - 2 * found.len()..end].as_chunks_mut::<2>().0;
    for (pair, (place, id)) in pairs.iter_mut().zip(found) {
        assert_eq!(pair[0] & OPCODE, MID);
        *pair = [MID | place as u32, id];
    }
}

struct Places<'o> {
    ops: &'o [u32],
    /// Of instructions, with the ids of members.
    found: Vec<(usize, u32)>,
    /// Structs and unions that have been gone through.
    seen: BTreeSet<usize>,
}

impl Places<'_> {
    /// Where the lower half of the word at `word` points to, counted from `from`.
    fn target(&self, from: usize, word: usize) -> usize {
        from.wrapping_add_signed((self.ops[word] as i16).into())
    }

    /// Without the instruction that a length is before the members.
    fn undelimited(&self, at: usize) -> usize {
        at + usize::from(self.ops[at] & OPCODE == DLC)
    }

    fn structure(&mut self, ty: &StructTy, at: usize) {
        let (inherited, own) = ty.members.split_at(ty.inherited);
        if ty.ext == Extensibility::Mutable {
            self.mutable(inherited, own, at);
            return;
        }
        let mut at = self.undelimited(at);
        if !inherited.is_empty() {
            let base = self.undelimited(self.target(at, at + 2));
            self.members(inherited, base);
            at += self.length(at);
        }
        self.members(own, at);
    }

    fn members(&mut self, members: &[MemberTy], mut at: usize) {
        for member in members {
            if member.optional {
                self.found.push((at, member.id));
            }
            self.value(&member.ty, at);
            at += self.length(at);
        }
    }

    /// A list of where the instructions of the members are, that of the base first.
    fn mutable(&mut self, inherited: &[MemberTy], own: &[MemberTy], at: usize) {
        assert_eq!(self.ops[at] & OPCODE, PLC);
        let mut at = at + 1;
        if !inherited.is_empty() {
            let base = self.target(at, at);
            self.mutable(&[], inherited, base);
            at += 2;
        }
        for member in own {
            let place = self.target(at, at);
            self.value(&member.ty, place);
            at += 2;
        }
        assert_eq!(self.ops[at], RTS);
    }

    /// Of the instruction of a member, or of one in a union that has its own.
    fn value(&mut self, ty: &Ty, at: usize) {
        match ty {
            Ty::Struct(_) | Ty::Union(_) => self.inside(ty, at, at + 2),
            Ty::Seq(element) => self.inside(element, at, at + 3 + self.is_bounded(at)),
            Ty::Arr(element, ..) => {
                let mut innermost = element;
                while let Ty::Arr(element, ..) = &**innermost {
                    innermost = element;
                }
                self.inside(innermost, at, at + 3);
            }
            _ => {}
        }
    }

    /// Of what has instructions of its own, the word at `word` points to them.
    fn inside(&mut self, ty: &Ty, from: usize, word: usize) {
        match ty {
            Ty::Struct(it) => {
                let at = self.target(from, word);
                if self.seen.insert(at) {
                    self.structure(it, at);
                }
            }
            Ty::Union(it) => {
                let at = self.target(from, word);
                if self.seen.insert(at) {
                    self.union(it, at);
                }
            }
            Ty::Seq(_) | Ty::Arr(..) => self.value(ty, self.target(from, word)),
            _ => {}
        }
    }

    fn union(&mut self, it: &UnionTy, at: usize) {
        let at = self.undelimited(at);
        let mut label = self.target(at, at + 3);
        for (position, (labels, member)) in it.cases.iter().enumerate() {
            let is_default = it.has_default && position + 1 == it.cases.len();
            let labels = if is_default { 1 } else { labels.len() };
            label += 4 * labels;
            let last = label - 4;
            self.inside(&member.ty, last, last);
        }
    }

    fn is_bounded(&self, at: usize) -> usize {
        usize::from(self.kind(at) == dds::DDS_OP_VAL_BSQ)
    }

    fn kind(&self, at: usize) -> u32 {
        self.ops[at] >> 16 & 0x1f
    }

    /// In words.
    fn length(&self, at: usize) -> usize {
        let jump = |word: usize| (self.ops[word] >> 16) as usize;
        let bounded = self.is_bounded(at);
        let element = self.ops[at] >> 8 & 0x1f;
        match (self.kind(at), element) {
            (dds::DDS_OP_VAL_ENU | dds::DDS_OP_VAL_BST, _) => 3,
            (dds::DDS_OP_VAL_BMK, _) => 4,
            (dds::DDS_OP_VAL_EXT, _) => jump(at + 2),
            (dds::DDS_OP_VAL_SEQ | dds::DDS_OP_VAL_BSQ, element) => match element {
                dds::DDS_OP_VAL_ENU | dds::DDS_OP_VAL_BST => 3 + bounded,
                dds::DDS_OP_VAL_BMK => 4 + bounded,
                dds::DDS_OP_VAL_SEQ | dds::DDS_OP_VAL_BSQ | dds::DDS_OP_VAL_ARR => {
                    jump(at + 3 + bounded)
                }
                dds::DDS_OP_VAL_STU | dds::DDS_OP_VAL_UNI => jump(at + 3 + bounded),
                _ => 2 + bounded,
            },
            (dds::DDS_OP_VAL_ARR, element) => match element {
                dds::DDS_OP_VAL_ENU => 4,
                dds::DDS_OP_VAL_BST | dds::DDS_OP_VAL_BMK => 5,
                dds::DDS_OP_VAL_SEQ | dds::DDS_OP_VAL_BSQ => jump(at + 3),
                dds::DDS_OP_VAL_STU | dds::DDS_OP_VAL_UNI => jump(at + 3),
                _ => 3,
            },
            _ => 2,
        }
    }
}
