//! What the tests share: a data set and a source that holds it.

#![allow(dead_code, unreachable_pub, reason = "each test target takes its part")]

pub mod data;
pub mod memory;
pub mod statements;
