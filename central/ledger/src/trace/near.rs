//! Names that somebody may have meant.

const NAMES_MAX: usize = 5;
/// Letters that may differ.
const DISTANCE_MAX: usize = 6;

/// The nearest of `known`: names that hold the one sought, or are held in it, and names that differ by a few letters.
pub(super) fn names(sought: &str, known: impl IntoIterator<Item = String>) -> Vec<String> {
    let fold = |text: &str| text.to_ascii_lowercase();
    let wanted = fold(sought);
    let limit = (wanted.len() / 3).clamp(1, DISTANCE_MAX);
    let rank = |name: String| {
        let found = fold(&name);
        let holds = !wanted.is_empty() && (found.contains(&wanted) || wanted.contains(&found));
        let distance = match holds {
            true => 0,
            false if limit < wanted.len().abs_diff(found.len()) => usize::MAX,
            false => distance(wanted.as_bytes(), found.as_bytes()),
        };
        (distance <= limit).then_some((distance, name))
    };
    let mut near: Vec<_> = known.into_iter().filter_map(rank).collect();
    near.sort_unstable();
    near.truncate(NAMES_MAX);
    near.into_iter().map(|(_, name)| name).collect()
}

/// Insertions, deletions and replacements.
fn distance(a: &[u8], b: &[u8]) -> usize {
    let mut previous: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, to) in b.iter().enumerate() {
            let replaced = previous[j] + usize::from(from != to);
            row.push(replaced.min(previous[j + 1] + 1).min(row[j] + 1));
        }
        previous = row;
    }
    previous[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_meant() {
        let known = [
            "lsst.sal.LabMount.elevation",
            "lsst.sal.LabMount.azimuth",
            "lsst.sal.LabMount.logevent_state",
            "ros.chatter",
        ];
        let check = |sought: &str, expected: &[&str]| {
            assert_eq!(
                names(sought, known.map(str::to_owned)),
                expected,
                "{sought}"
            );
        };
        check("lsst.sal.LabMount.elevatoin", &known[..1]);
        check("labmount.azimuth", &known[1..2]);
        check("lsst.sal.labmount.AZIMUTH", &known[1..2]);
        check("elevation", &known[..1]);
        check("nothing.of.the.kind", &[]);
        check("", &[]);
    }
}
