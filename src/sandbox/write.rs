//! A write request against the store, with the answers of InfluxDB 1.13.

use crate::base::clock::rfc3339;
use crate::cell::{Series, Value};
use crate::line::{self, Dialect, Line, Precision};

use super::query::{key, span_text};
use super::store::{Fields, Point, Refused, Store};

/// The largest string field that the storage takes.
const STRING_BYTES_MAX: usize = 1 << 20;

/// What a write became.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Written {
    /// Lines with content.
    pub(super) lines: u64,
    /// Points that were stored.
    pub(super) points: u64,
    /// Status and sentence when not all went well.
    pub(super) error: Option<(u16, String)>,
}

impl Written {
    fn refused(status: u16, text: impl Into<String>) -> Self {
        Self { error: Some((status, text.into())), ..Self::default() }
    }
}

/// The precision of a `precision` parameter on `/write`; `Err` holds the server's sentence.
pub(super) fn precision(parameter: &str) -> Result<Precision, String> {
    Ok(match parameter {
        "" | "n" | "ns" => Precision::Nanosecond,
        "u" => Precision::Microsecond,
        "ms" => Precision::Millisecond,
        "s" => Precision::Second,
        "m" => Precision::Minute,
        "h" => Precision::Hour,
        other => return Err(format!("invalid precision \"{other}\" (use n, u, ms, s, m or h)")),
    })
}

/// Checks the target of a write; the server does so before it reads the body.
pub(super) fn target(store: &Store, db: &str, rp: &str) -> Result<String, Written> {
    if db.is_empty() {
        return Err(Written::refused(400, "database is required"));
    }
    let Some(database) = store.database(db) else {
        return Err(Written::refused(404, format!("database not found: \"{db}\"")));
    };
    let name = if rp.is_empty() { &database.default_policy } else { rp };
    if database.policies.contains_key(name) {
        Ok(name.to_owned())
    } else {
        Err(Written::refused(500, format!("retention policy not found: {name}")))
    }
}

/// Stores what can be stored of a body; `policy` comes from [`target`].
pub(super) fn write(
    store: &mut Store,
    (db, policy): (&str, &str),
    body: &[u8],
    unit: Precision,
    now_ns: i64,
) -> Written {
    let mut batch = Batch::new(store, db, policy, now_ns);
    let untimed_ns = unit.truncate(now_ns);
    for read in line::lines(body, Dialect::Influx1, unit) {
        batch.lines += 1;
        match read {
            Ok(line) => match batch.take(&line, untimed_ns) {
                Ok(()) => {}
                Err(full) => return Written { lines: batch.lines, points: batch.points, ..full },
            },
            Err(bad) => {
                let text = String::from_utf8_lossy(bad.quoted());
                batch.malformed.push(format!("unable to parse '{text}': {}", bad.reason));
            }
        }
    }
    Written { lines: batch.lines, points: batch.points, error: batch.error() }
}

/// A request in the making: what was stored, and what was wrong.
struct Batch<'s> {
    store: &'s mut Store,
    db: &'s str,
    policy: &'s str,
    /// Points before this are too old; the policy's span.
    oldest_ns: i64,
    duration_ns: i64,
    lines: u64,
    points: u64,
    dropped: u64,
    malformed: Vec<String>,
    /// The first fault of the storage; it hides the malformed lines.
    fault: Option<String>,
    expired: Option<Expired>,
}

/// Points outside the retention policy: how many, the oldest, the newest.
struct Expired {
    points: u64,
    oldest: (i64, Vec<u8>),
    newest: (i64, Vec<u8>),
}

impl<'s> Batch<'s> {
    fn new(store: &'s mut Store, db: &'s str, policy: &'s str, now_ns: i64) -> Self {
        let duration_ns = store.policy(db, policy).map_or(0, |found| found.spec.duration_ns);
        let oldest_ns = if duration_ns == 0 { i64::MIN } else { now_ns.saturating_sub(duration_ns) };
        let (malformed, fault, expired) = (Vec::new(), None, None);
        Self { store, db, policy, oldest_ns, duration_ns, lines: 0, points: 0, dropped: 0, malformed, fault, expired }
    }

    /// Stores one line. `Err` when there is no more room: the request ends there.
    fn take(&mut self, line: &Line<'_>, untimed_ns: i64) -> Result<(), Written> {
        let time_ns = line.timestamp_ns().unwrap_or(untimed_ns);
        let tags = line.tags().iter().map(|tag| (tag.key().into_owned(), tag.value().into_owned())).collect();
        let series = Series::new(line.measurement().into_owned(), tags);
        if time_ns < self.oldest_ns {
            self.expire(time_ns, &series);
            return Ok(());
        }
        let Some(fields) = self.fields(line, &series)? else { return Ok(()) };
        match self.store.insert(self.db, self.policy, Point { series, fields, time_ns }) {
            Ok(()) => self.points += 1,
            Err(Refused::Conflict { field, measurement, given, stored }) => {
                let (field, measurement) = (String::from_utf8_lossy(&field), String::from_utf8_lossy(&measurement));
                let input = format!("input field \"{field}\" on measurement \"{measurement}\"");
                self.drop_point(format!(
                    "field type conflict: {input} is type {given}, already exists as type {stored}"
                ));
            }
            Err(Refused::Full { values, values_max }) => {
                let text = format!("engine: cache-max-memory-size exceeded: ({values}/{values_max})");
                return Err(Written::refused(500, text));
            }
        }
        Ok(())
    }

    /// The fields as they are stored; `None` when the point is dropped, `Err` when the request fails as a whole.
    fn fields(&mut self, line: &Line<'_>, series: &Series) -> Result<Option<Fields>, Written> {
        let name = String::from_utf8_lossy(series.measurement()).into_owned();
        if series.tag(b"time").is_some() {
            self.drop_point(format!("invalid tag key: input tag \"time\" on measurement \"{name}\" is invalid"));
            return Ok(None);
        }
        let mut fields: Fields = Vec::with_capacity(line.fields().len());
        let mut has_time = false;
        for field in line.fields() {
            let value = match field.value() {
                line::Value::Float(v) => Value::Float(v),
                line::Value::Integer(v) => Value::Integer(v),
                line::Value::Unsigned(v) => Value::Unsigned(v),
                line::Value::Bool(v) => Value::Boolean(v),
                line::Value::String(v) if v.len() > STRING_BYTES_MAX => {
                    let field = String::from_utf8_lossy(field.raw_key());
                    let size = format!("{} > {STRING_BYTES_MAX}", v.len());
                    self.drop_point(format!("input field \"{field}\" on measurement \"{name}\" is too long, {size}"));
                    return Ok(None);
                }
                line::Value::String(v) => Value::String(v.into_owned()),
                line::Value::Undecodable(raw) => {
                    let raw = String::from_utf8_lossy(raw);
                    return Err(Written::refused(500, format!("engine: unable to parse bool value \"{raw}\"")));
                }
            };
            let key = field.key().into_owned();
            if key == b"time" {
                has_time = true;
            } else {
                fields.push((key, value));
            }
        }
        if has_time {
            let invalid = format!("invalid field name: input field \"time\" on measurement \"{name}\" is invalid");
            if fields.is_empty() {
                self.drop_point(invalid);
                return Ok(None);
            }
            self.fault.get_or_insert(format!("{invalid}. Field \"time\" has been stripped from point."));
        }
        Ok(Some(last_of_each(fields)))
    }

    fn drop_point(&mut self, reason: String) {
        self.dropped += 1;
        self.fault.get_or_insert(reason);
    }

    fn expire(&mut self, time_ns: i64, series: &Series) {
        self.dropped += 1;
        let point = (time_ns, key(series));
        match &mut self.expired {
            None => self.expired = Some(Expired { points: 1, oldest: point.clone(), newest: point }),
            Some(expired) => {
                expired.points += 1;
                if point.0 < expired.oldest.0 {
                    expired.oldest = point;
                } else if point.0 > expired.newest.0 {
                    expired.newest = point;
                }
            }
        }
    }

    fn error(&self) -> Option<(u16, String)> {
        let Self { db, policy, dropped, .. } = self;
        let place = format!("dropped={dropped} for database: {db}");
        let reason = self.fault.clone().or_else(|| self.expired.as_ref().map(|e| self.expired_text(e)));
        if let Some(reason) = reason {
            return Some((400, format!("partial write: {reason} {place} for retention policy: {policy}")));
        }
        match (self.malformed.is_empty(), self.malformed.len() as u64 == self.lines) {
            (true, _) => None,
            (false, true) => Some((400, self.malformed.join("\n"))),
            (false, false) => Some((400, format!("partial write: {} {place}", self.malformed.join("\n")))),
        }
    }

    fn expired_text(&self, expired: &Expired) -> String {
        let bound = rfc3339(self.oldest_ns);
        let point = |name: &str, (time_ns, key): &(i64, Vec<u8>)| {
            let (key, time) = (String::from_utf8_lossy(key), rfc3339(*time_ns));
            format!(
                "{name} point {key} at {time} dropped because it violates a Retention Policy Lower Bound at {bound}"
            )
        };
        let Expired { points, oldest, newest } = expired;
        let span = span_text(self.duration_ns);
        let (oldest, newest) = (point("oldest", oldest), point("newest", newest));
        format!("dropped {points} points outside retention policy of duration {span} - {oldest}, {newest}")
    }
}

/// Of two fields of one name and type the last is kept; of two types both stay, for the store to refuse.
fn last_of_each(fields: Fields) -> Fields {
    let mut kept: Fields = Vec::with_capacity(fields.len());
    for (key, value) in fields {
        match kept.iter_mut().find(|(name, old)| *name == key && old.field_type() == value.field_type()) {
            Some(slot) => slot.1 = value,
            None => kept.push((key, value)),
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::store::PolicySpec;

    const NOW_NS: i64 = 1_600_000_000_123_456_789;

    fn store() -> Store {
        let mut store = Store::new(100);
        store.create_database("d", None).unwrap();
        store
    }

    fn put(store: &mut Store, body: &str) -> Written {
        let policy = target(store, "d", "").unwrap();
        write(store, ("d", &policy), body.as_bytes(), Precision::Nanosecond, NOW_NS)
    }

    fn text(written: &Written) -> (u16, &str) {
        written.error.as_ref().map_or((204, ""), |(status, text)| (*status, text))
    }

    #[test]
    fn good_lines_are_stored_and_bad_ones_named() {
        let mut store = store();
        let written = put(&mut store, "m v=1 1\nbad\nm v=2 2\nbad2 v=");
        let expected = "partial write: unable to parse 'bad': missing fields\n\
                        unable to parse 'bad2 v=': missing field value dropped=0 for database: d";
        assert_eq!(text(&written), (400, expected));
        assert_eq!((written.lines, written.points, store.values()), (4, 2, 2));
        let written = put(&mut store, "bad");
        assert_eq!(text(&written), (400, "unable to parse 'bad': missing fields"));
        assert_eq!(put(&mut store, "\n# nothing\n"), Written::default());
    }

    #[test]
    fn a_type_conflict_drops_the_point_and_hides_malformed_lines() {
        let mut store = store();
        put(&mut store, "m v=1 1");
        let written = put(&mut store, "m v=\"x\",w=1 2\nm v=1i 3\nbad\nm w=1 4");
        let expected = "partial write: field type conflict: input field \"v\" on measurement \"m\" is type string, \
                        already exists as type float dropped=2 for database: d for retention policy: autogen";
        assert_eq!(text(&written), (400, expected));
        assert_eq!((written.points, store.values()), (1, 2));
    }

    #[test]
    fn a_field_called_time_is_stripped() {
        let mut store = store();
        let written = put(&mut store, "m time=1,v=2 1");
        let expected = "partial write: invalid field name: input field \"time\" on measurement \"m\" is invalid. Field \
                        \"time\" has been stripped from point. dropped=0 for database: d for retention policy: autogen";
        assert_eq!(text(&written), (400, expected));
        assert_eq!(store.values(), 1);
        assert!(text(&put(&mut store, "m time=1 1")).1.contains("is invalid dropped=1"));
        assert!(text(&put(&mut store, "m,time=x v=1 1")).1.contains("invalid tag key"));
        assert_eq!(store.values(), 1);
    }

    #[test]
    fn points_before_the_policy_are_dropped() {
        let mut store = Store::new(100);
        store.create_database("d", Some(("r", PolicySpec::new(86_400_000_000_000, None, 1)))).unwrap();
        let written = put(&mut store, &format!("m,a=b v=1 1\nm v=1 {NOW_NS}\nm v=1 0"));
        let (status, text) = text(&written);
        let expected = "partial write: dropped 2 points outside retention policy of duration 24h0m0s - oldest point m \
                        at 1970-01-01T00:00:00Z dropped because it violates a Retention Policy Lower Bound at \
                        2020-09-12T12:26:40.123456789Z, newest point m,a=b at 1970-01-01T00:00:00.000000001Z dropped \
                        because it violates a Retention Policy Lower Bound at 2020-09-12T12:26:40.123456789Z dropped=2 \
                        for database: d for retention policy: r";
        assert_eq!((status, text), (400, expected));
        assert_eq!(store.values(), 1);
    }

    #[test]
    fn untimed_lines_get_the_servers_time_in_the_precision() {
        let mut store = store();
        write(&mut store, ("d", "autogen"), b"m v=1\nm,t=x v=1", Precision::Second, NOW_NS);
        let times: Vec<_> = store.cells("d", "").iter().map(|cell| cell.time_ns).collect();
        assert_eq!(times, [1_600_000_000_000_000_000; 2]);
        write(&mut store, ("d", "autogen"), b"n v=1 2", precision("h").unwrap(), NOW_NS);
        assert!(store.cells("d", "").iter().any(|cell| cell.time_ns == 7_200_000_000_000));
        assert_eq!(precision("us"), Err("invalid precision \"us\" (use n, u, ms, s, m or h)".to_owned()));
    }

    #[test]
    fn targets_that_do_not_exist_are_refused() {
        let store = store();
        let error = |db, rp| target(&store, db, rp).unwrap_err().error.unwrap();
        assert_eq!(error("", ""), (400, "database is required".to_owned()));
        assert_eq!(error("nope", ""), (404, "database not found: \"nope\"".to_owned()));
        assert_eq!(error("d", "nope"), (500, "retention policy not found: nope".to_owned()));
    }

    #[test]
    fn a_full_store_refuses() {
        let mut store = Store::new(1);
        store.create_database("d", None).unwrap();
        assert_eq!(text(&put(&mut store, "m v=1 1\nm v=1 2")), (500, "engine: cache-max-memory-size exceeded: (2/1)"));
        assert_eq!(store.values(), 1);
    }
}
