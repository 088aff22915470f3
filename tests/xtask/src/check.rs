//! What can be checked without running anything: formatting, lints, licences, advisories.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use serde_json::Value as Json;

use crate::generated;
use crate::project::{Profile, cargo, metadata, root, say, succeed, target_folder};
use crate::test::FEATURES;

/// `skips`: where to list what is left out.
pub(crate) fn run(skips: Option<&Path>) -> Result<()> {
    succeed(cargo().args(["fmt", "--all", "--check"])).context("format with `cargo fmt --all`")?;
    licences()?;
    advisories(skips)?;
    succeed(cargo().args([
        "clippy",
        "--locked",
        "--workspace",
        "--all-targets",
        "--features",
        FEATURES,
        "--",
        "-D",
        "warnings",
    ]))?;
    generated::settle(&target_folder()?.join(Profile::Dev.folder()))
}

/// Every dependency's licence must be in the list of `deny.toml`, and none may be in its list of bans.
fn licences() -> Result<()> {
    let text = std::fs::read_to_string(root().join("deny.toml")).context("read deny.toml")?;
    let rules: toml::Table = text.parse().context("parse deny.toml")?;
    let names = |section: &str, key: &str| {
        let list = rules
            .get(section)
            .and_then(|section| section.get(key))
            .and_then(toml::Value::as_array);
        list.with_context(|| format!("deny.toml: no list {section}.{key}"))
    };
    let allowed: BTreeSet<&str> = names("licenses", "allow")?
        .iter()
        .filter_map(toml::Value::as_str)
        .collect();
    let banned: BTreeSet<&str> = names("bans", "deny")?
        .iter()
        .filter_map(|ban| ban.get("crate")?.as_str())
        .collect();
    let metadata = metadata()?;
    let packages = metadata["packages"].as_array().context("packages")?;
    let mut faults = Vec::new();
    for package in packages {
        let name = package["name"].as_str().unwrap_or_default();
        let version = package["version"].as_str().unwrap_or_default();
        if banned.contains(name) {
            faults.push(format!("{name} {version} is banned by deny.toml"));
        }
        if let Err(why) = licence_of(package, &allowed) {
            faults.push(format!("{name} {version}: {why}"));
        }
    }
    if !faults.is_empty() {
        bail!("licences:\n  {}", faults.join("\n  "));
    }
    say(&format!(
        "licences: {} packages, all within deny.toml",
        packages.len()
    ));
    Ok(())
}

fn licence_of(package: &Json, allowed: &BTreeSet<&str>) -> Result<()> {
    let Some(expression) = package["license"].as_str() else {
        bail!("states no licence");
    };
    let parsed = spdx::Expression::parse_mode(expression, spdx::ParseMode::LAX)
        .with_context(|| format!("licence `{expression}`"))?;
    if parsed.evaluate(|requirement| allowed.contains(requirement.to_string().as_str())) {
        Ok(())
    } else {
        bail!("licence `{expression}` is not in deny.toml")
    }
}

/// By cargo-deny where it and its database are at hand; says so where they are not.
fn advisories(skips: Option<&Path>) -> Result<()> {
    let present = cargo()
        .args(["deny", "--version"])
        .output()
        .is_ok_and(|output| output.status.success());
    let database = std::env::var_os("CARGO_HOME")
        .map(std::path::PathBuf::from)
        .or_else(|| Some(std::path::PathBuf::from(std::env::var_os("HOME")?).join(".cargo")))
        .map(|home| home.join("advisory-dbs"));
    if !present || database.is_none_or(|folder| !folder.is_dir()) {
        let why = "cargo-deny or its database is not at hand";
        say(&format!("advisories: SKIPPED: {why}"));
        if let Some(list) = skips {
            let add = efd_tests_testkit::skips::add(list, "advisories", &why);
            add.with_context(|| format!("add to {}", list.display()))?;
        }
        return Ok(());
    }
    succeed(cargo().args(["deny", "--offline", "check", "advisories"]))
}
