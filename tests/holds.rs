//! Regions that delivery leaves alone while somebody copies them: delivery itself, over a real log, to a destination that answers
//! from a script.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests wait on real time and end at a surprise")]

#[allow(dead_code, reason = "it has more for others")]
#[path = "it/scripted.rs"]
mod scripted;

use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::task::{JoinHandle, LocalSet, spawn_local};

use scripted::{DONE, Reply, Scripted, Write};
use twinline::base::clock::SystemClock;
use twinline::base::{DestinationId, Epoch, Error, Lsn, RequestId, Result, Retry, RouteId, Side, disk};
use twinline::config::{self, Config};
use twinline::db::product::Product;
use twinline::db::server::Server;
use twinline::delivery::{self, Broken, Hold, Parts, Region, Regions, SharedView, View, Writing, shared_view};
use twinline::line::{Dialect, Precision};
use twinline::queue::doubts::Doubts;
use twinline::queue::{Appender, Cause, Disposition, Door, Intent, LocalQueue, Outcome, Statement};
use twinline::route::{RouteName, TargetKind};
use twinline::state::{EventKind, SharedState, SqliteState};
use twinline::wal::{Entry, Kind, Options};

/// How long anything may take that must come true; machines that run tests are busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// One process: delivery, and the end of a log where writes arrive that the source has kept.
struct Process {
    appender: Appender,
    regions: Regions,
    hold: Hold,
    view: SharedView,
    state: SharedState,
    stop: watch::Sender<bool>,
    delivers: JoinHandle<Result<()>>,
}

fn configured(destination: &Scripted, delivery: &str) -> Config {
    let text = format!(
        "data_dir = \"/nowhere\"\n[[listen]]\naddress = \"127.0.0.1:0\"\nrole = \"proxy\"\n[source]\nurl = \"http://127.0.0.1:9\"\n\
         [destination]\nurl = {:?}\n[destination.delivery]\nretry_initial = \"100ms\"\nretry_max = \"200ms\"\n{delivery}\n",
        destination.url()
    );
    config::parse(&text, &|_| None).unwrap().config
}

fn name(db: &str) -> RouteName {
    RouteName::Database { db: db.to_owned(), rp: String::new() }
}

fn region(measurement: &str, to_ns: i64) -> Region {
    Region { route: name("d"), measurement: measurement.into(), from_ns: 0, to_ns }
}

impl Process {
    /// `more`: settings of `[destination.delivery]`.
    fn start(dir: &Path, destination: &Scripted, more: &str, regions: Regions) -> Self {
        let (config, clock) = (configured(destination, more), SystemClock::shared());
        let id = DestinationId::parse("main").unwrap();
        let options = Options {
            segment_bytes: 1 << 20,
            max_bytes: 64 << 20,
            reserve_free_bytes: 0,
            ..Options::new(dir.join("wal"))
        };
        let opened = LocalQueue::open(disk::real(), Arc::clone(&clock), options, id.clone(), Epoch(1)).unwrap();
        let appender = Appender::start(opened.queue.log(), Epoch(1));
        let state: SharedState = Arc::new(SqliteState::open(&dir.join("state.db")).unwrap());
        let (hold, view) = (Hold::default(), shared_view());
        let one = config.destination();
        let parts = Parts {
            is_only: true,
            product: Product::Influx1,
            writing: Writing::Influx(Dialect::Influx1),
            id,
            kind: TargetKind::Database,
            mapping: config.mapping.clone(),
            settings: one.delivery.clone(),
            gzip: false,
            create: None,
            dead_letter_bytes_max: 1 << 20,
            route_backlog_bytes: one.delivery.route_backlog.0,
            state: Arc::clone(&state),
            clock,
            hold: hold.clone(),
            regions: regions.clone(),
            view: Arc::clone(&view),
            doubts: Doubts::new(Duration::from_secs(60)),
            unanswered_max: PATIENCE,
        };
        let (stop, stopped) = watch::channel(false);
        let server = Server::new(&one.server, Side::Destination).unwrap();
        let delivers = spawn_local(delivery::run(opened, parts, server, stopped));
        Self { appender, regions, hold, view, state, stop, delivers }
    }

    async fn append(&self, kind: Kind, meta: Bytes, lines: u32, body: &str) -> Lsn {
        let body = Bytes::copy_from_slice(body.as_bytes());
        let entry =
            Entry { kind, flags: 0, route: RouteId(0), request: RequestId(1), lines, received_ns: 5, meta, body };
        let lsn = self.appender.intents(vec![entry]).await.unwrap();
        let (disposition, cause) = (Disposition::Applied, Cause::None);
        self.appender.outcomes([Outcome { lsn, status: 204, disposition, cause, epoch: Epoch(1) }]).await.unwrap();
        lsn
    }

    /// A write that the source has kept; lines with their times, ns.
    async fn write(&self, db: &str, body: &str) -> Lsn {
        let times: Vec<i64> = body.lines().map(|line| line.rsplit(' ').next().unwrap().parse().unwrap()).collect();
        let (min_ns, max_ns) = (*times.iter().min().unwrap(), *times.iter().max().unwrap());
        let (dialect, precision) = (Dialect::Influx1, Precision::Nanosecond);
        let intent = Intent { name: name(db), dialect, precision, excluded: false, min_ns, max_ns };
        self.append(Kind::Intent, intent.encode().unwrap(), times.len() as u32, body).await
    }

    async fn delete(&self, db: &str, q: &str) -> Lsn {
        let (door, class) = (Door::Influxql, "delete".to_owned());
        let statement =
            Statement { door, class, name: Some(name(db)), parameters: false, at_ns: 5, shown: q.to_owned() };
        self.append(Kind::Statement, statement.encode().unwrap(), 0, q).await
    }

    fn shown(&self) -> View {
        self.view.lock().unwrap().clone()
    }

    async fn until(&self, what: &str, is: impl Fn(&View) -> bool) -> View {
        until(what, async || Some(self.shown()).filter(&is)).await
    }

    async fn gap_lines(&self) -> u64 {
        let totals = self.state.totals(&DestinationId::parse("main").unwrap()).await.unwrap();
        totals.gaps.iter().map(|(_, lines)| lines).sum()
    }

    /// What operators heard of holds.
    async fn told(&self) -> Vec<String> {
        let events = self.state.events(0, 1000).await.unwrap();
        events
            .into_iter()
            .filter(|(_, event)| event.kind == EventKind::HoldBroken)
            .map(|(_, event)| event.text)
            .collect()
    }

    async fn end(self) {
        self.stop.send(true).unwrap();
        self.delivers.await.unwrap().unwrap();
    }
}

async fn until<T>(what: &str, is: impl AsyncFn() -> Option<T>) -> T {
    let wait = async {
        loop {
            match is().await {
                Some(found) => return found,
                None => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("not in time: {what}"))
}

fn run(test: impl Future<Output = ()>) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, test);
}

fn takes_all() -> Scripted {
    Scripted::start(says_yes)
}

fn says_yes(write: &Write) -> Reply {
    if write.is_statement() { Reply::new(200, DONE) } else { Reply::new(204, "") }
}

/// Everything that has arrived at a database, in order; statements as `!` and their text.
fn arrived(destination: &Scripted, db: &str) -> Vec<String> {
    let writes = destination.writes(&format!("db={db}"));
    let taken = writes.into_iter().filter(|write| write.status == 204 || write.status == 200);
    let text = |write: Write| if write.is_statement() { format!("!{}\n", write.body) } else { write.body };
    taken.flat_map(|write| text(write).lines().map(str::to_owned).collect::<Vec<_>>()).collect()
}

async fn arrives(destination: &Scripted, db: &str, lines: usize) -> Vec<String> {
    until("lines arrive", async || Some(arrived(destination, db)).filter(|all| all.len() >= lines)).await
}

fn retryable<T>(refused: Result<T>) -> String {
    let error: Error = refused.err().expect("it is refused");
    assert_eq!(error.retry(), Retry::Yes, "{error}");
    error.to_string()
}

#[test]
fn a_record_that_straddles_a_region_is_split_and_what_is_parked_goes_in_order() {
    run(async {
        let (dir, destination) = (tempfile::tempdir().unwrap(), takes_all());
        let process = Process::start(dir.path(), &destination, "", Regions::default());
        let before = process.write("d", "m v=0 10\n").await;
        arrives(&destination, "d", 1).await;
        let mut held = process.regions.hold(region("m", 50)).await.unwrap();
        let since = held.since();
        assert!(since >= before, "{since}");
        held.drained().await.unwrap();
        // Inside, outside by time, by measurement (one whose name begins alike), by place; the last time belongs to it.
        process.write("d", "m v=1 10\nm v=1 51\nm2 v=1 10\nm,t=a v=1 50\nm\\ x v=1 10\n").await;
        process.write("e", "m v=1 10\n").await;
        process.write("d", "m v=2 10\n").await;
        arrives(&destination, "d", 4).await;
        arrives(&destination, "e", 1).await;
        let view = process.until("lines are parked", |view| view.holds.iter().any(|hold| hold.parked_lines == 3)).await;
        // Lines beside them that are delivered count as queued as long as their lane's floor stands.
        assert!(view.queued_lines >= 3 && view.delivered_lines + view.queued_lines == 8, "{view:?}");
        assert_eq!((view.holds[0].measurement.as_str(), view.holds[0].since_lsn), ("m", since.0));
        assert_eq!((held.parked().lines, held.parked().broken), (3, None));
        let others = ["m v=0 10", "m v=1 51", "m2 v=1 10", "m\\ x v=1 10"];
        let mut came = arrived(&destination, "d");
        came[1..].sort();
        let mut expected = others.to_vec();
        expected[1..].sort_unstable();
        assert_eq!(came, expected);
        held.release().await;
        process.write("d", "m v=3 10\n").await;
        let all = arrives(&destination, "d", 8).await;
        let cell: Vec<&String> = all.iter().filter(|line| line.starts_with("m v") && line.ends_with(" 10")).collect();
        assert_eq!(cell, ["m v=0 10", "m v=1 10", "m v=2 10", "m v=3 10"]);
        let view = process.until("all is delivered", |view| view.delivered_lines == 9 && view.queued_lines == 0).await;
        assert!(view.holds.is_empty());
        process.end().await;
    });
}

#[test]
fn a_region_is_drained_when_what_came_before_has_arrived_and_is_refused_where_its_place_stands_still() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let destination = Scripted::start(|_| Reply::new(503, "away"));
        let settings = "late_write_max = \"1s\"";
        let process = Process::start(dir.path(), &destination, settings, Regions::default());
        process.write("d", "m v=0 10\n").await;
        process.until("it stands still", |view| !view.paused.is_empty()).await;
        assert!(retryable(process.regions.hold(region("m", 50)).await).contains("stands still"));
        destination.set(says_yes);
        arrives(&destination, "d", 1).await;
        process.until("it goes on", |view| view.paused.is_empty()).await;

        destination.set(|write| {
            if write.body.contains("v=1 ") { Reply::Slow(Duration::from_millis(500)) } else { says_yes(write) }
        });
        process.write("d", "m v=1 10\nm v=1 60\n").await;
        until("it is under way", async || Some(()).filter(|()| destination.most_at_once() > 0)).await;
        let mut held = process.regions.hold(region("m", 50)).await.unwrap();
        assert!(retryable(process.regions.hold(region("m", 10)).await).contains("is held already"));
        let beside = process.regions.hold(region("n", 10)).await.unwrap();
        // What is newer at its place does not keep it from being drained.
        let newer = async {
            for number in 0..20 {
                process.write("d", &format!("n2 v={number} 10\n")).await;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let drained = async {
            held.drained().await.unwrap();
            assert!(arrived(&destination, "d").iter().any(|line| line == "m v=1 10"), "it has arrived");
        };
        tokio::join!(newer, drained);
        beside.release().await;
        held.settled().await.unwrap();
        let before = destination.writes("db=d").len();
        assert!(process.shown().saved_lsn >= held.since().0, "nothing older comes again");
        held.release().await;

        process.write("d", "m v=1 20\n").await;
        until("it is under way", async || Some(()).filter(|()| destination.writes("db=d").len() > before)).await;
        let mut held = process.regions.hold(region("m", 50)).await.unwrap();
        process.hold.set(Some(1));
        assert!(retryable(held.drained().await).contains("an operator has paused"));
        process.hold.set(None);
        held.drained().await.unwrap();
        held.release().await;
        process.hold.set(Some(1));
        assert!(retryable(process.regions.hold(region("m", 50)).await).contains("an operator"));
        process.hold.set(None);
        process.end().await;
    });
}

#[test]
fn the_handle_works_from_another_thread_and_a_hold_that_is_dropped_is_released() {
    run(async {
        let (dir, destination) = (tempfile::tempdir().unwrap(), takes_all());
        let process = Process::start(dir.path(), &destination, "", Regions::default());
        process.write("d", "m v=0 10\n").await;
        arrives(&destination, "d", 1).await;
        let regions = process.regions.clone();
        let holds = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let mut held = regions.hold(region("m", 50)).await.unwrap();
                held.drained().await.unwrap();
                held
            })
        });
        until("it is held", async || Some(()).filter(|()| holds.is_finished())).await;
        process.write("d", "m v=1 10\nm v=1 60\n").await;
        arrives(&destination, "d", 2).await;
        assert!(process.told().await.is_empty());
        drop(holds.join().unwrap());
        assert_eq!(arrives(&destination, "d", 3).await[2], "m v=1 10");
        let told = until("it is told", async || Some(process.told().await).filter(|told| !told.is_empty())).await;
        assert!(told[0].contains("ended without a word"), "{told:?}");
        process.end().await;
    });
}

#[test]
fn a_delete_waits_for_the_release_and_comes_between_what_was_before_and_behind_it() {
    run(async {
        let (dir, destination) = (tempfile::tempdir().unwrap(), takes_all());
        let process = Process::start(dir.path(), &destination, "", Regions::default());
        process.write("d", "m v=0 10\n").await;
        arrives(&destination, "d", 1).await;
        let mut held = process.regions.hold(region("m", 50)).await.unwrap();
        held.drained().await.unwrap();
        process.write("d", "m v=1 10\n").await;
        process.delete("d", "DELETE FROM m WHERE time < 20").await;
        process.write("d", "m v=2 10\nn v=1 10\n").await;
        process.write("e", "m v=1 10\n").await;
        arrives(&destination, "e", 1).await;
        until("the statement is seen", async || Some(()).filter(|()| held.parked().statement_waits)).await;
        assert_eq!(arrived(&destination, "d").len(), 1, "nothing of its place goes on");
        // Another region is held behind the statement, and waits for it.
        let mut behind = process.regions.hold(region("n", 50)).await.unwrap();
        assert!(behind.since() > held.since());
        {
            let mut drained = std::pin::pin!(behind.drained());
            tokio::select! {
                _ = &mut drained => panic!("the statement is older, and waits"),
                () = tokio::time::sleep(Duration::from_millis(200)) => {}
            }
            held.release().await;
            drained.await.unwrap();
        }
        behind.release().await;
        let all = arrives(&destination, "d", 5).await;
        let place =
            |text: &str| all.iter().position(|line| line.contains(text)).unwrap_or_else(|| panic!("{text}: {all:?}"));
        assert!(place("m v=1 10") < place("DELETE") && place("DELETE") < place("m v=2 10"), "{all:?}");
        process.until("all is delivered", |view| view.delivered_lines == 5 && view.queued_lines == 0).await;
        process.end().await;
    });
}

#[test]
fn after_a_kill_a_region_is_held_before_the_first_request_until_it_is_claimed_and_released() {
    let (dir, destination) = (tempfile::tempdir().unwrap(), takes_all());
    let settings = "late_write_max = \"1s\"";
    run(async {
        let process = Process::start(dir.path(), &destination, settings, Regions::default());
        process.write("d", "m v=0 10\n").await;
        arrives(&destination, "d", 1).await;
        let mut held = process.regions.hold(region("m", 50)).await.unwrap();
        held.drained().await.unwrap();
        process.write("d", "m v=1 10\nm v=1 60\n").await;
        arrives(&destination, "d", 2).await;
        until("it is parked", async || Some(()).filter(|()| held.parked().lines == 1)).await;
        // All of it ends here, and nothing is left orderly.
    });
    run(async {
        let before = arrived(&destination, "d").len();
        let regions = Regions::new(vec![region("m", 50), region("n", 50)]);
        let process = Process::start(dir.path(), &destination, settings, regions.clone());
        process.write("d", "m v=2 10\nm v=2 60\nn v=2 10\n").await;
        until("others go on", async || {
            Some(()).filter(|()| arrived(&destination, "d").iter().any(|line| line == "m v=2 60"))
        })
        .await;
        let mut held = regions.claim(&region("m", 50)).await.unwrap();
        assert!(regions.claim(&region("m", 50)).await.is_err(), "it is claimed");
        held.drained().await.unwrap();
        assert!(
            arrived(&destination, "d")[before..].iter().all(|line| !line.ends_with(" 10")),
            "nothing of the regions"
        );
        regions.release_unclaimed();
        until("n is released", async || {
            Some(()).filter(|()| arrived(&destination, "d").iter().any(|line| line == "n v=2 10"))
        })
        .await;
        assert!(held.parked().lines >= 2);
        held.release().await;
        let view = process.until("all is delivered", |view| view.queued_lines == 0 && view.delivered_lines == 6).await;
        assert!(view.holds.is_empty());
        let all = arrived(&destination, "d");
        let cell: Vec<_> =
            all[before..].iter().filter(|line| line.starts_with("m ") && line.ends_with(" 10")).collect();
        assert_eq!(cell.last().map(|line| line.as_str()), Some("m v=2 10"), "{cell:?}");
        assert!(cell.is_sorted(), "{cell:?}");
        process.end().await;
    });
}

#[test]
fn where_too_much_is_parked_its_place_waits_others_go_on_and_nothing_is_lost_or_overtaken() {
    run(async {
        let (dir, destination) = (tempfile::tempdir().unwrap(), takes_all());
        let settings = "pending_bytes = \"2MiB\"\nbatch_bytes = \"256KiB\"";
        let process = Process::start(dir.path(), &destination, settings, Regions::default());
        process.write("d", "n v=0 10\n").await;
        arrives(&destination, "d", 1).await;
        let mut held = process.regions.hold(region("m", 50)).await.unwrap();
        held.drained().await.unwrap();
        let text = "x".repeat(1 << 10);
        for record in 0..24 {
            let body: String = (0..32).map(|line| format!("m,t={line} v={record},s=\"{text}\" 10\n")).collect();
            process.write("d", &body).await;
        }
        until("it is broken", async || Some(()).filter(|()| held.parked().broken == Some(Broken::Full))).await;
        assert_eq!(process.told().await.len(), 1, "told once");
        let parked = held.parked().bytes;
        assert!(parked < 700 << 10, "a quarter of pending_bytes and a record: {parked}");
        process.write("d", "n v=1 10\n").await;
        process.write("e", "m v=1 10\n").await;
        arrives(&destination, "e", 1).await;
        assert_eq!(arrived(&destination, "d").len(), 1, "its place waits as a whole");
        held.release().await;
        process.write("d", "m,t=0 v=99 10\n").await;
        process.until("all is delivered", |view| view.queued_lines == 0 && view.delivered_lines == 24 * 32 + 4).await;
        let all = arrived(&destination, "d");
        for series in 0..32 {
            let of = all.iter().filter(|line| line.starts_with(&format!("m,t={series} ")));
            let values: Vec<u32> =
                of.map(|line| line.split(['=', ',', '.', ' ']).nth(4).unwrap().parse().unwrap()).collect();
            let expected: Vec<u32> = (0..24).chain((series == 0).then_some(99)).collect();
            assert_eq!(values, expected, "series {series}");
        }
        process.end().await;
    });
}

#[test]
fn where_its_place_becomes_a_gap_parked_lines_are_in_it_once() {
    run(async {
        let (dir, destination) = (tempfile::tempdir().unwrap(), takes_all());
        let settings = "route_backlog = \"1MiB\"";
        let process = Process::start(dir.path(), &destination, settings, Regions::default());
        process.write("d", "m v=0 10\n").await;
        arrives(&destination, "d", 1).await;
        let mut held = process.regions.hold(region("m", 50)).await.unwrap();
        held.drained().await.unwrap();
        process.write("d", "m v=1 10\nm v=1 11\n").await;
        until("it is parked", async || Some(()).filter(|()| held.parked().lines == 2)).await;
        destination.set(|write| {
            if write.path.contains("db=d") {
                Reply::new(404, r#"{"error":"database not found: \"d\""}"#)
            } else {
                says_yes(write)
            }
        });
        process.write("d", "n v=1 10\n").await;
        process.until("its place stands still", |view| !view.paused.is_empty()).await;
        let mut random = fastrand::Rng::with_seed(1);
        let text: String = (0..16 << 10).map(|_| random.alphanumeric()).collect();
        let mut lines = 4;
        while held.parked().broken != Some(Broken::Gap) {
            process.write("d", &format!("n v={lines},s=\"{text}\" 10\n")).await;
            process.write("e", &format!("m v={lines},s=\"{text}\" 10\n")).await;
            lines += 2;
            tokio::time::sleep(Duration::from_millis(50)).await;
            assert!(lines < 4000, "it does not become a gap: {:?}", process.shown());
        }
        assert_eq!(held.parked().lines, 0);
        held.release().await;
        destination.set(says_yes);
        process.write("d", "m v=9 10\n").await;
        process.until("it goes on", |view| view.paused.is_empty() && view.queued_lines == 0).await;
        let gaps = process.gap_lines().await;
        let view = process.until("figures are quiet", |view| view.queued_lines == 0).await;
        assert_eq!(view.delivered_lines + gaps, lines + 1, "each line once: {view:?}");
        assert!(!arrived(&destination, "d").iter().any(|line| line == "m v=1 10"), "it is in the gap");
        process.end().await;
    });
}
