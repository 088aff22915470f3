//! The questions as HTTP: `/api/v1/…`, described by `openapi.json`, and `/query`, as an InfluxDB has it.

mod ask;
mod influx;

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use efd_shared_model::UtcNanos;
use serde_json::json;
use tokio::sync::{Semaphore, oneshot};

use crate::error::QueryError;
use crate::library::{Budget, Library, Limits};
use crate::records::Newest;
use crate::render::{Format, render};
use crate::workers::{Deadline, Workers};
use ask::Parameters;

/// What `/api/v1` is; a test compares it with what it does.
pub const OPENAPI: &str = include_str!("../openapi.json");

/// The newest records are found at once, or the topic has been silent for long.
const NEWEST_WITHIN: Duration = Duration::from_secs(5);
/// Records of one answer.
const RECORDS_MAX: usize = 10_000;

/// What the handlers share.
#[derive(Clone, Debug)]
pub struct Desk {
    pub workers: Workers,
    pub limits: Limits,
    /// KiB of answers that clients have not taken yet.
    pub in_flight: Arc<Semaphore>,
    /// The clock of the answers.
    pub now: fn() -> UtcNanos,
}

/// Of answers that clients have not taken yet, all together.
pub const IN_FLIGHT_KIB: usize = 128 << 10;
const KIB: usize = 1 << 10;
const PART_BYTES: usize = 64 << 10;

pub fn routes(desk: Desk) -> Router {
    Router::new()
        .route("/api/v1/openapi.json", get(openapi))
        .route("/api/v1/topics", get(topics))
        .route("/api/v1/topics/{topic}", get(topic))
        .route("/api/v1/series", get(series))
        .route("/api/v1/latest", get(latest))
        .route("/api/v1/last", get(last))
        .route("/api/v1/events", get(events))
        .with_state(desk.clone())
        .merge(influx::routes(desk))
}

/// What is answered.
pub(crate) struct Body {
    pub(crate) content_type: &'static str,
    pub(crate) bytes: Vec<u8>,
}

impl Body {
    fn json(value: &impl serde::Serialize) -> Result<Self, QueryError> {
        let bytes = serde_json::to_vec(value);
        let bytes = bytes.map_err(|error| QueryError::Bad(format!("write JSON: {error}")))?;
        Ok(Self {
            content_type: "application/json",
            bytes,
        })
    }
}

/// Tells the work when nobody waits for it any more.
pub(crate) struct Waiting(Arc<AtomicBool>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Desk {
    pub(crate) fn deadline(&self, within: Duration) -> (Deadline, Waiting) {
        #[expect(clippy::disallowed_methods, reason = "a deadline is of the real clock")]
        let asked = Instant::now();
        let gone = Arc::new(AtomicBool::new(false));
        let deadline = Deadline::new(asked, within, Arc::clone(&gone));
        (deadline, Waiting(gone))
    }

    async fn answer(
        &self,
        within: Duration,
        work: impl FnOnce(&mut Library, &dyn Budget) -> Result<Body, QueryError> + Send + 'static,
    ) -> Response {
        let (deadline, waiting) = self.deadline(within);
        let (reply, answered) = oneshot::channel();
        let job = move |library: &mut Library| {
            // It may have waited too long already.
            let body = deadline.check().and_then(|()| work(library, &deadline));
            // Nobody waits any more.
            let _gone = reply.send(body);
        };
        let answer = match self.workers.ask(job) {
            Ok(()) => answered.await.unwrap_or(Err(QueryError::Gone)),
            Err(error) => Err(error),
        };
        drop(waiting);
        match answer {
            Ok(body) => self.send(body),
            Err(error) => self.refuse(&error),
        }
    }

    /// A large body goes out in parts, and holds its share of what may be under way until it is taken.
    fn send(&self, body: Body) -> Response {
        self.workers
            .counters
            .answered
            .fetch_add(1, Ordering::Relaxed);
        let content_type = [(
            header::CONTENT_TYPE,
            HeaderValue::from_static(body.content_type),
        )];
        if body.bytes.len() <= PART_BYTES {
            return (content_type, body.bytes).into_response();
        }
        let share = u32::try_from(body.bytes.len() / KIB + 1).unwrap_or(u32::MAX);
        let Ok(permit) = Arc::clone(&self.in_flight).try_acquire_many_owned(share) else {
            return self.refuse(&QueryError::TooManyUnderWay {
                max: IN_FLIGHT_KIB * KIB,
            });
        };
        let bytes = Bytes::from(body.bytes);
        let parts = futures::stream::unfold((bytes, permit), |(mut bytes, permit)| async {
            let part = bytes.split_to(PART_BYTES.min(bytes.len()));
            (!part.is_empty()).then_some((Ok::<_, Infallible>(part), (bytes, permit)))
        });
        (content_type, axum::body::Body::from_stream(parts)).into_response()
    }

    pub(crate) fn refuse(&self, error: &QueryError) -> Response {
        self.workers
            .counters
            .refused
            .fetch_add(1, Ordering::Relaxed);
        if let QueryError::Store(error) = error {
            tracing::error!(
                error = error as &dyn std::error::Error,
                "A question is not answered"
            );
        }
        refusal(error)
    }
}

/// `{"error": "…"}`, causes included.
fn refusal(error: &QueryError) -> Response {
    let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body = json!({ "error": text(error) });
    let mut response = (status, axum::Json(body)).into_response();
    if matches!(status, StatusCode::TOO_MANY_REQUESTS) {
        let headers = response.headers_mut();
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

pub(crate) fn text(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], OPENAPI).into_response()
}

async fn topics(State(desk): State<Desk>, RawQuery(query): RawQuery) -> Response {
    let now = (desk.now)();
    if let Err(error) = Parameters::parse(query.as_deref(), &[]) {
        return desk.refuse(&error);
    }
    let work = move |library: &mut Library, _: &dyn Budget| {
        Body::json(&json!({ "now": now.0, "topics": library.topics(now)? }))
    };
    desk.answer(desk.limits.within, work).await
}

async fn topic(State(desk): State<Desk>, Path(topic): Path<String>) -> Response {
    let now = (desk.now)();
    let work =
        move |library: &mut Library, _: &dyn Budget| Body::json(&library.topic_page(&topic, now)?);
    desk.answer(desk.limits.within, work).await
}

async fn series(State(desk): State<Desk>, RawQuery(query): RawQuery) -> Response {
    let asked = Parameters::parse(query.as_deref(), &ask::SERIES)
        .and_then(|parameters| Ok((parameters.series((desk.now)())?, parameters.format()?)));
    let (ask, format): (_, Format) = match asked {
        Ok(asked) => asked,
        Err(error) => return desk.refuse(&error),
    };
    let bytes_max = desk.limits.bytes_max;
    let work = move |library: &mut Library, budget: &dyn Budget| {
        let answer = library.series(&ask, budget)?;
        Ok(Body {
            content_type: format.content_type(),
            bytes: render(answer, format, bytes_max)?,
        })
    };
    desk.answer(desk.limits.within, work).await
}

async fn latest(State(desk): State<Desk>, RawQuery(query): RawQuery) -> Response {
    let now = (desk.now)();
    let asked = Parameters::parse(query.as_deref(), &["topic"])
        .and_then(|parameters| Ok(parameters.needed("topic")?.to_owned()));
    let topic = match asked {
        Ok(topic) => topic,
        Err(error) => return desk.refuse(&error),
    };
    let work = move |library: &mut Library, budget: &dyn Budget| {
        newest("records", &library.latest(&topic, now, budget)?)
    };
    desk.answer(desk.limits.within.min(NEWEST_WITHIN), work)
        .await
}

async fn last(State(desk): State<Desk>, RawQuery(query): RawQuery) -> Response {
    let now = (desk.now)();
    let asked = Parameters::parse(query.as_deref(), &["topic", "n", "instance"]).and_then(|it| {
        let topic = it.needed("topic")?.to_owned();
        Ok((topic, it.instance()?, it.count("n", 10, RECORDS_MAX)?))
    });
    let (topic, instance, count) = match asked {
        Ok(asked) => asked,
        Err(error) => return desk.refuse(&error),
    };
    let work = move |library: &mut Library, budget: &dyn Budget| {
        newest(
            "records",
            &library.last(&topic, instance, count, now, budget)?,
        )
    };
    desk.answer(desk.limits.within.min(NEWEST_WITHIN), work)
        .await
}

async fn events(State(desk): State<Desk>, RawQuery(query): RawQuery) -> Response {
    let names = ["component", "n", "from", "until"];
    let asked = Parameters::parse(query.as_deref(), &names).and_then(|it| {
        let component = it.one("component")?.map(str::to_owned);
        Ok((
            component,
            it.times((desk.now)())?,
            it.count("n", 500, RECORDS_MAX)?,
        ))
    });
    let (component, times, count) = match asked {
        Ok(asked) => asked,
        Err(error) => return desk.refuse(&error),
    };
    let work = move |library: &mut Library, budget: &dyn Budget| {
        let events = library.events(component.as_deref(), times, count, budget)?;
        newest("events", &events)
    };
    desk.answer(desk.limits.within, work).await
}

fn newest(name: &str, newest: &Newest) -> Result<Body, QueryError> {
    Body::json(&json!({
        name: newest.records, "truncated": newest.is_cut, "damaged_blocks": newest.damaged_blocks,
    }))
}
