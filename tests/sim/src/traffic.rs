//! How often each topic is published. Cadences of most topics are not public: ratios of volumes are.

use std::collections::BTreeMap;

use efd_shared_types::SalTopic;
use efd_shared_types::sal::SalKind;

/// Publications a second for each topic, in the order of `topics`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) enum Profile {
    /// Every topic alike.
    #[default]
    Even,
    /// M1M3's telemetry whole at 50 Hz, the rest evenly: the observatory's hardest case.
    M1m3,
    /// M1M3's telemetry whole at 50 Hz; of every other topic one sample in ten seconds, whatever the total.
    M1m3Alone,
    /// Volumes in the ratios of a table of megabytes per topic; heartbeats and topics that it lacks are rare.
    Table,
}

const M1M3: &str = "MTM1M3";
const M1M3_HZ: f64 = 50.0;
/// Topics without a volume of their own: one sample in ten seconds.
const RARE_HZ: f64 = 0.1;

/// Splits `total` publications a second, by a profile that takes a total.
pub(crate) fn rates(
    topics: &[&SalTopic],
    profile: Profile,
    total: f64,
    megabytes: &BTreeMap<String, f64>,
) -> Vec<f64> {
    let count = topics.len().max(1) as f64;
    let is_fast = |topic: &SalTopic| topic.component == M1M3 && topic.kind == SalKind::Telemetry;
    match profile {
        Profile::Even => vec![total / count; topics.len()],
        Profile::M1m3 => {
            let fast = topics.iter().filter(|topic| is_fast(topic)).count() as f64;
            let rest = ((total - fast * M1M3_HZ) / (count - fast).max(1.0)).max(0.0);
            topics
                .iter()
                .map(|topic| if is_fast(topic) { M1M3_HZ } else { rest })
                .collect()
        }
        Profile::M1m3Alone => topics
            .iter()
            .map(|topic| if is_fast(topic) { M1M3_HZ } else { RARE_HZ })
            .collect(),
        Profile::Table => {
            let weight = |topic: &SalTopic| {
                let name = format!("{}.{}", topic.component, topic.sal_topic);
                megabytes
                    .get(&name)
                    .map(|megabytes| megabytes / wire_bytes(topic))
            };
            let sum: f64 = topics.iter().filter_map(|topic| weight(topic)).sum();
            let rare = topics
                .iter()
                .filter(|topic| weight(topic).is_none())
                .count() as f64
                * RARE_HZ;
            let scale = ((total - rare).max(0.0) / sum.max(f64::MIN_POSITIVE)).min(1e12);
            topics
                .iter()
                .map(|topic| weight(topic).map_or(RARE_HZ, |weight| weight * scale))
                .collect()
        }
    }
}

/// About how many bytes a sample has on the wire.
pub(crate) fn wire_bytes(topic: &SalTopic) -> f64 {
    let bytes = topic
        .fields
        .iter()
        .map(|field| field.scalar.size().unwrap_or(16) * field.count.unwrap_or(1) as usize);
    bytes.sum::<usize>() as f64
}

/// Reads lines of `…,Component.topic,megabytes`; lines of another shape are headings and sums.
pub(crate) fn read_table(text: &str) -> BTreeMap<String, f64> {
    text.lines()
        .filter_map(|line| {
            let mut columns = line.rsplit(',');
            let megabytes = columns.next()?.trim().parse().ok()?;
            let name = columns.next()?.trim();
            name.contains('.').then(|| (name.to_owned(), megabytes))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use efd_shared_types::Registry;

    use super::*;

    const IDL: &str = "module MTM1M3 {
        struct forces_1a2b3c4d { string<8> private_revCode; double private_sndStamp; double private_rcvStamp;
            long private_seqNum; string<128> private_identity; long private_origin; double x; };
        struct powers_1a2b3c4d { string<8> private_revCode; double private_sndStamp; double private_rcvStamp;
            long private_seqNum; string<128> private_identity; long private_origin; double x; };
        struct logevent_state_1a2b3c4d { string<8> private_revCode; double private_sndStamp; double private_rcvStamp;
            long private_seqNum; string<128> private_identity; long private_origin; double x; };
    };";

    /// Rates of M1M3's two telemetry topics and its event.
    fn m1m3(profile: Profile, total: f64) -> Vec<f64> {
        let mut registry = Registry::default();
        registry.load("sal_revCoded_MTM1M3.idl", IDL.as_bytes());
        let mut topics: Vec<&SalTopic> = registry.topics().map(|(topic, _)| &**topic).collect();
        topics.sort_by_key(|topic| topic.kind != SalKind::Telemetry);
        assert_eq!(topics.len(), 3);
        rates(&topics, profile, total, &BTreeMap::new())
    }

    #[test]
    fn m1m3_alone_does_not_depend_on_a_total() {
        assert_eq!(m1m3(Profile::M1m3, 1000.0), [50.0, 50.0, 900.0]);
        assert_eq!(m1m3(Profile::M1m3Alone, 1000.0), [50.0, 50.0, RARE_HZ]);
    }

    #[test]
    fn reads_the_published_tables() {
        let table = read_table(
            "**CSC**,**Event Topic**,**Size(MB)**\nTM1M3,MTM1M3.forceActuatorData,70423\nATDome,8,0.00%\n",
        );
        assert_eq!(
            table,
            BTreeMap::from([("MTM1M3.forceActuatorData".to_owned(), 70423.0)])
        );
    }
}
