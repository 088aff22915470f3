//! TypeMapping: TypeObjects by their identifiers.
//!
//! It is what implementations keep and exchange as the answers of a type lookup (§ 7.6.3.3): three
//! sequences, of minimal TypeObjects, of complete ones, and of which belong together.

use std::collections::BTreeMap;

use super::TYPES_MAX;
use super::cursor::Cursor;
use super::error::{Part, XtypesError};
use super::identifier::{Identified, Ref, TypeId, identified};

/// `EK_COMPLETE`, the kind of a TypeObject.
const COMPLETE: u8 = 0xf2;

/// Where each complete TypeObject is. They are read when they are needed, so one that cannot be
/// read and is not needed does no harm.
pub(super) struct Index<'a> {
    objects: BTreeMap<TypeId, Cursor<'a>>,
}

impl<'a> Index<'a> {
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, XtypesError> {
        let mut cursor = Cursor::new(Part::Mapping, bytes)?;
        cursor.delimited()?;
        let mut pairs = cursor.delimited()?;
        let count = pairs.count("types", TYPES_MAX)?;
        let mut objects: BTreeMap<TypeId, Cursor<'a>> = BTreeMap::new();
        for _ in 0..count {
            let offset = pairs.offset();
            let identified = identified(&mut pairs, None)?;
            let mut object = pairs.delimited()?;
            let Identified::Complete(Ref::Object(id)) = identified else {
                continue;
            };
            if object.u8()? != COMPLETE {
                continue;
            }
            let part = Part::Mapping;
            match objects.get(&id) {
                Some(before) if before.rest() == object.rest() => {}
                Some(_) => return Err(XtypesError::IdTwice { part, offset, id }),
                None => {
                    objects.insert(id, object);
                }
            }
        }
        Ok(Self { objects })
    }

    /// The CompleteTypeObject of `id`. A TypeInformation may name a component as a whole
    /// (§ 7.6.3.2.1); of several types it does not tell which is meant.
    pub(super) fn object(&self, id: TypeId) -> Option<Cursor<'a>> {
        let mut id = id;
        if let Some(component) = &mut id.component
            && component.length == 1
        {
            component.index = 1;
        }
        self.objects.get(&id).copied()
    }
}
