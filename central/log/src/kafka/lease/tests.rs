use super::*;

const SEAT: SeatNumber = SeatNumber(0);

fn shared() -> Shared {
    let shared = Shared {
        role: "feed".into(),
        topic: "efd.feed".into(),
        state: Mutex::default(),
        changed: Condvar::new(),
        switch: Switch::new().unwrap(),
    };
    shared.granted([SEAT].into_iter());
    shared
}

fn committed(topic: &str) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, i32::from(SEAT.0), Offset::Offset(7))
        .unwrap();
    list
}

fn ago(span: Duration) -> Moment {
    Moment(Moment::now().0.saturating_sub(span))
}

/// A cluster that was silent answers a commit of long ago: the seat may be another's by now. Were it taken for a proof,
/// its deadline would be past, and the kernel would end this process, which is well.
#[test]
fn a_proof_that_comes_too_late_is_none() {
    let shared = shared();
    for late in [TENURE, KILL, KILL * 10] {
        shared.proved(&committed(&shared.topic), ago(late));
        let state = shared.state();
        assert_eq!(state.proven, None, "{late:?}");
        assert_eq!(state.seats[&SEAT].committed, None, "{late:?}");
    }
    let sent = Moment::now();
    shared.proved(&committed(&shared.topic), sent);
    assert_eq!(shared.state().proven, Some(sent));
    assert_eq!(shared.state().seats[&SEAT].committed, Some(7));
    shared.revoked([SEAT].into_iter());
}
