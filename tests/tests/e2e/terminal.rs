//! What somebody sees who watches at a terminal.

use engram_tests::processes::{Cloud, Device, Process, TOKEN, program, until};
use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use std::fs::File;
use std::io::Read as _;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

/// What takes a screen's last text away, and what ends the next one.
const CLEAR: &str = "\x1b[2J";
const END: &str = "\x1b[J";

/// `status --watch` at a terminal of its own.
struct Watch {
    _process: Process,
    written: Arc<Mutex<String>>,
}

impl Watch {
    fn start(device: &Device) -> Self {
        let near = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
        grantpt(&near).and_then(|()| unlockpt(&near)).expect("it is ours");
        let name = ptsname(&near, Vec::new()).expect("its name");
        let far = rustix::fs::open(name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).expect("its other side");
        let mut command = Command::new(program("engramctl"));
        command.args(["status", "--watch", "--data-dir"]).arg(&device.dir).env_clear();
        let child = command.stdin(Stdio::null()).stdout(far).stderr(Stdio::null()).spawn().expect("it starts");
        let written = Arc::<Mutex<String>>::default();
        let to = Arc::clone(&written);
        // It ends with the last writer.
        std::thread::spawn(move || {
            let (mut near, mut bytes) = (File::from(near), [0; 4096]);
            while let Ok(count) = near.read(&mut bytes)
                && count > 0
            {
                to.lock().expect("nobody panicked").push_str(&String::from_utf8_lossy(&bytes[..count]));
            }
        });
        Self { _process: Process::new(child), written }
    }

    /// What was drawn so far, one text after the other.
    fn drawn(&self) -> Vec<String> {
        let written = self.written.lock().expect("nobody panicked");
        let mut all: Vec<_> = written.split(END).map(str::to_owned).collect();
        // What follows the last end is not whole.
        all.pop();
        all
    }
}

fn draws_only_changes(drawn: &[String]) {
    assert!(drawn[0].starts_with(CLEAR), "{drawn:?}");
    for (before, after) in drawn.iter().zip(&drawn[1..]) {
        assert!(!after.contains(CLEAR), "the screen does not flicker: {after:?}");
        assert_ne!(before.trim_start_matches(CLEAR), after, "the same is not drawn again");
    }
}

/// It is drawn again when it shows something else, ages included, and only then.
#[test]
fn status_is_drawn_again_only_when_it_shows_something_else() {
    let temp = tempfile::tempdir().expect("a directory");
    let cloud = Cloud::start(&temp.path().join("cloud"));
    let still = Device::start(&temp.path().join("still"));
    let ageing = Device::enrolled(&temp.path().join("ageing"), &cloud, "demo");
    let _ = ageing.save("demo", "t", "a text");
    assert_eq!(ageing.ctl(&["sync"]).code, 0);
    let still_watch = Watch::start(&still);
    until("it is drawn", || still_watch.drawn().len() == 1);
    // Seconds pass: the other one says how long ago its last change was.
    let ageing_watch = Watch::start(&ageing);
    until("ages grow", || ageing_watch.drawn().len() >= 5);
    draws_only_changes(&ageing_watch.drawn());
    assert_eq!(still_watch.drawn().len(), 1, "nothing is another: {:?}", still_watch.drawn());
    assert_eq!(still.ctl_with(&["cloud", "login", "--server", &cloud.url, "--token-stdin"], TOKEN).code, 0);
    until("a change is drawn", || {
        still_watch.drawn().last().is_some_and(|text| text.contains("no project takes part"))
    });
    draws_only_changes(&still_watch.drawn());
}
