//! Opens what is to be inspected.

use std::io::Write;
use std::path::Path;

use efd_shared_store::ReadOnlyStore;

use crate::outcome::InspectError;
use crate::screen::Screen;

/// Opens a buffer's folder or a segment file. What cannot be seen of it is named on the screen.
pub(crate) fn open(
    path: &Path,
    screen: &mut Screen<impl Write, impl Write>,
) -> Result<ReadOnlyStore, InspectError> {
    #[cfg(feature = "rescue")]
    if crate::send::is_parcel(path) {
        let path = path.to_owned();
        return Err(crate::send::SendError::Sealed { path }.into());
    }
    let store = ReadOnlyStore::open(path)?;
    for notice in store.notices() {
        screen.damaged(notice)?;
    }
    Ok(store)
}
