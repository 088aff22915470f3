//! TypeInformation: which type it is, without saying what it is (§ 7.6.3.2.1).

use super::cursor::Cursor;
use super::error::{Part, XtypesError};
use super::identifier::{Identified, Ref, TypeId, identified};

/// `@id` of the member `complete`.
const COMPLETE: u32 = 0x1002;

/// Members of the mutable TypeInformation; it has two, and more are only from hostile bytes.
const MEMBERS_MAX: usize = 64;

pub(super) fn complete_id(bytes: &[u8]) -> Result<TypeId, XtypesError> {
    let mut cursor = Cursor::new(Part::Information, bytes)?.delimited()?;
    let only_minimal = XtypesError::OnlyMinimal {
        part: Part::Information,
        offset: 0,
    };
    for _ in 0..MEMBERS_MAX {
        if cursor.is_at_end() {
            break;
        }
        let (id, mut member) = member(&mut cursor)?;
        if id != COMPLETE {
            continue;
        }
        // TypeIdentifierWithDependencies, in it TypeIdentifierWithSize. What it depends on is in
        // the TypeMapping too.
        let mut with_size = member.delimited()?.delimited()?;
        let offset = with_size.offset();
        return match identified(&mut with_size, None)? {
            Identified::Complete(Ref::Object(id)) => Ok(id),
            Identified::Minimal | Identified::None => Err(only_minimal),
            Identified::Complete(_) => Err(XtypesError::BadText {
                part: Part::Information,
                offset,
                what: "the type of the topic",
                problem: "is not a struct or a union",
            }),
        };
    }
    Err(only_minimal)
}

/// A member of a mutable type: its id, and what it holds (§ 7.4.3.4.2).
fn member<'a>(cursor: &mut Cursor<'a>) -> Result<(u32, Cursor<'a>), XtypesError> {
    let header = cursor.u32()?;
    let id = header & 0x0fff_ffff;
    let member = match (header >> 28) & 7 {
        0 => cursor.within(1),
        1 => cursor.within(2),
        2 => cursor.within(4),
        3 => cursor.within(8),
        4 => cursor.delimited(),
        // The length is part of the member: its DHEADER, or the number of its elements.
        code => {
            let scale = match code {
                5 => 1,
                6 => 4,
                _ => 8,
            };
            let mut ahead = *cursor;
            let length = (ahead.u32()? as usize).saturating_mul(scale);
            cursor.within(length.saturating_add(4))
        }
    };
    Ok((id, member?))
}
