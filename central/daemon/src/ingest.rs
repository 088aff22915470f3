//! Accepts edges: QUIC with mutual TLS; who may speak for which site is in the client's certificate.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use efd_shared_daemon::identity::{ClientRole, peer_identity};
use efd_shared_daemon::shutdown::Stop;
use efd_shared_wire::centre::Certificate;
use quinn::{ServerConfig, TransportConfig};

use crate::connection::{self, Shared};

/// Blocks of one edge on their way at once.
const STREAMS_MAX: u32 = efd_shared_wire::limits::STREAMS_AT_ONCE_MAX as u32;
const WINDOW_BYTES: u32 = 64 << 20;
const STREAM_WINDOW_BYTES: u32 = 40 << 20;
const KEEP_ALIVE: Duration = Duration::from_secs(3);
const IDLE_MAX: Duration = Duration::from_secs(12);
/// Handshakes under way: above it newcomers wait.
const INCOMING_MAX: usize = 1024;

/// Binds; a port in use is an error here, not later.
pub(crate) fn bind(listen: SocketAddr, tls: rustls::ServerConfig) -> Result<quinn::Endpoint> {
    let crypto = quinn::crypto::rustls::QuicServerConfig::try_from(tls).context("TLS for QUIC")?;
    let mut config = ServerConfig::with_crypto(Arc::new(crypto));
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_uni_streams(STREAMS_MAX.into())
        .max_concurrent_bidi_streams(1u32.into())
        .receive_window(WINDOW_BYTES.into())
        .stream_receive_window(STREAM_WINDOW_BYTES.into())
        .keep_alive_interval(Some(KEEP_ALIVE))
        .max_idle_timeout(quinn::IdleTimeout::try_from(IDLE_MAX).ok());
    config.transport_config(Arc::new(transport));
    config.max_incoming(INCOMING_MAX);
    quinn::Endpoint::server(config, listen).map_err(|error| {
        if error.kind() == std::io::ErrorKind::AddrInUse {
            anyhow::anyhow!(
                "UDP address {listen} is in use, perhaps by another efd-central (`ss -lunp 'sport = :{}'` shows which process); \
                 stop that, or set `listen` to another port",
                listen.port()
            )
        } else {
            anyhow::Error::new(error).context(format!("listen for QUIC on {listen}"))
        }
    })
}

/// Until a stop is asked for; connections end by themselves then.
pub(crate) async fn accept(endpoint: quinn::Endpoint, shared: Shared, stop: Stop) {
    let _running = stop.register("ingest");
    let mut connections = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            incoming = endpoint.accept() => match incoming {
                Some(incoming) => {
                    connections.spawn(greet(incoming, shared.clone()));
                }
                None => break,
            },
            Some(_) = connections.join_next() => {}
            () = stop.asked() => break,
        }
    }
    // Each says goodbye to its edge.
    while connections.join_next().await.is_some() {}
    endpoint.close(0u32.into(), b"the centre goes down");
    endpoint.wait_idle().await;
}

async fn greet(incoming: quinn::Incoming, shared: Shared) {
    let remote = incoming.remote_address();
    let fleet = Arc::clone(&shared.fleet);
    let connection = match incoming.await {
        Ok(connection) => connection,
        Err(error) => {
            fleet.handshake_refused();
            tracing::warn!(%remote, %error, "Handshake refused");
            return;
        }
    };
    let client = match client_of(&connection) {
        Ok(client) => client,
        Err(error) => {
            fleet.handshake_refused();
            tracing::warn!(%remote, error = format!("{error:#}"), "Connection refused");
            connection.close(2u32.into(), b"not an edge's certificate");
            return;
        }
    };
    let Certificate { site, edge } = &client.certificate;
    let role = client.role.as_str();
    tracing::debug!(%remote, %site, %edge, role, "Handshake done");
    if let Err(error) = connection::serve(shared, connection, client.clone()).await {
        tracing::warn!(%remote, %edge, role, error = format!("{error:#}"), "Connection ended");
    }
}

/// Who is at the other end, by its certificate.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    pub(crate) certificate: Certificate,
    pub(crate) role: ClientRole,
}

fn client_of(connection: &quinn::Connection) -> Result<Client> {
    let identity = connection
        .peer_identity()
        .context("the client showed no certificate")?;
    let chain = identity
        .downcast::<Vec<rustls_pki_types::CertificateDer<'static>>>()
        .map_err(|_| anyhow::anyhow!("the client's certificate is of an unknown kind"))?;
    let identity = peer_identity(&chain)?;
    let (site, edge, role) = identity.client()?;
    let site = site.clone();
    Ok(Client {
        certificate: Certificate { site, edge },
        role,
    })
}
