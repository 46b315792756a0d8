//! The crash table: the program ends at one named moment of one write, or a request is held back on its way, and both
//! databases and the accounts end as the table of the design says.
//!
//! Read-back is switched off: where the table says "read back", the lines are doubt, their region is listed, and the
//! destination has nothing of them. Statements are not mirrored yet; their row belongs to them.

use twinline::base::SystemClock;
use twinline::base::clock::Clock as _;
use twinline::cell::Cell;
use twinline::control::Status;
use twinline::state::RegionRow;

use super::base::{Database, NAME};
use super::late::Relay;
use super::proxy::{Proxy, Settings, wait_for};
use super::wire::{Connection, Sent};

/// 2023-11-14, in one shard with everything near it.
const BASE_NS: i64 = 1_700_000_000_000_000_000;

/// What a row changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Ends {
    /// Cells of the row's measurement.
    source: usize,
    destination: usize,
    /// Lines.
    delivered: u64,
    doubt: u64,
    dead: u64,
}

const NOTHING: Ends = Ends { source: 0, destination: 0, delivered: 0, doubt: 0, dead: 0 };

struct Stage {
    name: &'static str,
    source: Database,
    destination: Database,
    proxy: Proxy,
}

impl Stage {
    fn new(name: &'static str, source: Database, destination: Database) -> Self {
        let settings = Settings { delivery: "late_write_max = \"500ms\"", ..Settings::default() };
        let mut proxy = Proxy::new(&source, &destination, settings);
        proxy.start();
        Self { name, source, destination, proxy }
    }

    fn head(&self, database: &str) -> String {
        format!("POST /write?db={database} HTTP/1.1\r\nHost: x{}", self.source.authorization())
    }

    /// One write through the proxy.
    fn write(&self, database: &str, body: &str) -> Sent {
        Connection::new(self.proxy.port).ask(&self.head(database), body.as_bytes())
    }

    fn accepted(&self, body: &str) {
        let sent = self.write(NAME, body);
        assert!(matches!(sent, Sent::Answer { status: 204, .. }), "{sent:?}");
    }

    /// The process ends by itself at this point of a write, without an answer to the client.
    fn ends_at(&mut self, point: &str, database: &str, body: &str) {
        self.proxy.stop();
        self.proxy.start_with(&format!("{point}=abort"));
        let sent = self.write(database, body);
        assert!(matches!(sent, Sent::Unknown), "{}: {point}: {sent:?}", self.name);
        self.proxy.died();
    }

    /// The process ends by itself after the client was told.
    fn ends_later_at(&mut self, point: &str, body: &str) {
        self.proxy.stop();
        self.proxy.start_with(&format!("{point}=abort"));
        self.accepted(body);
        self.proxy.died();
    }

    fn cells(database: &Database, measurement: &str) -> Vec<Cell> {
        let mut cells = database.cells();
        cells.retain(|cell| cell.series.measurement() == measurement.as_bytes());
        cells
    }

    /// A row: what is done must leave no process behind; what the next one makes of it is judged.
    fn row(&mut self, measurement: &str, provoke: impl FnOnce(&mut Self), ends: Ends) -> Status {
        let before = self.proxy.drained().lines;
        provoke(self);
        self.proxy.start();
        let after = self.proxy.drained();
        let lines = &after.lines;
        let found = Ends {
            source: Self::cells(&self.source, measurement).len(),
            destination: Self::cells(&self.destination, measurement).len(),
            delivered: lines.delivered - before.delivered,
            doubt: lines.doubt - before.doubt,
            dead: lines.dead_lettered - before.dead_lettered,
        };
        assert_eq!(found, ends, "{} {measurement}: {before:?} then {lines:?}", self.name);
        assert_eq!((lines.gap, lines.excluded), (before.gap, before.excluded), "{} {measurement}", self.name);
        let within = |region: &&RegionRow| region.from_ns <= BASE_NS && BASE_NS + 9 <= region.to_ns;
        let mut regions = after.regions.iter().filter(within);
        // An unreadable line of another row has made its whole route dirty.
        let listed = regions.clone().any(|region| region.measurement == measurement || region.measurement.is_empty());
        let own = regions.any(|region| region.measurement == measurement);
        assert!(if ends.doubt > 0 { listed } else { !own }, "{} {measurement}: {:?}", self.name, after.regions);
        println!("{} {measurement}: {found:?}", self.name);
        after
    }
}

fn two(measurement: &str) -> String {
    format!("{measurement} v=1i {BASE_NS}\n{measurement} v=2i {}\n", BASE_NS + 1)
}

/// All rows that need no request to be held back.
pub(crate) fn rows(name: &'static str, source: Database, destination: Database) {
    let mut stage = Stage::new(name, source, destination);
    let stage = &mut stage;
    stage.row("parsed", |stage| stage.ends_at("parsed", NAME, &two("parsed")), NOTHING);
    let unsent = Ends { doubt: 2, ..NOTHING };
    stage.row("unsent", |stage| stage.ends_at("intent-durable", NAME, &two("unsent")), unsent);
    let answered = Ends { source: 2, doubt: 2, ..NOTHING };
    stage.row("answered", |stage| stage.ends_at("answered", NAME, &two("answered")), answered);
    let kept = Ends { source: 2, destination: 2, delivered: 2, ..NOTHING };
    stage.row("untold", |stage| stage.ends_at("outcome-durable", NAME, &two("untold")), kept);
    let told = |stage: &mut Stage| {
        stage.accepted(&two("told"));
        stage.proxy.kill9();
    };
    stage.row("told", told, kept);
    stage.row("delivered", |stage| stage.ends_later_at("delivered", &two("delivered")), kept);
    stage.row("floored", |stage| stage.ends_later_at("floor-durable", &two("floored")), kept);
    rejected(stage);
    partial(stage);
    dead_letter(stage);
    stage.row("last", told_again, Ends { source: 2, destination: 2, delivered: 2, ..NOTHING });
    assert!(!stage.proxy.has_said("panicked"), "{}", stage.proxy.said());
    stage.proxy.stop();
}

fn told_again(stage: &mut Stage) {
    stage.accepted(&two("last"));
    stage.proxy.drained();
    stage.proxy.kill9();
}

/// The source answered 4xx: doubt while nobody knows, nothing once it is on record.
fn rejected(stage: &mut Stage) {
    let whole = stage.source.refuses_whole();
    let refused = |measurement: &str| match whole {
        true => (NAME, format!("{measurement} v=1i {BASE_NS}\nbad\n")),
        false => ("nope", format!("{measurement} v=1i {BASE_NS}\n")),
    };
    let (database, body) = refused("refused");
    let before = stage.proxy.drained().lines.doubt;
    stage.ends_at("answered", database, &body);
    stage.proxy.start();
    let after = stage.proxy.drained();
    assert_eq!(after.lines.doubt, before + 1, "{}: {:?}", stage.name, after.lines);
    assert!(Stage::cells(&stage.destination, "refused").is_empty());
    let (database, body) = refused("recorded");
    stage.row("recorded", |stage| stage.ends_at("outcome-durable", database, &body), NOTHING);
    let told = |stage: &mut Stage| {
        let sent = stage.write(database, &refused("heard").1);
        assert!(matches!(sent, Sent::Answer { status: 400 | 404, .. }), "{sent:?}");
        stage.proxy.kill9();
    };
    stage.row("heard", told, NOTHING);
}

/// Where a part is kept: the certain part is delivered, all of it is doubt where none is.
fn partial(stage: &mut Stage) {
    if !stage.source.refuses_whole() {
        let body = format!("{}bad\n", two("malformed"));
        let kept = Ends { source: 2, destination: 2, delivered: 2, ..NOTHING };
        stage.row("malformed", |stage| stage.ends_at("outcome-durable", NAME, &body), kept);
    }
    stage.accepted(&format!("conflict v=1i {BASE_NS}\n"));
    let body = format!("conflict v=\"text\" {}\nconflict v=2i {}\n", BASE_NS + 1, BASE_NS + 2);
    let unclear = Ends { source: 2, destination: 1, doubt: 2, ..NOTHING };
    stage.proxy.drained();
    stage.row("conflict", |stage| stage.ends_at("outcome-durable", NAME, &body), unclear);
    stage.accepted(&format!("noted v=1i {BASE_NS}\n"));
    let body = body.replace("conflict", "noted");
    stage.proxy.drained();
    stage.row("noted", |stage| stage.ends_in_background_at("doubt-durable", &body, 400..=422), unclear);
}

impl Stage {
    /// The process ends by itself after the client heard a refusal.
    fn ends_in_background_at(&mut self, point: &str, body: &str, statuses: std::ops::RangeInclusive<u16>) {
        self.proxy.stop();
        self.proxy.start_with(&format!("{point}=abort"));
        let sent = self.write(NAME, body);
        assert!(matches!(sent, Sent::Answer { status, .. } if statuses.contains(&status)), "{sent:?}");
        self.proxy.died();
    }
}

/// Refused by the destination: one dead letter, however often it is written.
fn dead_letter(stage: &mut Stage) {
    let own = format!("dead v=\"text\" {BASE_NS}\n");
    let sent = stage.destination.write(&own);
    assert!(matches!(sent, Sent::Answer { status: 204, .. }), "{sent:?}");
    let body = format!("dead v=1i {}\ndead w=2i {}\n", BASE_NS + 1, BASE_NS + 2);
    let ends = Ends { source: 2, destination: 2, delivered: 1, dead: 1, ..NOTHING };
    let after = stage.row("dead", |stage| stage.ends_later_at("dead-letter-durable", &body), ends);
    let letters: Vec<u64> = after.dead_letters.iter().map(|letter| letter.lines).collect();
    assert_eq!(letters, [1], "told once");
}

/// The request is on its way, or has taken effect, when the process dies: doubt, and the destination gets nothing of it
/// although the source has it in the end.
pub(crate) fn on_its_way(name: &'static str, source: Database, destination: Database) {
    let mut stage = Stage::new(name, Database::Late(Relay::start(source)), destination);
    let ends = Ends { source: 2, doubt: 2, ..NOTHING };
    stage.row(
        "zombie",
        |stage| {
            let writing = stage.in_background(&two("zombie"), Relay::hold_next);
            relay(&stage.source).has_kept();
            stage.proxy.kill9();
            assert!(matches!(writing.join().expect("a writer"), Sent::Unknown));
            relay(&stage.source).release();
        },
        ends,
    );
    stage.row(
        "silent",
        |stage| {
            let writing = stage.in_background(&two("silent"), Relay::swallow_next);
            wait_for("the write to take effect", || (Stage::cells(&stage.source, "silent").len() == 2).then_some(()));
            stage.proxy.kill9();
            assert!(matches!(writing.join().expect("a writer"), Sent::Unknown));
        },
        ends,
    );
    // While the process lives, a connection that breaks leaves the same doubt; and a newer value of the cell, whose order at
    // the source nobody knows, is doubt too, but nothing else of its write.
    let before = stage.proxy.drained().lines;
    relay(&stage.source).keep_next();
    let sent = stage.write(NAME, &format!("late v=1i {BASE_NS}\n"));
    assert!(matches!(sent, Sent::Answer { status: 503, .. }), "{sent:?}");
    stage.accepted(&format!("late v=2i {BASE_NS}\nlate v=3i {}\n", BASE_NS + 1));
    relay(&stage.source).release();
    let after = stage.proxy.drained();
    assert_eq!((after.lines.doubt, after.lines.delivered), (before.doubt + 2, before.delivered + 1), "{after:?}");
    let arrived = Stage::cells(&stage.destination, "late");
    assert_eq!(arrived.iter().map(|cell| cell.time_ns).collect::<Vec<_>>(), [BASE_NS + 1]);
    let region = after.regions.iter().find(|region| region.measurement == "late").expect("it is listed");
    assert_eq!((region.lines, region.causes.as_str()), (2, "overlap,reset"));
    stage.proxy.stop();
}

fn relay(database: &Database) -> &Relay {
    match database {
        Database::Late(relay) => relay,
        _ => panic!("not a relay"),
    }
}

impl Stage {
    fn in_background(&self, body: &str, arm: fn(&Relay)) -> std::thread::JoinHandle<Sent> {
        arm(relay(&self.source));
        let (port, head, body) = (self.proxy.port, self.head(NAME), body.to_owned());
        std::thread::spawn(move || Connection::new(port).ask(&head, body.as_bytes()))
    }
}

/// Devices send points that the source's retention policy does not take, between others: those are not applied, all others
/// are delivered, nothing is doubt; over a crash too.
pub(crate) fn old_points_are_no_doubt(name: &'static str, source: Database) {
    source.keep_a_day();
    let mut stage = Stage::new(name, source, Database::sandbox());
    stage.destination.create_policy("day");
    let now_ns = SystemClock::new().wall_ns();
    let hour_ns = 3_600_000_000_000;
    let ages = [1, 48, 2, 72, 72, 3, 90, 1];
    let body = |measurement: &str| -> String {
        let line =
            |(at, age): (usize, &i64)| format!("{measurement},device=d{at} v={at}i,w=1 {}\n", now_ns - age * hour_ns);
        ages.iter().enumerate().map(line).collect()
    };
    for (measurement, crash) in [("old", false), ("older", true)] {
        let before = stage.proxy.drained().lines;
        if crash {
            stage.ends_at("outcome-durable", NAME, &body(measurement));
            stage.proxy.start();
        } else {
            let sent = stage.write(NAME, &body(measurement));
            let refused = matches!(&sent, Sent::Answer { status: 400 | 422, body, .. } if body.contains("dropped=4"));
            assert!(refused, "{name}: {sent:?}");
        }
        let after = stage.proxy.drained().lines;
        let ends = (after.delivered - before.delivered, after.doubt, after.gap);
        assert_eq!(ends, (4, 0, 0), "{name} {measurement}: {after:?}");
        let arrived: Vec<i64> = stage.destination.times_of("day", measurement);
        assert_eq!(arrived, [3, 2, 1, 1].map(|age| now_ns - age * hour_ns), "{name} {measurement}");
    }
    println!("{name}: half of each write is outside the retention policy, and none of it is doubt");
    stage.proxy.stop();
}
