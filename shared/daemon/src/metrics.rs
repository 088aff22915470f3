//! The metrics of a registry as rows of a table, for the page that lists them and the tests that hold it true.

use std::collections::BTreeMap;

use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

/// Name, as Prometheus has it, to its row: `` | `name` | kind | help | ``. A family without a member has none.
pub fn rows(registry: &Registry) -> BTreeMap<String, String> {
    let mut text = String::new();
    // Writing into a text cannot fail, and what is missing would be seen.
    let _written = encode(&mut text, registry).is_ok();
    rows_of(&text)
}

/// Of what `/metrics` answers.
pub fn rows_of(text: &str) -> BTreeMap<String, String> {
    let part = |line: &str, kind: &str| -> Option<(String, String)> {
        let (name, rest) = line.strip_prefix(kind)?.split_once(' ')?;
        Some((name.to_owned(), rest.to_owned()))
    };
    let kinds: BTreeMap<String, String> = text
        .lines()
        .filter_map(|line| part(line, "# TYPE "))
        .collect();
    let helps = text.lines().filter_map(|line| part(line, "# HELP "));
    let row = |(name, help): (String, String)| {
        let kind = kinds.get(&name).map_or("unknown", String::as_str);
        let ending = if kind == "counter" { "_total" } else { "" };
        let name = format!("{name}{ending}");
        let help = help.trim().trim_end_matches('.');
        let row = format!("| `{name}` | {kind} | {help} |");
        (name, row)
    };
    helps.map(row).collect()
}

/// Rows of a page that are of metrics whose names begin so, sorted.
pub fn rows_on<'a>(page: &'a str, prefixes: &[&str]) -> Vec<&'a str> {
    let is_ours = |line: &&str| {
        let name = line.strip_prefix("| `");
        name.is_some_and(|name| prefixes.iter().any(|prefix| name.starts_with(prefix)))
    };
    let mut rows: Vec<&str> = page.lines().filter(is_ours).collect();
    rows.sort_unstable();
    rows
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::counter::Counter;
    use prometheus_client::metrics::gauge::Gauge;

    use super::*;

    #[test]
    fn a_row_has_name_kind_and_help() {
        let mut registry = Registry::default();
        registry.register("b", "How many", Counter::<u64>::default());
        registry.register("a", "What is", Gauge::<i64>::default());
        let rows = rows(&registry);
        let rows: Vec<&str> = rows.values().map(String::as_str).collect();
        assert_eq!(
            rows,
            [
                "| `a` | gauge | What is |",
                "| `b_total` | counter | How many |"
            ]
        );
    }
}
