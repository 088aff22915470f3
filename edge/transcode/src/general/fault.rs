//! An error on its way out of a value: the way to it is put together there, and only there.

use std::fmt::Write;
use std::sync::Arc;

use crate::cdr::Cursor;
use crate::error::{Cause, Undecodable};

pub(super) type Walked<T = ()> = Result<T, Box<Fault>>;

pub(super) struct Fault {
    offset: usize,
    cause: Cause,
    /// The innermost first.
    way: Vec<Step>,
}

enum Step {
    Member(Arc<str>),
    Element(usize),
}

impl Fault {
    #[cold]
    pub(super) fn new(offset: usize, cause: Cause) -> Box<Self> {
        let way = Vec::new();
        Box::new(Self { offset, cause, way })
    }

    #[cold]
    pub(super) fn in_member(mut self: Box<Self>, name: &Arc<str>) -> Box<Self> {
        self.way.push(Step::Member(Arc::clone(name)));
        self
    }

    #[cold]
    pub(super) fn in_element(mut self: Box<Self>, index: usize) -> Box<Self> {
        self.way.push(Step::Element(index));
        self
    }
}

impl From<Box<Fault>> for Undecodable {
    fn from(fault: Box<Fault>) -> Self {
        let Fault { offset, cause, way } = *fault;
        let mut path = String::new();
        for step in way.iter().rev() {
            let written = match step {
                Step::Member(name) if path.is_empty() => write!(path, "{name}"),
                Step::Member(name) => write!(path, ".{name}"),
                Step::Element(index) => write!(path, "[{index}]"),
            };
            debug_assert!(written.is_ok(), "a String takes everything");
        }
        Self {
            offset,
            field: (!path.is_empty()).then(|| Arc::from(path)),
            cause,
        }
    }
}

/// At the place where `cursor` is.
pub(super) trait At<T> {
    fn at(self, cursor: &Cursor<'_>) -> Walked<T>;
}

impl<T> At<T> for Result<T, Cause> {
    #[inline(always)]
    fn at(self, cursor: &Cursor<'_>) -> Walked<T> {
        self.map_err(|cause| Fault::new(cursor.offset(), cause))
    }
}
