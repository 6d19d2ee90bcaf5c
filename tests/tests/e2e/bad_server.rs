//! Servers that answer what cannot be: each is said in one line with its reason, and nothing stored changes.

use engram_tests::processes::{Answer, Device, TOKEN, until};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// A server that answers every route as it is told, and writes down what it was asked.
struct Server {
    url: String,
    heads: Arc<Mutex<Vec<String>>>,
}

/// The status line, headers of its own, and the body of an answer to a path.
type Answers = fn(path: &str) -> (&'static str, String);

impl Server {
    fn start(answers: Answers) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let heads: Arc<Mutex<Vec<String>>> = Arc::default();
        let kept = Arc::clone(&heads);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let kept = Arc::clone(&kept);
                std::thread::spawn(move || serve(stream, answers, &kept));
            }
        });
        Self { url, heads }
    }

    fn asked(&self) -> Vec<String> {
        self.heads.lock().expect("the heads").clone()
    }
}

fn serve(stream: TcpStream, answers: Answers, kept: &Mutex<Vec<String>>) {
    let mut reader = BufReader::new(stream.try_clone().expect("a second handle"));
    let (mut head, mut length) = (String::new(), 0_u64);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
        let end = line.trim().is_empty();
        head.push_str(&line);
        if end {
            break;
        }
    }
    let mut body = Vec::new();
    let _ = reader.take(length).read_to_end(&mut body);
    let path = head.split_whitespace().nth(1).unwrap_or_default().to_owned();
    kept.lock().expect("the heads").push(head);
    let (status, body) = answers(&path);
    let mut stream = stream;
    let _ = write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
}

fn health(path: &str) -> Option<(&'static str, String)> {
    let introduction = r#"{"status":"ok","service":"engram-cloud","version":"0.1.0","cloud_id":"c-1",
        "capabilities":["mutation_ids","project_pull"]}"#;
    path.starts_with("/health").then(|| ("200 OK", introduction.to_owned()))
}

/// Everything but the introduction ends in the middle.
fn half_a_json(path: &str) -> (&'static str, String) {
    health(path).unwrap_or_else(|| ("200 OK", r#"{"mutations":[{"seq":8,"project":"demo","enti"#.to_owned()))
}

/// There is always more, and the cursor never moves.
fn endless_more(path: &str) -> (&'static str, String) {
    let more = r#"{"mutations":[],"cursors":{"demo":0},"heads":{"demo":80},"remaining":{"demo":10},"has_more":true}"#;
    health(path).unwrap_or_else(|| ("200 OK", more.to_owned()))
}

fn configured(server: &Server, dir: &std::path::Path) -> Device {
    std::fs::create_dir(dir).expect("a directory");
    let file = serde_json::json!({"server_url": server.url, "token": TOKEN});
    std::fs::write(dir.join("cloud.json"), file.to_string()).expect("written");
    let device = Device::start(dir);
    let _ = device.ctl(&["enroll", "demo"]);
    // Whatever the server said to that: another process may enroll, too.
    let store = rusqlite::Connection::open(dir.join("engram.db")).expect("the store");
    store.busy_timeout(std::time::Duration::from_secs(5)).expect("a timeout");
    store.execute("INSERT OR IGNORE INTO sync_enrolled_projects (project) VALUES ('demo')", []).expect("enrolled");
    device
}

/// What the store holds of a project, and how far it thinks it has read.
fn stored(device: &Device) -> (usize, i64) {
    let store = rusqlite::Connection::open(device.dir.join("engram.db")).expect("the store");
    let cursors = "SELECT coalesce(sum(seq), 0) FROM engramd_cursor";
    let cursors = store.query_row(cursors, [], |row| row.get(0)).expect("a number");
    (device.titles("kept here").len(), cursors)
}

fn degraded(device: &Device) -> Answer {
    until("it shows", || device.finds_reason("transport_failed"));
    device.ctl(&["status"])
}

/// CUR-1, LOUD-1: an answer that cannot be true moves no cursor and acknowledges nothing; it is one finding.
#[test]
fn cur_1_answers_that_cannot_be_true_change_nothing() {
    for answers in [half_a_json as Answers, endless_more] {
        let temp = tempfile::tempdir().expect("a directory");
        let server = Server::start(answers);
        let device = configured(&server, &temp.path().join("a"));
        let _ = device.save("demo", "mine", "kept here");
        let status = degraded(&device);
        assert_eq!(status.code, 3, "{status:?}");
        assert!(status.out.starts_with("Degraded: transport_failed") && status.out.contains("engramctl"), "{status:?}");
        if answers as usize == endless_more as Answers as usize {
            // The push, whose answer is no receipt, or the pull: the fault is named, not only how the answer begins.
            let flat = status.out.split_whitespace().collect::<Vec<_>>().join(" ");
            let named = flat.contains("missing field `") || flat.contains("moves no cursor");
            assert!(named && flat.contains("127.0.0.1"), "{status:?}");
        }
        let sync = device.ctl(&["sync", "--json"]);
        assert_eq!((sync.code, &sync.json()["reason_code"]), (3, &"transport_failed".into()), "{sync:?}");
        assert_eq!(stored(&device), (1, 0));
        assert_eq!(device.report()["totals"]["pending"], 2, "the session and the memory: {status:?}");
        let asked = server.asked().len();
        assert!(asked < 200, "no loop without end: {asked}");
    }
}

/// What says hello in another program's words, in half a word, without one, and with an error.
const BROKEN_HEALTH: [Answers; 4] = [
    |_| ("200 OK", "<html><body>Sign in to\nthe network</body></html>".to_owned()),
    |_| ("200 OK", r#"{"status":"ok","service":"engram-cl"#.to_owned()),
    |_| ("200 OK", String::new()),
    |_| ("500 Internal Server Error", "panic".to_owned()),
];

/// LOUD-1, REC-1, SECRET-1: a server that cannot say who it is gets neither a push nor a pull, nor the token. It is one line
/// with the host, tried again after growing delays. `login` keeps nothing where another program answers, and says what it
/// could not check where none does.
#[test]
fn loud_1_a_broken_introduction_is_one_line_and_changes_nothing() {
    for answers in BROKEN_HEALTH {
        let temp = tempfile::tempdir().expect("a directory");
        let server = Server::start(answers);
        let host = server.url.trim_start_matches("http://").to_owned();
        let device = Device::start(&temp.path().join("a"));
        let login = device.ctl_with(&["cloud", "login", "--server", &server.url, "--token-stdin", "--json"], TOKEN);
        if answers("/health").0.starts_with("500") {
            assert_eq!((login.code, &login.json()["checked"]), (5, &false.into()), "{login:?}");
        } else {
            let reason = &login.json()["error"]["reason_code"];
            assert_eq!((login.code, reason), (3, &"transport_failed".into()), "{login:?}");
            assert!(login.err.trim().lines().count() == 1 && login.err.contains(&host), "{login:?}");
            assert!(!device.dir.join("cloud.json").exists(), "nothing was kept");
        }
        let device = configured(&server, &temp.path().join("b"));
        let _ = device.save("demo", "mine", "kept here");
        let sync = device.ctl(&["sync", "--json"]);
        assert_eq!((sync.code, &sync.json()["reason_code"]), (3, &"transport_failed".into()), "{sync:?}");
        let words = sync.json()["message"].as_str().expect("words").to_owned();
        assert!(words.lines().count() == 1 && words.contains(&host), "{words:?}");
        let status = degraded(&device);
        assert!(status.code == 3 && status.out.starts_with("Degraded: transport_failed"), "{status:?}");
        let report = device.report();
        assert_eq!(report["findings"].as_array().map(Vec::len), Some(1), "one root cause: {report}");
        assert!(report["sync"]["phase"] == "backoff" && report["sync"]["next_attempt_at"].is_string(), "{report}");
        assert_eq!((stored(&device), &report["totals"]["pending"]), ((1, 0), &2.into()));
        until("it is tried again by itself", || device.report()["sync"]["attempt"].as_u64() >= Some(2));
        let asked = server.asked();
        assert!(asked.iter().all(|head| head.starts_with("GET /health")), "nothing else was asked: {asked:?}");
        assert!(!asked.iter().any(|head| head.contains(TOKEN)), "nobody knows who answers: {asked:?}");
        assert!(asked.len() < 20, "no loop without end: {}", asked.len());
    }
}

static ELSEWHERE: Mutex<String> = Mutex::new(String::new());

/// Sends everybody to another address.
fn redirect(path: &str) -> (&'static str, String) {
    let to = ELSEWHERE.lock().expect("the address").clone();
    let head = format!("307 Temporary Redirect\r\nLocation: {to}{path}");
    (Box::leak(head.into_boxed_str()), String::new())
}

/// SECRET-1: a redirect is not followed, so the token goes to nobody but the server that was named.
#[test]
fn secret_1_a_token_never_follows_a_redirect() {
    let temp = tempfile::tempdir().expect("a directory");
    let other = Server::start(half_a_json);
    ELSEWHERE.lock().expect("the address").clone_from(&other.url);
    let server = Server::start(redirect);
    let device = Device::start(&temp.path().join("a"));
    let login = device.ctl_with(&["cloud", "login", "--server", &server.url, "--token-stdin", "--json"], TOKEN);
    assert_eq!((login.code, &login.json()["error"]["reason_code"]), (3, &"transport_failed".into()), "{login:?}");
    assert!(login.err.contains("redirect") && login.err.trim().lines().count() == 1, "{login:?}");
    assert!(!device.dir.join("cloud.json").exists(), "nothing was kept");
    let device = configured(&server, &temp.path().join("b"));
    let status = degraded(&device);
    assert!(status.code == 3 && !status.out.contains(TOKEN), "{status:?}");
    assert!(other.asked().is_empty(), "nobody came: {:?}", other.asked());
}
