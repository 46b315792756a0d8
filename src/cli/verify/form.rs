//! Cells that differ, side by side, in several forms.

use clap::ValueEnum;
use serde_json::{Value as Json, json};

use super::report;
use super::work::Run;
use crate::backfill::form::written_of;
use crate::base::clock::rfc3339;
use crate::cell::{Cell, Value};
use crate::cli::exit::Failure;
use crate::cli::talk::Talk;
use crate::line::write_parts;
use crate::verify::diff::Finding;

/// How cells are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Form {
    /// For people
    Text,
    /// Comma-separated, with a heading
    Csv,
    /// One JSON object a line
    Jsonl,
    /// Line protocol: what the source holds of what is missing or other at the destination
    Lp,
}

pub(super) fn print(talk: Talk, run: &Run, form: Form) -> Result<(), Failure> {
    if talk.json() {
        return report::print(talk, run);
    }
    if form == Form::Csv {
        talk.data(
            "class,place,source_series,source_field,source_time_ns,source_type,source_value,\
             destination_series,destination_field,destination_time_ns,destination_type,destination_value\n",
        )?;
    }
    for (place, one) in &run.findings {
        match form {
            Form::Text => talk.data(&format!("{}\n", as_text(place, one)))?,
            Form::Csv => talk.data(&as_csv(place, one))?,
            Form::Jsonl => talk.data(&format!("{}\n", as_json(place, one)))?,
            Form::Lp => one.source.iter().try_for_each(|cell| talk.data(&as_line(cell)))?,
        }
    }
    if run.more > 0 {
        talk.say(&format!("{} more differences are not listed: choose less with --db, --since and --until", run.more));
    }
    talk.say(&format!("{}: {} differences", run.state(), run.findings.len() as u64 + run.more));
    Ok(())
}

/// One line for people.
pub(super) fn as_text(place: &str, one: &Finding) -> String {
    let Some(cell) = one.source.as_ref().or(one.destination.as_ref()) else { return String::new() };
    let at = |cell: &Cell| {
        let field = String::from_utf8_lossy(&cell.field).into_owned();
        format!("{} {field} {}", cell.series, rfc3339(cell.time_ns))
    };
    let side = |side: &Option<Cell>| match side {
        None => "-".to_owned(),
        Some(own) if at(own) == at(cell) && own.time_ns == cell.time_ns => shown(&own.value),
        Some(own) => format!("{} at {}", shown(&own.value), at(own)),
    };
    let (here, there) = (side(&one.source), side(&one.destination));
    format!("{:<9} {place} {}: source {here}, destination {there}", one.class.name(), at(cell))
}

/// A value for people: long texts are cut.
fn shown(value: &Value) -> String {
    const CHARS_MAX: usize = 80;
    let text = value.to_string();
    match text.char_indices().nth(CHARS_MAX) {
        Some((end, _)) => format!("{}… ({} bytes)", &text[..end], text.len()),
        None => text,
    }
}

pub(super) fn as_json(place: &str, one: &Finding) -> Json {
    let cell = |cell: &Cell| {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let tags: serde_json::Map<String, Json> =
            cell.series.tags().iter().map(|(key, value)| (text(key), text(value).into())).collect();
        json!({
            "measurement": text(cell.series.measurement()), "tags": tags, "field": text(&cell.field),
            "time_ns": cell.time_ns, "time": rfc3339(cell.time_ns), "type": cell.value.field_type().name(),
            // As line protocol has it: JSON's numbers do not hold every value.
            "value": cell.value.to_string(),
        })
    };
    json!({
        "class": one.class.name(), "place": place,
        "source": one.source.as_ref().map(cell), "destination": one.destination.as_ref().map(cell),
    })
}

fn as_csv(place: &str, one: &Finding) -> String {
    let quoted = |text: String| format!("\"{}\"", text.replace('"', "\"\""));
    let side = |side: &Option<Cell>| match side {
        None => vec![String::new(); 5],
        Some(cell) => vec![
            quoted(cell.series.to_string()),
            quoted(String::from_utf8_lossy(&cell.field).into_owned()),
            cell.time_ns.to_string(),
            cell.value.field_type().name().to_owned(),
            quoted(cell.value.to_string()),
        ],
    };
    let columns =
        [vec![one.class.name().to_owned(), quoted(place.to_owned())], side(&one.source), side(&one.destination)];
    columns.concat().join(",") + "\n"
}

fn as_line(cell: &Cell) -> String {
    let mut line = Vec::new();
    let tags = cell.series.tags().iter().map(|(key, value)| (key.as_slice(), value.as_slice()));
    let field = (&*cell.field, written_of(&cell.value));
    write_parts((cell.series.measurement(), tags), std::iter::once(field), cell.time_ns, &mut line);
    String::from_utf8_lossy(&line).into_owned()
}
