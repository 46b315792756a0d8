//! QuestDB as the destination: what it can hold arrives with its types, what it cannot is counted, and rows stand once where
//! its tables replace them.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::sync::Arc;

use serde_json::{Value, json};
use twinline::cell::{Series, Value as Cell};

use crate::awkward::inputs;
use crate::database::{Kind, shared};
use crate::load::points;
use crate::proxy::{Setup, Twinline, eventually};
use crate::questdb_server::Questdb;
use crate::record::{Record, Writer};
use crate::refused::ask;

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

#[test]
fn check_39_what_questdb_can_hold_arrives_with_its_types_and_the_rest_is_counted() {
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
        // Of one time in any order.
        let sorted = |rows: &Value| rows.as_array().unwrap().iter().map(Value::to_string).collect::<BTreeSet<_>>();
        assert_eq!(sorted(&json!(questdb.rows(table))), sorted(&rows), "{table}");
    }
    let tables = questdb.ask("select count() from tables() where table_name like 'to_quest%'");
    assert_eq!(tables["dataset"][0][0], 6);

    // What the check says is what helps.
    let check = || String::from_utf8(twinline.command(&["check", "--only", "mapping"]).stdout).unwrap();
    let said = check();
    let key = "ALTER TABLE \"to_quest_m x\" DEDUP ENABLE UPSERT KEYS(\"a_2eb\", \"host\", \"timestamp\")";
    assert!(said.contains("6 tables hold a row twice") && said.contains(key), "{said}");
    for command in said.split("ALTER TABLE").skip(1) {
        let command = &command[..=command.find(')').unwrap()];
        questdb.ask(&format!("ALTER TABLE{command}"));
    }
    eventually("the check is content", || {
        let said = check();
        let is_good = said.contains("6 tables replace a row that is sent again") && !said.contains("? unknown");
        if is_good { Ok(()) } else { Err(said) }
    });
}

/// As its dialect names them: the measurements and fields of the writer that it refuses.
const RENAMED: [(&[u8], &str); 6] = [
    (b"disk usage, all", "disk usage_2c all"),
    ("gr\u{f6}\u{df}e\"q\"".as_bytes(), "gr\u{f6}\u{df}e_22q_22"),
    (b"C:\\dir", "C_3a_5cdir"),
    (b"raw\xff\xfebytes", "raw_ff_febytes"),
    (b"ok=yes,no", "ok=yes_2cno"),
    ("te\"xt\u{e9}".as_bytes(), "te_22xt\u{e9}"),
];

fn renamed(name: &[u8]) -> (String, u64) {
    let found = RENAMED.iter().find(|(from, _)| *from == name);
    found.map_or_else(|| (String::from_utf8(name.to_vec()).unwrap(), 0), |(_, to)| ((*to).to_owned(), 1))
}

/// A field with its value.
type Field = (Arc<[u8]>, Cell);

/// What must be there: for each table its rows, each as often as it was written.
#[derive(Default)]
struct Predicted {
    tables: BTreeMap<String, Vec<BTreeMap<String, String>>>,
    changes: BTreeMap<String, u64>,
}

impl Predicted {
    fn count(&mut self, code: &str, cells: u64) {
        if cells > 0 {
            *self.changes.entry(code.to_owned()).or_default() += cells;
        }
    }

    /// All that one request has written, by cell.
    fn request(&mut self, db: &str, record: Record) {
        let mut rows: BTreeMap<(Arc<Series>, i64), Vec<Field>> = BTreeMap::new();
        for ((series, field, time_ns), value) in record.timed {
            rows.entry((series, time_ns)).or_default().push((field, value));
        }
        for ((series, time_ns), cells) in rows {
            if series.tags().iter().any(|(_, value)| std::str::from_utf8(value).is_err()) {
                continue;
            }
            let mut row = BTreeMap::new();
            for (field, value) in cells {
                let (name, is_renamed) = renamed(&field);
                let text = match value {
                    Cell::Float(value) => format!("{:016x}", value.to_bits()),
                    Cell::Integer(i64::MIN) => {
                        self.count("integer-left-out", 1);
                        continue;
                    }
                    Cell::Unsigned(value) if value > i64::MAX as u64 => {
                        self.count("integer-left-out", 1);
                        continue;
                    }
                    Cell::Integer(value) => value.to_string(),
                    Cell::Unsigned(value) => {
                        self.count("unsigned-as-integer", 1);
                        value.to_string()
                    }
                    Cell::Boolean(value) => value.to_string(),
                    Cell::String(value) => {
                        self.count("broken-text", u64::from(std::str::from_utf8(&value).is_err()));
                        String::from_utf8_lossy(&value).into_owned()
                    }
                };
                self.count("name", is_renamed);
                row.insert(name, text);
            }
            if row.is_empty() {
                continue;
            }
            if time_ns % 1000 != 0 {
                self.count("microseconds", row.len() as u64);
            }
            let (table, is_renamed) = renamed(series.measurement());
            self.count("name", is_renamed);
            for (key, value) in series.tags() {
                row.insert(String::from_utf8(key.clone()).unwrap(), String::from_utf8(value.clone()).unwrap());
            }
            row.insert("us".to_owned(), (time_ns / 1000).to_string());
            // There is no missing boolean.
            row.entry("ok=yes_2cno".to_owned()).or_insert_with(|| "false".to_owned());
            self.tables.entry(format!("{db}_{table}")).or_default().push(row);
        }
    }
}

/// Thousands of points with awkward names and values of every type, some of them written again: what is there is what was
/// predicted from the writer's record, and every cell that is not what it was is counted.
fn pair(kind: Kind, name: &str) {
    let (source, mut questdb) = (shared(kind, 0), Questdb::start());
    source.create(name);
    let twinline = Setup::new(source.section(), questdb.section("kind = \"questdb\"")).start();
    let mut connection = twinline.connect();
    let mut writer = Writer::new(kind, name, 1, kind == Kind::Two);
    writer.untimed_of_256 = 0;
    let (mut predicted, mut lines, mut dead) = (Predicted::default(), 0, 0);
    while lines < points() {
        let batch = writer.batch(400);
        let mut headers = vec![source.authorization()];
        let mut body = Vec::new();
        if batch.gzip {
            headers.push("Content-Encoding: gzip".to_owned());
            flate2::read::GzDecoder::new(&batch.body[..]).read_to_end(&mut body).unwrap();
        } else {
            body.clone_from(&batch.body);
        }
        dead += memchr::memmem::find_iter(&body, b"a\\ key=raw\xc3(\xff ").count();
        let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
        let answer = connection.call(&format!("POST {}", batch.target), &headers, &batch.body).unwrap();
        assert_eq!(answer.status, 204, "{}", answer.text());
        lines += writer.record.lines;
        predicted.request(name, std::mem::take(&mut writer.record));
    }
    let status = twinline.settled(lines);
    assert_eq!(status["lines"]["dead_lettered"], dead, "{status:#}");
    assert_eq!(changes(&status), predicted.changes);
    let mut cells = 0;
    for (table, mut rows) in predicted.tables {
        rows.sort();
        let found = questdb.texts(&table);
        assert_eq!(found.len(), rows.len(), "{table}");
        for (found, row) in found.iter().zip(&rows) {
            assert_eq!(found, row, "{table}");
            cells += row.len();
        }
    }
    eprintln!("{lines} lines, {cells} cells of rows are as predicted, {dead} dead letters");
    questdb.0.child.kill().unwrap();
}

/// Lines on which parsers disagree: QuestDB refuses none of what is sent to it.
#[test]
fn awkward_lines_are_written_so_that_questdb_takes_them() {
    let (source, questdb) = (shared(Kind::One, 0), Questdb::start());
    let twinline = Setup::new(source.section(), questdb.section("kind = \"questdb\"")).start();
    let inputs = inputs(Kind::One);
    for input in inputs.iter().filter(|input| input.accepted) {
        let name = format!("quest_{}", input.name);
        source.create(&name);
        // Some names it takes apart and refuses.
        let answer = twinline.call(&format!("POST /write?db={name}"), &[&source.authorization()], &input.body);
        assert!(matches!(answer.status, 204 | 400), "{}", answer.text());
    }
    let status = twinline.quiet();
    let letters = ask(&twinline, "/api/v1/dead-letters?limit=1000");
    for letter in letters["lines"].as_array().unwrap() {
        assert_eq!(letter["code"], "unstorable", "{letter:#}");
    }
    let told = twinline.admin("/api/v1/events?limit=1000").text();
    assert!(!told.contains("paused"), "{told}");
    eprintln!("{} dead letters, {:?}", status["lines"]["dead_lettered"], changes(&status));
}

#[test]
fn from_1_to_questdb() {
    pair(Kind::One, "from_1_to_quest");
}

#[test]
fn from_2_to_questdb() {
    pair(Kind::Two, "from_2_to_quest");
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
        questdb.0.kill_and_start();
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
