//! The inventory for a person: by kind, with counts.

use std::fmt::Write as _;

use super::super::talk::{Mark, Talk};
use super::item::{Fate, Group, Inventory, Item};

/// Things of one kind that a screen shows.
const SHOWN_MAX: usize = 20;
/// Characters of a statement, or of what a server says, that a screen shows.
const CHARS_MAX: usize = 400;

pub(super) fn text(talk: Talk, source: &str, inventory: &Inventory) -> String {
    let mut out = String::new();
    // Writing to a String does not fail.
    let _ = writeln!(out, "source  {source}");
    for one in &inventory.groups {
        group(&mut out, talk, one);
    }
    let none: Vec<String> =
        inventory.groups.iter().filter(|group| is_empty(group)).map(|group| group.title.to_lowercase()).collect();
    if !none.is_empty() {
        let _ = writeln!(out, "\nNONE OF  {}", none.join(", "));
    }
    let _ = writeln!(out);
    let writers = inventory.writers();
    if writers > 0 {
        let what = if writers == 1 { "1 writer makes" } else { &format!("{writers} writers make") };
        let _ = writeln!(
            out,
            "{} {what} points at the source that no client sends through Twinline: not copied by twinline yet",
            talk.mark(Mark::Warning)
        );
    }
    let by_hand = inventory.by_hand();
    if by_hand > 0 {
        let are = if by_hand == 1 { "1 thing is" } else { &format!("{by_hand} things are") };
        let _ = writeln!(out, "{} {are} to be made at the destination by hand", talk.mark(Mark::Warning));
    }
    let unknown = inventory.unknown();
    if unknown > 0 {
        let kinds = if unknown == 1 { "1 kind" } else { &format!("{unknown} kinds") };
        let _ = writeln!(out, "{} of {kinds} of things not all is known", talk.mark(Mark::Unknown));
    }
    if writers + by_hand + unknown == 0 {
        let _ =
            writeln!(out, "{} nothing writes inside the source, nothing is to be made by hand", talk.mark(Mark::Good));
    }
    out
}

fn is_empty(group: &Group) -> bool {
    group.items.is_empty() && group.unknown.is_none()
}

fn group(out: &mut String, talk: Talk, group: &Group) {
    if is_empty(group) {
        return;
    }
    let count = match (group.items.len(), &group.unknown) {
        (0, Some(_)) => "not known".to_owned(),
        (number, _) if group.more => format!("more than {number}"),
        (number, _) => number.to_string(),
    };
    let _ = writeln!(out, "\n{}  {count}", group.title);
    for one in group.items.iter().take(SHOWN_MAX) {
        item(out, talk, one);
    }
    let more = group.items.len().saturating_sub(SHOWN_MAX);
    if more > 0 {
        let _ = writeln!(out, "    … and {more} more; all with -o json");
    }
    if let Some(unknown) = &group.unknown {
        let _ = writeln!(out, "  {} {}", talk.mark(Mark::Unknown), printable(&unknown.why));
        let _ = writeln!(out, "      to see it: {}", printable(&unknown.fix));
    }
}

fn item(out: &mut String, talk: Talk, item: &Item) {
    let mark = match item.fate {
        Fate::Mirrored | Fate::Nothing => Mark::Good,
        Fate::SourceOnly | Fate::Inside | Fate::Around | Fate::ByHand => Mark::Warning,
    };
    let facts = if item.facts.is_empty() { String::new() } else { format!(": {}", printable(&item.facts)) };
    let _ = writeln!(out, "  {} {}{facts}", talk.mark(mark), printable(&item.name));
    let _ = writeln!(out, "      {}", printable(&item.does));
    // `twinline check` says which places are missing at the destination, and what makes them.
    if let Some(typed) = item.statement.as_ref().filter(|_| item.fate != Fate::Mirrored) {
        let _ = writeln!(out, "      to make it there: {}", printable(typed));
    }
}

/// Names come from servers; what goes to a terminal must not steer it.
fn printable(text: &str) -> String {
    let mut shown: String = text.chars().take(CHARS_MAX).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if text.chars().count() > CHARS_MAX {
        shown.push('…');
    }
    shown
}
