//! Just enough HTTP to ask a daemon how it is: one request per connection, plain text, numeric or local host.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use crate::clock::Deadline;

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    pub status: u16,
    /// Invalid UTF-8 replaced.
    pub body: String,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    #[error("`{0}` is not http://host:port/path")]
    Url(String),
    #[error("{url}")]
    Io {
        url: String,
        #[source]
        source: io::Error,
    },
    #[error("{url}: the answer is not HTTP, is chunked, or ends before its stated length")]
    Malformed { url: String },
    #[error("{url}: the answer is over {limit_bytes} bytes")]
    TooLarge { url: String, limit_bytes: u64 },
}

const ANSWER_BYTES_MAX: u64 = 64 << 20;

/// `GET url`. Any status is an answer.
///
/// # Errors
/// When there is no answer, or none that is understood, `within` the time.
pub fn get(url: &str, within: Duration) -> Result<Response, HttpError> {
    request("GET", url, "", "", within)
}

/// `POST url` with a body of the given content type.
///
/// # Errors
/// As [`get`].
pub fn post(
    url: &str,
    content_type: &str,
    body: &str,
    within: Duration,
) -> Result<Response, HttpError> {
    request("POST", url, content_type, body, within)
}

fn request(
    method: &str,
    url: &str,
    content_type: &str,
    body: &str,
    within: Duration,
) -> Result<Response, HttpError> {
    let not_a_url = || HttpError::Url(url.to_owned());
    let rest = url.strip_prefix("http://").ok_or_else(not_a_url)?;
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let failed = |source| HttpError::Io {
        url: url.to_owned(),
        source,
    };
    let address = authority
        .to_socket_addrs()
        .ok()
        .and_then(|mut all| all.next())
        .ok_or_else(not_a_url)?;

    let deadline = Deadline::after(within);
    let mut stream = TcpStream::connect_timeout(&address, within).map_err(failed)?;
    stream.set_write_timeout(Some(within)).map_err(failed)?;
    // HTTP/1.0 asks for an answer that is neither chunked nor kept open.
    let mut head = format!(
        "{method} /{path} HTTP/1.0\r\nHost: {authority}\r\nAccept: */*\r\nConnection: close\r\n"
    );
    if !body.is_empty() {
        head += &format!(
            "Content-Type: {content_type}\r\nContent-Length: {}\r\n",
            body.len()
        );
    }
    stream
        .write_all(format!("{head}\r\n{body}").as_bytes())
        .map_err(failed)?;

    let mut answer = Vec::new();
    let mut piece = [0; 16 << 10];
    loop {
        let left = deadline.left();
        if left.is_zero() {
            return Err(failed(io::ErrorKind::TimedOut.into()));
        }
        stream.set_read_timeout(Some(left)).map_err(failed)?;
        match stream.read(&mut piece).map_err(failed)? {
            0 => break,
            read => answer.extend_from_slice(&piece[..read]),
        }
        if answer.len() as u64 > ANSWER_BYTES_MAX {
            return Err(HttpError::TooLarge {
                url: url.to_owned(),
                limit_bytes: ANSWER_BYTES_MAX,
            });
        }
        if complete(&answer) {
            break;
        }
    }
    parse(&answer).ok_or_else(|| HttpError::Malformed {
        url: url.to_owned(),
    })
}

struct Head<'a> {
    status: u16,
    length: Option<usize>,
    body: &'a [u8],
}

/// `None` until the head is whole, and for a head that is not understood.
fn head(answer: &[u8]) -> Option<Head<'_>> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n")?;
    let text = std::str::from_utf8(&answer[..end]).ok()?;
    let mut lines = text.split("\r\n");
    let status = lines
        .next()?
        .strip_prefix("HTTP/1.")?
        .split(' ')
        .nth(1)?
        .parse()
        .ok()?;
    let mut length = None;
    for line in lines {
        let (name, value) = line.split_once(':')?;
        if name.eq_ignore_ascii_case("content-length") {
            length = Some(value.trim().parse().ok()?);
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            return None;
        }
    }
    Some(Head {
        status,
        length,
        body: &answer[end + 4..],
    })
}

fn complete(answer: &[u8]) -> bool {
    head(answer).is_some_and(|head| head.length.is_some_and(|length| head.body.len() >= length))
}

fn parse(answer: &[u8]) -> Option<Response> {
    let Head {
        status,
        length,
        body,
    } = head(answer)?;
    let body = match length {
        Some(length) => body.get(..length)?,
        None => body,
    };
    Some(Response {
        status,
        body: String::from_utf8_lossy(body).into_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(answer: &str, expected: Option<(u16, &str)>) {
        let expected = expected.map(|(status, body)| Response {
            status,
            body: body.into(),
        });
        assert_eq!(parse(answer.as_bytes()), expected, "{answer:?}");
    }

    #[test]
    fn answers() {
        check(
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokJUNK",
            Some((200, "ok")),
        );
        check(
            "HTTP/1.0 503 Service Unavailable\r\n\r\nnot yet",
            Some((503, "not yet")),
        );
        check("HTTP/1.1 204 No Content\r\n\r\n", Some((204, "")));
        check("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nok", None);
        check(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
            None,
        );
        check("SSH-2.0-OpenSSH\r\n\r\n", None);
        check("", None);
    }

    #[test]
    fn what_is_not_a_url_is_named() {
        for url in [
            "https://127.0.0.1:1/",
            "127.0.0.1:1",
            "http://127.0.0.1/no-port",
        ] {
            assert!(
                matches!(get(url, Duration::from_secs(1)), Err(HttpError::Url(named)) if named == url),
                "{url}"
            );
        }
    }
}
