//! What peers.md knows and leaves, one function per sentence of its last paragraph, and what a Go client cannot do at all.
//! Nothing else is excused.

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
