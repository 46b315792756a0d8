//! QuestDB: what it refuses, line by line, and which rows its tables hold.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value as Json;
use twinline::line::record::{Datum, Outcome, Point, Record};
use twinline::line::{Precision, Value, questdb};

use super::exceptions::{self, Exception, Seen};
use super::http::escape;
use super::process::{Process, Product};
use super::shrink::shrink;
use super::stored::{Now, Request, name};

/// Counts of a run, for its report.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) lines: usize,
    pub(crate) accepted: usize,
    pub(crate) refused: usize,
    /// Taken by the parser, refused by what stands behind it.
    pub(crate) behind: usize,
    /// Left out: another line has the column with another type, or what is stored cannot be compared.
    pub(crate) left_out: usize,
    /// Batches of which a table was not found, and was when they were sent again.
    pub(crate) repeated: usize,
}

#[derive(Debug)]
pub(crate) struct Quest {
    server: Process,
    now: Now,
    pub(crate) counts: Counts,
}

/// Tables by their names in lower case; in each the rows, in a form that can be compared.
#[derive(Debug, Default)]
struct Tables(BTreeMap<String, Table>);

#[derive(Debug, Default)]
struct Table {
    name: String,
    rows: Vec<String>,
    /// Type of each column, by its name in lower case.
    columns: HashMap<String, &'static str>,
}

/// What stands behind the parser takes the line as a row, or refuses it.
enum Behind {
    Row {
        table: String,
        columns: Vec<(String, &'static str, String)>,
        time: String,
    },
    /// By the name of the rule.
    Refused(&'static str),
    /// What is stored depends on other lines, or cannot be compared; by the name of the rule.
    LeftOut(&'static str),
}

/// Names of the rules that stand behind the parser; `exceptions.jsonl` has a row for each.
const RULES: &[&str] = &[
    "table not UTF-8",
    "table name",
    "before 1970",
    "beyond the year 9999",
    "kind of its own",
    "column not UTF-8",
    "column name",
    "column timestamp",
    "new column without a value",
    "column of another type",
];

impl Quest {
    pub(crate) fn start() -> Self {
        Self { server: Process::start(Product::QuestDb), now: Now::new(), counts: Counts::default() }
    }

    /// Writes the batches, each into tables of its own, and compares; each difference with the least that shows it.
    pub(crate) fn round(&mut self, requests: &[Request]) -> Vec<String> {
        let mut shown = Vec::new();
        for request in requests {
            let found = self.compare(request);
            if found.is_empty() {
                continue;
            }
            let counts = self.counts;
            // Seen once in 50,000 lines: a table that was just made is not found. Any other difference is one, seen again or not.
            let unfound = found.iter().all(|what| what.contains("table does not exist"));
            if unfound && self.compare(request).is_empty() {
                println!("QuestDB, not a second time: {}", found.join("\n    "));
                self.counts = Counts { repeated: counts.repeated + 1, ..counts };
                continue;
            }
            let least = shrink(request, |smaller| !self.compare(smaller).is_empty());
            let again = self.compare(&least);
            let found = if again.is_empty() { found } else { again };
            shown.push(format!(
                "{:?} \"{}\"\n    {}",
                least.precision,
                least.body.escape_ascii(),
                found.join("\n    ")
            ));
            self.counts = counts;
        }
        shown
    }

    /// What the server does with the line of each row of `exceptions.jsonl`.
    pub(crate) fn exceptions(&mut self) -> Vec<String> {
        let (exceptions, mut found) = exceptions::of("QuestDB 9.3", RULES);
        let counts = self.counts;
        let requests: Vec<_> = exceptions.iter().map(Exception::request).collect();
        let body: Vec<u8> = requests.iter().flat_map(|request| request.body.clone()).collect();
        found.extend(self.compare(&Request { precision: Precision::Nanosecond, body }));
        for (exception, request) in exceptions.iter().zip(&requests) {
            found.extend(self.see(request).map_or_else(Some, |seen| exception.difference(&seen)));
        }
        self.counts = counts;
        found
    }

    fn see(&mut self, request: &Request) -> Result<Seen, String> {
        let mut said = Tables::default();
        let mut rule = None;
        for record in questdb::records(&request.body, request.precision) {
            let Outcome::Point(point) = record.outcome else { continue };
            match behind(&point, self.now, &said) {
                Behind::Refused(name) | Behind::LeftOut(name) => rule = Some(name),
                Behind::Row { table, columns, time } => said.add(&table, columns, &time),
            }
        }
        let path = format!("POST /write?precision={}", unit(request.precision));
        let answer = self.server.ask(&path, &[], &request.body)?;
        let tables = self.exec("select table_name from tables() order by table_name")?;
        let mut shown = Vec::new();
        for table in tables["dataset"].as_array().unwrap() {
            let table = table[0].as_str().unwrap();
            let rows = self.read(table)?;
            shown.extend(rows.into_iter().map(|row| format!("{}: {row}", name(table.as_bytes()))));
        }
        self.drop_all()?;
        Ok(Seen { rule, status: answer.status, answer: answer.text(), shown })
    }

    fn compare(&mut self, request: &Request) -> Vec<String> {
        let mut found = Vec::new();
        let mut said = Tables::default();
        if let Err(what) = self.send(request, &mut said) {
            found.push(what);
        }
        for table in said.0.values_mut() {
            match self.read(&table.name) {
                Ok(mut rows) => {
                    rows.sort();
                    table.rows.sort();
                    found.extend(unequal(&table.rows, &rows).into_iter().map(|what| format!("{}: {what}", table.name)));
                }
                Err(what) => found.push(format!("{}: {what}", table.name)),
            }
        }
        if let Err(what) = self.drop_all() {
            found.push(what);
        }
        found
    }

    /// Each refused line alone, all others together.
    fn send(&mut self, request: &Request, said: &mut Tables) -> Result<(), String> {
        let records = questdb::records(&request.body, request.precision);
        let path = format!("POST /write?precision={}", unit(request.precision));
        let mut good = Vec::new();
        for Record { span, outcome } in &records {
            let line = &request.body[span.clone()];
            let refused = match outcome {
                Outcome::Skipped => {
                    good.extend([line, b"\n"].concat());
                    continue;
                }
                Outcome::Fault(fault) => {
                    self.counts.refused += 1;
                    (fault.code, fault.reason.split(['"', ':']).next().unwrap_or_default().to_owned())
                }
                Outcome::Point(point) => match behind(point, self.now, said) {
                    Behind::Refused(rule) => {
                        self.counts.behind += 1;
                        ("behind", rule.to_owned())
                    }
                    Behind::LeftOut(_) => {
                        self.counts.left_out += 1;
                        continue;
                    }
                    Behind::Row { table, columns, time } => {
                        self.counts.lines += 1;
                        self.counts.accepted += 1;
                        said.add(&table, columns, &time);
                        good.extend([line, b"\n"].concat());
                        continue;
                    }
                },
            };
            self.counts.lines += 1;
            let answer = self.server.ask(&path, &[], &[line, b"\n"].concat())?;
            if !matches!(answer.status, 400 | 500) {
                let (line, (code, reason)) = (line.escape_ascii(), refused);
                return Err(format!(
                    "we say \"{line}\" is refused ({code} {reason}): {} {}",
                    answer.status,
                    answer.text()
                ));
            }
        }
        let answer = self.server.ask(&path, &[], &good)?;
        if answer.status == 204 {
            return Ok(());
        }
        Err(format!("we say all is well with \"{}\": {} {}", good.escape_ascii(), answer.status, answer.text()))
    }

    fn exec(&mut self, statement: &str) -> Result<Json, String> {
        let answer = self.server.ask(&format!("GET /exec?query={}", escape(statement)), &[], b"")?;
        let text = quote_numbers(&answer.text());
        let document: Json = serde_json::from_str(&text).map_err(|error| format!("{statement}: {error}: {text}"))?;
        match document.get("error") {
            Some(error) => Err(format!("{statement}: {error}")),
            None => Ok(document),
        }
    }

    fn read(&mut self, table: &str) -> Result<Vec<String>, String> {
        let quoted = table.replace('\'', "''");
        for _ in 0..2000 {
            let state = format!("select writerTxn, sequencerTxn, suspended from wal_tables() where name='{quoted}'");
            let state = self.exec(&state)?;
            let row = &state["dataset"][0];
            if row[2] == true {
                return Err("the table is suspended".to_owned());
            }
            if row[0] == row[1] && row[0].is_string() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        let document =
            self.exec(&format!("select cast(timestamp as long) \"#\", * from \"{}\"", table.replace('"', "\"\"")))?;
        let columns: Vec<(String, String)> = document["columns"]
            .as_array()
            .unwrap()
            .iter()
            .map(|c| (c["name"].as_str().unwrap().to_owned(), c["type"].as_str().unwrap().to_owned()))
            .collect();
        // The first line of a table may have had a time in nanoseconds.
        let is_fine = columns.iter().any(|(name, kind)| name == "timestamp" && kind == "TIMESTAMP_NS");
        let row = |values: &Json| {
            let values = values.as_array().unwrap();
            let time: Option<i64> = values[0].as_str().and_then(|text| text.parse().ok());
            let time = time.map(|count| if is_fine { count } else { count.saturating_mul(1000) });
            let shown = columns.iter().zip(values).skip(1).filter(|((name, _), _)| name != "timestamp");
            let mut cells: Vec<String> =
                shown.filter_map(|((name, kind), value)| stored_cell(name, kind, value)).collect();
            cells.sort();
            format!("{} @{}", cells.join(", "), self.now.time(time.map(microseconds)))
        };
        Ok(document["dataset"].as_array().unwrap().iter().map(row).collect())
    }

    /// So that their number does not grow.
    fn drop_all(&mut self) -> Result<(), String> {
        // With a connection the server keeps the tables that were written to through it: what came later for one of them
        // would go into the table that is gone.
        self.server.reconnect()?;
        self.exec("drop all tables").map(drop)
    }
}

/// Numbers as texts: what reads JSON here is wrong in the last digit of some.
fn quote_numbers(json: &str) -> String {
    let mut out = String::with_capacity(json.len() + json.len() / 8);
    let (mut in_text, mut in_number, mut escaped) = (false, false, false);
    for c in json.chars() {
        let is_part =
            !in_text && (c.is_ascii_digit() || matches!(c, '-' | '+' | '.') || (in_number && matches!(c, 'e' | 'E')));
        if is_part != in_number {
            out.push('"');
            in_number = is_part;
        }
        // The server leaves these as they are.
        match c {
            '\0'..='\x1f' if in_text => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            _ => out.push(c),
        }
        if c == '"' && !escaped {
            in_text = !in_text;
        }
        escaped = in_text && c == '\\' && !escaped;
    }
    out
}

fn stored_cell(column: &str, kind: &str, value: &Json) -> Option<String> {
    let shown = match (kind, value) {
        (_, Json::Null) | ("BOOLEAN", Json::Bool(false)) => return None,
        ("DOUBLE", Json::String(text)) => format!("float {:?}", text.parse::<f64>().unwrap_or(f64::NAN)),
        ("LONG", Json::String(text)) => format!("integer {text}"),
        ("BOOLEAN", value) => format!("boolean {value}"),
        ("SYMBOL" | "VARCHAR", Json::String(text)) => format!("{} {}", kind.to_lowercase(), name(text.as_bytes())),
        (_, value) => format!("{} {value}", kind.to_lowercase()),
    };
    Some(format!("{}={shown}", name(column.as_bytes())))
}

impl Tables {
    fn add(&mut self, table: &str, columns: Vec<(String, &'static str, String)>, time: &str) {
        let own =
            self.0.entry(table.to_lowercase()).or_insert_with(|| Table { name: table.to_owned(), ..Table::default() });
        let mut cells = Vec::new();
        for (column, kind, value) in columns {
            own.columns.entry(column.to_lowercase()).or_insert(kind);
            if !value.is_empty() {
                cells.push(format!("{}={kind} {value}", name(column.as_bytes())));
            }
        }
        cells.sort();
        own.rows.push(format!("{} @{time}", cells.join(", ")));
    }
}

/// Names of tables and columns are files; what a server forbids in them.
fn is_forbidden(name: &str, is_table: bool) -> bool {
    let forbidden = |c: char| {
        matches!(
            c,
            '?' | ',' | '\'' | '"' | '\\' | '/' | ':' | ')' | '(' | '+' | '*' | '%' | '~' | '\u{7f}' | '\u{feff}'
        ) || (c <= '\u{f}')
            || (!is_table && matches!(c, '.' | '-'))
    };
    let ends = is_table && (name.starts_with(['.', ' ']) || name.ends_with(['.', ' ']) || name.contains(".."));
    name.is_empty() || name.encode_utf16().count() > 127 || ends || name.chars().any(forbidden)
}

fn behind(point: &Point<'_>, now: Now, tables: &Tables) -> Behind {
    // Stored under a name with other characters in place of these bytes.
    let Ok(table) = std::str::from_utf8(&point.measurement) else { return Behind::LeftOut("table not UTF-8") };
    if is_forbidden(table, true) {
        return Behind::Refused("table name");
    }
    match point.time_ns {
        Some(..0) => return Behind::Refused("before 1970"),
        // From here on it may be beyond the year 9999, which the server refuses with a 500.
        Some(i64::MAX) => return Behind::LeftOut("beyond the year 9999"),
        _ => {}
    }
    // Kinds that InfluxDB has not are left to the record of the parser.
    if point.fields.iter().any(|(_, datum)| matches!(datum, Datum::Other { .. })) {
        return Behind::LeftOut("kind of its own");
    }
    let known = tables.0.get(&table.to_lowercase());
    let mut columns: Vec<(String, &'static str, String)> = Vec::new();
    let tags = point.tags.iter().map(|(key, value)| (key, tag(value)));
    let fields = point.fields.iter().map(|(key, datum)| (key, field(datum)));
    for (key, cell) in tags.chain(fields) {
        let Ok(column) = std::str::from_utf8(key) else { return Behind::Refused("column not UTF-8") };
        if is_forbidden(column, false) {
            return Behind::Refused("column name");
        }
        if column.eq_ignore_ascii_case("timestamp") {
            return Behind::Refused("column timestamp");
        }
        // The first of a name counts; the others are not looked at.
        let lower = column.to_lowercase();
        if columns.iter().any(|(other, ..)| other.to_lowercase() == lower) {
            continue;
        }
        let Some((kind, value)) = cell else { return Behind::Refused("column not UTF-8") };
        let has_column = known.is_some_and(|table| table.columns.contains_key(&lower));
        match kind {
            "" if has_column => continue,
            // A column cannot be made for a field without a value.
            "" => return Behind::Refused("new column without a value"),
            _ => {}
        }
        if known.is_some_and(|table| table.columns.get(&lower).is_some_and(|other| *other != kind)) {
            return Behind::LeftOut("column of another type");
        }
        columns.push((column.to_owned(), kind, value));
    }
    Behind::Row { table: table.to_owned(), columns, time: now.time(point.time_ns.map(microseconds)) }
}

/// As the server keeps a time, up to the last one that nanoseconds reach.
fn microseconds(ns: i64) -> i64 {
    ns / 1000 * 1000
}

fn tag(value: &[u8]) -> Option<(&'static str, String)> {
    std::str::from_utf8(value).ok().map(|text| ("symbol", name(text.as_bytes())))
}

/// The kind of column and the value, which is empty where the server stores none.
fn field(datum: &Datum<'_>) -> Option<(&'static str, String)> {
    Some(match datum {
        Datum::Value(Value::Float(v)) if v.is_nan() => ("float", String::new()),
        Datum::Value(Value::Float(v)) => ("float", format!("{v:?}")),
        Datum::Value(Value::Integer(i64::MIN)) => ("integer", String::new()),
        Datum::Value(Value::Integer(v)) => ("integer", v.to_string()),
        Datum::Value(Value::Bool(v)) => ("boolean", if *v { "true".to_owned() } else { String::new() }),
        Datum::Value(Value::String(text)) => ("varchar", name(String::from_utf8_lossy(text).as_bytes())),
        Datum::Value(_) | Datum::Other { .. } => return None,
        Datum::Null => ("", String::new()),
    })
}

fn unequal(said: &[String], stored: &[String]) -> Vec<String> {
    let mut left = stored.to_vec();
    let mut found = Vec::new();
    for row in said {
        match left.iter().position(|other| other == row) {
            Some(at) => drop(left.remove(at)),
            None => found.push(format!("we say {row}")),
        }
    }
    found.extend(left.into_iter().map(|row| format!("the server stored {row}")));
    found
}

fn unit(precision: Precision) -> &'static str {
    match precision {
        Precision::Nanosecond => "n",
        Precision::Microsecond => "u",
        Precision::Millisecond => "ms",
        Precision::Second => "s",
        Precision::Minute => "m",
        Precision::Hour => "h",
    }
}
