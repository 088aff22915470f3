//! Beside a writer at work.

use std::sync::atomic::{AtomicBool, Ordering};

use efd_shared_model::{LaneKind, UtcNanos};
use efd_shared_store::{Options, Position, Store};

use crate::world::{BEGIN, Ran, closed, contents, declare, run, telemetry};

#[test]
fn the_writer_is_not_disturbed_and_all_is_consistent() {
    let (_folder, root) = closed();
    let (mut store, _) = Store::open(
        &root,
        Options {
            segment_bytes_max: 40_000,
            reserve_bytes: 0,
            ..Options::default()
        },
    )
    .unwrap();
    let lane = LaneKind::Telemetry.as_str().parse().unwrap();
    let stop = AtomicBool::new(false);
    let written = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            declare(&mut store, 3);
            let mut number = 0;
            while !stop.load(Ordering::Relaxed) {
                number += 1;
                store
                    .append(&lane, &[telemetry(3, number)], None, UtcNanos(BEGIN))
                    .unwrap();
                store.maintain(UtcNanos(BEGIN));
            }
            number
        });
        // Also where an assertion fails: the scope waits for the writer.
        let stop_at_end = StopAtEnd(&stop);
        let mut seen = 0;
        for round in 0..12 {
            let verb = ["cat", "verify", "ls"][round % 3];
            let Ran { code, out, err } = run(verb, &root, &[]);
            assert_eq!((code, err.as_str()), (0, ""), "{verb}: {out}");
            if verb == "cat" {
                let lines = out.lines().count();
                // All that was there before, and whole blocks only.
                assert!(
                    lines >= seen && lines >= 130 && lines % 10 == 0,
                    "{lines} after {seen}"
                );
                seen = lines;
            }
        }
        drop(stop_at_end);
        writer.join().unwrap()
    });
    assert!(written > 0);
    assert_eq!(store.reader().head(&lane), Position(12 + written));
    assert_eq!(
        run("cat", &root, &["--topic", "MTMount.*"]).lines() as u64,
        120 + 10 * written
    );
    store.close().unwrap();
    assert_eq!(run("verify", &root, &[]).code, 0);
}

struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_store_that_is_open_but_quiet_stays_as_it_is() {
    let (_folder, root) = closed();
    let (store, _) = Store::open(
        &root,
        Options {
            reserve_bytes: 0,
            ..Options::default()
        },
    )
    .unwrap();
    // The index of a WAL is shared memory: its readers' marks are in it, by design.
    let before = contents(&root);
    for verb in ["ls", "cat", "verify"] {
        assert_eq!(run(verb, &root, &[]).code, 0);
        assert!(contents(&root) == before, "{verb}");
    }
    drop(store);
}
