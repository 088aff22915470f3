//! A bad link in user space: a UDP relay that loses, delays, duplicates, reorders, caps and cuts.
//!
//! In:  datagrams of any number of clients at [`Relay::address`].
//! Out: the same datagrams at the target, each client from a port of its own; and the answers back.
//!
//! One thread serves all sockets. What happens to a datagram is decided by [`Link`], which is pure: time and length in,
//! times of delivery out. Sizes and rates count UDP payload, not headers.
//!
//! [`StreamRelay`] is for TCP: it counts, and that is all.
//!
//! Invariants: `offered + duplicated = delivered + lost + queue_dropped + cut_dropped + in flight` per direction; without
//! `reorder` nothing overtakes; what the kernel dropped before the relay saw it is counted apart.

mod link;
mod pump;
mod stream;
#[cfg(test)]
mod tests;

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

pub use link::{Fate, Link, Shape};
pub use stream::{StreamCounts, StreamRelay};

/// How a relay is started.
#[derive(Clone, Debug)]
pub struct RelayOptions {
    /// Where clients send to. Port 0 lets the kernel choose.
    pub listen: SocketAddr,
    /// The same seed and the same datagrams at the same times meet the same fate.
    pub seed: u64,
    /// From the clients to the target.
    pub up: Shape,
    /// From the target to the clients.
    pub down: Shape,
}

impl Default for RelayOptions {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            seed: 1,
            up: Shape::default(),
            down: Shape::default(),
        }
    }
}

impl RelayOptions {
    /// A link alike in both directions.
    pub fn alike(shape: Shape) -> Self {
        Self {
            up: shape.clone(),
            down: shape,
            ..Self::default()
        }
    }
}

/// Which way a datagram goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Direction {
    /// From the clients to the target.
    Up,
    /// From the target to the clients.
    Down,
}

/// What one direction has carried since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Datagrams that came in, and their payload.
    pub offered: u64,
    pub offered_bytes: u64,
    /// Datagrams that went out, second copies included, and their payload.
    pub delivered: u64,
    pub delivered_bytes: u64,
    /// Dropped by [`Shape::loss`].
    pub lost: u64,
    /// Dropped because the queue before the rate cap was full, or too much was in flight.
    pub queue_dropped: u64,
    /// Dropped while the link was cut, on arrival or in flight.
    pub cut_dropped: u64,
    /// Delivered twice.
    pub duplicated: u64,
    /// Held back so that later ones overtake.
    pub reordered: u64,
    /// Dropped by the kernel since the socket's buffer was full: this machine's doing, not the link's. Where it is not
    /// 0, figures measured over this relay say little.
    pub kernel_dropped: u64,
}

/// Both directions at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RelayCounts {
    pub up: Counts,
    pub down: Counts,
    /// Clients seen (by address).
    pub clients: u64,
}

/// A running relay; dropping it ends it.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    shared: Arc<Shared>,
    wake: UnixDatagram,
    thread: Option<JoinHandle<()>>,
}

/// What the handle and the thread both see.
#[derive(Debug)]
struct Shared {
    control: Mutex<Control>,
    counts: Mutex<RelayCounts>,
}

#[derive(Clone, Debug)]
struct Control {
    up: Shape,
    down: Shape,
    target: SocketAddr,
    cut: bool,
    /// Raised by one for each wanted [`Relay::rebind`].
    rebinds: u64,
    ended: bool,
}

impl Relay {
    /// Listens, in the network of the calling thread, and forwards to `target`, which need not be there yet.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub fn start(target: SocketAddr, options: RelayOptions) -> io::Result<Self> {
        let RelayOptions {
            listen,
            seed,
            up,
            down,
        } = options;
        let socket = UdpSocket::bind(listen)?;
        let address = socket.local_addr()?;
        let (wake, woken) = UnixDatagram::pair()?;
        wake.set_nonblocking(true)?;
        let control = Control {
            up,
            down,
            target,
            cut: false,
            rebinds: 0,
            ended: false,
        };
        let shared = Arc::new(Shared {
            control: Mutex::new(control),
            counts: Mutex::default(),
        });
        let pump = pump::Pump::new(socket, woken, Arc::clone(&shared), seed)?;
        let thread = thread::Builder::new()
            .name("relay".into())
            .spawn(move || pump.run())?;
        Ok(Self {
            address,
            shared,
            wake,
            thread: Some(thread),
        })
    }

    /// Where clients send to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes one direction from the next datagram on; what is in flight keeps its time of delivery.
    pub fn shape(&self, direction: Direction, shape: Shape) {
        self.change(|control| match direction {
            Direction::Up => control.up = shape,
            Direction::Down => control.down = shape,
        });
    }

    /// Changes both directions.
    pub fn shape_both(&self, shape: Shape) {
        self.change(|control| {
            control.up = shape.clone();
            control.down = shape;
        });
    }

    /// Nothing passes, either way, from now on; what is in flight is lost.
    pub fn cut(&self) {
        self.change(|control| control.cut = true);
    }

    /// Ends a [`cut`](Self::cut).
    pub fn heal(&self) {
        self.change(|control| control.cut = false);
    }

    /// As when a NAT forgets: every client reaches the target from a new port, and what the target sends to the old
    /// ports goes nowhere.
    pub fn rebind(&self) {
        self.change(|control| control.rebinds += 1);
    }

    /// Forwards to another address from now on (a target that came back elsewhere). Implies [`rebind`](Self::rebind).
    pub fn retarget(&self, target: SocketAddr) {
        self.change(|control| {
            control.target = target;
            control.rebinds += 1;
        });
    }

    /// What was carried so far.
    pub fn counts(&self) -> RelayCounts {
        *self.shared.counts()
    }

    fn change(&self, change: impl FnOnce(&mut Control)) {
        change(&mut self.shared.control());
        // A full queue means that the thread is about to wake anyway.
        self.wake.send(&[0]).ok();
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.change(|control| control.ended = true);
        if let Some(thread) = self.thread.take() {
            // A panic in there was printed where it happened.
            thread.join().ok();
        }
    }
}

impl Shared {
    fn control(&self) -> MutexGuard<'_, Control> {
        self.control.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn counts(&self) -> MutexGuard<'_, RelayCounts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The longest wait of the thread, and how old the count of the kernel's drops may be.
const IDLE: Duration = Duration::from_millis(50);
