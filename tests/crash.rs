//! The real program, killed with -9 at random moments while writers outside of it go on, and what is left when its files are
//! damaged: judged by the writers' own record and by what both databases hold, read back typed.
//!
//! Each story prints its seed. `TWINLINE_KILL_CYCLES=50 cargo test --profile quick --test crash` runs it at length. Real
//! servers come from `$TWINLINE_SERVERS/bin` (by default `~/.cache/twinline-servers/bin`), where `tests/servers/get` puts them;
//! without them their story fails.

#![expect(clippy::disallowed_methods, reason = "the outside: plain threads that wait")]

#[path = "crash/base.rs"]
mod base;
#[path = "crash/hand.rs"]
mod hand;
#[path = "crash/late.rs"]
mod late;
#[path = "crash/once.rs"]
mod once;
#[path = "crash/proxy.rs"]
mod proxy;
#[path = "crash/story.rs"]
mod story;
#[path = "crash/table.rs"]
mod table;
#[path = "crash/wire.rs"]
mod wire;
#[path = "crash/writer.rs"]
mod writer;

use base::Database;
use story::{Weather, still, story};

#[test]
fn check_37_kills_on_sandboxes_lose_nothing() {
    story("sandboxes", &Database::sandbox(), &Database::sandbox(), Weather::Fair);
}

#[test]
fn kills_during_outages_lose_nothing() {
    story("outages", &Database::sandbox(), &Database::sandbox(), Weather::Outages);
}

#[test]
fn check_37_kills_on_real_servers_lose_nothing() {
    let (source, destination) = (Database::influxdb1(), Database::influxdb2());
    story("influxdb 1 to 2", &source, &destination, Weather::Fair);
}

#[test]
fn kills_while_a_real_destination_comes_and_goes_lose_nothing() {
    let (source, destination) = (Database::influxdb1(), Database::influxdb2());
    story("influxdb 1 to 2, outages", &source, &destination, Weather::Outages);
}

#[test]
fn a_real_destination_that_stands_still_gets_no_older_value_over_a_newer_one() {
    let destination = Database::influxdb2();
    still("standing still", &Database::sandbox(), &destination);
}

#[test]
fn a_write_that_takes_effect_late_does_not_win() {
    late::a_late_write_does_not_win(false);
}

#[test]
fn a_write_of_a_dead_process_that_takes_effect_late_does_not_win() {
    late::a_late_write_does_not_win(true);
}

#[test]
fn the_newest_value_shows_at_once_after_a_crash() {
    late::the_newest_value_shows_at_once_after_a_crash();
}

#[test]
fn a_late_write_of_a_process_that_died_and_one_that_stopped_does_not_win() {
    late::a_late_write_does_not_win_over_two_restarts(true, false);
}

#[test]
fn a_late_write_of_two_processes_that_died_does_not_win() {
    late::a_late_write_does_not_win_over_two_restarts(true, true);
}

#[test]
fn a_write_without_an_answer_does_not_win_after_a_stop() {
    late::a_late_write_does_not_win_over_two_restarts(false, false);
}

#[test]
fn a_record_damaged_after_a_crash_is_a_gap() {
    hand::a_damaged_record_is_a_gap(proxy::Proxy::kill9);
}

#[test]
fn a_record_damaged_after_a_stop_is_a_gap() {
    hand::a_damaged_record_is_a_gap(proxy::Proxy::stop);
}

#[test]
fn a_record_with_a_damaged_head_is_a_gap_of_unknown_size() {
    hand::a_damaged_head_is_a_gap_of_unknown_size();
}

#[test]
fn a_segment_cut_short_is_a_gap() {
    hand::a_segment_cut_short_is_a_gap();
}

#[test]
fn a_segment_without_its_empty_end_loses_nothing() {
    hand::a_segment_without_its_empty_end_loses_nothing();
}

#[test]
fn a_lost_cursor_costs_repetition_only() {
    hand::a_lost_cursor_costs_repetition_only();
}

#[test]
fn a_gap_whose_write_dies_counts_once_on_sandboxes() {
    hand::a_gap_whose_write_dies_counts_once(Database::sandbox(), Database::sandbox());
}

#[test]
fn a_gap_whose_write_dies_counts_once_on_real_servers() {
    let (influx1, influx2) = (Database::influxdb1(), Database::influxdb2());
    hand::a_gap_whose_write_dies_counts_once(influx1, influx2);
    let (influx1, influx2) = (Database::influxdb1(), Database::influxdb2());
    hand::a_gap_whose_write_dies_counts_once(influx2, influx1);
}

#[test]
fn a_full_queue_fails_open_and_counts_the_gap() {
    hand::a_full_queue_fails_open_and_counts_the_gap();
}

#[test]
fn a_full_queue_refuses_where_that_is_wanted() {
    hand::a_full_queue_refuses_where_that_is_wanted();
}

#[test]
fn each_row_of_the_crash_table_ends_as_it_says_on_sandboxes() {
    table::rows("sandboxes", Database::sandbox(), Database::sandbox());
}

#[test]
fn each_row_of_the_crash_table_ends_as_it_says_from_influxdb_1_to_2() {
    let (source, destination) = (Database::influxdb1(), Database::influxdb2());
    table::rows("influxdb 1 to 2", source, destination);
}

#[test]
fn each_row_of_the_crash_table_ends_as_it_says_from_influxdb_2_to_1() {
    let (source, destination) = (Database::influxdb2(), Database::influxdb1());
    table::rows("influxdb 2 to 1", source, destination);
}

#[test]
fn influxdb_replications_a_write_on_its_way_when_the_process_dies_is_doubt() {
    table::on_its_way("sandboxes", Database::sandbox(), Database::sandbox());
}

#[test]
fn a_write_on_its_way_to_a_real_source_when_the_process_dies_is_doubt() {
    let (source, destination) = (Database::influxdb1(), Database::influxdb2());
    table::on_its_way("influxdb 1 to 2", source, destination);
}

#[test]
fn a_late_write_of_a_dead_process_does_not_win_at_a_real_destination() {
    let destination = Database::influxdb2();
    late::a_late_write_does_not_win_at(destination);
}

#[test]
fn without_repeats_every_difference_on_sandboxes_is_listed() {
    once::once("sandboxes, once", &Database::sandbox(), &Database::sandbox());
}

#[test]
fn without_repeats_every_difference_on_real_servers_is_listed() {
    let (source, destination) = (Database::influxdb1(), Database::influxdb2());
    once::once("influxdb 1 to 2, once", &source, &destination);
}

#[test]
fn points_that_the_source_does_not_keep_are_no_doubt() {
    table::old_points_are_no_doubt("sandbox", Database::sandbox());
}

#[test]
fn points_that_a_real_source_does_not_keep_are_no_doubt() {
    table::old_points_are_no_doubt("influxdb 1", Database::influxdb1());
    table::old_points_are_no_doubt("influxdb 2", Database::influxdb2());
}
