//! Situation 5: Deleted stays deleted, everywhere, once.

use crate::queue;
use engram_tests::processes::{Cloud, Device, until};

/// The orders in which three devices come back.
const ORDERS: [[usize; 3]; 6] = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];

fn sync(device: &Device) {
    let sync = device.ctl(&["sync"]);
    assert_eq!(sync.code, 0, "{sync:?}");
}

/// CONV-5, IDEM-1: one device deletes what another has an older edit of and a third holds unchanged for long; in every
/// order it is gone everywhere, a later re-creation wins, and once more syncing moves nothing.
#[test]
fn scenario_5_conv_5_deleted_stays_deleted_in_every_order() {
    let temp = tempfile::tempdir().expect("a directory");
    let dir = temp.path().join("cloud");
    let cloud = Cloud::start(&dir);
    let devices = ["a", "b", "c"].map(|name| Device::enrolled(&temp.path().join(name), &cloud, "demo"));
    let [a, b, c] = &devices;
    let neighbour = a.save("demo", "neighbour", "an old text");
    let mut gone = Vec::new();
    for (round, order) in ORDERS.iter().enumerate() {
        let id = a.save("demo", &format!("doomed {round}"), &format!("text {round}"));
        until("all have it", || [b, c].iter().all(|device| device.titles(&format!("doomed {round}")).len() == 1));
        for device in &devices {
            assert_eq!(device.ctl(&["pause"]).code, 0);
        }
        assert_eq!(b.ctl(&["update", &id, &format!("older edit {round}")]).code, 0);
        // Who still has it edits something old beside it, and so has something to tell.
        let edit = format!("beside{round}");
        assert_eq!(c.ctl(&["update", &neighbour, &edit]).code, 0);
        // A delete and an edit of one second: the delete wins; of a later second it wins anyway.
        let hard = if round % 2 == 0 { &["delete", id.as_str(), "--hard"][..] } else { &["delete", id.as_str()] };
        assert_eq!(a.ctl(hard).code, 0);
        for &which in order {
            assert_eq!(devices[which].ctl(&["resume"]).code, 0);
            sync(&devices[which]);
        }
        for device in &devices {
            sync(device);
            assert!(device.titles(&format!("doomed {round}")).is_empty(), "order {order:?}");
            assert_eq!(device.titles(&edit), ["neighbour"], "order {order:?}");
        }
        gone.push(id);
    }
    let last = |id: &str| {
        let sql = format!("SELECT op FROM cloud_mutations WHERE entity_key = '{id}' ORDER BY seq DESC LIMIT 1");
        queue::cloud(&dir, &sql)
    };
    assert!(gone.iter().all(|id| last(id) == ["delete"]), "nothing that was uploaded brought one back");
    let rows = || queue::cloud(&dir, "SELECT count(*) || '' FROM cloud_mutations");
    let before = rows();
    for device in &devices {
        let again = device.json(&["sync"]);
        assert_eq!((&again["projects"][0]["pushed"], &again["projects"][0]["pulled"]), (&0.into(), &0.into()));
    }
    assert_eq!(rows(), before, "no ping-pong of tombstones");
    // A genuine re-creation.
    let _ = c.save("demo", "doomed 0", "text 0");
    until("it is back", || [a, b].iter().all(|device| device.titles("doomed 0").len() == 1));
}
