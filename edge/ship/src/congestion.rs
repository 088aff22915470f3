//! Congestion control of the link to the centre, for quinn: paced at the configured rate, backing off when delay rises
//! and not when a packet is lost.
//!
//! CUBIC at 200 ms round trip and 1 % loss carries a twentieth of 20 Mbit/s.

mod control;
#[cfg(test)]
mod tests;

use std::any::Any;
use std::sync::Arc;
use std::time::{Duration, Instant};

use quinn::congestion::{Controller, ControllerFactory};

use control::Control;

/// For each path one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Congestion {
    /// Bytes a second; `None`: it finds out.
    pub(crate) rate_max: Option<u64>,
}

impl ControllerFactory for Congestion {
    fn build(self: Arc<Self>, now: Instant, current_mtu: u16) -> Box<dyn Controller> {
        Box::new(Path {
            began: now,
            control: Control::new(self.rate_max, current_mtu),
        })
    }
}

#[derive(Clone, Debug)]
struct Path {
    began: Instant,
    control: Control,
}

impl Path {
    fn at(&self, time: Instant) -> Duration {
        time.saturating_duration_since(self.began)
    }
}

impl Controller for Path {
    fn on_ack(
        &mut self,
        now: Instant,
        sent: Instant,
        bytes: u64,
        _app_limited: bool,
        _rtt: &quinn_proto::RttEstimator,
    ) {
        self.control.on_ack(self.at(now), self.at(sent), bytes);
    }

    fn on_end_acks(
        &mut self,
        now: Instant,
        in_flight: u64,
        _app_limited: bool,
        _largest_packet_num_acked: Option<u64>,
    ) {
        self.control.on_end_acks(self.at(now), in_flight);
    }

    fn on_congestion_event(
        &mut self,
        now: Instant,
        sent: Instant,
        is_persistent_congestion: bool,
        lost_bytes: u64,
    ) {
        let (now, sent) = (self.at(now), self.at(sent));
        match lost_bytes {
            0 => self.control.on_mark(now, sent),
            lost => self
                .control
                .on_lost(now, sent, lost, is_persistent_congestion),
        }
    }

    fn on_mtu_update(&mut self, new_mtu: u16) {
        self.control.on_mtu(new_mtu);
    }

    fn window(&self) -> u64 {
        self.control.window()
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(self.clone())
    }

    fn initial_window(&self) -> u64 {
        self.control.initial_window()
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}
