//! Points that copies lose elsewhere, and the look whether all of them came.

use std::process::Output;

use serde_json::Value;
use twinline::cell::compare;

use crate::database::{Database, Kind};
use crate::proxy::{Place, Setup};

/// 2023-11-13, a Monday: where one weekly shard group ends and the next begins.
pub(crate) const MONDAY_NS: i64 = 1_699_833_600_000_000_000;
pub(crate) const WEEK_NS: i64 = 604_800_000_000_000;

/// Lines of all types, with odd names and texts, at odd times.
pub(crate) fn nasty(kind: Kind) -> String {
    let mut lines = vec![
        format!("all,host=a f=1.5,z=-0.0,i=-9223372036854775807i,b=true,s=\"x\" {MONDAY_NS}"),
        format!("all,host=a big=1e300,f=6.5,i=9223372036854775807i,b=false,s=\"\" {}", MONDAY_NS + 123_456_789),
        // One nanosecond before the boundary, and one behind.
        format!("all,host=a f=2 {}", MONDAY_NS - 1),
        format!("all,host=a f=3 {}", MONDAY_NS + 1),
        format!("all,host=a f=4 {}", MONDAY_NS + WEEK_NS),
        format!("all f=5 {MONDAY_NS}"),
        // The whole numbers that are floats.
        format!("all,host=b f=7,i=7i {MONDAY_NS}"),
        "all,host=old f=1 0".to_owned(),
        "all,host=old f=1 -1".to_owned(),
        "ends,host=a f=1,s=\"first\" -9223372036854775806".to_owned(),
        "ends,host=a f=2,s=\"last\" 9223372036854775806".to_owned(),
        // Another type in another shard group, and one that no number can be cast to.
        format!("mixed,host=a v=1.5,w=1i {}", MONDAY_NS - WEEK_NS),
        format!("mixed,host=a v=2i,w=\"text\" {MONDAY_NS}"),
        format!("mixed,host=a v=2.5 {}", MONDAY_NS - WEEK_NS + 1),
        format!("odd\\ name\\,x,t\\ k\\=1=v\\,\\ w,\u{e4}=\u{1f600} f\\ 1=1,\"q\"=2 {MONDAY_NS}"),
        format!("texts s=\"a\\\"b\\\\c\nd, e=f\" {MONDAY_NS}"),
        format!("texts,t=x s=\"{}\" {}", "long ".repeat(2000), MONDAY_NS + 5),
    ];
    if kind == Kind::Two {
        lines.push(format!("unsigned u=18446744073709551615u,i=1i {MONDAY_NS}"));
        lines.push(format!("unsigned u=0u {}", MONDAY_NS + 1));
        lines.push(format!("unsigned v=1u {MONDAY_NS}"));
        lines.push(format!("unsigned v=1i {}", MONDAY_NS + WEEK_NS));
    }
    // A series of many points over several groups.
    lines.extend(
        (0..3000).map(|at| {
            format!("many,host=h{} f={at}.25,n={at}i {}", at % 7, MONDAY_NS - WEEK_NS * 3 + at * 1_000_000_007)
        }),
    );
    lines.join("\n")
}

/// Writes lines to a database, as its own clients would.
pub(crate) fn write(database: &Database, name: &str, body: &str) {
    let path = match (database.kind, name.split_once('/')) {
        (Kind::One, Some((db, rp))) => format!("/write?db={db}&rp={rp}&precision=ns"),
        (Kind::One, None) => format!("/write?db={name}&precision=ns"),
        (Kind::Two, _) => {
            format!("/api/v2/write?org={}&bucket={}&precision=ns", crate::database::ORG, crate::http::escape(name))
        }
    };
    database.post(&path, body.as_bytes(), 204);
}

/// A configuration of these two, where nothing has run.
pub(crate) fn place(source: &Database, destination: String) -> Place {
    Setup::new(source.section(), destination).place()
}

pub(crate) fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// A command that must end so; its document.
pub(crate) fn document(place: &Place, words: &[&str], exit: i32) -> Value {
    let output = place.command(&[&["-o", "json", "backfill"], words].concat());
    assert_eq!(output.status.code(), Some(exit), "{words:?}: {}", said(&output));
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {}", said(&output)))
}

/// Both hold the same, to the bit.
pub(crate) fn equal(source: &Database, destination: &Database, name: &str) -> u64 {
    let differences = compare(source.cells(name), destination.cells(name));
    assert!(differences.is_empty(), "{name}: {differences}");
    differences.equal
}
