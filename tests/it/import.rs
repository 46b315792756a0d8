//! `twinline import`: history from files, as the servers write them out and as people leave them.

use std::collections::HashMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use twinline::cell::compare;
use twinline::sandbox::{Options, Sandbox};

use crate::database::{Database, Kind, ORG, servers_program, shared};
use crate::deadletter::{said, text};
use crate::http::gzip;
use crate::proxy::{Place, Setup, eventually};
use crate::scripted::{Reply, Scripted};

/// A sandbox as the destination; the source is never asked.
fn pair(db: &str) -> (Sandbox, Place, tempfile::TempDir) {
    let destination = Sandbox::spawn_thread(Options::default()).unwrap();
    destination.create_database(db);
    let place = place(&destination.url());
    (destination, place, tempfile::tempdir().unwrap())
}

fn place(url: &str) -> Place {
    let section = |url: &str| format!("url = \"{url}\"\nkind = \"influxdb1\"");
    Setup::new(section("http://127.0.0.1:1"), section(url)).place()
}

fn put(folder: &tempfile::TempDir, name: &str, bytes: impl AsRef<[u8]>) -> String {
    let path = folder.path().join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, bytes).unwrap();
    path.to_str().unwrap().to_owned()
}

fn import(place: &Place, words: &[&str]) -> Output {
    place.command(&[&["import"], words].concat())
}

/// With an exit code; its document.
fn json(place: &Place, words: &[&str], code: i32) -> Value {
    let done = place.command(&[&["-o", "json", "import"], words].concat());
    assert_eq!(done.status.code(), Some(code), "{}{}", text(&done), said(&done));
    serde_json::from_slice(&done.stdout).unwrap_or_else(|e| panic!("{e}: {}{}", text(&done), said(&done)))
}

/// Values by time and field.
fn held(sandbox: &Sandbox, db: &str) -> Vec<String> {
    let mut all: Vec<String> = sandbox
        .cells(db, "")
        .iter()
        .map(|cell| format!("{} {}={} {}", cell.series, cell.field.escape_ascii(), cell.value, cell.time_ns))
        .collect();
    all.sort();
    all
}

fn equal(source: &Database, destination: &Database, name: &str) -> u64 {
    let differences = compare(source.cells(name), destination.cells(name));
    assert!(differences.is_empty(), "{name}: {differences}");
    differences.equal
}

/// What InfluxDB can hold; `unsigned` where it can hold that.
fn awkward(unsigned: bool, carriage_return: bool) -> String {
    let mut lines = String::from(
        "m\\ 1,t=a\\ b,u=\\=\\, v=1,w=-0.0,x=1e300 1\n\
         m\\ 1,t=a\\ b,u=\\=\\, i=9223372036854775807i,j=-9223372036854775808i 1\n\
         m s=\"\",b=true,c=false 2\n\
         m s=\"one\n# CONTEXT-DATABASE:no\nm v=7 7\n\",v=5e-324 3\n\
         m s=\"say \\\"it\\\", a\\\\b\" 4\n\
         m,\u{e4}=\u{6771} \u{e4}\\ \\,=0.1 1700000000123456789\n\
         m v=1 -9223372036854775806\n",
    );
    for n in 0..200 {
        lines += &format!("many,h={} a={n},b={n}i,c=\"{n}\" {}\n", n % 3, 1_600_000_000_000_000_000i64 + n * 7);
    }
    if unsigned {
        lines += "m n=18446744073709551615u 9\n";
    }
    if carriage_return {
        lines += "m s=\"a\rb\r\nc\" 10\n";
    }
    lines
}

/// As `influx_inspect` of 1.13 writes it out: a field a line, policies with headers.
fn export(database: &Database, db: &str, to: &Path, packed: bool) {
    let mut command = Command::new(servers_program("influx_inspect", "influxdb1"));
    command.arg("export").arg("-datadir").arg(database.folder().join("data"));
    command.arg("-waldir").arg(database.folder().join("wal")).args(["-database", db]).arg("-out").arg(to);
    if packed {
        command.arg("-compress");
    }
    let done = command.output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

#[test]
fn an_export_of_1x_comes_to_1x_and_2x_equal_to_the_cell() {
    let (name, source) = ("exported", Database::start(Kind::One));
    source.create(name);
    source.create(&format!("{name}/week"));
    source.post(&format!("/write?db={name}"), awkward(false, true).as_bytes(), 204);
    source.post(&format!("/write?db={name}&rp=week"), b"m v=1i 1\nm v=2i 2", 204);
    // In the files of a shard a value and the one before may both be there.
    source.post(&format!("/write?db={name}"), b"m v=3 -9223372036854775806", 204);
    let folder = tempfile::tempdir().unwrap();
    export(&source, name, &folder.path().join("export.lp.gz"), true);
    export(&source, name, &folder.path().join("plain"), false);
    for (kind, file) in [(Kind::One, "export.lp.gz"), (Kind::Two, "plain")] {
        let destination = shared(kind, 1);
        destination.create(name);
        destination.create(&format!("{name}/week"));
        let place = Setup::new(source.section(), destination.section()).place();
        let done = json(&place, &[folder.path().join(file).to_str().unwrap()], 0);
        let cells = equal(&source, &destination, name);
        assert!(cells > 600, "{cells}");
        assert_eq!(equal(&source, &destination, &format!("{name}/week")), 2);
        // Fields of one point are one line again.
        let (points, lines) = (done["points"].as_u64().unwrap(), done["lines"].as_u64().unwrap());
        assert!(points < 220 && lines > 600 && lines > cells, "{done:#}");
        assert_eq!((&done["malformed"], &done["refused"]), (&0.into(), &0.into()), "{done:#}");
    }
}

/// As `influxd inspect export-lp` of 2.9 writes it out, which says nowhere of which bucket it is.
#[test]
fn an_export_of_2x_comes_to_2x_equal_to_the_cell() {
    let (name, source, destination) = ("exported-lp", Database::start(Kind::Two), shared(Kind::Two, 1));
    source.create(name);
    destination.create(name);
    source.post(&format!("/api/v2/write?org={ORG}&bucket={name}&precision=ns"), awkward(true, true).as_bytes(), 204);
    let path = format!("GET /api/v2/buckets?name={name}");
    let found = crate::http::call(&source.addr, &path, &[&source.authorization()], b"").unwrap().json();
    let id = found["buckets"][0]["id"].as_str().unwrap().to_owned();
    source.stop(Signal::TERM);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("export");
    let mut command = Command::new(servers_program("influxd2", "influxdb2"));
    command.args(["inspect", "export-lp", "--compress", "--bucket-id", &id, "--output-path"]).arg(&file);
    let done = command.arg("--engine-path").arg(source.folder().join("engine")).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let place = Setup::new(source.section(), destination.section()).place();
    json(&place, &[file.to_str().unwrap(), "--bucket", name], 0);
    source.restart();
    assert!(equal(&source, &destination, name) > 600);
}

#[test]
fn annotated_csv_of_2x_comes_to_another_2x_equal_to_the_cell() {
    let (name, source, destination) = ("flux", shared(Kind::Two, 0), shared(Kind::Two, 1));
    source.create(name);
    destination.create("flux-copy");
    source.post(&format!("/api/v2/write?org={ORG}&bucket={name}&precision=ns"), awkward(true, false).as_bytes(), 204);
    // Of the times there are the last one cannot be asked for.
    let range = "start: 1677-09-21T00:12:43.145224194Z, stop: 2200-01-01T00:00:00Z";
    let query = format!("from(bucket: \"{name}\") |> range({range})");
    let body = serde_json::json!({
        "query": query,
        "type": "flux",
        "dialect": {"header": true, "delimiter": ",", "annotations": ["datatype", "group", "default"]},
    });
    let answer = crate::http::call(
        &source.addr,
        &format!("POST /api/v2/query?org={ORG}"),
        &[&source.authorization(), "Content-Type: application/json"],
        body.to_string().as_bytes(),
    );
    let answer = answer.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    let folder = tempfile::tempdir().unwrap();
    let file = put(&folder, "answer.csv", &answer.body);
    let rules = "[[mapping.rule]]\nfrom = { bucket = \"flux\" }\nto = { bucket = \"flux-copy\" }\n";
    let place = Setup::new(source.section(), destination.section()).more(rules).place();
    let done = json(&place, &[&file, "--bucket", name], 0);
    let differences = compare(source.cells(name), destination.cells("flux-copy"));
    assert!(differences.is_empty() && differences.equal > 600, "{differences}");
    assert!(done["points"].as_u64().unwrap() < 230, "{done:#}");
    // Cut off: what is there is taken, and it is told.
    let cut = put(&folder, "cut.csv", &answer.body[..answer.body.len() - 40]);
    let done = json(&place, &[&cut, "--bucket", name], 5);
    assert!(done["files"][0]["broken"].as_str().unwrap().contains("cut off"), "{done:#}");
}

#[test]
fn what_cannot_be_written_is_told_with_its_place_and_the_rest_goes_on() {
    let (destination, place, folder) = pair("d");
    crate::deadletter::post(&destination, "d", "m typed=1.5 1");
    let file = put(
        &folder,
        "h.lp",
        "# DML\n# CONTEXT-DATABASE:d\n# CONTEXT-RETENTION-POLICY:autogen\nm v=1 1\nm v=oops 2\nm v=2\nm typed=3i 9\nm v=4 4\n",
    );
    let rejects = folder.path().join("rejects.lp");
    let words = [file.as_str(), "--rejects", rejects.to_str().unwrap()];
    let dry = json(&place, &[file.as_str(), "--dry-run"], 5);
    assert_eq!((&dry["points"], &dry["malformed"], &dry["sample"][0]), (&3.into(), &2.into(), &"m v=1.0 1".into()));
    assert_eq!((held(&destination, "d").len(), rejects.exists()), (1, false));

    let done = import(&place, &words);
    assert_eq!(done.status.code(), Some(5), "{}{}", text(&done), said(&done));
    assert!(text(&done).contains("2 malformed, 1 that the destination cannot take"), "{}", text(&done));
    assert_eq!(held(&destination, "d"), ["m typed=1.5 1", "m v=1.0 1", "m v=4.0 4"]);
    let left = std::fs::read_to_string(&rejects).unwrap();
    for part in [
        format!("# CONTEXT-DATABASE:d\n# CONTEXT-RETENTION-POLICY:autogen\n# {file}:5:"),
        format!("# {file}:6:"),
        "\nm v=oops 2\n".to_owned(),
        format!("# {file}:7:"),
        "type-conflict".to_owned(),
        "\nm typed=3i 9\n".to_owned(),
    ] {
        assert!(left.contains(&part), "{part}\n{left}");
    }
    let again = import(&place, &words);
    assert_eq!(again.status.code(), Some(4), "what was rejected before is not written over: {}", said(&again));

    let mended =
        left.replace("m v=oops 2", "m v=2 2").replace("\nm v=2\n", "\nm v=3 3\n").replace("typed=3i", "typed=3");
    let mended = put(&folder, "mended.lp", mended);
    json(&place, &[&mended], 0);
    assert_eq!(
        held(&destination, "d"),
        ["m typed=1.5 1", "m typed=3.0 9", "m v=1.0 1", "m v=2.0 2", "m v=3.0 3", "m v=4.0 4"]
    );
    // A data directory where only imports were is like a new one.
    place.start();
}

#[test]
fn directories_stdin_and_packed_files_are_read_and_half_a_file_is_told() {
    let (destination, place, folder) = pair("d");
    put(&folder, "in/b.lp", "m v=2 1\nm v=2 2\n");
    put(&folder, "in/a.gz", gzip(b"m v=1 1\nm v=1 3\n"));
    put(&folder, "in/.hidden", "m v=9 9\n");
    put(&folder, "in/deep/c", "m v=3 4");
    put(&folder, "in/photo.png", b"\x89PNG\r\n\0\0");
    let packed = gzip(&(0..50_000).map(|n| format!("cut v={n} {n}\n")).collect::<String>().into_bytes());
    put(&folder, "in/z.gz", &packed[..packed.len() / 2]);
    let done = json(&place, &[folder.path().join("in").to_str().unwrap(), "--db", "d"], 5);
    let states: Vec<_> = done["files"].as_array().unwrap().iter().map(|file| file["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["done", "done", "done", "broken", "broken"], "{done:#}");
    assert!(done["files"][4]["broken"].as_str().unwrap().contains("cut off"), "{done:#}");
    let all = held(&destination, "d");
    assert!(all.contains(&"m v=2.0 1".to_owned()), "the later file stands: {all:?}");
    assert!(!all.iter().any(|cell| cell.starts_with("cut")), "its checksum never came: {all:?}");

    let mut running = place.begin(&["-o", "json", "import", "-", "--db", "d", "--precision", "s"]);
    running.stdin.take().unwrap().write_all(&gzip(b"piped v=1 7\n")).unwrap();
    let done = running.wait_with_output().unwrap();
    assert_eq!(done.status.code(), Some(0), "{}", said(&done));
    assert!(held(&destination, "d").contains(&"piped v=1.0 7000000000".to_owned()));
}

/// Noise enough that a byte of it changed in the middle comes out as other values, long before its end.
fn numbered() -> Vec<u8> {
    (0..200_000).map(|n| format!("gz f={n} {n}\n")).collect::<String>().into_bytes()
}

fn flipped(packed: &[u8], at: usize) -> Vec<u8> {
    let mut all = packed.to_vec();
    all[at] ^= 0x55;
    all
}

#[test]
fn of_a_damaged_gzip_nothing_is_written_and_the_other_files_go_on() {
    let (destination, place, folder) = pair("d");
    let (large, small) = (gzip(&numbered()), gzip(b"crc v=1 1\n"));
    put(&folder, "in/a.gz", flipped(&large, large.len() / 2));
    put(&folder, "in/b-crc.gz", flipped(&small, small.len() - 8));
    put(&folder, "in/c-second.gz", [small.clone(), flipped(&small, small.len() - 8)].concat());
    put(&folder, "in/d-cut.gz", &small[..small.len() - 3]);
    put(&folder, "in/e-good.gz", [gzip(b"m v=1 1\nm v="), gzip(b"2 2\n")].concat());
    let done = json(&place, &[folder.path().join("in").to_str().unwrap(), "--db", "d"], 5);
    let all = held(&destination, "d");
    assert_eq!((all.len(), all[0].as_str(), all[1].as_str()), (2, "m v=1.0 1", "m v=2.0 2"), "{done:#}");
    let files = done["files"].as_array().unwrap();
    let states: Vec<_> = files.iter().map(|file| file["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["broken", "broken", "broken", "broken", "done"], "{done:#}");
    for (file, says) in files.iter().zip(["damaged (member 1", "damaged (member 1", "damaged (member 2", "cut off"]) {
        let why = file["broken"].as_str().unwrap();
        for part in [says, "at byte ", "nothing of it was written", "intact copy"] {
            assert!(why.contains(part), "{part}: {done:#}");
        }
    }
    assert_eq!((&done["points"], &done["malformed"]), (&2.into(), &0.into()), "{done:#}");
}

/// It comes once: what was written before the damage was found is named, and nobody is told to mend what it left.
#[test]
fn of_a_damaged_gzip_on_stdin_what_may_be_false_is_named() {
    let (destination, place, _folder) = pair("d");
    let piped = |bytes: &[u8]| {
        let mut running = place.begin(&["-o", "json", "import", "-", "--db", "d"]);
        running.stdin.take().unwrap().write_all(bytes).unwrap();
        let done = running.wait_with_output().unwrap();
        assert_eq!(done.status.code(), Some(5), "{}{}", text(&done), said(&done));
        serde_json::from_slice::<Value>(&done.stdout).unwrap()
    };
    // Nothing of a member that ends within the first window, and all of the one before it.
    let small = gzip(b"crc v=1 1\n");
    let done = piped(&[gzip(b"m v=1 1\n"), flipped(&small, small.len() - 8)].concat());
    assert_eq!(held(&destination, "d"), ["m v=1.0 1"], "{done:#}");
    assert_eq!(done["files"][0]["state"], "broken", "{done:#}");

    let large = gzip(&numbered());
    let done = piped(&flipped(&large, large.len() - 8));
    let why = done["files"][0]["broken"].as_str().unwrap();
    for part in ["member 1", "may be false", "times from 0 to ", " of gz", "do not mend"] {
        assert!(why.contains(part), "{part}: {done:#}");
    }
    let next = done["next_steps"][0].as_str().unwrap();
    assert!(next.contains("intact copy of <stdin>") && !next.starts_with("mend"), "{next}");
    assert_eq!(done["files"][0]["state"], "doubtful", "{done:#}");
}

#[test]
fn what_follows_a_whole_gzip_is_told_as_that() {
    let (destination, place, folder) = pair("d");
    put(&folder, "in/a.gz", [gzip(b"m v=1 1\nm v=2 2"), b"garbage".to_vec()].concat());
    put(&folder, "in/b.gz", [gzip(b"m v=3 3\n"), vec![0; 1024]].concat());
    let done = json(&place, &[folder.path().join("in").to_str().unwrap(), "--db", "d"], 5);
    let why = done["files"][0]["broken"].as_str().unwrap();
    assert!(why.contains("7 bytes behind its end are no gzip and were not read"), "{why}");
    assert_eq!(done["files"][1]["state"], "done", "padding is nothing: {done:#}");
    assert_eq!(held(&destination, "d"), ["m v=1.0 1", "m v=2.0 2", "m v=3.0 3"]);
}

#[test]
fn a_byte_order_mark_is_no_part_of_a_name_and_is_told() {
    let (destination, place, folder) = pair("d");
    put(&folder, "in/a.lp", "\u{feff}m v=1 1\nm v=2 2\n");
    put(&folder, "in/b.lp", gzip("\u{feff}# CONTEXT-DATABASE:d\nm v=3 3\n".as_bytes()));
    put(&folder, "in/c.lp", "m v=4 4\n");
    let folder = folder.path().join("in");
    let done = json(&place, &[folder.to_str().unwrap(), "--db", "d"], 0);
    assert_eq!(held(&destination, "d"), ["m v=1.0 1", "m v=2.0 2", "m v=3.0 3", "m v=4.0 4"]);
    let marks: Vec<_> = done["files"].as_array().unwrap().iter().map(|file| &file["byte_order_mark"]).collect();
    assert_eq!(marks, [true, true, false], "{done:#}");
    let done = import(&place, &[folder.to_str().unwrap(), "--db", "d"]);
    assert!(text(&done).contains("a.lp: begins with a byte order mark, which was left out"), "{}", text(&done));
}

#[test]
fn wrong_use_is_told_and_changes_nothing() {
    let (destination, place, folder) = pair("d");
    let file = put(&folder, "a.lp", "m v=1 1\n");
    let fails = |words: &[&str], code: i32, says: &str| {
        let done = import(&place, words);
        let all = text(&done) + &said(&done);
        assert_eq!(done.status.code(), Some(code), "{words:?}: {all}");
        assert!(all.contains(says), "{words:?}: {says}: {all}");
    };
    fails(&[], 2, "PATH");
    fails(&[&file], 2, "a.lp:1: nothing says to which database or bucket");
    fails(&[&file, "--db", "d", "--bucket", "b"], 2, "cannot be used with");
    fails(&["/nonexistent/x", "--db", "d"], 1, "cannot read /nonexistent/x");
    fails(&[&file, "--db", "d", "--resume"], 4, "nothing to resume");
    fails(&[&file, "--db", "d", "--destination", "other"], 2, "no destination other");
    // The sandbox has no such database.
    fails(&[&file, "--db", "missing"], 4, "database missing takes no lines");
    assert_eq!(held(&destination, "d"), Vec::<String>::new());
    let nobody = self::place("http://127.0.0.1:2");
    assert_eq!(import(&nobody, &[&file, "--db", "d"]).status.code(), Some(10));
}

#[test]
fn it_stays_away_while_twinline_runs_unless_it_is_told() {
    let (destination, place, folder) = pair("d");
    let file = put(&folder, "a.lp", "m v=1 1\n");
    let twinline = place.start();
    let done = twinline.command(&["import", &file, "--db", "d"]);
    assert_eq!(done.status.code(), Some(4), "{}", said(&done));
    assert!(said(&done).contains("can put an old value over a newer one"), "{}", said(&done));
    assert_eq!(held(&destination, "d"), Vec::<String>::new());
    let done = twinline.command(&["import", &file, "--db", "d", "--may-overwrite-newer"]);
    assert_eq!(done.status.code(), Some(0), "{}", said(&done));
    assert_eq!(held(&destination, "d"), ["m v=1.0 1"]);
}

/// A destination that counts how often each line came, and takes its time.
fn counting() -> (Scripted, Arc<Mutex<HashMap<String, u64>>>) {
    let seen = Arc::new(Mutex::new(HashMap::new()));
    let counts = Arc::clone(&seen);
    let destination = Scripted::start(move |write| {
        std::thread::sleep(Duration::from_millis(20));
        let mut seen = counts.lock().unwrap();
        for line in write.body.lines() {
            *seen.entry(line.to_owned()).or_default() += 1;
        }
        Reply::new(204, "")
    });
    (destination, seen)
}

const MANY: u64 = 300_000;

fn many(folder: &tempfile::TempDir) -> String {
    put(
        folder,
        "many.lp",
        (0..MANY).map(|n| format!("m,host=h{} v={n} {}\n", n % 10, 1_000_000 + n)).collect::<String>(),
    )
}

/// Killed at any moment it goes on where the destination had acknowledged the last stretch.
#[test]
fn killed_it_goes_on_and_writes_little_twice() {
    let folder = tempfile::tempdir().unwrap();
    let (file, (destination, seen)) = (many(&folder), counting());
    let place = place(&destination.url());
    for kill in 1..=3 {
        let words: &[&str] = if kill == 1 { &[] } else { &["--resume"] };
        let mut running = place.begin(&[&["import", &file, "--db", "d"], words].concat());
        let before = seen.lock().unwrap().len();
        eventually("some of it came", || {
            let now = seen.lock().unwrap().len();
            if now > before + 30_000 { Ok(()) } else { Err(now.to_string()) }
        });
        running.kill().unwrap();
        running.wait().unwrap();
    }
    let done = json(&place, &[&file, "--db", "d", "--resume"], 0);
    assert_eq!((&done["lines"], &done["points"]), (&MANY.into(), &MANY.into()), "{done:#}");
    let seen = seen.lock().unwrap();
    assert_eq!(seen.len() as u64, MANY, "every line came");
    let twice: u64 = seen.values().map(|times| times - 1).sum();
    assert!(twice <= 3 * 50_000, "{twice}");
    // Done is done; another file of that name is not the same.
    assert_eq!(json(&place, &[&file, "--db", "d", "--resume"], 0)["points"], MANY);
    std::fs::write(&file, "m v=1 1\n").unwrap();
    let other = import(&place, &[&file, "--db", "d", "--resume"]);
    assert_eq!(other.status.code(), Some(4), "{}", said(&other));
    assert!(said(&other).contains("is not the file that was begun"), "{}", said(&other));
}

#[test]
fn the_first_ctrl_c_ends_it_with_a_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let (file, (destination, seen)) = (many(&folder), counting());
    let place = place(&destination.url());
    let running = place.begin(&["import", &file, "--db", "d"]);
    eventually("some of it came", || if seen.lock().unwrap().len() > 60_000 { Ok(()) } else { Err("none".to_owned()) });
    kill_process(Pid::from_child(&running), Signal::INT).unwrap();
    let done = running.wait_with_output().unwrap();
    assert_eq!(done.status.code(), Some(130), "{}{}", text(&done), said(&done));
    assert!(said(&done).contains("import --resume"), "{}", said(&done));
    json(&place, &[&file, "--db", "d", "--resume"], 0);
    let seen = seen.lock().unwrap();
    assert!(seen.len() as u64 == MANY && seen.values().all(|times| *times == 1), "{}", seen.len());
}

/// Too large for it: in halves. A line that it refuses is found.
#[test]
fn requests_are_cut_as_the_destination_wants_them() {
    let folder = tempfile::tempdir().unwrap();
    let file = put(&folder, "a.lp", (0..1000).map(|n| format!("m v={n} {n}\n")).collect::<String>());
    let stored = Arc::new(Mutex::new(Vec::new()));
    let to = Arc::clone(&stored);
    let destination = Scripted::start(move |write| {
        let body = &write.body;
        if body.len() > 4_000 {
            return Reply::new(413, "{\"error\":\"Request Entity Too Large\"}");
        }
        if body.contains(" 500\n") {
            return Reply::new(400, "{\"error\":\"unable to parse 'm v=500.0 500': no\"}");
        }
        to.lock().unwrap().extend(body.lines().map(str::to_owned));
        Reply::new(204, "")
    });
    let place = place(&destination.url());
    let done = json(&place, &[&file, "--db", "d"], 5);
    assert_eq!((&done["points"], &done["refused"]), (&999.into(), &1.into()), "{done:#}");
    assert_eq!(stored.lock().unwrap().len(), 999);
    let rejects = PathBuf::from(done["rejects"].as_str().unwrap());
    let left = std::fs::read_to_string(rejects).unwrap();
    assert!(left.contains(&format!("{file}:501:")) && left.contains("m v=500.0 500"), "{left}");
}

/// What was acknowledged before is not written again.
#[test]
fn a_destination_that_takes_no_more_ends_it_and_it_goes_on_later() {
    let folder = tempfile::tempdir().unwrap();
    let (file, (destination, seen)) = (many(&folder), counting());
    let counts = Arc::clone(&seen);
    destination.set(move |write| {
        let mut seen = counts.lock().unwrap();
        if seen.len() > 150_000 {
            return Reply::new(401, "{\"error\":\"authorization failed\"}");
        }
        for line in write.body.lines() {
            *seen.entry(line.to_owned()).or_default() += 1;
        }
        Reply::new(204, "")
    });
    let place = place(&destination.url());
    let done = import(&place, &[&file, "--db", "d"]);
    assert_eq!(done.status.code(), Some(12), "{}{}", text(&done), said(&done));
    assert!(said(&done).contains("import --resume"), "{}", said(&done));
    assert!(text(&done).contains("stopped before the end"), "{}", text(&done));
    let counts = Arc::clone(&seen);
    destination.set(move |write| {
        let mut seen = counts.lock().unwrap();
        for line in write.body.lines() {
            *seen.entry(line.to_owned()).or_default() += 1;
        }
        Reply::new(204, "")
    });
    assert_eq!(json(&place, &[&file, "--db", "d", "--resume"], 0)["points"], MANY);
    let seen = seen.lock().unwrap();
    let twice: u64 = seen.values().map(|times| times - 1).sum();
    assert!(seen.len() as u64 == MANY && twice < 50_000, "{} {twice}", seen.len());
}
