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
const MUST_UNDERSTAND: u16 = 0x4000;
/// With an extended header it stands beside the id; the short header before it has it always.
const MUST_UNDERSTAND_EXTENDED: u32 = 0x4000_0000;
const ID_MASK: u32 = 0x0fff_ffff;

/// Takes a length and as many bytes; returns these, in the same alignment.
pub(crate) fn block<'a, const BE: bool>(cursor: &mut Cursor<'a>) -> Result<Cursor<'a>, Cause> {
    let len = cursor.take_u32::<BE>()? as usize;
    let inner = cursor.until(cursor.at.saturating_add(len))?;
    cursor.at = inner.body.len();
    Ok(inner)
}

/// Takes the length, returns the members. What follows the members must be padding.
pub(crate) fn delimited<'a, const BE: bool>(cursor: &mut Cursor<'a>) -> Result<Cursor<'a>, Cause> {
    let inner = block::<BE>(cursor)?;
    cursor.finish()?;
    Ok(inner)
}

/// The members of a mutable struct: each of the type once, in any order.
#[derive(Debug)]
pub(crate) struct Members<'a, const BE: bool, const ALIGN: usize> {
    first: Cursor<'a>,
    next: Headers<'a, BE, ALIGN>,
}

/// Members with headers, one after the other.
#[derive(Debug)]
pub(crate) struct Headers<'a, const BE: bool, const ALIGN: usize>(pub Cursor<'a>);

#[derive(Debug)]
pub(crate) struct Member<'a> {
    pub id: u32,
    /// Whoever does not know it must not take the rest either.
    pub must_understand: bool,
    pub value: Cursor<'a>,
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
            next: Headers(cursor),
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
            plan.at(members.next.0.finish(), members.next.0.offset(), None)?;
        }
        members.next = Headers(members.first);
        Ok(members)
    }

    /// The value of a member. Writers keep the order of the type, so it is mostly the next.
    pub(crate) fn find(
        &mut self,
        plan: &Plan,
        index: usize,
        id: u32,
    ) -> Result<Cursor<'a>, Undecodable> {
        for start in [self.next.0, self.first] {
            self.next = Headers(start);
            while let Some(member) = self.read(plan)? {
                if member.id == id {
                    return Ok(member.value);
                }
            }
        }
        plan.at(
            Err(Cause::MissingMember(id)),
            self.next.0.offset(),
            Some(index),
        )
    }

    fn read(&mut self, plan: &Plan) -> Result<Option<Member<'a>>, Undecodable> {
        let member = self.next.read();
        plan.at(member, self.next.0.offset(), None)
    }
}

impl<'a, const BE: bool, const ALIGN: usize> Headers<'a, BE, ALIGN> {
    /// The next member; `None` at the end.
    #[inline(always)]
    pub(crate) fn read(&mut self) -> Result<Option<Member<'a>>, Cause> {
        if ALIGN == XCDR2 {
            return self.read_xcdr2();
        }
        let Parameter { pid, member } = parameter::<BE>(&mut self.0)?;
        let is_end = match pid {
            PID_LIST_END => true,
            PID_SENTINEL => member.value.body.is_empty(),
            _ => false,
        };
        Ok((!is_end).then_some(member))
    }

    /// A value keeps the alignment of the whole.
    fn read_xcdr2(&mut self) -> Result<Option<Member<'a>>, Cause> {
        let cursor = &mut self.0;
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
            must_understand: header >> 31 == 1,
            value,
        }))
    }
}

/// A member with a header of XCDR1.
#[derive(Debug)]
pub(crate) struct Parameter<'a> {
    pid: u16,
    pub member: Member<'a>,
}

impl Parameter<'_> {
    pub(crate) fn is_end(&self) -> bool {
        self.pid == PID_LIST_END
    }
}

/// A value counts its alignment from its own first byte. The end of a list has one of no bytes,
/// whatever length it states.
pub(crate) fn parameter<'a, const BE: bool>(
    cursor: &mut Cursor<'a>,
) -> Result<Parameter<'a>, Cause> {
    cursor.take::<4>(4, 0)?;
    let flags = cursor.take_u16::<BE>()?;
    let pid = flags & PID_MASK;
    let len = cursor.take_u16::<BE>()?;
    let (id, len, must_understand) = match pid {
        PID_LIST_END => (pid.into(), 0, false),
        PID_EXTENDED => {
            let id = cursor.take_u32::<BE>()?;
            let len = cursor.take_u32::<BE>()? as usize;
            (id & ID_MASK, len, id & MUST_UNDERSTAND_EXTENDED != 0)
        }
        pid => (pid.into(), len.into(), flags & MUST_UNDERSTAND != 0),
    };
    let base = cursor.offset();
    let body = cursor.take::<4>(1, len)?;
    let member = Member {
        id,
        must_understand,
        value: Cursor { body, at: 0, base },
    };
    Ok(Parameter { pid, member })
}
