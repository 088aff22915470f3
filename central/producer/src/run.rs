//! The threads: one that asks the cluster who leads what, and one for each broker, with one request under way.

use std::collections::BTreeMap;
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use efd_central_kafka::Connection;

use crate::answer::{Ack, Fatal, SendError};
use crate::batch::{Record, TopicIx};
use crate::core::{Core, Limits, NodeId};
use crate::link::{Access, Link, LinkError};
use crate::wire;

/// Between attempts to reach a broker.
const RETRY_AFTER: Duration = Duration::from_millis(500);
/// A thread with nothing to do looks so often whether it is still needed.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What the threads share.
#[derive(Debug)]
struct Shared {
    access: Access,
    bootstrap: Vec<String>,
    began: Instant,
    state: Mutex<State>,
    /// For the thread that asks.
    asks: Condvar,
    /// For who waits for acknowledgements.
    acked: Condvar,
}

#[derive(Debug)]
struct State {
    core: Core,
    nodes: BTreeMap<NodeId, Node>,
}

#[derive(Debug)]
struct Node {
    address: String,
    wake: Arc<Condvar>,
    socket: Option<TcpStream>,
}

/// See the crate's documentation. Dropping it closes it.
#[derive(Debug)]
pub struct Producer {
    shared: Arc<Shared>,
}

impl Producer {
    /// No broker need be there yet.
    pub fn start(connection: &Connection, limits: Limits) -> Result<Self, LinkError> {
        let bootstrap = connection.brokers.split(',');
        let shared = Arc::new(Shared {
            access: Access::new(connection)?,
            bootstrap: bootstrap.map(|broker| broker.trim().to_owned()).collect(),
            began: now(),
            state: Mutex::new(State {
                core: Core::new(limits),
                nodes: BTreeMap::new(),
            }),
            asks: Condvar::new(),
            acked: Condvar::new(),
        });
        let asking = Arc::clone(&shared);
        thread::Builder::new()
            .name("kafka asks".into())
            .spawn(move || asking.ask())?;
        Ok(Self { shared })
    }

    /// Always the same for a name.
    pub fn topic(&self, name: &str) -> TopicIx {
        self.shared.state().core.topic(name)
    }

    /// Queues a record for its topic; [`Self::flush`] makes it go. `opaque` comes back with its [`Ack`].
    pub fn send(
        &self,
        topic: TopicIx,
        record: &Record<'_>,
        opaque: usize,
    ) -> Result<(), SendError> {
        let unix_ms = unix_ms();
        self.shared
            .state()
            .core
            .push(topic, record, opaque, unix_ms)
    }

    pub fn flush(&self) {
        let mut state = self.shared.state();
        if state.core.flush() {
            state.nodes.values().for_each(|node| node.wake.notify_one());
            self.shared.asks.notify_one();
        }
    }

    /// Adds what was acknowledged to `acks`; waits up to `wait` for a first one.
    pub fn poll(&self, wait: Duration, acks: &mut Vec<Ack>) -> Result<(), Fatal> {
        let mut state = self.shared.state();
        if state.core.acks().is_empty() && state.core.fatal().is_none() && !wait.is_zero() {
            let waited = self.shared.acked.wait_timeout(state, wait);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        if let Some(reason) = state.core.fatal() {
            return Err(Fatal(reason.to_owned()));
        }
        acks.append(state.core.acks());
        Ok(())
    }

    /// Why no acknowledgement comes, where that is known.
    pub fn trouble(&self) -> Option<String> {
        self.shared.state().core.trouble().map(str::to_owned)
    }

    /// For another thread, which may [`Closer::purge`].
    pub fn closer(&self) -> Closer {
        Closer(Arc::clone(&self.shared))
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        self.shared.close();
    }
}

#[derive(Clone, Debug)]
pub struct Closer(Arc<Shared>);

impl Closer {
    /// What waits is dropped without an answer, and nothing leaves the process any more.
    pub fn purge(&self) {
        self.0.close();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn elapsed(&self) -> Duration {
        now().saturating_duration_since(self.began)
    }

    fn close(&self) {
        let mut state = self.state();
        state.core.close();
        for node in state.nodes.values_mut() {
            if let Some(socket) = node.socket.take() {
                // It may be closed already.
                let _gone = socket.shutdown(Shutdown::Both);
            }
            node.wake.notify_all();
        }
        self.asks.notify_all();
        self.acked.notify_all();
    }

    /// Until the producer is closed: gets an identity, and leaders for topics that have none.
    fn ask(self: Arc<Self>) {
        let mut link: Option<Link> = None;
        let mut turn = 0;
        loop {
            let mut state = self.state();
            if state.core.is_closed() {
                return;
            }
            let now = self.elapsed();
            let next = state.core.handle_time(now);
            self.wake(&state);
            let needs_identity = state.core.needs_identity(now);
            let topics = state.core.leaderless(now);
            if topics.is_empty() && !needs_identity {
                let wait = next.map_or(LOOK_EVERY, |at| at.saturating_sub(now).min(LOOK_EVERY));
                let waited = self
                    .asks
                    .wait_timeout(state, wait.max(Duration::from_millis(1)));
                drop(waited);
                continue;
            }
            let addresses: Vec<String> = state
                .nodes
                .values()
                .map(|node| node.address.clone())
                .chain(self.bootstrap.iter().cloned())
                .collect();
            drop(state);
            let asked = self.ask_one(&mut link, &addresses[turn % addresses.len()], &topics);
            if let Err(error) = asked {
                link = None;
                turn += 1;
                let mut state = self.state();
                state.core.note_trouble(error.to_string());
                let again_at = self.elapsed() + RETRY_AFTER;
                state.core.handle_not_asked(again_at);
                if !state.core.is_closed() {
                    drop(self.asks.wait_timeout(state, RETRY_AFTER));
                }
            }
        }
    }

    fn ask_one(
        self: &Arc<Self>,
        link: &mut Option<Link>,
        address: &str,
        topics: &[(TopicIx, Arc<str>)],
    ) -> Result<(), LinkError> {
        let link = match link {
            Some(link) => link,
            None => link.insert(Link::open(address, &self.access)?),
        };
        if self.state().core.needs_identity(self.elapsed()) {
            let identity = wire::identify(link)?;
            self.state().core.handle_identity(identity);
        }
        let (nodes, found) = wire::find(link, topics)?;
        let mut state = self.state();
        for (id, address) in nodes {
            if let Some(known) = state.nodes.get_mut(&id) {
                known.address = address;
                continue;
            }
            let wake = Arc::new(Condvar::new());
            let node = Node {
                address,
                wake: Arc::clone(&wake),
                socket: None,
            };
            state.nodes.insert(id, node);
            let producing = Arc::clone(self);
            thread::Builder::new()
                .name(format!("kafka {}", id.0))
                .spawn(move || producing.produce(id, &wake))?;
        }
        let now = self.elapsed();
        state.core.handle_found(found, now);
        self.wake(&state);
        Ok(())
    }

    fn wake(&self, state: &State) {
        state.nodes.values().for_each(|node| node.wake.notify_one());
        self.acked.notify_all();
    }

    /// Until the producer is closed: sends what waits for this broker, one request at a time.
    fn produce(self: Arc<Self>, id: NodeId, wake: &Condvar) {
        let mut link: Option<Link> = None;
        loop {
            let mut state = self.state();
            if state.core.is_closed() || state.core.fatal().is_some() {
                return;
            }
            let mut batches = state.core.take(id);
            if batches.is_empty() {
                drop(wake.wait_timeout(state, LOOK_EVERY));
                continue;
            }
            let address = state.nodes.get(&id).map(|node| node.address.clone());
            drop(state);
            let answers = self
                .reach(&mut link, id, address.as_deref().unwrap_or_default())
                .and_then(|link| wire::produce(link, &mut batches));
            let now = self.elapsed();
            let mut state = self.state();
            match answers {
                Ok(verdicts) => {
                    for (batch, verdict) in batches.into_iter().zip(verdicts) {
                        state.core.handle_answer(batch, verdict, now);
                    }
                }
                Err(error) => {
                    link = None;
                    tracing::debug!(broker = id.0, %error, "No answer to what was produced");
                    state.core.note_trouble(error.to_string());
                    for batch in batches {
                        state.core.handle_unanswered(batch, now);
                    }
                }
            }
            self.acked.notify_all();
            self.asks.notify_one();
        }
    }

    fn reach<'a>(
        &self,
        link: &'a mut Option<Link>,
        id: NodeId,
        address: &str,
    ) -> Result<&'a mut Link, LinkError> {
        let link = match link {
            Some(link) => return Ok(link),
            None => link.insert(Link::open(address, &self.access)?),
        };
        let socket = link.socket()?;
        let mut state = self.state();
        if state.core.is_closed() {
            return Err(LinkError::Refused("the producer is closed".to_owned()));
        }
        if let Some(node) = state.nodes.get_mut(&id) {
            node.socket = Some(socket);
        }
        drop(state);
        Ok(link)
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a shell: it keeps its core's time"
)]
fn now() -> Instant {
    Instant::now()
}

#[expect(
    clippy::disallowed_methods,
    reason = "a shell: it keeps its core's time"
)]
fn unix_ms() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as i64)
}
