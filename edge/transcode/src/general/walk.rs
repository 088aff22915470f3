//! One way through a payload by the plan of its type; what becomes of the values is the [`Sink`]'s.

use std::sync::Arc;

use efd_shared_types::general::DEPTH_MAX;
use efd_shared_types::model::Extensibility;

use super::fault::{At, Fault, Walked};
use super::list::Slot;
use super::plan::{Elements, Fixed, GeneralPlan, MemberPlan, Node, Run, Step, StructPlan};
use super::sink::Sink;
use crate::cdr::{Cursor, Layout, XCDR2};
use crate::convert::BadValue;
use crate::error::Cause;
use crate::mutable::{block, parameter};

/// Elements of no size (structs without members) in one sample: nothing else limits their number.
const EMPTY_MAX: usize = 4096;

pub(super) struct Walk<'w, const BE: bool, const ALIGN: usize, S> {
    pub plan: &'w GeneralPlan,
    pub sink: S,
    /// Those of the mutable structs around, the innermost last.
    pub slots: &'w mut Vec<Slot>,
    pub depth: usize,
    empty_left: usize,
}

impl<'w, const BE: bool, const ALIGN: usize, S: Sink> Walk<'w, BE, ALIGN, S> {
    pub(super) fn new(plan: &'w GeneralPlan, sink: S, slots: &'w mut Vec<Slot>) -> Self {
        Self {
            plan,
            sink,
            slots,
            depth: 0,
            empty_left: EMPTY_MAX,
        }
    }

    /// All of a sample.
    pub(super) fn run(mut self, layout: Layout, mut cursor: Cursor<'_>) -> Walked<S> {
        let plan = self.plan;
        if let Node::Struct(it) = &plan.nodes[plan.root] {
            match layout {
                Layout::Plain => self.plain(it, &mut cursor, false)?,
                Layout::Delimited => {
                    let mut inner = block::<BE>(&mut cursor).at(&cursor)?;
                    self.plain(it, &mut inner, true)?;
                }
                Layout::Mutable => self.mutable(it, &mut cursor)?,
            }
        }
        cursor.finish().at(&cursor)?;
        Ok(self.sink)
    }

    pub(super) fn value(&mut self, node: usize, cursor: &mut Cursor<'_>) -> Walked {
        let plan = self.plan;
        match &plan.nodes[node] {
            Node::Fixed(fixed) => self.fixed(fixed, 1, cursor).map_err(|(fault, _)| fault),
            Node::Text => {
                let text = cursor.take_text::<BE>().at(cursor)?;
                self.sink.text(text);
                Ok(())
            }
            Node::Wide => self.wide(cursor),
            Node::Bytes { count } => {
                let length = match count {
                    Some(count) => *count,
                    None => cursor.take_u32::<BE>().at(cursor)?,
                };
                let bytes = cursor.take::<1>(1, length as usize).at(cursor)?;
                self.sink.bytes(bytes, count.is_some());
                Ok(())
            }
            Node::Array { .. } | Node::Sequence { .. } | Node::Map { .. } => {
                self.deeper(cursor, |walk, cursor| walk.compound(node, cursor))
            }
            Node::Struct(_) | Node::Union(_) => {
                self.deeper(cursor, |walk, cursor| walk.compound(node, cursor))
            }
        }
    }

    pub(super) fn deeper(
        &mut self,
        cursor: &mut Cursor<'_>,
        walk: impl FnOnce(&mut Self, &mut Cursor<'_>) -> Walked,
    ) -> Walked {
        if self.depth == DEPTH_MAX {
            return Err(Cause::Depth(DEPTH_MAX)).at(cursor);
        }
        self.depth += 1;
        walk(self, cursor)?;
        self.depth -= 1;
        Ok(())
    }

    #[inline(always)]
    fn compound(&mut self, node: usize, cursor: &mut Cursor<'_>) -> Walked {
        let plan = self.plan;
        match &plan.nodes[node] {
            Node::Array {
                element,
                dimensions,
            } => self.enclosed(element, cursor, |walk, cursor| {
                walk.array(element, dimensions, cursor)
            }),
            Node::Sequence { element } => self.enclosed(element, cursor, |walk, cursor| {
                let count = walk.announced(element, cursor)?;
                walk.sink.open(count, false);
                walk.elements(element.node, count, cursor)?;
                walk.sink.close(count);
                Ok(())
            }),
            Node::Map { key, value, of } => self.enclosed(of, cursor, |walk, cursor| {
                let count = walk.announced(of, cursor)?;
                walk.sink.open(count, false);
                for index in 0..count {
                    walk.value(*key, cursor)
                        .and_then(|()| walk.value(*value, cursor))
                        .map_err(|fault| fault.in_element(index))?;
                }
                walk.sink.close(count);
                Ok(())
            }),
            Node::Struct(it) => {
                if node == plan.root {
                    self.sink.root_again();
                }
                self.structure(it, cursor)
            }
            Node::Union(it) => self.union(it, cursor),
            Node::Fixed(_) | Node::Text | Node::Wide | Node::Bytes { .. } => Ok(()),
        }
    }

    /// A run of values. With an error comes the number of the value.
    #[inline(always)]
    pub(super) fn fixed(
        &mut self,
        fixed: &Fixed,
        count: usize,
        cursor: &mut Cursor<'_>,
    ) -> Result<(), (Box<Fault>, usize)> {
        let bytes = fixed.bytes.saturating_mul(count);
        let values = cursor.take::<ALIGN>(fixed.bytes, bytes);
        let values = values.at(cursor).map_err(|fault| (fault, 0))?;
        self.sink.fixed::<BE>(fixed, values).map_err(|bad| {
            let BadValue { index, cause } = bad;
            let offset = cursor.offset() - values.len() + index * fixed.bytes;
            (Fault::new(offset, cause), index)
        })
    }

    fn wide(&mut self, cursor: &mut Cursor<'_>) -> Walked {
        let length = cursor.take_u32::<BE>().at(cursor)? as usize;
        if !length.is_multiple_of(2) {
            return Err(Cause::OddLength(length)).at(cursor);
        }
        let units = cursor.take::<1>(1, length).at(cursor)?;
        self.sink.wide::<BE>(units).map_err(|bad| {
            let offset = cursor.offset() - units.len() + 2 * bad.index;
            Fault::new(offset, bad.cause)
        })
    }

    /// Within the length that XCDR2 has before collections of what is not primitive.
    #[inline(always)]
    pub(super) fn enclosed(
        &mut self,
        of: &Elements,
        cursor: &mut Cursor<'_>,
        walk: impl FnOnce(&mut Self, &mut Cursor<'_>) -> Walked,
    ) -> Walked {
        if of.is_primitive || ALIGN != XCDR2 {
            return walk(self, cursor);
        }
        let mut inner = block::<BE>(cursor).at(cursor)?;
        walk(self, &mut inner)?;
        inner.finish().at(&inner)
    }

    /// The count of a sequence or a map.
    fn announced(&mut self, of: &Elements, cursor: &mut Cursor<'_>) -> Walked<usize> {
        let count = cursor.take_u32::<BE>().at(cursor)? as usize;
        self.expect(of, count, cursor)?;
        Ok(count)
    }

    /// So many elements can be there.
    pub(super) fn expect(&mut self, of: &Elements, count: usize, cursor: &Cursor<'_>) -> Walked {
        if of.bytes_min == 0 {
            return self.expect_empty(count, cursor);
        }
        let (need, left) = (count.saturating_mul(of.bytes_min), cursor.left());
        if left < need {
            return Err(Cause::Truncated { need, left }).at(cursor);
        }
        Ok(())
    }

    pub(super) fn expect_empty(&mut self, count: usize, cursor: &Cursor<'_>) -> Walked {
        let left = self.empty_left.checked_sub(count);
        self.empty_left = left.ok_or(Cause::Empty(EMPTY_MAX)).at(cursor)?;
        Ok(())
    }

    fn array(&mut self, of: &Elements, dimensions: &[u32], cursor: &mut Cursor<'_>) -> Walked {
        let times = |all: usize, dimension: &u32| all.saturating_mul(*dimension as usize);
        let all = dimensions.iter().fold(1, times);
        if all == 0 {
            // No element, but as many arrays of none as the dimensions before say.
            let arrays = dimensions.iter().filter(|dimension| **dimension > 0);
            self.expect_empty(arrays.fold(1, times), cursor)?;
        }
        self.expect(of, all, cursor)?;
        self.dimensions(of.node, dimensions, cursor)
    }

    fn dimensions(&mut self, element: usize, all: &[u32], cursor: &mut Cursor<'_>) -> Walked {
        let Some((count, inner)) = all.split_first() else {
            return Ok(());
        };
        let count = *count as usize;
        self.sink.open(count, true);
        if inner.is_empty() {
            self.elements(element, count, cursor)?;
        } else {
            for index in 0..count {
                self.dimensions(element, inner, cursor)
                    .map_err(|fault| fault.in_element(index))?;
            }
        }
        self.sink.close(count);
        Ok(())
    }

    #[inline(always)]
    fn elements(&mut self, node: usize, count: usize, cursor: &mut Cursor<'_>) -> Walked {
        let plan = self.plan;
        if let Node::Fixed(fixed) = &plan.nodes[node] {
            if count == 0 {
                return Ok(());
            }
            return self
                .fixed(fixed, count, cursor)
                .map_err(|(fault, index)| fault.in_element(index));
        }
        if let Node::Struct(StructPlan {
            uniform: Some(run),
            members,
            ..
        }) = &plan.nodes[node]
            && count > 0
        {
            let count = run.count.saturating_mul(count);
            if self.try_run(Run { count, ..*run }, cursor, |_| &members[0].name)? {
                return Ok(());
            }
        }
        for index in 0..count {
            self.value(node, cursor)
                .map_err(|fault| fault.in_element(index))?;
        }
        Ok(())
    }

    fn structure(&mut self, it: &StructPlan, cursor: &mut Cursor<'_>) -> Walked {
        match (it.extensibility, ALIGN == XCDR2) {
            (Extensibility::Final, _) | (Extensibility::Appendable, false) => {
                self.plain(it, cursor, false)
            }
            (Extensibility::Appendable, true) => {
                let mut inner = block::<BE>(cursor).at(cursor)?;
                self.plain(it, &mut inner, true)
            }
            (Extensibility::Mutable, _) => self.mutable(it, cursor),
        }
    }

    /// Members back to back. `ends`: the cursor ends where the struct does, wherever that is.
    fn plain(&mut self, it: &StructPlan, cursor: &mut Cursor<'_>, ends: bool) -> Walked {
        for step in &it.steps {
            match *step {
                Step::Run {
                    first,
                    members,
                    run,
                } => {
                    if self.try_run(run, cursor, |index| &it.members[first + index].name)? {
                        continue;
                    }
                    // The last of them are absent, or it is an error of one of them.
                    for index in first..first + members {
                        self.member(it, index, cursor, ends)?;
                    }
                }
                Step::Member(index) => self.member(it, index, cursor, ends)?,
            }
        }
        Ok(())
    }

    /// Takes the whole of a run, or nothing where not all of it is there. `name` is that of a value
    /// which has no datum.
    #[inline(always)]
    fn try_run<'n>(
        &mut self,
        run: Run,
        cursor: &mut Cursor<'_>,
        name: impl FnOnce(usize) -> &'n Arc<str>,
    ) -> Walked<bool> {
        let plan = self.plan;
        let Node::Fixed(fixed) = &plan.nodes[run.node] else {
            return Ok(false);
        };
        let bytes = fixed.bytes.saturating_mul(run.count);
        let mut after = *cursor;
        let Ok(values) = after.take::<ALIGN>(fixed.bytes, bytes) else {
            return Ok(false);
        };
        *cursor = after;
        self.sink.fixed::<BE>(fixed, values).map_err(|bad| {
            let offset = after.offset() - bytes + bad.index * fixed.bytes;
            Fault::new(offset, bad.cause).in_member(name(bad.index))
        })?;
        Ok(true)
    }

    pub(super) fn member(
        &mut self,
        it: &StructPlan,
        index: usize,
        cursor: &mut Cursor<'_>,
        ends: bool,
    ) -> Walked {
        let member = &it.members[index];
        let value = if ends && cursor.is_at_end() {
            self.sink.absent(member, false).at(cursor)
        } else if member.optional {
            self.optional(member, cursor)
        } else {
            self.value(member.node, cursor)
        };
        value.map_err(|fault| fault.in_member(&member.name))
    }

    /// Of a struct without headers.
    fn optional(&mut self, member: &MemberPlan, cursor: &mut Cursor<'_>) -> Walked {
        if ALIGN == XCDR2 {
            let flag = cursor.take::<1>(1, 1).at(cursor)?;
            let present = match flag {
                [0] => false,
                [1] => true,
                _ => {
                    let flag = flag.first().copied().unwrap_or_default();
                    return Err(Fault::new(cursor.offset() - 1, Cause::Boolean(flag)));
                }
            };
            self.sink.optional(present);
            if present {
                self.value(member.node, cursor)?;
            }
            return Ok(());
        }
        let found = parameter::<BE>(cursor).at(cursor)?;
        let (is_end, mut found) = (found.is_end(), found.member);
        if is_end || found.id != member.id {
            return Err(Cause::UnexpectedMember(found.id)).at(&found.value);
        }
        let present = !found.value.body.is_empty();
        self.sink.optional(present);
        if present {
            self.value(member.node, &mut found.value)?;
            self.rest(member.node, &found.value)?;
        }
        Ok(())
    }

    fn mutable(&mut self, it: &StructPlan, cursor: &mut Cursor<'_>) -> Walked {
        let list = self.collect(&it.ids, cursor)?;
        for (position, member) in it.members.iter().enumerate() {
            let value = match self.slot(&list, position) {
                Some(mut value) => self.found(member, &mut value),
                None => self.sink.absent(member, false).at(cursor),
            };
            value.map_err(|fault| fault.in_member(&member.name))?;
        }
        self.release(&list);
        Ok(())
    }

    /// The value of a member that has a header.
    pub(super) fn found(&mut self, member: &MemberPlan, value: &mut Cursor<'_>) -> Walked {
        if member.optional {
            // Some writers state an absent member so.
            let present = ALIGN == XCDR2 || !value.is_at_end();
            self.sink.optional(present);
            if !present {
                return Ok(());
            }
        }
        self.value(member.node, value)?;
        self.rest(member.node, value)
    }

    /// What is behind a value, where a header says how long that is.
    pub(super) fn rest(&self, node: usize, value: &Cursor<'_>) -> Walked {
        let extensibility = match &self.plan.nodes[node] {
            Node::Struct(it) => it.extensibility,
            Node::Union(it) => it.extensibility,
            Node::Fixed(_) | Node::Text | Node::Wide | Node::Bytes { .. } => Extensibility::Final,
            Node::Array { .. } | Node::Sequence { .. } | Node::Map { .. } => Extensibility::Final,
        };
        match extensibility {
            Extensibility::Appendable if ALIGN != XCDR2 => Ok(()),
            Extensibility::Final | Extensibility::Appendable | Extensibility::Mutable => {
                value.finish().at(value)
            }
        }
    }
}
