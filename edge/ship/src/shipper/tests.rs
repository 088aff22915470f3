use efd_shared_model::{EdgeId, LeapTable};

use super::*;
use crate::endpoint::Link;

#[derive(Debug)]
struct Nobody;

impl Keeper for Nobody {
    fn try_keep(&mut self, _outcome: Outcome) -> Result<(), Outcome> {
        Ok(())
    }
}

impl Observer for Nobody {
    fn session(&self, _streaming: bool, _counters: EdgeCounters, _unacked_blocks: u64) {}
    fn connecting(&self, _centre: Centre) {}
    fn connected(&self, _centre: Centre, _address: SocketAddr) {}
    fn left(&self, _centre: Centre, _why: Left<'_>) {}
    fn backlog(&self) -> (Duration, u64) {
        (Duration::ZERO, 0)
    }
    fn block_unreadable(&self) {}
}

/// A centre that takes no block any more, and does not go away either: as many are under way as may be.
#[tokio::test]
async fn blocks_that_nobody_takes_do_not_keep_the_edge_from_the_other_centre() {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let link = Link {
        centres: ["127.0.0.1:9", "127.0.0.1:10"].map(str::to_owned).into(),
        mtu_max: 1400,
        window_bytes: 1 << 20,
        rate_max: None,
    };
    let endpoint = Endpoint::new(Arc::new(tls), &link).unwrap();
    let mut config = EdgeConfig::new(EdgeId([1; 16]), "summit".parse().unwrap(), "test");
    config.centres = endpoint.centres();
    let (events, _events_in) = mpsc::channel(EVENTS_MAX);
    let (disk, _disk_requests) = mpsc::channel(SENDING_MAX * 2);
    let mut loop_ = Loop {
        session: EdgeSession::new(config, 1, Moment(0)),
        endpoint,
        events,
        disk,
        keeper: Box::new(Nobody),
        clock: ClockReader::new(LeapTable::built_in()).unwrap(),
        observer: Arc::new(Nobody),
        trying: None,
        link: None,
        buffer: FrameBuffer::new(),
        sending: 0,
        unkept: VecDeque::new(),
        stopping: false,
    };
    loop_.session.handle_start(Vec::new(), Moment(0));
    loop_.obey();
    let centre = |loop_: &Loop| loop_.trying.as_ref().map(|trying| trying.centre);
    assert_eq!(centre(&loop_), Some(Centre(0)));
    loop_.sending = SENDING_MAX;
    let (give_up_at, _) = loop_.session.poll_timeout().unwrap();
    loop_.session.handle_timeout(give_up_at);
    loop_.obey();
    assert_eq!(centre(&loop_), Some(Centre(1)));
}
