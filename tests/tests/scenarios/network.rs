//! Situation 6: The machine sleeps, or its network goes and comes back (REC-1).

use crate::queue;
use engram_tests::clocks::set_clock;
use engram_tests::processes::{Cloud, Device, TOKEN, daemon, program, until, until_in};
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

/// A network of its own, reached by one cable; both go with the value.
struct Network {
    name: String,
    /// Our end of the cable.
    outside: String,
}

const HERE: &str = "10.213.77.1";

/// The addresses that a machine inside has, one after the other.
fn there(turn: u8) -> String {
    format!("10.213.77.{}/24", turn + 2)
}

fn ip(args: &[&str]) -> bool {
    let output = Command::new("ip").args(args).stdin(Stdio::null()).output();
    output.is_ok_and(|output| output.status.success())
}

impl Network {
    /// Makes one; none where the system or its tools do not let us, which is said.
    fn make() -> Option<Self> {
        let name = format!("engram-{}", std::process::id());
        let outside = format!("ve{}", std::process::id());
        let network = Self { name, outside };
        let (name, outside) = (network.name.as_str(), network.outside.as_str());
        let made = ip(&["netns", "add", name])
            && ip(&["link", "add", outside, "type", "veth", "peer", "name", "inside", "netns", name])
            && ip(&["addr", "add", &format!("{HERE}/24"), "dev", outside])
            && ip(&["link", "set", outside, "up"])
            && ip(&["-n", name, "addr", "add", &there(0), "dev", "inside"])
            && ip(&["-n", name, "link", "set", "lo", "up"])
            && ip(&["-n", name, "link", "set", "inside", "up"]);
        if !made {
            let _ = writeln!(std::io::stderr(), "SKIPPED: a network of its own: only root may make one, with `ip`");
        }
        made.then_some(network)
    }

    /// Pulls the cable, and takes the address: whatever was on its way hangs.
    fn pull(&self) {
        let gone = ip(&["-n", &self.name, "link", "set", "inside", "down"])
            && ip(&["-n", &self.name, "addr", "flush", "dev", "inside"]);
        assert!(gone, "the cable is pulled");
    }

    /// Puts it into another network, where the machine gets another address.
    fn plug(&self, turn: u8) {
        let back = ip(&["-n", &self.name, "link", "set", "inside", "up"])
            && ip(&["-n", &self.name, "addr", "add", &there(turn), "dev", "inside"]);
        assert!(back, "the cable is back");
    }

    /// Starts a daemon inside; its socket is a file, so the client reaches it from here.
    fn boot(&self, dir: &Path) -> Device {
        std::fs::create_dir_all(dir).expect("a directory");
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(program("engramd")).args(["run", "--data-dir"]).arg(dir);
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        Device::start_by(dir, command)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        ip(&["link", "del", &self.outside]);
        ip(&["netns", "del", &self.name]);
    }
}

/// Saves while nothing gets through, and asks until the next attempt by itself is minutes away.
fn fail_often(device: &Device, content: &str) {
    let _ = device.save("demo", "t", content);
    until("it failed a dozen times", || {
        let _ = device.ctl(&["sync", "--timeout", "2"]);
        device.report()["sync"]["attempt"].as_u64() >= Some(12)
    });
    until("it is said", || device.finds_reason("transport_failed"));
}

/// Waits until a memory is at the server and nothing is wrong, without a command that would wake the loop.
fn recovers(device: &Device, dir: &Path, content: &str) {
    let stored = format!("SELECT entity_key FROM cloud_mutations WHERE payload LIKE '%{content}%'");
    // A loop that nobody tells anything looks at its clocks every 30 s.
    until_in(3, "it is at the server", || queue::cloud(dir, &stored).len() == 1);
    until("nothing is wrong any more", || device.ctl(&["status"]).code == 0);
    assert_eq!(device.report()["sync"]["attempt"], 0);
}

/// REC-1: another network ends the waiting, however many attempts failed; nobody restarts anything.
#[test]
fn scenario_6_rec_1_a_network_that_comes_back_ends_the_waiting() {
    let Some(network) = Network::make() else { return };
    let temp = tempfile::tempdir().expect("a directory");
    let dir = temp.path().join("cloud");
    let cloud = Cloud::start_open(&dir, HERE);
    let device = network.boot(&temp.path().join("a"));
    let login = ["cloud", "login", "--server", &cloud.url, "--allow-http", "--token-stdin"];
    assert_eq!(device.ctl_with(&login, TOKEN).code, 0);
    assert_eq!(device.ctl(&["enroll", "demo"]).code, 0);
    until("it is at rest", || device.ctl(&["sync"]).code == 0);
    let pid = device.report()["daemon"]["pid"].clone();
    for turn in 1..3 {
        network.pull();
        let content = format!("written without a cable {turn}");
        fail_often(&device, &content);
        network.plug(turn);
        recovers(&device, &dir, &content);
    }
    assert_eq!(device.report()["daemon"]["pid"], pid);
}

/// REC-1: a daemon that was stopped while the server went and came back goes on by itself, the same process.
#[test]
fn scenario_6_rec_1_a_daemon_that_stood_still_goes_on() {
    let temp = tempfile::tempdir().expect("a directory");
    let dir = temp.path().join("cloud");
    let cloud = Cloud::start(&dir);
    let a = Device::enrolled(&temp.path().join("a"), &cloud, "demo");
    let b = Device::enrolled(&temp.path().join("b"), &cloud, "demo");
    until("both are at rest", || [&a, &b].iter().all(|device| device.ctl(&["sync"]).code == 0));
    let pid = a.report()["daemon"]["pid"].clone();
    a.daemon.signal(rustix::process::Signal::STOP);
    let _cloud = cloud.restart();
    let _ = b.save("demo", "meanwhile", "while the other stood still");
    a.daemon.signal(rustix::process::Signal::CONT);
    until("it hears of it", || a.titles("stood still").len() == 1);
    let _ = a.save("demo", "afterwards", "since it goes on");
    until("the other hears", || b.titles("goes on").len() == 1);
    assert_eq!(a.report()["daemon"]["pid"], pid);
    until("nothing is wrong", || a.ctl(&["status"]).code == 0);
}

/// REC-1: after a sleep, the wall clock is ahead of the monotonic one: whatever was waited for is tried at once.
#[test]
fn scenario_6_rec_1_a_resume_ends_the_waiting() {
    let temp = tempfile::tempdir().expect("a directory");
    let (dir, data, clock) = (temp.path().join("cloud"), temp.path().join("a"), temp.path().join("clock"));
    std::fs::create_dir(&data).expect("a directory");
    std::fs::write(&clock, "+0").expect("written");
    let mut command = daemon(&data);
    if !set_clock(&mut command, &clock) {
        let _ = writeln!(std::io::stderr(), "SKIPPED: a sleep: libfaketime is not installed");
        return;
    }
    let device = Device::start_by(&data, command);
    let mut cloud = Cloud::start(&dir);
    device.enroll_at(&cloud.url, "demo");
    cloud.process.kill();
    fail_often(&device, "written before the sleep");
    let _cloud = cloud.restart();
    // It slept two minutes: one of its clocks stood still.
    std::fs::write(&clock, "+120").expect("written");
    recovers(&device, &dir, "written before the sleep");
}

/// REC-1: a daemon asks to be told at once when the wall clock is set, as it is at a resume, and does not wake up for it.
#[cfg(target_os = "linux")]
#[test]
fn scenario_6_rec_1_a_resume_is_told_at_once() {
    let temp = tempfile::tempdir().expect("a directory");
    let device = Device::start(temp.path());
    let fds = format!("/proc/{}/fdinfo", device.report()["daemon"]["pid"]);
    // A timer of the wall clock (0), absolute and cancelled when that is set (3), that has not fired (proc_pid_fdinfo(5)).
    let asks = |text: &str| ["clockid: 0", "settime flags: 03", "ticks: 0"].iter().all(|line| text.contains(line));
    let told = std::fs::read_dir(fds).expect("its files").filter_map(Result::ok);
    assert!(told.filter_map(|file| std::fs::read_to_string(file.path()).ok()).any(|text| asks(&text)));
}
