//! Situation 5 with chunks: what was deleted stays deleted in every clone, in whatever order they come back.

use crate::harness::Person;

/// The orders in which three clones come back.
const ORDERS: [[usize; 3]; 6] = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];

/// Takes in what the others pushed and gives what is new here; tells whether anything moved.
fn sync(person: &Person) -> bool {
    person.must(&["pull", "-q", "--no-rebase", "--no-edit", "origin", "main"]);
    let imported = person.json(&["import"])["outcome"] != "nothing";
    let exported = person.json(&["export", "--project", "demo"])["outcome"] != "nothing";
    if exported {
        person.must(&["add", "-A"]);
        person.must(&["commit", "-q", "-m", "chunks"]);
    }
    person.must(&["push", "-q", "origin", "HEAD:main"]);
    imported || exported
}

/// Makes three clones of a repository, with the driver.
fn clones(temp: &std::path::Path) -> [Person; 3] {
    let people = ["a", "b", "c"].map(|name| Person::new(temp, name));
    let hub = temp.join("hub.git");
    let hub = hub.to_str().expect("a path");
    people[0].must(&["init", "-q", "--bare", "-b", "main", hub]);
    for (at, person) in people.iter().enumerate() {
        person.must(&["init", "-q", "-b", "main"]);
        person.must(&["remote", "add", "origin", hub]);
        if at == 0 {
            assert_eq!(person.chunks(&["init"]).code, 0);
            let _ = person.device.save("demo", "kept", "text");
            let _ = person.json(&["export", "--project", "demo"]);
            person.must(&["add", "-A"]);
            person.must(&["commit", "-q", "-m", "first"]);
            person.must(&["push", "-q", "origin", "main"]);
        } else {
            person.must(&["pull", "-q", "origin", "main"]);
            assert_eq!(person.chunks(&["init"]).code, 0);
            assert!(sync(person));
        }
    }
    people
}

/// CONV-5, IDEM-1: one deletes what another has an older edit of and a third holds unchanged for long; in every order it
/// is gone in each clone, a later re-creation wins, and once more syncing moves nothing.
#[test]
fn scenario_5_conv_5_deleted_stays_deleted_in_every_order_of_clones() {
    let temp = tempfile::tempdir().expect("a directory");
    let people = clones(temp.path());
    let [a, b, c] = &people;
    let lists = |person: &Person, title: &str| person.device.titles(title).iter().any(|found| found == title);
    for (round, order) in ORDERS.iter().enumerate() {
        let title = format!("doomed {round}");
        let id = a.device.save("demo", &title, &format!("text {round}"));
        let of_one = ["--title", &title, "older edit"];
        assert!(people.iter().all(sync), "each has it");
        assert_eq!(b.device.ctl(&[&["update", id.as_str()][..], &of_one].concat()).code, 0);
        // A delete and an edit of one second: the delete wins; of a later second it wins anyway.
        let hard = if round % 2 == 0 { &["delete", id.as_str(), "--hard"][..] } else { &["delete", id.as_str()] };
        assert_eq!(a.device.ctl(hard).code, 0);
        for &which in order {
            let _ = sync(&people[which]);
        }
        // The first has what the last brought, and the others what became of it.
        for person in people.iter().chain(&people) {
            let _ = sync(person);
        }
        for person in &people {
            assert!(!lists(person, &title) && lists(person, "kept"), "order {order:?}");
            assert_eq!(person.dump("demo"), a.dump("demo"), "order {order:?}");
        }
    }
    assert!(!people.iter().any(sync), "no ping-pong of tombstones");
    // A genuine re-creation, of what was deleted for good and of what was not.
    for title in ["doomed 0", "doomed 1"] {
        let _ = c.device.save("demo", title, &title.replace("doomed", "text"));
    }
    for person in [c, a, b] {
        assert!(sync(person));
    }
    for title in ["doomed 0", "doomed 1"] {
        assert!(people.iter().all(|person| lists(person, title)), "{title} is back");
    }
    assert!(!people.iter().any(sync), "and nothing moves any more");
}
