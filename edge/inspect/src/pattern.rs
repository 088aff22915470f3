//! Topics by pattern.

/// `*` stands for any text, `?` for one character; compared with a topic's full name and with the name behind
/// `lsst.sal.`, so that `MTMount.elevation`, `MTMount.*` and `lsst.sal.MTMount.elevation` all do.
#[derive(Clone, Debug, PartialEq, Eq)]
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

/// Up to `max` of `names` that could have been meant by `name`, the likeliest first: few letters differ, or one is in
/// the other, whatever the case.
pub(crate) fn nearest<'a>(
    name: &str,
    names: impl Iterator<Item = &'a str>,
    max: usize,
) -> Vec<String> {
    let wanted: Vec<char> = name.to_lowercase().chars().take(200).collect();
    let text: String = wanted.iter().collect();
    let mut near: Vec<(usize, &str)> = names
        .filter_map(|name| {
            let other = name.to_lowercase();
            let differ = differing(&wanted, &other.chars().take(200).collect::<Vec<_>>());
            let is_part = wanted.len() > 1 && (other.contains(&text) || text.contains(&other));
            (differ <= wanted.len() / 3 || is_part).then_some((differ, name))
        })
        .collect();
    near.sort_unstable();
    near.into_iter()
        .take(max)
        .map(|(_, name)| name.to_owned())
        .collect()
}

/// Letters to add, take away or change (Levenshtein).
fn differing(a: &[char], b: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (index, left) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = index + 1;
        for (column, right) in b.iter().enumerate() {
            let changed = diagonal + usize::from(left != right);
            diagonal = row[column + 1];
            row[column + 1] = changed.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
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

    #[test]
    fn names_nearby() {
        let names = ["actualPosition", "actualVelocity", "torque", "x"];
        let near = |name: &str| nearest(name, names.into_iter(), 2);
        assert_eq!(near("actualPositon"), ["actualPosition"]);
        assert_eq!(near("ACTUAL"), ["actualPosition", "actualVelocity"]);
        assert_eq!(near("torqeu"), ["torque"]);
        assert!(near("z").is_empty() && near("elevation").is_empty());
        let letters = |text: &str| text.chars().collect::<Vec<_>>();
        assert_eq!(differing(&letters("kitten"), &letters("sitting")), 3);
        assert_eq!(differing(&[], &letters("abc")), 3);
    }
}
