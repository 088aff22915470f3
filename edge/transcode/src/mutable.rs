//! Forms with headers inside: a length before the members, or an id and a length before each.

use crate::cdr::{Cursor, XCDR2};
use crate::error::{Cause, Undecodable};
use crate::plan::Plan;

/// Parameter ids of XCDR1 that are not members.
const PID_EXTENDED: u16 = 0x3f01;
const PID_LIST_END: u16 = 0x3f02;
/// The end of a list as RTPS writes it; a member of id 1 is never empty.
const PID_SENTINEL: u16 = 1;
/// The two upper bits say how a reader is to treat what it does not know.
const PID_MASK: u16 = 0x3fff;
const ID_MASK: u32 = 0x0fff_ffff;

/// Takes the length, returns the members. What follows the members must be padding.
pub(crate) fn delimited<'a, const BE: bool>(cursor: &mut Cursor<'a>) -> Result<Cursor<'a>, Cause> {
    let len = cursor.take_u32::<BE>()? as usize;
    let inner = cursor.until(cursor.at.saturating_add(len))?;
    Cursor {
        at: inner.body.len(),
        ..*cursor
    }
    .finish()?;
    Ok(inner)
}

/// The members of a mutable struct: each of the type once, in any order.
#[derive(Debug)]
pub(crate) struct Members<'a, const BE: bool, const ALIGN: usize> {
    first: Cursor<'a>,
    next: Cursor<'a>,
}

struct Member<'a> {
    id: u32,
    value: Cursor<'a>,
}

impl<'a, const BE: bool, const ALIGN: usize> Members<'a, BE, ALIGN> {
    /// Counts the members. As many as the type has, and each of the type's found, is each once.
    pub(crate) fn open(plan: &Plan, mut cursor: Cursor<'a>) -> Result<Self, Undecodable> {
        if ALIGN == XCDR2 {
            let inner = delimited::<BE>(&mut cursor);
            cursor = plan.at(inner, cursor.offset(), None)?;
        }
        let mut members = Self {
            first: cursor,
            next: cursor,
        };
        let mut count = 0;
        while let Some(member) = members.read(plan)? {
            count += 1;
            if count > plan.ids.len() {
                let cause = Cause::UnexpectedMember(member.id);
                return plan.at(Err(cause), member.value.offset(), None);
            }
        }
        if ALIGN != XCDR2 {
            plan.at(members.next.finish(), members.next.offset(), None)?;
        }
        members.next = members.first;
        Ok(members)
    }

    /// The value of a member. Writers keep the order of the type, so it is mostly the next.
    pub(crate) fn find(
        &mut self,
        plan: &Plan,
        index: usize,
        id: u32,
    ) -> Result<Cursor<'a>, Undecodable> {
        for start in [self.next, self.first] {
            self.next = start;
            while let Some(member) = self.read(plan)? {
                if member.id == id {
                    return Ok(member.value);
                }
            }
        }
        plan.at(
            Err(Cause::MissingMember(id)),
            self.next.offset(),
            Some(index),
        )
    }

    fn read(&mut self, plan: &Plan) -> Result<Option<Member<'a>>, Undecodable> {
        let member = if ALIGN == XCDR2 {
            self.read_xcdr2()
        } else {
            self.read_xcdr1()
        };
        plan.at(member, self.next.offset(), None)
    }

    /// A value counts its alignment from its own first byte.
    fn read_xcdr1(&mut self) -> Result<Option<Member<'a>>, Cause> {
        let cursor = &mut self.next;
        cursor.take::<4>(4, 0)?;
        let pid = cursor.take_u16::<BE>()? & PID_MASK;
        let len = cursor.take_u16::<BE>()?;
        let (id, len) = match (pid, len) {
            (PID_LIST_END, _) | (PID_SENTINEL, 0) => return Ok(None),
            (PID_EXTENDED, _) => {
                let id = cursor.take_u32::<BE>()? & ID_MASK;
                (id, cursor.take_u32::<BE>()? as usize)
            }
            (pid, len) => (pid.into(), len.into()),
        };
        let base = cursor.offset();
        let body = cursor.take::<4>(1, len)?;
        Ok(Some(Member {
            id,
            value: Cursor { body, at: 0, base },
        }))
    }

    /// A value keeps the alignment of the whole.
    fn read_xcdr2(&mut self) -> Result<Option<Member<'a>>, Cause> {
        let cursor = &mut self.next;
        if cursor.finish().is_ok() {
            return Ok(None);
        }
        let header = cursor.take_u32::<BE>()?;
        let len = match header >> 28 & 7 {
            code @ 0..=3 => 1 << code,
            4 => cursor.take_u32::<BE>()? as usize,
            // The length is the value's own first word.
            code => {
                let units = cursor.clone().take_u32::<BE>()? as usize;
                units
                    .saturating_mul([1, 4, 8][code as usize - 5])
                    .saturating_add(4)
            }
        };
        let value = cursor.until(cursor.at.saturating_add(len))?;
        cursor.at = value.body.len();
        Ok(Some(Member {
            id: header & ID_MASK,
            value,
        }))
    }
}
