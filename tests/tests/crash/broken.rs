//! A daemon whose disk fails and goes on failing, in this process: what it says, and that it works on afterwards.

use engram_proto::ipc::SOCKET_NAME;
use engram_tests::disk::{Disk, Fate, Plan, Step};
use engram_tests::processes::{Answer, Cloud, Device, TOKEN, ctl, until};
use engramd::config::cloud::Environment;
use engramd::config::settings::Settings;
use engramd::daemon::{self, Options};
use std::path::PathBuf;
use tokio::sync::oneshot;

/// A daemon of this process.
struct Here {
    dir: PathBuf,
    end: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Here {
    fn start(dir: PathBuf) -> Self {
        let (end, ended) = oneshot::channel::<()>();
        let data_dir = dir.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
            let runtime = runtime.expect("a runtime");
            let socket = data_dir.join(SOCKET_NAME);
            let (settings, environment) = (Settings::default(), Environment::default());
            let options = Options { data_dir, socket, settings, environment };
            let ended = async move { drop(ended.await) };
            runtime.block_on(daemon::run(options, ended)).expect("it runs");
            runtime.shutdown_background();
        });
        let here = Self { dir, end: Some(end), thread: Some(thread) };
        until("the daemon answers", || here.ctl(&["status"]).code != 4);
        here
    }

    fn ctl(&self, args: &[&str]) -> Answer {
        ctl(&self.dir, args, "")
    }
}

impl Drop for Here {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// LOUD-1: a disk that fails has one reason, a message that names it, and a command that works; nothing answered is lost.
#[test]
fn loud_1_dur_1_a_disk_that_fails_is_named_until_it_is_mended() {
    let temp = tempfile::tempdir().expect("a directory");
    let cloud = Cloud::start(&temp.path().join("cloud"));
    let dir = temp.path().join("a");
    std::fs::create_dir(&dir).expect("a directory");
    let disk = Disk::watch(&dir);
    let here = Here::start(dir);
    let login = ctl(&here.dir, &["cloud", "login", "--server", &cloud.url, "--token-stdin"], TOKEN);
    assert_eq!(login.code, 0, "{login:?}");
    assert_eq!(here.ctl(&["enroll", "demo"]).code, 0);
    until("it is at rest", || here.ctl(&["sync"]).code == 0);
    let saved = here.ctl(&["save", "--project", "demo", "--title", "before", "the disk was well"]);
    assert_eq!(saved.code, 0, "{saved:?}");
    until("it is sent", || here.ctl(&["sync"]).code == 0);

    disk.plan(Plan { file: "-wal".to_owned(), steps: vec![Step::Write], nth: 1, fate: Fate::Breaks });
    let other = Device::enrolled(&temp.path().join("b"), &cloud, "demo");
    let _ = other.save("demo", "meanwhile", "while the disk failed");
    until("it is said", || {
        let report = here.ctl(&["status", "--json"]).json();
        report["findings"].as_array().is_some_and(|all| !all.is_empty())
    });
    let answer = here.ctl(&["status", "--json"]);
    let (report, findings) = (answer.json(), answer.json()["findings"].clone());
    assert_eq!((answer.code, findings.as_array().map(Vec::len)), (3, Some(1)), "{report}");
    assert_eq!(findings[0]["code"], "store_corrupt", "{report}");
    let message = findings[0]["message"].as_str().expect("words");
    assert!(message.contains("the disk that holds the store failed") && message.contains("disk I/O"), "{message}");
    assert_eq!(findings[0]["hint"], format!("ls -l {}", here.dir.display()));
    let refused = here.ctl(&["save", "--project", "demo", "--title", "t", "--json", "nowhere to go"]);
    assert_eq!((refused.code, &refused.json()["error"]["reason_code"]), (1, &"store_corrupt".into()), "{refused:?}");
    let blocked = here.ctl(&["sync", "--timeout", "5"]);
    assert_eq!((blocked.code, blocked.err.trim().lines().count()), (3, 1), "{blocked:?}");

    disk.make_room();
    until("a sync works again", || here.ctl(&["sync"]).code == 0);
    until("nothing is wrong any more", || here.ctl(&["status"]).code == 0);
    let count = |query: &str| {
        let found = here.ctl(&["search", query, "--json"]).json();
        found["observations"].as_array().map(Vec::len)
    };
    assert_eq!((count("well"), count("disk failed"), count("nowhere")), (Some(1), Some(1), Some(0)));
}
