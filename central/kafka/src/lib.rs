//! What every client of a Kafka cluster needs around librdkafka, and how its brokers are reached.
//!
//! Invariant: no secret is in an error or a log line; librdkafka's own error has the value of a property that it refuses.
//!
//! Absent: topics, records, and what being exactly once rests on.

mod client;
mod connection;
mod fault;
mod password;
mod properties;

pub use client::{Quiet, block_on, log};
pub use connection::{
    ClientCertificate, Connection, ConnectionError, Login, Mechanism, SYSTEM_CA_FILE, Tls,
};
pub use fault::{reason, retell};
pub use password::{Password, PasswordError, exposed};
pub use properties::Properties;
