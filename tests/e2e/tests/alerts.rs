//! The rules of alerts: they are sound, each fires when it should, speaks of figures that there are, and has its paragraph.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test stops where it fails, in its helpers too"
)]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use common::{Setup, exclusive, wait_until};
use efd_tests_e2e::Sim;
use efd_tests_testkit::install::Installer;
use efd_tests_testkit::process;

const WITHIN: Duration = Duration::from_secs(120);

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../alerts")
}

fn text(name: &str) -> String {
    std::fs::read_to_string(folder().join(name)).unwrap()
}

/// The text behind each `key:`.
fn values<'a>(text: &'a str, key: &str) -> Vec<&'a str> {
    let of_key = |line: &'a str| {
        let line = line.trim_start().trim_start_matches("- ");
        line.strip_prefix(key)?.strip_prefix(": ")
    };
    text.lines().filter_map(of_key).collect()
}

/// `efd_…` and what follows, wherever it stands.
fn metrics_in(text: &str) -> BTreeSet<String> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = text.split(|c: char| !is_name(c));
    let ours = words.filter(|word| word.starts_with("efd_"));
    ours.map(str::to_owned).collect()
}

/// Name to kind and help, of METRICS.md.
fn page() -> BTreeMap<String, (String, String)> {
    let text = text("METRICS.md");
    let rows = text.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| `efd_")?.splitn(3, " | ");
        let name = format!("efd_{}", cells.next()?.trim_end_matches('`'));
        let kind = cells.next()?.to_owned();
        let help = cells.next()?.trim_end_matches(" |").to_owned();
        Some((name, (kind, help)))
    });
    rows.collect()
}

#[test]
fn rules_are_sound_and_each_fires_when_it_should() {
    let promtool = match Installer::new().and_then(|installer| installer.promtool()) {
        Ok(promtool) => promtool,
        Err(error) => return efd_tests_testkit::skip("promtool", &error),
    };
    for words in [
        ["check", "rules", "efd.rules.yml"],
        ["test", "rules", "efd.rules.test.yml"],
    ] {
        let mut command = Command::new(&promtool);
        command.args(words).current_dir(folder());
        let ran = process::run(command, WITHIN).unwrap();
        assert!(
            ran.status.success(),
            "{words:?}: {}{}",
            ran.stdout,
            ran.stderr
        );
    }
    // A rule that never fires is caught.
    let work = efd_tests_testkit::tmp::WorkDir::new("alerts").unwrap();
    let broken = text("efd.rules.yml").replace(
        "efd_edge_link_streaming == 0",
        "efd_edge_link_streaming == 7",
    );
    std::fs::write(work.join("efd.rules.yml"), broken).unwrap();
    std::fs::write(work.join("efd.rules.test.yml"), text("efd.rules.test.yml")).unwrap();
    let mut command = Command::new(&promtool);
    command
        .args(["test", "rules", "efd.rules.test.yml"])
        .current_dir(work.path());
    let ran = process::run(command, WITHIN).unwrap();
    assert!(!ran.status.success());
    assert!(
        ran.stderr.contains("EfdLinkDown"),
        "{}{}",
        ran.stdout,
        ran.stderr
    );
    work.finish().unwrap();
}

#[test]
fn each_alert_has_its_tests_and_its_paragraph() {
    let (rules, tests, runbook) = (
        text("efd.rules.yml"),
        text("efd.rules.test.yml"),
        text("RUNBOOK.md"),
    );
    let alerts = values(&rules, "alert");
    let unique: BTreeSet<&str> = alerts.iter().copied().collect();
    assert_eq!(unique.len(), alerts.len());
    assert!(alerts.len() > 30, "{alerts:?}");
    let paragraphs: BTreeMap<&str, &str> = runbook
        .split("\n### ")
        .skip(1)
        .filter_map(|paragraph| paragraph.split_once('\n'))
        .collect();
    let headings: BTreeSet<&str> = paragraphs.keys().copied().collect();
    assert_eq!(headings, unique);
    for (alert, paragraph) in paragraphs {
        for part in ["**Means.** ", "**Look.** ", "**Do.** ", "**Leave.** "] {
            let said = paragraph
                .split_once(part)
                .map(|(_, said)| said.lines().next().unwrap());
            assert!(said.is_some_and(|said| said.len() > 10), "{alert} {part}");
        }
        // What it refers to is there.
        for word in paragraph.split('`').filter(|word| word.starts_with("Efd")) {
            assert!(unique.contains(word), "{alert} speaks of {word}");
        }
    }
    let runbooks: BTreeSet<String> = values(&rules, "runbook")
        .into_iter()
        .map(str::to_owned)
        .collect();
    let wanted = alerts
        .iter()
        .map(|alert| format!("RUNBOOK.md#{}", alert.to_lowercase()));
    assert_eq!(runbooks, wanted.collect());
    let names = values(&tests, "name");
    for alert in &alerts {
        for way in ["fires", "is silent"] {
            assert!(names.contains(&&*format!("{alert} {way}")), "{alert} {way}");
        }
    }
    assert_eq!(values(&rules, "summary").len(), alerts.len());
    assert_eq!(rules.matches("{severity: ").count(), alerts.len());
}

#[test]
fn rules_and_runbook_speak_of_metrics_that_there_are() {
    let page = page();
    assert!(page.len() > 80);
    for name in ["efd.rules.yml", "RUNBOOK.md"] {
        for metric in metrics_in(&text(name)) {
            assert!(
                page.contains_key(&metric),
                "{name}: {metric} is not in METRICS.md"
            );
        }
    }
}

/// Of daemons that run: none that the page lacks, none without a word.
#[test]
fn what_daemons_show_is_on_the_page() {
    let _turn = exclusive();
    let mut setup = Setup::new("metrics");
    setup.start();
    setup.run_sim(&Sim {
        seconds: 3,
        rate: 200,
        more: Vec::new(),
    });
    assert!(wait_until(WITHIN, || setup.acknowledged()));
    let page = page();
    let central = format!("http://{}", setup.rig.central_http());
    for (daemon, url, prefix) in [
        ("efd-edge", setup.rig.edge_url(), "efd_edge_"),
        ("efd-central", central, "efd_central_"),
    ] {
        let url = format!("{url}/metrics");
        // Queues are looked at once a second.
        let get = || {
            setup
                .rig
                .in_network(|| process::get(&url, WITHIN))
                .unwrap()
                .unwrap()
                .body
        };
        assert!(wait_until(WITHIN, || get().contains("queue_ratio{")));
        let body = get();
        let kinds = body
            .lines()
            .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
        let kinds: BTreeMap<&str, &str> = kinds.collect();
        let helps = body
            .lines()
            .filter_map(|line| line.strip_prefix("# HELP ")?.split_once(' '));
        let mut shown = BTreeSet::new();
        for (name, help) in helps {
            let kind = kinds[name];
            let ending = if kind == "counter" { "_total" } else { "" };
            let name = format!("{name}{ending}");
            let known = page.get(&name);
            let wanted = (kind.to_owned(), help.trim_end_matches('.').to_owned());
            assert_eq!(known, Some(&wanted), "{daemon}: {name}");
            assert!(shown.insert(name.clone()), "{daemon}: {name} twice");
        }
        assert!(
            shown.iter().filter(|name| name.starts_with(prefix)).count() > 30,
            "{daemon}: {shown:?}"
        );
        // And nearly all that the page has: what is absent waits for an occasion.
        let absent: Vec<_> = page
            .keys()
            .filter(|name| name.starts_with(prefix) && !shown.contains(*name))
            .collect();
        println!("{daemon}: {} shown, not yet: {absent:?}", shown.len());
        assert!(absent.len() < 8, "{daemon}: {absent:?}");
    }
    setup.rig.stop().unwrap();
    setup.finish();
}
