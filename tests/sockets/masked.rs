//! Sessions on kernels that lack an optional part of `io_uring`: the same tests again, each time without some.
//!
//! What replaces a missing part differs from it in what sessions see: when receives complete and how many there are, and in
//! which turn. All tests can be run this way by hand: `IISPLICE_TEST_IO_URING_WITHOUT=no-iowait cargo test --test sockets`; those
//! of `start_up` that expect a feature in the start-up line then fail.

use std::process::Command;

use crate::support::WITHOUT;

/// Each way of moving bytes, and each of ending; none that takes long, and many at a time, since most of them wait.
const TESTS: [&str; 17] = [
    "relay::lengths_around_every_boundary_arrive_by_turns_copied_and_spliced",
    "relay::between_all_families_random_pieces_arrive_copied",
    "relay::small_exchanges_go_on_beside_bulk_on_the_same_worker",
    "urgent::bodies_with_marks_arrive_whole",
    "endings::after_the_clients_end_the_server_goes_on",
    "endings::a_reset_right_behind_bytes_is_passed_on",
    "endings::an_end_right_behind_bytes_is_passed_on_between_unix_sockets",
    "cut::half_a_reply_is_reset",
    "cut::what_has_arrived_is_closed_in_order",
    "limits::a_stalled_direction_holds_one_buffer_and_leaves_the_others",
    "shortage::with_one_buffer_all_take_turns",
    "proxy_header::version_1_is_understood_however_it_is_cut_up",
    "http::bodies::large_bodies_arrive_both_ways_and_downloads_are_spliced",
    "http::connections::pipelined_requests_are_served_in_order_one_at_a_time",
    "http::connections::an_upgrade_is_a_tunnel_after_101",
    "tls::truncation::a_missing_word_on_one_side_is_a_reset_on_the_other",
    "tls::requests::redirects_lead_back_to_where_tls_ends",
];

/// The tests pass without these features.
fn pass_without(features: &str) {
    let tests = std::env::current_exe().expect("it runs");
    let mut command = Command::new(tests);
    command.env(WITHOUT, features).args(["--exact", "--test-threads=8"]).args(TESTS);
    let output = command.output().expect("it starts");
    let said = String::from_utf8_lossy(&output.stdout);
    let passed = format!("test result: ok. {} passed; 0 failed", TESTS.len());
    assert!(output.status.success() && said.contains(&passed), "without {features}:\n{said}");
}

#[test]
fn without_a_limit_of_multishot_receives() {
    pass_without("recv-multishot-limit");
}

#[test]
fn with_waiting_counted_as_iowait() {
    pass_without("no-iowait");
}

#[test]
fn with_completions_at_the_next_system_call() {
    pass_without("defer-taskrun");
}

#[test]
fn with_completions_at_any_time() {
    pass_without("defer-taskrun,coop-taskrun");
}

#[test]
fn with_rings_that_are_not_restricted() {
    pass_without("restrictions");
}

#[test]
fn with_what_is_required_and_no_more() {
    pass_without("recv-multishot-limit,no-iowait,defer-taskrun,coop-taskrun,restrictions");
}
