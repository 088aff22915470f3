//! The QUIC endpoint: one UDP socket, one connection at a time.

#[cfg(test)]
mod tests;

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use quinn::{ClientConfig, TransportConfig};
use tokio::sync::mpsc;

use efd_shared_wire::edge::{Attempt, CONTROL_PRIORITY, Centre};
use tokio::task::{AbortHandle, JoinSet};

use crate::congestion::Congestion;
use crate::shipper::{Event, FRAMES_MAX, tell};

/// No endpoint can be made here.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    #[error("bind a UDP socket for QUIC")]
    Bind(#[source] std::io::Error),
    #[error("TLS for QUIC")]
    Tls(#[from] quinn::crypto::rustls::NoInitialCipherSuite),
}

/// No connection, or it has ended. Another attempt may do better.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    #[error("look up {centre}")]
    Lookup {
        centre: String,
        #[source]
        source: std::io::Error,
    },
    #[error("{centre} has no IPv4 address")]
    NoAddress { centre: String },
    #[error("begin to connect to {centre}")]
    Begin {
        centre: String,
        #[source]
        source: quinn::ConnectError,
    },
    #[error("connect to {centre} ({address}, UDP)")]
    Connect {
        centre: String,
        address: SocketAddr,
        #[source]
        source: quinn::ConnectionError,
    },
    #[error("open a stream")]
    Open(#[source] quinn::ConnectionError),
    #[error("use a stream that has ended")]
    Stream(#[from] quinn::ClosedStream),
    #[error("read the control stream")]
    Read(#[source] quinn::ReadError),
    #[error("the centre ended the control stream")]
    Ended(#[source] quinn::ConnectionError),
    #[error("{address} refused us: {reason}")]
    Refused { address: SocketAddr, reason: String },
}

impl LinkError {
    /// The other side looked at what we are and will have nothing to do with it; or we with it.
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::Connect { source, .. } | Self::Open(source) | Self::Ended(source) => {
                is_refusal(source)
            }
            Self::Read(quinn::ReadError::ConnectionLost(source)) => is_refusal(source),
            Self::Refused { .. } => true,
            Self::Lookup { .. }
            | Self::NoAddress { .. }
            | Self::Begin { .. }
            | Self::Stream(_)
            | Self::Read(_) => false,
        }
    }
}

/// TLS alerts, and the code with which the centre ends a connection of no client of its own.
fn is_refusal(error: &quinn::ConnectionError) -> bool {
    const TLS_ALERTS: std::ops::Range<u64> = 0x100..0x200;
    match error {
        quinn::ConnectionError::TransportError(error) => {
            TLS_ALERTS.contains(&u64::from(error.code))
        }
        quinn::ConnectionError::ConnectionClosed(frame) => {
            TLS_ALERTS.contains(&u64::from(frame.error_code))
        }
        quinn::ConnectionError::ApplicationClosed(frame) => frame.error_code == NOT_A_CLIENT.into(),
        quinn::ConnectionError::VersionMismatch
        | quinn::ConnectionError::Reset
        | quinn::ConnectionError::TimedOut
        | quinn::ConnectionError::LocallyClosed
        | quinn::ConnectionError::CidsExhausted => false,
    }
}

/// As the centre says it.
const NOT_A_CLIENT: u32 = 2;

/// What goes over the link, apart from the sessions.
#[derive(Debug, Clone)]
pub struct Link {
    /// `host:port` of each centre, the preferred one first.
    pub centres: Vec<String>,
    /// UDP payload, bytes.
    pub mtu_max: u16,
    /// Bytes on their way at once.
    pub window_bytes: u64,
    /// Bytes a second of all that we send, packets and all; `None`: as the link allows.
    pub rate_max: Option<u64>,
}

/// What a centre's certificate must be valid for: the host that we connect to.
fn server_name(centre: &str) -> &str {
    let host = centre.rsplit_once(':').map_or(centre, |it| it.0);
    host.trim_matches(['[', ']'])
}

/// `host:port` is looked up again at every attempt: a centre may move.
#[derive(Debug, Clone)]
pub struct Endpoint {
    endpoint: quinn::Endpoint,
    config: ClientConfig,
    centres: Vec<String>,
}

/// A name's next address is tried beside the one before when that has not answered for so long: more than a round trip.
const NEXT_ADDRESS_AFTER: Duration = Duration::from_millis(400);
/// Several of these fit into the machine's silence limit.
const KEEP_ALIVE: Duration = Duration::from_secs(3);
const IDLE_MAX: Duration = Duration::from_secs(12);

impl Endpoint {
    /// Within a tokio runtime.
    pub fn new(tls: Arc<rustls::ClientConfig>, link: &Link) -> Result<Self, EndpointError> {
        let socket =
            UdpSocket::bind(SocketAddr::from(([0, 0, 0, 0], 0))).map_err(EndpointError::Bind)?;
        let runtime = quinn::default_runtime()
            .ok_or_else(|| EndpointError::Bind(std::io::Error::other("no tokio runtime")))?;
        let endpoint =
            quinn::Endpoint::new(quinn::EndpointConfig::default(), None, socket, runtime)
                .map_err(EndpointError::Bind)?;
        let crypto = quinn::crypto::rustls::QuicClientConfig::try_from(tls)?;
        let mut config = ClientConfig::new(Arc::new(crypto));
        config.transport_config(Arc::new(transport(link)));
        Ok(Self {
            endpoint,
            config,
            centres: link.centres.clone(),
        })
    }

    pub(crate) fn centres(&self) -> usize {
        self.centres.len()
    }

    /// Tries once; the outcome comes as an event.
    pub(crate) fn connect(
        &self,
        attempt: Attempt,
        centre: Centre,
        events: mpsc::Sender<Event>,
    ) -> AbortHandle {
        let this = self.clone();
        let task = tokio::spawn(async move {
            if let Err(error) = this.session(attempt, centre, &events).await {
                tell(&events, Event::Closed { attempt, error }).await;
            }
        });
        task.abort_handle()
    }

    /// Connects, then reads the control stream until the connection ends.
    async fn session(
        &self,
        attempt: Attempt,
        centre: Centre,
        events: &mpsc::Sender<Event>,
    ) -> Result<(), LinkError> {
        let connection = self.open(centre).await?;
        let (mut send, mut receive) = connection.open_bi().await.map_err(LinkError::Open)?;
        send.set_priority(CONTROL_PRIORITY)?;
        let (frames, mut frames_out) = mpsc::channel::<Vec<u8>>(FRAMES_MAX);
        tokio::spawn(async move {
            while let Some(frame) = frames_out.recv().await {
                if let Err(error) = send.write_all(&frame).await {
                    tracing::debug!(%error, "Control stream ended");
                    return;
                }
            }
        });
        tell(
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
            .map_err(LinkError::Read)?
        {
            tell(
                events,
                Event::Control {
                    attempt,
                    bytes: chunk.bytes,
                },
            )
            .await;
        }
        Err(LinkError::Ended(connection.closed().await))
    }

    /// Connects and closes again; gives the address that answered and took our certificate.
    pub async fn probe(&self, centre: Centre) -> Result<SocketAddr, LinkError> {
        let connection = self.open(centre).await?;
        let address = connection.remote_address();
        // A client of TLS 1.3 is connected before the server has looked at its certificate. The server takes what comes
        // behind the handshake only if it liked it.
        let mut stream = connection.open_uni().await.map_err(LinkError::Open)?;
        stream.finish()?;
        if let Err(error) = stream.stopped().await {
            let reason = connection.close_reason();
            let reason = reason.map_or_else(|| error.to_string(), |reason| reason.to_string());
            return Err(LinkError::Refused { address, reason });
        }
        connection.close(0u32.into(), b"check");
        self.close().await;
        Ok(address)
    }

    /// By the first of its addresses that answers.
    async fn open(&self, centre: Centre) -> Result<quinn::Connection, LinkError> {
        let centre = self.centres.get(centre.0).map_or("", |name| name);
        let addresses =
            tokio::net::lookup_host(centre)
                .await
                .map_err(|source| LinkError::Lookup {
                    centre: centre.to_owned(),
                    source,
                })?;
        let addresses: Vec<_> = addresses.filter(SocketAddr::is_ipv4).collect();
        let mut addresses = addresses.into_iter();
        let mut last_error = LinkError::NoAddress {
            centre: centre.to_owned(),
        };
        let mut tries = JoinSet::new();
        loop {
            if let Some(address) = addresses.next() {
                tries.spawn(self.clone().open_at(centre.to_owned(), address));
            }
            tokio::select! {
                outcome = tries.join_next() => match outcome {
                    Some(Ok(Ok(connection))) => return Ok(connection),
                    Some(Ok(Err(error))) => last_error = error,
                    // Nobody aborts it, and it does not panic.
                    Some(Err(_)) => {}
                    None => return Err(last_error),
                },
                () = tokio::time::sleep(NEXT_ADDRESS_AFTER), if addresses.len() > 0 => {}
            }
        }
    }

    async fn open_at(
        self,
        centre: String,
        address: SocketAddr,
    ) -> Result<quinn::Connection, LinkError> {
        let connecting =
            self.endpoint
                .connect_with(self.config.clone(), address, server_name(&centre));
        match connecting {
            Err(source) => Err(LinkError::Begin { centre, source }),
            Ok(connecting) => connecting.await.map_err(|source| LinkError::Connect {
                centre,
                address,
                source,
            }),
        }
    }

    pub(crate) async fn close(&self) {
        self.endpoint.close(0u32.into(), b"stopped");
        if tokio::time::timeout(Duration::from_secs(1), self.endpoint.wait_idle())
            .await
            .is_err()
        {
            tracing::debug!("The centre did not say goodbye");
        }
    }
}

fn transport(link: &Link) -> TransportConfig {
    let mut transport = TransportConfig::default();
    let mut mtu = quinn::MtuDiscoveryConfig::default();
    mtu.upper_bound(link.mtu_max);
    transport
        .mtu_discovery_config(Some(mtu))
        .keep_alive_interval(Some(KEEP_ALIVE))
        .max_idle_timeout(quinn::IdleTimeout::try_from(IDLE_MAX).ok())
        .send_window(link.window_bytes)
        .congestion_controller_factory(Arc::new(Congestion {
            rate_max: link.rate_max,
        }))
        // GSO fails with EIO on tunnel interfaces (quinn issues 1128, 2202).
        .enable_segmentation_offload(false);
    transport
}
