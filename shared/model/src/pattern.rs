//! Topics by pattern.

use std::fmt;

/// `*` stands for any text, `?` for one character; compared with a topic's full name and with the name behind
/// `lsst.sal.`, so that `MTMount.elevation`, `MTMount.*` and `lsst.sal.MTMount.elevation` all do.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pattern(Vec<char>);

const PREFIX: &str = "lsst.sal.";

impl Pattern {
    pub fn new(text: &str) -> Self {
        Self(text.chars().collect())
    }

    pub fn matches(&self, topic: &str) -> bool {
        self.matches_whole(topic)
            || topic
                .strip_prefix(PREFIX)
                .is_some_and(|short| self.matches_whole(short))
    }

    /// Quadratic at worst: on a mismatch the last `*` takes one character more, an earlier one never has to.
    fn matches_whole(&self, text: &str) -> bool {
        let (pattern, text): (&[char], Vec<char>) = (&self.0, text.chars().collect());
        let (mut at, mut in_text) = (0, 0);
        let mut star: Option<(usize, usize)> = None;
        while in_text < text.len() {
            match pattern.get(at) {
                Some('*') => {
                    star = Some((at, in_text));
                    at += 1;
                }
                Some(&c) if c == '?' || c == text[in_text] => {
                    at += 1;
                    in_text += 1;
                }
                Some(_) | None => {
                    let Some((star_at, taken)) = star else {
                        return false;
                    };
                    star = Some((star_at, taken + 1));
                    (at, in_text) = (star_at + 1, taken + 1);
                }
            }
        }
        pattern[at..].iter().all(|&c| c == '*')
    }

    /// Up to `max` of `topics` that could have been meant: those that have the pattern's longest word, in any case.
    pub fn similar<'a>(&self, topics: impl Iterator<Item = &'a str>, max: usize) -> Vec<String> {
        let text: String = self.0.iter().collect::<String>().to_lowercase();
        let words = text
            .split(['*', '?', '.', '_'])
            .filter(|word| !word.is_empty());
        let longest = words.max_by_key(|word| word.len()).unwrap_or_default();
        let alike = topics.filter(|topic| topic.to_lowercase().contains(longest));
        alike.take(max).map(str::to_owned).collect()
    }
}

/// As it was written.
impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|c| write!(f, "{c}"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn patterns() {
        let check = |pattern: &str, topic: &str, expected: bool| {
            assert_eq!(
                Pattern::new(pattern).matches(topic),
                expected,
                "{pattern} {topic}"
            );
        };
        let topic = "lsst.sal.MTMount.elevation";
        for yes in [
            topic,
            "MTMount.elevation",
            "MTMount.*",
            "*elevation",
            "*",
            "lsst.*.MT*n",
            "MTMount.?levation",
            "**e*",
        ] {
            check(yes, topic, true);
        }
        for no in [
            "elevation",
            "MTMount",
            "mtmount.elevation",
            "",
            "?",
            "MTMount.elevation?",
            "*x*",
        ] {
            check(no, topic, false);
        }
        check("", "", true);
        check(&"*a".repeat(50), &"a".repeat(49), false);
    }

    #[test]
    fn suggestions() {
        let topics = [
            "lsst.sal.MTMount.elevation",
            "lsst.sal.MTMount.azimuth",
            "efd.losses",
        ];
        let similar = |pattern: &str| Pattern::new(pattern).similar(topics.into_iter(), 5);
        assert_eq!(similar("mtmount"), topics[..2]);
        assert_eq!(similar("loss"), topics[2..]);
        assert!(similar("camera*").is_empty());
    }

    /// Every way to take the pattern apart.
    fn oracle(pattern: &[char], text: &[char]) -> bool {
        match pattern.split_first() {
            None => text.is_empty(),
            Some(('*', rest)) => (0..=text.len()).any(|taken| oracle(rest, &text[taken..])),
            Some((c, rest)) => text
                .split_first()
                .is_some_and(|(first, behind)| (*c == '?' || c == first) && oracle(rest, behind)),
        }
    }

    proptest! {
        #[test]
        fn as_every_way_to_take_it_apart(pattern in "[ab*?é]{0,7}", text in "[abé]{0,8}") {
            let (p, t): (Vec<_>, Vec<_>) = (pattern.chars().collect(), text.chars().collect());
            let expected = oracle(&p, &t);
            prop_assert_eq!(Pattern::new(&pattern).matches(&text), expected);
            // As a whole, or behind the prefix.
            let long = format!("{PREFIX}{text}");
            let is_whole = oracle(&p, &long.chars().collect::<Vec<_>>());
            prop_assert_eq!(Pattern::new(&pattern).matches(&long), expected || is_whole);
            prop_assert_eq!(Pattern::new(&pattern).to_string(), pattern);
        }
    }
}
