use super::*;

const LONG: Duration = Duration::from_secs(30);
const SHORT: Duration = Duration::from_millis(20);

#[tokio::test]
async fn all_are_asked_and_waited_for() {
    let stop = Stop::new();
    let in_task = tokio::spawn({
        let stop = stop.clone();
        let running = stop.register("task");
        async move {
            stop.asked().await;
            drop(running);
        }
    });
    let in_thread = std::thread::spawn({
        let stop = stop.clone();
        let running = stop.register("thread");
        move || {
            let asked = stop.wait_timeout(LONG);
            drop(running);
            asked
        }
    });
    assert_eq!(stop.running(), ["task", "thread"]);
    assert!(!stop.is_asked());
    stop.ask("test");
    stop.ask("again");
    assert_eq!(stop.finished(LONG).await, Ok(()));
    assert_eq!(stop.reason().as_deref(), Some("test"));
    in_task.await.unwrap();
    assert!(in_thread.join().unwrap());
    stop.asked().await; // Also for who comes late.
}

#[tokio::test]
async fn who_is_late_is_named() {
    let stop = Stop::new();
    let _buffer = stop.register("buffer");
    let link = stop.register("link");
    let _dds = stop.register("dds");
    drop(link);
    stop.ask("test");
    let late = stop.finished(SHORT).await.unwrap_err();
    assert_eq!(late.to_string(), "still running: buffer, dds");
}

#[tokio::test]
async fn force_ends_the_wait() {
    let stop = Stop::new();
    let _buffer = stop.register("buffer");
    let waiting = tokio::spawn({
        let stop = stop.clone();
        async move { stop.finished(LONG).await }
    });
    stop.ask("test");
    tokio::time::sleep(SHORT).await;
    assert!(!waiting.is_finished());
    stop.force("second signal");
    assert_eq!(waiting.await.unwrap().unwrap_err().names, ["buffer"]);
    assert_eq!(stop.reason().as_deref(), Some("test"));
}

#[test]
fn a_thread_that_is_not_asked_wakes_by_itself() {
    assert!(!Stop::new().wait_timeout(SHORT));
}

#[tokio::test]
async fn a_signal_asks() {
    let stop = Stop::new();
    stop.listen().unwrap();
    let own = std::process::id().to_string();
    let sent = std::process::Command::new("kill")
        .args(["-TERM", &own])
        .status();
    assert!(sent.unwrap().success());
    tokio::time::timeout(LONG, stop.asked()).await.unwrap();
    assert_eq!(stop.reason().as_deref(), Some("SIGTERM"));
}

#[tokio::test]
async fn a_panic_of_one_stops_all_and_is_told() {
    let stop = Stop::new();
    assert_eq!(stop.check(), Ok(()));
    let thread = std::thread::spawn({
        let running = stop.register("intake");
        move || {
            let _running = running;
            panic!("on purpose");
        }
    });
    assert!(thread.join().is_err());
    stop.asked().await;
    assert_eq!(stop.reason().as_deref(), Some("`intake` ended by a panic"));
    let name = "intake".to_owned();
    assert_eq!(stop.check(), Err(Panicked { name }));

    let stop = Stop::new();
    let task = tokio::spawn({
        let running = stop.register("ship");
        async move {
            let _running = running;
            tokio::task::yield_now().await;
            panic!("on purpose");
        }
    });
    assert!(task.await.is_err());
    stop.asked().await;
    assert!(stop.check().is_err());
}
