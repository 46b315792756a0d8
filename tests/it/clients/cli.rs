//! The command lines of InfluxDB 1 and 2.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::{
    BEGIN_S, MS, NS, S, US, Way, again, assert_both_hold, assert_same, between, count, first, installed, line, lines,
    output, record,
};
use crate::database::{Kind, ORG, TOKEN, servers_program};
use crate::http::gzip;

/// All points as lines, and every tenth again, each after `before`.
fn text(before: &str, measurement: &str, unit_ns: i64) -> String {
    let lines = first(measurement, unit_ns).chain(again(measurement, unit_ns));
    lines.fold(String::new(), |text, line| text + before + &line + "\n")
}

/// What a command says and how it ends, where the address of the server and what is drawn anew each time are masked.
fn heard(command: &mut Command, addr: &str, typed: &str) -> String {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(typed.as_bytes()).unwrap();
    let done = child.wait_with_output().unwrap();
    let [said, complaint] = [&done.stdout, &done.stderr].map(|text| String::from_utf8_lossy(text).into_owned());
    let said = format!("{said}{complaint}{}\n", done.status);
    let said = said.replace(addr, "ADDRESS").replace(addr.split_once(':').unwrap().1, "PORT");
    masked(&said)
}

/// Without the identifications that a server draws anew for each thing.
fn masked(said: &str) -> String {
    let drawn = |word: &&str| word.len() == 16 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    let words = said.split(|letter: char| !letter.is_ascii_alphanumeric()).filter(drawn);
    words.fold(said.to_owned(), |said, word| said.replace(word, "IDENTIFICATION__"))
}

fn influx1(addr: &str, arguments: &[&str]) -> Command {
    let mut influx = Command::new(servers_program("influx1", "influxdb1"));
    let (host, port) = addr.split_once(':').unwrap();
    influx.args(["-host", host, "-port", port]).args(arguments);
    influx.env_remove("INFLUX_USERNAME").env_remove("INFLUX_PASSWORD");
    influx
}

/// At a terminal it greets with the version of the server and shows a prompt.
fn influx1_at_a_terminal(addr: &str, arguments: &[&str], typed: &str) -> String {
    let influx = influx1(addr, arguments);
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/clients/terminal.py");
    let mut terminal = Command::new(installed("python/bin/python", "python"));
    terminal.arg(script).arg(influx.get_program()).args(influx.get_args()).env("HOME", "/nonexistent");
    heard(&mut terminal, addr, typed)
}

const LOOKS: [&[&str]; 14] = [
    &["-database", "check_03", "-execute", "SHOW TAG KEYS", "-format", "json", "-pretty"],
    &["-database", "check_03", "-execute", "SHOW MEASUREMENTS"],
    &["-database", "check_03", "-execute", "SHOW RETENTION POLICIES"],
    &["-database", "check_03", "-execute", "SELECT * FROM \"cli insert\" LIMIT 20", "-format", "csv"],
    &["-database", "check_03", "-execute", "SELECT * FROM \"cli import\"", "-format", "column"],
    &["-database", "check_03", "-execute", "SELECT * FROM \"cli packed\" LIMIT 7", "-format", "json"],
    &["-database", "check_03", "-execute", "SELECT f FROM \"cli packed\" LIMIT 3", "-precision", "rfc3339"],
    &["-database", "check_03", "-execute", "SELECT f FROM \"cli packed\" LIMIT 3", "-precision", "s"],
    &["-database", "check_03", "-execute", "SELECT f FROM \"cli packed\" LIMIT 3", "-precision", "h"],
    &["-database", "check_03", "-execute", "SELEC"],
    &["-database", "nowhere", "-execute", "SHOW MEASUREMENTS"],
    &["-database", "check_03", "-execute", "INSERT no fields"],
    &["-database", "nowhere", "-execute", "INSERT m v=1"],
    &["-database", "check_03", "-consistency", "all", "-execute", "INSERT INTO nowhere m v=1"],
];

#[test]
fn check_03_the_command_line_of_influxdb_1_connects_inserts_imports_and_reads() {
    let name = "check_03";
    let (source, destination, twinline) = between(Kind::One, name);
    let addr = twinline.addr.as_str();
    let directory = tempfile::tempdir().unwrap();
    let ways: [Way; 4] =
        [("cli insert", MS, false), ("cli import", NS, false), ("cli packed", S, false), ("cli typed", US, false)];
    let inserts = text("INSERT ", "cli insert", MS);
    // There is a limit to what an argument can hold.
    for part in inserts.lines().collect::<Vec<_>>().chunks(400) {
        output(&mut influx1(addr, &["-database", name, "-precision", "ms", "-execute", &part.join("\n")]));
    }
    for (measurement, unit_ns, precision, packed) in [("cli import", NS, "ns", false), ("cli packed", S, "s", true)] {
        let head = format!(
            "# DDL\nCREATE DATABASE {name}\n# DML\n# CONTEXT-DATABASE: {name}\n# CONTEXT-RETENTION-POLICY: autogen\n"
        );
        let dump = (head + &text("", measurement, unit_ns)).into_bytes();
        let file = directory.path().join(precision);
        std::fs::write(&file, if packed { gzip(&dump) } else { dump }).unwrap();
        let file = format!("-path={}", file.display());
        let arguments: &[&str] = &["-import", &file, "-precision", precision, "-compressed"];
        let said = output(&mut influx1(addr, &arguments[..if packed { 5 } else { 4 }]));
        assert!(said.contains("Failed 0 inserts"), "{said}");
    }
    let typed = format!("use {name}\nprecision u\n{}exit\n", text("insert into autogen ", "cli typed", US));
    let said = influx1_at_a_terminal(addr, &[], &typed);
    assert!(said.contains("Connected to http://ADDRESS version 1.13.2"), "{said}");
    twinline.delivered(lines(&ways));
    assert_both_hold(&record(&ways), name, &source, &destination);

    // Other tests make databases of their own on the same server, so this list is not compared.
    let databases = output(&mut influx1(addr, &["-execute", "SHOW DATABASES", "-format", "csv"]));
    assert!(databases.lines().any(|line| line == "databases,check_03"), "{databases}");
    let look = |addr: &str| {
        let typed = format!("use {name}\nselect last(f) from \"cli typed\"\nsettings\nselec\nexit\n");
        let first = influx1_at_a_terminal(addr, &[], &typed);
        LOOKS.iter().fold(first, |mut all, arguments| {
            write!(all, "{arguments:?}\n{}", heard(&mut influx1(addr, arguments), addr, "")).unwrap();
            all
        })
    };
    let seen = look(addr);
    eprintln!("{seen}");
    assert_same(&look(&source.addr), &seen);
}

fn influx2(addr: &str, token: &str, arguments: &[&str]) -> Command {
    let mut influx = Command::new(installed("bin/influx2", "cli2"));
    influx.args(arguments).env("INFLUX_HOST", format!("http://{addr}")).env("INFLUX_TOKEN", token);
    influx.env("INFLUX_ORG", ORG).env("INFLUX_CONFIGS_PATH", "/nonexistent/configs");
    influx
}

/// The first word of what it lists.
fn identification(addr: &str, arguments: &[&str]) -> String {
    let said = output(influx2(addr, TOKEN, arguments).arg("--hide-headers"));
    said.split_whitespace().next().unwrap_or_else(|| panic!("{arguments:?} lists nothing")).to_owned()
}

/// What the command line of InfluxDB 2 shows and does besides writing.
fn look2(addr: &str, name: &str) -> String {
    let mut all = String::new();
    let mut hear = |token: &str, arguments: &[&str], typed: &str| {
        write!(all, "{arguments:?}\n{}", heard(&mut influx2(addr, token, arguments), addr, typed)).unwrap();
    };
    let flux = |then: &str| {
        let stop = BEGIN_S + 1_000_000;
        format!("from(bucket: {name:?}) |> range(start: {BEGIN_S}, stop: {stop}) |> filter(fn: (r) => {then}")
    };
    let made = format!("{name}_made");
    hear(TOKEN, &["ping"], "");
    hear(TOKEN, &["org", "list"], "");
    hear(TOKEN, &["bucket", "list", "--name", name], "");
    hear(TOKEN, &["bucket", "create", "--name", &made, "--retention", "2h", "--description", "of the check"], "");
    let id = identification(addr, &["bucket", "list", "--name", &made]);
    hear(TOKEN, &["bucket", "update", "--id", &id, "--retention", "3h"], "");
    hear(TOKEN, &["v1", "dbrp", "create", "--db", &made, "--rp", "r", "--bucket-id", &id, "--default"], "");
    hear(TOKEN, &["v1", "dbrp", "list", "--db", &made], "");
    let mapping = identification(addr, &["v1", "dbrp", "list", "--db", &made]);
    hear(TOKEN, &["v1", "dbrp", "delete", "--id", &mapping], "");
    hear(TOKEN, &["bucket", "delete", "--name", &made], "");
    hear(TOKEN, &["query", &flux("r._measurement == \"cli2 ms\" and r.host == \"h,3\") |> limit(n: 5)")], "");
    hear(TOKEN, &["query", "--raw", &flux("r._measurement == \"cli2 s\")")], "");
    hear(TOKEN, &["query", "-"], &flux("r._measurement == \"cli2 csv\") |> count()"));
    hear(TOKEN, &["query", "from("], "");
    hear(TOKEN, &["query", "from(bucket: \"nowhere\") |> range(start: 0)"], "");
    hear("wrong", &["query", "buckets()"], "");
    hear(TOKEN, &["write", "--bucket", name, "no fields"], "");
    hear(TOKEN, &["write", "--bucket", "nowhere", "m v=1"], "");
    hear("wrong", &["write", "--bucket", name, "m v=1"], "");
    let wrong = line("cli2 s", NS, 0, false).replace("i=-50i", "i=\"text\"");
    hear(TOKEN, &["write", "--bucket", name, &wrong], "");
    let time = ["--start", "2023-11-14T22:00:00Z", "--stop", "2023-11-24T22:00:00Z"];
    hear(TOKEN, &[&["delete", "--bucket", name, "--predicate", "_measurement=\"cli2 ns\""][..], &time].concat(), "");
    hear(TOKEN, &["query", &flux("r._measurement == \"cli2 ns\")")], "");
    hear(TOKEN, &[&["delete", "--bucket", "nowhere"][..], &time].concat(), "");
    masked(&all)
}

#[test]
fn check_11_the_command_line_of_influxdb_2_writes_queries_deletes_and_maps() {
    let name = "check_11";
    let (source, destination, twinline) = between(Kind::Two, name);
    let addr = twinline.addr.as_str();
    let directory = tempfile::tempdir().unwrap();
    let ways: [Way; 7] = [
        ("cli2 ns", NS, false),
        ("cli2 us", US, false),
        ("cli2 ms", MS, false),
        ("cli2 s", S, false),
        ("cli2 packed", NS, false),
        ("cli2 csv", NS, false),
        ("cli2 mapped", MS, false),
    ];
    let to = ["write", "--bucket", name];
    for (measurement, unit_ns, _) in &ways[..4] {
        let precision = measurement.split_once(' ').unwrap().1;
        let typed = text("", measurement, *unit_ns);
        let said = heard(&mut influx2(addr, TOKEN, &[&to[..], &["--precision", precision]].concat()), addr, &typed);
        assert_eq!(said, "exit status: 0\n");
    }
    let file = |name: &str, content: Vec<u8>| {
        let path = directory.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.display().to_string()
    };
    let packed = file("packed", gzip(text("", "cli2 packed", NS).as_bytes()));
    output(&mut influx2(addr, TOKEN, &[&to[..], &["--compression", "gzip", "--file", &packed]].concat()));
    let table = file("table.csv", table("cli2 csv").into_bytes());
    output(&mut influx2(addr, TOKEN, &[&to[..], &["--format", "csv", "--file", &table]].concat()));
    // A database of 1.x is mapped to the bucket, and written to as such.
    let id = identification(addr, &["bucket", "list", "--name", name]);
    output(&mut influx2(addr, TOKEN, &["v1", "dbrp", "create", "--db", "mapped_11", "--rp", "r", "--bucket-id", &id]));
    let written = twinline.call(
        "POST /write?db=mapped_11&rp=r&precision=ms",
        &[&source.authorization()],
        text("", "cli2 mapped", MS),
    );
    assert_eq!(written.status, 204, "{}", written.text());
    twinline.delivered(lines(&ways));
    assert_both_hold(&record(&ways), name, &source, &destination);

    let seen = look2(addr, name);
    eprintln!("{seen}");
    assert_same(&look2(&source.addr, name), &seen);
}

/// The points as a table with annotations.
fn table(measurement: &str) -> String {
    let head = "#datatype measurement,tag,tag,double,long,boolean:true:false,string,dateTime:number\nm,host,pl ace,f,i,b,s,t\n";
    let row = |at: i64, again: bool| {
        let i = if again { -at } else { at - 50 };
        let (host, f, b) = (at % 5, at as f64 / 8.0, at % 2 == 0);
        let time_ns = BEGIN_S * S + at;
        format!("{measurement},\"h,{host}\",M\u{fc}nchen=\u{e9},{f},{i},{b},\"say \"\"{at}\"\" \\ \u{e9}\",{time_ns}\n")
    };
    let again = (0..count()).step_by(10).map(|at| row(at, true));
    (0..count()).map(|at| row(at, false)).chain(again).fold(head.to_owned(), |text, row| text + &row)
}
