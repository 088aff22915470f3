//! With which centre the edge speaks, and why not with the others.

use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use efd_edge_ship::Left;
use efd_shared_daemon::clock::utc_now;
use efd_shared_model::UtcNanos;
use efd_shared_wire::edge::{Centre, LiveDelays};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use serde_json::{Value as Json, json};

use super::Count;

#[derive(Debug, Default)]
pub(super) struct LinkMeters {
    connected: Family<CentreLabel, Count>,
    left: Family<LeftLabel, Counter>,
    delays: Mutex<LiveDelays>,
    told: Mutex<Told>,
}

#[derive(Debug, Default)]
struct Told {
    /// In the order of the configuration.
    centres: Vec<Known>,
    /// Which of them is tried, or spoken with; else which was last.
    current: usize,
}

#[derive(Debug)]
struct Known {
    name: String,
    link: Link,
    /// Of the last time that it was left.
    left: Option<LastLeft>,
    times_left: u64,
}

#[derive(Debug)]
enum Link {
    None,
    Connecting,
    Connected(SocketAddr),
}

#[derive(Debug)]
struct LastLeft {
    at: UtcNanos,
    cause: &'static str,
    reason: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CentreLabel {
    centre: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LeftLabel {
    centre: String,
    cause: &'static str,
}

impl LinkMeters {
    pub(super) fn new(centres: &[String]) -> Self {
        let meters = Self::default();
        let known = |name: &String| Known {
            name: name.clone(),
            link: Link::None,
            left: None,
            times_left: 0,
        };
        meters.told().centres = centres.iter().map(known).collect();
        for name in centres {
            meters.gauge(name).set(0);
        }
        meters
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "link_connected",
            "1 for the centre that we are connected to",
            self.connected.clone(),
        );
        registry.register(
            "link_left",
            "Connections that ended or were not made, by centre and cause",
            self.left.clone(),
        );
    }

    #[cfg(test)]
    pub(super) fn fill(&self) {
        let label = LeftLabel {
            centre: "a:1".into(),
            cause: "refused",
        };
        self.left.get_or_create(&label).inc();
    }

    pub(super) fn connecting(&self, centre: Centre) {
        let mut told = self.told();
        told.current = centre.0;
        if let Some(known) = told.centres.get_mut(centre.0) {
            known.link = Link::Connecting;
        }
    }

    pub(super) fn connected(&self, centre: Centre, address: SocketAddr) {
        if let Some(known) = self.told().centres.get_mut(centre.0) {
            known.link = Link::Connected(address);
            self.gauge(&known.name).set(1);
        }
    }

    pub(super) fn left(&self, centre: Centre, why: Left<'_>) {
        let mut told = self.told();
        let Some(known) = told.centres.get_mut(centre.0) else {
            return;
        };
        let cause = why.cause().as_str();
        known.link = Link::None;
        known.times_left += 1;
        known.left = Some(LastLeft {
            at: utc_now(),
            cause,
            reason: why.to_string(),
        });
        self.gauge(&known.name).set(0);
        let label = LeftLabel {
            centre: known.name.clone(),
            cause,
        };
        self.left.get_or_create(&label).inc();
    }

    pub(super) fn delays(&self, delays: LiveDelays) {
        *self.delays.lock().unwrap_or_else(PoisonError::into_inner) = delays;
    }

    /// Blocks that were durable at the centre within so many seconds of their commit here; the last has all.
    pub(super) fn live_within(&self) -> Json {
        let delays = *self.delays.lock().unwrap_or_else(PoisonError::into_inner);
        let pairs = delays.within();
        pairs
            .map(|(bound, blocks)| json!([bound.map(|bound| bound.as_secs_f64()), blocks]))
            .collect()
    }

    fn gauge(&self, name: &str) -> Count {
        let label = CentreLabel {
            centre: name.to_owned(),
        };
        self.connected.get_or_create(&label).clone()
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The current one's name; and of each.
    pub(super) fn status(&self) -> (Json, Json) {
        let told = self.told();
        let current = told.centres.get(told.current).map(|known| &known.name);
        let centres = told.centres.iter().map(Known::status);
        (json!(current), centres.collect())
    }
}

impl Known {
    fn status(&self) -> Json {
        let (state, address) = match &self.link {
            Link::None => ("offline", None),
            Link::Connecting => ("connecting", None),
            Link::Connected(address) => ("connected", Some(address.to_string())),
        };
        let left = self.left.as_ref().map(
            |left| json!({ "at": left.at.to_string(), "cause": left.cause, "reason": left.reason }),
        );
        json!({
            "centre": self.name, "state": state, "address": address,
            "left": left, "times_left": self.times_left,
        })
    }
}

#[cfg(test)]
mod tests {
    use efd_shared_wire::edge::Disconnect;

    use super::*;

    #[test]
    fn says_whom_and_why_not_the_others() {
        let meters = LinkMeters::new(&["a:1".to_owned(), "b:2".to_owned()]);
        meters.connecting(Centre(0));
        let gone = Disconnect::ConnectTimeout(std::time::Duration::from_secs(2));
        meters.left(Centre(0), Left::GivenUp(&gone));
        meters.connecting(Centre(1));
        meters.connected(Centre(1), ([127, 0, 0, 1], 2).into());
        let (current, centres) = meters.status();
        assert_eq!(current, "b:2");
        assert_eq!(centres[0]["state"], "offline");
        assert_eq!(centres[0]["left"]["cause"], "unreachable");
        assert_eq!(centres[0]["left"]["reason"], "no connection after 2s");
        assert_eq!(centres[1]["state"], "connected");
        assert_eq!(centres[1]["address"], "127.0.0.1:2");
        assert_eq!(centres[1]["left"], Json::Null);
        assert_eq!(
            (meters.gauge("a:1").get(), meters.gauge("b:2").get()),
            (0, 1)
        );
    }
}
