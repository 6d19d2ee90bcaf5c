//! Events, one line each.

use super::{Paint, View, text};
use engram_proto::ipc::reply::EventLine;

/// Most kinds are no longer than this; lines stand under each other as they stream.
const KIND_WIDTH: usize = 8;

/// Renders one event. It is never cut: a line of a stream is read with other tools.
pub(crate) fn line(event: &EventLine, view: &View) -> String {
    let kind = text::clean_line(&event.kind);
    let room = " ".repeat(KIND_WIDTH.saturating_sub(text::width(&kind)));
    let project = event.project.as_deref().map_or_else(String::new, |name| text::clean_line(name) + ": ");
    let at = view.paint(&view.moment.second(&event.at), Paint::Faint);
    format!("{at}  {kind}{room}  {project}{}\n", text::clean_line(&event.message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::fixture::VIEW;

    #[test]
    fn events_stand_on_one_line() {
        let mut event = EventLine {
            at: "2026-11-22T14:02:11Z".to_owned(),
            kind: "pushed".to_owned(),
            project: Some("app".to_owned()),
            message: "12 rows\nin 3 ms".to_owned(),
        };
        assert_eq!(line(&event, &VIEW), "14:02:11  pushed    app: 12 rows in 3 ms\n");
        event.project = None;
        assert_eq!(line(&event, &VIEW), "14:02:11  pushed    12 rows in 3 ms\n");
    }
}
