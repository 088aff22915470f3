//! A relay of TCP streams that counts what passes, and does nothing else to it.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};

use super::{Direction, IDLE};

/// What one direction has carried since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamCounts {
    /// What the programs have written: no headers, no acknowledgements, nothing sent twice.
    pub bytes: u64,
    /// Packets of 1448 bytes that this takes at least.
    pub segments: u64,
}

/// A running relay; dropping it takes no further connections. Those that it has end with their programs.
#[derive(Debug)]
pub struct StreamRelay {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    ended: AtomicBool,
    up: Counter,
    down: Counter,
}

#[derive(Debug, Default)]
struct Counter {
    bytes: AtomicU64,
    segments: AtomicU64,
}

/// Of Ethernet's packets, with TCP's time stamps.
const SEGMENT_BYTES: usize = 1448;
const BUFFER_BYTES: usize = 64 << 10;

impl StreamRelay {
    /// Listens, in the network of the calling thread, and forwards to `target`, which need not be there yet.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub fn start(target: SocketAddr, listen: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(listen)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared::default());
        let accepting = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("stream-relay".into())
            .spawn(move || accept(&listener, target, &accepting))?;
        Ok(Self {
            address,
            shared,
            thread: Some(thread),
        })
    }

    /// Where clients connect to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What was carried so far.
    pub fn counts(&self, direction: Direction) -> StreamCounts {
        let counter = self.shared.counter(direction);
        StreamCounts {
            bytes: counter.bytes.load(Ordering::Relaxed),
            segments: counter.segments.load(Ordering::Relaxed),
        }
    }
}

impl Drop for StreamRelay {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic in there was printed where it happened.
            thread.join().ok();
        }
    }
}

impl Shared {
    fn counter(&self, direction: Direction) -> &Counter {
        match direction {
            Direction::Up => &self.up,
            Direction::Down => &self.down,
        }
    }
}

fn accept(listener: &TcpListener, target: SocketAddr, shared: &Arc<Shared>) {
    while !shared.ended.load(Ordering::Relaxed) {
        match listener.accept() {
            // A target that is not there: the client sees its connection end, and tries again.
            Ok((client, _)) => drop(join(client, target, shared)),
            Err(_) => thread::sleep(IDLE),
        }
    }
}

/// A thread for each direction.
fn join(client: TcpStream, target: SocketAddr, shared: &Arc<Shared>) -> io::Result<()> {
    let server = TcpStream::connect(target)?;
    client.set_nonblocking(false)?;
    for socket in [&client, &server] {
        socket.set_nodelay(true)?;
    }
    let ways = [
        (client.try_clone()?, server.try_clone()?, Direction::Up),
        (server, client, Direction::Down),
    ];
    for (from, to, direction) in ways {
        let shared = Arc::clone(shared);
        thread::Builder::new()
            .name("stream".into())
            .spawn(move || pump(from, to, shared.counter(direction)))?;
    }
    Ok(())
}

/// Until one end closes: then the other is told.
fn pump(mut from: TcpStream, mut to: TcpStream, counter: &Counter) {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let read = match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(_) => break,
        };
        counter.bytes.fetch_add(read as u64, Ordering::Relaxed);
        let segments = read.div_ceil(SEGMENT_BYTES) as u64;
        counter.segments.fetch_add(segments, Ordering::Relaxed);
        if to.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    // It may be closed already.
    to.shutdown(Shutdown::Write).ok();
    from.shutdown(Shutdown::Read).ok();
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::wait_until;

    #[test]
    fn carries_both_ways_and_counts() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let relay = StreamRelay::start(
            server.local_addr().unwrap(),
            SocketAddr::from(([127, 0, 0, 1], 0)),
        )
        .unwrap();
        let mut client = TcpStream::connect(relay.address()).unwrap();
        let (mut served, _) = server.accept().unwrap();
        client.write_all(&[1; 5000]).unwrap();
        let mut got = [0; 5000];
        served.read_exact(&mut got).unwrap();
        assert_eq!(got, [1; 5000]);
        served.write_all(b"yes").unwrap();
        let mut answer = [0; 3];
        client.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"yes");
        let up = relay.counts(Direction::Up);
        assert_eq!(up.bytes, 5000);
        assert!((4..=5000).contains(&up.segments), "{up:?}");
        let down = StreamCounts {
            bytes: 3,
            segments: 1,
        };
        assert_eq!(relay.counts(Direction::Down), down);
        // The end passes too.
        drop(client);
        let mut rest = Vec::new();
        assert!(wait_until(Duration::from_secs(5), || {
            served.read_to_end(&mut rest).is_ok_and(|read| read == 0)
        }));
    }
}
