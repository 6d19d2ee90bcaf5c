//! T2, L5: pulling a history end to end over HTTP, against a client with the ways of the Go program, and what a status
//! takes meanwhile.

use crate::history::{self, go_store};
use crate::report::{Line, Report};
use crate::stopwatch::{Stopwatch, per_second, percentile};
use engram_tests::go::Remote;
use engram_tests::processes::TOKEN;

/// How often both sides are measured, one after the other; the middle one counts.
const ROUNDS: usize = 3;

/// Measures a history of so many rows.
pub(crate) async fn bench(report: &mut Report, rows: u64) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let cloud = history::serve(&dir.path().join("cloud"), rows).await;
    let (mut ours, mut theirs, mut statuses) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let pulled = history::pull(&dir.path().join(format!("ours-{round}")), &cloud, |_, _| ());
        ours.push(pulled.took);
        statuses.extend(pulled.statuses);
        let (_, mut go) = go_store(dir.path(), &format!("go-{round}.db"));
        let remote = Remote::new(&cloud.url, TOKEN);
        let watch = Stopwatch::start();
        go.pull(&remote).await.expect("pulled");
        theirs.push(watch.elapsed());
    }
    let (ours, theirs) = (per_second(rows, percentile(&mut ours, 0.5)), per_second(rows, percentile(&mut theirs, 0.5)));
    let measured = format!("{ours:.0} rows/s, {:.1} times the Go program's way ({theirs:.0} rows/s)", ours / theirs);
    report.add(Line::new("T2", format!("pulling {rows} rows over HTTP"), measured, "8 times"));
    let (p50, p99) = (percentile(&mut statuses, 0.5), percentile(&mut statuses, 0.99));
    report.add(Line::new("L5", "a status over the socket meanwhile", format!("p50 {p50:.1?}, p99 {p99:.1?}"), "1 ms"));
}
