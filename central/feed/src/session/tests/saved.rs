//! What the log may forget.

use super::*;

/// It is what a durable checkpoint has, and nothing that was delivered since: a session killed now needs that again.
#[test]
fn what_is_saved_is_durable() {
    let mut world = World::new(5, false);
    world.calm();
    let deliver = |world: &mut World| {
        for _ in 0..50 {
            world.append(Class::Live);
        }
        for _ in 0..1_000 {
            world.step(Duration::from_millis(20)).unwrap();
        }
        let session = world.session.as_ref().unwrap();
        let delivered = session.checkpoint().progress;
        assert!(world.blocks.keys().all(|&id| has(&delivered, id)));
        (session.saved().clone(), delivered)
    };
    let (first, delivered) = deliver(&mut world);
    assert_eq!(first, delivered);
    assert_eq!(first, world.store.checkpoint().progress);

    world.store.is_broken = true;
    let (saved, delivered) = deliver(&mut world);
    assert_eq!(saved, first);
    assert_ne!(saved, delivered);

    world.store.is_broken = false;
    let (saved, delivered) = deliver(&mut world);
    assert_eq!(saved, delivered);
    assert_eq!(saved, world.store.checkpoint().progress);

    // A new session begins where the last one was sure.
    world.crash();
    world.step(Duration::from_millis(20)).unwrap();
    let session = world.session.as_ref().unwrap();
    assert_eq!(session.saved(), &saved);
}
