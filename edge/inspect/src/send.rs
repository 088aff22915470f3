//! `send`, the rescue: ships what a dead edge has left to the centre, as the edge would have; or seals it in a file, which
//! is carried to where there is a network and sent from there.
//!
//! Nothing is remembered between two runs: the centre says what it has, and only the rest goes. When the edge itself
//! comes back, it is told the same.

mod link;
pub mod parcel;
mod receipt;
mod shipment;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use efd_edge_ship::{EndpointError, SourceError};
use efd_shared_daemon::identity::{
    CertificateFiles, Credentials, CredentialsError, FolderError, IdentityError, RESCUE,
};
use efd_shared_model::{EdgeId, EpochId, UtcNanos};
use serde_json::json;

use crate::fresh;
use crate::open::open;
use crate::outcome::{Exit, InspectError};
use crate::screen::Screen;
use crate::table::size;
use parcel::{OpenError, Parcel, seal};
use shipment::{Declared, Shipment};

pub use parcel::is_parcel;
pub use receipt::Receipt;
pub use shipment::Choice;

/// Where to, and on whose word.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// `host:port` of the centre's QUIC port.
    pub centre: String,
    /// Folder with `ca.crt`, and `rescue-<site>-<edge>.crt` and `.key` as `efd-central ca issue-rescue` made them.
    pub certificates: PathBuf,
    /// Bytes per second.
    pub rate: Option<u64>,
    /// Gives up when nothing was acknowledged for so long.
    pub patience: Duration,
    /// Where to put what the centre has acknowledged.
    pub receipt: Option<PathBuf>,
}

#[derive(Debug, thiserror::Error)]
pub enum SendError {
    #[error("{} is a sealed file: `verify` checks it, `send` sends it", path.display())]
    Sealed { path: PathBuf },
    #[error("`{0}` is not a centre's host:port")]
    Address(String),
    #[error("nothing here that is for a centre is of that lane and that time")]
    NothingChosen,
    #[error("nothing here is for a centre")]
    Nothing,
    #[error("nothing of edge {edge} is here: there is {}", edges.join(", "))]
    NotThisEdge { edge: EdgeId, edges: Vec<String> },
    #[error("several edges wrote here, say with --edge which is meant: {}", edges.join(", "))]
    SeveralEdges { edges: Vec<String> },
    #[error("read the declarations of epoch {epoch}")]
    Declarations {
        epoch: EpochId,
        #[source]
        source: SourceError,
    },
    #[error(transparent)]
    Certificates(#[from] FolderError),
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    #[error("{} gives no right to send what an edge has left; `efd-central ca issue-rescue` makes one", path.display())]
    Role {
        path: PathBuf,
        #[source]
        source: IdentityError,
    },
    #[error("set up the link")]
    Endpoint(#[from] EndpointError),
    #[error("start the link's threads")]
    Threads(#[source] io::Error),
    #[error("the centre refuses: {0}")]
    Refused(String),
    #[error(
        "{left} of {blocks} blocks are not at the centre, and none was acknowledged for {patience:?}; run it again, it goes on where it was. The last that was heard: {reason}"
    )]
    GaveUp {
        left: u64,
        blocks: u64,
        patience: Duration,
        reason: String,
    },
    #[error("{} exists, and is not overwritten", path.display())]
    Exists { path: PathBuf },
    #[error("seal {}", path.display())]
    Seal {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("open {}", path.display())]
    Parcel {
        path: PathBuf,
        #[source]
        source: OpenError,
    },
    #[error("receipt {}: {reason}", path.display())]
    Receipt { path: PathBuf, reason: String },
    #[error("the receipt is of edge {of}, and this is edge {edge}")]
    ReceiptOfOther { of: EdgeId, edge: EdgeId },
    #[error("a sealed file goes whole: give {0} when it is sealed")]
    Whole(&'static str),
}

impl SendError {
    pub(crate) fn is_too_new(&self) -> bool {
        matches!(
            self,
            Self::Parcel {
                source: OpenError::Newer { .. },
                ..
            }
        )
    }
}

/// A file is written under this name until it is whole.
fn partial(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".partial");
    name.into()
}

/// Puts what `choice` wants of the buffer at `path` into the file `to`.
pub fn seal_file(
    path: &Path,
    choice: &Choice,
    to: &Path,
    json: bool,
    screen: &mut Screen<impl Write, impl Write>,
) -> Result<Exit, InspectError> {
    fresh::refuse_inside(to, path)?;
    let store = open(path, screen)?;
    let shipment = Shipment::of_buffer(&store, choice, screen)?;
    let source = Declared::new(store.reader(), &shipment);
    let sealed = seal(&shipment, source, to, screen)?;
    let edge = shipment.edge;
    if json {
        let line = json!({
            "edge": edge.to_string(), "file": to.display().to_string(), "blocks": sealed.blocks, "bytes": sealed.bytes,
        });
        writeln!(screen.out, "{line}")?;
    } else {
        let (blocks, size) = (sealed.blocks, size(sealed.bytes));
        let file = to.display();
        writeln!(
            screen.out,
            "{blocks} blocks of edge {edge} are in {file}, {size}"
        )?;
        writeln!(
            screen.out,
            "send it from a machine that reaches the centre: efd-inspect send {file} --centre HOST:PORT --certificates FOLDER"
        )?;
    }
    Ok(screen.end()?)
}

/// Ships what `choice` wants of the buffer or sealed file at `path`, until the centre has all of it. `at` goes into the
/// receipt.
pub fn send(
    path: &Path,
    choice: &Choice,
    delivery: &Delivery,
    at: UtcNanos,
    json: bool,
    screen: &mut Screen<impl Write, impl Write>,
) -> Result<Exit, InspectError> {
    check_address(&delivery.centre)?;
    let (credentials, edge) = credentials(&delivery.certificates)?;
    // The certificate says which edge.
    let choice = Choice {
        edge: Some(edge),
        ..choice.clone()
    };
    let delivered = if is_parcel(path) {
        if choice.lane.is_some() {
            return Err(SendError::Whole("--lane").into());
        }
        if choice.window != Default::default() {
            return Err(SendError::Whole("--from and --until").into());
        }
        let parcel = open_parcel(path, screen)?;
        let shipment = Shipment::of_epochs(parcel.held(), &choice)?;
        let source = Declared::new(parcel, &shipment);
        link::deliver(&shipment, source, &credentials, delivery, screen)?
    } else {
        let store = open(path, screen)?;
        let shipment = Shipment::of_buffer(&store, &choice, screen)?;
        let source = Declared::new(store.reader(), &shipment);
        link::deliver(&shipment, source, &credentials, delivery, screen)?
    };
    let centre = delivery.centre.clone();
    let receipt = Receipt::new(edge, centre, at.to_string(), delivered.received);
    if let Some(path) = &delivery.receipt {
        receipt.write(path)?;
    }
    let link::Counts {
        blocks,
        already,
        sent_bytes,
        unreadable,
    } = delivered.counts;
    let sent = blocks.saturating_sub(already + unreadable);
    if json {
        let line = json!({
            "edge": edge.to_string(), "centre": delivery.centre, "blocks": blocks, "already": already, "sent": sent,
            "sent_bytes": sent_bytes, "unreadable": unreadable,
        });
        writeln!(screen.out, "{line}")?;
    } else {
        let size = size(sent_bytes);
        let readable = blocks - unreadable;
        writeln!(
            screen.out,
            "the centre has all {readable} readable blocks of edge {edge}: {sent} were sent ({size}), {already} were there"
        )?;
    }
    Ok(screen.end()?)
}

/// A slip of the fingers must not look like a centre that does not answer.
fn check_address(centre: &str) -> Result<(), SendError> {
    let parts = centre.rsplit_once(':');
    let is_address = parts.is_some_and(|(host, port)| {
        !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0)
    });
    if is_address {
        return Ok(());
    }
    Err(SendError::Address(centre.to_owned()))
}

/// What is damaged of it is named on the screen.
fn open_parcel(
    path: &Path,
    screen: &mut Screen<impl Write, impl Write>,
) -> Result<Parcel, InspectError> {
    let failed = |source| SendError::Parcel {
        path: path.to_owned(),
        source,
    };
    let file = File::open(path).map_err(|error| failed(error.into()))?;
    let parcel = Parcel::open(file).map_err(failed)?;
    for fault in parcel.faults() {
        screen.damaged(format_args!("{}: {fault}", path.display()))?;
    }
    Ok(parcel)
}

/// `verify` of a sealed file: every entry and every block.
pub fn verify_parcel(
    path: &Path,
    json: bool,
    screen: &mut Screen<impl Write, impl Write>,
) -> Result<Exit, InspectError> {
    let mut parcel = open_parcel(path, screen)?;
    let edges: BTreeSet<EdgeId> = parcel
        .held()
        .iter()
        .map(|epoch| epoch.declaration.edge)
        .collect();
    // Two callbacks write to one screen.
    let shared = RefCell::new(&mut *screen);
    let (blocks, bytes) = parcel.check(
        |id, reason| {
            let mut screen = shared.borrow_mut();
            screen.damaged(format_args!("block {id}: {reason}"))
        },
        |blocks, bytes| {
            if !blocks.is_multiple_of(PROGRESS_BLOCKS) {
                return Ok(());
            }
            let bytes = size(bytes);
            let mut screen = shared.borrow_mut();
            screen.progress(format_args!("{blocks} blocks, {bytes} checked"))
        },
    )?;
    let exit = screen.end()?;
    let edges: Vec<String> = edges.iter().map(EdgeId::to_string).collect();
    if json {
        let line = json!({
            "intact": exit == Exit::Intact, "edges": edges, "blocks": blocks, "bytes": bytes,
        });
        writeln!(screen.out, "{line}")?;
    } else {
        let verdict = if exit == Exit::Intact {
            "intact"
        } else {
            "DAMAGED"
        };
        let (edges, bytes) = (edges.join(", "), size(bytes));
        writeln!(
            screen.out,
            "{verdict}: {blocks} whole blocks of edge {edges}, {bytes}"
        )?;
    }
    Ok(screen.end()?)
}

const PROGRESS_BLOCKS: u64 = 256;

fn credentials(folder: &Path) -> Result<(std::sync::Arc<Credentials>, EdgeId), SendError> {
    let files = match CertificateFiles::in_folder(folder, &format!("{RESCUE}-")) {
        // Perhaps it has another name; what it says counts.
        Err(FolderError::None { .. }) => CertificateFiles::in_folder(folder, "")?,
        found => found?,
    };
    let credentials = Credentials::load(&files)?;
    let identity = credentials.identity();
    let (_, edge) = identity.rescue().map_err(|source| SendError::Role {
        path: files.certificate.clone(),
        source,
    })?;
    Ok((credentials, edge))
}
