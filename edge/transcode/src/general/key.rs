//! The key of a sample, for telling DDS instances apart.

use efd_shared_types::general::KeyMember;
use efd_shared_types::model::Extensibility;

use super::fault::{At, Walked};
use super::list;
use super::plan::{Elements, Fixed, GeneralPlan, MemberPlan, Node, StructPlan};
use super::sink::Sink;
use super::walk::Walk;
use crate::cdr::{Cursor, Form, Layout, XCDR1, XCDR2};
use crate::convert::{BadValue, all_or_nothing};
use crate::error::{Cause, Undecodable};
use crate::key::KeyOf;
use crate::mutable::block;

impl GeneralPlan {
    /// Appends the key members in their order, those of structs inside where they stand
    /// ([`general`](efd_shared_types::general#keys)): numbers
    /// big-endian, no padding, text with its length (terminator counted) and terminator, wide text
    /// with its length in bytes, sequences and maps with their counts. Equal keys give equal bytes in
    /// every encoding. Nothing for a keyless type. On error `out` is as before.
    pub fn key_bytes(
        &self,
        payload: &[u8],
        holds: KeyOf,
        out: &mut Vec<u8>,
    ) -> Result<(), Undecodable> {
        if !self.is_keyed() {
            return Ok(());
        }
        all_or_nothing(out, |out| self.append_key(payload, holds, out))
    }

    fn append_key(
        &self,
        payload: &[u8],
        holds: KeyOf,
        out: &mut Vec<u8>,
    ) -> Result<(), Undecodable> {
        let (form, cursor) = Form::of(payload)?;
        let sink = Key { out, is_on: false };
        let layout = form.layout;
        list::with_slots(|slots| match (form.big_endian, form.xcdr2) {
            (false, false) => {
                Walk::<false, XCDR1, _>::new(self, sink, slots).keys(layout, holds, cursor)
            }
            (false, true) => {
                Walk::<false, XCDR2, _>::new(self, sink, slots).keys(layout, holds, cursor)
            }
            (true, false) => {
                Walk::<true, XCDR1, _>::new(self, sink, slots).keys(layout, holds, cursor)
            }
            (true, true) => {
                Walk::<true, XCDR2, _>::new(self, sink, slots).keys(layout, holds, cursor)
            }
        })?;
        Ok(())
    }
}

impl<const BE: bool, const ALIGN: usize> Walk<'_, BE, ALIGN, Key<'_>> {
    fn keys(mut self, layout: Layout, holds: KeyOf, mut cursor: Cursor<'_>) -> Walked {
        let plan = self.plan;
        let Node::Struct(it) = &plan.nodes[plan.root] else {
            return Ok(());
        };
        match layout {
            // What follows the last key member does not matter.
            Layout::Plain => self.plain_keys(&plan.keys, it, &mut cursor, holds, false),
            Layout::Delimited => {
                let mut inner = block::<BE>(&mut cursor).at(&cursor)?;
                self.plain_keys(&plan.keys, it, &mut inner, holds, true)
            }
            Layout::Mutable => self.mutable_keys(&plan.keys, it, &mut cursor, holds),
        }
    }

    /// Every member, as others may follow the struct.
    fn plain_keys(
        &mut self,
        keys: &[KeyMember],
        it: &StructPlan,
        cursor: &mut Cursor<'_>,
        holds: KeyOf,
        ends: bool,
    ) -> Walked {
        let mut keys = keys.iter().peekable();
        let is_root = self.depth == 0;
        for (index, member) in it.members.iter().enumerate() {
            if let Some(key) = keys.next_if(|key| key.member == index) {
                match &key.inside {
                    None => self.noted(|walk| walk.member(it, index, cursor, ends))?,
                    Some(inside) => {
                        let value = if ends && cursor.is_at_end() {
                            Err(Cause::MissingMember(member.id)).at(cursor)
                        } else {
                            self.inside(inside, member.node, cursor, holds)
                        };
                        value.map_err(|fault| fault.in_member(&member.name))?;
                    }
                }
            } else if holds == KeyOf::Sample {
                self.member(it, index, cursor, ends)?;
            }
            if (is_root || holds == KeyOf::Key) && keys.peek().is_none() {
                break;
            }
        }
        Ok(())
    }

    fn mutable_keys(
        &mut self,
        keys: &[KeyMember],
        it: &StructPlan,
        cursor: &mut Cursor<'_>,
        holds: KeyOf,
    ) -> Walked {
        let list = self.collect(&it.ids, cursor)?;
        for key in keys {
            let member = &it.members[key.member];
            let value = match (self.slot(&list, key.member), &key.inside) {
                (Some(mut value), None) => self.noted(|walk| walk.found(member, &mut value)),
                (None, None) => self.noted(|walk| walk.sink.absent(member, false).at(cursor)),
                (Some(mut value), Some(inside)) => {
                    self.inside(inside, member.node, &mut value, holds)
                }
                (None, Some(_)) => Err(Cause::MissingMember(member.id)).at(cursor),
            };
            value.map_err(|fault| fault.in_member(&member.name))?;
        }
        self.release(&list);
        Ok(())
    }

    /// What is walked is key.
    fn noted(&mut self, walk: impl FnOnce(&mut Self) -> Walked) -> Walked {
        self.sink.is_on = true;
        walk(self)?;
        self.sink.is_on = false;
        Ok(())
    }

    /// The key of a struct, or of each in an array or a sequence.
    fn inside(
        &mut self,
        keys: &[KeyMember],
        node: usize,
        cursor: &mut Cursor<'_>,
        holds: KeyOf,
    ) -> Walked {
        let plan = self.plan;
        self.deeper(cursor, |walk, cursor| match &plan.nodes[node] {
            Node::Struct(it) => match (it.extensibility, ALIGN == XCDR2) {
                (Extensibility::Final, _) | (Extensibility::Appendable, false) => {
                    walk.plain_keys(keys, it, cursor, holds, false)
                }
                (Extensibility::Appendable, true) => {
                    let mut inner = block::<BE>(cursor).at(cursor)?;
                    walk.plain_keys(keys, it, &mut inner, holds, true)
                }
                (Extensibility::Mutable, _) => walk.mutable_keys(keys, it, cursor, holds),
            },
            Node::Array {
                element,
                dimensions,
            } => {
                let times = |all: usize, dimension: &u32| all.saturating_mul(*dimension as usize);
                let count = dimensions.iter().fold(1, times);
                walk.enclosed(element, cursor, |walk, cursor| {
                    walk.each(keys, element, count, cursor, holds)
                })
            }
            Node::Sequence { element } => walk.enclosed(element, cursor, |walk, cursor| {
                let count = cursor.take_u32::<BE>().at(cursor)? as usize;
                walk.sink.length(count);
                walk.each(keys, element, count, cursor, holds)
            }),
            Node::Map { .. } | Node::Union(_) | Node::Fixed(_) => Ok(()),
            Node::Text | Node::Wide | Node::Bytes { .. } => Ok(()),
        })
    }

    fn each(
        &mut self,
        keys: &[KeyMember],
        of: &Elements,
        count: usize,
        cursor: &mut Cursor<'_>,
        holds: KeyOf,
    ) -> Walked {
        if holds == KeyOf::Sample {
            self.expect(of, count, cursor)?;
        }
        for index in 0..count {
            let begin = cursor.at;
            self.inside(keys, of.node, cursor, holds)
                .map_err(|fault| fault.in_element(index))?;
            if cursor.at == begin {
                self.expect_empty(1, cursor)?;
            }
        }
        Ok(())
    }
}

/// The bytes of a key; passes over all else.
pub(super) struct Key<'o> {
    out: &'o mut Vec<u8>,
    is_on: bool,
}

impl Key<'_> {
    /// A payload is far below 4 GiB.
    fn length(&mut self, length: usize) {
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        self.out.extend_from_slice(&length.to_be_bytes());
    }
}

impl Sink for Key<'_> {
    fn fixed<const BE: bool>(&mut self, fixed: &Fixed, source: &[u8]) -> Result<(), BadValue> {
        if self.is_on && BE {
            self.out.extend_from_slice(source);
        } else if self.is_on {
            let values = source.chunks_exact(fixed.bytes);
            self.out.extend(values.flat_map(|value| value.iter().rev()));
        }
        Ok(())
    }

    fn text(&mut self, text: &[u8]) {
        if self.is_on {
            self.length(text.len().saturating_add(1));
            self.out.extend_from_slice(text);
            self.out.push(0);
        }
    }

    fn wide<const BE: bool>(&mut self, source: &[u8]) -> Result<(), BadValue> {
        if self.is_on {
            self.length(source.len());
            let units = source.as_chunks::<2>().0.iter();
            self.out
                .extend(units.flat_map(|&[a, b]| if BE { [a, b] } else { [b, a] }));
        }
        Ok(())
    }

    fn bytes(&mut self, source: &[u8], is_array: bool) {
        if self.is_on {
            if !is_array {
                self.length(source.len());
            }
            self.out.extend_from_slice(source);
        }
    }

    fn open(&mut self, count: usize, is_array: bool) {
        if self.is_on && !is_array {
            self.length(count);
        }
    }

    fn close(&mut self, _count: usize) {}

    fn optional(&mut self, present: bool) {
        if self.is_on {
            self.out.push(present.into());
        }
    }

    fn unchosen(&mut self, _cases: usize) -> Result<(), Cause> {
        Ok(())
    }

    fn chosen(&mut self) {}

    fn root_again(&mut self) {}

    fn absent(&mut self, member: &MemberPlan, is_case: bool) -> Result<(), Cause> {
        let is_nothing = !member.optional && member.default.is_empty();
        if !self.is_on || is_nothing {
            return Ok(());
        }
        if member.optional && !is_case {
            self.out.push(0);
            return Ok(());
        }
        Err(Cause::MissingMember(member.id))
    }
}
