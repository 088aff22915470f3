use efd_shared_model::{EpochDeclaration, EpochId};

/// Epochs among `known` that continue the same parent as `declared`, and are not it: two children of one parent say that
/// a disk was cloned or a backup restored. The data of both are kept; a human must come.
///
/// An epoch without a parent has no siblings: a new disk in an old appliance begins anew.
pub fn siblings<'a>(
    declared: &EpochDeclaration,
    known: impl IntoIterator<Item = &'a EpochDeclaration>,
) -> Vec<EpochId> {
    let Some(parent) = &declared.parent else {
        return Vec::new();
    };
    let is_sibling = |other: &&EpochDeclaration| {
        other.epoch != declared.epoch
            && other.edge == declared.edge
            && other
                .parent
                .as_ref()
                .is_some_and(|theirs| theirs.epoch == parent.epoch)
    };
    let mut found: Vec<EpochId> = known
        .into_iter()
        .filter(is_sibling)
        .map(|e| e.epoch)
        .collect();
    found.sort();
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use efd_shared_model::epoch::Parent;
    use efd_shared_model::{ClockState, EdgeId};

    use super::*;

    fn epoch(id: u8, parent: Option<u8>) -> EpochDeclaration {
        EpochDeclaration {
            edge: EdgeId([1; 16]),
            site: "summit".parse().unwrap(),
            epoch: EpochId([id; 16]),
            parent: parent.map(|id| Parent {
                epoch: EpochId([id; 16]),
                heads: Vec::new(),
            }),
            began: ClockState::default(),
            software: "1".into(),
        }
    }

    #[test]
    fn two_children_of_one_parent() {
        let known = [
            epoch(1, None),
            epoch(2, Some(1)),
            epoch(3, Some(2)),
            epoch(9, None),
        ];
        let check = |declared: EpochDeclaration, expected: &[u8]| {
            let expected: Vec<_> = expected.iter().map(|&id| EpochId([id; 16])).collect();
            assert_eq!(siblings(&declared, &known), expected, "{declared:?}");
        };
        check(epoch(4, Some(3)), &[]);
        check(epoch(4, Some(1)), &[2]);
        check(epoch(2, Some(1)), &[]); // declared again
        check(epoch(4, None), &[]);
        let mut elsewhere = epoch(4, Some(1));
        elsewhere.edge = EdgeId([2; 16]);
        check(elsewhere, &[]);
    }
}
