//! QuestDB as the destination: what it can hold arrives with its types, what it cannot is counted, and rows stand once where
//! its tables replace them.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::database::{Kind, servers_program, shared};
use crate::http::{call, escape};
use crate::proxy::{Setup, Twinline, eventually};

/// A process on a port and in a directory of its own.
struct Questdb {
    addr: String,
    child: Child,
    directory: tempfile::TempDir,
}

impl Drop for Questdb {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Rows of a table, each a value by the name of its column; what is missing is left out.
type Rows = Vec<BTreeMap<String, Value>>;

impl Questdb {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (child, addr) = spawn(&directory, "127.0.0.1:0");
        Self { addr, child, directory }
    }

    /// Killed at once, and started again where it was.
    fn kill_and_start(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        (self.child, _) = spawn(&self.directory, &self.addr);
    }

    fn section(&self, kind: &str) -> String {
        format!("url = \"http://{}\"\n{kind}", self.addr)
    }

    fn ask(&self, query: &str) -> Value {
        let answer = call(&self.addr, &format!("GET /exec?query={}", escape(query)), &[], b"").unwrap();
        assert!(answer.status == 200, "{query}: {}", answer.text());
        answer.json()
    }

    /// All that is in a table, once everything that was committed can be seen.
    fn rows(&self, table: &str) -> Rows {
        let pending = format!("select count() from wal_tables() where name = '{table}' and writerTxn < sequencerTxn");
        eventually("all commits can be read", || match self.ask(&pending)["dataset"][0][0].as_i64() {
            Some(0) => Ok(()),
            left => Err(format!("{left:?}")),
        });
        let found = self.ask(&format!("select * from \"{table}\" order by timestamp"));
        let names: Vec<&str> =
            found["columns"].as_array().unwrap().iter().map(|column| column["name"].as_str().unwrap()).collect();
        let row = |row: &Value| {
            let cells = names.iter().zip(row.as_array().unwrap()).filter(|(_, value)| !value.is_null());
            cells.map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
        };
        found["dataset"].as_array().unwrap().iter().map(row).collect()
    }

    /// The types of a table's columns by their names.
    fn types(&self, table: &str) -> BTreeMap<String, String> {
        let found = self.ask(&format!("select \"column\", type from table_columns('{table}')"));
        serde_json::from_value::<Vec<(String, String)>>(found["dataset"].clone()).unwrap().into_iter().collect()
    }
}

fn spawn(directory: &tempfile::TempDir, addr: &str) -> (Child, String) {
    // Java itself, not the script: a killed script leaves it behind.
    let jar = servers_program("questdb", "questdb").with_file_name("questdb.jar");
    let mut command = Command::new("java");
    command.args(["-XX:+UseSerialGC", "-Xmx256m", "-p"]).arg(jar).args([
        "-m",
        "io.questdb/io.questdb.ServerMain",
        "-d",
    ]);
    command.arg(directory.path()).arg("-n").env("QDB_HTTP_BIND_TO", addr);
    for off in ["HTTP_MIN", "PG", "LINE_TCP", "TELEMETRY"] {
        command.env(format!("QDB_{off}_ENABLED"), "false");
    }
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let said = lines.by_ref().map(Result::unwrap).find_map(|line| {
        let rest = line.split_once("http-server listening on ")?.1;
        Some(rest.split(' ').next().unwrap().to_owned())
    });
    std::thread::spawn(move || lines.for_each(drop));
    (child, said.expect("it starts"))
}

fn changes(status: &Value) -> BTreeMap<String, u64> {
    let row = |row: &Value| (row["code"].as_str().unwrap().to_owned(), row["cells"].as_u64().unwrap());
    status["changes"].as_array().unwrap().iter().map(row).collect()
}

fn write(twinline: &Twinline, authorization: &str, db: &str, body: impl AsRef<[u8]>) {
    let answer = twinline.call(&format!("POST /write?db={db}"), &[authorization], body);
    assert_eq!(answer.status, 204, "{}", answer.text());
}

const BEGIN_NS: i64 = 1_700_000_000_000_000_000;

/// Microseconds since [`BEGIN_NS`] as QuestDB shows them.
fn shown(us: i64) -> Value {
    json!(format!("2023-11-14T22:13:{:02}.{:06}Z", 20 + us / 1_000_000, us % 1_000_000))
}

/// Check 39, for QuestDB.
#[test]
fn what_questdb_can_hold_arrives_with_its_types_and_the_rest_is_counted() {
    let (name, other) = ("to_quest", "to_quest2");
    let (source, questdb) = (shared(Kind::One, 0), Questdb::start());
    source.create(name);
    source.create(other);
    let twinline = Setup::new(source.section(), questdb.section("")).start();
    let authorization = source.authorization();
    // Two lines make one row; every tenth time is finer than a microsecond.
    let lines = |at: i64| {
        let time = BEGIN_NS + at * 1_000 + i64::from(at % 10 == 3);
        let key = format!("m\\ x,host=h\\,{},a.b=\\ é", at % 5);
        format!("{key} f={}.25,i=7i,b={} {time}\n{key} i={at}i,s=\"te\nxt \\\"{at}\\\\\" {time}\n", at, at % 2 == 0)
    };
    let body: String = (0..1000).map(lines).collect();
    write(&twinline, &authorization, name, body);
    write(&twinline, &authorization, other, format!("m\\ x f=1e300,i=-9223372036854775807i {BEGIN_NS}"));
    let hard = format!(
        "c,V=tag v=1,w=2,W=3,timestamp=4 {BEGIN_NS}\nc i=-9223372036854775808i,j=1i {BEGIN_NS}\n\
         c i=-9223372036854775808i {}\nold v=1,w=2 -1\nn:/1 v-1=0.30000000000000004,z=-0 {BEGIN_NS}\n",
        BEGIN_NS + 1000
    );
    write(&twinline, &authorization, name, hard);
    let broken =
        b"u,t=\xff v=1 1700000000000000000\nu s=\"a\xff\" 1700000000000000000\nu\xfe v=1 1700000000000000000\n";
    write(&twinline, &authorization, name, broken);
    let status = twinline.settled(2009);
    let counted = (&status["lines"]["delivered"], &status["lines"]["dead_lettered"]);
    assert_eq!(counted, (&2008.into(), &1.into()), "{status:#}");
    let expected = [
        ("name", 1000 + 1 + 2 + 1),
        ("microseconds", 400),
        ("name-taken", 2),
        ("integer-left-out", 2),
        ("time-left-out", 2),
        ("broken-text", 1),
    ];
    assert_eq!(changes(&status), expected.map(|(code, cells)| (code.to_owned(), cells)).into(), "{status:#}");
    assert_eq!(status["facts"]["destination"]["kind"], "questdb");
    assert_eq!(status["facts"]["destination"]["version"], "9.3.4");

    let row = |at: i64| {
        json!({
            "host": format!("h,{}", at % 5), "a_2eb": " é", "f": at as f64 + 0.25, "i": at, "b": at % 2 == 0,
            "s": format!("te\nxt \"{at}\\"), "timestamp": shown(at)
        })
    };
    let rows = questdb.rows("to_quest_m x");
    assert_eq!(json!(rows), json!((0..1000).map(row).collect::<Vec<_>>()));
    let types = questdb.types("to_quest_m x");
    let expected = [
        ("a_2eb", "SYMBOL"),
        ("b", "BOOLEAN"),
        ("f", "DOUBLE"),
        ("host", "SYMBOL"),
        ("i", "LONG"),
        ("s", "VARCHAR"),
        ("timestamp", "TIMESTAMP"),
    ];
    assert_eq!(types, expected.map(|(name, kind)| (name.to_owned(), kind.to_owned())).into());
    for (table, rows) in [
        ("to_quest2_m x", json!([{ "f": 1e300, "i": -9_223_372_036_854_775_807_i64, "timestamp": shown(0) }])),
        (
            "to_quest_c",
            json!([
                { "V": "tag", "w": 2.0, "timestamp_": 4.0, "timestamp": shown(0) },
                { "j": 1, "timestamp": shown(0) }
            ]),
        ),
        ("to_quest_n_3a_2f1", json!([{ "v_2d1": 0.300_000_000_000_000_04, "z": -0.0, "timestamp": shown(0) }])),
        ("to_quest_u", json!([{ "s": "a\u{fffd}", "timestamp": shown(0) }])),
        ("to_quest_u_fe", json!([{ "v": 1.0, "timestamp": shown(0) }])),
    ] {
        assert_eq!(json!(questdb.rows(table)), rows, "{table}");
    }
    let tables = questdb.ask("select count() from tables() where table_name like 'to_quest%'");
    assert_eq!(tables["dataset"][0][0], 6);

    // What the check says is what helps.
    let check = || String::from_utf8(twinline.command(&["check", "--only", "mapping"]).stdout).unwrap();
    let said = check();
    let key = "ALTER TABLE \"to_quest_m x\" DEDUP ENABLE UPSERT KEYS(\"a_2eb\", \"host\", \"timestamp\")";
    assert!(said.contains("6 tables hold a row twice") && said.contains(key), "{said}");
    for command in said.split("; ").filter_map(|part| Some(&part[part.find("ALTER TABLE")?..=part.find(')')?])) {
        questdb.ask(command);
    }
    assert!(check().contains("6 tables replace a row that is sent again"), "{}", check());
}

/// Requests without a known end go again: a table that replaces rows has each once.
#[test]
fn a_table_that_replaces_rows_has_each_once_whoever_dies() {
    let name = "quest_dies";
    let (source, mut questdb) = (shared(Kind::One, 0), Questdb::start());
    source.create(name);
    questdb.ask(&format!(
        "create table {name}_m (host symbol, v double, w long, timestamp timestamp_ns) timestamp(timestamp) partition by day wal \
         dedup upsert keys(timestamp, host)"
    ));
    let kind = "kind = \"questdb\"\n[destination.projection]\nresolution = \"ns\"";
    let mut twinline = Setup::new(source.section(), questdb.section(kind)).start();
    let authorization = source.authorization();
    let mut written = 0;
    let mut more = |twinline: &Twinline, count: i64| {
        let line = |at: i64| format!("m,host={0} v={at} {1}\nm,host={0} w={at}i {1}\n", at % 7, BEGIN_NS + at);
        write(twinline, &authorization, name, (written..written + count).map(line).collect::<String>());
        written += count;
        written
    };
    for round in 0..3 {
        for _ in 0..40 {
            more(&twinline, 50);
        }
        questdb.kill_and_start();
        if round == 1 {
            twinline.stop(rustix::process::Signal::KILL);
            twinline.start_again();
        }
    }
    let all = more(&twinline, 50);
    let status = twinline.settled(2 * all as u64);
    assert_eq!(changes(&status), BTreeMap::new());
    let rows = questdb.rows(&format!("{name}_m"));
    assert_eq!(rows.len() as i64, all);
    for (at, row) in rows.iter().enumerate() {
        let nanos = format!("2023-11-14T22:13:20.{at:09}Z");
        let expected = json!({ "host": (at % 7).to_string(), "v": at as f64, "w": at, "timestamp": nanos });
        assert_eq!(json!(row), expected);
    }
    let told = twinline.admin("/api/v1/events?limit=1000").text();
    assert!(!told.contains("possible-duplicates"), "{told}");
}

/// It calls itself InfluxDB 2.7.4, and is none.
#[test]
fn questdb_is_never_taken_for_an_influxdb() {
    let (source, questdb) = (shared(Kind::One, 0), Questdb::start());
    let place = Setup::new(questdb.section(""), source.section()).place();
    let (_, said) = place.start_that_fails();
    assert!(said.contains("QuestDB"), "{said}");
    let place =
        Setup::new(source.section(), questdb.section("kind = \"influxdb2\"\norg = \"o\"\ntoken = \"t\"")).place();
    let text = String::from_utf8(place.command(&["check", "--only", "reach"]).stdout).unwrap();
    assert!(text.contains("is QuestDB 9.3.4, but destination.kind is \"influxdb2\""), "{text}");
}
