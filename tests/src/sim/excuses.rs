//! What is not asked for, and what does not happen here, one function each, with its reason. Nothing else is excused.
//!
//! The first part passes over something that a law would find; the second part are schedules that are not drawn. Of what
//! peers.md knows and leaves, "a Go edit over a re-creation in the same second loses" is not excused: no plan needed it.
//! "On a Go server a stale fold of a Go client wins and is only recorded" is part of
//! [`a_go_server_keeps_the_last_writers_version`].

use super::go_cloud::GoCloud;
use super::server::Server;
use engram_proto::merge::{Kind, ObservationVersion};
use std::collections::BTreeSet;

/// Entities of which a restored or emptied server lost a row: project and key.
pub(super) type LostRows = BTreeSet<(String, String)>;

/// "after a restore nobody offers what only Go clients held of the lost rows": a Go client may show another version of
/// such an entity than the cloud, or one that the cloud has not; and where it offers one, with another time than it had, nobody
/// can tell any more what was made over what.
pub(super) fn nobody_offers_what_only_go_clients_held_of_the_lost_rows(
    lost: &LostRows,
    entity: &(String, String),
) -> bool {
    lost.contains(entity)
}

/// docs/testing.md, "A rival after a restore": the server lost a row of the entity, another device sent that once more without
/// what it was made over, and so the server took what it overwrote meanwhile, which its author had told, for its past.
pub(super) fn a_rival_after_a_restore(
    lost: &LostRows,
    entity: &(String, String),
    was_told: impl FnOnce() -> bool,
) -> bool {
    lost.contains(entity) && was_told()
}

/// "a Go delete in one request with an edit it did not see is not listed as a conflict", and neither is one that came later:
/// it says when it was made and not what it was made over, so that a version that came before that counts as seen.
pub(super) fn a_go_delete_of_an_edit_that_it_did_not_see(gone: &BTreeSet<String>, sync_id: &str) -> bool {
    gone.contains(sync_id)
}

/// merging.md: "A prompt of it created until `deleted_at` counts as deleted at that time": by its time, seen or not.
pub(super) fn a_prompt_of_a_deleted_session_counts_as_deleted(with_session: &BTreeSet<String>, sync_id: &str) -> bool {
    with_session.contains(sync_id)
}

/// merging.md, "Identity": "Versions of one sync id in two projects are two entities that never meet". A Go client finds
/// its rows by sync id alone, so it has room for one of them (a memory that a Go process moved is two such entities).
pub(super) fn a_go_client_has_room_for_one_row_of_a_sync_id(twice: &BTreeSet<&str>, entity: &(String, String)) -> bool {
    twice.contains(entity.1.as_str())
}

/// CONV-4. peers.md, "Rows changed without a journal row": a Go process wrote over the row of a version that the cloud holds,
/// and the text is there alone until it is read again.
pub(super) fn a_text_that_the_cloud_alone_has(local: &ObservationVersion) -> bool {
    local.key.kind == Kind::Upsert && local.body.0.is_none()
}

/// CONV-4. peers.md: "a row that was moved to another project is a soft delete there and a new memory here": nobody told
/// of it, so it stands in both until it is found; it is looked for where it is touched.
pub(super) fn a_move_that_nobody_told(moved: &BTreeSet<String>, sync_id: &str) -> bool {
    moved.contains(sync_id)
}

/// CONV-4. peers.md, "Autosync ran while we did not": it laid over our rows what it pulled, and they are right again when
/// the project was read to the head.
pub(super) fn a_project_that_is_read_again_after_autosync(is_read_again: bool) -> bool {
    is_read_again
}

/// ACK-1. A Go process acknowledges rows by their number, whatever became of them at the door.
pub(super) fn a_row_that_a_go_process_acknowledged(by_peer: &BTreeSet<i64>, seq: i64) -> bool {
    by_peer.contains(&seq)
}

/// ACK-1. A cloud that was restored or emptied need not hold what it acknowledged before it was told that again: the law is
/// asked in the calm, of every row.
pub(super) fn a_restored_cloud_is_told_again(server: &Server, other: Option<&Server>) -> bool {
    server.is_restored || other.is_some_and(|other| other.is_restored)
}

/// ACK-2. What a Go process moved or deleted is elsewhere, or gone: where the cloud was restored before anybody read what
/// was told of it, nobody offers that again.
pub(super) fn what_a_go_process_moved_or_deleted(is_shared: bool, has_moved: impl FnOnce() -> bool) -> bool {
    is_shared && has_moved()
}

/// "Nothing is lost". A Go program's server keeps the last writer's version and has no list of what lost, and its Go clients
/// lay that version over what their user wrote.
pub(super) fn a_go_server_keeps_the_last_writers_version(is_go: bool, go_clients: usize) -> bool {
    is_go && go_clients > 0
}

/// local-store.md: "of the copies of one sync id in a project one speaks"; what the others show is nobody's.
pub(super) fn a_copy_that_does_not_speak(speaks: &BTreeSet<Vec<String>>, copy_of: &[String]) -> bool {
    speaks.contains(copy_of)
}

/// Not drawn: a Go program's server is restored or emptied only where it has no Go clients, ours and a shared one too only
/// where no Go process moved anything: "after a restore nobody offers what only Go clients held" (peers.md), and what moved
/// is told of by its own process alone.
pub(super) fn no_restore_takes_what_only_go_programs_held(go_clients: usize, has_moved: bool) -> bool {
    go_clients > 0 || has_moved
}

/// Not drawn: for the same reason Go processes move nothing after a restore.
pub(super) fn no_move_after_a_restore(is_restored: bool) -> bool {
    is_restored
}

/// Not drawn: for the same reason no server is restored from a backup that lacks what an autosync pushed: what that
/// acknowledged it never sends again, and we take it for delivered.
pub(super) fn no_restore_behind_what_autosync_pushed(server: &mut Server) {
    server.needs_new_backup();
}

/// Not drawn: the clock of a server of ours that was restored or emptied is not behind what it ever showed, where a Go program
/// reads from it. Its numbers are above all that it gave because of its clock alone (peers.md, "Numbers"), and a Go program
/// keeps one cursor for ever; our devices find out by what they miss.
pub(super) fn no_restored_server_with_a_clock_behind(has_go_programs: bool, is_restored: bool) -> bool {
    has_go_programs && is_restored
}

/// Not drawn, for it is not mended: where Go processes share a store, nobody sets the server's clock. What their autosync
/// pushed the server stamps by its clock, and an edit may be lost (`3490@2`, before this was left out).
pub(super) fn no_clock_is_set_beside_go_processes(is_shared: bool) -> bool {
    is_shared
}

/// Not drawn: a server of ours whose clock is behind is not restored or emptied, and the clock of one that was is not set,
/// while a page of what it loses is on its way: our device takes it in and finds out with its next question, and until then
/// a number means two rows.
pub(super) fn no_page_of_two_rows_with_one_number(gives_numbers_again: bool, is_page_on_its_way: bool) -> bool {
    gives_numbers_again && is_page_on_its_way
}

/// Not drawn: a batch is committed after later ones (D3) only where no Go client reads, for it passes them for ever.
pub(super) fn no_late_batch_beside_go_clients(go_clients: u32) -> bool {
    go_clients > 0
}

/// Not drawn: no batch is late (D3) while somebody sets the clock of a Go program's server. What is young is told by its
/// clock alone (peers.md: "younger than 60 s by `occurred_at`"), and after a jump nothing that came before it is.
pub(super) fn no_late_batch_while_the_clock_is_set(go: &mut GoCloud) {
    go.commit_late();
}

/// Not drawn: on a Go program's server each Go client works in one project. One that pushes a memory before the session, of
/// another project, that it belongs to halts every other one (D14).
pub(super) fn no_go_client_works_in_two_projects_of_a_go_server(is_go: bool) -> bool {
    is_go
}
