use std::collections::BTreeMap;

use serde::Deserialize;

use super::*;
use crate::secret::Secret;
use crate::units::{ByteSize, Positive, Span};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    site: String,
    #[serde(default)]
    buffer: Buffer,
    #[serde(default)]
    budgets: BTreeMap<String, ByteSize>,
    #[serde(default)]
    http: Http,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Buffer {
    bytes_max: ByteSize,
    retain: Positive<Span>,
    domain: u32,
    folders: Vec<String>,
}

impl Default for Buffer {
    fn default() -> Self {
        Self {
            bytes_max: ByteSize::from_gib(1),
            retain: "7d".parse().unwrap(),
            domain: 0,
            folders: Vec::new(),
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Http {
    token: Option<Secret>,
}

fn parse_with(text: &str, env: &[(&str, &str)], set: &[&str]) -> Result<Config, ConfigError> {
    let env = env.iter().map(|(name, value)| (name.into(), value.into()));
    let set: Vec<String> = set.iter().map(|flag| (*flag).to_owned()).collect();
    parse(Path::new("edge.toml"), text, "EFD_EDGE__", env, &set)
}

fn refusal(text: &str, env: &[(&str, &str)], set: &[&str]) -> String {
    parse_with(text, env, set).unwrap_err().to_string()
}

#[test]
fn flags_win_over_the_environment_over_the_file_over_defaults() {
    let file = "site = 'file'\n[buffer]\nbytes_max = '2GiB'\n";
    let env = [
        ("EFD_EDGE__SITE", "env"),
        ("EFD_EDGE__BUFFER__BYTES_MAX", "3GiB"),
        ("EFD_CENTRAL__SITE", "other daemon"),
        ("EFD_LOG", "debug"),
    ];
    let check = |env: &[(&str, &str)], set: &[&str], site: &str, gib: u64| {
        let config = parse_with(file, env, set).unwrap();
        assert_eq!(
            (config.site.as_str(), config.buffer.bytes_max),
            (site, ByteSize::from_gib(gib))
        );
        assert_eq!(config.buffer.retain.get(), Span::from_days(7));
    };
    check(&[], &[], "file", 2);
    check(&env, &[], "env", 3);
    check(&env, &["site=flag"], "flag", 3);
    check(
        &env,
        &["buffer.bytes_max=4GiB", "buffer.bytes_max=5GiB"],
        "env",
        5,
    );
}

#[test]
fn overrides_reach_sections_that_the_file_does_not_have() {
    let config = parse_with(
        "",
        &[
            ("EFD_EDGE__SITE", "summit"),
            ("EFD_EDGE__BUFFER__DOMAIN", "3"),
        ],
        &[
            r#"budgets."MTMount.elevation"=1MiB"#,
            r#"buffer.folders=["a", "b"]"#,
        ],
    )
    .unwrap();
    assert_eq!(config.buffer.domain, 3);
    assert_eq!(config.buffer.folders, ["a", "b"]);
    assert_eq!(config.budgets["MTMount.elevation"], ByteSize::from_mib(1));
}

#[test]
fn a_value_that_looks_like_a_number_may_be_text() {
    let token = "1234567890123456789";
    let config = parse_with(
        "site='x'",
        &[("EFD_EDGE__HTTP__TOKEN", token)],
        &["site=42"],
    )
    .unwrap();
    assert_eq!(config.site, "42");
    assert!(config.http.token.unwrap().matches(token.as_bytes()));
}

#[test]
fn errors_of_the_file_name_line_column_key_and_what_to_write() {
    let check = |text: &str, expected: &str| assert_eq!(refusal(text, &[], &[]), expected);
    check(
        "site = 'a'\n[buffer]\nretain = 7\n",
        "edge.toml:3:10: buffer.retain: `7` has no unit: write `7s` for seconds, `7m` for minutes, \
         `7h` for hours, `7d` for days\n  3 | retain = 7\n    |          ^",
    );
    check(
        "site = 'a'\n[buffer]\nbyte_max = 1\n",
        "edge.toml:3:1: buffer.byte_max: unknown field `byte_max`, expected one of `bytes_max`, \
         `retain`, `domain`, `folders`\n  3 | byte_max = 1\n    | ^",
    );
    check(
        "site = 'a'\nbuffer = { retain = '0s' }\n",
        "edge.toml:2:21: buffer.retain: `0s` is zero; more than zero is needed here\
         \n  2 | buffer = { retain = '0s' }\n    |                     ^",
    );
    check(
        "site = 'a'\n[[budgets]]\n",
        "edge.toml:2:1: budgets: invalid type: sequence, expected a map\n  2 | [[budgets]]\n    | ^",
    );
    check(
        "[buffer]\ndomain = 0\n",
        "edge.toml:1:1: `site` is missing; add a line `site = …` here\n  1 | [buffer]\n    | ^",
    );
}

#[test]
fn errors_of_the_file_survive_overrides() {
    let error = refusal(
        "site = 'a'\n[buffer]\nretain = 7\n",
        &[],
        &["buffer.domain=1"],
    );
    assert!(
        error.starts_with("edge.toml:3:10: buffer.retain: "),
        "{error}"
    );
    assert!(
        parse_with(
            "site = 'a'\n[buffer]\nretain = 7\n",
            &[],
            &["buffer.retain=7d"]
        )
        .is_ok()
    );
}

#[test]
fn errors_of_overrides_name_the_variable_or_the_flag() {
    let check = |env: &[(&str, &str)], set: &[&str], expected: &str| {
        let error = refusal("site = 'a'", env, set);
        assert!(error.starts_with(expected), "{error}");
    };
    check(
        &[("EFD_EDGE__BUFFER__RETAIN", "7")],
        &[],
        "environment variable EFD_EDGE__BUFFER__RETAIN: buffer.retain: `7` has no unit: write",
    );
    check(
        &[("EFD_EDGE__BUFER__RETAIN", "7d")],
        &[],
        "environment variable EFD_EDGE__BUFER__RETAIN: bufer.retain: unknown field `bufer`, expected one of `site`, `buffer`",
    );
    check(
        &[],
        &["buffer.domain=-1"],
        "--set buffer.domain: buffer.domain: invalid value: integer `-1`, expected u32",
    );
    check(
        &[],
        &["buffer.domain"],
        "--set buffer.domain: there is no `=`",
    );
    check(
        &[],
        &["site.x=1"],
        "--set site.x: site.x: `site` is a string, not a section",
    );
    check(&[], &["a..b=1"], "--set a..b: the key is not one of TOML");
    check(
        &[("EFD_EDGE__", "1")],
        &[],
        "environment variable EFD_EDGE__: a part of the key is empty",
    );
    check(
        &[],
        &["a.b.c.d.e.f.g.h.i=1"],
        "--set a.b.c.d.e.f.g.h.i: the key has 9 parts, at most 8",
    );
}

#[test]
fn secrets_are_not_shown() {
    let token = "hunter2hunter2hunter2";
    for text in [
        format!("site = 'a'\n[http]\ntoken = '{token}"),
        format!("site = 'a'\n[http]\ntoken = '{token} with a space'"),
        format!("site = 'a'\n[http]\ntoken = ['{token}']"),
        "site = 'a'\n[http]\ntoken = 2202220222022202".to_owned(),
        format!("site = 'a'\n[http]\ntokens = '{token}'"),
        "site = 'a'\n\nregistri = 'http://anna:hunter2@r:8081'".to_owned(),
    ] {
        let error = refusal(&text, &[], &[]);
        assert!(error.starts_with("edge.toml:3:"), "{error}");
        assert!(
            !error.contains("hunter2") && !error.contains("2202"),
            "{error}"
        );
    }
    let error = refusal(
        "site = 'a'",
        &[("EFD_EDGE__HTTP__TOKEN", "hunter2 hunter2 hunter2")],
        &[],
    );
    assert!(!error.contains("hunter2"), "{error}");
}

#[test]
fn files_that_cannot_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("edge.toml");
    let load = || load::<Config>(&path, "EFD_TEST_OF_FILES__", &[]);
    assert!(matches!(load(), Err(ConfigError::Read { .. })));
    std::fs::write(&path, b"site = '\xff'").unwrap();
    assert!(matches!(load(), Err(ConfigError::NotText { .. })));
    std::fs::write(&path, vec![b'#'; CONFIG_BYTES_MAX as usize + 1]).unwrap();
    assert!(matches!(load(), Err(ConfigError::TooLarge { .. })));
    std::fs::write(&path, "site = 'summit'").unwrap();
    assert_eq!(load().unwrap().site, "summit");
}

#[test]
fn no_text_panics() {
    let nested = format!("site = {}{}", "[".repeat(500), "]".repeat(500));
    for text in [
        "",
        "=",
        "[",
        "site = \"é\nü",
        "é = 1",
        "\u{0}",
        "a.b.c = 1",
        &nested,
    ] {
        assert!(parse_with(text, &[], &[]).is_err(), "{text}");
        if let Ok(config) = parse_with("site='a'", &[], &[text]) {
            assert_ne!(config.site, "a", "{text}");
        }
    }
}
