//! Runs the tests in lanes side by side: those that start whole systems, those of them whose time is that of clusters which come
//! and go, and all others.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::Value as Json;

use crate::project::{cargo, say, typed};

/// One program of a lane after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Lane {
    /// Programs of ours on a bus of their own.
    Systems,
    /// Such that mostly wait: for outages to be over, seats to change hands, brokers to start.
    Clusters,
    Others,
}

/// Packages whose tests are of the lanes of systems, and which of their programs mostly wait.
const SYSTEMS: [&str; 1] = ["tests/e2e"];
const CLUSTERS: [&str; 3] = ["cluster", "faults", "kafka"];

/// A compiled test program.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Program {
    /// Folder of its package, and name of the target.
    name: String,
    folder: PathBuf,
    path: PathBuf,
}

impl Program {
    /// From a line of cargo's JSON messages, where it is about one.
    fn of(message: &Json) -> Option<Self> {
        let is_test =
            message["reason"] == "compiler-artifact" && message["profile"]["test"] == true;
        let path: PathBuf = message["executable"].as_str().filter(|_| is_test)?.into();
        let manifest = PathBuf::from(message["manifest_path"].as_str()?);
        let folder = manifest.parent()?.to_owned();
        let package = folder.strip_prefix(crate::project::root()).ok()?;
        let (kind, target) = (&message["target"]["kind"][0], &message["target"]["name"]);
        let name = match kind.as_str()? {
            "test" => format!("{}: {}", package.display(), target.as_str()?),
            kind => format!("{}: {kind}", package.display()),
        };
        Some(Self { name, folder, path })
    }

    fn lane(&self) -> Lane {
        if !SYSTEMS.iter().any(|folder| self.folder.ends_with(folder)) {
            return Lane::Others;
        }
        let target = self.name.rsplit(' ').next();
        match target.is_some_and(|target| CLUSTERS.contains(&target)) {
            true => Lane::Clusters,
            false => Lane::Systems,
        }
    }
}

struct Ran {
    program: Program,
    output: Output,
    took: Duration,
}

/// Compiles with `arguments` (of `cargo test`) and runs everything, whatever fails. `equip` gives each test its
/// environment.
pub(crate) fn run(arguments: &[&str], equip: impl Fn(&mut Command) + Sync) -> Result<()> {
    let mut lanes: BTreeMap<Lane, Vec<Program>> = BTreeMap::new();
    for program in compile(arguments)? {
        lanes.entry(program.lane()).or_default().push(program);
    }
    let (done, results) = channel();
    let failed = thread::scope(|scope| {
        for lane in lanes.into_values() {
            let (done, equip) = (done.clone(), &equip);
            scope.spawn(move || {
                for program in lane {
                    if done.send(start(program, equip)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(done);
        tell(&results)
    })?;
    let mut doc = cargo();
    doc.arg("test").args(arguments).args(["--doc", "--quiet"]);
    equip(&mut doc);
    let doc_status = doc.status().with_context(|| typed(&doc))?;
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    if !doc_status.success() {
        bail!("`{}` ended with {doc_status}", typed(&doc));
    }
    Ok(())
}

fn compile(arguments: &[&str]) -> Result<Vec<Program>> {
    let mut command = cargo();
    command
        .arg("test")
        .args(arguments)
        .args(["--no-run", "--message-format", "json-render-diagnostics"])
        .stderr(Stdio::inherit());
    let output = command.output().with_context(|| typed(&command))?;
    if !output.status.success() {
        bail!("`{}` ended with {}", typed(&command), output.status);
    }
    let messages = output.stdout.split(|byte| *byte == b'\n');
    let mut programs: Vec<Program> = messages
        .filter_map(|line| Program::of(&serde_json::from_slice(line).ok()?))
        .collect();
    programs.sort_by(|a, b| a.name.cmp(&b.name));
    if programs.is_empty() {
        bail!("`{}` made no test programs", typed(&command));
    }
    Ok(programs)
}

#[expect(clippy::disallowed_methods, reason = "tells a person how long it took")]
fn start(program: Program, equip: &impl Fn(&mut Command)) -> Result<Ran> {
    let mut command = Command::new(&program.path);
    command.current_dir(&program.folder).stdin(Stdio::null());
    equip(&mut command);
    let began = Instant::now();
    let output = command
        .output()
        .with_context(|| format!("start {}", program.path.display()))?;
    let took = began.elapsed();
    Ok(Ran {
        program,
        output,
        took,
    })
}

/// Prints each as it ends; gives the names of those that failed.
fn tell(results: &Receiver<Result<Ran>>) -> Result<Vec<String>> {
    let mut failed = Vec::new();
    for ran in results {
        let Ran {
            program,
            output,
            took,
        } = ran?;
        let text = [&output.stdout[..], &output.stderr[..]].map(String::from_utf8_lossy);
        say(&format!("─ {} ({took:.1?})", program.name));
        for text in &text {
            let text = text.trim();
            if !text.is_empty() {
                say(text);
            }
        }
        if !output.status.success() {
            say(&format!("─ {} FAILED: {}", program.name, output.status));
            failed.push(program.name);
        }
    }
    Ok(failed)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::project::root;

    #[test]
    fn a_program_is_named_by_its_folder_and_target() {
        let message = |test: bool, kind: &str| {
            json!({
                "reason": "compiler-artifact", "profile": {"test": test}, "executable": "/target/it",
                "manifest_path": root().join("tests/e2e/Cargo.toml"), "target": {"kind": [kind], "name": "rescue"},
            })
        };
        let program = Program::of(&message(true, "test")).unwrap();
        assert_eq!(program.name, "tests/e2e: rescue");
        assert_eq!(program.lane(), Lane::Systems);
        let cluster = Program {
            name: "tests/e2e: cluster".into(),
            ..program.clone()
        };
        assert_eq!(cluster.lane(), Lane::Clusters);
        let other = Program {
            folder: root().join("central/log"),
            ..cluster
        };
        assert_eq!(other.lane(), Lane::Others);
        assert_eq!(
            Program::of(&message(true, "lib")).unwrap().name,
            "tests/e2e: lib"
        );
        assert_eq!(Program::of(&message(false, "bin")), None);
        assert_eq!(Program::of(&json!({"reason": "build-finished"})), None);
    }
}
