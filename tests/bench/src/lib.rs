//! Benchmarks of the whole system; `benches/` has them, `cargo xtask bench` runs them. Those of one crate are in that crate.

use std::env;
use std::path::{Path, PathBuf};

/// The folder of the whole project.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Real SAL interfaces where they are at hand, else the project's own.
pub fn idl() -> PathBuf {
    let corpus =
        env::var_os("EFD_CORPUS").map_or_else(|| root().join("../shared/corpus"), PathBuf::from);
    if corpus.is_dir() {
        corpus.join("sal-idl")
    } else {
        root().join("tests/sim/idl")
    }
}

/// The folder of `efd-edge` and the others, beside which this benchmark was built. `None`: they were not built.
pub fn programs() -> Option<PathBuf> {
    let programs = env::current_exe().ok()?.ancestors().nth(2)?.to_owned();
    programs.join("efd-edge").exists().then_some(programs)
}
