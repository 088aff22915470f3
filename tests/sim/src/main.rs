//! SAL traffic from IDL files, with an oracle of values; and the account of what became of it.
//!
//! In:  IDL files, rates, a seed. Out: samples on the bus, and an oracle written down before they were encoded.
//!
//! Absent: the code under test. Encoding is this crate's own; the account reads a lake's files with plain Parquet readers.

mod account;
mod cdr;
mod faults;
mod oracle;
mod publish;
mod traffic;
mod values;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use serde_json::{Map, Value as Json};

#[derive(Debug, Parser)]
#[command(
    name = "efd-sim",
    version,
    about = "SAL traffic from IDL files, with an oracle of values",
    max_term_width = 100
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Publish: writers, partitions, QoS and private fields as SAL has them.
    Publish(Box<publish::Arguments>),
    /// Count a lake against the oracle: published, stored, lost by name, missing, and what should not be. Exit code 2 if
    /// the law is broken: something is missing, stored and also named, stored twice, or stored or named and never
    /// published. Rows of evicted blocks that `arrived` all the same break nothing.
    Account {
        #[arg(long)]
        oracle: PathBuf,
        #[arg(long)]
        lake: PathBuf,
        /// One JSON object, with `lines` by topic.
        #[arg(long)]
        json: bool,
    },
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Publish(arguments) => publish::run(&arguments).map(|()| ExitCode::SUCCESS),
        Command::Account { oracle, lake, json } => account(&oracle, &lake, json),
    };
    result.unwrap_or_else(|error| {
        complain(&format!("error: {error:#}"));
        ExitCode::FAILURE
    })
}

fn account(oracle: &std::path::Path, lake: &std::path::Path, as_json: bool) -> Result<ExitCode> {
    let account = account::account(oracle, lake)?;
    let lines = account.topics.iter();
    if as_json {
        let mut json = account.to_json();
        let lines: Map<String, Json> = lines
            .map(|(topic, line)| (topic.clone(), line.to_json()))
            .collect();
        json["lines"] = lines.into();
        say(&json.to_string());
    } else {
        for (topic, line) in lines {
            say(&format!("{topic}: {}", line.to_json()));
        }
        say(&format!("total: {}", account.to_json()));
    }
    Ok(if account.keeps_the_law() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(2)
    })
}

#[expect(clippy::print_stdout, reason = "a command for people at a terminal")]
fn say(line: &str) {
    println!("{line}");
}

#[expect(clippy::print_stderr, reason = "a command for people at a terminal")]
fn complain(line: &str) {
    eprintln!("{line}");
}
