//! The thread that moves the datagrams.

use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeMap, BinaryHeap};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixDatagram;
use std::ptr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Control, Counts, Direction, Fate, IDLE, Link, RelayCounts, Shape, Shared};
use crate::clock;

/// In flight per direction at most; beyond it datagrams are dropped and counted with the queue's. 1 Gbit/s for 1 s.
const FLIGHT_BYTES_MAX: usize = 128 << 20;
/// One socket is read this often before the others have their turn.
const BURST: usize = 64;
/// Beyond this many, a new client's datagrams are not forwarded: they count as lost to the queue.
const CLIENTS_MAX: usize = 1024;
/// Wanted for each socket; the kernel may give less to a user who is not root.
const SOCKET_BUFFER_BYTES: libc::c_int = 8 << 20;
const DATAGRAM_BYTES_MAX: usize = 65_536;

pub(super) struct Pump {
    front: UdpSocket,
    woken: UnixDatagram,
    shared: Arc<Shared>,
    /// All times of the links are since this.
    started: Instant,
    up: Lane,
    down: Lane,
    /// By address; the order of arrival is of no use here.
    clients: BTreeMap<SocketAddr, UdpSocket>,
    control: Control,
    counts: RelayCounts,
    /// Drops of sockets that are closed.
    dropped_down_before: u64,
    /// When the kernel is asked again for its drops: a call per socket, too dear for every round.
    drops_due: Duration,
    buffer: Vec<u8>,
}

/// One direction: its link and what is in flight.
struct Lane {
    link: Link,
    flight: BinaryHeap<Reverse<Flying>>,
    flight_bytes: usize,
    next: u64,
}

/// Ordered by time of delivery, then by arrival.
struct Flying {
    at: Duration,
    number: u64,
    client: SocketAddr,
    payload: Arc<[u8]>,
}

impl Pump {
    pub(super) fn new(
        front: UdpSocket,
        woken: UnixDatagram,
        shared: Arc<Shared>,
        seed: u64,
    ) -> io::Result<Self> {
        front.set_nonblocking(true)?;
        woken.set_nonblocking(true)?;
        enlarge_buffers(&front);
        let control = shared.control().clone();
        Ok(Self {
            front,
            woken,
            shared,
            started: clock::now(),
            up: Lane::new(seed),
            down: Lane::new(!seed),
            clients: BTreeMap::new(),
            control,
            counts: RelayCounts::default(),
            dropped_down_before: 0,
            drops_due: Duration::ZERO,
            buffer: vec![0; DATAGRAM_BYTES_MAX],
        })
    }

    pub(super) fn run(mut self) {
        while !self.control.ended {
            let ready = self.wait();
            self.take_orders();
            if ready.front {
                self.receive_up();
            }
            for client in ready.clients {
                self.receive_down(client);
            }
            self.deliver(Direction::Up);
            self.deliver(Direction::Down);
            self.publish();
        }
    }

    /// Waits for a datagram, an order, or the next delivery.
    fn wait(&self) -> Ready {
        let watch = |descriptor: RawFd| libc::pollfd {
            fd: descriptor,
            events: libc::POLLIN,
            revents: 0,
        };
        let mut polled = vec![watch(self.woken.as_raw_fd()), watch(self.front.as_raw_fd())];
        polled.extend(
            self.clients
                .values()
                .map(|socket| watch(socket.as_raw_fd())),
        );

        let next = [&self.up, &self.down]
            .into_iter()
            .filter_map(|lane| lane.flight.peek())
            .map(|Reverse(first)| first.at)
            .min();
        let left = next.map_or(IDLE, |at| at.saturating_sub(self.now()).min(IDLE));
        let limit = libc::timespec {
            tv_sec: left.as_secs().cast_signed(),
            tv_nsec: i64::from(left.subsec_nanos()),
        };
        // SAFETY: the array and the limit live through the call; its length is passed along; no signal mask is given.
        // A failure (a signal came) leaves nothing marked as ready, and the loop asks again.
        unsafe {
            libc::ppoll(
                polled.as_mut_ptr(),
                polled.len() as libc::nfds_t,
                &raw const limit,
                ptr::null(),
            )
        };
        let is_ready = |entry: &libc::pollfd| entry.revents != 0;
        Ready {
            front: is_ready(&polled[1]),
            clients: self
                .clients
                .keys()
                .zip(&polled[2..])
                .filter(|(_, entry)| is_ready(entry))
                .map(|(client, _)| *client)
                .collect(),
        }
    }

    fn take_orders(&mut self) {
        while self.woken.recv(&mut [0; 8]).is_ok() {}
        let wanted = self.shared.control().clone();
        if wanted.rebinds != self.control.rebinds {
            self.dropped_down_before += self.clients.values().map(dropped_by_kernel).sum::<u64>();
            self.clients.clear();
        }
        if wanted.cut && !self.control.cut {
            self.counts.up.cut_dropped += self.up.lose_all();
            self.counts.down.cut_dropped += self.down.lose_all();
        }
        self.control = wanted;
    }

    fn receive_up(&mut self) {
        for _ in 0..BURST {
            // An error other than "nothing more" is an ICMP answer to something sent earlier: not this datagram's.
            let (bytes, client) = match self.front.recv_from(&mut self.buffer) {
                Ok(received) => received,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => continue,
            };
            let now = self.now();
            if !self.clients.contains_key(&client) && !self.admit_client(client) {
                self.counts.up.offered += 1;
                self.counts.up.offered_bytes += bytes as u64;
                self.counts.up.queue_dropped += 1;
                continue;
            }
            let datagram = (client, &self.buffer[..bytes]);
            self.up.admit(
                &self.control.up,
                self.control.cut,
                datagram,
                now,
                &mut self.counts.up,
            );
        }
    }

    /// False when there are too many, or the kernel has no socket for it.
    fn admit_client(&mut self, client: SocketAddr) -> bool {
        if self.clients.len() >= CLIENTS_MAX {
            return false;
        }
        let Ok(socket) = upstream(self.control.target) else {
            return false;
        };
        self.clients.insert(client, socket);
        self.counts.clients += 1;
        true
    }

    fn receive_down(&mut self, client: SocketAddr) {
        for _ in 0..BURST {
            // Gone after a rebind.
            let Some(socket) = self.clients.get(&client) else {
                return;
            };
            let bytes = match socket.recv(&mut self.buffer) {
                Ok(bytes) => bytes,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                // "Connection refused": nobody listens at the target. The client finds out by silence, as on a real link.
                Err(_) => continue,
            };
            let now = self.now();
            let datagram = (client, &self.buffer[..bytes]);
            self.down.admit(
                &self.control.down,
                self.control.cut,
                datagram,
                now,
                &mut self.counts.down,
            );
        }
    }

    fn deliver(&mut self, direction: Direction) {
        let now = self.now();
        loop {
            let lane = match direction {
                Direction::Up => &mut self.up,
                Direction::Down => &mut self.down,
            };
            let Some(Flying {
                client, payload, ..
            }) = lane.pop_due(now)
            else {
                return;
            };
            let counts = match direction {
                Direction::Up => &mut self.counts.up,
                Direction::Down => &mut self.counts.down,
            };
            counts.delivered += 1;
            counts.delivered_bytes += payload.len() as u64;
            // What the far socket does with it is beyond the link: a refusal there is silence here.
            match direction {
                Direction::Up => {
                    // After a rebind the client has no socket until it sends again; what was in flight makes it one.
                    if (self.clients.contains_key(&client) || self.admit_client(client))
                        && let Some(socket) = self.clients.get(&client)
                    {
                        send_again(|| socket.send(&payload));
                    }
                }
                Direction::Down => send_again(|| self.front.send_to(&payload, client)),
            }
        }
    }

    fn publish(&mut self) {
        let now = self.now();
        if now >= self.drops_due {
            self.drops_due = now + IDLE;
            self.count_kernel_drops();
        }
        *self.shared.counts() = self.counts;
    }

    fn count_kernel_drops(&mut self) {
        self.counts.up.kernel_dropped = dropped_by_kernel(&self.front);
        self.counts.down.kernel_dropped =
            self.dropped_down_before + self.clients.values().map(dropped_by_kernel).sum::<u64>();
    }

    fn now(&self) -> Duration {
        clock::now().duration_since(self.started)
    }
}

impl Lane {
    fn new(seed: u64) -> Self {
        Self {
            link: Link::new(seed),
            flight: BinaryHeap::new(),
            flight_bytes: 0,
            next: 0,
        }
    }

    fn admit(
        &mut self,
        shape: &Shape,
        cut: bool,
        datagram: (SocketAddr, &[u8]),
        now: Duration,
        counts: &mut Counts,
    ) {
        let (client, payload) = datagram;
        counts.offered += 1;
        counts.offered_bytes += payload.len() as u64;
        if cut {
            counts.cut_dropped += 1;
            return;
        }
        match self.link.admit(shape, payload.len(), now) {
            Fate::Lost => counts.lost += 1,
            Fate::QueueFull => counts.queue_dropped += 1,
            Fate::Deliver { .. } if self.flight_bytes + 2 * payload.len() > FLIGHT_BYTES_MAX => {
                counts.queue_dropped += 1
            }
            Fate::Deliver {
                at,
                again_at,
                held_back,
            } => {
                counts.reordered += u64::from(held_back);
                counts.duplicated += u64::from(again_at.is_some());
                let payload: Arc<[u8]> = payload.into();
                for at in [Some(at), again_at].into_iter().flatten() {
                    self.flight_bytes += payload.len();
                    self.next += 1;
                    self.flight.push(Reverse(Flying {
                        at,
                        number: self.next,
                        client,
                        payload: Arc::clone(&payload),
                    }));
                }
            }
        }
    }

    fn pop_due(&mut self, now: Duration) -> Option<Flying> {
        let Reverse(first) = self.flight.peek()?;
        if first.at > now {
            return None;
        }
        let Reverse(due) = self.flight.pop()?;
        self.flight_bytes -= due.payload.len();
        Some(due)
    }

    /// How many there were.
    fn lose_all(&mut self) -> u64 {
        self.flight_bytes = 0;
        let count = self.flight.len() as u64;
        self.flight.clear();
        count
    }
}

impl Ord for Flying {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

impl PartialOrd for Flying {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Flying {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Flying {}

struct Ready {
    front: bool,
    clients: Vec<SocketAddr>,
}

fn upstream(target: SocketAddr) -> io::Result<UdpSocket> {
    let any: IpAddr = if target.is_ipv4() {
        Ipv4Addr::UNSPECIFIED.into()
    } else {
        Ipv6Addr::UNSPECIFIED.into()
    };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(target)?;
    socket.set_nonblocking(true)?;
    enlarge_buffers(&socket);
    Ok(socket)
}

/// A connected socket reports an earlier refusal on the next send, which is then not sent: a second attempt is.
fn send_again(mut send: impl FnMut() -> io::Result<usize>) {
    if send().is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused) {
        send().ok();
    }
}

fn enlarge_buffers(socket: &UdpSocket) {
    let bytes = SOCKET_BUFFER_BYTES;
    for (forced, polite) in [
        (libc::SO_RCVBUFFORCE, libc::SO_RCVBUF),
        (libc::SO_SNDBUFFORCE, libc::SO_SNDBUF),
    ] {
        let set = |option| {
            // SAFETY: the value is an int and lives through the call; its size is passed along.
            unsafe {
                let value = (&raw const bytes).cast();
                libc::setsockopt(
                    socket.as_raw_fd(),
                    libc::SOL_SOCKET,
                    option,
                    value,
                    size_of::<libc::c_int>() as u32,
                )
            }
        };
        // Past the system's limit where that is permitted, up to it elsewhere; what then overflows is counted.
        if set(forced) != 0 {
            set(polite);
        }
    }
}

/// `SO_MEMINFO` of `asm-generic/socket.h`, which the libc crate lacks.
const SO_MEMINFO: libc::c_int = 55;

fn dropped_by_kernel(socket: &UdpSocket) -> u64 {
    let mut memory = [0_u32; libc::SK_MEMINFO_DROPS as usize + 1];
    let mut size = size_of_val(&memory) as libc::socklen_t;
    // SAFETY: the kernel writes at most `size` bytes into the array.
    let failed = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_MEMINFO,
            memory.as_mut_ptr().cast(),
            &raw mut size,
        )
    };
    if failed == 0 {
        u64::from(memory[libc::SK_MEMINFO_DROPS as usize])
    } else {
        0
    }
}
