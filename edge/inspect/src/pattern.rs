//! Topics by pattern, and names that could have been meant.

pub use efd_shared_model::Pattern;

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
