//! `twinline validate`: the configuration file, offline.

use std::path::Path;

use super::Global;
use super::exit::{Exit, Failure};
use super::talk::{Mark, Talk};
use crate::config::{self, ConfigError, Loaded, memory_parts};

#[derive(Clone, Debug, clap::Args)]
pub(super) struct ValidateArgs {
    /// Treat warnings as errors
    #[arg(long)]
    deny_warnings: bool,
}

pub(super) fn run(global: &Global, args: &ValidateArgs) -> Result<Exit, Failure> {
    let (talk, path) = (global.talk(), global.config_path());
    let outcome = config::load(&path);
    let denied = args.deny_warnings && outcome.as_ref().is_ok_and(|loaded| !loaded.warnings.is_empty());
    let valid = outcome.is_ok() && !denied;
    let next = next_step(&path, valid, &outcome);
    if talk.json() {
        talk.document(&document(&path, &outcome, valid, &next))?;
    } else {
        talk.data(&text(talk, &path, &outcome))?;
    }
    talk.next(&next);
    Ok(if valid { Exit::Success } else { Exit::Config })
}

type Outcome = Result<Loaded, Vec<ConfigError>>;

fn next_step(path: &Path, valid: bool, outcome: &Outcome) -> String {
    let option = if path == Path::new("twinline.toml") { String::new() } else { format!(" -c {}", path.display()) };
    let unreadable = outcome.as_ref().is_err_and(|errors| errors.iter().all(|error| error.at.is_none()));
    match (valid, unreadable) {
        (true, _) => format!("twinline check{option}"),
        (false, true) => format!("twinline init{option}"),
        (false, false) => format!("correct the lines above, then twinline validate{option}"),
    }
}

fn text(talk: Talk, path: &Path, outcome: &Outcome) -> String {
    let mut out = String::new();
    let plural = |n: usize, word: &str| format!("{n} {word}{}", if n == 1 { "" } else { "s" });
    let (errors, warnings) = match outcome {
        Ok(loaded) => {
            let (sections, settings) = (plural(loaded.sections, "section"), plural(loaded.settings, "setting"));
            out.push_str(&format!("{} {}  {sections}, {settings}\n", talk.mark(Mark::Good), path.display()));
            for warning in &loaded.warnings {
                out.push_str(&format!("{} {}: {warning}\n", talk.mark(Mark::Warning), path.display()));
            }
            (0, loaded.warnings.len())
        }
        Err(errors) => {
            for error in errors {
                out.push_str(&format!("{} {error}\n", talk.mark(Mark::Bad)));
            }
            (errors.len(), 0)
        }
    };
    out.push_str(&format!("{}, {}\n", plural(errors, "error"), plural(warnings, "warning")));
    out
}

fn document(path: &Path, outcome: &Outcome, valid: bool, next: &str) -> serde_json::Value {
    let errors: Vec<_> = outcome.as_ref().err().into_iter().flatten().map(fault).collect();
    let loaded = outcome.as_ref().ok();
    let memory: Vec<_> = loaded.map(|loaded| memory_parts(&loaded.config)).into_iter().flatten().collect();
    serde_json::json!({
        "schema": "twinline.validate/1",
        "file": path.display().to_string(),
        "valid": valid,
        "errors": errors,
        "warnings": loaded.map(|loaded| loaded.warnings.as_slice()).unwrap_or_default(),
        "sections": loaded.map(|loaded| loaded.sections),
        "settings": loaded.map(|loaded| loaded.settings),
        "memory": memory.iter().map(|part| serde_json::json!({"part": part.what, "bytes": part.size.0})).collect::<Vec<_>>(),
        "next_steps": [next],
    })
}

fn fault(error: &ConfigError) -> serde_json::Value {
    serde_json::json!({
        "line": error.at.map(|at| at.line),
        "column": error.at.map(|at| at.column),
        "key": error.key,
        "error": error.what,
        "write": error.write,
    })
}
