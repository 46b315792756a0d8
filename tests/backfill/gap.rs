//! A destination that was restored from a backup, and what came to the source since.

use twinline::cell::compare;

use crate::copied::{MONDAY_NS, document, place, said, write};
use crate::database::{Kind, shared};

const HOUR_NS: i64 = 3_600_000_000_000;

#[test]
fn what_came_after_a_backup_is_copied_and_what_times_cannot_know_is_told() {
    let name = "bgap";
    let (source, destination) = (shared(Kind::One, 0), shared(Kind::One, 1));
    for database in [&source, &destination] {
        database.create(name);
        write(database, name, &format!("m,h=old f=1 {}\nm f=1 {MONDAY_NS}", MONDAY_NS - 100 * HOUR_NS));
    }
    // After the backup: a new value of a point in it, one late by a night, one too late for any margin, one of tomorrow.
    let since = [
        format!("m f=2 {MONDAY_NS}"),
        format!("m,h=late f=3 {}", MONDAY_NS - 12 * HOUR_NS),
        format!("m,h=too_late f=4 {}", MONDAY_NS - 90 * HOUR_NS),
        format!("m,h=future f=5 {}", MONDAY_NS + 48 * HOUR_NS),
    ];
    write(&source, name, &since.join("\n"));
    let backup = (MONDAY_NS + HOUR_NS).to_string();
    let place = place(&source, destination.section());
    let dry = place.command(&["backfill", "gap", "--restored-from", &backup, "--db", name, "--dry-run"]);
    assert_eq!(dry.status.code(), Some(0), "{}", said(&dry));
    for says in
        ["2023-11-13T01:00:00Z", "2023-11-12T01:00:00Z", "how late points come is not known", "does not keep when"]
    {
        assert!(said(&dry).contains(says), "{says}: {}", said(&dry));
    }
    let done = document(&place, &["gap", "--offline", "--restored-from", &backup, "--db", name], 0);
    assert_eq!((&done["state"], &done["points"]), (&"done".into(), &3.into()), "{done:#}");
    let wanted = source.cells(name).into_iter().filter(|cell| cell.series.tag(b"h") != Some(b"too_late"));
    let differences = compare(wanted, destination.cells(name));
    assert!(differences.is_empty(), "{differences}");
    // A wider margin finds it.
    document(&place, &["gap", "--offline", "--restored-from", &backup, "--margin", "7d", "--db", name], 0);
    let differences = compare(source.cells(name), destination.cells(name));
    assert!(differences.is_empty(), "{differences}");
}
