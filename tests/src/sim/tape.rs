//! The words of the tape.

use engramd_core::Event;

/// Names an event, and whether it brought what was asked for.
pub(super) fn word(event: &Event) -> String {
    fn how<T, E>(result: &Result<T, E>) -> &'static str {
        if result.is_ok() { "" } else { " failed" }
    }
    let (what, how) = match event {
        Event::CloudChanged(_) => ("cloud changed", ""),
        Event::Reloaded(..) => ("reloaded", ""),
        Event::ProjectsChanged(_) => ("projects changed", ""),
        Event::Counted(_) => ("counted", ""),
        Event::Tick => ("tick", ""),
        Event::Woken => ("woken", ""),
        Event::SyncRequested { .. } => ("sync requested", ""),
        Event::LeaseAnswered(answer) => ("lease answered", how(answer)),
        Event::LeaseRenewed(answer) => ("lease renewed", how(answer)),
        Event::Probed(answer) => ("probed", how(answer)),
        Event::BatchLoaded(answer) => ("batch loaded", how(answer)),
        Event::Sent(answer) => ("sent", how(answer)),
        Event::Settled(answer) => ("settled", how(answer)),
        Event::CursorsLoaded(answer) => ("cursors loaded", how(answer)),
        Event::Pulled(answer) => ("pulled", how(answer)),
        Event::Applied(answer) => ("applied", how(answer)),
        Event::StoodIn(answer) => ("stood in", how(answer)),
        Event::Belonging(answer) => ("belonging", how(answer)),
        Event::RereadCleared(answer) => ("reread cleared", how(answer)),
        Event::Compared(answer) => ("compared", how(answer)),
        Event::Rechecked(answer) => ("rechecked", how(answer)),
        Event::Looked(answer) => ("looked", how(answer)),
        Event::PullCancelled => ("pull cancelled", ""),
        Event::Stopping => ("stopping", ""),
        _ => ("something", ""),
    };
    format!("{what}{how}")
}
