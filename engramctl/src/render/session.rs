//! Sessions.

use super::table::{Align, Cell, Table};
use super::{Paint, View, text};
use engram_proto::ipc::reply::SessionRow;

/// Renders what was done to a session, on one line.
pub(crate) fn line(row: &SessionRow, done: &str) -> String {
    format!("{done} session {} in {}\n", text::clean_line(&row.id), text::clean_line(&row.project))
}

/// Renders sessions; with their projects where there can be several.
pub(crate) fn list(rows: &[SessionRow], across: bool, view: &View) -> String {
    if rows.is_empty() {
        return "No sessions.\n".to_owned();
    }
    let mut table = Table::new(&[
        ("SESSION", Align::Flexible),
        ("PROJECT", Align::Flexible),
        ("BEGAN", Align::Right),
        ("ENDED", Align::Right),
        ("SUMMARY", Align::Flexible),
    ]);
    for row in rows {
        let ended = match &row.ended_at {
            Some(at) => Cell::new(&view.moment.ago(at)),
            None => Cell::new("open").paint(Paint::Good),
        };
        table.row(vec![
            Cell::new(&row.id),
            if across { Cell::new(&row.project) } else { Cell::default() },
            Cell::new(&view.moment.ago(&row.started_at)),
            ended,
            Cell::new(row.summary.as_deref().unwrap_or_default()),
        ]);
    }
    table.without_empty_columns().render(view)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::fixture::VIEW;

    #[test]
    fn sessions_stand_in_a_table() {
        let row = SessionRow {
            id: "s-42".to_owned(),
            project: "app".to_owned(),
            started_at: "2026-11-22 13:30:00".to_owned(),
            ..SessionRow::default()
        };
        assert_eq!(line(&row, "Began"), "Began session s-42 in app\n");
        let ended = SessionRow {
            id: "s-41".to_owned(),
            ended_at: Some("2026-11-22 14:00:00".to_owned()),
            summary: Some("Moved the store to WAL.".to_owned()),
            ..row.clone()
        };
        assert_eq!(
            list(&[row, ended], true, &VIEW),
            "\
SESSION  PROJECT    BEGAN       ENDED  SUMMARY
s-42     app      1 h ago        open
s-41     app      1 h ago  30 min ago  Moved the store to WAL.
"
        );
    }
}
