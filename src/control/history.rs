//! What a destination lacks of the time before its mirror began, by the copies that have come to their end.
//!
//! Promise: history is called copied only where a copy of everything, beside live writes and without a loss, has ended; whatever was
//! narrower says how far it reaches.

use serde::Deserialize;

use super::share::Began;
use super::status::on_screen;
use crate::base::clock::{parse_rfc3339, rfc3339};
use crate::state::{EndedCopy, JobState};

/// Copies of a part of history that are named, the newest.
const NAMED_MAX: usize = 3;

/// What a job was to copy, as far as it narrows it; kept as JSON with the job.
#[derive(Debug, Default, Deserialize)]
struct Reach {
    db: Vec<String>,
    since_ns: Option<i64>,
    until_ns: Option<i64>,
    #[serde(default)]
    offline: bool,
}

impl Reach {
    fn is_all(&self) -> bool {
        self.db.is_empty() && self.since_ns.is_none() && self.until_ns.is_none()
    }

    fn text(&self) -> String {
        let mut said = Vec::new();
        if !self.db.is_empty() {
            said.push(format!("of {}", on_screen(&self.db.join(", "))));
        }
        said.extend(self.since_ns.map(|ns| format!("from {} on", rfc3339(ns))));
        said.extend(self.until_ns.map(|ns| format!("before {}", rfc3339(ns))));
        said.join(" ")
    }
}

/// The sentences about it; none where all of it is there. `copies`: the newest first; `began`: where the mirror has a beginning of its own,
/// before which a copy says nothing about it.
pub(super) fn not_covered(copies: &[EndedCopy], began: Option<&Began>) -> Vec<String> {
    let began_ns = began.and_then(|began| parse_rfc3339(&began.at)).unwrap_or(i64::MIN);
    let of_ours = copies.iter().filter(|copy| copy.created_ns >= began_ns);
    // What cannot be read says nothing about what is there.
    let known: Vec<(&EndedCopy, Reach)> =
        of_ours.filter_map(|copy| Some((copy, serde_json::from_str(&copy.scope).ok()?))).collect();
    let all = |(_, reach): &&(&EndedCopy, Reach)| reach.is_all();
    let lossless = |(copy, _): &&(&EndedCopy, Reach)| copy.state == JobState::Done;
    if known.iter().filter(all).filter(lossless).any(|(_, reach)| !reach.offline) {
        return Vec::new();
    }
    let lost = |(copy, _): &(&EndedCopy, Reach)| {
        format!(
            "history from before the start is copied but for what job {} gave up or the destination refused of it \
             (twinline backfill status)",
            copy.job
        )
    };
    if let Some(whole) = known.iter().filter(all).find(|one| one.0.state == JobState::Done) {
        let at = rfc3339(whole.0.created_ns);
        return vec![format!(
            "history is copied as the source had it at {at}: what clients wrote or deleted there between that and the start of the \
             mirror is not (twinline backfill gap --restored-from {at})"
        )];
    }
    if let Some(whole) = known.iter().find(all) {
        return vec![lost(whole)];
    }
    if known.is_empty() {
        return match began {
            Some(began) => vec![began.text()],
            None => vec!["history from before the start is not copied".to_owned()],
        };
    }
    let mut parts: Vec<String> = known.iter().take(NAMED_MAX).map(|(_, reach)| reach.text()).collect();
    if known.len() > NAMED_MAX {
        parts.push(format!("what {} copies more have taken", known.len() - NAMED_MAX));
    }
    vec![format!("history from before the start is copied only in part: {}", parts.join("; "))]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copy(job: i64, state: JobState, scope: &str) -> EndedCopy {
        EndedCopy { job, state, scope: scope.to_owned(), created_ns: 1_700_000_000_000_000_000 }
    }

    const ALL: &str = r#"{"db":[],"since_ns":null,"until_ns":null,"merge":true}"#;
    const PART: &str = r#"{"db":["nix*","a\u001bb"],"since_ns":0,"until_ns":null,"merge":true}"#;

    fn said(copies: &[EndedCopy]) -> String {
        not_covered(copies, None).join(" | ")
    }

    #[test]
    fn history_is_covered_by_a_copy_of_all_of_it_and_by_nothing_less() {
        assert_eq!(said(&[]), "history from before the start is not copied");
        assert_eq!(said(&[copy(1, JobState::Done, ALL)]), "");
        assert_eq!(
            said(&[copy(2, JobState::Done, PART), copy(1, JobState::Done, ALL)]),
            "",
            "a narrower one takes nothing away"
        );
        let part = said(&[copy(1, JobState::Done, PART)]);
        assert_eq!(
            part,
            "history from before the start is copied only in part: of nix*, a b from 1970-01-01T00:00:00Z on"
        );
        let many: Vec<EndedCopy> = (0..9).map(|job| copy(job, JobState::Done, PART)).collect();
        assert!(said(&many).ends_with("; what 6 copies more have taken"), "{}", said(&many));
        let lost = said(&[copy(7, JobState::Partial, ALL), copy(1, JobState::Done, PART)]);
        assert!(lost.contains("but for what job 7 gave up"), "{lost}");
        let offline = said(&[copy(
            1,
            JobState::Done,
            r#"{"db":[],"since_ns":null,"until_ns":null,"merge":false,"offline":true}"#,
        )]);
        assert!(offline.contains("as the source had it at 2023-11-14T22:13:20Z"), "{offline}");
    }

    #[test]
    fn a_destination_that_began_later_needs_a_copy_from_after_that() {
        let began = |at: &str| Began { lsn: 9, at: at.to_owned() };
        let (before, after) = (began("2023-11-14T22:13:00Z"), began("2023-11-14T22:14:00Z"));
        let copies = [copy(1, JobState::Done, ALL)];
        assert_eq!(not_covered(&copies, Some(&before)), Vec::<String>::new());
        assert_eq!(not_covered(&copies, Some(&after)), [after.text()]);
    }
}
