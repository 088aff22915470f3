//! Publishers on other vendors' DDS, built of a test's sources with what Debian has of these vendors.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::cache::Pinned;
use super::debian;
use super::unpacked::unpacked;
use super::{Group, InstallError, Installer, at};

/// With which tools, libraries and options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vendor {
    /// Cyclone DDS in C; its writers announce their types.
    Cyclone,
    /// The same without type information.
    CycloneUntyped,
    /// Fast DDS in C++. Whether writers announce types is told them when they start.
    FastDds,
}

impl Vendor {
    fn name(self) -> &'static str {
        match self {
            Self::Cyclone => "publisher-cyclone",
            Self::CycloneUntyped => "publisher-cyclone-untyped",
            Self::FastDds => "publisher-fastdds",
        }
    }
}

const PROGRAM: &str = "publish";

/// The program made of what is in `sources`; IDL files among them, and a `cyclone.c` or a `fastdds.cxx`.
pub(super) fn publisher(
    installer: &Installer,
    vendor: Vendor,
    sources: &Path,
) -> Result<PathBuf, InstallError> {
    debian::provide(installer, Group::Vendors.needs())?;
    let mut texts = Vec::new();
    for entry in fs::read_dir(sources).map_err(at("list", sources))? {
        let path = entry.map_err(at("list", sources))?.path();
        let ending = path.extension().and_then(OsStr::to_str);
        if ending.is_some_and(|ending| ["idl", "h", "c", "cxx"].contains(&ending)) {
            texts.push(fs::read_to_string(&path).map_err(at("read", &path))?);
        }
    }
    texts.sort();
    let pinned = Pinned {
        name: vendor.name(),
        version: "debian",
        by: &texts.iter().map(String::as_str).collect::<Vec<_>>(),
    };
    let folder = installer.cached(&pinned, |folder| {
        let workshop = Workshop {
            installer,
            sources,
            folder,
        };
        match vendor {
            Vendor::Cyclone => workshop.cyclone(&[]),
            Vendor::CycloneUntyped => workshop.cyclone(&["-t"]),
            Vendor::FastDds => workshop.fastdds(),
        }
    })?;
    Ok(folder.join(PROGRAM))
}

struct Workshop<'a> {
    installer: &'a Installer,
    sources: &'a Path,
    folder: &'a Path,
}

impl Workshop<'_> {
    fn cyclone(&self, options: &[&str]) -> Result<(), InstallError> {
        let files = ["dialects", "masks", "xtypes"];
        for file in files {
            let mut idlc = self.command("idlc");
            idlc.args(options).args(["-f", "case-sensitive", "-I"]);
            idlc.arg(self.sources)
                .arg(self.sources.join(file).with_extension("idl"));
            self.run("idlc", idlc)?;
        }
        // Installed, it would bring iceoryx, of which a Cyclone DDS that is built here would take note, and fail.
        let headers = unpacked(self.installer, "cyclonedds-dev")?.join("usr/include");
        let mut cc = self.command("cc");
        cc.args(["-std=gnu11", "-O1", "-o", PROGRAM, "-I.", "-I"])
            .arg(self.sources);
        let entries = fs::read_dir(&headers).map_err(at("list", &headers))?;
        let of_machine = entries.filter_map(|entry| Some(entry.ok()?.path()));
        let of_machine = of_machine.filter(|path| path.to_string_lossy().ends_with("-linux-gnu"));
        for folder in of_machine.chain([headers.clone()]) {
            cc.arg("-I").arg(folder);
        }
        cc.arg(self.sources.join("cyclone.c"))
            .args(files.map(|file| format!("{file}.c")))
            .arg("-l:libddsc.so.0debian");
        self.run("the publisher on Cyclone DDS", cc)
    }

    fn fastdds(&self) -> Result<(), InstallError> {
        for (file, options) in [("dialects", &["-typeobject"][..]), ("maps", &[])] {
            let mut generate = self.command("fastddsgen");
            generate
                .args(["-cs", "-replace", "-d", ".", "-I"])
                .arg(self.sources)
                .args(options)
                .arg(self.sources.join(file).with_extension("idl"));
            self.run("fastddsgen", generate)?;
        }
        let mut cxx = self.command("c++");
        cxx.args(["-std=c++17", "-O0", "-w", "-o", PROGRAM, "-I.", "-I"])
            .arg(self.sources)
            .arg(self.sources.join("fastdds.cxx"));
        let parts = ["", "PubSubTypes", "TypeObject"];
        cxx.args(parts.map(|part| format!("dialects{part}.cxx")))
            .args(["maps.cxx", "mapsPubSubTypes.cxx"])
            .args(["-lfastrtps", "-lfastcdr", "-lpthread"]);
        self.run("the publisher on Fast DDS", cxx)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.folder);
        command
    }

    fn run(&self, what: &str, command: Command) -> Result<(), InstallError> {
        self.installer.run(what, command).map(drop)
    }
}
