//! The report of a night: completeness by component, losses, link and clocks; as text and as a page. Pure.

use std::collections::BTreeMap;

use efd_central_ledger::{Account, LaneRow, LinkHour, Row};
use efd_shared_model::component_of;
use serde_json::Value as Json;

/// What a night is told from.
#[derive(Debug)]
pub(super) struct Night<'a> {
    /// `20261127`, or the span in words.
    pub(super) title: String,
    /// By topic.
    pub(super) account: &'a Account,
    pub(super) link: &'a [LinkHour],
    /// As `/status` has them, at this moment.
    pub(super) edges: &'a Json,
}

/// A table: what is above its columns, and its rows.
struct Table {
    title: &'static str,
    columns: &'static [&'static str],
    rows: Vec<Vec<String>>,
    /// Said where there is no row.
    none: &'static str,
}

#[derive(Debug, Default)]
struct Component {
    topics: u64,
    complete: u64,
    published: u64,
    centre: u64,
    lost: u64,
    unnamed: u64,
    reasons: BTreeMap<String, u64>,
}

impl Component {
    fn add(&mut self, row: &Row) {
        self.topics += 1;
        self.complete += u64::from(row.is_complete());
        self.published += row.published;
        self.centre += row.centre;
        self.unnamed += row.unnamed;
        for (reason, samples) in &row.lost {
            self.lost += samples;
            *self.reasons.entry(reason.clone()).or_default() += samples;
        }
    }
}

/// Rounded down: what is not complete is never 100 %.
fn percent(part: u64, whole: u64) -> String {
    match whole {
        0 => "-".to_owned(),
        whole => {
            let hundredths = u128::from(part) * 1_000_000 / u128::from(whole);
            format!("{}.{:04} %", hundredths / 10_000, hundredths % 10_000)
        }
    }
}

fn reasons(of: &BTreeMap<String, u64>) -> String {
    let each = of
        .iter()
        .map(|(reason, samples)| format!("{samples} {reason}"));
    each.collect::<Vec<_>>().join(", ")
}

fn seconds(nanos: Option<i64>) -> String {
    nanos.map_or_else(
        || "-".to_owned(),
        |nanos| format!("{:.3}", nanos as f64 / 1e9),
    )
}

impl Night<'_> {
    fn components(&self) -> BTreeMap<(String, String), Component> {
        let mut components: BTreeMap<(String, String), Component> = BTreeMap::new();
        for row in &self.account.rows {
            let key = (row.site.clone(), component_of(&row.topic).to_owned());
            components.entry(key).or_default().add(row);
        }
        components
    }

    fn headline(&self) -> String {
        let total = self.account.total();
        let named: u64 = total.lost.values().sum();
        format!(
            "{} samples published, {} at the centre ({}), {named} lost by name, {} absent without a name",
            total.published,
            total.centre,
            percent(total.centre, total.published),
            total.unnamed
        )
    }

    fn tables(&self) -> [Table; 5] {
        let components = self.components().into_iter().map(|((site, name), it)| {
            vec![
                site,
                name,
                format!("{} of {}", it.complete, it.topics),
                it.published.to_string(),
                it.centre.to_string(),
                percent(it.centre, it.published),
                reasons(&it.reasons),
                it.unnamed.to_string(),
            ]
        });
        let incomplete = self.account.rows.iter().filter(|row| !row.is_complete());
        let incomplete = incomplete.map(|row| {
            vec![
                row.site.clone(),
                row.topic.clone(),
                row.published.to_string(),
                row.centre.to_string(),
                reasons(&row.lost),
                row.unnamed.to_string(),
            ]
        });
        let lanes = self.account.lanes.iter().map(|lane| {
            let LaneRow {
                site,
                lane,
                reason,
                blocks,
                records,
                ..
            } = lane;
            let records = records.map_or_else(|| "unknown".to_owned(), |count| count.to_string());
            vec![
                site.clone(),
                lane.clone(),
                reason.clone(),
                blocks.to_string(),
                records,
            ]
        });
        let link = self.link.iter().map(|it| {
            vec![
                it.site.clone(),
                it.hour.begin().to_string().chars().take(13).collect(),
                it.live_blocks.to_string(),
                it.fill_blocks.to_string(),
                it.records.to_string(),
                seconds(it.delay_median),
                seconds(it.delay_max),
                seconds(it.delay_min),
                seconds(Some(it.silence_max)),
            ]
        });
        let edges = self.edges.as_array().into_iter().flatten().map(|edge| {
            let text = |key: &str| edge[key].as_str().unwrap_or("-").to_owned();
            let number = |key: &str| {
                let number = edge[key].as_f64();
                number.map_or_else(|| "-".to_owned(), |number| format!("{number:.3}"))
            };
            vec![
                text("site"),
                text("edge"),
                if edge["connected"] == true {
                    "yes"
                } else {
                    "no"
                }
                .to_owned(),
                number("oldest_unacknowledged_seconds"),
                number("clock_behind_seconds"),
            ]
        });
        [
            Table {
                title: "Completeness by component",
                columns: &[
                    "site",
                    "component",
                    "topics complete",
                    "published",
                    "at the centre",
                    "",
                    "lost, and why",
                    "unnamed",
                ],
                rows: components.collect(),
                none: "nothing was published",
            },
            Table {
                title: "Topics that are not complete",
                columns: &[
                    "site",
                    "topic",
                    "published",
                    "at the centre",
                    "lost, and why",
                    "unnamed",
                ],
                rows: incomplete.collect(),
                none: "every topic is complete",
            },
            Table {
                title: "Blocks that were lost, whose topics nobody can tell",
                columns: &["site", "lane", "reason", "blocks", "records"],
                rows: lanes.collect(),
                none: "none",
            },
            Table {
                title: "Link: blocks by the hour in which the edge committed them; delays in seconds, of live ones",
                columns: &[
                    "site",
                    "hour",
                    "live",
                    "back-fill",
                    "records",
                    "median",
                    "most",
                    "least",
                    "longest silence",
                ],
                rows: link.collect(),
                none: "the log does not go back so far, or nothing came",
            },
            Table {
                title: "Edges and their clocks, at this moment; seconds",
                columns: &[
                    "site",
                    "edge",
                    "connected",
                    "oldest that we lack",
                    "clock behind ours",
                ],
                rows: edges.collect(),
                none: "none was heard of since the start",
            },
        ]
    }

    pub(super) fn to_text(&self) -> String {
        let mut text = format!("Night {}\n{}\n", self.title, self.headline());
        for table in self.tables() {
            text.push_str(&format!("\n{}\n", table.title));
            if table.rows.is_empty() {
                text.push_str(&format!("  {}\n", table.none));
                continue;
            }
            let head: Vec<String> = table
                .columns
                .iter()
                .map(|name| (*name).to_owned())
                .collect();
            let width = |column: usize| {
                let cells = std::iter::once(&head).chain(&table.rows);
                cells
                    .map(|row| row[column].chars().count())
                    .max()
                    .unwrap_or(0)
            };
            let widths: Vec<usize> = (0..head.len()).map(width).collect();
            for row in std::iter::once(&head).chain(&table.rows) {
                let cells = row
                    .iter()
                    .zip(&widths)
                    .map(|(cell, width)| format!("{cell:<width$}"));
                let line = cells.collect::<Vec<_>>().join("  ");
                text.push_str(&format!("  {}\n", line.trim_end()));
            }
        }
        text
    }

    /// Needs nothing from elsewhere.
    pub(super) fn to_html(&self) -> String {
        let title = escape(&format!("Night {}", self.title));
        let mut html = format!(
            "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>{title}</title><style>{STYLE}</style>\
             <h1>{title}</h1><p>{}</p>",
            escape(&self.headline())
        );
        for table in self.tables() {
            html.push_str(&format!("<h2>{}</h2>", escape(table.title)));
            if table.rows.is_empty() {
                html.push_str(&format!("<p>{}</p>", escape(table.none)));
                continue;
            }
            html.push_str("<table><tr>");
            for name in table.columns {
                html.push_str(&format!("<th>{}</th>", escape(name)));
            }
            html.push_str("</tr>");
            for row in &table.rows {
                html.push_str("<tr>");
                for cell in row {
                    html.push_str(&format!("<td>{}</td>", escape(cell)));
                }
                html.push_str("</tr>");
            }
            html.push_str("</table>");
        }
        html.push_str("</html>\n");
        html
    }
}

const STYLE: &str = "body{font:14px/1.5 system-ui,sans-serif;margin:2em auto;max-width:80em;padding:0 1em;color:#1c2430;background:#fff}\
h1{font-size:1.4em}h2{font-size:1.05em;margin-top:2em}table{border-collapse:collapse}\
th,td{text-align:left;padding:.2em 1.2em .2em 0;border-bottom:1px solid #dde2ea;font-variant-numeric:tabular-nums}th{font-weight:600;color:#5b6675}";

/// Names come from the bus.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use efd_central_ledger::Hour;
    use serde_json::json;

    use super::*;

    fn row(topic: &str, centre: u64, lost: &[(&str, u64)]) -> Row {
        let lost: BTreeMap<String, u64> = lost
            .iter()
            .map(|(why, count)| ((*why).to_owned(), *count))
            .collect();
        Row {
            site: "summit".into(),
            topic: topic.into(),
            hour: Hour(0),
            published: centre + lost.values().sum::<u64>(),
            received: centre,
            edge: centre,
            centre,
            stages: BTreeMap::new(),
            lost,
            uncounted: 0,
            before_contact: 0,
            unnamed: 0,
        }
    }

    #[test]
    fn a_night_is_told_by_component() {
        let account = Account {
            rows: vec![
                row("lsst.sal.MTMount.azimuth", 99_999, &[("crash", 1)]),
                row("lsst.sal.MTMount.elevation", 100, &[]),
                row("dds.<script>", 5, &[]),
            ],
            lanes: Vec::new(),
        };
        let night = Night {
            title: "20261127".into(),
            account: &account,
            link: &[],
            edges: &json!([{ "site": "summit", "edge": "e", "connected": true, "clock_behind_seconds": 0.25 }]),
        };
        let text = night.to_text();
        assert!(
            text.contains(
                "100105 samples published, 100104 at the centre (99.9990 %), 1 lost by name"
            ),
            "{text}"
        );
        let line = text
            .lines()
            .find(|line| line.contains("MTMount  "))
            .unwrap();
        assert!(
            line.contains("1 of 2") && line.contains("99.9990 %") && line.contains("1 crash"),
            "{line}"
        );
        assert!(text.contains("0.250"), "{text}");
        let html = night.to_html();
        assert!(
            html.contains("dds.&lt;script&gt;") && !html.contains("dds.<script>"),
            "{html}"
        );
    }

    #[test]
    fn what_is_not_complete_is_never_a_hundred_percent() {
        assert_eq!(percent(u64::MAX - 1, u64::MAX), "99.9999 %");
        assert_eq!(
            (percent(5, 5), percent(0, 0)),
            ("100.0000 %".into(), "-".into())
        );
    }
}
