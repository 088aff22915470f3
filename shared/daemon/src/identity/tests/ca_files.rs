//! What a CA writes, and what it will not.

use super::*;

#[test]
fn the_ca_writes_files_that_are_private_whole_and_never_replaced() {
    let world = World::new();
    let authority = world.authority();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&world.edge.key), 0o600);
    assert_eq!(mode(&world.dir.path().join(ca::CA_KEY_FILE)), 0o600);
    assert_eq!(mode(&world.edge.certificate) & 0o600, 0o600);
    let names = || -> Vec<PathBuf> {
        let entries = std::fs::read_dir(world.dir.path()).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        names.sort();
        names
    };
    let before = names();
    assert_eq!(before.len(), 6, "nothing staged is left: {before:?}");
    let key = std::fs::read(&world.edge.key).unwrap();
    let now = utc_now();
    let again = authority.issue_edge(
        world.dir.path(),
        &"summit".parse().unwrap(),
        EDGE.parse().unwrap(),
        1,
        now,
    );
    assert!(matches!(again, Err(CaError::Exists { .. })));
    let again = ca::create(world.dir.path(), "test", 1, now);
    assert!(matches!(again, Err(CaError::Exists { .. })));
    assert_eq!(std::fs::read(&world.edge.key).unwrap(), key);
    assert_eq!(names(), before);

    // Where only the certificate is in the way, its new key does not stay behind; a dangling link is in the way too.
    let half = world.dir.path().join("half");
    std::fs::create_dir(&half).unwrap();
    symlink("nowhere", half.join(format!("summit-{EDGE}.crt"))).unwrap();
    let site = "summit".parse().unwrap();
    let outcome = authority.issue_edge(&half, &site, EDGE.parse().unwrap(), 1, now);
    assert!(matches!(outcome, Err(CaError::Exists { .. })));
    assert_eq!(std::fs::read_dir(&half).unwrap().count(), 1);
}

#[test]
fn the_ca_says_what_it_made() {
    let dir = tempfile::tempdir().unwrap();
    let now = utc_now();
    let made = ca::create(dir.path(), "test", ca::CA_DAYS, now).unwrap();
    assert_eq!(
        made.not_after.0,
        (now.0 + 3_650 * DAY) / NANOS_PER_SECOND * NANOS_PER_SECOND
    );
    let authority = Authority::open(dir.path()).unwrap();
    assert_eq!(authority.not_after(), made.not_after);
    let serials: std::collections::BTreeSet<_> = (0..20)
        .map(|index| {
            let name = format!("c{index}").parse().unwrap();
            let hosts = ["localhost".to_owned()];
            let written = authority
                .issue_central(dir.path(), &name, &hosts, 30, now)
                .unwrap();
            let der = CertificateDer::from_pem_file(&written.certificate).unwrap();
            let facts = CertificateFacts::parse(&der).unwrap();
            assert_eq!(facts.identity.to_string(), written.subject);
            assert_eq!(
                (facts.not_after, &facts.serial),
                (written.not_after, &written.serial)
            );
            assert_eq!(facts.days_left(now), 29); // Whole seconds: a part of one less than 30 days.
            assert_eq!(facts.serial.len(), 32);
            facts.serial
        })
        .collect();
    assert_eq!(serials.len(), 20);
}

#[test]
fn the_ca_refuses_what_would_not_work() {
    let world = World::new();
    let authority = world.authority();
    let dir = world.dir.path();
    let now = utc_now();
    let edge = |site: &str, days| {
        authority.issue_edge(
            dir,
            &site.parse().unwrap(),
            EDGE.parse().unwrap(),
            days,
            now,
        )
    };
    let central = |hosts: &[&str]| {
        let hosts: Vec<_> = hosts.iter().map(|host| (*host).to_owned()).collect();
        authority.issue_central(dir, &"other".parse().unwrap(), &hosts, 10, now)
    };
    assert!(matches!(
        edge("central", 10),
        Err(CaError::ReservedSite { .. })
    ));
    assert!(matches!(edge("tucson", 0), Err(CaError::Days { days: 0 })));
    assert!(matches!(
        edge("tucson", u32::MAX),
        Err(CaError::Days { .. })
    ));
    let error = edge("tucson", 3_651).unwrap_err();
    assert!(
        matches!(
            error,
            CaError::OutlivesCa {
                days_max: 3_649..=3_650,
                ..
            }
        ),
        "{error}"
    );
    assert!(matches!(central(&[]), Err(CaError::NoHost)));
    for bad in ["efd.example.org:4433", "a b", "", "https://x", "*"] {
        assert!(
            matches!(central(&[bad]), Err(CaError::Host { .. })),
            "{bad}"
        );
    }
    assert!(central(&["::1", "localhost"]).is_ok());
    let missing = Authority::open(&dir.join("missing")).unwrap_err();
    assert!(matches!(missing, CaError::Open { .. }), "{missing}");
    let other = World::new();
    replace(
        &dir.join(ca::CA_KEY_FILE),
        &std::fs::read(other.dir.path().join(ca::CA_KEY_FILE)).unwrap(),
    );
    assert!(matches!(Authority::open(dir), Err(CaError::NotOurs { .. })));
}
