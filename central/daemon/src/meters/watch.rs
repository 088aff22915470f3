//! What alerts look at, by consumer and by edge: read out of the body of `/status`.

use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::gauge::ConstGauge;
use serde_json::Value as Json;

use crate::commands::CONSUMERS;

/// As the daemon's own table of metrics.
pub(super) const COUNTED: &[(&str, &str, &str)] = &[
    (
        "lake_files_missing",
        "/lake/files_missing",
        "Files that the lake's commits name and that are gone",
    ),
    (
        "feed_vanished_blocks",
        "/feed/vanished_blocks",
        "Blocks that public topics are owed and that the log does not have any more",
    ),
    (
        "feed_strangers",
        "/feed/strangers",
        "Records in our public topics that are not ours",
    ),
    (
        "feed_rewound",
        "/feed/rewound",
        "Public topics whose offsets went backwards",
    ),
    (
        "feed_refused",
        "/feed/refused",
        "Times that a public topic refused a record",
    ),
];

/// Of an edge's object in `/status`.
const OF_EDGES: &[(&str, &str, &str)] = &[
    (
        "edge_connected",
        "connected",
        "1 while the edge is connected; of edges seen since the start",
    ),
    (
        "edge_heard_seconds_ago",
        "heard_seconds_ago",
        "Since the edge was last heard of",
    ),
    (
        "edge_backlog_bytes",
        "backlog_bytes",
        "Bytes that the edge has for us, as it says",
    ),
    (
        "edge_backlog_seconds",
        "oldest_unacknowledged_seconds",
        "Age of the oldest block that the edge has for us, as it said last",
    ),
    (
        "edge_clock_behind_seconds",
        "clock_behind_seconds",
        "How far the edge's clock is behind ours, the way included",
    ),
    (
        "edge_clones",
        "clones",
        "Times that two appliances sent as this edge",
    ),
];

/// Of a consumer.
const WELL: (&str, &str) = (
    "consumer_well",
    "1 while a consumer of the log is off, starting, running or standing by: it needs no person",
);

/// Of a disk, with its path in `/status`.
const DAYS: (&str, &str) = (
    "days_that_fit",
    "Days that the embedded log's bytes, and what is free on the lake's disk, last at the rate of the last ten minutes; absent until a rate is known",
);
const DISKS: [(&str, &str); 2] = [
    ("log", "/disks/log_days_that_fit"),
    ("lake", "/disks/lake_days_left"),
];

pub(super) fn encode(
    status: &Json,
    encoder: &mut DescriptorEncoder<'_>,
) -> Result<(), std::fmt::Error> {
    let of_consumers = CONSUMERS.iter().map(|(consumer, is_well)| {
        let is_well = is_well
            .iter()
            .any(|state| status[*consumer]["state"] == *state);
        ([("consumer", *consumer)], f64::from(u8::from(is_well)))
    });
    family(encoder, WELL.0, WELL.1, of_consumers)?;
    let days = DISKS
        .iter()
        .filter_map(|(disk, path)| Some(([("disk", *disk)], status.pointer(path)?.as_f64()?)));
    family(encoder, DAYS.0, DAYS.1, days)?;
    let edges = status["edges"].as_array().map_or(&[][..], Vec::as_slice);
    for (name, key, help) in OF_EDGES {
        let known = edges.iter().filter_map(|edge| {
            let value = match &edge[*key] {
                Json::Bool(value) => f64::from(u8::from(*value)),
                value @ (Json::Null
                | Json::Number(_)
                | Json::String(_)
                | Json::Array(_)
                | Json::Object(_)) => value.as_f64()?,
            };
            let text = |key: &str| edge[key].as_str().unwrap_or_default();
            let labels = ["site", "edge", "role"].map(|key| (key, text(key)));
            Some((labels, value))
        });
        family(encoder, name, help, known)?;
    }
    Ok(())
}

fn family<'a, const N: usize>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    values: impl Iterator<Item = ([(&'a str, &'a str); N], f64)>,
) -> Result<(), std::fmt::Error> {
    let name = format!("efd_central_{name}");
    let kind = ConstGauge::new(0.0).metric_type();
    let mut metric = encoder.encode_descriptor(&name, help, None, kind)?;
    for (labels, value) in values {
        let one = metric.encode_family(&labels)?;
        ConstGauge::new(value).encode(one)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use efd_shared_daemon::identity::CertificateMetrics;
    use efd_shared_daemon::metrics;
    use efd_shared_daemon::queues::{Fill, Queues};
    use prometheus_client::collector::Collector;
    use prometheus_client::registry::Registry;
    use serde_json::json;

    use super::super::{CONNECTED, METRICS};
    use super::*;

    const PAGE: &str = include_str!("../../../../alerts/METRICS.md");

    #[derive(Debug)]
    struct OfStatus(Json);

    impl Collector for OfStatus {
        fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
            encode(&self.0, &mut encoder)
        }
    }

    fn status() -> Json {
        json!({
            "lake": { "state": "failed" }, "feed": { "state": "running" },
            "disks": { "log_days_that_fit": null, "lake_days_left": 3.5 },
            "edges": [{
                "edge": "e", "site": "summit", "role": "edge", "connected": true, "heard_seconds_ago": 0.5,
                "backlog_bytes": null, "clones": 0,
            }],
        })
    }

    #[test]
    fn consumers_and_edges_have_labels() {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(OfStatus(status())));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for line in [
            "efd_central_consumer_well{consumer=\"lake\"} 0.0",
            "efd_central_consumer_well{consumer=\"feed\"} 1.0",
            "efd_central_days_that_fit{disk=\"lake\"} 3.5",
            "efd_central_edge_connected{site=\"summit\",edge=\"e\",role=\"edge\"} 1.0",
            "efd_central_edge_heard_seconds_ago{site=\"summit\",edge=\"e\",role=\"edge\"} 0.5",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
        assert!(
            !text.contains("edge_backlog_bytes{"),
            "what is not known is absent: {text}"
        );
    }

    /// On a failure, what it prints is what belongs there.
    #[test]
    fn the_page_of_metrics_has_them_all() {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(OfStatus(status())));
        CertificateMetrics::register(&mut registry);
        let queues = Queues::register(registry.sub_registry_with_prefix("efd_central"));
        queues.add("x", || Some(Fill::new(1, 2).with_overflows(0)));
        queues.look();
        let mut rows = metrics::rows(&registry);
        let plain = METRICS
            .iter()
            .chain(COUNTED)
            .map(|(name, _, help)| (*name, *help));
        let plain: BTreeMap<&str, &str> = plain.chain([CONNECTED]).collect();
        for (name, help) in plain {
            let name = format!("efd_central_{name}");
            rows.insert(name.clone(), format!("| `{name}` | gauge | {help} |"));
        }
        for (name, row) in &rows {
            let help = row.split('|').nth(3).unwrap().trim();
            assert!(help.len() > 5, "{name} has no help: {help}");
        }
        let page = metrics::rows_on(PAGE, &["efd_central_", "efd_certificate_"]);
        let mut wanted: Vec<&str> = rows.values().map(String::as_str).collect();
        wanted.sort_unstable();
        assert_eq!(
            page,
            wanted,
            "alerts/METRICS.md should have\n{}",
            wanted.join("\n")
        );
    }
}
