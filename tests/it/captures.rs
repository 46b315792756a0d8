//! Byte for byte: every request of a table is sent over a raw socket three times, first to bring the source into the state
//! in which it repeats its answer, then directly, then through Twinline. Status line, headers with their names, case and
//! order, interim answers and bodies must be equal but for dates, generated request ids and headers of one connection.

use crate::database::{Database, Kind, TOKEN};
use crate::http::{Answer, Connection};
use crate::proxy::{Setup, Twinline};

/// What goes over one connection.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) name: String,
    /// Bytes to send, then whether an answer is read before the next.
    steps: Vec<Vec<u8>>,
    /// Answers to read in all; interim ones count.
    answers: usize,
    /// The body differs from one moment to the next: only its head is compared.
    moving: bool,
    /// The client closes its half behind the last step.
    half_closed: bool,
    /// The answers say whether the connection ends, and so is compared.
    closing: bool,
}

impl Case {
    /// One request as most clients send it.
    pub(crate) fn new(line: &str, headers: &[&str], body: impl AsRef<[u8]>) -> Self {
        let body = body.as_ref();
        let mut headers = headers.to_vec();
        let length = format!("Content-Length: {}", body.len());
        headers.push(&length);
        let shown = String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
        let name = format!("{line} {:?} {shown:?}", &headers[..headers.len() - 1]);
        Self::raw(&name, &format!("{line} HTTP/1.1"), &headers, body)
    }

    /// With a first line of its own, and no headers but those given, `Host` and credentials.
    pub(crate) fn raw(name: &str, first: &str, headers: &[&str], body: &[u8]) -> Self {
        let head: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
        Self::bare(name, &format!("{first}\r\nHost: x\r\n<CREDENTIALS>{head}\r\n"), body)
    }

    /// With a head of its own, to its empty line.
    pub(crate) fn bare(name: &str, head: &str, body: &[u8]) -> Self {
        let steps = vec![[head.as_bytes(), body].concat()];
        Self { name: name.to_owned(), steps, answers: 1, moving: false, half_closed: false, closing: false }
    }

    /// Sends this too, after so many answers were read in all.
    pub(crate) fn then(mut self, more: &[u8], answers: usize) -> Self {
        self.steps.push(more.to_vec());
        self.answers = answers;
        self
    }

    /// Reads so many answers.
    pub(crate) fn answers(mut self, answers: usize) -> Self {
        self.answers = answers;
        self
    }

    pub(crate) fn half_closed(mut self) -> Self {
        self.half_closed = true;
        self
    }

    /// Compares too whether an answer says that it is the last one.
    pub(crate) fn closing(mut self) -> Self {
        self.closing = true;
        self
    }

    pub(crate) fn moving(mut self) -> Self {
        self.moving = true;
        self
    }

    /// The answers, or why there are none.
    fn exchange(&self, mut connection: Connection, credentials: &str, half_close: bool) -> Vec<Result<Answer, String>> {
        let bodiless = self.steps[0].starts_with(b"HEAD ");
        let mut answers = Vec::new();
        for (at, step) in self.steps.iter().enumerate() {
            // A server may answer early and close; what it said is read all the same.
            let _ = connection.send(&with_credentials(step, credentials));
            let last = at + 1 == self.steps.len();
            if last && (half_close || self.half_closed) {
                connection.close_half().unwrap();
            }
            let wanted = if last { self.answers - answers.len() } else { 1 };
            for _ in 0..wanted {
                answers.push(connection.answer(bodiless).map_err(|e| e.kind().to_string()));
            }
        }
        answers
    }
}

/// With credentials at each mark.
fn with_credentials(step: &[u8], credentials: &str) -> Vec<u8> {
    const MARK: &[u8] = b"<CREDENTIALS>";
    let mut out = Vec::new();
    let mut rest = step;
    while let Some(at) = rest.windows(MARK.len()).position(|window| window == MARK) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(credentials.as_bytes());
        rest = &rest[at + MARK.len()..];
    }
    out.extend_from_slice(rest);
    out
}

/// Belongs to one connection (RFC 9110, section 7.6.1).
const OF_THE_CONNECTION: [&str; 3] = ["connection", "keep-alive", "transfer-encoding"];

/// An answer as it must be equal on both ways.
fn comparable(answer: &Result<Answer, String>, case: &Case) -> Vec<String> {
    let moving = case.moving;
    let answer = match answer {
        Ok(answer) => answer,
        Err(why) => return vec![format!("no answer: {why}")],
    };
    let now_inside = answer.text().contains(" Lower Bound at ");
    let mut lines = Vec::new();
    // Its place among the headers is that of whoever holds the connection.
    let mut closing = Vec::new();
    for line in &answer.head {
        // A line that 1.x quotes in a header, byte for byte: control characters are no part of a header.
        let line: String = line.trim_end().chars().map(|c| if c.is_ascii_control() { ' ' } else { c }).collect();
        let Some((name, value)) = line.split_once(':') else {
            lines.push(line);
            continue;
        };
        let mine = value.contains("mine-");
        match name {
            "Connection" if case.closing => closing.push(line),
            _ if OF_THE_CONNECTION.contains(&name.to_ascii_lowercase().as_str()) => {}
            "Date" => lines.push("Date: …".to_owned()),
            "Request-Id" | "X-Request-Id" if !mine => lines.push(format!("{name}: …")),
            "Content-Length" if moving || now_inside => lines.push("Content-Length: …".to_owned()),
            // The servers give these in any order.
            "Allow" => {
                let mut methods: Vec<&str> = value.split(',').map(str::trim).collect();
                methods.sort_unstable();
                lines.push(format!("{name}: {methods:?}"));
            }
            "X-Influxdb-Error" => lines.push(format!("{name}:{}", without_now(value))),
            _ => lines.push(line),
        }
    }
    lines.extend(closing);
    lines.push(String::new());
    if !moving {
        lines.push(without_now(&answer.body.escape_ascii().to_string()));
    }
    lines
}

/// The bounds of a retention policy move with the clock.
fn without_now(text: &str) -> String {
    let mut parts = text.split(" Lower Bound at ");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        out.push_str(" Lower Bound at …");
        out.push_str(part.split_once(['Z', ',']).map_or("", |(_, rest)| rest));
    }
    out
}

/// A source on its own and Twinline before it.
#[derive(Debug)]
pub(crate) struct Pair {
    pub(crate) source: Database,
    pub(crate) twinline: Twinline,
    credentials: String,
}

impl Pair {
    /// With database or bucket `cap`, and `short`, which keeps a day.
    pub(crate) fn start(kind: Kind) -> Self {
        let source = Database::start(kind);
        source.create("cap");
        match kind {
            Kind::One => drop(source.query("CREATE DATABASE short WITH DURATION 1d")),
            Kind::Two => source.create_bucket("short", &serde_json::json!([{"type": "expire", "everySeconds": 86400}])),
        }
        let credentials = match kind {
            Kind::One => String::new(),
            Kind::Two => format!("Authorization: Token {TOKEN}\r\n"),
        };
        let section = source.section();
        Self::before(source, &section, &credentials)
    }

    /// Before a source that is set up already. No destination is needed to compare answers.
    pub(crate) fn before(source: Database, section: &str, credentials: &str) -> Self {
        let nobody = "url = \"http://127.0.0.1:9\"\nkind = \"influxdb1\"".to_owned();
        let twinline = Setup::new(section.to_owned(), nobody).start();
        Self { source, twinline, credentials: credentials.to_owned() }
    }

    /// The lines in which the answer through Twinline differs; empty when it is the source's own.
    fn difference(&self, case: &Case) -> Vec<String> {
        let ask = |connection| case.exchange(connection, &self.credentials, false);
        ask(self.source.connect());
        let [direct, through] = [self.source.connect(), self.twinline.connect()].map(|connection| {
            let answers = ask(connection);
            answers.iter().flat_map(|answer| comparable(answer, case)).collect::<Vec<_>>()
        });
        if direct == through {
            return Vec::new();
        }
        let only = |these: &[String], those: &[String], mark: &str| {
            let these = these.iter().filter(|line| !those.contains(line));
            these.map(|line| format!("    {mark} {}", &line[..line.len().min(400)])).collect::<Vec<_>>()
        };
        let mut lines = [only(&direct, &through, "direct "), only(&through, &direct, "through")].concat();
        if lines.is_empty() {
            lines = vec![format!("    order: direct {direct:?}"), format!("    order: through {through:?}")];
        }
        lines
    }

    /// A client that closes its half after the request hears through Twinline what a patient client hears directly.
    pub(crate) fn assert_half_closed_is_answered(&self, case: &Case) {
        let direct = case.exchange(self.source.connect(), &self.credentials, false);
        let through = case.exchange(self.twinline.connect(), &self.credentials, true);
        let [direct, through] = [direct, through]
            .map(|answers| answers.iter().flat_map(|answer| comparable(answer, case)).collect::<Vec<_>>());
        assert_eq!(through, direct, "{}: left through Twinline with a closed half, right direct", case.name);
    }

    /// Sends all. `excepted` are the beginnings of the names of cases that are known to differ, each with the reason; one
    /// that does not differ any more is an error too.
    pub(crate) fn assert_alike(&self, cases: &[Case], excepted: &[(&str, &str)]) {
        let mut found = Vec::new();
        for case in cases {
            let differs = self.difference(case);
            match excepted.iter().find(|(name, _)| case.name.starts_with(name)) {
                None if !differs.is_empty() => found.push(format!("{}\n{}", case.name, differs.join("\n"))),
                Some((_, reason)) if differs.is_empty() => {
                    found.push(format!("{} is equal now, and excepted because {reason}", case.name));
                }
                _ => {}
            }
        }
        println!("{:?}: {} requests compared, {} of them excepted", self.source.kind, cases.len(), excepted.len());
        assert!(found.is_empty(), "{} of {} answers differ:\n{}", found.len(), cases.len(), found.join("\n"));
    }
}
