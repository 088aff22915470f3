use proptest::prelude::*;

use super::*;

fn error<T: FromStr<Err = UnitError> + fmt::Debug>(text: &str) -> String {
    text.parse::<T>().unwrap_err().to_string()
}

#[test]
fn spans() {
    let check = |text: &str, nanos: i64, shown: &str| {
        let span: Span = text.parse().unwrap();
        assert_eq!(span.nanos(), nanos, "{text}");
        assert_eq!(span.to_string(), shown, "{text}");
    };
    check("500ms", 500_000_000, "500ms");
    check("20s", 20_000_000_000, "20s");
    check("10m", 600_000_000_000, "10m");
    check("1h", 3_600_000_000_000, "1h");
    check("7d", 604_800_000_000_000, "1w");
    check("31d", 2_678_400_000_000_000, "31d");
    check("52w", 31_449_600_000_000_000, "52w");
    check("1.5h", 5_400_000_000_000, "90m");
    check("0.001ms", 1_000, "1us");
    check("250µs", 250_000, "250us");
    check(" 20 s ", 20_000_000_000, "20s");
    check("1_000ns", 1_000, "1us");
    check("0s", 0, "0s");
    check("9223372036854775807ns", i64::MAX, "9223372036854775807ns");
    assert_eq!(Span::from_days(7).duration(), Duration::from_secs(604_800));
    assert_eq!(Span::from_secs(u64::MAX).nanos(), i64::MAX);
}

#[test]
fn sizes() {
    let check = |text: &str, bytes: u64, shown: &str| {
        let size: ByteSize = text.parse().unwrap();
        assert_eq!(size.bytes(), bytes, "{text}");
        assert_eq!(size.to_string(), shown, "{text}");
    };
    check("64KiB", 65_536, "64KiB");
    check("200GiB", 200 << 30, "200GiB");
    check("10MB", 10_000_000, "10MB");
    check("1KB", 1_000, "1kB");
    check("1.5GiB", 3 << 29, "1536MiB");
    check("1.25GiB", 1_342_177_280, "1280MiB");
    check("1024B", 1_024, "1KiB");
    check("17B", 17, "17B");
    check("0B", 0, "0B");
    check("4TiB", 4 << 40, "4TiB");
}

#[test]
fn rates() {
    let check = |text: &str, bits: u64, shown: &str| {
        let rate: ByteRate = text.parse().unwrap();
        assert_eq!(rate.bits_per_second(), bits, "{text}");
        assert_eq!(rate.to_string(), shown, "{text}");
    };
    check("20Mbit/s", 20_000_000, "20Mbit/s");
    check("1Gbit/s", 1_000_000_000, "1Gbit/s");
    check("5MB/s", 40_000_000, "40Mbit/s");
    check("1KiB/s", 8_192, "8192bit/s");
    check("2.5Mbit/s", 2_500_000, "2500kbit/s");
    assert_eq!(
        "20Mbit/s".parse::<ByteRate>().unwrap().bytes_per_second(),
        2_500_000
    );
}

#[test]
fn what_is_refused_says_what_to_write() {
    let check = |error: String, expected: &str| assert_eq!(error, expected);
    check(
        error::<Span>("7"),
        "`7` has no unit: write `7s` for seconds, `7m` for minutes, `7h` for hours, `7d` for days",
    );
    check(
        error::<ByteSize>("200"),
        "`200` has no unit: write `200MB` for megabytes, `200MiB` for 1024² bytes, `200GiB` for 1024³ bytes",
    );
    check(
        error::<ByteRate>("20"),
        "`20` has no unit: write `20Mbit/s` for megabits a second, `20MB/s` for megabytes a second",
    );
    check(
        error::<Span>("7days"),
        "`7days` has the unknown unit `days`: did you mean `7d`?",
    );
    check(
        error::<Span>("1y"),
        "`1y` has the unknown unit `y`: years differ in length; write weeks or days, as in `52w`",
    );
    check(
        error::<ByteSize>("20M"),
        "`20M` has the unknown unit `M`: did you mean `20MiB`?",
    );
    check(
        error::<ByteRate>("20Mbps"),
        "`20Mbps` has the unknown unit `Mbps`: did you mean `20Mbit/s`?",
    );
    check(
        error::<Span>("7q"),
        "`7q` has the unknown unit `q`: the units are ns, us, ms, s, m, h, d, w, µs",
    );
    check(
        error::<Span>("soon"),
        "`soon` is not a length of time: write it like `20s`, `10m`, `1h` or `7d`",
    );
    check(
        error::<Span>("-1s"),
        "`-1s` is negative; a length of time is zero or more",
    );
    check(
        error::<Span>("0.5ns"),
        "`0.5ns` is finer than 1ns, the smallest step of a length of time",
    );
    check(
        error::<ByteSize>("9000000TiB"),
        "`9000000TiB` is larger than 9223372036854775807B, the largest value",
    );
    check(
        error::<Positive<Span>>("0s"),
        "`0s` is zero; more than zero is needed here",
    );
    for text in ["", ".5s", "1..5s", "s", "_1s", "1.2.3s", "١s"] {
        assert!(
            matches!(text.parse::<Span>(), Err(UnitError::NotANumber { .. })),
            "{text}"
        );
    }
    for text in [
        "99999999999999999999999999999999999999999999s",
        "300y",
        "15251w",
    ] {
        assert!(text.parse::<Span>().is_err(), "{text}");
    }
}

#[test]
fn from_toml() {
    #[derive(Debug, serde::Deserialize)]
    struct Config {
        retain: Positive<Span>,
        bytes_max: ByteSize,
        cap: ByteRate,
    }
    let config: Config =
        toml::from_str("retain = '7d'\nbytes_max = '1GiB'\ncap = '20Mbit/s'").unwrap();
    assert_eq!(config.retain.get(), Span::from_days(7));
    assert_eq!(config.bytes_max, ByteSize::from_gib(1));
    assert_eq!(config.cap, ByteRate::from_mbit_per_second(20));
    let refused = |text: &str, part: &str| {
        let error = toml::from_str::<Config>(text).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    };
    refused(
        "retain = 7\nbytes_max = '1B'\ncap = '1bit/s'",
        "`7` has no unit: write `7s`",
    );
    refused(
        "retain = 7.5\nbytes_max = '1B'\ncap = '1bit/s'",
        "`7.5d` for days",
    );
    refused(
        "retain = -7\nbytes_max = '1B'\ncap = '1bit/s'",
        "is negative",
    );
    refused("retain = '0s'\nbytes_max = '1B'\ncap = '1bit/s'", "is zero");
    refused(
        "retain = true\nbytes_max = '1B'\ncap = '1bit/s'",
        "a length of time in quotes",
    );
}

proptest! {
    #[test]
    fn what_is_printed_is_read_back(value in 0..=QUANTITY_MAX) {
        prop_assert_eq!(Span(value).to_string().parse(), Ok(Span(value)));
        prop_assert_eq!(ByteSize(value).to_string().parse(), Ok(ByteSize(value)));
        prop_assert_eq!(ByteRate(value).to_string().parse(), Ok(ByteRate(value)));
    }

    #[test]
    fn fractions_are_exact(whole in 0u64..1_000_000, fraction in 0u64..1_000_000_000) {
        let span: Span = format!("{whole}.{fraction:09}s").parse().unwrap();
        prop_assert_eq!(span.0, whole * SECOND + fraction);
    }

    #[test]
    fn no_text_panics(text in "\\PC{0,40}") {
        let outcomes = [text.parse::<Span>().map(|s| s.0), text.parse::<ByteSize>().map(|s| s.0)];
        prop_assert!(outcomes.into_iter().flatten().all(|value| value <= QUANTITY_MAX));
    }
}

#[test]
fn sizes_for_people() {
    for (bytes, expected) in [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1536, "1.5 KiB"),
        (5 << 30, "5.0 GiB"),
        (u64::MAX, "16384.0 PiB"),
    ] {
        assert_eq!(size(bytes), expected);
    }
}
