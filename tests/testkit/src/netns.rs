//! Private networks: loopback and multicast that no other test hears, so DDS buses do not meet.
//!
//! A namespace lives as long as a descriptor of it or a process in it; no helper process stays behind, and nothing is
//! written under `/run`. Without root the kernel may allow a user namespace around it, in which the test appears as
//! root; [`NamespaceError::Refused`] says when it does not.

mod kernel;
#[cfg(test)]
mod tests;

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;
use std::{env, fs, panic, thread};

use crate::process::{self, ProcessError, die_with_parent};
use crate::tmp::WorkDir;

/// Why there is no private network.
#[derive(Debug, thiserror::Error)]
pub enum NamespaceError {
    #[error(
        "private network namespaces need CAP_SYS_ADMIN, or a kernel that allows user namespaces"
    )]
    Refused(#[source] io::Error),
    #[error("{action}")]
    Kernel {
        action: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("join two namespaces: `{command}`: {stderr} (Debian package iproute2)")]
    Join { command: String, stderr: String },
    #[error(transparent)]
    Process(#[from] ProcessError),
}

/// What [`enter`] achieved.
#[derive(Debug)]
pub enum Entered {
    /// This process, and every thread and child it starts from here on, has a network of its own.
    Private,
    /// The network is the machine's.
    Refused(io::Error),
}

/// Moves the calling process into a private network. Call it first thing in `main` of a test with `harness = false`:
/// only the calling thread, and what it starts later, moves.
///
/// # Errors
/// When the namespace was made but could not be set up: the process is then in a network that does not work.
pub fn enter() -> Result<Entered, NamespaceError> {
    let plan = kernel::Plan::for_this_user();
    match plan.unshare() {
        Ok(()) => {}
        Err(refused) => return Ok(Entered::Refused(refused)),
    }
    plan.set_up().map_err(|source| NamespaceError::Kernel {
        action: "set up the private network",
        source,
    })?;
    Ok(Entered::Private)
}

/// Runs the body of a `#[test]` inside a private network, by running this test alone in a child process. `test` is its
/// full path as `cargo test` prints it. Sockets, daemons, relays and checkers of the body all live in that network, and
/// tests of one binary run side by side without meeting. There is no way out: install what is needed before.
///
/// ```no_run
/// # use efd_tests_testkit::{install::Installer, netns};
/// #[test]
/// fn survives_a_cut() {
///     Installer::new().unwrap().kafka().unwrap();
///     netns::isolated("survives_a_cut", || { /* … */ });
/// }
/// ```
/// Where private networks are refused, the test is [skipped](crate::skip).
///
/// # Panics
/// When the body fails, `test` names no test, or the network cannot be set up: it is a test's assertion.
pub fn isolated(test: &str, body: impl FnOnce()) {
    const WITNESS: &str = "EFD_TEST_ISOLATED";
    if let Some(witness) = env::var_os(WITNESS) {
        fs::write(witness, test)
            .unwrap_or_else(|error| panic!("{test}: leave the witness: {error}"));
        return body();
    }
    let namespace = match Namespace::new() {
        Ok(namespace) => namespace,
        Err(refused @ NamespaceError::Refused(_)) => return crate::skip(test, &refused),
        Err(error) => panic!("{test}: {error:?}"),
    };
    let work =
        WorkDir::new("isolated").unwrap_or_else(|error| panic!("{test}: make a folder: {error}"));
    let outcome = run_alone(&namespace, test, (WITNESS, work.join("witness")));
    let ran = work.join("witness").exists();
    work.finish()
        .unwrap_or_else(|error| panic!("{test}: remove the folder: {error}"));
    match outcome {
        Ok(true) => assert!(
            ran,
            "{test} is not the name of the test that called `isolated`: nothing was run"
        ),
        Ok(false) => panic!("{test} failed in its private network; see above"),
        Err(error) => panic!("{test}: run it in its private network: {error}"),
    }
}

#[expect(
    clippy::print_stdout,
    reason = "what the child prints is this test's output, captured as such"
)]
fn run_alone(namespace: &Namespace, test: &str, witness: (&str, PathBuf)) -> io::Result<bool> {
    let (reader, writer) = io::pipe()?;
    let mut command = namespace.command(env::current_exe()?);
    // `--include-ignored`: a test that is ignored by default got here because somebody asked for it.
    command.args([
        "--exact",
        test,
        "--nocapture",
        "--include-ignored",
        "--test-threads=1",
    ]);
    command
        .env(witness.0, witness.1)
        .stdin(Stdio::null())
        .stdout(writer.try_clone()?)
        .stderr(writer);
    let mut child = die_with_parent(&mut command).spawn()?;
    drop(command); // our ends of the pipe: with them open there is no end of file
    for line in BufReader::new(reader).split(b'\n') {
        println!("{}", String::from_utf8_lossy(&line?));
    }
    Ok(child.wait()?.success())
}

/// A private network with loopback up and multicast routed to it. Clones are handles to the same one.
#[derive(Clone, Debug)]
pub struct Namespace {
    network: Arc<File>,
    /// The user namespace that owns it, where the test does not run as root.
    user: Option<Arc<File>>,
}

impl Namespace {
    /// # Errors
    /// [`NamespaceError::Refused`] where the kernel does not allow it.
    pub fn new() -> Result<Self, NamespaceError> {
        Self::make(None)
    }

    /// A command that will run in this network. Add arguments, then [`Daemon::start`](process::Daemon::start) or
    /// [`process::run`] it, or spawn it yourself.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        self.place(&mut command);
        command
    }

    /// Moves an existing command into this network.
    pub fn place(&self, command: &mut Command) {
        let namespace = self.clone();
        // SAFETY: between fork and exec the closure makes system calls only; it allocates nothing.
        unsafe { command.pre_exec(move || namespace.join()) };
    }

    /// Runs `work` on a thread inside this network and returns what it returns: to open a socket there, to ask a
    /// daemon's `/readyz`. A panic in `work` goes on in the caller.
    ///
    /// # Errors
    /// Without root (or outside [`isolated`]) the kernel lets no thread of a larger process change networks.
    pub fn on_thread<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, NamespaceError> {
        let outcome = thread::scope(|scope| {
            scope
                .spawn(|| {
                    kernel::join(self.network.as_raw_fd(), libc::CLONE_NEWNET).map_err(
                        |source| NamespaceError::Kernel {
                            action: "move a thread to a network",
                            source,
                        },
                    )?;
                    Ok(work())
                })
                .join()
        });
        outcome.unwrap_or_else(|panicked| panic::resume_unwind(panicked))
    }

    fn make(owner: Option<&Self>) -> Result<Self, NamespaceError> {
        let plan = owner.map_or_else(kernel::Plan::for_this_user, |_| {
            kernel::Plan::network_only()
        });
        // A child makes the namespace, because only a process of one thread may make a user namespace. It waits until
        // we hold descriptors of what it made, and ends when its standard input closes.
        let mut holder = Command::new("cat");
        holder
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        if let Some(user) = owner.and_then(|owner| owner.user.clone()) {
            // SAFETY: one system call between fork and exec.
            unsafe { holder.pre_exec(move || kernel::join(user.as_raw_fd(), libc::CLONE_NEWUSER)) };
        }
        let in_user_namespace = plan.makes_user_namespace();
        // SAFETY: the plan holds everything it needs; between fork and exec it makes system calls only.
        unsafe {
            holder.pre_exec(move || {
                plan.unshare()?;
                plan.set_up()
            });
        }
        let mut holder = die_with_parent(&mut holder)
            .spawn()
            .map_err(NamespaceError::Refused)?;
        let open = |kind| File::open(format!("/proc/{}/ns/{kind}", holder.id())).map(Arc::new);
        let network = open("net");
        let user = if in_user_namespace {
            open("user").map(Some)
        } else {
            Ok(owner.and_then(|owner| owner.user.clone()))
        };
        drop(holder.stdin.take());
        let failed = |action| move |source| NamespaceError::Kernel { action, source };
        holder
            .wait()
            .map_err(failed("end the process that made the namespace"))?;
        Ok(Self {
            network: network.map_err(failed("hold the network namespace"))?,
            user: user.map_err(failed("hold the user namespace"))?,
        })
    }

    /// Moves the calling thread; async-signal-safe.
    fn join(&self) -> io::Result<()> {
        if let Some(user) = &self.user {
            kernel::join(user.as_raw_fd(), libc::CLONE_NEWUSER)?;
        }
        kernel::join(self.network.as_raw_fd(), libc::CLONE_NEWNET)
    }
}

/// Two private networks joined by a cable: a site and the centre.
#[derive(Debug)]
pub struct Pair {
    pub near: Namespace,
    pub far: Namespace,
}

impl Pair {
    /// The address of the near end of the cable.
    pub const NEAR: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
    /// The address of the far end.
    pub const FAR: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);

    /// Needs the command `ip` (Debian package iproute2).
    ///
    /// # Errors
    /// As [`Namespace::new`]; and [`NamespaceError::Join`].
    pub fn new() -> Result<Self, NamespaceError> {
        let near = Namespace::new()?;
        let far = Namespace::make(Some(&near))?;
        let far_file = format!(
            "/proc/{}/fd/{}",
            std::process::id(),
            far.network.as_raw_fd()
        );
        ip(
            &near,
            &[
                "link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns", &far_file,
            ],
        )?;
        for (end, address) in [(&near, Self::NEAR), (&far, Self::FAR)] {
            ip(
                end,
                &["address", "add", &format!("{address}/24"), "dev", "cable"],
            )?;
            ip(end, &["link", "set", "cable", "up"])?;
        }
        Ok(Self { near, far })
    }
}

fn ip(namespace: &Namespace, arguments: &[&str]) -> Result<(), NamespaceError> {
    // The search path of a user who is not root often lacks the folder of `ip`.
    let program = ["/usr/sbin/ip", "/sbin/ip"]
        .into_iter()
        .find(|path| fs::exists(path).unwrap_or(false))
        .unwrap_or("ip");
    let mut command = namespace.command(program);
    command.args(arguments);
    let typed = process::typed(&command);
    let captured = process::run(command, Duration::from_secs(30))?;
    if captured.status.success() {
        return Ok(());
    }
    Err(NamespaceError::Join {
        command: typed,
        stderr: captured.stderr.trim().to_owned(),
    })
}
