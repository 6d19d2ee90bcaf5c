//! What a service manager is told (sd_notify), and the socket it may hand over.

use crate::driver::handle::DriverHandle;
use engram_proto::health::StatusReport;
use engram_proto::reason::Health;
use engram_proto::words::count;
use sd_notify::NotifyState;
use std::os::fd::RawFd;
use std::time::Duration;

/// Returns the socket that a service manager opened for us, if it did.
pub(crate) fn handed_socket() -> Option<RawFd> {
    sd_notify::listen_fds().ok().and_then(|mut fds| fds.next())
}

/// Says that the socket answers.
pub(crate) fn ready() {
    tell(&[NotifyState::Ready]);
}

/// Says that the end has begun.
pub(crate) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Says in words how it goes at every change, and feeds the watchdog only while the loop turns (LOUD-2).
pub(crate) async fn keep_informed(driver: DriverHandle) {
    let watchdog = sd_notify::watchdog_enabled();
    // Without a service manager there is nobody to tell, and no reason to wake up.
    if watchdog.is_none() && std::env::var_os("NOTIFY_SOCKET").is_none() {
        return;
    }
    let mut changes = driver.watch();
    let pause = watchdog.map_or(Duration::from_secs(3_600), |timeout| timeout / 3);
    loop {
        if driver.is_alive() && watchdog.is_some() {
            tell(&[NotifyState::Watchdog]);
        }
        tell(&[NotifyState::Status(&words(&driver.report()))]);
        changes.mark_unchanged();
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(pause) => {}
        }
    }
}

fn words(report: &StatusReport) -> String {
    match report.findings.first().filter(|_| report.sync.health == Health::Degraded) {
        Some(finding) => format!("degraded: {} - {}", finding.code, finding.message),
        None => {
            let projects = count(report.projects.len() as u64, "project");
            format!("{}, {} pending, {projects}", report.sync.health, report.totals.pending)
        }
    }
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "the service manager was not told");
    }
}
