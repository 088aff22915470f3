use std::net::{TcpListener, TcpStream, UdpSocket};

use super::*;

const SOON: Duration = Duration::from_secs(20);

/// `None` (and a line that says so) where this machine does not allow it.
fn namespace(test: &str) -> Option<Namespace> {
    match Namespace::new() {
        Ok(namespace) => Some(namespace),
        Err(refused @ NamespaceError::Refused(_)) => {
            crate::skip(test, &refused);
            None
        }
        Err(error) => panic!("{error:?}"),
    }
}

fn output(mut command: Command, arguments: &[&str]) -> String {
    command.args(arguments);
    let captured = process::run(command, SOON).unwrap();
    assert!(captured.status.success(), "{}", captured.stderr);
    captured.stdout
}

#[test]
fn a_namespace_has_loopback_multicast_and_nothing_else() {
    let Some(namespace) = namespace("a_namespace_has_loopback_multicast_and_nothing_else") else {
        return;
    };
    let interfaces = output(namespace.command("cat"), &["/proc/net/dev"]);
    assert_eq!(
        interfaces
            .lines()
            .skip(2)
            .map(|line| line.split(':').next().unwrap().trim())
            .collect::<Vec<_>>(),
        ["lo"]
    );
    let routes = output(namespace.command("cat"), &["/proc/net/route"]);
    let routes: Vec<Vec<&str>> = routes
        .lines()
        .skip(1)
        .map(|line| line.split_ascii_whitespace().collect())
        .collect();
    assert_eq!(routes.len(), 1);
    // Interface, destination 224.0.0.0, mask 240.0.0.0, in network order.
    assert_eq!(
        (routes[0][0], routes[0][1], routes[0][7]),
        ("lo", "000000E0", "000000F0")
    );
}

#[test]
fn two_namespaces_do_not_hear_each_other_and_one_does() {
    isolated(
        "netns::tests::two_namespaces_do_not_hear_each_other_and_one_does",
        || {
            // In here we may move threads whoever runs the tests.
            let (ours, other) = (Namespace::new().unwrap(), Namespace::new().unwrap());
            let listener = ours.on_thread(multicast_receiver).unwrap();
            let stranger = other.on_thread(multicast_receiver).unwrap();
            ours.on_thread(|| {
                let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
                sender.send_to(b"hello", "239.255.0.1:7400").unwrap();
            })
            .unwrap();
            let mut buffer = [0; 16];
            assert_eq!(listener.recv(&mut buffer).unwrap(), 5);
            stranger
                .set_read_timeout(Some(Duration::from_millis(200)))
                .unwrap();
            assert_eq!(
                stranger.recv(&mut buffer).unwrap_err().kind(),
                io::ErrorKind::WouldBlock
            );
        },
    );
}

fn multicast_receiver() -> UdpSocket {
    let socket = UdpSocket::bind("0.0.0.0:7400").unwrap();
    socket
        .join_multicast_v4(&Ipv4Addr::new(239, 255, 0, 1), &Ipv4Addr::LOCALHOST)
        .unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    socket
}

#[test]
fn an_isolated_body_runs_in_a_network_of_its_own() {
    // This line runs twice: out here, and in the child while we still hold the port. Only another network lets it.
    let listener = TcpListener::bind("127.0.0.1:16999").unwrap();
    isolated(
        "netns::tests::an_isolated_body_runs_in_a_network_of_its_own",
        || {
            TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        },
    );
}

#[test]
fn a_failing_or_misnamed_isolated_test_fails() {
    if env::var_os("EFD_TEST_ISOLATED").is_none()
        && namespace("a_failing_or_misnamed_isolated_test_fails").is_none()
    {
        return;
    }
    let failing = panic::catch_unwind(|| {
        isolated(
            "netns::tests::a_failing_or_misnamed_isolated_test_fails",
            || std::process::exit(9),
        );
    });
    assert!(panic_text(failing).contains("failed in its private network"));
    let misnamed = panic::catch_unwind(|| isolated("netns::tests::no_such_test", || ()));
    assert!(panic_text(misnamed).contains("is not the name"));
}

fn panic_text(outcome: thread::Result<()>) -> String {
    *outcome.unwrap_err().downcast::<String>().unwrap()
}

#[test]
fn daemons_started_from_a_moved_thread_land_in_its_network() {
    isolated(
        "netns::tests::daemons_started_from_a_moved_thread_land_in_its_network",
        || {
            let inner = Namespace::new().unwrap();
            let link = |mut command: Command| {
                command.arg("/proc/self/ns/net");
                process::run(command, SOON).unwrap().stdout
            };
            let by_thread = inner.on_thread(|| link(Command::new("readlink"))).unwrap();
            let by_command = link(inner.command("readlink"));
            assert_eq!(by_thread, by_command);
            assert_ne!(by_thread, link(Command::new("readlink")));
        },
    );
}

#[test]
fn a_pair_is_joined_by_a_cable() {
    isolated("netns::tests::a_pair_is_joined_by_a_cable", || {
        let pair = match Pair::new() {
            Ok(pair) => pair,
            Err(NamespaceError::Process(error)) => {
                return crate::skip("a_pair_is_joined_by_a_cable", &error);
            }
            Err(error) => panic!("{error}"),
        };
        let server = pair
            .far
            .on_thread(|| TcpListener::bind((Pair::FAR, 4433)).unwrap())
            .unwrap();
        let client = pair
            .near
            .on_thread(|| TcpStream::connect_timeout(&(Pair::FAR, 4433).into(), SOON))
            .unwrap()
            .unwrap();
        assert_eq!(client.local_addr().unwrap().ip(), Pair::NEAR);
        assert_eq!(server.accept().unwrap().1, client.local_addr().unwrap());
        // Not from the network that holds neither end.
        assert!(
            TcpStream::connect_timeout(&(Pair::FAR, 4433).into(), Duration::from_millis(200))
                .is_err()
        );
    });
}
