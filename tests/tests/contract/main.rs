//! One suite for every journal: what a store of the cloud must do, whichever it is.
//!
//! The cases are generic over [`Journal`](engram_cloud::journal::Journal). A store takes part with a [`bench::Bench`]
//! that opens it, and one line of `contract!`.

mod bench;
mod cursors;
mod door;
mod entries;
mod foreign;
mod merging;
mod older;
mod orders;
mod pages;
mod peer_rows;
mod rail;
mod relations;
mod repetition;
mod retention;
mod round_trips;
mod waiting;
mod witness;

/// Names every case once for a bench.
macro_rules! contract {
    ($store:ident, $bench:expr, [$($module:ident :: $case:ident),* $(,)?]) => {
        mod $store {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
                async fn $case() {
                    // Missing where a store's program is not installed; that was said.
                    let Some(bench) = $bench else { return };
                    crate::$module::$case(bench).await;
                }
            )*
        }
    };
}

/// Runs the whole suite against one store.
macro_rules! every_case {
    ($store:ident, $bench:expr) => {
        contract!(
            $store,
            $bench,
            [
                cursors::cur_2_a_tailing_reader_misses_nothing_of_concurrent_pushers,
                cursors::cur_2_a_head_that_was_told_stays_the_end_of_what_came_before,
                cursors::cur_3_a_data_set_keeps_its_identity_and_its_numbers,
                cursors::numbers_are_multiples_of_eight_and_follow_the_clock,
                cursors::dur_1_what_was_answered_is_there_after_reopening,
                repetition::idem_1_the_same_push_twice_changes_nothing,
                repetition::idem_1_the_same_push_from_many_at_once_is_stored_once,
                repetition::idem_1_without_ids_a_replayed_history_appends_nothing,
                repetition::a_mutation_id_belongs_to_its_project,
                merging::conv_1_a_stale_version_is_superseded_and_not_served,
                merging::conv_1_two_halves_are_mixed_and_the_join_is_appended,
                merging::conv_1_any_order_of_arrival_ends_in_the_same_versions,
                merging::conv_5_a_deleted_memory_stays_deleted_until_it_is_made_again,
                merging::a_deleted_session_takes_its_earlier_prompts_along,
                merging::a_session_is_served_as_an_upsert_with_all_its_fields,
                entries::what_no_database_can_keep_is_the_fault_of_its_row,
                entries::receipts_come_one_per_entry_and_a_bad_one_stands_alone,
                entries::without_ids_a_batch_is_all_or_nothing,
                entries::scope_2_the_authorised_project_is_what_is_stored,
                entries::scope_2_one_id_in_two_projects_is_two_entities,
                entries::a_paused_project_refuses_pushes_and_serves_pulls,
                foreign::an_unknown_entity_is_stored_and_served_by_one_form_only,
                foreign::idem_1_an_unknown_entity_is_stored_once,
                pages::a_page_is_fair_between_projects,
                pages::a_page_is_bounded_in_bytes_and_never_empty,
                pages::heads_and_remaining_tell_what_is_left,
                pages::the_digest_is_what_the_current_versions_add_up_to,
                pages::the_grant_form_shows_the_grant_in_one_order,
                door::what_it_lost_to_is_shown_once_more,
                door::a_version_that_was_held_keeps_its_time,
                door::a_time_of_the_far_future_is_the_time_of_receipt,
                door::sessions_are_shown_again_for_their_end_and_their_prompts,
                rail::a_chunk_is_served_to_the_byte_and_kept_once,
                rail::a_chunk_is_listed_where_it_tells_the_truth,
                rail::conv_1_a_chunk_that_overwrites_is_left_to_slices,
                rail::a_slice_goes_on_where_the_list_ends,
                rail::a_chunk_that_is_refused_leaves_nothing,
                relations::a_relation_is_shown_again_when_a_missing_end_arrives,
                relations::an_end_in_the_same_request_or_of_another_project_counts,
                retention::contents_go_when_they_stayed_long_enough,
                retention::pages_pass_what_is_gone,
                retention::idem_1_what_was_compacted_is_known_again,
                retention::a_relation_stays_behind_its_memories,
                retention::a_long_way_is_gone_in_steps,
                retention::cur_2_who_reads_beside_it_misses_nothing_that_is_current,
                witness::cur_3_a_store_without_the_row_of_the_witness_does_nothing,
                waiting::who_listens_before_it_looks_is_woken,
                waiting::nobody_is_woken_by_another_project_or_by_nothing_new,
            ]
        );
    };
}

every_case!(model, Some(crate::bench::ModelBench::new()));
every_case!(embedded, Some(crate::bench::EmbeddedBench::new()));
every_case!(postgres, crate::bench::PostgresBench::new());

contract!(
    two_servers,
    crate::bench::PostgresBench::new(),
    [
        cursors::cur_2_two_servers_of_one_database_show_one_order,
        repetition::idem_1_the_same_push_at_two_servers_is_stored_once,
        peer_rows::what_a_peer_wrote_is_served_as_it_stands,
        peer_rows::conv_1_a_push_merges_with_what_a_peer_wrote,
        peer_rows::conv_1_the_last_row_becomes_the_join,
        peer_rows::a_deletion_reaches_prompts_that_a_peer_wrote,
        rail::a_peers_chunks_are_served_under_their_ids,
        rail::conv_5_what_a_peer_was_told_in_chunks_alone_is_taken_over,
        peer_rows::conv_1_what_was_sent_in_another_form_counts_as_what_it_says,
        peer_rows::the_peer_may_go_on_where_this_server_ended,
        peer_rows::a_child_before_its_session_is_left_out_of_the_grant_form_and_appended_again,
        round_trips::a_push_is_four_round_trips_and_pushes_that_wait_share_them,
        peer_rows::a_relation_that_a_peer_wrote_before_its_end_is_appended_again,
        retention::sessions_of_a_peer_stay,
        round_trips::cost_1_an_idle_turn_of_compaction_asks_a_few_questions,
    ]
);
