//! `twinline lint`: what a server would say to a file of line protocol.
//!
//! Promise: every line of the file is judged, in order, by the reader that the proxy uses; memory does not grow with the file.

mod differs;
pub(super) mod excerpt;
mod jsonl;
mod notes;
mod pieces;
#[cfg(test)]
mod tests;
mod text;

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};

use super::Global;
use super::exit::{Exit, Failure};
use super::talk::Output;
use crate::base::clock::{Clock, SystemClock};
use crate::line::record::{Outcome, Record};
use crate::line::{Precision, Reading};
use differs::Partner;
use pieces::{LONGEST_LINE, PIECE, Piece, Pieces, unreadable};

#[derive(Clone, Debug, clap::Args)]
pub(super) struct LintArgs {
    /// The server that is to read the file
    #[arg(long, value_name = "DIALECT", default_value = "influx1", value_parser = dialects())]
    dialect: Reading,
    /// A second server: say what it would store otherwise
    #[arg(long, value_name = "DIALECT", value_parser = dialects())]
    destination_dialect: Option<Reading>,
    /// Unit of the timestamps
    #[arg(long, value_name = "UNIT", default_value = "ns", value_parser = precisions())]
    precision: Precision,
    /// Show every line of a kind; without it, the first 20
    #[arg(long)]
    all: bool,
    /// Add lines, bytes, seconds and GB/s; on stderr with -o jsonl
    #[arg(long)]
    stats: bool,
    /// The file, or - for stdin
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

fn dialects() -> impl TypedValueParser<Value = Reading> {
    let named = |name: &str| Reading::ALL.iter().find(|reading| reading.name() == name).copied();
    PossibleValuesParser::new(Reading::ALL.iter().map(|reading| reading.name()))
        .map(move |name| named(&name).expect("one of the names above"))
}

/// The units; the first name is shown, others are taken.
static UNITS: [(&[&str], Precision); 6] = [
    (&["ns", "n"], Precision::Nanosecond),
    (&["us", "u"], Precision::Microsecond),
    (&["ms"], Precision::Millisecond),
    (&["s"], Precision::Second),
    (&["m"], Precision::Minute),
    (&["h"], Precision::Hour),
];

pub(in crate::cli) fn precisions() -> impl TypedValueParser<Value = Precision> {
    let values = UNITS.iter().map(|(names, _)| PossibleValue::new(names[0]).aliases(names[1..].iter().copied()));
    let named = |name: &str| UNITS.iter().find(|(names, _)| names.contains(&name)).map(|(_, unit)| *unit);
    PossibleValuesParser::new(values).map(move |name| named(&name).expect("one of the names above"))
}

/// What is to be done.
#[derive(Debug)]
struct Order {
    /// The file, for people.
    name: String,
    dialect: Reading,
    destination: Option<Reading>,
    precision: Precision,
    all: bool,
    color: bool,
    jsonl: bool,
    /// Bytes of a piece.
    piece: usize,
}

/// A line, as the source reads it.
#[derive(Debug)]
struct Seen<'a> {
    piece: Piece<'a>,
    record: &'a Record<'a>,
    /// The physical line where it begins, from 1.
    line: u64,
    differs: &'a [String],
}

/// The lines so far.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    lines: u64,
    accepted: u64,
    refused: u64,
    skipped: u64,
    differing: u64,
    bytes: u64,
}

/// Why it does not go on.
enum Stop {
    Input(Failure),
    Output(io::Error),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

pub(super) fn run(global: &Global, args: &LintArgs) -> Result<Exit, Failure> {
    if !args.dialect.takes(args.precision) {
        let what = format!("{} takes no timestamps in {}s", args.dialect.server(), args.precision.name());
        return Err(Failure::new(Exit::Usage, what).hint("--precision ns, us, ms or s"));
    }
    let talk = global.talk();
    let (name, input) = open(&args.file)?;
    let order = Order {
        name,
        dialect: args.dialect,
        destination: args.destination_dialect,
        precision: args.precision,
        all: args.all,
        color: talk.color,
        jsonl: talk.output == Output::Jsonl,
        piece: PIECE,
    };
    let clock = SystemClock::new();
    let mut out = BufWriter::with_capacity(64 << 10, io::stdout().lock());
    let mut counts = Counts::default();
    let read = lint(&order, input, &mut out, &mut counts).and_then(|()| {
        if args.stats && !order.jsonl {
            writeln!(out, "{}", speed(&counts, clock.monotonic()))?;
        }
        Ok(out.flush()?)
    });
    if args.stats && order.jsonl {
        // Asked for, so that it comes with --quiet too; a stderr that is gone is nobody's loss.
        let _ = writeln!(io::stderr().lock(), "{}", speed(&counts, clock.monotonic()));
    }
    match read {
        Ok(()) => {}
        // Whoever read has seen enough.
        Err(Stop::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(exit(&counts)),
        Err(Stop::Output(error)) => return Err(Failure::new(Exit::Failed, format!("cannot write to stdout: {error}"))),
        Err(Stop::Input(failure)) => {
            // What was found before stands.
            let _ = out.flush();
            return Err(failure);
        }
    }
    if !order.jsonl {
        talk.next(&next_step(&order, &args.file, &counts));
    }
    Ok(exit(&counts))
}

fn exit(counts: &Counts) -> Exit {
    if counts.refused > 0 { Exit::No } else { Exit::Success }
}

fn next_step(order: &Order, file: &Path, counts: &Counts) -> String {
    let again = |dialect: Reading, destination: Option<Reading>| {
        let mut command = format!("twinline lint --dialect {}", dialect.name());
        if let Some(destination) = destination {
            command += &format!(" --destination-dialect {}", destination.name());
        }
        let unit = UNITS.iter().find(|(_, unit)| *unit == order.precision && order.precision != Precision::Nanosecond);
        if let Some((names, _)) = unit {
            command += &format!(" --precision {}", names[0]);
        }
        format!("{command} {}", argument(file))
    };
    let other = Reading::ALL.iter().find(|reading| **reading != order.dialect);
    match (counts.refused, order.destination, other) {
        (1.., ..) if file == Path::new("-") => "mend the lines above, then check them again".to_owned(),
        (1.., ..) => format!("mend the lines above, then {}", again(order.dialect, order.destination)),
        (0, None, Some(other)) if file != Path::new("-") => again(order.dialect, Some(*other)),
        _ => "twinline init".to_owned(),
    }
}

/// The file's name as a shell takes it.
fn argument(file: &Path) -> String {
    let name = file.display().to_string();
    let is_plain = |c: char| c.is_alphanumeric() || "/._-+:@%,=".contains(c);
    if name.chars().all(is_plain) { name } else { format!("'{}'", name.replace('\'', "'\\''")) }
}

fn open(file: &Path) -> Result<(String, Box<dyn Read>), Failure> {
    if file == Path::new("-") {
        return Ok(("<stdin>".to_owned(), Box::new(io::stdin().lock())));
    }
    let name = file.display().to_string();
    let opened = File::open(file).map_err(|error| unreadable(&name, &error))?;
    Ok((name, Box::new(opened)))
}

/// Reads the input to its end and says what there is to say.
fn lint(order: &Order, input: impl Read, out: &mut impl Write, counts: &mut Counts) -> Result<(), Stop> {
    let mut pieces = Pieces::new(input, (order.dialect, order.destination), (order.piece, LONGEST_LINE));
    let mut report = text::Report::new(order);
    while let Some(piece) = pieces.next(&order.name).map_err(Stop::Input)? {
        counts.bytes += piece.bytes.len() as u64;
        let here = order.dialect.records(piece.bytes, order.precision);
        let there = order.destination.map(|destination| destination.records(piece.bytes, order.precision));
        let mut partner = there.as_deref().map(|there| Partner::new(piece.bytes, there));
        let (mut line, mut counted) = (piece.line, 0);
        for record in &here {
            line += memchr::memchr_iter(b'\n', &piece.bytes[counted..record.span.start]).count() as u64;
            counted = record.span.start;
            let differs = partner.as_mut().map(|partner| partner.differs(record)).unwrap_or_default();
            counts.add(record, &differs);
            let seen = Seen { piece, record, line, differs: &differs };
            if order.jsonl { jsonl::write(out, &seen)? } else { report.line(out, &seen)? }
        }
    }
    if !order.jsonl {
        report.end(out, counts)?;
    }
    Ok(())
}

impl Counts {
    fn add(&mut self, record: &Record<'_>, differs: &[String]) {
        self.lines += 1;
        self.differing += u64::from(!differs.is_empty());
        match record.outcome {
            Outcome::Point(_) => self.accepted += 1,
            Outcome::Fault(_) => self.refused += 1,
            Outcome::Skipped => self.skipped += 1,
        }
    }
}

fn speed(counts: &Counts, time: Duration) -> String {
    let (lines, bytes, seconds) = (counts.lines, counts.bytes, time.as_secs_f64());
    format!("{lines} lines, {bytes} bytes, {seconds:.6} s, {:.3} GB/s", bytes as f64 / seconds.max(1e-9) / 1e9)
}
