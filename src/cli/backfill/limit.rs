//! `twinline backfill limit`: what copies may take, and changes of it while they work.

use std::fmt::Write as _;

use serde_json::json;

use crate::backfill::throttle::Limits;
use crate::base::Kind;
use crate::cli::Global;
use crate::cli::exit::{Exit, Failure};
use crate::config::{BACKFILL_KEYS, Config};

/// Changes the limits that are named, and shows all of them. Whoever copies takes the change over within a second, also where nobody can be
/// asked.
pub(super) fn run(global: &Global, config: &Config, words: &[String]) -> Result<Exit, Failure> {
    let (talk, limits) = (global.talk(), Limits::open(&config.backfill, &config.data_dir));
    if !words.is_empty() {
        limits.change(words).map_err(|error| {
            let is_usage = error.kind() == Kind::Input;
            let failure = Failure::from(error);
            if is_usage { Failure { exit: Exit::Usage, ..failure } } else { failure }
        })?;
    }
    let mut document = limits.document();
    if talk.json() {
        if let Some(fields) = document.as_object_mut() {
            fields.insert("next_steps".to_owned(), json!(["twinline backfill status"]));
        }
        talk.document(&document)?;
    } else {
        talk.data(&text(&limits, config))?;
    }
    talk.next("twinline backfill status");
    Ok(Exit::Success)
}

fn text(limits: &Limits, config: &Config) -> String {
    let now = limits.now();
    let setting = |value: String| if value.is_empty() { "\"\"".to_owned() } else { value };
    let mut out = String::new();
    for key in BACKFILL_KEYS {
        let (value, configured) = (now.shown(key), config.backfill.shown(key));
        let was = if value == configured { String::new() } else { format!(" (configured: {})", setting(configured)) };
        let line = format!("{} = {}{was}", key.name, setting(value));
        _ = writeln!(out, "{line:<44}{}", key.what);
    }
    out
}
