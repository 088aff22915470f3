//! The QUIC endpoint: one UDP socket, one connection at a time.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use quinn::{ClientConfig, TransportConfig};
use tokio::sync::mpsc;

use efd_shared_wire::edge::{Attempt, CONTROL_PRIORITY};

use super::{Event, FRAMES_MAX};

#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    #[error("bind a UDP socket for QUIC")]
    Bind(#[source] std::io::Error),
    #[error("TLS for QUIC")]
    Tls(#[from] quinn::crypto::rustls::NoInitialCipherSuite),
}

/// `host:port` is looked up again at every attempt: the centre may move.
#[derive(Debug, Clone)]
pub struct Endpoint {
    endpoint: quinn::Endpoint,
    config: ClientConfig,
    centre: String,
    server_name: String,
}

/// Several of these fit into the machine's silence limit.
const KEEP_ALIVE: Duration = Duration::from_secs(3);
const IDLE_MAX: Duration = Duration::from_secs(12);

impl Endpoint {
    /// `server_name`: what the centre's certificate must be valid for.
    pub fn new(
        tls: Arc<rustls::ClientConfig>,
        centre: String,
        server_name: String,
        mtu_max: u16,
        window_bytes: u64,
    ) -> Result<Self, EndpointError> {
        let socket =
            UdpSocket::bind(SocketAddr::from(([0, 0, 0, 0], 0))).map_err(EndpointError::Bind)?;
        let runtime = quinn::default_runtime()
            .ok_or_else(|| EndpointError::Bind(std::io::Error::other("no tokio runtime")))?;
        let endpoint =
            quinn::Endpoint::new(quinn::EndpointConfig::default(), None, socket, runtime)
                .map_err(EndpointError::Bind)?;
        let crypto = quinn::crypto::rustls::QuicClientConfig::try_from(tls)?;
        let mut config = ClientConfig::new(Arc::new(crypto));
        config.transport_config(Arc::new(transport(mtu_max, window_bytes)));
        Ok(Self {
            endpoint,
            config,
            centre,
            server_name,
        })
    }

    /// Tries once; the outcome comes as an event.
    pub(super) fn connect(&self, attempt: Attempt, events: mpsc::Sender<Event>) {
        let this = self.clone();
        tokio::spawn(async move {
            if let Err(error) = this.session(attempt, &events).await {
                let reason = format!("{error:#}");
                super::tell(&events, Event::Closed { attempt, reason }).await;
            }
        });
    }

    /// Connects, then reads the control stream until the connection ends.
    async fn session(&self, attempt: Attempt, events: &mpsc::Sender<Event>) -> anyhow::Result<()> {
        use anyhow::Context as _;
        let connection = self.open().await?;
        let (mut send, mut receive) = connection
            .open_bi()
            .await
            .context("open the control stream")?;
        send.set_priority(CONTROL_PRIORITY)
            .context("set priority")?;
        let (frames, mut frames_out) = mpsc::channel::<Vec<u8>>(FRAMES_MAX);
        tokio::spawn(async move {
            while let Some(frame) = frames_out.recv().await {
                if let Err(error) = send.write_all(&frame).await {
                    tracing::debug!(%error, "Control stream ended");
                    return;
                }
            }
        });
        super::tell(
            events,
            Event::Connected {
                attempt,
                frames,
                connection: connection.clone(),
            },
        )
        .await;
        while let Some(chunk) = receive
            .read_chunk(1 << 16, true)
            .await
            .context("read the control stream")?
        {
            super::tell(
                events,
                Event::Control {
                    attempt,
                    bytes: chunk.bytes,
                },
            )
            .await;
        }
        anyhow::bail!(
            "the centre ended the control stream: {}",
            connection.closed().await
        )
    }

    /// Connects and closes again; gives the address that answered and took our certificate.
    pub async fn probe(&self) -> anyhow::Result<SocketAddr> {
        use anyhow::Context as _;
        let connection = self.open().await?;
        let address = connection.remote_address();
        // A client of TLS 1.3 is connected before the server has looked at its certificate. The server takes what comes
        // behind the handshake only if it liked it.
        let mut stream = connection.open_uni().await.context("open a stream")?;
        stream.finish().context("end a stream")?;
        if let Err(error) = stream.stopped().await {
            let reason = connection.close_reason();
            let reason = reason.map_or_else(|| error.to_string(), |reason| reason.to_string());
            anyhow::bail!("{address} refused us: {reason}");
        }
        connection.close(0u32.into(), b"check");
        self.close().await;
        Ok(address)
    }

    async fn open(&self) -> anyhow::Result<quinn::Connection> {
        use anyhow::Context as _;
        let mut addresses = tokio::net::lookup_host(&self.centre)
            .await
            .with_context(|| format!("look up {}", self.centre))?;
        let address = addresses
            .find(SocketAddr::is_ipv4)
            .with_context(|| format!("{} has no IPv4 address", self.centre))?;
        self.endpoint
            .connect_with(self.config.clone(), address, &self.server_name)
            .context("begin to connect")?
            .await
            .with_context(|| format!("connect to {} ({address}, UDP)", self.centre))
    }

    pub(super) async fn close(&self) {
        self.endpoint.close(0u32.into(), b"stopped");
        if tokio::time::timeout(Duration::from_secs(1), self.endpoint.wait_idle())
            .await
            .is_err()
        {
            tracing::debug!("The centre did not say goodbye");
        }
    }
}

fn transport(mtu_max: u16, window_bytes: u64) -> TransportConfig {
    let mut transport = TransportConfig::default();
    let mut mtu = quinn::MtuDiscoveryConfig::default();
    mtu.upper_bound(mtu_max);
    transport
        .mtu_discovery_config(Some(mtu))
        .keep_alive_interval(Some(KEEP_ALIVE))
        .max_idle_timeout(quinn::IdleTimeout::try_from(IDLE_MAX).ok())
        .send_window(window_bytes)
        // GSO fails with EIO on tunnel interfaces (quinn issues 1128, 2202).
        .enable_segmentation_offload(false);
    transport
}
