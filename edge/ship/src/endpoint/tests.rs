use std::time::Instant;

use efd_tests_testkit::relay::{Relay, RelayOptions, Shape};

use super::*;

const MEGABITS: u64 = 20;
const BLOCK_BYTES: usize = 64 << 10;
const BLOCKS: usize = 90;

/// A link of 20 Mbit/s, 200 ms and 300 ms of queue.
fn bad_link(loss: f64) -> RelayOptions {
    let rate = Some(MEGABITS * 1_000_000);
    let shape = Shape {
        loss,
        queue: Duration::from_millis(300),
        ..Shape::delayed(Duration::from_millis(100))
    };
    RelayOptions {
        up: Shape {
            rate,
            ..shape.clone()
        },
        down: shape,
        ..RelayOptions::default()
    }
}

/// A centre that swallows, and what the edge must trust to speak with it.
fn centre() -> (quinn::Endpoint, rustls::RootCertStore) {
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".into()]).unwrap();
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let certificate = made.cert.der().clone();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key.into())
        .unwrap();
    let crypto = quinn::crypto::rustls::QuicServerConfig::try_from(tls).unwrap();
    let mut config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
    let mut transport = TransportConfig::default();
    transport
        .receive_window((64u32 << 20).into())
        .max_concurrent_uni_streams(1024u32.into());
    config.transport_config(Arc::new(transport));
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate).unwrap();
    (quinn::Endpoint::server(config, any).unwrap(), roots)
}

/// Bytes that came in whole streams.
async fn swallow(centre: quinn::Endpoint, streams: usize) -> usize {
    let connection = centre.accept().await.unwrap().await.unwrap();
    let mut readers = JoinSet::new();
    for _ in 0..streams {
        let mut stream = connection.accept_uni().await.unwrap();
        readers.spawn(async move { stream.read_to_end(1 << 20).await.unwrap().len() });
    }
    let read = readers.join_all().await.into_iter().sum();
    connection.close(0u32.into(), b"");
    centre.wait_idle().await;
    read
}

/// With real packets, real loss and quinn's own pacing. What it carried is printed, as a busy machine is a slow link.
async fn carry(loss: f64, rate_max: Option<u64>) {
    let (centre, roots) = centre();
    let relay = Relay::start(centre.local_addr().unwrap(), bad_link(loss)).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let link = Link {
        centres: vec![relay.address().to_string()],
        mtu_max: 1372,
        window_bytes: 32 << 20,
        rate_max,
    };
    let endpoint = Endpoint::new(Arc::new(tls), &link).unwrap();
    let swallowed = tokio::spawn(swallow(centre, BLOCKS));
    let connection = endpoint.open(Centre(0)).await.unwrap();
    #[expect(clippy::disallowed_methods, reason = "a figure to print")]
    let began = Instant::now();
    for _ in 0..BLOCKS {
        let mut stream = connection.open_uni().await.unwrap();
        stream.write_all(&[7; BLOCK_BYTES]).await.unwrap();
        stream.finish().unwrap();
    }
    assert_eq!(swallowed.await.unwrap(), BLOCKS * BLOCK_BYTES);
    let took = began.elapsed();
    let (counts, path) = (relay.counts(), connection.stats().path);
    let sent = counts.up.offered_bytes;
    let payload = (BLOCKS * BLOCK_BYTES) as u64;
    println!(
        "{:.0} % lost, cap {rate_max:?}: {:.1} Mbit/s of {MEGABITS} with the start, {:.3} bytes sent per byte, \
         window {} at the end; {:?}",
        loss * 100.0,
        payload as f64 * 8e-6 / took.as_secs_f64(),
        sent as f64 / payload as f64,
        path.cwnd,
        counts.up
    );
    assert!(
        sent * 5 <= payload * 6,
        "{sent} bytes sent for {payload}: {:?}",
        counts.up
    );
}

#[tokio::test]
async fn a_lossy_link_carries_blocks_whole_and_nothing_twice_without_need() {
    let link = Some(MEGABITS * 125_000);
    carry(0.0, link).await;
    carry(0.01, link).await;
    carry(0.05, link).await;
    carry(0.01, None).await;
}

#[tokio::test]
async fn a_cap_above_the_link_does_not_flood_it() {
    carry(0.01, Some(5 * MEGABITS * 125_000)).await;
}
