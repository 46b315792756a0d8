//! `twinline tap`: a sampled look at the traffic as it passes, from the running process.
//!
//! Promise: looking slows nothing; what was left out is said. Credentials are never shown.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde_json::Value;

use super::Global;
use super::exit::{Exit, Failure};
use super::queue::place::Place;
use super::queue::stop::Stop;
use super::queue::text::printable;
use super::talk::Talk;
use crate::db::encode::escape;

/// The running twinline says something every second.
const SILENT_MAX: Duration = Duration::from_secs(5);

/// Options of `tap`.
#[derive(Clone, Debug, Args)]
pub(super) struct TapArgs {
    /// Of the twinline on this data directory, without a configuration file [default: data_dir of the configuration]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Only what names such a database: `*` stands for anything, `?` for one character
    #[arg(long, value_name = "GLOB")]
    db: Option<String>,
    /// Only what names such a retention policy
    #[arg(long, value_name = "GLOB")]
    rp: Option<String>,
    /// Only what names such a bucket
    #[arg(long, value_name = "GLOB")]
    bucket: Option<String>,
    /// Only writes with a line of such a measurement among their first 4 KiB, and only those lines
    #[arg(long, value_name = "GLOB")]
    measurement: Option<String>,
    /// Only what was answered so: 404, 4xx
    #[arg(long, value_name = "STATUS", value_parser = status)]
    status: Option<String>,
    /// Only from this address
    #[arg(long, value_name = "IP")]
    client: Option<std::net::IpAddr>,
    /// Only requests of this kind
    #[arg(long, value_name = "KIND")]
    kind: Option<Kind>,
    /// One of so many
    #[arg(long, value_name = "NUMBER", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    sample: u64,
    /// Show so many lines of each request
    #[arg(long, value_name = "NUMBER", default_value_t = 3, value_parser = clap::value_parser!(u8).range(0..=100))]
    lines: u8,
    /// End after so many requests
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// Mask these parts of lines: values of tags, names of fields, values of fields; statements are then masked whole
    #[arg(long, value_name = "PARTS", value_delimiter = ',')]
    redact: Vec<Part>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    Write,
    Query,
    Statement,
    Other,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    Tags,
    Fields,
    Values,
}

fn status(text: &str) -> Result<String, String> {
    let is_one = text.len() == 3 && text.chars().all(|c| c.is_ascii_digit() || c.eq_ignore_ascii_case(&'x'));
    is_one.then(|| text.to_owned()).ok_or_else(|| "write a status such as 404 or 4xx".to_owned())
}

fn name<T: ValueEnum>(value: T) -> String {
    value.to_possible_value().map_or(String::new(), |value| value.get_name().to_owned())
}

impl TapArgs {
    fn query(&self) -> String {
        let client = self.client.map(|client| client.to_canonical().to_string());
        let (kind, redact) =
            (self.kind.map(name), self.redact.iter().map(|part| name(*part)).collect::<Vec<_>>().join(","));
        let options = [
            ("db", &self.db),
            ("rp", &self.rp),
            ("bucket", &self.bucket),
            ("measurement", &self.measurement),
            ("status", &self.status),
            ("client", &client),
            ("kind", &kind),
        ];
        let mut query = format!("sample={}&lines={}&redact={redact}", self.sample, self.lines);
        for (name, value) in options {
            if let Some(value) = value {
                // Writing to a String does not fail.
                let _ = write!(query, "&{name}={}", escape(value));
            }
        }
        query
    }
}

pub(super) fn run(global: &Global, args: &TapArgs) -> Result<Exit, Failure> {
    let (talk, place) = (global.talk(), Place::find(global, args.data_dir.as_deref(), None)?);
    place.running()?;
    let stop = Stop::listen()?;
    let gone = |why: String| Failure::new(Exit::Unreachable, why).hint("twinline status");
    let broken = |e: std::io::Error| gone(format!("the running twinline does not answer any more: {e}"));
    let mut stream = UnixStream::connect(place.socket()).map_err(broken)?;
    stream.set_read_timeout(Some(SILENT_MAX)).map_err(broken)?;
    let request = format!("GET /api/v1/tap?{} HTTP/1.0\r\nHost: localhost\r\nConnection: close\r\n\r\n", args.query());
    stream.write_all(request.as_bytes()).map_err(broken)?;
    let mut heard = BufReader::new(stream).lines();
    let mut next = || match heard.next() {
        Some(Ok(line)) => Ok(Some(line)),
        Some(Err(e)) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
            Err(gone(format!("the running twinline says nothing for {} s", SILENT_MAX.as_secs())))
        }
        Some(Err(e)) => Err(broken(e)),
        None => Ok(None),
    };
    let head = next()?.unwrap_or_default();
    while next()?.is_some_and(|line| !line.is_empty()) {}
    if head.split(' ').nth(1) != Some("200") {
        return Err(gone(format!("{head}: {}", next()?.unwrap_or_default())));
    }
    talk.say("watching; Ctrl-C ends it");
    let mut shown = 0;
    while let Some(line) = next()? {
        if let Some(exit) = stop.asked() {
            talk.next("twinline status");
            return Ok(exit);
        }
        let entry: Value = serde_json::from_str(&line).unwrap_or_default();
        if let Some(left_out) = entry["not_shown"].as_u64() {
            if left_out > 0 {
                talk.say(&format!("{left_out} not shown"));
            }
            continue;
        }
        talk.data(&if talk.json() { format!("{entry}\n") } else { text(&entry, talk) })?;
        shown += 1;
        if args.limit.is_some_and(|limit| shown >= limit) {
            talk.next("twinline status");
            return Ok(Exit::Success);
        }
    }
    Err(gone("the running twinline has ended".to_owned()))
}

fn text(entry: &Value, talk: Talk) -> String {
    let plain = |value: &Value| value.as_str().unwrap_or_default().chars().map(printable).collect::<String>();
    let status = entry["status"].as_u64().unwrap_or(0);
    let mark = talk.mark(match status {
        0..=399 => super::talk::Mark::Good,
        400..=499 => super::talk::Mark::Warning,
        _ => super::talk::Mark::Bad,
    });
    let place: Vec<String> =
        ["db", "rp", "bucket"].iter().map(|name| plain(&entry[*name])).filter(|name| !name.is_empty()).collect();
    let number =
        |name: &str, word: &str| entry[name].as_u64().map_or(String::new(), |number| format!(", {number} {word}"));
    let client = if entry["client"].is_null() { "local".to_owned() } else { plain(&entry["client"]) };
    let at = plain(&entry["at"]);
    let mut out = String::new();
    // Writing to a String does not fail.
    let _ = writeln!(
        out,
        "{mark} {} {client} {} {} {} {} {status} in {:.1} ms{}{}",
        at.get(11..23).unwrap_or(&at),
        plain(&entry["kind"]),
        plain(&entry["method"]),
        plain(&entry["path"]),
        place.join("/"),
        entry["ms"].as_f64().unwrap_or(0.0),
        number("bytes", "bytes"),
        number("lines", "lines"),
    );
    for line in entry["text"].as_array().into_iter().flatten() {
        let _ = writeln!(out, "    {}", plain(line));
    }
    out
}
