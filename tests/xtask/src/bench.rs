//! Benchmarks: figures on the terminal and in target/bench/NAME.json.

use anyhow::Result;

use crate::project::{Profile, build_programs, cargo, succeed};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[arg(value_enum)]
    name: Name,
    /// Passed on to the benchmark.
    #[arg(last = true)]
    more: Vec<String>,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Name {
    /// CDR to Avro: bytes and samples a second of one core.
    Transcode,
    /// Durable appends to the buffer, beside bare SQLite.
    Append,
    /// The whole way at the observatory's full rate: lost, cores and memory of each process.
    Load,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let (package, name) = match arguments.name {
        Name::Transcode => ("efd-edge-transcode", "transcode"),
        Name::Append => ("efd-shared-store", "append"),
        Name::Load => ("efd-tests-bench", "load"),
    };
    if matches!(arguments.name, Name::Load) {
        build_programs(Profile::Release, &[])?;
    }
    succeed(
        cargo()
            .args([
                "bench",
                "--locked",
                "--package",
                package,
                "--bench",
                name,
                "--",
            ])
            .args(&arguments.more),
    )
}
