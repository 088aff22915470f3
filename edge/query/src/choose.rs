//! From where a question is answered.

use std::fmt;

use efd_shared_stats::Resolution;

use crate::ask::TierAsk;
use crate::error::QueryError;
use efd_edge_tiers::settings::name;

/// What there is, and what it would cost.
#[derive(Clone, Debug)]
pub struct Offers {
    pub raw: RawOffer,
    /// Finest first.
    pub tiers: Vec<TierOffer>,
    /// Whether the fields are numbers: others have no windows.
    pub is_measured: bool,
}

impl Offers {
    /// Where anything that is held begins, `None` of nothing: somewhere in its window, which may have begun long before.
    pub fn oldest(&self) -> Option<i64> {
        let end = |tier: &TierOffer| Some(tier.begin?.saturating_add(tier.resolution.nanos()));
        let ends = self.tiers.iter().filter_map(end);
        ends.chain(self.raw.begin).min()
    }

    /// Whether raw records reach back to `needed`. The window that the oldest of them is in begins before it, and has no
    /// more than they.
    pub fn has_raw(&self, needed: i64) -> bool {
        if self.raw.is_whole {
            return self.raw.begin.is_some();
        }
        let finest = self.tiers.first().map_or(0, |tier| tier.resolution.nanos());
        let begin = self.raw.begin;
        begin.is_some_and(|begin| begin.saturating_sub(finest) <= needed)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawOffer {
    /// The oldest event time held, ns UTC.
    pub begin: Option<i64>,
    /// Nothing has left the buffer: before the oldest there was nothing.
    pub is_whole: bool,
    /// When the newest block was committed, ns UTC.
    pub committed: i64,
    /// Of all blocks in the span, about.
    pub bytes: u64,
    /// Above it raw records are read only if they are asked for by name.
    pub bytes_max: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TierOffer {
    pub resolution: Resolution,
    /// `None` of one that has no window yet.
    pub begin: Option<i64>,
    /// It is still being made of what was held before it: what is missing is anywhere.
    pub is_building: bool,
}

impl TierOffer {
    pub fn reaches(&self, needed: i64) -> bool {
        self.begin.is_some_and(|begin| begin <= needed)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    Raw,
    Tier(Resolution),
}

impl fmt::Display for From {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Raw => f.write_str("raw"),
            Self::Tier(resolution) => f.write_str(&name(*resolution)),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    pub from: From,
    /// Windows of so many ns, where they have to be fewer than records or windows that are kept.
    pub width: Option<i64>,
    pub why: String,
}

const MS: i64 = 1_000_000;
const SECOND: i64 = 1000 * MS;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
/// Widths that a day or a week is a whole number of.
const WIDTHS: [i64; 34] = [
    MS,
    2 * MS,
    5 * MS,
    10 * MS,
    20 * MS,
    50 * MS,
    100 * MS,
    200 * MS,
    500 * MS,
    SECOND,
    2 * SECOND,
    5 * SECOND,
    10 * SECOND,
    15 * SECOND,
    20 * SECOND,
    30 * SECOND,
    MINUTE,
    2 * MINUTE,
    5 * MINUTE,
    10 * MINUTE,
    15 * MINUTE,
    20 * MINUTE,
    30 * MINUTE,
    HOUR,
    2 * HOUR,
    3 * HOUR,
    4 * HOUR,
    6 * HOUR,
    8 * HOUR,
    12 * HOUR,
    DAY,
    2 * DAY,
    7 * DAY,
    28 * DAY,
];

/// The smallest of the widths that is at least so long and made of whole windows of `part`; a multiple of `part` if there
/// is none.
pub fn width(at_least: i64, part: i64) -> i64 {
    let found = WIDTHS
        .into_iter()
        .find(|width| at_least <= *width && width % part == 0);
    let multiples = at_least.saturating_add(part - 1) / part;
    found.unwrap_or_else(|| multiples.max(1).saturating_mul(part))
}

/// For `from..until`, at most about `points` of each column where that is given.
pub fn choose(
    asked: &TierAsk,
    offers: &Offers,
    (from, until): (i64, i64),
    points: Option<usize>,
) -> Result<Choice, QueryError> {
    let span = until.saturating_sub(from).max(1);
    let wanted = points.map(|points| (span / points.max(1) as i64).max(1));
    match asked {
        TierAsk::Raw => Ok(Choice {
            from: From::Raw,
            width: wanted.filter(|_| offers.is_measured).map(|it| width(it, 1)),
            why: "asked for by name".into(),
        }),
        TierAsk::Tier(asked) if !offers.is_measured => Err(QueryError::Bad(format!(
            "tier `{asked}`: tiers have numbers of telemetry only, and not those that SAL adds; ask for `raw`"
        ))),
        TierAsk::Tier(asked) => {
            let found = offers
                .tiers
                .iter()
                .find(|tier| name(tier.resolution) == *asked);
            let tier = found.ok_or_else(|| QueryError::NoTier {
                asked: asked.clone(),
                known: known(offers),
            })?;
            Ok(of_tier(tier, wanted, "asked for by name".into()))
        }
        TierAsk::Auto => Ok(auto(offers, from, wanted)),
    }
}

fn known(offers: &Offers) -> String {
    let tiers = offers.tiers.iter().map(|tier| name(tier.resolution));
    let all: Vec<String> = std::iter::once("raw".to_owned()).chain(tiers).collect();
    all.join(", ")
}

fn of_tier(tier: &TierOffer, wanted: Option<i64>, why: String) -> Choice {
    let resolution = tier.resolution.nanos();
    let width = wanted
        .filter(|wanted| resolution < *wanted)
        .map(|wanted| width(wanted, resolution));
    Choice {
        from: From::Tier(tier.resolution),
        width,
        why,
    }
}

/// The coarsest tier that is whole, fine enough and reaches back; else raw records, if they reach back and are not too
/// many; else the finest tier that does; else what reaches back farthest.
fn auto(offers: &Offers, from: i64, wanted: Option<i64>) -> Choice {
    let raw = |why: String| Choice {
        from: From::Raw,
        width: wanted.filter(|_| offers.is_measured).map(|it| width(it, 1)),
        why,
    };
    if !offers.is_measured {
        return raw("tiers have numbers of telemetry only".into());
    }
    let Some(oldest) = offers.oldest() else {
        return raw("nothing is held".into());
    };
    // Beyond what anything reaches nothing is better than anything else.
    let needed = from.max(oldest);
    let is_whole = |tier: &&TierOffer| !tier.is_building;
    let reaches = |tier: &&TierOffer| tier.reaches(needed);
    let is_fine = |tier: &&TierOffer| wanted.is_some_and(|it| tier.resolution.nanos() <= it);
    let mut whole = offers.tiers.iter().filter(is_whole).filter(reaches);
    let coarsest_fine = whole.clone().rev().find(is_fine);
    if let Some(tier) = coarsest_fine {
        return of_tier(tier, wanted, "fine enough for the number of points".into());
    }
    let has_raw = offers.has_raw(needed);
    let is_cheap = offers.raw.bytes <= offers.raw.bytes_max;
    if has_raw && is_cheap {
        return raw("no tier is as fine as asked for".into());
    }
    let why = match has_raw {
        true => format!(
            "raw records of the span are about {} MiB with their neighbours, read without being asked for by name up to {}",
            offers.raw.bytes >> 20,
            offers.raw.bytes_max >> 20
        ),
        false => "raw records do not reach back so far".into(),
    };
    match whole.next().or_else(|| offers.tiers.iter().find(reaches)) {
        Some(tier) => of_tier(tier, wanted, why),
        None => raw("nothing else reaches back so far".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_795_399_200 * SECOND;

    fn offers(raw_bytes: u64) -> Offers {
        let tier = |seconds: u32, days: i64| TierOffer {
            resolution: Resolution::from_seconds(seconds).unwrap(),
            begin: Some(NOW - days * DAY),
            is_building: false,
        };
        Offers {
            raw: RawOffer {
                begin: Some(NOW - 7 * DAY),
                is_whole: false,
                committed: NOW,
                bytes: raw_bytes,
                bytes_max: 1000,
            },
            tiers: vec![tier(10, 31), tier(300, 366)],
            is_measured: true,
        }
    }

    #[test]
    fn the_best_tier() {
        let check = |span: i64, points: usize, bytes: u64, expected: &str, width: Option<i64>| {
            let times = (NOW - span, NOW);
            let choice = choose(&TierAsk::Auto, &offers(bytes), times, Some(points)).unwrap();
            assert_eq!(choice.from.to_string(), expected, "{choice:?}");
            assert_eq!(choice.width, width, "{choice:?}");
        };
        check(5 * MINUTE, 1000, 100, "raw", Some(500 * MS));
        check(5 * MINUTE, 1000, 10_000, "10s", None);
        check(6 * HOUR, 1000, 10_000, "10s", Some(30 * SECOND));
        check(7 * DAY, 1000, 100_000, "5min", Some(15 * MINUTE));
        check(30 * DAY, 100_000, 100, "10s", Some(30 * SECOND));
        check(100 * DAY, 100_000, 100, "5min", None);
        check(366 * DAY, 1000, 100, "5min", Some(12 * HOUR));
        check(4000 * DAY, 1000, 100, "5min", Some(7 * DAY));
    }

    /// All began together: windows of the oldest records begin before them.
    #[test]
    fn a_young_buffer_has_all_in_raw_records() {
        let mut offers = offers(100);
        offers.raw.begin = Some(NOW - 7 * SECOND);
        for tier in &mut offers.tiers {
            let nanos = tier.resolution.nanos();
            tier.begin = Some((NOW - 7 * SECOND) / nanos * nanos);
        }
        offers.tiers.pop();
        let times = (NOW - 5 * MINUTE, NOW);
        let choice = choose(&TierAsk::Auto, &offers, times, Some(1000)).unwrap();
        assert_eq!(choice.from, From::Raw, "{choice:?}");
    }

    #[test]
    fn what_is_being_built_is_the_last_resort() {
        let mut offers = offers(10_000);
        offers.tiers[1].is_building = true;
        let chosen = |offers: &Offers, days: i64| {
            let times = (NOW - days * DAY, NOW);
            let choice = choose(&TierAsk::Auto, offers, times, Some(1000)).unwrap();
            choice.from.to_string()
        };
        assert_eq!(chosen(&offers, 30), "10s");
        assert_eq!(chosen(&offers, 100), "5min");
    }

    #[test]
    fn by_name_and_what_has_no_windows() {
        let times = (NOW - HOUR, NOW);
        let named = |name: &str| {
            let asked = TierAsk::parse(name);
            choose(&asked, &offers(1 << 40), times, None)
        };
        assert_eq!(named("raw").unwrap().from, From::Raw);
        assert_eq!(named("5min").unwrap().from.to_string(), "5min");
        let error = named("1h").unwrap_err().to_string();
        assert_eq!(error, "no tier `1h`: there are raw, 10s, 5min");
        let texts = Offers {
            is_measured: false,
            ..offers(1 << 40)
        };
        let choice = choose(&TierAsk::Auto, &texts, times, Some(10)).unwrap();
        assert_eq!((choice.from, choice.width), (From::Raw, None));
        let refused = choose(&TierAsk::parse("10s"), &texts, times, None);
        assert!(
            refused
                .unwrap_err()
                .to_string()
                .contains("numbers of telemetry only")
        );
    }

    /// A window of 5 min begins before what it has: finer ones that begin later are not poorer.
    #[test]
    fn a_coarse_window_does_not_reach_further() {
        let mut offers = offers(100);
        let begun = NOW - 4 * MINUTE;
        offers.raw.begin = Some(begun);
        offers.raw.is_whole = true;
        offers.tiers[0].begin = Some(begun - 3 * SECOND);
        offers.tiers[1].begin = Some(NOW - 5 * MINUTE);
        for (points, expected) in [(Some(100_000), "raw"), (None, "raw"), (Some(100), "10s")] {
            let times = (NOW - HOUR, NOW);
            let choice = choose(&TierAsk::Auto, &offers, times, points).unwrap();
            assert_eq!(choice.from.to_string(), expected, "{choice:?}");
        }
    }
}
