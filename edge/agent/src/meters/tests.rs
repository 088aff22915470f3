use efd_shared_daemon::identity::CertificateMetrics;
use efd_shared_daemon::metrics;
use efd_shared_daemon::queues::Fill;
use efd_shared_model::ClockState;

use super::*;

const PAGE: &str = include_str!("../../../../alerts/METRICS.md");

/// Those without a member are not shown.
fn with_all_families() -> Registry {
    let mut registry = Registry::default();
    let meters = Meters::new(&["a:1".to_owned()]);
    meters.register(&mut registry);
    CertificateMetrics::register(&mut registry);
    meters.link.fill();
    meters.tiers.fill();
    meters.watch.observe(Watched {
        bytes_max: 1,
        hours_left: Some(1.0),
        oldest_seconds: 0.0,
        clock: ClockState {
            error: Some(1),
            ..ClockState::default()
        },
    });
    let queues = meters.queues.get().unwrap();
    queues.add("x", || Some(Fill::new(1, 2).with_overflows(0)));
    queues.look();
    registry
}

/// On a failure, what it prints is what belongs there.
#[test]
fn the_page_of_metrics_has_them_all() {
    let rows = metrics::rows(&with_all_families());
    for (name, row) in &rows {
        let help = row.split('|').nth(3).unwrap().trim();
        assert!(help.len() > 5, "{name} has no help: {help}");
    }
    let page = metrics::rows_on(PAGE, &["efd_edge_", "efd_certificate_"]);
    let mut wanted: Vec<&str> = rows.values().map(String::as_str).collect();
    wanted.sort_unstable();
    assert_eq!(
        page,
        wanted,
        "alerts/METRICS.md should have\n{}",
        wanted.join("\n")
    );
}

/// What appears with its first loss has no increase to be seen.
#[test]
fn every_reason_is_there_from_the_start() {
    let mut registry = Registry::default();
    Meters::new(&[]).register(&mut registry);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    for reason in LossReason::ALL {
        let line = format!(
            "efd_edge_loss_samples_total{{reason=\"{}\"}} 0",
            reason.as_str()
        );
        assert!(text.contains(&line), "{reason}");
    }
}
