//! The typed configuration of a domain, and the library's XML made from it.

use std::fmt::Write as _;
use std::time::Duration;

use crate::error::ConfigError;

/// DDS's port numbers end at this domain.
pub(crate) const DOMAIN_ID_MAX: u32 = 230;

/// The threads that data pass through. Not `tev`, which acknowledges: at realtime priority it is woken for every single
/// acknowledgement, see [`sched::LazyTimers`](crate::sched).
const RECEIVE_PATH_THREADS: [&str; 5] = ["recv", "recvMC", "recvUC", "dq.builtins", "dq.user"];

/// How a domain is joined. [`Default`] suits an observatory's wired network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DomainConfig {
    /// DDS domain, 0 to 230. Defaults to 0.
    pub domain_id: u32,
    /// Network interface by name (`eth0`); `None` leaves the choice to the library.
    pub interface: Option<String>,
    /// Defaults to [`Multicast::On`].
    pub multicast: Multicast,
    /// Addresses or host names to look for participants at, beside multicast.
    pub peers: Vec<String>,
    /// Others forget us this long after we stop answering. Defaults to 2 s: a reader that died holds up a reliable
    /// writer for as long.
    pub lease: Duration,
    /// Bytes of socket receive buffer. Defaults to 8 MiB; where the kernel's limit is lower, that much and a warning.
    pub receive_buffer_bytes: u32,
    /// How many participants on one host unicast discovery can tell apart. Defaults to 200.
    pub participant_index_max: u16,
    /// `SCHED_FIFO` priority of the receive threads, 1 to 99; `None` leaves them as they are. Defaults to 10. Where the
    /// system does not permit it: a warning, once.
    pub realtime_priority: Option<u8>,
    /// Vendors whose type information is not read. Defaults to [`VendorId::FAST_DDS`], of which 2.x announces one that
    /// makes this library reject the writer.
    pub untyped_vendors: Vec<VendorId>,
}

/// Which traffic may use multicast.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Multicast {
    /// Discovery and data. OpenSplice is found in no other way.
    #[default]
    On,
    /// Discovery only; data by unicast.
    DiscoveryOnly,
    /// Nothing: participants are found at `peers` only.
    Off,
}

/// A DDS vendor as the OMG numbers them: `1.N`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct VendorId(pub u8);

impl VendorId {
    /// eProsima Fast DDS.
    pub const FAST_DDS: Self = Self(15);

    /// The product's name. Source: the OMG's list of RTPS vendor ids.
    pub fn name(self) -> Option<&'static str> {
        Some(match self.0 {
            1 => "RTI Connext",
            2 => "OpenSplice",
            3 => "OpenDDS",
            4 => "MilSoft",
            5 => "InterCOM",
            6 => "CoreDX",
            9 => "ETRI",
            10 => "RTI Connext Micro",
            11 => "Vortex Cafe",
            12 => "Vortex Gateway",
            13 => "Vortex Lite",
            14 => "Qeo",
            15 => "Fast DDS",
            16 => "Cyclone DDS",
            17 => "GurumDDS",
            18 => "RustDDS",
            20 => "Dust DDS",
            _ => return None,
        })
    }
}

impl std::fmt::Display for VendorId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "1.{}", self.0),
        }
    }
}

impl Default for DomainConfig {
    fn default() -> Self {
        Self {
            domain_id: 0,
            interface: None,
            multicast: Multicast::On,
            peers: Vec::new(),
            lease: Duration::from_secs(2),
            receive_buffer_bytes: 8 << 20,
            participant_index_max: 200,
            realtime_priority: Some(10),
            untyped_vendors: vec![VendorId::FAST_DDS],
        }
    }
}

/// What the machine permits, found out by the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Permitted {
    pub(crate) realtime: bool,
    /// The whole receive buffer; else as much as the kernel gives.
    pub(crate) receive_buffer: bool,
}

impl DomainConfig {
    /// Refuses what the library would refuse later and less clearly, or take for something else.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if self.domain_id > DOMAIN_ID_MAX {
            return Err(ConfigError::DomainId(self.domain_id));
        }
        if let Some(name) = &self.interface
            && !is_interface_name(name)
        {
            return Err(ConfigError::Interface(name.clone()));
        }
        if let Some(peer) = self.peers.iter().find(|peer| !is_peer(peer)) {
            return Err(ConfigError::Peer(peer.clone()));
        }
        if !(Duration::from_millis(100)..=Duration::from_secs(86_400)).contains(&self.lease) {
            return Err(ConfigError::Lease(self.lease));
        }
        if let Some(priority) = self.realtime_priority
            && !(1..=99).contains(&priority)
        {
            return Err(ConfigError::Priority(priority));
        }
        if self.receive_buffer_bytes > 1 << 30 {
            return Err(ConfigError::ReceiveBuffer(self.receive_buffer_bytes));
        }
        Ok(())
    }

    /// The library's configuration. Each process may hold several domains with the same number on the network, so the
    /// number goes out as the *external* one.
    pub(crate) fn to_xml(&self, permitted: Permitted) -> String {
        let mut xml = String::with_capacity(1024);
        xml.push_str("<CycloneDDS><Domain><General>");
        if let Some(name) = &self.interface {
            let on = if self.multicast == Multicast::Off {
                "false"
            } else {
                "true"
            };
            tag(
                &mut xml,
                format_args!(
                    "<Interfaces><NetworkInterface name=\"{}\" multicast=\"{on}\"/></Interfaces>",
                    escape(name)
                ),
            );
        }
        let allow = match self.multicast {
            Multicast::On => "true",
            Multicast::DiscoveryOnly => "spdp",
            Multicast::Off => "false",
        };
        tag(
            &mut xml,
            format_args!("<AllowMulticast>{allow}</AllowMulticast></General><Discovery>"),
        );
        tag(
            &mut xml,
            format_args!("<ExternalDomainId>{}</ExternalDomainId>", self.domain_id),
        );
        tag(
            &mut xml,
            format_args!(
                "<LeaseDuration>{} ms</LeaseDuration>",
                self.lease.as_millis()
            ),
        );
        // A known port is what unicast discovery looks at; with multicast alone any port will do.
        if self.multicast == Multicast::Off || !self.peers.is_empty() {
            xml.push_str("<ParticipantIndex>auto</ParticipantIndex>");
        }
        tag(
            &mut xml,
            format_args!(
                "<MaxAutoParticipantIndex>{}</MaxAutoParticipantIndex>",
                self.participant_index_max
            ),
        );
        if !self.peers.is_empty() {
            xml.push_str("<Peers>");
            for peer in &self.peers {
                tag(
                    &mut xml,
                    format_args!("<Peer Address=\"{}\"/>", escape(peer)),
                );
            }
            xml.push_str("</Peers>");
        }
        xml.push_str("</Discovery>");
        if !self.untyped_vendors.is_empty() {
            let list: Vec<String> = self
                .untyped_vendors
                .iter()
                .map(|vendor| format!("1.{}", vendor.0))
                .collect();
            tag(
                &mut xml,
                format_args!(
                    "<Compatibility><IgnoreTypeInformation>{}</IgnoreTypeInformation></Compatibility>",
                    list.join(",")
                ),
            );
        }
        let edge = if permitted.receive_buffer {
            "min"
        } else {
            "max"
        };
        let other = if permitted.receive_buffer {
            "max"
        } else {
            "min"
        };
        tag(
            &mut xml,
            format_args!(
                "<Internal><SocketReceiveBufferSize {edge}=\"{} B\" {other}=\"default\"/></Internal>",
                self.receive_buffer_bytes
            ),
        );
        if let Some(priority) = self.realtime_priority
            && permitted.realtime
        {
            xml.push_str("<Threads>");
            for name in RECEIVE_PATH_THREADS {
                tag(
                    &mut xml,
                    format_args!(
                        "<Thread Name=\"{name}\"><Scheduling><Class>realtime</Class><Priority>{priority}</Priority></Scheduling></Thread>"
                    ),
                );
            }
            xml.push_str("</Threads>");
        }
        xml.push_str("</Domain></CycloneDDS>");
        xml
    }
}

/// Writing into a `String` cannot fail.
fn tag(xml: &mut String, text: std::fmt::Arguments<'_>) {
    let _infallible = xml.write_fmt(text);
}

/// The kernel's limit is 15 bytes, and the characters are those in use; `$` would be expanded by the library.
fn is_interface_name(name: &str) -> bool {
    (1..=15).contains(&name.len())
        && name
            .bytes()
            .all(|c| c.is_ascii_alphanumeric() || b"._-:@".contains(&c))
}

fn is_peer(peer: &str) -> bool {
    (1..=253).contains(&peer.len())
        && peer
            .bytes()
            .all(|c| c.is_ascii_alphanumeric() || b"._-:[]%/@".contains(&c))
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Permitted = Permitted {
        realtime: true,
        receive_buffer: true,
    };

    #[test]
    fn default_is_valid_and_names_everything() {
        let config = DomainConfig::default();
        config.validate().unwrap();
        let xml = config.to_xml(ALL);
        for part in [
            "<LeaseDuration>2000 ms</LeaseDuration>",
            "<ExternalDomainId>0</ExternalDomainId>",
            "<AllowMulticast>true</AllowMulticast>",
            "<MaxAutoParticipantIndex>200</MaxAutoParticipantIndex>",
            "<IgnoreTypeInformation>1.15</IgnoreTypeInformation>",
            "<SocketReceiveBufferSize min=\"8388608 B\" max=\"default\"/>",
            "<Thread Name=\"dq.user\"><Scheduling><Class>realtime</Class><Priority>10</Priority></Scheduling></Thread>",
        ] {
            assert!(xml.contains(part), "{part} not in {xml}");
        }
        assert!(
            !xml.contains("Interfaces")
                && !xml.contains("Peers")
                && !xml.contains("ParticipantIndex>auto"),
            "{xml}"
        );
    }

    #[test]
    fn what_is_not_permitted_is_not_asked_for() {
        let xml = DomainConfig::default().to_xml(Permitted {
            realtime: false,
            receive_buffer: false,
        });
        assert!(!xml.contains("<Threads>"), "{xml}");
        assert!(
            xml.contains("<SocketReceiveBufferSize max=\"8388608 B\" min=\"default\"/>"),
            "{xml}"
        );
    }

    #[test]
    fn unicast_on_one_interface() {
        let config = DomainConfig {
            interface: Some("lo".into()),
            multicast: Multicast::Off,
            peers: vec!["127.0.0.1".into(), "summit-1.example:7410".into()],
            ..DomainConfig::default()
        };
        config.validate().unwrap();
        let xml = config.to_xml(ALL);
        assert!(
            xml.contains("<NetworkInterface name=\"lo\" multicast=\"false\"/>"),
            "{xml}"
        );
        assert!(
            xml.contains("<ParticipantIndex>auto</ParticipantIndex>"),
            "{xml}"
        );
        assert!(xml.contains("<Peers><Peer Address=\"127.0.0.1\"/><Peer Address=\"summit-1.example:7410\"/></Peers>"), "{xml}");
    }

    #[test]
    fn refused_with_the_value() {
        let base = DomainConfig::default;
        let cases: [(DomainConfig, &str); 7] = [
            (
                DomainConfig {
                    domain_id: 231,
                    ..base()
                },
                "domain 231 is above 230",
            ),
            (
                DomainConfig {
                    interface: Some("eth0\"/>".into()),
                    ..base()
                },
                "network interface \"eth0\\\"/>\" is not an interface name",
            ),
            (
                DomainConfig {
                    interface: Some("${HOME}".into()),
                    ..base()
                },
                "network interface \"${HOME}\" is not an interface name",
            ),
            (
                DomainConfig {
                    peers: vec!["a b".into()],
                    ..base()
                },
                "peer \"a b\" is neither an address nor a host name",
            ),
            (
                DomainConfig {
                    lease: Duration::from_millis(1),
                    ..base()
                },
                "participant lease 1ms is not between 100 ms and 1 day",
            ),
            (
                DomainConfig {
                    realtime_priority: Some(0),
                    ..base()
                },
                "realtime priority 0 is not between 1 and 99",
            ),
            (
                DomainConfig {
                    receive_buffer_bytes: u32::MAX,
                    ..base()
                },
                "socket receive buffer of 4294967295 bytes is above 1 GiB",
            ),
        ];
        for (config, message) in cases {
            assert_eq!(config.validate().unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn escaping() {
        assert_eq!(escape("a<b>&\"c\"'"), "a&lt;b&gt;&amp;&quot;c&quot;&apos;");
    }
}
