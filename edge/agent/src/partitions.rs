//! Which partitions are ours: DDS's wildcards `*` and `?`.

/// Patterns such as `summit.*`.
#[derive(Clone, Debug)]
pub struct Patterns(Vec<Vec<char>>);

impl Patterns {
    pub fn new(patterns: &[String]) -> Self {
        Self(
            patterns
                .iter()
                .map(|pattern| pattern.chars().collect())
                .collect(),
        )
    }

    /// Whether a writer with these partitions is read. One in the default partition matches the pattern `` and `*`.
    pub fn take_any(&self, partitions: &[String]) -> bool {
        let matches_any = |name: &str| {
            let name: Vec<char> = name.chars().collect();
            self.0.iter().any(|pattern| matches(pattern, &name))
        };
        if partitions.is_empty() {
            matches_any("")
        } else {
            partitions.iter().any(|name| matches_any(name))
        }
    }
}

/// Linear in practice: only the last `*` is gone back to.
fn matches(pattern: &[char], name: &[char]) -> bool {
    let (mut p, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(&c) if c == '?' || c == name[n] => {
                p += 1;
                n += 1;
            }
            Some(_) | None => match &mut star {
                Some((star_p, star_n)) => {
                    *star_n += 1;
                    (p, n) = (*star_p + 1, *star_n);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|&c| c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards() {
        let check = |pattern: &str, name: &str, expected: bool| {
            let patterns = Patterns::new(&[pattern.to_owned()]);
            assert_eq!(
                patterns.take_any(&[name.to_owned()]),
                expected,
                "{pattern} {name}"
            );
        };
        check("summit.*", "summit.MTMount.data", true);
        check("summit.*", "tucson.MTMount.data", false);
        check("summit.*.cmd", "summit.MTMount.data", false);
        check("*", "", true);
        check("a?c*e", "abcde", true);
        check("a*b*c", "aXXbYYbZZc", true);
        check("a*b*c", "aXXbYYbZZ", false);
        check("summit", "summit2", false);
        assert!(!Patterns::new(&["summit.*".into()]).take_any(&[]));
        assert!(Patterns::new(&["*".into()]).take_any(&[]));
    }
}
