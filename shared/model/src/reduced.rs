//! What goes to the centre in the place of raw telemetry that had to leave unshipped: statistics of just those records.

use crate::bytes::Writer;

/// Topic, and so table, of the substitutes.
pub const REDUCED_TOPIC: &str = "efd.reduced";

/// Statistics of the lost records of one topic and instance in one window; the record's event time is the window's start.
/// Of one window there can be several, from segments that left one after the other: their counts add up.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reduced {
    /// `lsst.sal.MTMount.elevation`.
    pub topic: String,
    /// −1 where the component is not indexed.
    pub sal_index: i64,
    /// Fingerprint of the topic's schema, in its text form.
    pub schema: String,
    /// Length of the window, ns.
    pub resolution: i64,
    /// Records.
    pub samples: i64,
    /// The blocks that left, inclusive: `epoch` and `lane` in their text form.
    pub epoch: String,
    pub lane: String,
    pub first_block: i64,
    pub last_block: i64,
    /// `position`, `force[3]`: what each entry of the following is of. The unit is that of the field, but for counts.
    pub channels: Vec<String>,
    /// Values that are numbers, and those that are not.
    pub counts: Vec<i64>,
    pub nan_counts: Vec<i64>,
    /// By name, in the order of [`Self::STATISTICS`]; NaN where there is none.
    pub statistics: [Vec<f64>; 9],
}

impl Reduced {
    /// `stdev` is the sample's; quartiles interpolate linearly, and are absent of windows that were merged.
    pub const STATISTICS: [&str; 9] = [
        "min", "max", "mean", "stdev", "first", "last", "q1", "median", "q3",
    ];

    /// Appends the Avro datum by [`schema`].
    pub fn encode(&self, out: &mut Vec<u8>) {
        let Self {
            topic,
            sal_index,
            schema,
            resolution,
            samples,
            epoch,
            lane,
            first_block,
            last_block,
            channels,
            counts,
            nan_counts,
            statistics,
        } = self;
        let mut writer = Writer::new();
        let text = |writer: &mut Writer, text: &str| {
            writer.zigzag(text.len() as i64);
            writer.raw(text.as_bytes());
        };
        text(&mut writer, topic);
        writer.zigzag(*sal_index);
        text(&mut writer, schema);
        writer.zigzag(*resolution);
        writer.zigzag(*samples);
        text(&mut writer, epoch);
        text(&mut writer, lane);
        writer.zigzag(*first_block);
        writer.zigzag(*last_block);
        array(&mut writer, channels, |writer, name| text(writer, name));
        for counts in [counts, nan_counts] {
            array(&mut writer, counts, |writer, count| writer.zigzag(*count));
        }
        for values in statistics {
            array(&mut writer, values, |writer, value| {
                writer.raw(&value.to_le_bytes());
            });
        }
        out.extend_from_slice(writer.as_bytes());
    }
}

/// One block of items, and its end.
fn array<T>(writer: &mut Writer, items: &[T], put: impl Fn(&mut Writer, &T)) {
    if !items.is_empty() {
        writer.zigzag(items.len() as i64);
        items.iter().for_each(|item| put(writer, item));
    }
    writer.zigzag(0);
}

/// Of the datums: field order is their byte order, and a change needs a new topic.
pub fn schema() -> String {
    let field = |name: &str, kind: &str, default: &str, units: &str, description: &str| {
        format!(
            r#"{{"name":"{name}","type":{kind},"default":{default},"description":"{description}","units":"{units}"}}"#
        )
    };
    let text = |name, description| field(name, r#""string""#, r#""""#, "unitless", description);
    let long = |name, units, description| field(name, r#""long""#, "0", units, description);
    let array = |name: &str, of: &str, description: &str| {
        let kind = format!(r#"{{"type":"array","items":"{of}"}}"#);
        field(name, &kind, "[]", "unitless", description)
    };
    let mut fields = vec![
        text("topic", "Topic of the records that left"),
        long("sal_index", "unitless", "salIndex; -1: not indexed"),
        text("schema", "Fingerprint of the topic's schema"),
        long("resolution", "nanosecond", "Length of the window"),
        long("samples", "unitless", "Records of the window that left"),
        text("epoch", "Epoch of the blocks that left"),
        text("lane", "Lane of the blocks that left"),
        long("first_block", "unitless", "First block that left"),
        long("last_block", "unitless", "Last block that left"),
        array(
            "channels",
            "string",
            "What each entry of the following is of",
        ),
        array("counts", "long", "Values that are numbers"),
        array("nan_counts", "long", "Values that are not"),
    ];
    for name in Reduced::STATISTICS {
        let description = "In the unit of the field; NaN: none";
        fields.push(array(name, "double", description));
    }
    format!(
        r#"{{"name":"{REDUCED_TOPIC}","type":"record","fields":[{}],"description":"Statistics of telemetry that had to leave an edge before the centre had it."}}"#,
        fields.join(",")
    )
}
