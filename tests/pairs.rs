//! The promise itself: thousands of awkward points, deletes among them, from several writers, while the destination is killed with -9
//! again and again; then both sides are read back typed and compared to the cell. What differs must be told.
//!
//! Needs real servers: `tests/servers/get influxdb1 influxdb2 victoriametrics questdb`. `TWINLINE_POINTS` sets how many lines each
//! pair is written with (4,000; 100,000 with ten kills in the long run), `TWINLINE_KILLS` how often the destination dies,
//! `TWINLINE_SEED` what is written, `TWINLINE_PAIRS` which pairs (`1to2,1to2andvictoria,…`; all), and `TWINLINE_KILL_TWINLINE=1` kills the
//! proxy as often.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests wait on real time and end at a surprise")]

// Real databases, started and stopped by id.
#[allow(dead_code, reason = "shared with other tests, which use more of it")]
#[path = "it/database.rs"]
mod database;
// Where random lines come from.
#[allow(dead_code, reason = "shared with other tests, which use more of it")]
#[path = "random/generate.rs"]
mod generate;
// Databases that are no InfluxDB.
#[allow(dead_code, reason = "shared with other tests, which use more of it")]
#[path = "it/foreign.rs"]
mod foreign;
// A client that shows answers as they came.
#[allow(dead_code, reason = "shared with other tests, which use more of it")]
#[path = "it/http.rs"]
mod http;
// Two InfluxDB databases compared.
#[path = "pairs/judge.rs"]
mod judge;
// What the writers' records say of the source.
#[path = "pairs/oracle.rs"]
mod oracle;
// What writers do.
#[path = "pairs/points.rs"]
mod points;
// The built program as a process.
#[allow(dead_code, reason = "shared with other tests, which use more of it")]
#[path = "it/proxy.rs"]
mod proxy;
// QuestDB: as a process, and what it must hold.
#[path = "pairs/quest.rs"]
mod quest;
#[allow(dead_code, reason = "shared with other tests, which use more of it")]
#[path = "it/questdb_server.rs"]
mod questdb_server;
// The record of the parsers, which lends some inputs.
#[allow(dead_code, reason = "shared with the tests of the record")]
#[path = "corpus/recorded.rs"]
mod recorded;
// One pair at work.
#[path = "pairs/run.rs"]
mod run;
// VictoriaMetrics: as a process, and what it must hold.
#[path = "pairs/victoria.rs"]
mod victoria;
#[allow(dead_code, reason = "shared with other tests, which use more of it")]
#[path = "it/victoria_server.rs"]
mod victoria_server;

use std::sync::Mutex;
use std::time::Duration;

use database::{Database, Kind};
use points::Taste;
use proxy::{Twinline, eventually};
use questdb_server::Questdb;
use run::{Budget, Destination, Outcome};
use victoria_server::Victoria;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

/// What is done with a pair; nothing where others were chosen.
fn budget(pair: &str) -> Option<Budget> {
    let chosen = std::env::var("TWINLINE_PAIRS").unwrap_or_default();
    if !chosen.is_empty() && !chosen.split(',').any(|one| one == pair) {
        println!("{pair}: not chosen");
        return None;
    }
    let points = setting("TWINLINE_POINTS", 4_000);
    let kills = setting("TWINLINE_KILLS", if points < 50_000 { 2 } else { 10 });
    let kill_twinline = setting("TWINLINE_KILL_TWINLINE", 0) != 0;
    Some(Budget { points, kills, seed: setting("TWINLINE_SEED", 11), kill_twinline })
}

/// How many of the changes that ran must be told, by what they are.
fn told(outcome: &Outcome, of: impl Fn(&points::Change) -> bool) -> u64 {
    outcome.writers.iter().flat_map(|own| &own.changes).filter(|change| of(change)).count() as u64
}

fn influx(pair: &str, source: Kind, destination: Kind) {
    let Some(budget) = budget(pair) else { return };
    let (source, destination) = (Database::start(source), Database::start(destination));
    let name = format!("pair_{pair}");
    source.create(&name);
    destination.create(&name);
    let unsigned = match (source.kind, destination.kind) {
        (Kind::One, _) => 0,
        (Kind::Two, Kind::Two) => 256,
        // It refuses such lines.
        (Kind::Two, Kind::One) => 8,
    };
    let taste = Taste { unsigned, wild: true };
    let outcome = run_one(&source, &destination, (&name, taste), budget, |_| ());
    let cells = (source.cells(&name), destination.cells(&name));
    let counts = judge::judge(pair, cells, source.dialect(), &outcome);
    judge::report(pair, &outcome, &counts);
    judge::expect(pair, &outcome, budget, told(&outcome, is_told(source.kind, destination.kind)));
}

/// Which changes these two cannot have alike.
fn is_told(source: Kind, destination: Kind) -> impl Fn(&points::Change) -> bool {
    move |change| {
        change.writes
            || change.misses
            || change.by_expression && destination == Kind::Two
            || change.is_statement && source == Kind::Two
    }
}

/// With one destination there is one outcome.
fn run_one(
    source: &Database,
    destination: &dyn Destination,
    named: (&str, Taste),
    budget: Budget,
    prepared: impl FnOnce(&Twinline),
) -> Outcome {
    run::run(source, &[destination], named, budget, prepared).pop().unwrap()
}

#[test]
fn from_1_to_2() {
    influx("1to2", Kind::One, Kind::Two);
}

#[test]
fn from_2_to_2() {
    influx("2to2", Kind::Two, Kind::Two);
}

#[test]
fn from_1_to_1() {
    influx("1to1", Kind::One, Kind::One);
}

#[test]
fn from_2_to_1() {
    influx("2to1", Kind::Two, Kind::One);
}

/// Changes that a destination which deletes nothing is told of: all of them.
fn all(_: &points::Change) -> bool {
    true
}

impl Destination for Mutex<Victoria> {
    fn section(&self) -> String {
        self.lock().unwrap().section()
    }

    fn kill(&self) {
        self.lock().unwrap().0.kill();
    }

    fn start(&self) {
        self.lock().unwrap().0.start_again();
    }

    fn forgets(&self) -> Duration {
        Duration::from_secs(20)
    }
}

impl Destination for Mutex<Questdb> {
    fn section(&self) -> String {
        self.lock().unwrap().section("kind = \"questdb\"")
    }

    fn kill(&self) {
        self.lock().unwrap().0.kill();
    }

    fn start(&self) {
        self.lock().unwrap().0.start_again();
    }
}

const TAME: Taste = Taste { unsigned: 0, wild: false };

#[test]
fn from_1_to_victoriametrics() {
    let Some(budget) = budget("1tovictoria") else { return };
    let (source, victoria) = (Database::start(Kind::One), Mutex::new(Victoria::start()));
    let name = "pair_victoria";
    source.create(name);
    let outcome = run_one(&source, &victoria, (name, TAME), budget, |_| ());
    let samples = victoria.lock().unwrap().samples();
    let counts = victoria::judge(name, &source.cells(name), &samples, &outcome);
    judge::report(name, &outcome, &counts);
    judge::expect(name, &outcome, budget, told(&outcome, all));
}

/// As `twinline check` asks for it: every table replaces a row that is sent again. And each has its columns before the first kill: the
/// server loses one that it adds when it is killed (`it rows` has what we do then).
fn replace_rows(questdb: &Questdb, twinline: &Twinline) {
    let check = || String::from_utf8(twinline.command(&["check", "--only", "mapping"]).stdout).unwrap();
    eventually("every table replaces rows", || {
        let said = check();
        for command in said.split("ALTER TABLE").skip(1) {
            let command = &command[..=command.find(')').unwrap()];
            questdb.ask(&format!("ALTER TABLE{command}"));
        }
        if said.contains("hold a row twice") || said.contains("holds a row twice") { Err(said) } else { Ok(()) }
    });
    let columns = [("value", "DOUBLE"), ("a count", "LONG"), ("ok=yes_2cno", "BOOLEAN"), ("te_22xté", "VARCHAR")];
    let columns = [&columns[..], &[("edge", "DOUBLE"), ("other", "DOUBLE")]].concat();
    let own = questdb.ask("select table_name from tables() where table_name like '%_own%'");
    for table in own["dataset"].as_array().unwrap() {
        for (column, kind) in &columns {
            let table = table[0].as_str().unwrap();
            questdb.ask(&format!("ALTER TABLE \"{table}\" ADD COLUMN IF NOT EXISTS \"{column}\" {kind}"));
        }
    }
}

#[test]
fn from_1_to_questdb() {
    let Some(budget) = budget("1toquest") else { return };
    let (source, questdb) = (Database::start(Kind::One), Mutex::new(Questdb::start()));
    let name = "pair_quest";
    source.create(name);
    let prepared = |twinline: &Twinline| replace_rows(&questdb.lock().unwrap(), twinline);
    let outcome = run_one(&source, &questdb, (name, TAME), budget, prepared);
    let counts = quest::judge(name, &source.cells(name), &questdb.lock().unwrap(), &outcome);
    judge::report(name, &outcome, &counts);
    judge::expect(name, &outcome, budget, told(&outcome, all));
}

/// Two destinations of one log: each is what it is alone, and the one that lives has everything while the other is dead.
#[test]
fn from_1_to_2_and_victoriametrics() {
    let pair = "1to2andvictoria";
    let Some(budget) = budget(pair) else { return };
    let (source, two) = (Database::start(Kind::One), Database::start(Kind::Two));
    let victoria = Mutex::new(Victoria::start());
    let name = "pair_both";
    source.create(name);
    two.create(name);
    let both = run::run(&source, &[&two, &victoria], (name, TAME), budget, |_| ());
    let [to_two, to_victoria] = &both[..] else { panic!("{} outcomes", both.len()) };
    let held = source.cells(name);
    let samples = victoria.lock().unwrap().samples();
    let counts = judge::judge(pair, (held.clone(), two.cells(name)), source.dialect(), to_two);
    judge::report(&format!("{pair}: 2.9"), to_two, &counts);
    judge::expect(pair, to_two, budget, told(to_two, is_told(source.kind, two.kind)));
    let counts = victoria::judge(name, &held, &samples, to_victoria);
    judge::report(&format!("{pair}: VictoriaMetrics"), to_victoria, &counts);
    judge::expect(pair, to_victoria, budget, told(to_victoria, all));
}
