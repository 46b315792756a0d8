//! Reading InfluxDB 2.x and Cloud by Flux, where no database and policy of InfluxQL stand for a bucket: `/api/v2/query` in annotated CSV.
//!
//! Promise: as of all reading. The encoder of the server drops each carriage return of a text, so texts are asked for once more in a form
//! that has none; the other types come as they are. Windows lie inside one shard group: of a series whose type changes Flux shows what is
//! before the change, and no word of the rest. What cannot be reached: a point at the last nanosecond that can be stored, and a carriage
//! return within a tag or a name of a field.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use super::FieldKeys;
use super::annotated::{Record, Records, Tables};
use super::client::Answer;
use super::influxql::{Reader, lossy};
use super::windows::{self, Window};
use crate::base::{Error, Kind, Result, Retry, Side};
use crate::cell::{Cell, Series, Value};

/// Cells that are handed out at once.
const CELLS: usize = 2000;
/// Shard groups that are looked for in one measurement.
const GROUPS_MAX: usize = 1_000_000;

/// A bucket by the ids that the API gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// Of its organisation.
    pub org_id: String,
    /// Its own.
    pub id: String,
}

impl Bucket {
    /// How it is named where others are named by database and policy: no database has an empty name.
    #[must_use]
    pub fn place(&self) -> (String, String) {
        (String::new(), format!("{}/{}", self.org_id, self.id))
    }

    /// Read from such a name; `None`: that of a database.
    #[must_use]
    pub fn named(db: &str, rp: &str) -> Option<Self> {
        let (org_id, id) = rp.split_once('/').filter(|_| db.is_empty())?;
        Some(Self { org_id: org_id.to_owned(), id: id.to_owned() })
    }

    fn range(&self, within: Window) -> String {
        format!("from(bucketID: {}) |> {}", quoted(&self.id), within.range())
    }

    fn range_of(&self, measurement: &[u8], within: Window) -> String {
        format!("{} |> filter(fn: (r) => {})", self.range(within), is_named("_measurement", measurement))
    }
}

/// Whether a column is this. A text of Flux holds no name that is not UTF-8: whoever reads looks at the names that come back.
fn is_named(column: &str, name: &[u8]) -> String {
    match std::str::from_utf8(name) {
        Ok(name) => format!("r.{column} == {}", quoted(name)),
        Err(_) => format!("r.{column} =~ {}", pattern(name)),
    }
}

/// A regular expression that the name matches, and perhaps others. Each stray byte is one character to it.
fn pattern(name: &[u8]) -> String {
    let mut out = String::from("/(?s)^");
    for chunk in name.utf8_chunks() {
        out.extend(chunk.valid().chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '.' }));
        out.extend(chunk.invalid().iter().map(|_| '.'));
    }
    // As in InfluxQL, the empty group keeps the server from comparing texts.
    out.push_str("()$/");
    out
}

/// A text of Flux: `${` would begin an expression in it.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' | '$' => out.extend(['\\', c]),
            c if c.is_control() && c.is_ascii() => out.push_str(&format!("\\x{:02x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

impl Reader {
    pub(super) async fn flux_measurements(&self, bucket: &Bucket) -> Result<Vec<Vec<u8>>> {
        let query = format!("{} |> {}", bucket.range(Window::ALL), distinct("_measurement"));
        Ok(self.flux_texts(bucket, &query).await?.into_iter().collect())
    }

    pub(super) async fn flux_fields(&self, bucket: &Bucket, measurement: &[u8]) -> Result<FieldKeys> {
        let query = format!("{} |> {}", bucket.range_of(measurement, Window::ALL), distinct("_field"));
        let fields = self.flux_texts(bucket, &query).await?;
        Ok(fields.into_iter().map(|field| (field, Vec::new())).collect())
    }

    pub(super) async fn flux_count(&self, bucket: &Bucket, measurement: &[u8], window: Window) -> Result<u64> {
        // Before 1970 the quick way counts for ever in some windows (2.9): there each row is counted.
        let (old, new) = (Window { end_ns: 0, ..Window::ALL }, Window { start_ns: 0, ..Window::ALL });
        let parts =
            [(old, "map(fn: (r) => ({_value: 1})) |> group() |> count()"), (new, "count() |> group() |> sum()")];
        let mut cells = 0;
        for (part, count) in parts {
            let Some(part) = part.intersection(window) else { continue };
            let query = format!("{} |> {count} |> {}", bucket.range_of(measurement, part), shaped("_value"));
            let counts = self.flux_numbers(bucket, &query).await?;
            cells += counts.into_iter().map(i64::unsigned_abs).sum::<u64>();
        }
        Ok(cells)
    }

    /// The shard groups that may hold points. Of a measurement about which the server cannot be asked, because a tag is called as a column of
    /// Flux, all of it is one, which [`FluxStream`] refuses: the others go on, and this one is told.
    pub(super) async fn flux_groups(&self, bucket: &Bucket, measurement: &[u8], within: Window) -> Result<Vec<Window>> {
        match self.flux_groups_known(bucket, measurement, within).await {
            Err(error) if error.kind() == Kind::Answer && is_for_good(&error) => {
                let measurement = lossy(measurement);
                tracing::warn!(event = "read.groups", measurement, "its shard groups cannot be found out: {error}");
                Ok(vec![within])
            }
            other => other,
        }
    }

    /// Counts by group say where points are, but for those behind a change of type; what lies
    /// between counted groups is asked about until it is known to be empty.
    async fn flux_groups_known(&self, bucket: &Bucket, measurement: &[u8], within: Window) -> Result<Vec<Window>> {
        let group_ns = self.group_ns_of(&bucket.id).await?;
        let (mut found, mut open) = (BTreeSet::new(), vec![within]);
        while let Some(window) = open.pop() {
            let Some(first) = self.end_of(bucket, measurement, window, ("first", "min")).await? else { continue };
            let last = self.end_of(bucket, measurement, window, ("last", "max")).await?.unwrap_or(first).max(first);
            let (begin, end) = (windows::shard_group_at(first, group_ns), windows::shard_group_at(last, group_ns));
            let mut here = BTreeSet::from([begin, end]);
            // Not in these two: at the ends of time the server counts for ever.
            let between = Window { start_ns: begin.end_ns, end_ns: end.start_ns };
            if between.start_ns < between.end_ns {
                here.extend(self.counted(bucket, measurement, between, group_ns).await?);
            }
            let mut from = begin.end_ns;
            for group in here.iter().skip(1) {
                open.extend(Window { start_ns: from, end_ns: group.start_ns }.intersection(window));
                from = group.end_ns;
            }
            open.extend(Window { start_ns: from, end_ns: window.end_ns }.intersection(window));
            found.extend(here);
            if found.len() > GROUPS_MAX {
                let what = format!("measurement \"{}\" has more than {GROUPS_MAX} shard groups", lossy(measurement));
                return Err(Error::new(Kind::Limit, self.side(), what).hint("copy less at once: --since and --until"));
            }
        }
        let groups: Vec<Window> = found.into_iter().collect();
        Ok(windows::cut(&groups, within))
    }

    /// The first or last time in a window.
    async fn end_of(
        &self,
        bucket: &Bucket,
        measurement: &[u8],
        window: Window,
        (of_series, of_all): (&str, &str),
    ) -> Result<Option<i64>> {
        let rows = bucket.range_of(measurement, window);
        let query = format!(
            "{rows} |> {of_series}() |> keep(columns: [\"_time\"]) |> map(fn: (r) => ({{_value: int(v: r._time)}})) |> group() |> {of_all}() |> {}",
            shaped("_value")
        );
        Ok(self.flux_numbers(bucket, &query).await?.into_iter().next())
    }

    /// Groups in which something is counted.
    async fn counted(
        &self,
        bucket: &Bucket,
        measurement: &[u8],
        window: Window,
        group_ns: i64,
    ) -> Result<BTreeSet<Window>> {
        let rows = bucket.range_of(measurement, window);
        let offset = windows::grid_offset_ns(group_ns);
        let query = format!(
            "{rows} |> window(every: {group_ns}ns, offset: {offset}ns) |> count() |> group() |> keep(columns: [\"_start\"]) \
             |> map(fn: (r) => ({{_value: int(v: r._start)}})) |> distinct() |> {}",
            shaped("_value")
        );
        let times = self.flux_numbers(bucket, &query).await?;
        Ok(times.into_iter().map(|time| windows::shard_group_at(time, group_ns)).collect())
    }

    async fn flux_texts(&self, bucket: &Bucket, query: &str) -> Result<BTreeSet<Vec<u8>>> {
        let (mut rows, mut all, mut bytes) = (self.flux_rows(bucket, query).await?, BTreeSet::new(), 0);
        while let Some((_, _, value, _)) = rows.next().await? {
            if let Value::String(text) = value {
                bytes += text.len();
                all.insert(text);
            }
            if bytes > self.limits.object_bytes_max {
                let what = format!("a list is longer than {} bytes", self.limits.object_bytes_max);
                return Err(Error::new(Kind::Limit, self.side(), what));
            }
        }
        Ok(all)
    }

    async fn flux_numbers(&self, bucket: &Bucket, query: &str) -> Result<Vec<i64>> {
        let (mut rows, mut all) = (self.flux_rows(bucket, query).await?, Vec::new());
        while let Some((_, _, value, _)) = rows.next().await? {
            if let Value::Integer(number) = value {
                all.push(number);
            }
            if all.len() > GROUPS_MAX {
                return Err(Error::new(
                    Kind::Limit,
                    self.side(),
                    format!("a list is longer than {GROUPS_MAX} numbers"),
                ));
            }
        }
        Ok(all)
    }

    async fn flux_rows(&self, bucket: &Bucket, query: &str) -> Result<Rows> {
        let answer = self.client.flux(&bucket.org_id, query).await?;
        let records = Records::new(self.limits.object_bytes_max, self.side());
        Ok(Rows { answer, records, tables: Tables::default(), side: self.side() })
    }
}

/// The values of a column, each once. Asked in this form the server looks them up in its index.
fn distinct(column: &str) -> String {
    format!("keep(columns: [\"{column}\"]) |> group() |> distinct(column: \"{column}\") |> {}", shaped("_value"))
}

/// One value a row, in the form in which rows of points come.
fn shaped(column: &str) -> String {
    format!(
        "map(fn: (r) => ({{_measurement: \"m\", _field: \"f\", _time: time(v: 0), _value: r.{column}}})) |> group()"
    )
}

/// A row: series, field, value, time.
type Row = (Series, Vec<u8>, Value, i64);

/// An answer row by row.
#[derive(Debug)]
struct Rows {
    answer: Answer,
    records: Records,
    tables: Tables,
    side: Side,
}

impl Rows {
    /// The next row; `None` at a proper end.
    ///
    /// # Errors
    /// An answer that is cut off, that tells an error, or that is not what was asked for.
    async fn next(&mut self) -> Result<Option<Row>> {
        loop {
            while let Some(record) = self.records.take()? {
                match self.tables.record(record, true) {
                    Record::Nothing => {}
                    Record::Row(series, field, value, time_ns) => return Ok(Some((series, field, value, time_ns))),
                    Record::Odd((_, reason, _)) => {
                        let what = format!("a row of the answer cannot be read: {reason}");
                        return Err(Error::new(Kind::Input, self.side, what));
                    }
                    Record::Broken(why) => return Err(broken(why, self.side)),
                }
            }
            match self.answer.next().await? {
                Some(bytes) => self.records.push(&bytes),
                None if self.records.is_inside() || !self.tables.is_closed() => {
                    let what = "the answer ended before it was complete";
                    return Err(Error::new(Kind::Answer, self.side, what).retryable());
                }
                None => return Ok(None),
            }
        }
    }
}

/// Whether the same question fails again. A tag that is called as a column makes the server panic.
fn is_for_good(error: &Error) -> bool {
    error.retry() == Retry::No || error.to_string().contains("panic")
}

/// What a stream tells that breaks off.
fn broken(why: String, side: Side) -> Error {
    let error = Error::new(Kind::Answer, side, why);
    let text = error.to_string();
    let is_much = ["timeout", "deadline", "canceled", "memory", "exhausted"].iter().any(|word| text.contains(word));
    if is_much { error.retryable().hint("ask for a smaller window") } else { error }
}

/// What is asked for, one after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    /// Everything; of texts only which fields have some is kept.
    All,
    /// Texts of these fields, without carriage returns and line feeds. In a shard group a field has one type.
    Texts(Vec<Vec<u8>>),
}

/// Fields whose texts one query asks for.
const FIELDS: usize = 100;

/// The cells of one measurement and window.
#[derive(Debug)]
pub(super) struct FluxStream {
    reader: Reader,
    bucket: Bucket,
    measurement: Vec<u8>,
    window: Window,
    parts: VecDeque<Part>,
    current: Option<(Part, Rows)>,
    /// Rows of one series come one after the other.
    last: Option<(Arc<Series>, Arc<[u8]>)>,
    /// Fields that have texts.
    texts: BTreeSet<Vec<u8>>,
}

impl FluxStream {
    pub(super) fn open(reader: Reader, bucket: Bucket, measurement: &[u8], window: Window) -> Self {
        let (measurement, parts) = (measurement.to_vec(), VecDeque::from([Part::All]));
        Self { reader, bucket, measurement, window, parts, current: None, last: None, texts: BTreeSet::new() }
    }

    pub(super) async fn next(&mut self) -> Result<Option<Vec<Cell>>> {
        let measurement = lossy(&self.measurement);
        self.piece().await.map_err(|e| e.context(format!("reading measurement \"{measurement}\"")))
    }

    /// Of a series whose type changes Flux shows nothing behind the change.
    async fn is_in_one_group(&self) -> Result<()> {
        let group_ns = self.reader.group_ns_of(&self.bucket.id).await?;
        let (first, last) = (self.window.start_ns, self.window.end_ns.saturating_sub(1));
        if windows::shard_group_at(first, group_ns) == windows::shard_group_at(last, group_ns) {
            return Ok(());
        }
        let what = "the source fails at questions about its shard groups: a tag may be called as a column of Flux (_time, _value, \
                    _start, _stop)";
        Err(Error::new(Kind::Answer, self.reader.side(), what)
            .hint("map the bucket for InfluxQL, which tells them apart: influx v1 dbrp create"))
    }

    async fn piece(&mut self) -> Result<Option<Vec<Cell>>> {
        loop {
            let Some((part, rows)) = &mut self.current else {
                let Some(part) = self.parts.pop_front() else { return Ok(None) };
                if part == Part::All {
                    self.is_in_one_group().await?;
                }
                let query = query(&self.bucket, &self.measurement, self.window, &part);
                self.current = Some((part, self.reader.flux_rows(&self.bucket, &query).await?));
                continue;
            };
            let (mut cells, mut is_over) = (Vec::new(), false);
            while cells.len() < CELLS && !is_over {
                let Some((series, field, value, time_ns)) = rows.next().await? else {
                    is_over = true;
                    continue;
                };
                // A name that is not UTF-8 brings its doubles along.
                let is_meant = match part {
                    Part::All => true,
                    Part::Texts(fields) => fields.contains(&field),
                };
                if !is_meant || *series.measurement() != *self.measurement {
                    continue;
                }
                let value = match (&part, value) {
                    (Part::All, Value::String(_)) => {
                        if !self.texts.contains(&field) {
                            self.texts.insert(field);
                        }
                        continue;
                    }
                    (Part::All, value) => value,
                    (Part::Texts(_), value) => text(value).ok_or_else(|| {
                        let what = "a text of the answer does not have the form that was asked for";
                        Error::new(Kind::Input, self.reader.side(), what)
                    })?,
                };
                let (series, field) = match &self.last {
                    Some((known, name)) if **known == series && **name == *field => (known.clone(), name.clone()),
                    _ => self.last.insert((Arc::new(series), field.into())).clone(),
                };
                cells.push(Cell { series, field, time_ns, value });
            }
            if is_over {
                self.current = None;
                let fields: Vec<_> = std::mem::take(&mut self.texts).into_iter().collect();
                self.parts.extend(fields.chunks(FIELDS).map(|some| Part::Texts(some.to_vec())));
            }
            if !cells.is_empty() {
                return Ok(Some(cells));
            }
        }
    }
}

/// A text as it is stored; `None`: it does not come as it was asked for.
fn text(value: Value) -> Option<Value> {
    match value {
        Value::String(text) => unescaped(&text).map(Value::String),
        _ => None,
    }
}

/// The columns of the range stay: a tag that is called as one of them is met only by that.
fn query(bucket: &Bucket, measurement: &[u8], window: Window, part: &Part) -> String {
    let rows = bucket.range_of(measurement, window);
    let Part::Texts(fields) = part else { return rows };
    let fields: Vec<String> = fields.iter().map(|field| is_named("_field", field)).collect();
    let fields = fields.join(" or ");
    format!(
        r#"import "strings"
escape = (v) => strings.replaceAll(v: strings.replaceAll(v: strings.replaceAll(v: v, t: "\\", u: "\\\\"), t: "\r", u: "\\r"), t: "\n", u: "\\n")
{rows} |> filter(fn: (r) => {fields}) |> map(fn: (r) => ({{r with _value: escape(v: r._value)}}))"#
    )
}

/// Undoes what the query does; `None`: it did not.
fn unescaped(text: &[u8]) -> Option<Vec<u8>> {
    let mut plain = Vec::with_capacity(text.len());
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        plain.push(match byte {
            b'\\' => match bytes.next()? {
                b'\\' => b'\\',
                b'r' => b'\r',
                b'n' => b'\n',
                _ => return None,
            },
            b'\r' | b'\n' => return None,
            byte => *byte,
        });
    }
    Some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_quoted_so_that_nothing_in_them_is_a_program() {
        assert_eq!(quoted("a\"b\\c${d}\n"), r#""a\"b\\c\${d}\x0a""#);
        assert_eq!(quoted("\u{e4}\u{1f600}"), "\"\u{e4}\u{1f600}\"");
        assert_eq!(is_named("_field", b"\xffx/"), "r._field =~ /(?s)^.x.()$/");
    }

    #[test]
    fn a_bucket_is_no_database() {
        let bucket = Bucket { org_id: "o1".into(), id: "b1".into() };
        let (db, rp) = bucket.place();
        assert_eq!(Bucket::named(&db, &rp), Some(bucket));
        assert_eq!((Bucket::named("d", "a/b"), Bucket::named("", "")), (None, None));
    }

    #[test]
    fn carriage_returns_come_through_the_encoder() {
        assert_eq!(unescaped(br"a\r\n\\r").unwrap(), b"a\r\n\\r");
        assert_eq!((unescaped(b"a\\"), unescaped(b"\\x"), unescaped(b"a\nb")), (None, None, None));
    }
}
