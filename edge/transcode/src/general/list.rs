//! The members of mutable structs and unions, found in whatever order they are.

use std::cell::Cell;

use super::fault::{At, Fault, Walked};
use super::sink::Sink;
use super::walk::Walk;
use crate::cdr::{Cursor, XCDR2};
use crate::error::Cause;
use crate::mutable::{Headers, block};

/// A member that was found among others.
#[derive(Clone, Copy)]
pub(super) struct Slot {
    position: usize,
    /// Its value, from the first byte of the body that the members are in.
    at: usize,
    bytes: usize,
}

/// The members of a mutable struct, by position.
pub(super) struct List<'a> {
    /// At the first header.
    cursor: Cursor<'a>,
    first: usize,
    end: usize,
}

/// Lends the thread's table. It is as long as the members that a payload has.
pub(super) fn with_slots<T>(walk: impl FnOnce(&mut Vec<Slot>) -> T) -> T {
    thread_local! {
        static SLOTS: Cell<Vec<Slot>> = const { Cell::new(Vec::new()) };
    }
    let mut slots = SLOTS.take();
    slots.clear();
    let result = walk(&mut slots);
    SLOTS.set(slots);
    result
}

impl<const BE: bool, const ALIGN: usize, S: Sink> Walk<'_, BE, ALIGN, S> {
    /// Finds the members of a mutable struct, in whatever order. `ids` ascend.
    pub(super) fn collect<'a>(
        &mut self,
        ids: &[(u32, usize)],
        cursor: &mut Cursor<'a>,
    ) -> Walked<List<'a>> {
        let start = if ALIGN == XCDR2 {
            block::<BE>(cursor).at(cursor)?
        } else {
            *cursor
        };
        let first = self.slots.len();
        let mut headers = Headers::<BE, ALIGN>(start);
        let (mut guess, mut ascends) = (0, true);
        while let Some(member) = headers.read().at(&headers.0)? {
            let place = match ids.get(guess) {
                Some((id, _)) if *id == member.id => Ok(guess),
                Some(_) | None => ids.binary_search_by_key(&member.id, |(id, _)| *id),
            };
            let Ok(place) = place else {
                if member.must_understand {
                    return Err(Cause::NotUnderstood(member.id)).at(&member.value);
                }
                continue;
            };
            guess = place + 1;
            let position = ids[place].1;
            let last = self.slots[first..].last();
            ascends &= last.is_none_or(|last| last.position < position);
            self.slots.push(Slot {
                position,
                at: member.value.offset() - start.base,
                bytes: member.value.left(),
            });
        }
        if ALIGN != XCDR2 {
            *cursor = headers.0;
        }
        let end = self.slots.len();
        let list = List {
            cursor: start,
            first,
            end,
        };
        if !ascends {
            let slots = &mut self.slots[first..end];
            slots.sort_unstable_by_key(|slot| slot.position);
            let twice = slots
                .windows(2)
                .find(|pair| pair[0].position == pair[1].position);
            if let Some([_, twice]) = twice {
                let id = ids.iter().find(|(_, position)| *position == twice.position);
                let cause = Cause::UnexpectedMember(id.map_or(0, |(id, _)| *id));
                return Err(Fault::new(start.base + twice.at, cause));
            }
        }
        Ok(list)
    }

    /// The value of a member, if it was found.
    pub(super) fn slot<'a>(&self, list: &List<'a>, position: usize) -> Option<Cursor<'a>> {
        let slots = &self.slots[list.first..list.end];
        // Mostly all members are there.
        let slot = match slots.get(position) {
            Some(slot) if slot.position == position => slot,
            Some(_) | None => {
                let found = slots.binary_search_by_key(&position, |slot| slot.position);
                &slots[found.ok()?]
            }
        };
        let Slot { at, bytes, .. } = *slot;
        let Cursor { body, base, .. } = list.cursor;
        if ALIGN == XCDR2 {
            let body = body.get(..at + bytes)?;
            return Some(Cursor { body, at, base });
        }
        Some(Cursor {
            body: body.get(at..at + bytes)?,
            at: 0,
            base: base + at,
        })
    }

    /// Its values have been read.
    pub(super) fn release(&mut self, list: &List<'_>) {
        self.slots.truncate(list.first);
    }
}
