//! One blocking GET, for the commands that ask a running daemon.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

use crate::clock::monotonic_now;
use crate::secret::Secret;

/// A status page is a few KiB, the metrics of 2,000 topics about one MiB.
pub const REPLY_BYTES_MAX: usize = 64 << 20;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    pub status: u16,
    pub body: Vec<u8>,
}

#[derive(Debug, thiserror::Error)]
pub enum GetError {
    #[error("nothing listens on {address}; is the daemon running, with this `http.listen`?")]
    NothingThere { address: SocketAddr },
    #[error("no answer from {address} within {timeout:?}; the daemon may hang, its log tells")]
    Late {
        address: SocketAddr,
        timeout: Duration,
    },
    #[error("{address} asks for a token; configure the one that the daemon has")]
    Token { address: SocketAddr },
    #[error("the answer of {address} is not HTTP; another program may own that port")]
    NotHttp { address: SocketAddr },
    #[error("the answer of {address} ended after {got} of {expected} bytes")]
    Short {
        address: SocketAddr,
        got: usize,
        expected: usize,
    },
    #[error("the answer of {address} is larger than {REPLY_BYTES_MAX} bytes")]
    TooLarge { address: SocketAddr },
    #[error("ask {address} for {path}")]
    Io {
        address: SocketAddr,
        path: String,
        source: io::Error,
    },
}

/// GETs `path` from the daemon that listens on `address`, all within `timeout`. Any status but 401 is a reply.
pub fn get(
    address: SocketAddr,
    path: &str,
    token: Option<&Secret>,
    timeout: Duration,
) -> Result<Reply, GetError> {
    let address = reachable(address);
    let nanos = i64::try_from(timeout.as_nanos()).unwrap_or(i64::MAX);
    let bytes = exchange(address, path, token, monotonic_now().saturating_add(nanos)).map_err(
        |source| {
            #[expect(clippy::wildcard_enum_match_arm, reason = "of a list that may grow")]
            match source.kind() {
                io::ErrorKind::ConnectionRefused => GetError::NothingThere { address },
                io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => {
                    GetError::Late { address, timeout }
                }
                io::ErrorKind::FileTooLarge => GetError::TooLarge { address },
                _ => GetError::Io {
                    address,
                    path: path.to_owned(),
                    source,
                },
            }
        },
    )?;
    let reply = parse(&bytes, address)?;
    if reply.status == 401 {
        return Err(GetError::Token { address });
    }
    Ok(reply)
}

/// A daemon that listens on all interfaces is asked on the loopback.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        IpAddr::V4(_) | IpAddr::V6(_) => {}
    }
    address
}

/// HTTP/1.0, so that the answer is never chunked and ends with the connection.
fn exchange(
    address: SocketAddr,
    path: &str,
    token: Option<&Secret>,
    deadline: i64,
) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&address, left(deadline)?)?;
    let authorization = token.map_or_else(String::new, |token| {
        format!("Authorization: Bearer {}\r\n", token.expose())
    });
    let request = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n{authorization}\r\n");
    stream.set_write_timeout(Some(left(deadline)?))?;
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    let mut chunk = vec![0; 64 << 10];
    loop {
        stream.set_read_timeout(Some(left(deadline)?))?;
        match stream.read(&mut chunk)? {
            0 => return Ok(answer),
            length => answer.extend_from_slice(&chunk[..length]),
        }
        if answer.len() > REPLY_BYTES_MAX {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
    }
}

fn left(deadline: i64) -> io::Result<Duration> {
    u64::try_from(deadline.saturating_sub(monotonic_now()))
        .ok()
        .filter(|nanos| *nanos > 0)
        .map(Duration::from_nanos)
        .ok_or_else(|| io::ErrorKind::TimedOut.into())
}

fn parse(bytes: &[u8], address: SocketAddr) -> Result<Reply, GetError> {
    let not_http = || GetError::NotHttp { address };
    let end = bytes
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .ok_or_else(not_http)?;
    let head = str::from_utf8(&bytes[..end]).map_err(|_| not_http())?;
    let body = &bytes[end + 4..];
    let mut lines = head.split("\r\n");
    let status = lines
        .next()
        .and_then(|line| line.strip_prefix("HTTP/1."))
        .and_then(|line| line.split(' ').nth(1))
        .and_then(|code| code.parse().ok())
        .ok_or_else(not_http)?;
    let expected = lines
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, value)| value.trim().parse::<usize>().ok());
    match expected {
        Some(expected) if expected != body.len() => Err(GetError::Short {
            address,
            got: body.len(),
            expected,
        }),
        Some(_) | None => Ok(Reply {
            status,
            body: body.to_vec(),
        }),
    }
}
