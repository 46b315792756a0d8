//! A check that cannot fail is worthless: each safeguard of the log is switched off in turn, and the simulated disk must
//! find what it is for. `TWINLINE_SAFEGUARD_SEEDS` bounds how many histories that may take.

use std::ops::Range;

use super::super::safeguard::{Safeguard, without};
use super::history::{Flavour, History};
use super::story::{Failure, Story, Wrong};

/// Histories until a safeguard counts as unnoticed.
const SEEDS_MAX: u64 = 20_000;

fn bound() -> u64 {
    std::env::var("TWINLINE_SAFEGUARD_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(SEEDS_MAX)
}

/// The first history that goes wrong without a safeguard.
fn first_failure(safeguard: Safeguard, flavour: Flavour, seeds: Range<u64>) -> Option<(u64, Failure)> {
    without(Some(safeguard), || {
        seeds.into_iter().find_map(|seed| {
            let failure = Story::new(History::new(seed, flavour)).tell().err()?;
            Some((seed, failure))
        })
    })
}

/// Which histories notice, and what they must find first.
fn is_noticed(safeguard: Safeguard, flavour: Flavour, expected: &[Wrong]) {
    let found = first_failure(safeguard, flavour, 0..bound());
    let (seed, failure) = found.unwrap_or_else(|| panic!("{safeguard:?} went unnoticed in {} histories", bound()));
    println!("{safeguard:?}: {} histories until {:?}: {}", seed + 1, failure.wrong, failure.what);
    assert!(expected.contains(&failure.wrong), "{safeguard:?}, seed {seed}: {failure:?}");
    let whole = Story::new(History::new(seed, flavour)).tell();
    assert!(whole.is_ok(), "with the safeguard the same history is fine: {whole:?}");
}

macro_rules! noticed {
    ($($test:ident: $safeguard:ident, $flavour:ident, [$($wrong:ident),+];)+) => {
        $(#[test]
        fn $test() {
            is_noticed(Safeguard::$safeguard, Flavour::$flavour, &[$(Wrong::$wrong),+]);
        })+
    };
}

noticed! {
    without_a_sync_before_success_records_are_lost: SyncBeforeSuccess, Crashes, [Lost, FalseDamage];
    without_a_sync_before_rotation_the_log_cries_damage: SyncBeforeRotation, Crashes, [FalseDamage, Lost];
    without_a_synced_header_a_segment_is_lost: HeaderBeforeName, Crashes, [Lost, FalseDamage];
    without_a_synced_name_a_segment_is_lost: NameBeforeRecords, Crashes, [Lost, FalseDamage];
    with_a_header_before_its_copies_records_are_lost: CopiesBeforeHeader, Crashes, [Lost, FalseDamage];
    without_copies_the_log_cries_damage: CopyForward, Crashes, [FalseDamage, Lost];
    without_a_synced_directory_recovery_builds_on_sand: DirectoryFirst, FullStarts, [FalseDamage, Lost];
    under_an_old_salt_an_old_seal_hides_records: NewSalt, Crashes, [Lost, Altered, FalseDamage];
    after_a_second_sync_of_a_failed_one_records_are_lost: NoRetry, Crashes, [Lost, FalseDamage];
    without_a_synced_rename_a_recycled_segment_leaves_a_hole: RenameBeforeReuse, Crashes, [FalseDamage, Lost, Broken];
    recycling_out_of_order_leaves_a_hole: RecycleInOrder, Crashes, [FalseDamage, Lost];
    without_a_synced_cursor_its_records_are_gone: CursorSynced, Crashes, [FloorBack, Lost];
    without_a_new_cursor_file_a_floor_goes_back: CursorAnew, Crashes, [FloorBack, Lost];
    released_before_its_floor_is_saved_a_record_is_gone: SaveBeforeRelease, Crashes, [Lost];
    without_proofs_anywhere_a_flip_is_silent: ProofAnywhere, Flips, [Lost];
    without_a_twin_a_flip_costs_a_segment: HeaderTwin, Flips, [FalseDamage, Lost];
    without_an_idle_mark_a_flip_is_silent: IdleMark, Flips, [Lost];
    without_a_synced_mark_a_flip_is_silent: MarkSynced, Flips, [FalseDamage, Lost];
    without_a_mark_behind_the_copies_a_flip_is_silent: MarkBehindCopies, Flips, [Lost];
}
