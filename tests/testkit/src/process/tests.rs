use std::io::{Read, Write};
use std::net::{TcpListener, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use std::{fs, thread};

use super::*;
use crate::tmp::WorkDir;
use crate::wait_until;

const SOON: Duration = Duration::from_secs(20);

#[test]
fn lines_are_found_once_in_order_and_across_a_restart() {
    let work = WorkDir::new("lines").unwrap();
    let log = work.join("logs/daemon.log");
    for round in 0..2 {
        let mut daemon = Daemon::start(
            "echo",
            shell("echo one; echo half-; sleep 0.1; echo two; exec sleep 60"),
            &log,
        )
        .unwrap();
        assert_eq!(daemon.wait_for_line("o", SOON).unwrap(), "one");
        assert_eq!(daemon.wait_for_line("o", SOON).unwrap(), "two");
        let error = daemon
            .wait_for_line("one", Duration::from_millis(50))
            .unwrap_err();
        assert!(
            matches!(&error, ProcessError::TimedOut { tail, .. } if tail.ends_with("two")),
            "{error}"
        );
        assert_eq!(
            daemon.log_since_start().unwrap(),
            "one\nhalf-\ntwo\n",
            "round {round}"
        );
        daemon.kill9().unwrap();
    }
    assert_eq!(
        Log::new(&log).text().unwrap(),
        "one\nhalf-\ntwo\n".repeat(2)
    );
    work.finish().unwrap();
}

#[test]
fn an_early_end_is_reported_with_status_and_last_words() {
    let work = WorkDir::new("early-end").unwrap();
    let mut daemon = Daemon::start(
        "brief",
        shell("echo out of luck >&2; exit 3"),
        &work.join("log"),
    )
    .unwrap();
    let error = daemon.wait_for_line("ready", SOON).unwrap_err().to_string();
    assert!(
        error.contains("exit status: 3")
            && error.contains("out of luck")
            && error.contains("`ready`"),
        "{error}"
    );
    assert!(daemon.usage().is_err());
    assert!(matches!(
        Daemon::start("absent", Command::new("/does/not/exist"), &work.join("log")),
        Err(ProcessError::Start { command, .. }) if command == "/does/not/exist"
    ));
    work.finish().unwrap();
}

#[test]
fn signals_and_usage() {
    let work = WorkDir::new("signals").unwrap();
    let script = "trap 'echo asked; exit 7' TERM; echo ready; while :; do :; done";
    let mut daemon = Daemon::start("busy", shell(script), &work.join("log")).unwrap();
    daemon.wait_for_line("ready", SOON).unwrap();
    assert!(
        wait_until(SOON, || daemon.usage().unwrap().cpu
            >= Duration::from_millis(50)),
        "it spins"
    );
    let usage = daemon.usage().unwrap();
    assert!(
        usage.rss_bytes > 100_000 && usage.rss_bytes_peak >= usage.rss_bytes && usage.threads == 1,
        "{usage:?}"
    );

    daemon.signal(Signal::Stop).unwrap();
    assert!(wait_until(SOON, || state_of(daemon.pid()) == Some('T')));
    let stopped = daemon.usage().unwrap().cpu;
    thread::sleep(Duration::from_millis(100));
    assert_eq!(daemon.usage().unwrap().cpu, stopped);
    let threads = daemon.cpu_by_thread().unwrap();
    assert_eq!(threads.values().copied().collect::<Vec<_>>(), [stopped]);
    assert!(
        matches!(
            daemon.stop(Duration::from_millis(100)),
            Err(ProcessError::TimedOut { .. })
        ),
        "it stands still"
    );

    daemon.signal(Signal::Continue).unwrap();
    assert_eq!(daemon.wait(SOON).unwrap().code(), Some(7));
    assert_eq!(daemon.wait_for_line("asked", SOON).unwrap(), "asked");
    daemon.signal(Signal::Terminate).unwrap();
    work.finish().unwrap();
}

#[test]
fn dropping_ends_the_whole_group_even_when_stopped() {
    let work = WorkDir::new("drop").unwrap();
    let mut daemon = Daemon::start(
        "parent",
        shell("sleep 600 & echo child $!; wait"),
        &work.join("log"),
    )
    .unwrap();
    let line = daemon.wait_for_line("child", SOON).unwrap();
    let grandchild: u32 = line.strip_prefix("child ").unwrap().parse().unwrap();
    daemon.signal(Signal::Stop).unwrap();
    assert!(state_of(grandchild).is_some());
    drop(daemon);
    assert!(
        wait_until(SOON, || gone(grandchild)),
        "{:?}",
        state_of(grandchild)
    );
    work.finish().unwrap();
}

#[test]
fn a_daemon_outlives_the_thread_that_started_it() {
    let work = WorkDir::new("thread").unwrap();
    let log = work.join("log");
    let mut daemon =
        thread::spawn(move || Daemon::start("long", shell("exec sleep 600"), &log).unwrap())
            .join()
            .unwrap();
    thread::sleep(Duration::from_millis(100));
    assert_eq!(daemon.exit_status().unwrap(), None);
    drop(daemon);
    work.finish().unwrap();
}

/// The death of the test process, the hard way: a copy of this test binary starts a daemon and is killed.
#[test]
fn a_daemon_dies_with_the_test_process() {
    const ROLE: &str = "EFD_TESTKIT_VICTIM";
    if let Ok(folder) = std::env::var(ROLE) {
        let daemon = Daemon::start(
            "orphan",
            shell("exec sleep 600"),
            &Path::new(&folder).join("orphan.log"),
        )
        .unwrap();
        fs::write(Path::new(&folder).join("pid.tmp"), daemon.pid().to_string()).unwrap();
        fs::rename(
            Path::new(&folder).join("pid.tmp"),
            Path::new(&folder).join("pid"),
        )
        .unwrap();
        thread::sleep(Duration::from_secs(600));
        return;
    }
    let work = WorkDir::new("orphan").unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args([
            "--exact",
            "process::tests::a_daemon_dies_with_the_test_process",
        ])
        .env(ROLE, work.path());
    let mut victim = Daemon::start("victim", command, &work.join("victim.log")).unwrap();
    let pid_file = work.join("pid");
    assert!(
        wait_until(SOON, || pid_file.exists()),
        "{}",
        victim.log().tail(20)
    );
    let orphan: u32 = fs::read_to_string(pid_file).unwrap().parse().unwrap();
    assert!(!gone(orphan));
    victim.kill9().unwrap();
    assert!(wait_until(SOON, || gone(orphan)), "{:?}", state_of(orphan));
    work.finish().unwrap();
}

#[test]
fn readiness_over_http_waits_for_success() {
    let work = WorkDir::new("http").unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/readyz?full=1", listener.local_addr().unwrap());
    let server = thread::spawn(move || {
        let mut seen = Vec::new();
        for answer in [
            "HTTP/1.1 503 Wait\r\ncontent-length: 3\r\n\r\nnot",
            "",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nready",
        ] {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 1024];
            let read = stream.read(&mut request).unwrap();
            seen.push(
                String::from_utf8_lossy(&request[..read])
                    .lines()
                    .next()
                    .unwrap()
                    .to_owned(),
            );
            stream.write_all(answer.as_bytes()).unwrap();
        }
        seen
    });
    let mut daemon = Daemon::start("sleep", shell("exec sleep 600"), &work.join("log")).unwrap();
    assert_eq!(daemon.wait_for_http(&url, SOON).unwrap(), "ready");
    assert_eq!(server.join().unwrap(), ["GET /readyz?full=1 HTTP/1.0"; 3]);
    // Nobody listens there any more.
    assert!(matches!(
        daemon.wait_for_http(&url, Duration::from_millis(50)),
        Err(ProcessError::TimedOut { .. })
    ));
    drop(daemon);
    work.finish().unwrap();
}

#[test]
fn a_log_is_quiet_but_for_what_is_allowed() {
    let work = WorkDir::new("quiet").unwrap();
    let log = Log::new(work.join("log"));
    fs::write(
        log.path(),
        "t  INFO a: b\nt  WARN a: expected trouble\nt ERROR a: other trouble\n",
    )
    .unwrap();
    let error = log.check_quiet(&["expected trouble"]).unwrap_err();
    assert!(
        matches!(&error, ProcessError::Complaints { lines, .. } if lines[..] == ["t ERROR a: other trouble"]),
        "{error}"
    );
    log.check_quiet(&["expected trouble", "other"]).unwrap();
    work.finish().unwrap();
}

#[test]
fn a_run_captures_both_streams_and_has_an_end() {
    let captured = run(shell("echo to-out; echo to-err >&2; exit 5"), SOON).unwrap();
    assert_eq!(
        (captured.stdout.as_str(), captured.stderr.as_str()),
        ("to-out\n", "to-err\n")
    );
    assert_eq!(captured.status.code(), Some(5));
    let long = run(shell("head -c 3000000 /dev/zero"), SOON).unwrap();
    assert_eq!(long.stdout.len(), 3_000_000);
    let error = run(shell("echo stuck; sleep 600"), Duration::from_millis(200)).unwrap_err();
    assert!(
        matches!(&error, ProcessError::Endless { tail, .. } if tail == "stuck"),
        "{error}"
    );
}

#[test]
fn a_reserved_port_is_ours_until_dropped() {
    let ports: Vec<Port> = (0..20).map(|_| Port::reserve().unwrap()).collect();
    let mut numbers: Vec<u16> = ports.iter().map(Port::number).collect();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), ports.len());
    for port in &ports {
        TcpListener::bind(("127.0.0.1", port.number())).unwrap();
        UdpSocket::bind(("127.0.0.1", port.number())).unwrap();
    }
    // One that somebody without a lock listens on is passed over.
    let taken = ports[0].number();
    let _listener = TcpListener::bind(("127.0.0.1", taken)).unwrap();
    drop(ports);
    let again: Vec<Port> = (0..20).map(|_| Port::reserve().unwrap()).collect();
    assert!(again.iter().all(|port| port.number() != taken));
}

#[test]
fn a_command_is_shown_as_one_would_type_it() {
    let mut command = Command::new("/usr/bin/mvn");
    command.args(["-B", "-Dpath=/a b", "it's", ""]);
    assert_eq!(
        typed(&command),
        r"/usr/bin/mvn -B '-Dpath=/a b' 'it'\''s' ''"
    );
}

fn shell(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    command
}

/// The state letter in `/proc`; `None` when there is no such process.
fn state_of(pid: u32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

/// Ended: reaped, or waiting for a parent that is not us.
fn gone(pid: u32) -> bool {
    matches!(state_of(pid), None | Some('Z' | 'X'))
}
