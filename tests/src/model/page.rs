//! Pages of the model: of several projects, each from its own cursor, and of a whole grant in one order.

use super::{Disk, Row};
use engram_cloud::auth::Grant;
use engram_cloud::journal::{GrantAsk, GrantRows, Page, PageAsk};
use engram_proto::http::pull::REMAINING_MAX;
use engram_proto::id::ProjectName;

/// A project on its way through a page: the rows behind its cursor, the next one first.
struct Track<'a> {
    project: &'a ProjectName,
    rows: std::iter::Peekable<std::vec::IntoIter<&'a Row>>,
}

fn served(disk: &Disk) -> impl Iterator<Item = &Row> {
    disk.rows.iter().map(AsRef::as_ref).filter(|row| !row.is_compacted)
}

/// Reads a page, where the row of the witness is here: a row of each project in turn, until there is no room.
pub(super) fn page(disk: &Disk, ask: &PageAsk, turn: usize) -> Option<Page> {
    if !disk.holds(ask.witness.as_ref()) {
        return None;
    }
    let mut page = Page::default();
    let mut tracks = Vec::new();
    for (project, &cursor) in &ask.cursors {
        page.heads.insert(project.clone(), disk.end_of(project));
        let behind = served(disk).filter(|row| row.name.project == *project && row.seq > cursor);
        let rows: Vec<&Row> = behind.collect();
        if !rows.is_empty() {
            tracks.push(Track { project, rows: rows.into_iter().peekable() });
        }
    }
    let places = tracks.len();
    let (mut bytes, mut full) = (0, places == 0);
    for at in (0..).map(|at| (turn + at) % places.max(1)) {
        full |= page.rows.len() >= ask.rows_max || tracks.iter_mut().all(|track| track.rows.peek().is_none());
        if full {
            break;
        }
        let track = &mut tracks[at];
        let Some(&row) = track.rows.peek() else { continue };
        if !page.rows.is_empty() && bytes + row.bytes() > ask.bytes_max {
            full = true;
            continue;
        }
        bytes += row.bytes();
        page.cursors.insert(track.project.clone(), row.seq);
        page.rows.push(row.served());
        track.rows.next();
    }
    page.rows.sort_unstable_by_key(|row| row.seq);
    for (project, &cursor) in &ask.cursors {
        if page.heads[project] == page.cursors.get(project).copied().unwrap_or(cursor) {
            page.digests.insert(project.clone(), disk.digest(project));
        }
    }
    for track in tracks.into_iter().filter(|track| track.rows.len() > 0) {
        page.remaining.insert(track.project.clone(), (track.rows.len() as u64).min(REMAINING_MAX));
        page.has_more = true;
    }
    Some(page)
}

/// Reads a page of a whole grant. Unknown entities are left out: a Go client halts at one for ever.
pub(super) fn grant_page(disk: &Disk, ask: &GrantAsk) -> GrantRows {
    let allowed = |row: &&Row| match &ask.grant {
        Grant::Every => true,
        Grant::Only(projects) => projects.contains(&row.name.project),
    };
    let rows = served(disk).filter(|row| row.seq > ask.since_seq && row.is_known());
    let mut page = GrantRows { read_to: ask.since_seq, ..GrantRows::default() };
    let mut bytes = 0;
    for row in rows.filter(allowed) {
        bytes += row.bytes();
        if page.rows.len() >= ask.rows_max || (!page.rows.is_empty() && bytes > ask.bytes_max) {
            page.has_more = true;
            break;
        }
        page.read_to = row.seq;
        page.rows.push(row.served());
    }
    page
}
