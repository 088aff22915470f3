//! Debian packages, asked for only when what they bring is not there.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use std::{env, fs};

use super::{InstallError, Installer, venv};
use crate::clock;
use crate::process;

/// Packages that go together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// To build the workspace: librdkafka (configure and make; its C++ half is built along), SQLite, zstd and ring (C),
    /// Cyclone DDS (cmake), its bindings (libclang), TLS and SCRAM to Kafka (OpenSSL).
    Build,
    /// To run the services and checkers of the tests.
    Services,
    /// To build publishers on other vendors' DDS.
    Vendors,
}

impl Group {
    pub(super) fn needs(self) -> &'static [Need] {
        match self {
            Self::Build => &[
                Need::CCompiler,
                Need::CxxCompiler,
                Need::Make,
                Need::Cmake,
                Need::Libclang,
                Need::OpenSsl,
            ],
            Self::Services => &[
                Need::Java,
                Need::Maven,
                Need::PythonVenv,
                Need::Ip,
                Need::Ext4,
                Need::Chromium,
            ],
            Self::Vendors => &[
                Need::CCompiler,
                Need::CxxCompiler,
                Need::Cyclone,
                Need::FastDds,
            ],
        }
    }
}

/// One thing that must be there, however it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    CCompiler,
    CxxCompiler,
    Make,
    Cmake,
    Libclang,
    OpenSsl,
    Java,
    Maven,
    PythonVenv,
    Ip,
    Ext4,
    Chromium,
    Cyclone,
    FastDds,
}

impl Need {
    fn name(self) -> &'static str {
        match self {
            Self::CCompiler => "a C compiler with headers",
            Self::CxxCompiler => "a C++ compiler",
            Self::Make => "make",
            Self::Cmake => "cmake",
            Self::Libclang => "libclang",
            Self::OpenSsl => "OpenSSL with headers, and pkg-config",
            Self::Java => "Java 17 or newer",
            Self::Maven => "Maven",
            Self::PythonVenv => "Python 3.11 or newer with venv",
            Self::Ip => "ip (iproute2)",
            Self::Ext4 => "mkfs.ext4, mount and fsfreeze",
            Self::Chromium => "Chromium",
            Self::Cyclone => "idlc and ddsperf of Cyclone DDS",
            Self::FastDds => "Fast DDS with fastddsgen",
        }
    }

    fn packages(self) -> &'static [&'static str] {
        match self {
            Self::CCompiler => &["gcc", "libc6-dev"],
            Self::CxxCompiler => &["g++"],
            Self::Make => &["make"],
            Self::Cmake => &["cmake"],
            Self::Libclang => &["libclang-dev"],
            Self::OpenSsl => &["libssl-dev", "pkg-config"],
            Self::Java => &["default-jre-headless"],
            Self::Maven => &["maven"],
            Self::PythonVenv => &["python3-venv"],
            Self::Ip => &["iproute2"],
            Self::Ext4 => &["e2fsprogs", "mount", "util-linux"],
            Self::Chromium => &["chromium"],
            Self::Cyclone => &["cyclonedds-tools"],
            Self::FastDds => &["fastddsgen", "libfastrtps-dev", "libfastcdr-dev"],
        }
    }

    /// Asks the thing itself, so that one installed by other means counts.
    fn is_met(self) -> bool {
        match self {
            // A compiler without the C library's headers is no use and does exist.
            Self::CCompiler => succeeds("cc", &["-E", "-include", "stdio.h", "-xc", "/dev/null"]),
            Self::CxxCompiler => {
                succeeds("c++", &["-E", "-include", "cstdio", "-xc++", "/dev/null"])
            }
            Self::Make => succeeds("make", &["--version"]),
            Self::Cmake => succeeds("cmake", &["--version"]),
            Self::Libclang => libclang_is_found(),
            Self::OpenSsl => succeeds("pkg-config", &["--exists", "openssl"]),
            Self::Java => said("java", &["-version"])
                .and_then(|said| java_major(&said))
                .is_some_and(|major| major >= 17),
            Self::Maven => succeeds("mvn", &["--version"]),
            Self::PythonVenv => venv::base_interpreter().is_some(),
            Self::Ip => in_sbin("ip") || succeeds("ip", &["-V"]),
            Self::Ext4 => ["mkfs.ext4", "fsfreeze"].into_iter().all(in_sbin),
            Self::Chromium => Path::new("/usr/bin/chromium").exists(),
            Self::Cyclone => {
                let programs = ["idlc", "ddsperf"].map(|name| Path::new("/usr/bin").join(name));
                programs.iter().all(|path| path.exists())
            }
            Self::FastDds => {
                Path::new("/usr/bin/fastddsgen").exists()
                    && has_header("fastdds/dds/domain/DomainParticipant.hpp")
                    && has_header("fastcdr/Cdr.h")
            }
        }
    }
}

fn has_header(name: &str) -> bool {
    Path::new("/usr/include").join(name).exists()
}

/// Whose folders are not in every user's PATH.
fn in_sbin(program: &str) -> bool {
    ["/usr/sbin", "/sbin"]
        .iter()
        .any(|folder| Path::new(folder).join(program).exists())
}

/// Installs what of `needs` is missing.
pub(super) fn provide(installer: &Installer, needs: &[Need]) -> Result<(), InstallError> {
    if missing(needs).is_empty() {
        return Ok(());
    }
    let _lock = installer.lock("packages")?;
    let missing_needs = missing(needs);
    if missing_needs.is_empty() {
        return Ok(());
    }
    let named = names(&missing_needs);
    let packages: Vec<&str> = missing_needs
        .iter()
        .flat_map(|need| need.packages())
        .copied()
        .collect();
    if !succeeds("apt-get", &["--version"]) {
        return Err(InstallError::NotDebian {
            missing: named,
            packages: packages.join(" "),
        });
    }
    let Some(privilege) = Privilege::of_this_user() else {
        let by_hand = format!(
            "sudo apt-get update && sudo apt-get install -y --no-install-recommends {}",
            packages.join(" ")
        );
        return Err(InstallError::NotPermitted {
            missing: named,
            by_hand,
        });
    };

    let begun = clock::now();
    installer.report(&format!(
        "missing: {named}; apt-get installs {}",
        packages.join(" ")
    ));
    let update = || installer.run("package lists", privilege.apt_get(&["update"]));
    let fresh = !lists_exist();
    if fresh {
        update()?;
    }
    let install = || {
        let mut command = privilege.apt_get(&["install", "-y", "--no-install-recommends"]);
        command.args(&packages);
        command
    };
    let outcome = installer.run(&named, install());
    if outcome.is_err() && !fresh {
        // Old lists name package files that the mirror no longer has.
        update()?;
        installer.run(&named, install())?;
    } else {
        outcome?;
    }
    let still = missing(&missing_needs);
    if !still.is_empty() {
        return Err(InstallError::StillMissing {
            missing: names(&still),
            command: process::typed(&install()),
        });
    }
    installer.report(&format!(
        "packages installed in {:.1} s",
        clock::now().duration_since(begun).as_secs_f64()
    ));
    Ok(())
}

/// Lists of what the mirrors have at present.
pub(super) fn update(installer: &Installer) -> Result<(), InstallError> {
    let by_hand = "sudo apt-get update".to_owned();
    let Some(privilege) = Privilege::of_this_user() else {
        return Err(InstallError::NotPermitted {
            missing: "package lists".into(),
            by_hand,
        });
    };
    installer.run("package lists", privilege.apt_get(&["update"]))?;
    Ok(())
}

fn missing(needs: &[Need]) -> Vec<Need> {
    needs
        .iter()
        .copied()
        .filter(|need| !need.is_met())
        .collect()
}

fn names(needs: &[Need]) -> String {
    needs
        .iter()
        .map(|need| need.name())
        .collect::<Vec<_>>()
        .join(", ")
}

#[derive(Clone, Copy)]
enum Privilege {
    Root,
    Sudo,
}

impl Privilege {
    fn of_this_user() -> Option<Self> {
        // SAFETY: geteuid always succeeds and reads no memory of ours.
        if unsafe { libc::geteuid() } == 0 {
            return Some(Self::Root);
        }
        succeeds("sudo", &["-n", "true"]).then_some(Self::Sudo)
    }

    fn apt_get(self, arguments: &[&str]) -> Command {
        // `env` sets the variable behind sudo too, and shows it in the line to type.
        let mut command = match self {
            Self::Root => Command::new("env"),
            Self::Sudo => {
                let mut command = Command::new("sudo");
                command.args(["-n", "env"]);
                command
            }
        };
        command.args([
            "DEBIAN_FRONTEND=noninteractive",
            "apt-get",
            "-q",
            "-o",
            "DPkg::Lock::Timeout=600",
        ]);
        command.args(arguments);
        command
    }
}

/// A fresh image (a container's above all) has no package lists, and apt-get then knows no package.
fn lists_exist() -> bool {
    let entries = fs::read_dir("/var/lib/apt/lists")
        .into_iter()
        .flatten()
        .flatten();
    entries
        .into_iter()
        .any(|entry| entry.file_name().to_string_lossy().contains("_Packages"))
}

/// Long enough for a JVM on a busy machine.
const PROBE_WITHIN: Duration = Duration::from_secs(60);

fn succeeds(program: &str, arguments: &[&str]) -> bool {
    said(program, arguments).is_some()
}

/// What the program printed, both streams; `None` when it is not there or fails.
pub(super) fn said(program: &str, arguments: &[&str]) -> Option<String> {
    let mut command = Command::new(program);
    command.args(arguments);
    let captured = process::run(command, PROBE_WITHIN).ok()?;
    captured
        .status
        .success()
        .then(|| captured.stdout + &captured.stderr)
}

/// Of `openjdk version "17.0.15" 2025-04-15`, also of `"21" 2023-09-19` and of `"1.8.0_392"`.
pub(super) fn java_major(said: &str) -> Option<u32> {
    let version = said.split_once("version \"")?.1;
    let digits = version.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

/// As bindgen looks for it: the library, and the compiler's own headers (`stddef.h`) that come in another package.
fn libclang_is_found() -> bool {
    if env::var_os("LIBCLANG_PATH").is_some() {
        return true;
    }
    let llvm = folders_in("/usr/lib", "llvm");
    let multiarch = folders_in("/usr/lib", "")
        .into_iter()
        .filter(|path| path.to_string_lossy().ends_with("-linux-gnu"));
    let fixed = ["/usr/lib", "/usr/lib64", "/usr/local/lib"].map(PathBuf::from);
    let library = llvm
        .iter()
        .map(|path| path.join("lib"))
        .chain(multiarch)
        .chain(fixed)
        .any(|folder| {
            entries(&folder).iter().any(|name| {
                name.starts_with("libclang.so")
                    || name.starts_with("libclang-") && name.contains(".so")
            })
        });
    let headers = llvm
        .iter()
        .map(|path| path.join("lib/clang"))
        .chain([PathBuf::from("/usr/lib/clang")])
        .any(|versions| {
            entries(&versions)
                .iter()
                .any(|version| versions.join(version).join("include/stddef.h").exists())
        });
    library && headers
}

fn folders_in(parent: &str, prefix: &str) -> Vec<PathBuf> {
    let parent = Path::new(parent);
    entries(parent)
        .into_iter()
        .filter(|name| name.starts_with(prefix))
        .map(|name| parent.join(name))
        .collect()
}

fn entries(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}
