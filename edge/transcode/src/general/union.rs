//! Unions.

use efd_shared_types::model::Extensibility;

use super::avro::unsigned;
use super::fault::{At, Fault, Walked};
use super::plan::{MemberPlan, Node, UnionPlan};
use super::sink::Sink;
use super::walk::Walk;
use crate::cdr::{Cursor, XCDR2};
use crate::error::Cause;
use crate::mutable::block;

struct Discriminator {
    /// As it is on the wire.
    value: u64,
    /// Behind it.
    offset: usize,
}

impl<const BE: bool, const ALIGN: usize, S: Sink> Walk<'_, BE, ALIGN, S> {
    pub(super) fn union(&mut self, it: &UnionPlan, cursor: &mut Cursor<'_>) -> Walked {
        match (it.extensibility, ALIGN == XCDR2) {
            (Extensibility::Final, _) | (Extensibility::Appendable, false) => {
                let discriminator = self.discriminator(it, cursor)?;
                self.case(it, discriminator, |walk, case| {
                    walk.value(case.node, cursor)
                })
            }
            (Extensibility::Appendable, true) => {
                let mut inner = block::<BE>(cursor).at(cursor)?;
                let discriminator = self.discriminator(it, &mut inner)?;
                self.case(it, discriminator, |walk, case| {
                    if inner.is_at_end() {
                        walk.sink.absent(case, true).at(&inner)
                    } else {
                        walk.value(case.node, &mut inner)
                    }
                })
            }
            (Extensibility::Mutable, _) => {
                let list = self.collect(&it.ids, cursor)?;
                let mut value = self
                    .slot(&list, 0)
                    .ok_or(Cause::MissingMember(0))
                    .at(cursor)?;
                let discriminator = self.discriminator(it, &mut value)?;
                let chosen = it.choose(discriminator.value);
                let value = chosen.and_then(|chosen| self.slot(&list, chosen + 1));
                self.case(it, discriminator, |walk, case| match value {
                    Some(mut value) => {
                        walk.value(case.node, &mut value)?;
                        walk.rest(case.node, &value)
                    }
                    None => walk.sink.absent(case, true).at(cursor),
                })?;
                self.release(&list);
                Ok(())
            }
        }
    }

    fn discriminator(&mut self, it: &UnionPlan, cursor: &mut Cursor<'_>) -> Walked<Discriminator> {
        let plan = self.plan;
        let Node::Fixed(fixed) = &plan.nodes[it.discriminator] else {
            return Ok(Discriminator {
                value: 0,
                offset: 0,
            });
        };
        self.fixed(fixed, 1, cursor)
            .map_err(|(fault, _)| fault.in_member(&"discriminator".into()))?;
        let end = cursor.at.min(cursor.body.len());
        let value = cursor.body.get(end - fixed.bytes..end);
        Ok(Discriminator {
            value: unsigned::<BE>(value.unwrap_or_default()),
            offset: cursor.offset(),
        })
    }

    fn case(
        &mut self,
        it: &UnionPlan,
        discriminator: Discriminator,
        walk: impl FnOnce(&mut Self, &MemberPlan) -> Walked,
    ) -> Walked {
        let Discriminator { value, offset } = discriminator;
        let here = |cause| Fault::new(offset, cause);
        let Some(chosen) = it.choose(value) else {
            return self.sink.unchosen(it.cases.len()).map_err(here);
        };
        let case = &it.cases[chosen];
        self.sink.unchosen(chosen).map_err(here)?;
        self.sink.chosen();
        walk(self, case).map_err(|fault| fault.in_member(&case.name))?;
        self.sink
            .unchosen(it.cases.len() - chosen - 1)
            .map_err(here)
    }
}
