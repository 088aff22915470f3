//! What a developer types. `cargo xtask demo` and `cargo xtask test` are the README's two commands.
//!
//! Pure Rust: this program installs the C compiler that the rest of the workspace needs.

mod bench;
mod check;
mod demo;
mod generated;
mod kafka;
mod lanes;
mod project;
mod test;
#[cfg(test)]
mod tidy;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(
    name = "cargo xtask",
    about = "What a developer types",
    max_term_width = 100
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// A minute of traffic from publisher to lake, with the link cut in the middle; ends with published against stored.
    Demo(demo::Arguments),
    /// Everything that CI runs; installs what it needs.
    Test(test::Arguments),
    /// Prints figures and writes target/bench/NAME.json.
    Bench(bench::Arguments),
    /// Formatting, lints, licences, advisories: the part of `test` that runs nothing.
    Check,
    /// Starts a Kafka cluster and a schema registry on loopback, and says what a centre's configuration needs.
    KafkaUp(kafka::Arguments),
    /// Ends them.
    KafkaDown,
    /// Installs what builds and tests need, and says where it is.
    Prepare,
}

fn main() -> std::process::ExitCode {
    let result = match Arguments::parse().command {
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Test(arguments) => test::run(&arguments),
        Command::Bench(arguments) => bench::run(&arguments),
        Command::Check => check::run(None),
        Command::KafkaUp(arguments) => kafka::up(&arguments),
        Command::KafkaDown => kafka::down(),
        Command::Prepare => test::prepare(),
    };
    match result {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            project::complain(&format!("error: {error:#}"));
            std::process::ExitCode::FAILURE
        }
    }
}
