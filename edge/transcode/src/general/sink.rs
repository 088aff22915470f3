//! Where the values of a walk go.

use super::plan::{Fixed, MemberPlan};
use crate::convert::BadValue;
use crate::error::Cause;

/// Takes values in the order of the type, whatever the order on the wire.
pub(super) trait Sink {
    /// A run of values of fixed size, without anything between them.
    fn fixed<const BE: bool>(&mut self, fixed: &Fixed, source: &[u8]) -> Result<(), BadValue>;
    fn text(&mut self, text: &[u8]);
    /// UTF-16 units, an even number of bytes. The index of a bad value counts units.
    fn wide<const BE: bool>(&mut self, source: &[u8]) -> Result<(), BadValue>;
    fn bytes(&mut self, source: &[u8], is_array: bool);
    /// As many elements follow, then [`Sink::close`] with the same count.
    fn open(&mut self, count: usize, is_array: bool);
    fn close(&mut self, count: usize);
    /// Whether an optional member is there; its value follows.
    fn optional(&mut self, present: bool);
    /// As many cases that are not chosen.
    fn unchosen(&mut self, cases: usize) -> Result<(), Cause>;
    /// The case that is chosen; its value follows.
    fn chosen(&mut self);
    /// The struct of the topic follows, within itself.
    fn root_again(&mut self);
    /// A member that the sample does not have; `is_case` of one that is chosen.
    fn absent(&mut self, member: &MemberPlan, is_case: bool) -> Result<(), Cause>;
}
