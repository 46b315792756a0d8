//! What a server of InfluxDB has counted of the points that came to its storage, by shard.
//!
//! Measured. 1.13: `/debug/vars` has a line for each shard with `writePointsOk`, `writePointsDropped` (type conflicts) and
//! `writePointsErr`; points outside the retention policy reach no shard; `system.started` is the start of the process. 2.9: `/metrics` has
//! `storage_shard_write_count` and `storage_shard_write_sum` with the bucket's id; points and requests are swapped there (the former has
//! the points), so the larger one is taken, and conflicts are among them; `influxdb_uptime_seconds` tells the age of the process. Neither asks for
//! credentials as delivered, and both count from 0 when the server starts. Points that are made inside the server are in both.
//!
//! Promise: the answer is read line by line as it comes and is never held; what is kept of it is bounded.

use std::collections::HashMap;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use serde::Deserialize;

use super::server::{Flavor, Server};

/// Of one line of an answer; longer ones are passed over.
const LINE_BYTES_MAX: usize = 256 << 10;
/// Of a whole answer.
const ANSWER_BYTES_MAX: usize = 512 << 20;
/// Shards that are kept.
const SHARDS_MAX: usize = 100_000;

/// One look at the counters.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counters {
    /// When the server's process began, as it writes that (1.x); else empty.
    pub started: String,
    /// For how long it has run, seconds (2.x).
    pub up_s: Option<f64>,
    /// Points by shard.
    pub shards: HashMap<u64, Shard>,
}

/// One shard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shard {
    /// Database (1.x), or id of the bucket (2.x).
    pub place: String,
    /// Points that came to it, stored or not.
    pub points: u64,
}

/// Why there are no counters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Missing {
    /// The server does not answer now.
    Silent(String),
    /// It does not show them.
    Closed(String),
}

/// Where they stand.
#[must_use]
pub fn path(flavor: Flavor) -> &'static str {
    match flavor {
        Flavor::Influx1 => "/debug/vars",
        Flavor::Influx2 => "/metrics",
    }
}

/// Asks a server.
///
/// # Errors
/// It does not answer, does not show them, or shows something else.
pub async fn counters(server: &Server, flavor: Flavor) -> Result<Counters, Missing> {
    let path = path(flavor);
    let reading = async {
        let answer = server.stream(path).await.map_err(|error| Missing::Silent(error.to_string()))?;
        let status = answer.status();
        if status.is_server_error() {
            return Err(Missing::Silent(format!("{path} answers {}", status.as_u16())));
        }
        if !status.is_success() {
            return Err(Missing::Closed(format!("{path} answers {}", status.as_u16())));
        }
        let (mut body, mut reading) = (answer.into_body(), Reading::new(flavor));
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| Missing::Silent(format!("{path} broke off: {error}")))?;
            if let Ok(data) = frame.into_data() {
                reading.take(&data)?;
            }
        }
        reading.end()
    };
    let waited = tokio::time::timeout(server.answer_timeout(), reading).await;
    waited.unwrap_or_else(|_| Err(Missing::Silent(format!("{path} is not answered in time"))))
}

/// An answer, as it comes.
#[derive(Debug)]
struct Reading {
    flavor: Flavor,
    found: Counters,
    /// The beginning of a line.
    open: Vec<u8>,
    /// The line is too long to be kept.
    passed_over: bool,
    bytes: usize,
}

impl Reading {
    fn new(flavor: Flavor) -> Self {
        Self { flavor, found: Counters::default(), open: Vec::new(), passed_over: false, bytes: 0 }
    }

    fn take(&mut self, data: &Bytes) -> Result<(), Missing> {
        self.bytes = self.bytes.saturating_add(data.len());
        let mut rest: &[u8] = data;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let (line, behind) = rest.split_at(end);
            if self.open.is_empty() && !self.passed_over {
                read(self.flavor, line, &mut self.found);
            } else {
                self.keep(line);
                self.close();
            }
            rest = &behind[1..];
        }
        self.keep(rest);
        if self.bytes > ANSWER_BYTES_MAX || self.found.shards.len() > SHARDS_MAX {
            let what = format!("{} shows more than {SHARDS_MAX} shards, or more than we read", path(self.flavor));
            return Err(Missing::Closed(what));
        }
        Ok(())
    }

    fn keep(&mut self, part: &[u8]) {
        self.passed_over |= self.open.len() + part.len() > LINE_BYTES_MAX;
        if self.passed_over {
            self.open.clear();
        } else {
            self.open.extend_from_slice(part);
        }
    }

    fn close(&mut self) {
        if !self.passed_over {
            read(self.flavor, &self.open, &mut self.found);
        }
        self.open.clear();
        self.passed_over = false;
    }

    fn end(mut self) -> Result<Counters, Missing> {
        self.close();
        if self.found.started.is_empty() && self.found.up_s.is_none() {
            return Err(Missing::Closed(format!("{} does not say since when it counts", path(self.flavor))));
        }
        Ok(self.found)
    }
}

fn read(flavor: Flavor, line: &[u8], found: &mut Counters) {
    match flavor {
        Flavor::Influx1 => read_vars(line, found),
        Flavor::Influx2 => read_metric(line, found),
    }
}

#[derive(Deserialize)]
struct System {
    started: String,
}

#[derive(Deserialize)]
struct Vars {
    tags: Tags,
    values: Values,
}

#[derive(Deserialize)]
struct Tags {
    database: String,
    id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct Values {
    write_points_ok: u64,
    write_points_dropped: u64,
    write_points_err: u64,
}

/// `"shard:PATH:ID": {…},` or `"system": {…},`; a path may hold any character, so that the value begins at the last `: {"name"`.
fn read_vars(line: &[u8], found: &mut Counters) {
    let value = |begins: &[u8]| {
        let at = line.windows(begins.len()).position(|part| part == begins)? + 2;
        Some(line[at..].trim_ascii_end().strip_suffix(b",").unwrap_or(line[at..].trim_ascii_end()))
    };
    if line.starts_with(b"\"shard:") {
        let Some(vars) = value(b": {\"name\":").and_then(|text| serde_json::from_slice::<Vars>(text).ok()) else {
            return;
        };
        let Ok(id) = vars.tags.id.parse() else { return };
        let Values { write_points_ok, write_points_dropped, write_points_err } = vars.values;
        let points = write_points_ok.saturating_add(write_points_dropped).saturating_add(write_points_err);
        found.shards.insert(id, Shard { place: vars.tags.database, points });
    } else if line.starts_with(b"\"system\": ")
        && let Some(system) = value(b": {").and_then(|text| serde_json::from_slice::<System>(text).ok())
    {
        found.started = system.started;
    }
}

/// `storage_shard_write_count{bucket="ID",…,id="3",…} 12`
fn read_metric(line: &[u8], found: &mut Counters) {
    let Ok(line) = std::str::from_utf8(line) else { return };
    if line.starts_with("influxdb_uptime_seconds{") {
        found.up_s = line.rsplit_once("} ").and_then(|(_, up)| up.trim().parse().ok());
        return;
    }
    let names = ["storage_shard_write_count{", "storage_shard_write_sum{"];
    let Some(rest) = names.iter().find_map(|name| line.strip_prefix(name)) else { return };
    let Some((labels, value)) = rest.rsplit_once("} ") else { return };
    let label = |name: &str| {
        let at = if labels.starts_with(name) { 0 } else { labels.find(&format!(",{name}"))? + 1 };
        labels.get(at + name.len()..)?.split('"').next()
    };
    let (Some(bucket), Some(Ok(id))) = (label("bucket=\""), label("id=\"").map(str::parse)) else { return };
    let Ok(value) = value.trim().parse::<f64>() else { return };
    let shard = found.shards.entry(id).or_insert_with(|| Shard { place: bucket.to_owned(), points: 0 });
    shard.points = shard.points.max(value as u64);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same text in pieces of every size.
    fn read_all(flavor: Flavor, text: &str) -> Result<Counters, Missing> {
        let whole = read_in(flavor, text, text.len());
        for size in [1, 2, 7, 100] {
            assert_eq!(read_in(flavor, text, size), whole, "in pieces of {size}");
        }
        whole
    }

    fn read_in(flavor: Flavor, text: &str, size: usize) -> Result<Counters, Missing> {
        let mut reading = Reading::new(flavor);
        for piece in text.as_bytes().chunks(size.max(1)) {
            reading.take(&Bytes::copy_from_slice(piece))?;
        }
        reading.end()
    }

    #[test]
    fn the_shards_of_1_13_are_read_off_its_vars() {
        let text = r#"{
"system": {"currentTime":"2026-11-30T11:08:38.5Z","started":"2026-11-30T11:08:32.4Z","uptime":6},
"runtime": {"name":"runtime","tags":{},"values":{"Alloc":14077408}},
"shard:/x: {\"name\"/d/autogen/4:4": {"name":"shard","tags":{"database":"d","engine":"tsm1","id":"4","path":"/x","retentionPolicy":"autogen"},"values":{"diskBytes":47,"writePointsDropped":1,"writePointsErr":3,"writePointsOk":20,"writeReq":1}},
"shard:/x/e/autogen/5:5": {"name":"shard","tags":{"database":"e","id":"5"},"values":{"writePointsOk":7}},
"write": {"name":"write","tags":null,"values":{"pointReq":807}}
}
"#;
        let found = read_all(Flavor::Influx1, text).unwrap();
        assert_eq!(found.started, "2026-11-30T11:08:32.4Z");
        let shard = |place: &str, points| Shard { place: place.into(), points };
        assert_eq!(found.shards, HashMap::from([(4, shard("d", 24)), (5, shard("e", 7))]));
    }

    #[test]
    fn the_shards_of_2_9_are_read_off_its_metrics_with_points_and_requests_swapped() {
        let text = "# HELP storage_shard_write_count Count of the number of write requests\n\
            influxdb_uptime_seconds{id=\"11b70872555e6000\"} 2308.203244014\n\
            storage_shard_write_count{bucket=\"52219f011fe4e9a9\",engine=\"tsm1\",id=\"4\",path=\"/x\",walPath=\"/y\"} 1.2e+06\n\
            storage_shard_write_err_count{bucket=\"52219f011fe4e9a9\",engine=\"tsm1\",id=\"4\",path=\"/x\",walPath=\"/y\"} 9e+09\n\
            storage_shard_write_sum{bucket=\"52219f011fe4e9a9\",engine=\"tsm1\",id=\"4\",path=\"/x\",walPath=\"/y\"} 2\n";
        let found = read_all(Flavor::Influx2, text).unwrap();
        assert_eq!((found.up_s, found.started.as_str()), (Some(2_308.203_244_014), ""));
        let shard = Shard { place: "52219f011fe4e9a9".into(), points: 1_200_000 };
        assert_eq!(found.shards, HashMap::from([(4, shard)]));
    }

    #[test]
    fn what_is_something_else_is_no_counters_and_long_lines_are_passed_over() {
        assert!(matches!(read_all(Flavor::Influx1, "<html>\n</html>"), Err(Missing::Closed(_))));
        assert!(matches!(read_all(Flavor::Influx2, ""), Err(Missing::Closed(_))));
        let long = format!("{}\ninfluxdb_uptime_seconds{{id=\"x\"}} 5\n", "x".repeat(LINE_BYTES_MAX + 1));
        let mut reading = Reading::new(Flavor::Influx2);
        for piece in long.as_bytes().chunks(9000) {
            reading.take(&Bytes::copy_from_slice(piece)).unwrap();
            assert!(reading.open.len() <= LINE_BYTES_MAX);
        }
        assert_eq!(reading.end().unwrap().up_s, Some(5.0));
    }
}
