//! The door: garbage, silence and strangers (DOOR-1).

use engram_tests::processes::{Device, until};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;

/// DOOR-1: 0600 in 0700, and a file of secrets or a directory that was open is tightened and said.
#[test]
fn door_1_nobody_else_may_enter() {
    let temp = tempfile::tempdir().expect("a directory");
    let dir = temp.path().join("a");
    std::fs::create_dir(&dir).expect("a directory");
    std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o755)).expect("open to others");
    let device = Device::start(&dir);
    let mode = |name: &str| std::fs::metadata(dir.join(name)).expect(name).permissions().mode() & 0o777;
    assert_eq!((mode(""), mode("engramd.sock"), mode("engram.db")), (0o700, 0o600, 0o600));
    assert!(std::fs::read_to_string(device.log()).expect("a log").contains("0700"), "it is said");
}

/// DOOR-1: garbage and half frames end their own connection and disturb nobody.
#[test]
fn door_1_garbage_disturbs_nobody() {
    let temp = tempfile::tempdir().expect("a directory");
    let device = Device::start(&temp.path().join("a"));
    let hello = engram_proto::ipc::hello::Hello::ours(1).encode();
    let mut huge = hello.clone();
    huge.extend(u32::MAX.to_le_bytes());
    let mut garbled = hello.clone();
    garbled.extend(8_u32.to_le_bytes());
    garbled.extend([0xff; 8]);
    for bytes in [b"GET / HTTP/1.1\r\nHost: engramd\r\n\r\n".to_vec(), vec![0; 4096], huge, garbled] {
        let mut stream = UnixStream::connect(device.dir.join("engramd.sock")).expect("let in");
        stream.write_all(&bytes).expect("sent");
        let mut answer = Vec::new();
        // The daemon says its Hello and hangs up, or resets the connection.
        let _ = stream.read_to_end(&mut answer);
        assert!(answer.len() < 200, "nothing but a Hello");
        assert_eq!(device.ctl(&["status"]).code, 0);
    }
}

/// DOOR-1: a thousand silent connections never keep out a client that speaks.
#[test]
fn door_1_silence_keeps_nobody_out() {
    let temp = tempfile::tempdir().expect("a directory");
    let device = Device::start(&temp.path().join("a"));
    let silent: Vec<_> = (0..1_000).filter_map(|_| UnixStream::connect(device.dir.join("engramd.sock")).ok()).collect();
    assert!(silent.len() > 500, "{}", silent.len());
    let served = device.ctl(&["status"]);
    assert_eq!(served.code, 0, "at once, not when their time is over: {served:?}");
    drop(silent);
    assert_eq!(device.ctl(&["status"]).code, 0);
}

/// A stopped daemon is told from none, and no call blocks for ever.
#[test]
fn a_stopped_daemon_is_exit_4_in_time() {
    let temp = tempfile::tempdir().expect("a directory");
    let device = Device::start(&temp.path().join("a"));
    device.daemon.signal(rustix::process::Signal::STOP);
    let answer = device.ctl(&["status"]);
    device.daemon.signal(rustix::process::Signal::CONT);
    assert_eq!(answer.code, 4, "{answer:?}");
    until("it goes on", || device.ctl(&["status"]).code == 0);
}
