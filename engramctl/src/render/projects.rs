//! Projects with their counts.

use super::table::{Align, Cell, Table};
use super::verdict::last_change;
use super::{Paint, View};
use engram_proto::health::ProjectStatus;
use engram_proto::reason::ProjectState;

/// Renders those that take part or have something waiting; nothing where there are none.
pub(crate) fn interesting(projects: &[ProjectStatus], view: &View) -> String {
    let interesting = |status: &&ProjectStatus| {
        status.enrolled || status.pending + status.deferred + status.quarantined + status.dead > 0
    };
    let shown: Vec<&ProjectStatus> = projects.iter().filter(interesting).collect();
    if shown.is_empty() { String::new() } else { table(&shown, view) }
}

/// Renders all of them.
pub(crate) fn all(projects: &[ProjectStatus], view: &View) -> String {
    if projects.is_empty() {
        return "No projects yet: the first memory saved in one makes it.\n".to_owned();
    }
    table(&projects.iter().collect::<Vec<_>>(), view)
}

fn table(projects: &[&ProjectStatus], view: &View) -> String {
    let mut table = Table::new(&[
        ("PROJECT", Align::Flexible),
        ("STATE", Align::Left),
        ("TO SEND", Align::Right),
        ("TO RECEIVE", Align::Right),
        ("HELD", Align::Right),
        ("WAITING", Align::Right),
        ("LAST CHANGE", Align::Left),
        ("REASON", Align::Flexible),
    ]);
    for status in projects {
        let (state, paint) = match status.state {
            ProjectState::Healthy => ("healthy", Paint::Good),
            ProjectState::Pending => ("pending", Paint::Warning),
            ProjectState::Degraded => ("degraded", Paint::Error),
            ProjectState::Paused => ("paused", Paint::Warning),
            ProjectState::NotEnrolled => ("not enrolled", Paint::Faint),
        };
        let changed = last_change(status).map_or_else(String::new, |at| view.moment.ago(&at.to_string()));
        table.row(vec![
            Cell::new(&status.project),
            Cell::new(state).paint(paint),
            Cell::count(status.pending),
            Cell::count(if status.enrolled { status.behind } else { 0 }),
            Cell::count(status.quarantined + status.dead).paint(Paint::Error),
            Cell::count(status.deferred),
            Cell::new(&changed),
            Cell::new(status.reason_code.map_or("", |code| code.as_str())),
        ]);
    }
    table.without_empty_columns().render(view)
}
