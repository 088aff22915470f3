//! `/query`, `/ping` and `/health`, as an InfluxDB 1.x has them.

use std::convert::Infallible;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use bytes::Bytes;
use efd_shared_influxql as influxql;
use efd_shared_influxql::{Epoch, ParseError, Request};
use serde_json::json;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

use super::Desk;
use crate::error::QueryError;
use crate::influx::Influx;
use crate::library::{Budget as _, Library};

/// Whose answers these are.
const VERSION: &str = "1.6.7";
/// Rows of a document where nothing else is asked for.
const CHUNK_ROWS: u64 = 10_000;
/// Of a request's body.
const BODY_BYTES_MAX: usize = 1 << 20;
/// Documents that wait for the reader.
const DOCUMENTS: usize = 4;
/// A reader who takes nothing for so long is left.
const TAKEN_WITHIN: Duration = Duration::from_secs(10);

pub(super) fn routes(desk: Desk) -> Router {
    Router::new()
        .route("/query", get(by_url).post(by_form))
        .route("/ping", any(ping))
        .route("/health", get(health))
        .route("/write", any(write))
        .with_state(desk)
}

const VERSION_HEADER: HeaderName = HeaderName::from_static("x-influxdb-version");

async fn ping() -> Response {
    let version = [(VERSION_HEADER, HeaderValue::from_static(VERSION))];
    (StatusCode::NO_CONTENT, version).into_response()
}

/// The observatory's client asks before anything else.
async fn health() -> Response {
    let body = json!({ "name": "influxdb", "message": "ready for queries", "status": "pass", "checks": [] });
    axum::Json(body).into_response()
}

async fn write() -> Response {
    let text = "an edge is read, not written: its data come from the bus";
    refusal(StatusCode::METHOD_NOT_ALLOWED, text)
}

async fn by_url(State(desk): State<Desk>, RawQuery(query): RawQuery) -> Response {
    match Asked::parse(query.as_deref(), &[]) {
        Ok(asked) => answer(desk, asked).await,
        Err(text) => refusal(StatusCode::BAD_REQUEST, &text),
    }
}

async fn by_form(
    State(desk): State<Desk>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let content_type = headers.get(header::CONTENT_TYPE);
    let is_form = content_type.is_none_or(|it| {
        it.as_bytes()
            .starts_with(b"application/x-www-form-urlencoded")
    });
    if !is_form {
        let text = "the body is no form: send application/x-www-form-urlencoded";
        return refusal(StatusCode::UNSUPPORTED_MEDIA_TYPE, text);
    }
    let Ok(body) = axum::body::to_bytes(body, BODY_BYTES_MAX).await else {
        let text = format!("the body has more than {BODY_BYTES_MAX} bytes, or does not come");
        return refusal(StatusCode::PAYLOAD_TOO_LARGE, &text);
    };
    match Asked::parse(query.as_deref(), &body) {
        Ok(asked) => answer(desk, asked).await,
        Err(text) => refusal(StatusCode::BAD_REQUEST, &text),
    }
}

fn refusal(status: StatusCode, text: &str) -> Response {
    let mut response = (status, axum::Json(json!({ "error": text }))).into_response();
    let headers = response.headers_mut();
    headers.insert(VERSION_HEADER, HeaderValue::from_static(VERSION));
    response
}

/// The parameters, of the address and of a form.
#[derive(Debug, Default)]
struct Asked {
    statements: String,
    database: Option<String>,
    epoch: Option<Epoch>,
    chunk_rows: Option<u64>,
}

impl Asked {
    fn parse(query: Option<&str>, body: &[u8]) -> Result<Self, String> {
        let pairs = |text: &[u8]| {
            serde_urlencoded::from_bytes::<Vec<(String, String)>>(text)
                .map_err(|error| format!("parameters: {error}"))
        };
        let mut all = pairs(query.unwrap_or_default().as_bytes())?;
        all.extend(pairs(body)?);
        let mut asked = Self::default();
        let (mut is_chunked, mut rows) = (false, CHUNK_ROWS);
        for (name, value) in all {
            match name.as_str() {
                "q" => asked.statements = value,
                "db" => asked.database = Some(value).filter(|value| !value.is_empty()),
                "epoch" => asked.epoch = Epoch::parse(&value),
                "chunked" => is_chunked = value == "true",
                "chunk_size" => {
                    let positive = value.parse().ok().filter(|rows| *rows > 0);
                    rows = positive.unwrap_or(CHUNK_ROWS);
                }
                "rp" if !matches!(value.as_str(), "" | crate::influx::POLICY) => {
                    return Err(format!("retention policy not found: {value}"));
                }
                "params" if !matches!(value.as_str(), "" | "{}") => {
                    return Err(
                        "bound parameters (`params`) are outside the subset that is answered here"
                            .into(),
                    );
                }
                // Who asks was checked before; the rest is of no consequence, as it is to InfluxDB.
                _ => {}
            }
        }
        if asked.statements.is_empty() {
            return Err("missing required parameter \"q\"".into());
        }
        asked.chunk_rows = is_chunked.then_some(rows);
        Ok(asked)
    }
}

async fn answer(desk: Desk, asked: Asked) -> Response {
    let (deadline, waiting) = desk.deadline(desk.limits.within);
    let (first, begun) = oneshot::channel::<Result<(), ParseError>>();
    let (documents, taken) = mpsc::channel::<Bytes>(DOCUMENTS);
    let limits = influxql::Limits {
        rows: desk.limits.values_max as u64,
        answer_bytes: desk.limits.bytes_max as u64,
        ..influxql::Limits::default()
    };
    let now = (desk.now)();
    let runtime = Handle::current();
    let counters = Arc::clone(&desk.workers.counters);
    let job = move |library: &mut Library| {
        if deadline.check().is_err() {
            return;
        }
        let request = Request {
            statements: &asked.statements,
            database: asked.database.as_deref(),
            epoch: asked.epoch,
            chunk_rows: asked.chunk_rows,
            now: now.0,
            limits,
        };
        let mut first = Some(first);
        let mut source = Influx::new(library, &deadline);
        let outcome = influxql::answer(&request, &mut source, &mut |document| {
            if let Some(first) = first.take()
                && first.send(Ok(())).is_err()
            {
                return ControlFlow::Break(());
            }
            if deadline.check().is_err() {
                return ControlFlow::Break(());
            }
            let document = document.into();
            let sent = runtime.block_on(async {
                tokio::time::timeout(TAKEN_WITHIN, documents.send(document)).await
            });
            match sent {
                Ok(Ok(())) => ControlFlow::Continue(()),
                Ok(Err(_)) | Err(_) => ControlFlow::Break(()),
            }
        });
        match (outcome, first) {
            (Err(error), Some(first)) => {
                counters.refused.fetch_add(1, Ordering::Relaxed);
                // Whoever asked may have gone.
                let _gone = first.send(Err(error));
            }
            (Ok(()) | Err(_), _) => {
                counters.answered.fetch_add(1, Ordering::Relaxed);
            }
        }
    };
    if let Err(error) = desk.workers.ask(job) {
        let status = StatusCode::from_u16(error.status());
        let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        return refusal(status, &error.to_string());
    }
    match begun.await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => return refusal(StatusCode::BAD_REQUEST, &error.to_string()),
        Err(_) => {
            let within = desk.limits.within;
            let text = QueryError::TooLong { within }.to_string();
            return refusal(StatusCode::SERVICE_UNAVAILABLE, &text);
        }
    }
    // The body outlives this function; whoever drops it is gone.
    let stream = futures::stream::unfold((taken, waiting), |(mut taken, waiting)| async {
        let document = taken.recv().await?;
        Some((Ok::<_, Infallible>(document), (taken, waiting)))
    });
    let mut response = Body::from_stream(stream).into_response();
    let headers = response.headers_mut();
    headers.insert(VERSION_HEADER, HeaderValue::from_static(VERSION));
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    response
}
