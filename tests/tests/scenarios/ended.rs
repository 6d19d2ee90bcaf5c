//! Situation 7: Status tells the truth. A dead loop in a live process is unhealthy, and what is named as the way out is none
//! that the loop would have to go.

use engram_proto::reason_catalog::RESTART;
use engram_proto::time::RowTime;
use engram_tests::processes::{Answer, Device, ctl};
use engramd::config::cloud::Environment;
use engramd::driver::{Driver, Parts, machine_settings};
use engramd::ipc::{self, Context};
use engramd::store::{Store, StoreHandle};
use engramd_core::health::Who;
use serde_json::json;
use std::path::Path;

/// Wires a daemon in this process as the program does, whose loop has ended.
fn without_a_loop(dir: &Path) -> (Context, std::thread::JoinHandle<()>) {
    let path = dir.join("engram.db");
    let store = Store::open(&path, RowTime::parse("2026-11-28 10:00:00").expect("a time")).expect("a store");
    let device_id = store.device_id().to_owned();
    let (store, thread) = StoreHandle::spawn(store, Some(&path)).expect("a thread");
    let (data_dir, environment) = (dir.to_owned(), Environment::default());
    let (driver, handle) = Driver::new(Parts {
        store: store.clone(),
        data_dir: data_dir.clone(),
        environment: environment.clone(),
        settings: machine_settings(30, 1 << 20),
        who: Who::default(),
        lease_owner: "engramd-ended".to_owned(),
    });
    drop(driver);
    (Context { store, driver: handle, data_dir, environment, device_id }, thread)
}

/// LOUD-1, LOUD-2: the status says it with a restart as its one command; a sync, which such a daemon cannot do, names the same
/// and not itself; and a daemon that begins there is healthy.
#[test]
fn scenario_7_loud_1_a_loop_that_has_ended_names_a_restart() {
    let temp = tempfile::tempdir().expect("a directory");
    let dir = temp.path().join("a");
    std::fs::create_dir(&dir).expect("a directory");
    let (context, thread) = without_a_loop(&dir);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let listener = runtime.block_on(async { ipc::bind(&dir.join("engramd.sock")) }).expect("a socket");
    let serving = runtime.spawn(ipc::serve(listener, context));

    let status = ctl(&dir, &["status"], "");
    assert_eq!(status.code, 3, "{status:?}");
    assert!(status.out.contains("has ended") && status.out.contains(RESTART), "{status:?}");
    let report = ctl(&dir, &["status", "--json"], "").json();
    let first = &report["findings"][0];
    assert_eq!((&first["code"], &first["hint"]), (&json!("loop_stalled"), &json!(RESTART)), "{report}");
    assert_eq!((&report["daemon"]["healthy"], &report["sync"]["health"]), (&json!(false), &json!("degraded")));
    let sync: Answer = ctl(&dir, &["sync", "--json"], "");
    let error = sync.json()["error"].clone();
    assert_eq!((sync.code, &error["reason_code"]), (3, &json!("loop_stalled")), "{sync:?}");
    assert_eq!(error["hint"], json!(RESTART), "{sync:?}");

    // What a restart does.
    serving.abort();
    drop(runtime);
    thread.join().expect("it ended");
    let status = Device::start(&dir).ctl(&["status"]);
    assert_eq!(status.code, 0, "{status:?}");
}
