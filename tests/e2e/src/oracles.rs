//! What several publishers published, one after the other.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use serde_json::Value as Json;

use crate::Rig;

/// Oracles of publishers that have ended.
#[derive(Debug, Default)]
pub struct Oracles {
    folders: Vec<PathBuf>,
}

impl Oracles {
    /// Makes room for the oracle of the next publisher.
    pub fn set_aside(&mut self, rig: &Rig) -> Result<()> {
        let aside = rig.folder().join(format!("oracle-{}", self.folders.len()));
        fs::rename(rig.oracle(), &aside)
            .with_context(|| format!("move the oracle to {}", aside.display()))?;
        self.folders.push(aside);
        Ok(())
    }

    /// Gives the rig's account the oracle of all: publishers differ by their process, so it is the list of all.
    pub fn merge(&self, rig: &Rig) -> Result<()> {
        let name = "publishers.json";
        let mut all = Vec::new();
        for folder in &self.folders {
            let path = folder.join(name);
            let text = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
            let list: Vec<Json> = serde_json::from_slice(&text)
                .with_context(|| format!("parse {}", path.display()))?;
            all.extend(list);
        }
        fs::create_dir_all(rig.oracle())?;
        fs::write(rig.oracle().join(name), serde_json::to_vec(&all)?)?;
        Ok(())
    }
}
