//! `twinline backfill plan`: what would be copied, and what stands against it.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::create::{self, Missing};
use super::gap::BY_TIME;
use super::live;
use super::pair::{Pair, Scope, ScopeArgs, on_screen, products, runtime};
use crate::backfill::scope::Groups;
use crate::base::clock::rfc3339;
use crate::cli::Global;
use crate::cli::check::obstacles::Obstacle;
use crate::cli::exit::{Exit, Failure};
use crate::cli::talk::{Mark, Talk};
use crate::config::Config;
use crate::db::read::{FieldKeys, Reader, Window, unreadable_fields};

/// Measurements of a place that are looked at one by one.
const MEASUREMENTS_MAX: usize = 500;
/// Bytes of line protocol that a cell takes, roughly: names are shared by the fields of a line.
const CELL_BYTES: u64 = 24;

pub(super) fn run(
    global: &Global,
    config: &Config,
    args: &ScopeArgs,
    (counts, merge): (bool, bool),
) -> Result<Exit, Failure> {
    let (talk, scope) = (global.talk(), args.read(merge)?);
    let products = products(config)?;
    let (pair, places, standing, missing) = runtime()?.block_on(async {
        let pair = Pair::find(config, products, &scope).await?;
        pair.named()?;
        if pair.closed.is_empty() {
            pair.some()?;
        }
        let reader = pair.reader(config)?;
        let (mut places, mut oldest) = (Vec::new(), None::<i64>);
        for number in 0..pair.places.len() {
            let looked = look(&reader, &pair, number, scope.window(), counts).await?;
            oldest = match (oldest, looked.span) {
                (Some(known), Some((_, span))) => Some(known.min(span.start_ns)),
                (known, span) => known.or(span.map(|(_, span)| span.start_ns)),
            };
            places.push(looked);
        }
        let standing = pair.standing(config, &scope, oldest).await?;
        let missing = create::missing(config, &pair, &standing.lacks).await?;
        Ok::<_, Failure>((pair, places, standing, missing))
    })?;
    if scope.is_by_time() {
        talk.say(BY_TIME);
    }
    let found = (&standing.obstacles[..], &missing[..], scope.create);
    if talk.json() {
        talk.document(&document(&pair, &places, found, config))?;
    } else {
        talk.data(&text(talk, &pair, &places, found, config))?;
    }
    let beside = live::runs(config);
    talk.say(how(beside));
    let (exit, next) = next_step((standing.obstacles.is_empty(), standing.lacks.is_empty()), beside);
    talk.next(next);
    Ok(exit)
}

/// How `start` copies. `beside`: a twinline runs.
const fn how(beside: bool) -> &'static str {
    if beside {
        "Copied by the running twinline: a window is held back from clients' writes while it is copied, so no old value comes over a newer \
         one, and data that is there already does not stand against it."
    } else {
        "No twinline runs here. Copied with --offline, as the source is then; a destination that holds data already needs --into-existing \
         merge as well. Beside live writes: twinline run, then start."
    }
}

/// What comes of a plan. `clear`: nothing stands against it, nothing is missing.
const fn next_step(clear: (bool, bool), beside: bool) -> (Exit, &'static str) {
    match (clear, beside) {
        ((true, _), true) => (Exit::Success, "twinline backfill start"),
        ((true, _), false) => {
            (Exit::Success, "twinline backfill start --offline; or twinline run, then twinline backfill start")
        }
        ((false, true), _) => (Exit::Refused, "mend what stands against it, then: twinline backfill plan"),
        ((false, false), _) => {
            (Exit::Refused, "mend what stands against it, then: twinline backfill plan; --create makes what is missing")
        }
    }
}

/// What to do about an obstacle, where there is something.
fn fix(one: &Obstacle) -> Option<&str> {
    one.fix.as_deref().or(one.is_contents.then_some(INTO_EXISTING))
}

const INTO_EXISTING: &str =
    "an empty place, or --into-existing merge: points of the same series and time are overwritten by the source's";

/// Obstacles, what is missing, and whether that is made.
type Found<'a> = (&'a [Obstacle], &'a [Missing], bool);

/// A place as it was found.
struct Looked {
    name: String,
    target: String,
    span: Option<(usize, Window)>,
    units: usize,
    measurements: Vec<Measured>,
    /// More of them than are looked at.
    more: usize,
}

/// A measurement as it was found.
struct Measured {
    name: String,
    fields: FieldKeys,
    /// `None` where nobody counted.
    cells: Option<u64>,
}

impl Measured {
    /// Fields that have several types.
    fn mixed(&self) -> Vec<String> {
        let several = self.fields.iter().filter(|(_, types)| types.len() > 1);
        several
            .map(|(field, types)| {
                let types: Vec<&str> = types.iter().map(|one| one.name()).collect();
                format!("{} {}", String::from_utf8_lossy(field), types.join(" and "))
            })
            .collect()
    }
}

async fn look(reader: &Reader, pair: &Pair, number: usize, within: Window, counts: bool) -> Result<Looked, Failure> {
    let place = &pair.places[number];
    let (db, rp) = (place.read_as.0.as_str(), place.read_as.1.as_str());
    let groups = Groups::of(reader, (db, rp), within).await?;
    let names = groups.measurements();
    let mut measurements = Vec::new();
    for name in names.iter().take(MEASUREMENTS_MAX) {
        let fields = reader.field_keys(db, rp, name).await?;
        let cells = match counts {
            // A source that is too slow to count is not too slow to be copied.
            true => reader.count(db, rp, name, within).await.ok(),
            false => None,
        };
        // On 1.x those of other policies are listed here too.
        if cells != Some(0) {
            measurements.push(Measured { name: String::from_utf8_lossy(name).into_owned(), fields, cells });
        }
    }
    Ok(Looked {
        name: place.name.to_string(),
        target: place.target.to_string(),
        span: groups.span(),
        units: groups.len(),
        more: names.len().saturating_sub(MEASUREMENTS_MAX),
        measurements,
    })
}

/// Cells of a place, where each of its measurements was counted.
fn cells(place: &Looked) -> Option<u64> {
    (place.more == 0).then(|| place.measurements.iter().map(|one| one.cells).sum()).flatten()
}

fn holds(pair: &Pair, config: &Config) -> Vec<String> {
    crate::cli::plan::holds(pair.destination.0, config)
}

fn document(pair: &Pair, places: &[Looked], (obstacles, missing, creates): Found<'_>, config: &Config) -> Value {
    let of_place = |place: &Looked| {
        let measurement = |one: &Measured| {
            let fields: Vec<Value> = one
                .fields
                .iter()
                .map(|(field, types)| {
                    let types: Vec<&str> = types.iter().map(|one| one.name()).collect();
                    json!({ "name": String::from_utf8_lossy(field), "types": types })
                })
                .collect();
            let hidden: Vec<_> = unreadable_fields(&one.fields)
                .into_iter()
                .map(|field| String::from_utf8_lossy(field).into_owned())
                .collect();
            json!({ "name": one.name, "cells": one.cells, "fields": fields, "fields_that_no_query_shows": hidden })
        };
        json!({
            "from": place.name,
            "to": place.target,
            "shard_groups": place.span.map_or(0, |(count, _)| count),
            "first_ns": place.span.map(|(_, span)| span.start_ns),
            "end_ns": place.span.map(|(_, span)| span.end_ns),
            "units": place.units,
            "cells": cells(place),
            "measurements": place.measurements.iter().map(measurement).collect::<Vec<_>>(),
            "measurements_not_looked_at": place.more,
        })
    };
    let total: Option<u64> = places.iter().map(cells).sum();
    json!({
        "schema": "twinline.backfill_plan/1",
        "source": { "kind": pair.source.0.name(), "version": pair.source.1 },
        "destination": { "id": config.destination().id.as_str(), "kind": pair.destination.0.name(), "version": pair.destination.1 },
        "places": places.iter().map(of_place).collect::<Vec<_>>(),
        "cells": total,
        "bytes": total.map(|cells| cells * CELL_BYTES),
        "order": ORDER,
        "destination_holds": holds(pair, config),
        "read_by_flux": pair.by_flux,
        "missing": missing
            .iter()
            .map(|one| json!({ "what": one.what, "typed": one.typed, "is_made": creates && one.can_be_made() }))
            .collect::<Vec<_>>(),
        "obstacles": obstacles.iter().map(|one| json!({ "text": one.text, "fix": fix(one) })).collect::<Vec<_>>(),
    })
}

const ORDER: &str =
    "the newest shard group first, then older ones; in each one measurement after the other, from early to late";

fn text(talk: Talk, pair: &Pair, places: &[Looked], found: Found<'_>, config: &Config) -> String {
    let mut out = String::new();
    let name = |(product, version): &(crate::db::product::Product, String)| format!("{} {version}", product.name());
    let mut line = |text: &str| _ = writeln!(out, "{text}");
    line(&format!("{} → {}", name(&pair.source), name(&pair.destination)));
    for place in places {
        of_place(talk, place, &mut line);
    }
    if let Some(total) = places.iter().map(cells).sum::<Option<u64>>() {
        line(&format!("In all {total} cells, some {} MiB", (total * CELL_BYTES) >> 20));
    }
    line(&format!("Order: {ORDER}"));
    for said in holds(pair, config) {
        line(&format!("{} {said}", talk.mark(Mark::Unknown)));
    }
    if let Some(note) = pair.flux_note() {
        line(&format!("{} {}", talk.mark(Mark::Warning), on_screen(&note)));
    }
    against(talk, found, &mut line);
    out
}

fn of_place(talk: Talk, place: &Looked, line: &mut impl FnMut(&str)) {
    let span = place.span.map_or_else(
        || "no shard groups".to_owned(),
        |(count, span)| {
            format!("{}, {} to {}", counted(count, "shard group"), shown(span.start_ns), shown(span.end_ns))
        },
    );
    line(&format!(
        "{} → {}: {}, {span}",
        on_screen(&place.name),
        on_screen(&place.target),
        counted(place.measurements.len() + place.more, "measurement")
    ));
    for one in &place.measurements {
        of_measurement(talk, one, line);
    }
}

fn of_measurement(talk: Talk, one: &Measured, line: &mut impl FnMut(&str)) {
    let cells = one.cells.map_or_else(|| "not counted".to_owned(), |cells| format!("{cells} cells"));
    line(&format!("  {}: {}, {cells}", on_screen(&one.name), counted(one.fields.len(), "field")));
    for mixed in one.mixed() {
        let mixed = on_screen(&mixed);
        line(&format!("    {} {mixed}: each shard group is copied with its own type", talk.mark(Mark::Warning)));
    }
    for hidden in unreadable_fields(&one.fields) {
        let field = on_screen(&String::from_utf8_lossy(hidden));
        line(&format!(
            "    {} {field}: no query of the source shows this field: it is not copied",
            talk.mark(Mark::Warning)
        ));
    }
}

/// What is missing, and what stands against it.
fn against(talk: Talk, (obstacles, missing, creates): Found<'_>, line: &mut impl FnMut(&str)) {
    for one in missing {
        let what = on_screen(&one.what);
        let made = creates && one.can_be_made();
        match (made, one.is_place) {
            (true, _) => line(&format!("{} made first: {what}", talk.mark(Mark::Good))),
            // An obstacle, below.
            (false, true) => continue,
            (false, false) => line(&format!("{} missing at the destination: {what}", talk.mark(Mark::Warning))),
        }
        for typed in one.typed.lines() {
            line(&format!("    {}", on_screen(typed)));
        }
    }
    for one in obstacles {
        line(&format!("{} {}", talk.mark(Mark::Bad), on_screen(&one.text)));
        // Some are several commands.
        for fix in fix(one).iter().flat_map(|fix| fix.lines()) {
            line(&format!("    {}", on_screen(fix)));
        }
    }
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

fn shown(time_ns: i64) -> String {
    match time_ns {
        i64::MIN => "the beginning".to_owned(),
        i64::MAX => "the end".to_owned(),
        time_ns => rfc3339(time_ns),
    }
}

/// Makes the destination ready for a start, or says what stands against it.
pub(super) async fn ready(
    talk: Talk,
    pair: &Pair,
    config: &Config,
    scope: &Scope,
    reader: &Reader,
) -> Result<(), Failure> {
    pair.named()?;
    if scope.is_by_time() {
        talk.say(BY_TIME);
    }
    let mut oldest = None::<i64>;
    // Only where the age of the data decides something.
    if pair.destination.0 == crate::db::product::Product::Victoria {
        for place in &pair.places {
            let groups = Groups::of(reader, (&place.read_as.0, &place.read_as.1), scope.window()).await?;
            // A group that ends within what is kept may hold nothing older.
            let first = groups.span().map(|(_, span)| span.start_ns);
            oldest = oldest.into_iter().chain(first).min();
        }
    }
    let found = pair.standing(config, scope, oldest).await?;
    if let Some(note) = pair.flux_note() {
        talk.say(&note);
    }
    refuse(&found.obstacles, !scope.create && !found.lacks.is_empty())?;
    if !scope.create {
        return Ok(());
    }
    let missing = create::missing(config, pair, &found.lacks).await?;
    if missing.iter().any(Missing::can_be_made) {
        create::make(talk, config, &missing).await?;
        // What was made is asked for as if somebody else had made it.
        let scope = Scope { create: false, ..scope.clone() };
        refuse(&pair.standing(config, &scope, oldest).await?.obstacles, false)?;
    }
    Ok(())
}

fn refuse(found: &[Obstacle], lacks: bool) -> Result<(), Failure> {
    let Some(first) = found.first() else { return Ok(()) };
    let all: Vec<&str> = found.iter().map(|one| one.text.as_str()).collect();
    let mut fixes: Vec<&str> = found.iter().filter_map(|one| one.fix.as_deref()).collect();
    if lacks {
        fixes.push("--create makes what is missing");
    }
    let hint = if first.is_contents && found.len() == 1 { INTO_EXISTING.to_owned() } else { fixes.join("; ") };
    let failure = Failure::new(Exit::Refused, format!("this stands against a copy: {}", all.join("; ")));
    Err(if hint.is_empty() { failure.hint("twinline check") } else { failure.hint(hint) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::talk::{Color, Output};

    #[test]
    fn a_plan_says_what_start_would_do() {
        assert_eq!(next_step((true, true), true), (Exit::Success, "twinline backfill start"));
        let (exit, next) = next_step((true, true), false);
        assert!(exit == Exit::Success && next.contains("--offline") && next.contains("twinline run"), "{next}");
        assert_eq!(next_step((false, false), true).0, Exit::Refused);
        assert!(how(true).contains("held back") && how(false).contains("--into-existing merge"));
        let contents = Obstacle { text: "destination: d holds data".to_owned(), fix: None, is_contents: true };
        assert!(fix(&contents).is_some_and(|fix| fix.contains("--into-existing merge")), "what to do is said");
    }

    #[test]
    fn names_do_not_steer_the_terminal() {
        let one = Looked {
            name: "d\u{1b}[2J/autogen".to_owned(),
            target: "d\tx/autogen".to_owned(),
            span: None,
            units: 0,
            measurements: vec![Measured {
                name: "m\u{b}\n\u{1b}]0;x".to_owned(),
                fields: FieldKeys::default(),
                cells: Some(1),
            }],
            more: 0,
        };
        let mut out = String::new();
        of_place(Talk::new(Output::Text, true, Color::Never), &one, &mut |text: &str| _ = writeln!(out, "{text}"));
        let mut line = |text: &str| _ = writeln!(out, "{text}");
        let obstacle =
            Obstacle { text: "no d\u{1b}[2J".to_owned(), fix: Some("one\ntw\to".to_owned()), is_contents: false };
        against(Talk::new(Output::Text, true, Color::Never), (&[obstacle], &[], false), &mut line);
        assert!(!out.chars().any(|c| c.is_control() && c != '\n') && out.lines().count() == 5, "{out:?}");
    }
}
