//! `twinline plan`: what a pair of databases allows.
//!
//! Promise: a step is called possible only where the destination's measured capabilities carry it, and what this version of
//! Twinline does not do yet is said.

use std::fmt::Write as _;

use serde_json::json;

use super::Global;
use super::check::{self, Answered};
use super::exit::{Exit, Failure};
use super::talk::{Mark, Talk};
use crate::config::{Config, Mapping, Unheld};
use crate::db::product::{Ack, Capabilities, Delete, Exact, Product, Upsert};

/// Options of `plan`.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct PlanArgs {}

/// One step of a migration.
#[derive(Debug, PartialEq, Eq)]
struct Step {
    name: &'static str,
    is_possible: bool,
    why: String,
}

pub(super) fn run(global: &Global, _: &PlanArgs) -> Result<Exit, Failure> {
    let (talk, config) = (global.talk(), global.load()?.config);
    let (mut texts, mut documents) = (Vec::new(), Vec::new());
    for one in config.each() {
        let (text, document) = of_one(talk, &one, config.destinations.len() > 1)?;
        texts.push(text);
        documents.push(document);
    }
    match documents.len() {
        _ if !talk.json() => talk.data(&texts.join("\n"))?,
        1 => talk.document(&documents.remove(0))?,
        _ => talk.document(&json!({
            "schema": "twinline.plan/1",
            "plans": documents,
            "next_steps": ["twinline check"],
        }))?,
    }
    talk.next("twinline check");
    Ok(Exit::Success)
}

/// One pair, as text and as document.
fn of_one(talk: Talk, config: &Config, several: bool) -> Result<(String, serde_json::Value), Failure> {
    let (source, destination) =
        check::products(config).map_err(|error| Failure::new(Exit::Config, error.to_string()))?;
    let known = |answered: &Answered, side: &str| match answered {
        Ok((product, version)) => Ok((*product, version.clone())),
        Err(why) => Err(Failure::new(Exit::Unreachable, format!("the {side}: {why}")).hint("twinline check")),
    };
    let (source, destination) = (known(&source, "source")?, known(&destination, "destination")?);
    let (holds, steps) = (holds(destination.0, config), steps(source.0, destination.0));
    let id = config.destination().id.as_str();
    let heading = if several { format!("[{id}] ") } else { String::new() };
    let text = heading + &text(talk, &source, &destination, &holds, &steps);
    let mut document = document(&source, &destination, &holds, &steps);
    document["destination"]["id"] = id.into();
    Ok((text, document))
}

/// What goes there by the rules; nothing is said where everything keeps its name.
fn goes_there(mapping: &Mapping) -> Option<String> {
    const SHOWN_MAX: usize = 8;
    if mapping.takes_nothing() {
        return Some("nothing goes there: each rule is for other destinations".to_owned());
    }
    let rules: Vec<_> = mapping.rules.iter().take(SHOWN_MAX).map(ToString::to_string).collect();
    let more = mapping.rules.len().saturating_sub(SHOWN_MAX);
    let more = if more > 0 { format!(", and {more} more") } else { String::new() };
    (!rules.is_empty()).then(|| format!("what goes there by the rules: {}{more}", rules.join("; ")))
}

/// What the destination holds, one sentence each.
pub(super) fn holds(product: Product, config: &Config) -> Vec<String> {
    let Capabilities { ack, upsert, exact, delete, typed_read, truthful_answers } = product.capabilities();
    let mut said = vec![
        match exact {
            Exact::Bits => "values keep their type and every bit",
            Exact::Digits => "values become numbers of 15 to 16 digits, booleans 1 and 0, times milliseconds",
        }
        .to_owned(),
        match upsert {
            Upsert::Cell => "a point that is written again replaces the fields that it names",
            Upsert::Row => {
                "a point that is written again stands beside the one before, or replaces all of it (DEDUP UPSERT KEYS)"
            }
            Upsert::None => "a point that is written again stands beside the one before",
        }
        .to_owned(),
        match delete {
            Delete::Point => "points of a span of time can be deleted",
            Delete::Series => "only whole series can be deleted",
            Delete::None => "points cannot be deleted",
        }
        .to_owned(),
    ];
    if product == Product::Victoria {
        said.insert(
            1,
            match config.destination().projection.texts {
                Unheld::Drop => "texts are left out and counted (projection.texts)".to_owned(),
                Unheld::DeadLetter => "lines with texts are put aside (projection.texts)".to_owned(),
            },
        );
    }
    if ack == Ack::Later {
        said.push("it answers before the data is on its disk: the last 15 s stay in the queue".to_owned());
    }
    said.extend(goes_there(&config.mapping));
    if !truthful_answers {
        said.push("it may drop lines that it has acknowledged, such as those outside its retention".to_owned());
    }
    if !typed_read {
        said.push("Twinline cannot read it back value by value".to_owned());
    }
    said
}

/// The way from the first write to the end of the old database.
fn steps(source: Product, destination: Product) -> Vec<Step> {
    use Product::{Influx1, Influx2};
    let can = destination.capabilities();
    let step = |name, is_possible, why: &str| Step { name, is_possible, why: why.to_owned() };
    let is_exact = can.upsert == Upsert::Cell && can.exact == Exact::Bits;
    let switches = matches!((source, destination), (Influx1, Influx1) | (Influx1, Influx2) | (Influx2, Influx2));
    let queries = "clients' queries are understood by both";
    let foreign = "clients cannot go on speaking to the source's API at this destination";
    vec![
        step("pass", true, "everything goes through to the source"),
        match is_exact {
            true => step("mirror", true, "every write arrives, the same at both"),
            false => {
                step("mirror", true, "every write arrives as far as the destination can hold it, the rest is counted")
            }
        },
        match can.typed_read {
            true => step("verify", true, "both sides can be compared value by value"),
            false => step("verify", false, "the destination cannot be read back value by value"),
        },
        step("reads", switches, if switches { queries } else { foreign }),
        step("flip", switches, if switches { "both take the same writes and answer them alike" } else { foreign }),
        step(
            "reverse",
            switches,
            if switches { "what the new database takes can go back to the old one" } else { foreign },
        ),
    ]
}

/// Whether this version compares such a pair.
fn compares(source: Product, destination: Product) -> bool {
    let is_influx = |product| matches!(product, Product::Influx1 | Product::Influx2);
    is_influx(source) && is_influx(destination)
}

/// Whether this version copies history there.
fn copies(source: Product, destination: Product) -> bool {
    source.flavor().is_some() && destination != Product::Influx3
}

/// What this version does for such a pair, by the names of the commands.
fn built(source: Product, destination: Product) -> Vec<&'static str> {
    let mut built = vec!["pass", "mirror"];
    built.extend(copies(source, destination).then_some("backfill"));
    built.extend(compares(source, destination).then_some("verify"));
    built
}

/// The same, and what it does not do, for people.
fn this_version(source: Product, destination: Product) -> String {
    let mut does = vec!["passes", "mirrors"];
    let mut not = Vec::new();
    let mut of =
        |is_built: bool, it_does, it_does_not| if is_built { does.push(it_does) } else { not.push(it_does_not) };
    of(copies(source, destination), "copies history (twinline backfill)", "copy history");
    of(compares(source, destination), "compares (twinline verify start)", "compare with such a destination");
    not.push("switch over");
    format!("this version {}; it does not {}", does.join(", "), not.join(", or "))
}

fn text(
    talk: Talk,
    (source, source_version): &(Product, String),
    (destination, destination_version): &(Product, String),
    holds: &[String],
    steps: &[Step],
) -> String {
    let mut out = String::new();
    // Writing to a String does not fail.
    let _ = writeln!(out, "{} {source_version} to {} {destination_version}\n", source.name(), destination.name(),);
    let _ = writeln!(out, "THE DESTINATION");
    for sentence in holds {
        let _ = writeln!(out, "  {sentence}");
    }
    let _ = writeln!(out, "\nSTEPS");
    for Step { name, is_possible, why } in steps {
        let mark = talk.mark(if *is_possible { Mark::Good } else { Mark::Bad });
        let _ = writeln!(out, "  {mark} {name:<8} {why}");
    }
    let _ = writeln!(out, "\n{} {}", talk.mark(Mark::Warning), this_version(*source, *destination));
    out
}

fn document(
    source: &(Product, String),
    destination: &(Product, String),
    holds: &[String],
    steps: &[Step],
) -> serde_json::Value {
    let side = |(product, version): &(Product, String)| json!({ "kind": product.name(), "version": version });
    let steps: Vec<_> =
        steps.iter().map(|step| json!({ "step": step.name, "possible": step.is_possible, "why": step.why })).collect();
    json!({
        "schema": "twinline.plan/1",
        "source": side(source),
        "destination": side(destination),
        "destination_holds": holds,
        "steps": steps,
        "built": built(source.0, destination.0),
        "next_steps": ["twinline check"],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn possible(source: Product, destination: Product) -> Vec<&'static str> {
        steps(source, destination).into_iter().filter(|step| step.is_possible).map(|step| step.name).collect()
    }

    #[test]
    fn a_pair_without_a_way_to_switch_says_so_on_the_first_day() {
        let all = ["pass", "mirror", "verify", "reads", "flip", "reverse"];
        assert_eq!(possible(Product::Influx1, Product::Influx2), all);
        assert_eq!(possible(Product::Influx2, Product::Influx1), ["pass", "mirror", "verify"]);
        for destination in [Product::Victoria, Product::Influx3] {
            assert_eq!(possible(Product::Influx1, destination), ["pass", "mirror"], "{destination:?}");
        }
    }

    #[test]
    fn what_this_version_does_is_said_of_each_pair() {
        let said = this_version(Product::Influx1, Product::Influx2);
        assert!(said.contains("copies history") && said.contains("compares (twinline verify start)"), "{said}");
        assert!(said.ends_with("it does not switch over"), "{said}");
        for destination in [Product::Victoria, Product::Questdb] {
            let said = this_version(Product::Influx1, destination);
            assert!(said.contains("copies history") && said.contains("does not compare with such"), "{said}");
            assert_eq!(built(Product::Influx2, destination), ["pass", "mirror", "backfill"]);
        }
        assert!(this_version(Product::Influx1, Product::Influx3).contains("does not copy history"));
        assert_eq!(built(Product::Influx2, Product::Influx1), ["pass", "mirror", "backfill", "verify"]);
    }
}
