//! Ports that stay ours.

use std::fs::{self, File, TryLockError};
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::{env, io, process};

/// A port number that no other test of this user gets while this handle lives, TCP and UDP, also across restarts of
/// the service behind it. It lies outside the kernel's range for outgoing connections, so no client can take it either.
#[derive(Debug)]
pub struct Port {
    number: u16,
    _lock: File,
}

/// Above what services commonly use (DDS: 7400 and up), below where Linux by default begins with outgoing connections.
const RANGE: RangeInclusive<u16> = 17_000..=31_999;

impl Port {
    /// # Errors
    /// When every port of the range is taken, or the folder of the locks cannot be written.
    pub fn reserve() -> io::Result<Self> {
        // SAFETY: getuid always succeeds and reads no memory of ours.
        let user = unsafe { libc::getuid() };
        let locks = env::temp_dir().join(format!("efd-test-ports-{user}"));
        fs::create_dir_all(&locks)?;
        let outgoing = outgoing_ports();
        let count = RANGE.end() - RANGE.start() + 1;
        // Test processes begin at different places: fewer of them try the same lock.
        let first = u16::try_from(process::id() * 97 % u32::from(count)).unwrap_or(0);
        for step in 0..count {
            let number = RANGE.start() + (first + step) % count;
            if outgoing
                .as_ref()
                .is_some_and(|range| range.contains(&number))
            {
                continue;
            }
            if let Some(lock) = lock(locks.join(number.to_string()))?
                && is_free(number)
            {
                return Ok(Self {
                    number,
                    _lock: lock,
                });
            }
        }
        Err(io::Error::new(
            io::ErrorKind::AddrInUse,
            format!("no free port in {RANGE:?}"),
        ))
    }

    pub fn number(&self) -> u16 {
        self.number
    }
}

fn lock(path: PathBuf) -> io::Result<Option<File>> {
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

fn is_free(number: u16) -> bool {
    TcpListener::bind((Ipv4Addr::UNSPECIFIED, number)).is_ok()
        && UdpSocket::bind((Ipv4Addr::UNSPECIFIED, number)).is_ok()
}

fn outgoing_ports() -> Option<RangeInclusive<u16>> {
    let text = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok()?;
    let mut bounds = text.split_ascii_whitespace().map(str::parse::<u16>);
    Some(bounds.next()?.ok()?..=bounds.next()?.ok()?)
}
