use super::*;

const POINT: &[u8] = b"module geo { const long SIDES = 3; struct Point { double x; }; };";
const SHAPE: &[u8] = b"#include \"geo/msg/Point.idl\"
    module geo { struct Shape { Point corners[SIDES]; sequence<Point> more; }; };";
const SCENE: &[u8] = b"  #  include <Shape.idl>
    struct Scene { geo::Shape shape; geo::Point at; };";

fn names(names: &[&str]) -> Vec<TypeName> {
    names.iter().map(|name| TypeName::new(name)).collect()
}

fn errors(registry: &Registry) -> Vec<String> {
    let errors = registry.errors();
    errors
        .map(|(file, error)| format!("{file}:{error}"))
        .collect()
}

#[test]
fn what_is_included_is_known_in_whatever_order_files_come() {
    let files = [
        ("a/Point.idl", POINT),
        ("a/Shape.idl", SHAPE),
        ("a/Scene.idl", SCENE),
    ];
    for order in [
        [0, 1, 2],
        [0, 2, 1],
        [1, 0, 2],
        [1, 2, 0],
        [2, 0, 1],
        [2, 1, 0],
    ] {
        let mut registry = Registry::default();
        let mut added = Vec::new();
        for at in order {
            let (name, text) = files[at];
            let change = registry.load(name, text);
            assert_eq!(change.removed, names(&[]), "{order:?}");
            added.extend(change.added);
        }
        added.sort();
        assert_eq!(
            added,
            names(&["Scene", "geo::Point", "geo::Shape"]),
            "{order:?}"
        );
        assert_eq!(errors(&registry), [""; 0], "{order:?}");
        let scene = registry.get("Scene").unwrap();
        let all: Vec<_> = scene.types.iter().map(|it| it.name().clone()).collect();
        assert_eq!(all, names(&["Scene", "geo::Point", "geo::Shape"]));
        assert_eq!(registry.conflicts().count(), 0);
    }
}

/// As packages of ROS 2 have them.
#[test]
fn of_files_of_one_name_the_nearest_is_meant() {
    let mut registry = Registry::default();
    registry.load(
        "share/one/msg/P.idl",
        b"module one { struct P { long a; }; };",
    );
    registry.load(
        "share/two/msg/P.idl",
        b"#include \"one/msg/P.idl\"\nmodule two { struct P { one::P p; }; };",
    );
    registry.load(
        "share/two/msg/Q.idl",
        b"#include \"two/msg/P.idl\"\nmodule two { struct Q { two::P p; }; };",
    );
    assert_eq!(errors(&registry), [""; 0]);
    let q = registry.get("two::Q").unwrap();
    let all: Vec<_> = q.types.iter().map(|it| it.name().clone()).collect();
    assert_eq!(all, names(&["one::P", "two::P", "two::Q"]));
}

#[test]
fn what_includes_a_file_follows_it() {
    let mut registry = Registry::default();
    registry.load("Point.idl", POINT);
    registry.load("Shape.idl", SHAPE);
    registry.load("Scene.idl", SCENE);
    assert_eq!(registry.load("Point.idl", POINT), Change::default());

    let other = b"module geo { const long SIDES = 4; struct Point { double x, y; }; };";
    let change = registry.load("Point.idl", other);
    let expected = Change {
        changed: names(&["Scene", "geo::Point", "geo::Shape"]),
        ..Change::default()
    };
    assert_eq!(change, expected);
    let scene = registry.get("Scene").unwrap();
    let shape = scene.types.structure("geo::Shape").unwrap();
    let point = scene.types.structure("geo::Point").unwrap();
    assert!(
        format!("{shape:?}").contains("dimensions: [4]"),
        "{shape:?}"
    );
    assert_eq!(point.members.len(), 2);

    let change = registry.remove("Point.idl");
    assert_eq!(
        change.removed,
        names(&["Scene", "geo::Point", "geo::Shape"])
    );
    assert!(!errors(&registry).is_empty());
    let change = registry.load("Point.idl", POINT);
    assert_eq!(change.added, names(&["Scene", "geo::Point", "geo::Shape"]));
    assert_eq!(errors(&registry), [""; 0]);
}

/// What a struct is made of changes it too, in one file as in several.
#[test]
fn a_nested_type_that_changes() {
    let mut registry = Registry::default();
    registry.load(
        "one.idl",
        b"struct In { long a; }; struct Out { In in; }; struct Other { long b; };",
    );
    let change = registry.load(
        "one.idl",
        b"struct In { float a; }; struct Out { In in; }; struct Other { long b; };",
    );
    assert_eq!(change.changed, names(&["In", "Out"]));
}

#[test]
fn files_that_include_each_other_or_define_the_same() {
    let mut registry = Registry::default();
    registry.load("a.idl", b"#include \"b.idl\"\nstruct A { long a; B b; };");
    registry.load("b.idl", b"#include \"a.idl\"\nstruct B { long b; };");
    assert_eq!(errors(&registry), [""; 0]);
    assert!(registry.get("A").is_some() && registry.get("B").is_some());
    // Its own comes before what it includes.
    registry.load(
        "c.idl",
        b"#include \"b.idl\"\nstruct B { double mine; }; struct C { B b; };",
    );
    assert_eq!(errors(&registry), [""; 0]);
    let types = &registry.get("C").unwrap().types;
    assert_eq!(types.structure("B").unwrap().members[0].name, "mine");
}
