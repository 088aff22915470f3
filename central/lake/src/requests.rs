//! What others ask of the lake's writer, which does it between two turns of its loop.

use std::fmt;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use efd_central_log::{BlockLog, LogError, Partition};
use efd_shared_model::SealedBlock;

use crate::error::LakeError;
use crate::lake::Lake;
use crate::options::Now;
use crate::part::Part;
use crate::restore::{Blocks, Restored, Wanted};

/// Blocks that may have records of the part; asked for one by one in the lake's thread.
pub type Offered = Box<dyn Iterator<Item = Result<(Partition, SealedBlock), LogError>> + Send>;

type Answer = Box<dyn FnOnce(Result<Restored, LakeError>) + Send>;

/// To make a part whole.
pub struct Request {
    pub part: Part,
    pub expected: Option<Blocks>,
    pub offered: Offered,
    /// Called in the lake's thread, so it must not wait; not at all if the lake ends before.
    pub answer: Answer,
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Request({})", self.part)
    }
}

/// Where others leave theirs. A clone is the same mailbox.
#[derive(Clone, Debug)]
pub struct Mailbox(SyncSender<Request>);

/// Where the lake's loop finds them.
#[derive(Debug)]
pub struct Requests(Option<Receiver<Request>>);

/// The request was not taken.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    #[error("the lake has as many requests as it takes: ask again when it has answered")]
    Full(Box<Request>),
    #[error("the lake's writer has ended")]
    Ended(Box<Request>),
}

impl Mailbox {
    /// For `requests_max` requests that wait.
    pub fn new(requests_max: usize) -> (Self, Requests) {
        let (sender, receiver) = sync_channel(requests_max);
        (Self(sender), Requests(Some(receiver)))
    }

    /// Does not wait.
    pub fn ask(&self, request: Request) -> Result<(), Refused> {
        self.0.try_send(request).map_err(|error| match error {
            TrySendError::Full(request) => Refused::Full(Box::new(request)),
            TrySendError::Disconnected(request) => Refused::Ended(Box::new(request)),
        })
    }
}

impl Requests {
    /// Nobody asks.
    pub fn none() -> Self {
        Self(None)
    }

    /// Does one request, if there is one. What fails is the asker's to know: the lake goes on.
    pub(crate) fn serve<L: BlockLog + ?Sized>(&self, lake: &mut Lake, log: &L, now: Now) -> bool {
        let receiver = self.0.as_ref();
        let Some(request) = receiver.and_then(|receiver| receiver.try_recv().ok()) else {
            return false;
        };
        let Request {
            part,
            expected,
            mut offered,
            answer,
        } = request;
        let wanted = Wanted {
            part: &part,
            expected: expected.as_ref(),
        };
        answer(lake.restore_part(wanted, log, &mut *offered, now));
        true
    }
}
