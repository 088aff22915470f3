//! Telling systemd: `sd_notify` by hand.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// Sends to the socket in `NOTIFY_SOCKET`, or nowhere when the daemon was not started by systemd.
#[derive(Debug)]
pub struct Notifier {
    socket: Option<UnixDatagram>,
    watchdog: Option<Duration>,
}

#[derive(Debug, thiserror::Error)]
#[error("open the notification socket `{address}` that NOTIFY_SOCKET names")]
pub struct NotifyError {
    address: String,
    source: io::Error,
}

impl Notifier {
    /// By the environment variables `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID`.
    pub fn from_environment() -> Result<Self, NotifyError> {
        let var = |name| std::env::var(name).ok();
        Self::new(
            std::env::var_os("NOTIFY_SOCKET").as_deref(),
            var("WATCHDOG_USEC").as_deref(),
            var("WATCHDOG_PID").as_deref(),
        )
    }

    fn new(
        address: Option<&OsStr>,
        watchdog_usec: Option<&str>,
        watchdog_pid: Option<&str>,
    ) -> Result<Self, NotifyError> {
        let socket = address
            .map(|address| {
                connect(address).map_err(|source| NotifyError {
                    address: address.to_string_lossy().into_owned(),
                    source,
                })
            })
            .transpose()?;
        let for_us = watchdog_pid.is_none_or(|pid| pid == std::process::id().to_string());
        let watchdog = watchdog_usec
            .filter(|_| for_us && socket.is_some())
            .and_then(|text| text.parse().ok())
            .filter(|usec| *usec > 0)
            .map(Duration::from_micros);
        Ok(Self { socket, watchdog })
    }

    /// How often [`watchdog`](Self::watchdog) is to be called at the least: half of systemd's limit.
    /// `None` where nobody watches.
    pub fn watchdog_every(&self) -> Option<Duration> {
        self.watchdog.map(|limit| limit / 2)
    }

    /// The daemon does its work; `status` is shown by `systemctl status`.
    pub fn ready(&self, status: &str) {
        self.send(&format!("READY=1\nSTATUS={}", one_line(status)));
    }

    pub fn status(&self, status: &str) {
        self.send(&format!("STATUS={}", one_line(status)));
    }

    /// To be sent by the loop that does the work, so that a hang is noticed.
    pub fn watchdog(&self) {
        self.send("WATCHDOG=1");
    }

    pub fn stopping(&self) {
        self.send("STOPPING=1");
    }

    fn send(&self, state: &str) {
        if let Some(socket) = &self.socket
            && let Err(error) = socket.send(state.as_bytes())
        {
            // The socket does not block: a systemd that does not read must not stop the data.
            tracing::debug!(%error, "Notification to systemd lost");
        }
    }
}

fn connect(address: &OsStr) -> io::Result<UnixDatagram> {
    let bytes = address.as_bytes();
    let address = match bytes.strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(address)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&address)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn one_line(text: &str) -> String {
    text.chars()
        .take(256)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 512];
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    }

    #[test]
    fn tells_systemd() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let systemd = UnixDatagram::bind(&path).unwrap();
        let notifier = Notifier::new(Some(path.as_os_str()), Some("20000000"), None).unwrap();
        assert_eq!(notifier.watchdog_every(), Some(Duration::from_secs(10)));
        notifier.ready("3 topics\nSTOPPING=1");
        notifier.watchdog();
        notifier.stopping();
        assert_eq!(received(&systemd), "READY=1\nSTATUS=3 topics STOPPING=1");
        assert_eq!(received(&systemd), "WATCHDOG=1");
        assert_eq!(received(&systemd), "STOPPING=1");
        drop(systemd);
        notifier.watchdog(); // Nobody listens: no error, no panic.
    }

    #[test]
    fn knows_abstract_sockets() {
        let name = format!("efd-notify-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let systemd = UnixDatagram::bind_addr(&address).unwrap();
        let notifier = Notifier::new(Some(OsStr::new(&format!("@{name}"))), None, None).unwrap();
        notifier.watchdog();
        assert_eq!(received(&systemd), "WATCHDOG=1");
    }

    #[test]
    fn without_systemd_says_nothing() {
        let notifier = Notifier::new(None, Some("20000000"), None).unwrap();
        assert_eq!(notifier.watchdog_every(), None);
        notifier.ready("alone");
        let missing = Notifier::new(Some(OsStr::new("no-such-socket")), None, None);
        assert!(missing.unwrap_err().to_string().contains("no-such-socket"));
    }

    #[test]
    fn a_watchdog_of_another_process_is_not_ours() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let _systemd = UnixDatagram::bind(&path).unwrap();
        let check = |usec, pid: Option<&str>, expected| {
            let notifier = Notifier::new(Some(path.as_os_str()), usec, pid).unwrap();
            assert_eq!(notifier.watchdog_every(), expected, "{usec:?} {pid:?}");
        };
        let own = std::process::id().to_string();
        check(Some("2000000"), Some(&own), Some(Duration::from_secs(1)));
        check(Some("2000000"), Some("1"), None);
        check(Some("0"), None, None);
        check(Some("soon"), None, None);
        check(None, None, None);
    }
}
