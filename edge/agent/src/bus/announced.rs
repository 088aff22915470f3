//! The thread that asks writers for the types that they announce: one question after the other, as an answer may take long.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use efd_edge_dds::{AnnouncedType, Guid, LookupError, TypeLookup};
use efd_shared_types::xtypes::{self, Announced};

/// On a quiet network it takes some milliseconds.
const FIRST_WITHIN: Duration = Duration::from_millis(100);
/// For the other attempts, behind those who were not asked yet.
const AGAIN_WITHIN: Duration = Duration::from_secs(1);
/// From the second to the third, and so on. The second may be in time for the first samples.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
const ATTEMPTS_MAX: u32 = 5;
/// Writers come and go by thousands.
const TIDY_AFTER: Duration = Duration::from_secs(5);
/// Questions, where there is no pause.
const TIDY_EVERY: u32 = 256;
/// Types that are kept, so that a thousand writers of one are parsed once.
const KNOWN_MAX: usize = 4096;

#[derive(Debug)]
struct Question {
    guid: Guid,
    handle: u64,
    attempts: u32,
}

/// What a writer says of its type, or why that is of no use.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) guid: Guid,
    pub(super) announced: Result<Arc<Announced>, String>,
}

/// Ends its thread when it is dropped.
#[derive(Debug)]
pub(super) struct Asker {
    questions: Sender<Question>,
    answers: Receiver<Answer>,
}

impl Asker {
    pub(super) fn start(lookup: TypeLookup) -> std::io::Result<Self> {
        let (questions, asked) = channel();
        let (answer, answers) = channel();
        let thread = Thread {
            lookup,
            asked,
            answer,
            waiting: VecDeque::new(),
            known: BTreeMap::new(),
        };
        std::thread::Builder::new()
            .name("types".into())
            .spawn(move || thread.run())?;
        Ok(Self { questions, answers })
    }

    pub(super) fn ask(&self, guid: Guid, handle: u64) {
        let question = Question {
            guid,
            handle,
            attempts: 0,
        };
        if self.questions.send(question).is_err() {
            tracing::error!("The thread that asks for types has ended");
        }
    }

    pub(super) fn answers(&self) -> impl Iterator<Item = Answer> {
        self.answers.try_iter()
    }
}

struct Thread {
    lookup: TypeLookup,
    asked: Receiver<Question>,
    answer: Sender<Answer>,
    /// To be asked again.
    waiting: VecDeque<Question>,
    /// By TypeInformation.
    known: BTreeMap<Vec<u8>, Result<Arc<Announced>, String>>,
}

impl Thread {
    fn run(mut self) {
        let mut settled = 0u32;
        loop {
            let patience = match self.waiting.front().map(|question| question.attempts) {
                None => TIDY_AFTER,
                Some(0 | 1) => Duration::ZERO,
                Some(_) => AGAIN_AFTER,
            };
            let question = match self.asked.recv_timeout(patience) {
                Ok(question) => Some(question),
                Err(RecvTimeoutError::Timeout) => {
                    settled = 0;
                    self.waiting.pop_front()
                }
                Err(RecvTimeoutError::Disconnected) => return,
            };
            if settled.is_multiple_of(TIDY_EVERY) {
                // The participant may be closing: the next question says so.
                let _forgotten = self.lookup.forget_gone();
            }
            settled += 1;
            if question.is_some_and(|question| !self.settle(question)) {
                return;
            }
        }
    }

    /// `false`: nobody listens any more.
    fn settle(&mut self, mut question: Question) -> bool {
        let within = match question.attempts {
            0 => FIRST_WITHIN,
            _ => AGAIN_WITHIN,
        };
        let announced = match self.lookup.ask(question.handle, within) {
            Ok(found) => self.read(found),
            Err(LookupError::Gone) => return true,
            Err(LookupError::Entity(_)) => return false,
            Err(error @ LookupError::NotAnnounced) => Err(error.to_string()),
            Err(error @ LookupError::Unanswered(_)) => {
                question.attempts += 1;
                if question.attempts < ATTEMPTS_MAX {
                    self.waiting.push_back(question);
                    return true;
                }
                Err(format!("{error}, asked {ATTEMPTS_MAX} times"))
            }
        };
        let answer = Answer {
            guid: question.guid,
            announced,
        };
        self.answer.send(answer).is_ok()
    }

    fn read(&mut self, found: AnnouncedType) -> Result<Arc<Announced>, String> {
        if let Some(known) = self.known.get(&found.information) {
            return known.clone();
        }
        if self.known.len() >= KNOWN_MAX {
            self.known.clear();
        }
        let read = xtypes::parse(&found.information, &found.mapping)
            .map(Arc::new)
            .map_err(|error| error.to_string());
        self.known.insert(found.information, read.clone());
        read
    }
}
