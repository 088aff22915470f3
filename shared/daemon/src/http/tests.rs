use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};

use prometheus_client::metrics::counter::Counter;

use super::client::{GetError, Reply};
use super::*;

const PATIENCE: Duration = Duration::from_secs(10);
const TOKEN: &str = "a-token-of-some-length";

struct Daemon {
    address: SocketAddr,
    readiness: Readiness,
    stop: Stop,
    served: tokio::task::JoinHandle<Result<(), HttpError>>,
}

async fn daemon(token: Option<Secret>) -> Daemon {
    let mut metrics = Registry::default();
    let records = Counter::<u64>::default();
    records.inc_by(42);
    metrics.register("efd_records", "Records", records);
    let readiness = Readiness::waiting_for(&["buffer", "dds"]);
    let surface = Surface {
        metrics: Arc::new(metrics),
        readiness: readiness.clone(),
        status: Arc::new(|| json!({ "site": "summit" })),
        extra: Router::new().route("/query", get(async || "rows")),
        open: Router::new().route("/page", get(async || "page")),
    };
    let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let server = HttpServer::bind(&HttpAddress { listen, token })
        .await
        .unwrap();
    let stop = Stop::new();
    Daemon {
        address: server.address(),
        readiness,
        stop: stop.clone(),
        served: tokio::spawn(server.serve(surface, stop)),
    }
}

impl Daemon {
    async fn get(&self, path: &str, token: Option<&str>) -> Result<Reply, GetError> {
        let (address, path) = (self.address, path.to_owned());
        let token = token.map(|token| Secret::new(token).unwrap());
        tokio::task::spawn_blocking(move || client::get(address, &path, token.as_ref(), PATIENCE))
            .await
            .unwrap()
    }

    async fn text(&self, path: &str) -> (u16, String) {
        let reply = self.get(path, None).await.unwrap();
        (reply.status, String::from_utf8(reply.body).unwrap())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_routes_answer() {
    let daemon = daemon(None).await;
    assert_eq!(daemon.text("/healthz").await, (200, "ok\n".to_owned()));
    let (code, metrics) = daemon.text("/metrics").await;
    assert_eq!(code, 200);
    assert!(
        metrics.contains("efd_records_total 42\n") && metrics.ends_with("# EOF\n"),
        "{metrics}"
    );
    assert_eq!(
        daemon.text("/status").await,
        (200, r#"{"site":"summit"}"#.to_owned())
    );
    assert_eq!(daemon.text("/query").await, (200, "rows".to_owned()));
    assert_eq!(daemon.text("/nothing").await.0, 404);
    daemon.stop.ask("test");
    tokio::time::timeout(PATIENCE, daemon.served)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert!(daemon.stop.running().is_empty());
    let error = client::get(daemon.address, "/healthz", None, PATIENCE).unwrap_err();
    assert!(matches!(error, GetError::NothingThere { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn readiness_tells_what_is_waited_for() {
    let daemon = daemon(None).await;
    daemon.readiness.ready("buffer");
    daemon.readiness.waits("dds", "no participant on domain 0");
    assert_eq!(
        daemon.text("/readyz").await,
        (
            503,
            r#"{"ready":false,"reasons":{"dds":"no participant on domain 0"}}"#.to_owned()
        )
    );
    daemon.readiness.ready("dds");
    assert_eq!(
        daemon.text("/readyz").await,
        (200, r#"{"ready":true,"reasons":{}}"#.to_owned())
    );
    assert!(daemon.readiness.is_ready());
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_token_every_route_asks_for_it() {
    let daemon = daemon(Some(Secret::new(TOKEN).unwrap())).await;
    for path in [
        "/healthz", "/metrics", "/readyz", "/status", "/query", "/nothing",
    ] {
        for wrong in [None, Some("a-token-of-some-lengtx")] {
            let error = daemon.get(path, wrong).await.unwrap_err();
            assert!(matches!(error, GetError::Token { .. }), "{path}: {error}");
        }
    }
    assert_eq!(daemon.text("/page").await, (200, "page".into()));
    assert_eq!(
        daemon.get("/status", Some(TOKEN)).await.unwrap().status,
        200
    );
}

#[test]
fn only_the_loopback_without_a_token() {
    let config = |listen: &str, token: Option<&str>| HttpConfig {
        listen: Some(listen.parse().unwrap()),
        token: token.map(|token| Secret::new(token).unwrap()),
        token_file: None,
    };
    for open in [
        "0.0.0.0:9464",
        "192.0.2.1:9464",
        "[::]:9464",
        "[::ffff:192.0.2.1]:9464",
    ] {
        let error = config(open, None).check(9464).unwrap_err();
        assert!(matches!(error, HttpError::Open { .. }), "{open}");
        assert!(error.to_string().contains("http.token_file"), "{error}");
        assert!(config(open, Some(TOKEN)).check(9464).is_ok(), "{open}");
    }
    for loopback in [
        "127.0.0.1:1",
        "127.8.8.8:1",
        "[::1]:1",
        "[::ffff:127.0.0.1]:1",
    ] {
        assert!(config(loopback, None).check(9464).is_ok(), "{loopback}");
    }
    let default = HttpConfig::default().check(9465).unwrap();
    assert_eq!(default.listen.to_string(), "127.0.0.1:9465");
    let mut two = config("127.0.0.1:1", Some(TOKEN));
    two.token_file = Some("token".into());
    assert!(matches!(two.check(1), Err(HttpError::TwoTokens)));
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let first = HttpServer::bind(&HttpAddress {
        listen,
        token: None,
    })
    .await
    .unwrap();
    let again = HttpAddress {
        listen: first.address(),
        token: None,
    };
    let error = HttpServer::bind(&again).await.unwrap_err().to_string();
    let port = first.address().port();
    assert!(
        error.starts_with(&format!("HTTP address 127.0.0.1:{port} is in use")),
        "{error}"
    );
    assert!(error.contains("http.listen"), "{error}");
    let listen = "192.0.2.1:0".parse().unwrap();
    let elsewhere = HttpServer::bind(&HttpAddress {
        listen,
        token: None,
    })
    .await;
    assert!(
        matches!(elsewhere, Err(HttpError::NotHere { .. })),
        "{elsewhere:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_limited_and_their_ends_make_room() {
    let daemon = daemon(None).await;
    let address = daemon.address;
    let answered = tokio::task::spawn_blocking(move || {
        let idle: Vec<_> = (0..listener::CONNECTIONS_MAX)
            .map(|_| TcpStream::connect(address).unwrap())
            .collect();
        let short = Duration::from_millis(300);
        let crowded = client::get(address, "/healthz", None, short);
        drop(idle);
        let roomy = client::get(address, "/healthz", None, PATIENCE);
        (crowded, roomy)
    });
    let (crowded, roomy) = answered.await.unwrap();
    assert!(matches!(crowded, Err(GetError::Late { .. })), "{crowded:?}");
    assert_eq!(roomy.unwrap().status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_request_does_not_hold_up_the_end() {
    let daemon = daemon(None).await;
    let mut half = TcpStream::connect(daemon.address).unwrap();
    half.write_all(b"GET /healthz HT").unwrap();
    daemon.text("/healthz").await;
    daemon.stop.ask("test");
    tokio::time::timeout(PATIENCE, daemon.served)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
}

/// What the client makes of a server that answers `answer`.
fn answered(answer: &'static [u8], hold: Option<Arc<AtomicBool>>) -> Result<Reply, GetError> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0; 1024];
        let length = stream.read(&mut request).unwrap();
        assert!(request[..length].starts_with(b"GET /x HTTP/1.0\r\n"));
        stream.write_all(answer).unwrap();
        while hold
            .as_ref()
            .is_some_and(|hold| hold.load(Ordering::Relaxed))
        {
            std::thread::sleep(Duration::from_millis(10));
        }
    });
    let patience = Duration::from_millis(500);
    let reply = client::get(address, "/x", None, patience);
    (reply, server).0
}

#[test]
fn strange_servers_are_named() {
    let reply = answered(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", None).unwrap();
    assert_eq!(
        reply,
        Reply {
            status: 200,
            body: b"hi".to_vec()
        }
    );
    let reply = answered(b"HTTP/1.0 503 No\r\n\r\nwhy", None).unwrap();
    assert_eq!(
        reply,
        Reply {
            status: 503,
            body: b"why".to_vec()
        }
    );
    let short = answered(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhi", None);
    assert!(
        matches!(
            short,
            Err(GetError::Short {
                got: 2,
                expected: 9,
                ..
            })
        ),
        "{short:?}"
    );
    for strange in [
        &b"SSH-2.0-x\r\n"[..],
        b"",
        b"HTTP/1.1 abc\r\n\r\n",
        b"\xff\r\n\r\n",
    ] {
        let reply = answered(strange, None);
        assert!(matches!(reply, Err(GetError::NotHttp { .. })), "{reply:?}");
    }
    let hold = Arc::new(AtomicBool::new(true));
    let late = answered(b"HTTP/1.1 200 OK\r\n", Some(Arc::clone(&hold)));
    hold.store(false, Ordering::Relaxed);
    assert!(matches!(late, Err(GetError::Late { .. })), "{late:?}");
}

#[test]
fn a_token_is_a_password_too() {
    let token = Secret::new(TOKEN).unwrap();
    let check = |offered: &str| is_right(&token, &HeaderValue::from_str(offered).unwrap());
    assert!(check("Bearer a-token-of-some-length"));
    // `efd:a-token-of-some-length`, and `:a-token-of-some-length`.
    assert!(check("Basic ZWZkOmEtdG9rZW4tb2Ytc29tZS1sZW5ndGg="));
    assert!(check("Basic OmEtdG9rZW4tb2Ytc29tZS1sZW5ndGg="));
    for wrong in [
        "",
        "Bearer ",
        "Bearer a-token",
        "Basic ",
        "Basic ZWZk",
        "Basic ZWZkOnggeCB4",
        "Basic ZWZkOmEtdG9rZW4tb2Ytc29tZS1sZW5ndGg",
        "Basic =OmE",
        "Basic ====",
        "Basic ZWZ\u{7f}",
        "Digest a-token-of-some-length",
    ] {
        assert!(
            HeaderValue::from_str(wrong).is_err() || !check(wrong),
            "{wrong}"
        );
    }
    for (text, bytes) in [("", ""), ("Zg==", "f"), ("Zm8=", "fo"), ("Zm9v", "foo")] {
        assert_eq!(base64(text.as_bytes()).as_deref(), Some(bytes.as_bytes()));
    }
}

#[test]
fn names_of_this_machine() {
    for own in [
        "127.0.0.1",
        "127.0.0.1:9464",
        "localhost:9464",
        "LOCALHOST",
        "[::1]:9464",
        "[::1]",
    ] {
        assert!(is_loopback_name(own), "{own}");
    }
    for other in [
        "",
        "evil.example",
        "evil.example:9464",
        "127.0.0.1.evil.example",
        "localhost.evil:80",
        "192.0.2.1:9464",
        "null",
    ] {
        assert!(!is_loopback_name(other), "{other}");
    }
}

/// A page of another site, whatever its name leads to, reads nothing.
#[tokio::test(flavor = "multi_thread")]
async fn other_sites_are_refused_on_the_loopback() {
    let daemon = daemon(None).await;
    let address = daemon.address;
    let ask = |headers: &'static str| {
        tokio::task::spawn_blocking(move || {
            let mut stream = TcpStream::connect(address).unwrap();
            write!(
                stream,
                "GET /status HTTP/1.1\r\n{headers}Connection: close\r\n\r\n"
            )
            .unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            answer.split(' ').nth(1).unwrap().to_owned()
        })
    };
    assert_eq!(ask("Host: 127.0.0.1:9464\r\n").await.unwrap(), "200");
    let own =
        "Host: localhost:9464\r\nOrigin: http://localhost:9464\r\nSec-Fetch-Site: same-origin\r\n";
    assert_eq!(ask(own).await.unwrap(), "200");
    assert_eq!(ask("Host: evil.example:9464\r\n").await.unwrap(), "403");
    let foreign = "Host: 127.0.0.1:9464\r\nOrigin: http://evil.example\r\n";
    assert_eq!(ask(foreign).await.unwrap(), "403");
    let image = "Host: 127.0.0.1:9464\r\nSec-Fetch-Site: cross-site\r\n";
    assert_eq!(ask(image).await.unwrap(), "403");
}
