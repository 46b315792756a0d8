//! InfluxDB 1.13 and 2.9: what they answer to each batch, line by line, and what can be read back.

use std::collections::{BTreeMap, HashMap};

use twinline::db::read::Limits;
use twinline::line::{Dialect, Line, Malformed, Precision, Reason, Unfit, Value, lines, unfit, write_canonical};

use super::database::{Database, Kind, ORG};
use super::exceptions::{self, Seen};
use super::http::{Answer, call};
use super::shrink::{SHRUNK_MAX, shrink};
use super::stored::{Now, Request, Stored, differences, lossy, name, series};

/// Counts of a run, for its report.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) lines: usize,
    pub(crate) accepted: usize,
    pub(crate) refused: usize,
    /// Sent alone, since the storage has rules of its own about them.
    pub(crate) alone: usize,
    /// The server's process ended.
    pub(crate) ends: usize,
}

#[derive(Debug)]
pub(crate) struct Influx {
    database: Database,
    now: Now,
    databases: u32,
    pub(crate) counts: Counts,
}

/// What the storage does to a line that the parser takes.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Rule {
    /// Takes it and does not show it; or does, as written, while no canonical form would be shown.
    Hidden,
    /// Takes it and never shows some of its fields, by their names.
    Partly,
    /// Fails, or ends.
    Breaks,
    /// Refuses the point.
    Dropped(&'static str),
    /// Strips the field `time`, and says so.
    Stripped,
    /// As written it may be taken and not shown, in canonical form it is shown.
    CanonicalOnly,
    /// Holds a field that a query does not show and one that a query cannot name: the reader says that it cannot read this.
    Unnamed,
    /// Has a field without a name: a query makes up one, which the other fields may have too.
    Nameless,
    /// Another line holds this field with another type.
    Conflict,
}

/// Names of the rules; `exceptions.jsonl` has a row for each, of both servers.
const RULES: &[&str] = &[
    "hidden",
    "partly hidden",
    "breaks",
    "dropped",
    "stripped",
    "only in canonical form",
    "unnamed",
    "nameless",
    "conflict",
];

impl Rule {
    fn name(&self) -> &'static str {
        match self {
            Self::Hidden => "hidden",
            Self::Partly => "partly hidden",
            Self::Breaks => "breaks",
            Self::Dropped(_) => "dropped",
            Self::Stripped => "stripped",
            Self::CanonicalOnly => "only in canonical form",
            Self::Unnamed => "unnamed",
            Self::Nameless => "nameless",
            Self::Conflict => "conflict",
        }
    }
}

impl Influx {
    pub(crate) fn start(kind: Kind) -> Self {
        Self { database: Database::start(kind), now: Now::new(), databases: 0, counts: Counts::default() }
    }

    fn dialect(&self) -> Dialect {
        self.database.dialect()
    }

    /// Writes the batches into one database and compares; each difference with the least that shows it.
    pub(crate) fn round(&mut self, requests: &[Request]) -> Vec<String> {
        let found = self.compare(requests);
        let counts = self.counts;
        if found.is_empty() {
            return found;
        }
        let mut shown = Vec::new();
        for request in requests {
            if shown.len() >= SHRUNK_MAX || self.compare(std::slice::from_ref(request)).is_empty() {
                continue;
            }
            let least = shrink(request, |smaller| !self.compare(std::slice::from_ref(smaller)).is_empty());
            let found = self.compare(std::slice::from_ref(&least));
            shown.push(format!(
                "{:?} \"{}\"\n    {}",
                least.precision,
                least.body.escape_ascii(),
                found.join("\n    ")
            ));
        }
        self.counts = Counts { ends: self.counts.ends, ..counts };
        if shown.is_empty() { found } else { shown }
    }

    /// What the server does with the line of each row of `exceptions.jsonl`.
    pub(crate) fn exceptions(&mut self, name: &str) -> Vec<String> {
        let (exceptions, mut found) = exceptions::of(name, RULES);
        let counts = self.counts;
        for exception in &exceptions {
            let request = exception.request();
            found.extend(self.compare(std::slice::from_ref(&request)));
            found.extend(self.see(&request).map_or_else(Some, |seen| exception.difference(&seen)));
        }
        self.counts = counts;
        found
    }

    fn see(&mut self, request: &Request) -> Result<Seen, String> {
        let (dialect, mut kinds) = (self.dialect(), HashMap::new());
        let read: Vec<_> = lines(&request.body, dialect, request.precision).flatten().collect();
        let rule = read.iter().filter_map(|line| rule(line, dialect, &mut kinds)).last();
        let database = self.create();
        let answer = self.write(&database, request)?;
        let shown = match self.read(&database) {
            Ok(stored) => stored.iter().map(|(key, value)| format!("{key}: {value}")).collect(),
            Err(what) => vec![what],
        };
        self.remove(&database);
        Ok(Seen { rule: rule.map(|rule| rule.name()), status: answer.status, answer: answer.text(), shown })
    }

    fn compare(&mut self, requests: &[Request]) -> Vec<String> {
        let mut found = Vec::new();
        let together = self.create();
        let (mut said, mut kinds, mut alone) = (Stored::new(), HashMap::new(), Vec::new());
        for request in requests {
            let (body, special) = without_special(request, self.dialect(), &mut kinds);
            found.extend(self.send_batch(&together, &Request { body, ..request.clone() }, &mut said).err());
            alone.extend(special.into_iter().map(|body| Request { body, ..request.clone() }));
        }
        found.extend(self.read_and_remove(&together, &said, &Stored::new()));
        let apart = self.create();
        let (mut said, mut perhaps, mut kinds) = (Stored::new(), Stored::new(), HashMap::new());
        // What is not read comes last: it may end the server, and the next one has nothing of what was written before.
        for unread in [false, true] {
            for request in alone.iter().filter(|request| self.is_unread(request) == unread).cloned().collect::<Vec<_>>()
            {
                found.extend(self.send_alone(&apart, &request, &mut kinds, (&mut said, &mut perhaps)).err());
            }
            if !unread {
                found.extend(self.read_and_remove(&apart, &said, &perhaps));
                self.database.create(&apart);
            }
        }
        self.remove(&apart);
        found
    }

    fn is_unread(&self, request: &Request) -> bool {
        let first = lines(&request.body, self.dialect(), request.precision).next();
        let rule = first.and_then(|line| rule(&line.ok()?, self.dialect(), &mut HashMap::new()));
        matches!(rule, Some(Rule::Breaks | Rule::Nameless | Rule::Unnamed))
    }

    fn read_and_remove(&mut self, database: &str, said: &Stored, perhaps: &Stored) -> Vec<String> {
        let found = match self.read(database) {
            Ok(mut stored) => {
                stored.retain(|key, value| said.contains_key(key) || perhaps.get(key) != Some(value));
                differences(said, &stored)
            }
            Err(what) => vec![what],
        };
        self.remove(database);
        found
    }

    /// A batch of which each line is refused by the parser or stored.
    fn send_batch(&mut self, database: &str, request: &Request, said: &mut Stored) -> Result<(), String> {
        let dialect = self.dialect();
        let outcomes: Vec<_> = lines(&request.body, dialect, request.precision).collect();
        let refused: Vec<_> = outcomes.iter().filter_map(|line| line.as_ref().err()).collect();
        let taken: Vec<_> = outcomes.iter().flatten().collect();
        self.counts.lines += outcomes.len();
        self.counts.refused += refused.len();
        self.counts.accepted += taken.len();
        let answer = self.write(database, request)?;
        check_answer(dialect, &answer, &refused, taken.len())?;
        if dialect == Dialect::Influx2 && !refused.is_empty() && !taken.is_empty() {
            self.send_taken(database, request, &taken)?;
        }
        for line in taken {
            expect(line, self.now, |_| true, said);
        }
        Ok(())
    }

    /// 2.x has stored nothing: once more without what it refuses, as written or in the form in which Twinline delivers.
    fn send_taken(&mut self, database: &str, request: &Request, taken: &[&Line<'_>]) -> Result<(), String> {
        let mut body = Vec::new();
        let canonical = taken.len().is_multiple_of(2) && taken.iter().all(|line| line.timestamp_ns().is_some());
        for line in taken {
            match line.timestamp_ns() {
                Some(ns) if canonical => write_canonical(line, ns, &mut body),
                _ => body.extend([line.raw(), b"\n"].concat()),
            }
        }
        let precision = if canonical { Precision::Nanosecond } else { request.precision };
        let answer = self.write(database, &Request { precision, body: body.clone() })?;
        let form = if canonical { "canonical form" } else { "taken lines alone" };
        if answer.status == 204 {
            Ok(())
        } else {
            Err(format!("{form} \"{}\": {} {}", body.escape_ascii(), answer.status, answer.text()))
        }
    }

    fn send_alone(
        &mut self,
        database: &str,
        request: &Request,
        kinds: &mut Kinds,
        (said, perhaps): (&mut Stored, &mut Stored),
    ) -> Result<(), String> {
        let dialect = self.dialect();
        let outcomes: Vec<_> = lines(&request.body, dialect, request.precision).collect();
        // Without its neighbours it may be another line.
        let [Ok(line)] = &outcomes[..] else { return Ok(()) };
        let rule = rule(line, dialect, kinds);
        if rule == Some(Rule::Conflict) {
            return Ok(());
        }
        self.counts.alone += 1;
        self.counts.lines += 1;
        let answer = self.write(database, request);
        let wrong = |what: &str| Err(format!("{what}: {rule:?}, \"{}\"", request.body.escape_ascii()));
        let answer = match answer {
            Err(_) if rule == Some(Rule::Breaks) => return Ok(()),
            answer => answer?,
        };
        let text = answer.text();
        let refused = if dialect == Dialect::Influx1 { 400 } else { 422 };
        // What the storage refuses before it comes to that.
        let before =
            ["field type conflict", "invalid field name", "invalid tag key"].iter().any(|words| text.contains(words));
        let fits = match &rule {
            None | Some(Rule::Partly | Rule::CanonicalOnly) => answer.status == 204,
            Some(Rule::Hidden | Rule::Nameless | Rule::Unnamed) => {
                answer.status == 204 || (answer.status == refused && before)
            }
            Some(Rule::Breaks) => {
                (answer.status == 500 && text.contains("engine: ")) || (answer.status == refused && before)
            }
            Some(Rule::Dropped(words)) => {
                answer.status == refused && text.contains(words) && text.contains("dropped=1")
            }
            Some(Rule::Stripped) => answer.status == refused && text.contains("has been stripped from point"),
            Some(Rule::Conflict) => true,
        };
        if !fits {
            return wrong(&format!("{} {text}", answer.status));
        }
        match rule {
            None => expect(line, self.now, |_| true, said),
            Some(Rule::Hidden) => expect(line, self.now, |_| true, perhaps),
            Some(Rule::Stripped) => {
                let into = if only_canonical(line) { &mut *perhaps } else { &mut *said };
                expect(line, self.now, |key| key != b"time" && !is_hidden(key), into);
            }
            Some(Rule::Partly) => expect(line, self.now, |key| !is_hidden(key), said),
            Some(Rule::CanonicalOnly) if line.timestamp_ns().is_some() => {
                let mut body = Vec::new();
                write_canonical(line, line.timestamp_ns().unwrap_or_default(), &mut body);
                let answer = self.write(database, &Request { precision: Precision::Nanosecond, body })?;
                if answer.status != 204 {
                    return wrong(&format!("canonical form: {} {}", answer.status, answer.text()));
                }
                expect(line, self.now, |key| !is_hidden(key), said);
            }
            Some(Rule::CanonicalOnly) => expect(line, self.now, |key| !is_hidden(key), perhaps),
            _ => {}
        }
        Ok(())
    }

    fn create(&mut self) -> String {
        self.databases += 1;
        let name = format!("d{}", self.databases);
        self.database.create(&name);
        name
    }

    /// So that a long run does not fill the disk.
    fn remove(&mut self, database: &str) {
        if self.dialect() == Dialect::Influx1 {
            self.database.query(&format!("DROP DATABASE \"{database}\""));
            return;
        }
        let authorization = self.database.authorization();
        let found = call(&self.database.addr, &format!("GET /api/v2/buckets?name={database}"), &[&authorization], b"")
            .unwrap()
            .json();
        let id = found.pointer("/buckets/0/id").and_then(|id| id.as_str()).unwrap_or_default();
        let gone = call(&self.database.addr, &format!("DELETE /api/v2/buckets/{id}"), &[&authorization], b"").unwrap();
        assert_eq!(gone.status, 204, "{}", gone.text());
    }

    /// The answer, or that the server has ended, which is then replaced by a new one.
    fn write(&mut self, database: &str, request: &Request) -> Result<Answer, String> {
        let path = match self.dialect() {
            Dialect::Influx1 => format!("/write?db={database}&precision={}", unit_of_1(request.precision)),
            Dialect::Influx2 => {
                format!("/api/v2/write?org={ORG}&bucket={database}&precision={}", unit_of_2(request.precision))
            }
        };
        let authorization = self.database.authorization();
        let mut answer = call(&self.database.addr, &format!("POST {path}"), &[&authorization], &request.body);
        if answer.is_err() && call(&self.database.addr, "GET /ping", &[], b"").is_err() {
            self.counts.ends += 1;
            self.database = Database::start(self.database.kind);
            self.database.create(database);
            // The text is not for the public.
            let hash = xxhash_rust::xxh3::xxh3_64(&request.body);
            return Err(format!("the server's process ended at a request with the hash {hash:016x}"));
        }
        if answer.is_err() {
            answer = call(&self.database.addr, &format!("POST {path}"), &[&authorization], &request.body);
        }
        answer.map_err(|error| error.to_string())
    }

    fn read(&self, database: &str) -> Result<Stored, String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let cells = runtime.block_on(self.database.reader(Limits::default()).read_all(database, ""));
        let mut cells = cells.map_err(|error| format!("reading back: {error}"))?;
        cells.sort_by_key(|cell| cell.time_ns);
        let show = |cell: &twinline::cell::Cell| {
            let series = series(cell.series.measurement(), cell.series.tags());
            let value = match &cell.value {
                twinline::cell::Value::Float(v) => show_value(&Value::Float(*v)),
                twinline::cell::Value::Integer(v) => show_value(&Value::Integer(*v)),
                twinline::cell::Value::Unsigned(v) => show_value(&Value::Unsigned(*v)),
                twinline::cell::Value::Boolean(v) => show_value(&Value::Bool(*v)),
                twinline::cell::Value::String(v) => show_value(&Value::String(v.into())),
            };
            (key(&series, &cell.field, &self.now.time(Some(cell.time_ns))), value)
        };
        Ok(cells.iter().map(show).collect())
    }
}

fn key(series: &str, field: &[u8], time: &str) -> String {
    format!("{series} {} @{time}", name(field))
}

fn expect(line: &Line<'_>, now: Now, keep: impl Fn(&[u8]) -> bool, said: &mut Stored) {
    let tags: Vec<_> = line.tags().iter().map(|tag| (tag.key(), tag.value())).collect();
    let series = series(&line.measurement(), &tags);
    for field in line.fields().iter().filter(|field| keep(&field.key())) {
        said.insert(key(&series, &field.key(), &now.time(line.timestamp_ns())), show_value(&field.value()));
    }
}

fn show_value(value: &Value<'_>) -> String {
    match value {
        Value::Float(v) => format!("float {v:?} {:016x}", v.to_bits()),
        Value::Integer(v) => format!("integer {v}"),
        Value::Unsigned(v) => format!("unsigned {v}"),
        Value::Bool(v) => format!("boolean {v}"),
        Value::String(text) => format!("string {}", name(text)),
        Value::Undecodable(raw) => format!("undecodable {}", name(raw)),
    }
}

/// The type of each field of each measurement of a database.
type Kinds = HashMap<(Vec<u8>, Vec<u8>), String>;

/// Takes out the lines that are not simply stored, until none is left, and gives them apart.
fn without_special(request: &Request, dialect: Dialect, kinds: &mut Kinds) -> (Vec<u8>, Vec<Vec<u8>>) {
    let (mut body, mut alone) = (request.body.clone(), Vec::new());
    loop {
        let mut new = kinds.clone();
        let mut special = None;
        for line in lines(&body, dialect, request.precision).flatten() {
            if rule(&line, dialect, &mut new).is_some() {
                special = Some(line.span());
                break;
            }
        }
        let Some(span) = special else {
            *kinds = new;
            return (body, alone);
        };
        alone.push([&body[span.clone()], b"\n"].concat());
        body.drain(span.start..(span.end + 1).min(body.len()));
    }
}

fn rule(line: &Line<'_>, dialect: Dialect, kinds: &mut Kinds) -> Option<Rule> {
    match unfit(line, dialect) {
        Some(Unfit { code: "unstorable", .. }) => return Some(Rule::Breaks),
        Some(Unfit { in_part: false, .. }) if !line.fields().iter().any(|field| field.raw_key().is_empty()) => {
            return Some(Rule::Hidden);
        }
        Some(Unfit { in_part: false, .. }) => return Some(Rule::Nameless),
        _ => {}
    }
    let hides = line.fields().iter().any(|field| is_hidden(&field.key()));
    let unnamed = |key: &[u8]| std::str::from_utf8(key).is_err() || key.iter().any(|byte| b"\0\r".contains(byte));
    // Also when the point is dropped: its fields are known from then on.
    if hides && line.fields().iter().any(|field| unnamed(&field.key())) {
        return Some(Rule::Unnamed);
    }
    if line.tags().iter().any(|tag| *tag.key() == *b"time") {
        return Some(Rule::Dropped("time"));
    }
    let mut own: BTreeMap<Vec<u8>, String> = BTreeMap::new();
    for field in line.fields() {
        let kind = format!("{:?}", field.kind());
        if own.insert(field.key().into_owned(), kind.clone()).is_some_and(|other| other != kind) {
            return Some(Rule::Dropped("field type conflict"));
        }
    }
    let measurement = line.measurement();
    let place = |field: &Vec<u8>| (measurement.to_vec(), field.clone());
    if own.iter().any(|(field, kind)| kinds.get(&place(field)).is_some_and(|other| other != kind)) {
        return Some(Rule::Conflict);
    }
    if own.contains_key(&b"time"[..]) {
        return Some(if own.len() == 1 { Rule::Dropped("time") } else { Rule::Stripped });
    }
    if only_canonical(line) {
        return Some(Rule::CanonicalOnly);
    }
    if hides {
        return Some(Rule::Partly);
    }
    kinds.extend(own.into_iter().map(|(field, kind)| (place(&field), kind)));
    None
}

/// Names that InfluxQL keeps for itself.
fn is_hidden(field: &[u8]) -> bool {
    [&b"_fieldKey"[..], b"_name", b"_seriesKey", b"_tagKey", b"_tagValue"].contains(&field)
}

/// The series key keeps the bytes of the client; the server's reader escapes otherwise and finds nothing.
fn only_canonical(line: &Line<'_>) -> bool {
    line.raw_measurement().windows(2).any(|pair| matches!(pair, b"\\=" | b"\\\""))
        || line.tags().iter().any(|tag| tag.raw_value().starts_with(b"="))
}

/// Whether the answer names the refused lines, each with its reason, and nothing else.
fn check_answer(dialect: Dialect, answer: &Answer, refused: &[&Malformed<'_>], taken: usize) -> Result<(), String> {
    if refused.is_empty() {
        return if answer.status == 204 {
            Ok(())
        } else {
            Err(format!("we say all is well: {} {}", answer.status, answer.text()))
        };
    }
    if answer.status != 400 {
        let first = refused[0].raw.escape_ascii();
        return Err(format!(
            "we say \"{first}\" is refused ({}): {} {}",
            refused[0].reason,
            answer.status,
            answer.text()
        ));
    }
    let document = answer.json();
    let whole = document[if dialect == Dialect::Influx1 { "error" } else { "message" }].as_str().unwrap_or_default();
    let mut text = whole;
    if dialect == Dialect::Influx1 && taken > 0 {
        text = text.strip_prefix("partial write: ").ok_or_else(|| format!("no partial write: {whole}"))?;
        text = text.rsplit_once(" dropped=0").ok_or_else(|| format!("points are dropped: {whole}"))?.0;
    }
    let begin = |line: &Malformed<'_>| format!("unable to parse '{}': ", lossy(line.quoted()));
    for (at, line) in refused.iter().enumerate() {
        let wrong =
            |what: &str| format!("{what} \"{}\" ({}): {}", line.raw.escape_ascii(), line.reason, text.escape_debug());
        text = text.strip_prefix(&begin(line)).ok_or_else(|| wrong("we say this is the next refused line:"))?;
        let next = refused.get(at + 1).map(|next| format!("\n{}", begin(next)));
        let end = match &next {
            Some(next) => text.find(next).ok_or_else(|| wrong("the line behind this one is not refused:"))?,
            None => text.len(),
        };
        // Behind the reason the server may repeat a part of the line.
        let reason = match line.reason {
            // It repeats the number in the middle of its text.
            Reason::TimestampOutOfRange => {
                let number = &line.raw[line.at - line.span.start..];
                let number = number.split(|byte| *byte == b' ').next().unwrap_or_default();
                line.reason.to_string().replacen(": ", &format!(": parsing \"{}\": ", lossy(number)), 1)
            }
            reason => reason.to_string(),
        };
        if !text[..end].starts_with(&reason) || text[..end].contains("\nunable to parse '") {
            return Err(wrong("for another reason, or more lines are refused:"));
        }
        text = text[end..].strip_prefix('\n').unwrap_or(&text[end..]);
    }
    Ok(())
}

fn unit_of_1(precision: Precision) -> &'static str {
    match precision {
        Precision::Nanosecond => "ns",
        Precision::Microsecond => "u",
        Precision::Millisecond => "ms",
        Precision::Second => "s",
        Precision::Minute => "m",
        Precision::Hour => "h",
    }
}

fn unit_of_2(precision: Precision) -> &'static str {
    match precision {
        Precision::Microsecond => "us",
        other => unit_of_1(other),
    }
}
