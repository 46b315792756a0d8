//! `twinline queue pause` and `resume`: an operator's hold on delivery, also across restarts.

use serde_json::{Value, json};

use super::place::Place;
use crate::cli::Global;
use crate::cli::exit::{Exit, Failure};

/// What an operator may want.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    Pause,
    Resume,
}

pub(super) fn run(global: &Global, place: &Place, wish: Wish) -> Result<Exit, Failure> {
    let talk = global.talk();
    place.running()?;
    let (word, next) = match wish {
        Wish::Pause => ("pause", place.command("resume")),
        Wish::Resume => ("resume", place.command("drain --wait")),
    };
    let answer: Value = place.ask("POST", &place.at(&format!("/api/v1/queue/{word}")))?;
    let (changed, since) = (answer["changed"] == true, answer["since"].as_str().unwrap_or("an unknown time"));
    let text = match (wish, changed) {
        (Wish::Pause, true) => {
            "delivery is paused: clients' writes go on into the queue, also after a restart".to_owned()
        }
        (Wish::Pause, false) => format!("delivery was paused already, at {since}"),
        (Wish::Resume, true) => "delivery goes on".to_owned(),
        (Wish::Resume, false) => "delivery was not paused".to_owned(),
    };
    if talk.json() {
        talk.document(&json!({
            "schema": "twinline.queue.pause/1",
            "paused": wish == Wish::Pause,
            "changed": changed,
            "since": answer["since"],
            "next_steps": [next],
        }))?;
    } else {
        talk.data(&format!("{text}\n"))?;
    }
    talk.next(&next);
    Ok(Exit::Success)
}
