//! What the book calls things by numbers.

/// A topic of a site.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SeriesNumber(pub(crate) i64);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct PublisherNumber(pub(crate) i64);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct LaneNumber(pub(crate) i64);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PublisherKey {
    pub(crate) series: SeriesNumber,
    /// `salIndex`; −1 where the component is not indexed.
    pub(crate) instance: i64,
    pub(crate) identity: String,
    pub(crate) origin: i64,
}
