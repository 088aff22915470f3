//! The local HTTP surface of a daemon: `/metrics`, `/healthz`, `/readyz`, `/status`, and what the daemon adds.
//!
//! It listens on the loopback unless a token is configured; with a token every request must carry it
//! (`Authorization: Bearer …`). Connections are limited in number and closed when idle.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use serde_json::json;
use tokio::net::TcpListener;

use crate::secret::{Secret, SecretError};
use crate::shutdown::Stop;

mod ask;
pub mod client;
mod listener;
mod readiness;
#[cfg(test)]
mod tests;

pub use readiness::Readiness;

/// The section `[http]` of a configuration.
#[derive(Debug, Clone, Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HttpConfig {
    /// Address and port; 127.0.0.1 and the daemon's own port where none is given.
    pub listen: Option<SocketAddr>,
    /// Asked of every request. Needed to listen on anything but the loopback.
    pub token: Option<Secret>,
    /// A file whose first line is the token.
    pub token_file: Option<PathBuf>,
}

/// A checked [`HttpConfig`].
#[derive(Debug, Clone)]
pub struct HttpAddress {
    pub listen: SocketAddr,
    pub token: Option<Secret>,
}

#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    #[error(
        "`http.listen` is {address}, which other machines can reach, and there is no token; \
         set `http.token_file`, or listen on 127.0.0.1"
    )]
    Open { address: SocketAddr },
    #[error("`http.token` and `http.token_file` are both set; remove one")]
    TwoTokens,
    #[error("the token of the HTTP listener")]
    Token(#[from] SecretError),
    #[error(
        "HTTP address {address} is in use, perhaps by another copy of this daemon \
         (`ss -ltnp 'sport = :{}'` shows which process); stop that, or set `http.listen` to another port",
        address.port()
    )]
    InUse { address: SocketAddr },
    #[error(
        "HTTP address {address} is of no interface of this machine; `ip address` shows those there are; set `http.listen` to one"
    )]
    NotHere { address: SocketAddr },
    #[error("listen for HTTP on {address}")]
    Listen {
        address: SocketAddr,
        source: io::Error,
    },
    #[error("serve HTTP on {address}")]
    Serve {
        address: SocketAddr,
        source: io::Error,
    },
}

impl HttpConfig {
    /// Everything that can be known without opening a socket.
    pub fn check(&self, default_port: u16) -> Result<HttpAddress, HttpError> {
        let Self {
            listen,
            token,
            token_file,
        } = self;
        let token = match (token, token_file) {
            (Some(_), Some(_)) => return Err(HttpError::TwoTokens),
            (Some(token), None) => Some(token.clone()),
            (None, Some(path)) => Some(Secret::from_file(path)?),
            (None, None) => None,
        };
        let address =
            listen.unwrap_or_else(|| SocketAddr::from((Ipv4Addr::LOCALHOST, default_port)));
        if !is_loopback(address.ip()) && token.is_none() {
            return Err(HttpError::Open { address });
        }
        Ok(HttpAddress {
            listen: address,
            token,
        })
    }
}

fn listen_error(address: SocketAddr, source: io::Error) -> HttpError {
    #[expect(clippy::wildcard_enum_match_arm, reason = "of a list that may grow")]
    match source.kind() {
        io::ErrorKind::AddrInUse => HttpError::InUse { address },
        io::ErrorKind::AddrNotAvailable => HttpError::NotHere { address },
        _ => HttpError::Listen { address, source },
    }
}

fn is_loopback(ip: IpAddr) -> bool {
    ip.to_canonical().is_loopback()
}

/// Makes the body of `/status`. Called on a thread that may block.
pub type StatusSource = Arc<dyn Fn() -> serde_json::Value + Send + Sync>;

/// What is served.
#[derive(Clone)]
pub struct Surface {
    pub metrics: Arc<Registry>,
    pub readiness: Readiness,
    pub status: StatusSource,
    /// The daemon's own routes, behind the same token.
    pub extra: Router,
    /// Routes for which no token is asked: a page, which asks for one itself.
    pub open: Router,
}

impl fmt::Debug for Surface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Surface")
            .field("readiness", &self.readiness)
            .finish_non_exhaustive()
    }
}

/// A bound listener.
#[derive(Debug)]
pub struct HttpServer {
    listener: TcpListener,
    address: SocketAddr,
    token: Option<Secret>,
}

/// How long open requests may take to end once a stop was asked for.
const END_WITHIN: Duration = Duration::from_secs(2);

impl HttpServer {
    pub async fn bind(address: &HttpAddress) -> Result<Self, HttpError> {
        let HttpAddress { listen, token } = address;
        let failed = |source| listen_error(*listen, source);
        let listener = TcpListener::bind(listen).await.map_err(failed)?;
        let bound = listener.local_addr().map_err(failed)?;
        Ok(Self {
            listener,
            address: bound,
            token: token.clone(),
        })
    }

    /// With the port that was given where 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until a stop is asked for, then at most two seconds more.
    pub async fn serve(self, surface: Surface, stop: Stop) -> Result<(), HttpError> {
        let _running = stop.register("http");
        let Self {
            listener,
            address,
            token,
        } = self;
        let router = router(surface, token);
        let asked = {
            let stop = stop.clone();
            async move { stop.asked().await }
        };
        let serving = axum::serve(listener::Limited::new(listener), router)
            .with_graceful_shutdown(asked)
            .into_future();
        tokio::select! {
            outcome = serving => outcome.map_err(|source| HttpError::Serve { address, source }),
            () = async { stop.asked().await; tokio::time::sleep(END_WITHIN).await } => Ok(()),
        }
    }
}

fn router(surface: Surface, token: Option<Secret>) -> Router {
    let Surface {
        metrics,
        readiness,
        status,
        extra,
        open,
    } = surface;
    let own = Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/metrics", get(move || respond_metrics(metrics)))
        .route("/readyz", get(async move || respond_readiness(&readiness)))
        .route("/status", get(move || respond_status(status)));
    let all = own.merge(extra);
    let all = match token {
        Some(token) => all.layer(middleware::from_fn_with_state(Arc::new(token), authorize)),
        None => all.layer(middleware::from_fn(from_this_machine)),
    };
    // What is not open is asked for with the token, whether there is such a route or not.
    open.fallback_service(all)
}

async fn authorize(State(token): State<Arc<Secret>>, request: Request, next: Next) -> Response {
    let offered = request.headers().get(header::AUTHORIZATION);
    if offered.is_some_and(|offered| is_right(&token, offered)) {
        return next.run(request).await;
    }
    let body = "a token is needed: send `Authorization: Bearer <token>`, or it as the password of any user\n";
    let mut response = (StatusCode::UNAUTHORIZED, body).into_response();
    response
        .headers_mut()
        .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    response
}

/// Without a token whoever reaches the loopback is trusted, and a page of another site in a browser here is not whoever: its
/// requests tell the name that it was reached by, or where they come from.
async fn from_this_machine(request: Request, next: Next) -> Response {
    if is_own(request.headers()) {
        return next.run(request).await;
    }
    let body = "asked in the name of another site; ask for 127.0.0.1 or localhost, or set `http.token_file` and send the token\n";
    (StatusCode::FORBIDDEN, body).into_response()
}

fn is_own(headers: &HeaderMap) -> bool {
    let text = |name: &str| {
        let value = headers.get(name);
        value.map(|value| value.to_str().unwrap_or("?"))
    };
    let is_local = text("host").is_none_or(is_loopback_name);
    let is_from_here = text("origin").is_none_or(|origin| {
        let name = origin.split_once("://").map_or(origin, |(_, name)| name);
        is_loopback_name(name)
    });
    let site = text("sec-fetch-site");
    let is_same = site.is_none_or(|site| matches!(site, "same-origin" | "none"));
    is_local && is_from_here && is_same
}

/// With a port or without.
fn is_loopback_name(name: &str) -> bool {
    let has_port = |name: &str| {
        let (host, port) = name.rsplit_once(':')?;
        port.bytes()
            .all(|byte| byte.is_ascii_digit())
            .then(|| host.to_owned())
    };
    let host = if name.ends_with(']') {
        None
    } else {
        has_port(name)
    };
    let host = host.unwrap_or_else(|| name.to_owned());
    let ip = host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .parse::<IpAddr>();
    host.eq_ignore_ascii_case("localhost") || ip.is_ok_and(is_loopback)
}

/// `Bearer` with the token, or `Basic` with it as the password, as clients of databases send it.
fn is_right(token: &Secret, offered: &HeaderValue) -> bool {
    let offered = offered.as_bytes();
    if let Some(bearer) = offered.strip_prefix(b"Bearer ") {
        return token.matches(bearer);
    }
    let Some(pair) = offered.strip_prefix(b"Basic ").and_then(base64) else {
        return false;
    };
    let colon = pair.iter().position(|&byte| byte == b':');
    colon.is_some_and(|colon| token.matches(&pair[colon + 1..]))
}

/// RFC 4648, section 4; `None` of anything else.
fn base64(text: &[u8]) -> Option<Vec<u8>> {
    let digits: Vec<u8> = text
        .iter()
        .copied()
        .take_while(|&byte| byte != b'=')
        .collect();
    let padding = &text[digits.len()..];
    if !text.len().is_multiple_of(4)
        || padding.len() > 2
        || padding.iter().any(|&byte| byte != b'=')
    {
        return None;
    }
    let (mut bits, mut count, mut bytes) = (0u32, 0, Vec::new());
    for digit in digits {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count & 0xff) as u8);
        }
    }
    Some(bytes)
}

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

async fn respond_metrics(metrics: Arc<Registry>) -> Response {
    let text = tokio::task::spawn_blocking(move || {
        let mut text = String::new();
        encode(&mut text, &metrics).map(|()| text)
    })
    .await;
    match text {
        Ok(Ok(text)) => ([(header::CONTENT_TYPE, OPENMETRICS)], text).into_response(),
        Ok(Err(_)) | Err(_) => failed("the metrics could not be written"),
    }
}

async fn respond_status(status: StatusSource) -> Response {
    match tokio::task::spawn_blocking(move || status()).await {
        Ok(status) => axum::Json(status).into_response(),
        Err(_) => failed("the status could not be made"),
    }
}

fn respond_readiness(readiness: &Readiness) -> Response {
    let reasons = readiness.reasons();
    let code = if reasons.is_empty() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let body = json!({ "ready": reasons.is_empty(), "reasons": reasons });
    (code, axum::Json(body)).into_response()
}

fn failed(what: &'static str) -> Response {
    tracing::warn!(what, "HTTP request failed");
    (StatusCode::INTERNAL_SERVER_ERROR, format!("{what}\n")).into_response()
}
