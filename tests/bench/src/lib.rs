//! Benchmarks of the whole system; `benches/` has them, `cargo xtask bench` runs them. Those of one crate are in that crate.
