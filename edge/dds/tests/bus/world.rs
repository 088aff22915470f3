//! The network the tests run on, other processes, and helpers to wait with.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use efd_edge_dds::{
    Consumer, DomainConfig, Durability, InvalidSamples, KeyBuf, Keying, Multicast, Ownership,
    Participant, ReaderSpec, Reliability, Ring, RingLimits, Sample, Writer, WriterSpec,
};

/// Set in the process that runs inside the namespace.
const INSIDE: &str = "EFD_DDS_TEST_NAMESPACE";
/// Generous: the machine may be busy with other builds.
pub(crate) const SOON: Duration = Duration::from_secs(60);

/// How to reach the others.
#[derive(Clone, Copy, Debug)]
pub(crate) struct World {
    private: bool,
}

impl World {
    /// Runs this program again in a namespace of its own and returns its exit code, unless already there or not permitted.
    pub(crate) fn enter(args: &[String]) -> Result<Self, ExitCode> {
        if std::env::var_os(INSIDE).is_some() {
            for line in [
                "link set lo up",
                "link set lo multicast on",
                "route add 224.0.0.0/4 dev lo",
            ] {
                let done = Command::new("ip")
                    .args(line.split(' '))
                    .status()
                    .is_ok_and(|status| status.success());
                assert!(done, "ip {line}");
            }
            return Ok(Self { private: true });
        }
        let permitted = |program: &str, args: &[&str]| {
            let run = Command::new(program)
                .args(args)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status();
            run.is_ok_and(|status| status.success())
        };
        if !permitted("unshare", &["-n", "true"]) || !permitted("ip", &["-V"]) {
            println!("no network namespace here: on the host's lo, without multicast");
            return Ok(Self { private: false });
        }
        let program = std::env::current_exe().unwrap();
        let status = Command::new("unshare")
            .arg("-n")
            .arg(program)
            .args(args)
            .env(INSIDE, "1")
            .status()
            .unwrap();
        Err(if status.success() {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }

    /// As known to a child, which runs where its parent does.
    fn of_child() -> Self {
        Self {
            private: std::env::var_os(INSIDE).is_some(),
        }
    }

    pub(crate) fn config(&self) -> DomainConfig {
        let common = DomainConfig {
            interface: Some("lo".into()),
            ..DomainConfig::default()
        };
        if self.private {
            return common;
        }
        DomainConfig {
            domain_id: 77,
            multicast: Multicast::Off,
            peers: vec!["127.0.0.1".into()],
            participant_index_max: 30,
            ..common
        }
    }

    pub(crate) fn participant(&self) -> Participant {
        Participant::open(&self.config()).unwrap()
    }
}

/// Another process: this program in a role. It ends when we close its standard input.
pub(crate) struct Other {
    process: Child,
    says: BufReader<ChildStdout>,
}

impl Other {
    pub(crate) fn start(role: &[&str]) -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .arg("child")
            .args(role)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let says = BufReader::new(process.stdout.take().unwrap());
        Self { process, says }
    }

    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.says.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .args([name, &self.process.id().to_string()])
            .status()
            .unwrap();
        assert!(sent.success());
    }

    /// Tells it to end, and returns what it says then.
    pub(crate) fn end(mut self) -> String {
        drop(self.process.stdin.take());
        let mut rest = String::new();
        self.says.read_to_string(&mut rest).unwrap();
        rest
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        // Already gone where the test went well.
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// Waits for the parent to close our standard input.
pub(crate) fn until_told() {
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
}

pub(crate) fn run_child(role: &[String]) -> ExitCode {
    let world = World::of_child();
    let words: Vec<&str> = role.iter().map(String::as_str).collect();
    match words[..] {
        ["idle"] => crate::lifecycle::be_idle(&world),
        ["watch"] => crate::lifecycle::be_watching(),
        ["publish", topics, rate, size] => {
            crate::figures::be_publishing(
                &world,
                topics.parse().unwrap(),
                rate.parse().unwrap(),
                size.parse().unwrap(),
            );
        }
        _ => panic!("unknown role {words:?}"),
    }
    ExitCode::SUCCESS
}

#[expect(
    clippy::disallowed_methods,
    reason = "tests on a real network wait in real time"
)]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Asks every 10 ms; fails after [`SOON`].
pub(crate) fn wait_for(what: &str, mut done: impl FnMut() -> bool) -> Duration {
    let began = now();
    while !done() {
        assert!(began.elapsed() < SOON, "no {what} within {SOON:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
    began.elapsed()
}

/// Exactly `count` samples: waits for them, then a little for any that should not come.
pub(crate) fn collect(consumer: &mut Consumer, count: usize) -> Vec<Sample> {
    let mut samples = Vec::new();
    wait_for(&format!("{count} samples"), || {
        consumer.pop(&mut samples, 10_000, Duration::from_millis(10));
        samples.len() >= count
    });
    consumer.pop(&mut samples, 10_000, Duration::from_millis(100));
    assert_eq!(samples.len(), count);
    samples
}

pub(crate) const RELIABLE: Reliability = Reliability::Reliable {
    max_blocking: Duration::from_secs(10),
};

/// Reliable, volatile, shared, keyless.
pub(crate) fn read(topic: &str) -> ReaderSpec {
    ReaderSpec {
        topic: topic.to_owned(),
        type_name: "T".to_owned(),
        keying: Keying::Keyless,
        partitions: Vec::new(),
        reliability: RELIABLE,
        durability: Durability::Volatile,
        ownership: Ownership::Shared,
        invalid: InvalidSamples::Count,
    }
}

pub(crate) fn write(topic: &str) -> WriterSpec {
    WriterSpec {
        reliability: RELIABLE,
        ..WriterSpec::new(topic, "T")
    }
}

pub(crate) fn ring() -> (Ring, Consumer) {
    Ring::new(RingLimits::default())
}

pub(crate) fn wait_matched(writer: &Writer, readers: u32) {
    wait_for("match", || writer.matched_readers().unwrap() == readers);
}

/// The first number behind the header is the key.
pub(crate) fn by_first_number() -> Keying {
    Keying::Keyed(Some(Arc::new(|payload: &[u8], key: &mut KeyBuf| {
        let Some(bytes) = payload.get(4..8) else {
            return false;
        };
        key.push(&[bytes[3], bytes[2], bytes[1], bytes[0]]);
        true
    })))
}

/// XCDR1, little-endian: two numbers.
pub(crate) fn pair(key: u32, value: u32) -> Vec<u8> {
    [&[0, 1, 0, 0][..], &key.to_le_bytes(), &value.to_le_bytes()].concat()
}

pub(crate) fn number_at(payload: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(payload[at..at + 4].try_into().unwrap())
}
