//! Coarser windows, merged from finer ones.

use std::collections::BTreeMap;

use efd_shared_model::UtcNanos;
use efd_shared_stats::Summary;

/// Samples, and a summary of each channel.
pub type Window = (u64, Vec<Summary>);

/// All of the finer windows as one, in the order of their time; `None` of none.
pub fn merge(finer: &BTreeMap<UtcNanos, Window>) -> Option<Window> {
    let mut all = finer.values();
    let (mut rows, mut summaries) = all.next()?.clone();
    // Alone it is merged, too: a coarser tier has no quartiles.
    summaries
        .iter_mut()
        .for_each(|summary| summary.quartiles = None);
    for (more, of_window) in all {
        rows += more;
        for (summary, later) in summaries.iter_mut().zip(of_window) {
            *summary = summary.merge(later);
        }
    }
    Some((rows, summaries))
}
