//! One sample's way through the centre: what book and log tell of it, then the public topic and the lake.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context as _, Result};
use efd_central_feed::PublicTopics;
use efd_central_lake::{REJECTED_TOPIC, RowFound, seek, time_of};
use efd_central_ledger::{Book, Gap, Neighbour, Publisher, Sighting, Sought, Trace};
use efd_central_log::Progress;
use efd_shared_daemon::clock::{monotonic_now, utc_now};
use efd_shared_model::{EventTimeOrigin, RecordId, UtcNanos};
use serde_json::{Value as Json, json};

use super::Desk;
use super::answer::GoOn;
use super::ask::escape;
use crate::roles::feed_progress;

/// To look for a record in its public topic.
const FIND_WITHIN: Duration = Duration::from_secs(20);
/// Clocks of edge and broker differ: the search begins so much earlier, ns.
const CLOCKS_DIFFER: i64 = 600_000_000_000;

/// A sample by what is known of it, from the log or from the lake alone.
struct Way {
    id: RecordId,
    /// Not appended to a public topic before.
    begun: UtcNanos,
    told: Json,
}

impl Desk {
    pub(super) fn trace(&self, sought: &Sought, go_on: GoOn<'_>) -> Result<Json> {
        let book = Book::open(&self.ledger.folder)?;
        let trace = book.trace(&*self.log, sought)?;
        let (rows, unread_files) = self.rows(sought).context("read the lake")?;
        let mut ways: Vec<Way> = trace.samples.iter().map(|it| of_log(it, sought)).collect();
        // What the log has let go of, and what the ledger has not taken yet.
        let of_lake = rows
            .iter()
            .filter(|row| !trace.blocks.contains(&row.id.block));
        let of_lake: Vec<&RowFound> = of_lake.collect();
        let within_span = trace.within_span + of_lake.len() as u64;
        ways.extend(nearest_rows(sought, of_lake).map(|row| of_row(row, sought)));
        let places = self.public_places(sought, &ways, go_on);
        let feed = self.feed.as_ref().map(feed_progress);
        let mut samples = Vec::new();
        for Way { id, told, .. } in ways {
            let mut sample = told;
            sample["feed"] = match &places {
                Ok(places) => in_feed(places, feed.as_ref(), id),
                Err(why) => json!({ "state": "unknown", "why": why }),
            };
            sample["lake"] = self.in_lake(&rows, sought, id)?;
            samples.push(sample);
        }
        let behind = self.ledger.to_json(&*self.log)["behind_blocks"].clone();
        let ended = match samples.is_empty() {
            true => ended(&trace, sought, behind.as_u64()),
            false => Vec::new(),
        };
        let unread = [trace.unread, unread_files].concat();
        Ok(json!({
            "site": sought.site.as_str(), "topic": sought.topic, "time": sought.time.to_string(), "within_ns": sought.within,
            "found": !samples.is_empty(), "samples_within": within_span, "samples": samples,
            "gaps": trace.gaps.iter().map(gap).collect::<Vec<_>>(),
            "before": trace.before.iter().map(neighbour).collect::<Vec<_>>(),
            "after": trace.after.iter().map(neighbour).collect::<Vec<_>>(),
            "losses_of_the_hour": trace.others, "unread": unread, "ended": ended,
            "behind_blocks": behind,
        }))
    }

    /// Rows of the topic, and files that cannot be read.
    fn rows(&self, sought: &Sought) -> Result<(Vec<RowFound>, Vec<String>)> {
        let Some(lake) = &self.lake else {
            return Ok(Default::default());
        };
        Ok(seek(
            lake.root(),
            &sought.site,
            &sought.topic,
            span(sought),
        )?)
    }

    fn in_lake(&self, rows: &[RowFound], sought: &Sought, id: RecordId) -> Result<Json> {
        let Some(lake) = &self.lake else {
            return Ok(json!({ "state": "off", "why": "this process writes no lake" }));
        };
        if let Some(row) = rows.iter().find(|row| row.id == id) {
            let committed = time_of(lake.root(), row.commit).ok();
            return Ok(json!({
                "state": "there", "file": row.file, "row": row.row, "commit": row.commit,
                "committed": committed.map(|time| time.to_string()), "class": row.told.class,
            }));
        }
        let (rejected, _) = seek(lake.root(), &sought.site, REJECTED_TOPIC, span(sought))?;
        if let Some(row) = rejected.iter().find(|row| row.id == id) {
            return Ok(json!({
                "state": "rejected", "file": row.file, "row": row.row, "commit": row.commit,
                "why": "its schema does not decode it",
            }));
        }
        Ok(
            match lake.settled().map(|progress| progress.has_block(&id.block)) {
                Some(true) => json!({
                    "state": "missing", "why": "a commit says that it is there: `efd-central account --verify` puts it back",
                }),
                Some(false) => json!({ "state": "not_yet", "why": "no commit has its block" }),
                None => json!({ "state": "unknown", "why": "another process writes the lake" }),
            },
        )
    }

    /// Where the samples stand in public topics, and how many records were looked at. Else why nothing is known.
    fn public_places(
        &self,
        sought: &Sought,
        ways: &[Way],
        go_on: GoOn<'_>,
    ) -> Result<efd_central_feed::Found, String> {
        let Some(options) = &self.public else {
            return Err("no public topics are configured".into());
        };
        let Some(since) = ways.iter().map(|way| way.begun).min() else {
            return Ok(efd_central_feed::Found::default());
        };
        let give_up_at = monotonic_now().saturating_add(FIND_WITHIN.as_nanos() as i64);
        let find = || {
            let mut public = PublicTopics::connect(options)?;
            let name = public.name(&sought.site, &sought.topic);
            let topics = public.of_names(&BTreeSet::from([name]))?;
            let topics: Vec<&str> = topics.keys().map(String::as_str).collect();
            let wanted = ways.iter().map(|way| way.id).collect();
            let since = since.saturating_sub(CLOCKS_DIFFER);
            let is_in_time = || go_on() && monotonic_now() < give_up_at;
            public.find(&topics, since, &wanted, &is_in_time)
        };
        find().map_err(|error: efd_central_feed::PublicError| error.to_string())
    }
}

/// Both inclusive.
fn span(sought: &Sought) -> (UtcNanos, UtcNanos) {
    let Sought { time, within, .. } = sought;
    (time.saturating_sub(*within), time.saturating_add(*within))
}

/// `progress`: the inner is `None` where another process runs the feed.
fn in_feed(
    found: &efd_central_feed::Found,
    progress: Option<&Option<Progress>>,
    id: RecordId,
) -> Json {
    if let Some(spot) = found.spots.get(&id) {
        return json!({
            "state": "there", "topic": spot.topic, "partition": spot.partition, "offset": spot.offset,
            "appended": spot.appended.map(|time| time.to_string()),
        });
    }
    let looked = match found.is_whole {
        true => format!(
            "not among the {} records since then in its topic",
            found.read
        ),
        false => format!(
            "not among {} records in its topic, which were not all within {FIND_WITHIN:?}",
            found.read
        ),
    };
    match progress.map(|progress| {
        progress
            .as_ref()
            .map(|progress| progress.has_block(&id.block))
    }) {
        Some(Some(false)) => {
            json!({ "state": "not_yet", "why": format!("the feed has not settled its block; {looked}") })
        }
        Some(Some(true)) if found.is_whole => json!({
            "state": "missing",
            "why": format!("the feed has settled its block; {looked}: the topic's retention took it, or somebody, or the topic is owed it"),
        }),
        Some(Some(true)) => {
            json!({ "state": "settled", "why": format!("the feed has settled its block; {looked}") })
        }
        Some(None) => {
            json!({ "state": "unknown", "why": format!("another process runs the feed; {looked}") })
        }
        None => json!({ "state": "unknown", "why": format!("this process has no feed; {looked}") }),
    }
}

fn publisher(publisher: &Publisher, number: Option<i64>) -> Json {
    let Publisher {
        instance,
        identity,
        origin,
    } = publisher;
    let is_numbered = number.is_some();
    json!({
        "instance": (*instance >= 0).then_some(instance), "identity": is_numbered.then_some(identity),
        "origin": is_numbered.then_some(origin), "number": number,
    })
}

fn time(time: Option<UtcNanos>) -> Json {
    time.map(|time| time.to_string()).into()
}

fn block(id: RecordId) -> Json {
    let lane = id.block.lane;
    json!({
        "edge": lane.edge.to_string(), "epoch": lane.epoch.to_string(), "lane": lane.lane.to_string(),
        "number": id.block.number.0, "index": id.index,
    })
}

fn origin_text(origin: EventTimeOrigin) -> &'static str {
    match origin {
        EventTimeOrigin::SndStamp => "snd_stamp",
        EventTimeOrigin::Source => "source",
        EventTimeOrigin::Reception => "reception",
    }
}

fn of_log(sighting: &Sighting, sought: &Sought) -> Way {
    let Sighting {
        id,
        record,
        publisher: by,
        number,
        stamps,
        sealed,
        taken,
        partition,
        place,
    } = sighting;
    let told = json!({
        "event_time": record.event_time.to_string(), "off_ns": record.event_time.since(sought.time),
        "time_origin": origin_text(record.origin), "implausible": record.implausible,
        "publisher": publisher(by, *number),
        "sent": time(stamps.sent), "received": time(stamps.received), "encoded": time(stamps.encoded),
        "block": block(*id), "sealed": sealed.to_string(),
        "log": { "partition": partition.to_string(), "place": place.0, "taken": taken.to_string() },
    });
    Way {
        id: *id,
        begun: (*sealed).min(*taken),
        told,
    }
}

/// The log has it no more.
fn of_row(row: &RowFound, sought: &Sought) -> Way {
    let told = &row.told;
    let by = Publisher {
        instance: -1,
        identity: told.identity.clone().unwrap_or_default(),
        origin: told.origin.unwrap_or_default(),
    };
    Way {
        id: row.id,
        begun: told.received.unwrap_or(row.time),
        told: json!({
            "event_time": row.time.to_string(), "off_ns": row.time.since(sought.time),
            "time_origin": told.time_origin, "publisher": publisher(&by, told.number),
            "sent": time(told.sent), "received": time(told.received), "encoded": time(told.encoded),
            "block": block(row.id), "sealed": null,
            "log": { "why": "the ledger knows no place of its block: the log has let go of it, or the ledger is behind; this is from the lake" },
        }),
    }
}

/// Of each publisher, the nearest first.
fn nearest_rows<'a>(
    sought: &Sought,
    rows: Vec<&'a RowFound>,
) -> impl Iterator<Item = &'a RowFound> {
    let mut best: BTreeMap<(Option<&String>, Option<i64>), &'a RowFound> = BTreeMap::new();
    let distance = |row: &RowFound| row.time.0.abs_diff(sought.time.0);
    for row in rows {
        let known = best
            .entry((row.told.identity.as_ref(), row.told.origin))
            .or_insert(row);
        if distance(row) < distance(known) {
            *known = row;
        }
    }
    let mut nearest: Vec<_> = best.into_values().collect();
    nearest.sort_by_key(|row| distance(row));
    nearest.into_iter()
}

fn gap(gap: &Gap) -> Json {
    let blocks = gap.blocks.iter().map(
        |it| json!({ "reason": it.reason, "lane": it.lane, "first": it.first, "last": it.last }),
    );
    json!({
        "publisher": publisher(&gap.publisher, Some(gap.first)), "first": gap.first, "last": gap.last, "count": gap.count(),
        "after": gap.after.to_string(), "before": gap.before.to_string(), "lost": gap.named, "unnamed": gap.unnamed,
        "blocks": blocks.collect::<Vec<_>>(),
    })
}

fn neighbour(neighbour: &Neighbour) -> Json {
    json!({
        "publisher": publisher(&neighbour.publisher, neighbour.number), "time": neighbour.time.to_string(),
    })
}

/// Where it ended that nothing is there: a word, and a sentence for each reason.
fn ended(trace: &Trace, sought: &Sought, behind: Option<u64>) -> Vec<Json> {
    let mut ends: Vec<(&str, String)> = Vec::new();
    let is_late = match trace.extent {
        None => {
            ends.push(("unknown_topic", unknown_topic(trace, sought)));
            true
        }
        Some((first, last)) => {
            ends.extend(trace.gaps.iter().map(|gap| ("lost", lost(gap))));
            if sought.time < first {
                let why = format!("the first record of the topic is of {first}");
                ends.push(("before_first", why));
            }
            if last < sought.time {
                let why = format!("the last record of the topic is of {last}");
                ends.push(("after_last", why));
            }
            last < sought.time
        }
    };
    if let Some(blocks) = behind.filter(|blocks| is_late && *blocks > 0) {
        let why = format!("the ledger is {blocks} blocks behind: ask again");
        ends.push(("behind", why));
    }
    for (reason, samples) in &trace.others {
        ends.push((
            "lost",
            format!("{samples} {reason} of the topic in this hour"),
        ));
    }
    let retired = trace.retired_through;
    if retired.is_some_and(|through| sought.time <= through) {
        let why = "the log has let go of blocks of that time, and the lake has no such row";
        ends.push(("retired", why.into()));
    }
    if trace.gaps.is_empty() {
        ends.extend(pairs(trace).filter_map(quiet).map(|why| ("quiet", why)));
    }
    if ends.is_empty() {
        ends.push(("nothing", nothing(trace)));
    }
    let end = |(what, why)| json!({ "what": what, "why": why });
    ends.into_iter().map(end).collect()
}

fn unknown_topic(trace: &Trace, sought: &Sought) -> String {
    let near = match trace.near_names.is_empty() {
        true => String::new(),
        false => format!("; there are {}", trace.near_names.join(", ")),
    };
    format!("{} has no topic `{}`{near}", sought.site, sought.topic)
}

/// Of a publisher whose numbers follow each other.
fn quiet((before, after): (&Neighbour, &Neighbour)) -> Option<String> {
    let number = before.number?;
    (number.checked_add(1) == after.number).then(|| {
        format!(
            "{} published number {number} at {} and the next at {}",
            before.publisher.identity, before.time, after.time
        )
    })
}

fn nothing(trace: &Trace) -> String {
    let what = match (trace.before.is_empty(), trace.after.is_empty()) {
        (true, true) => "the log has no record of the topic",
        (false, false) => {
            "the log has records of the topic before and after, and nothing tells of more"
        }
        (true, false) => "the log has records of the topic after the time alone",
        (false, true) => "the log has records of the topic before the time alone",
    };
    match trace.looked {
        Some((from, until)) => format!("{what}, between {from} and {until}"),
        None => what.to_owned(),
    }
}

/// The same publisher on both sides.
fn pairs(trace: &Trace) -> impl Iterator<Item = (&Neighbour, &Neighbour)> {
    trace.before.iter().filter_map(|before| {
        let mut after = trace.after.iter();
        let found = after.find(|after| after.publisher == before.publisher)?;
        Some((before, found))
    })
}

fn lost(gap: &Gap) -> String {
    let mut reasons: Vec<String> = gap
        .named
        .iter()
        .map(|(reason, count)| format!("{count} {reason}"))
        .collect();
    if gap.unnamed > 0 {
        reasons.push(format!("{} that nothing names", gap.unnamed));
    }
    let blocks = gap
        .blocks
        .iter()
        .map(|it| format!("; blocks {} to {} of {}", it.first, it.last, it.lane));
    let numbers = match gap.first == gap.last {
        true => format!("number {}", gap.first),
        false => format!("numbers {} to {}", gap.first, gap.last),
    };
    format!(
        "{numbers} of {} between {} and {}: {}{}",
        gap.publisher.identity,
        gap.after,
        gap.before,
        reasons.join(", "),
        blocks.collect::<String>()
    )
}

/// What is asked for, as a request has it.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TraceQuestion {
    pub(crate) site: String,
    pub(crate) topic: String,
    /// RFC 3339 with a Z, or `-2h`.
    pub(crate) time: String,
    /// Each way: `1s`.
    pub(crate) within: Option<String>,
}

const WITHIN_DEFAULT: i64 = 1_000_000_000;
/// More is a question for the account.
const WITHIN_MAX: i64 = 60_000_000_000;
/// As Kafka's of its topics.
const TOPIC_BYTES_MAX: usize = 249;

#[derive(Debug, thiserror::Error)]
pub(crate) enum TraceError {
    #[error(transparent)]
    Time(#[from] efd_shared_daemon::when::WindowError),
    #[error(transparent)]
    Site(#[from] efd_shared_model::ids::SiteError),
    #[error("within: {0}")]
    Within(#[from] efd_shared_daemon::units::UnitError),
    #[error("within {0} is more than a minute: ask `account` for spans")]
    TooWide(String),
    #[error("a topic of {0} bytes: {TOPIC_BYTES_MAX} are the most")]
    TooLong(usize),
}

impl TraceQuestion {
    /// `called`: what whoever asks calls the time.
    pub(crate) fn understand(&self, called: &'static str) -> Result<Sought, TraceError> {
        use efd_shared_daemon::units::Span;
        use efd_shared_daemon::when::{Named, Window};
        let named = Named {
            from: called,
            until: called,
        };
        let window = Window::parse(named, Some(&self.time), None, utc_now())?;
        if TOPIC_BYTES_MAX < self.topic.len() {
            return Err(TraceError::TooLong(self.topic.len()));
        }
        let within = self.within.as_deref().map(str::parse::<Span>).transpose()?;
        let within = within.map_or(WITHIN_DEFAULT, Span::nanos);
        if WITHIN_MAX < within {
            return Err(TraceError::TooWide(self.within.clone().unwrap_or_default()));
        }
        Ok(Sought {
            site: self.site.parse()?,
            topic: self.topic.clone(),
            time: window.from.unwrap_or_default(),
            within,
        })
    }

    pub(crate) fn to_query(&self) -> String {
        let Self {
            site,
            topic,
            time,
            within,
        } = self;
        let mut query = format!(
            "site={}&topic={}&time={}",
            escape(site),
            escape(topic),
            escape(time)
        );
        if let Some(within) = within {
            query.push_str(&format!("&within={}", escape(within)));
        }
        query
    }
}
