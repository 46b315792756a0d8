//! `clock`: how far a database's clock is from ours, as far as the `Date` of an answer can tell: it has whole seconds.

use http::HeaderMap;
use http::header::DATE;

use super::finding::{Code, Finding, Group, State};
use super::subject::Subject;

const SECOND_NS: i64 = 1_000_000_000;
/// A certain difference above this is worth looking at.
const WARNED_NS: i64 = SECOND_NS;

/// The date of an answer, with our own time before the question and after the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Dated {
    theirs_ns: i64,
    sent_ns: i64,
    got_ns: i64,
}

impl Dated {
    pub(super) fn read(headers: &HeaderMap, sent_ns: i64, got_ns: i64) -> Option<Self> {
        let date = httpdate::parse_http_date(headers.get(DATE)?.to_str().ok()?).ok()?;
        let since = date.duration_since(std::time::UNIX_EPOCH).ok()?;
        Some(Self { theirs_ns: i64::try_from(since.as_nanos()).ok()?, sent_ns, got_ns })
    }

    /// Least and greatest difference (theirs minus ours) that this answer allows.
    fn bounds_ns(self) -> (i64, i64) {
        // The server's clock was anywhere within the second that it names, at any moment between question and answer.
        (
            self.theirs_ns.saturating_sub(self.got_ns),
            self.theirs_ns.saturating_add(SECOND_NS).saturating_sub(self.sent_ns),
        )
    }
}

/// What the date says.
pub(super) fn judge(subject: &Subject<'_>, dated: Option<Dated>) -> Finding {
    let Some(dated) = dated else {
        let text = "its answers have no Date: the clock cannot be compared";
        return subject.found(Group::Clock, State::Unknown, Code::CLOCK, text);
    };
    let (state, text) = verdict(dated.bounds_ns());
    let finding = subject.found(Group::Clock, state, Code::CLOCK, text);
    if state == State::Ok {
        return finding;
    }
    finding.fix("let both machines follow the same time servers; lines without a time are stamped by Twinline's clock")
}

fn verdict((least_ns, most_ns): (i64, i64)) -> (State, String) {
    let certain_ns = if least_ns > 0 { least_ns } else { (-most_ns).max(0) };
    if certain_ns > WARNED_NS {
        let about = (least_ns / 2 + most_ns / 2) as f64 / 1e9;
        let direction = if about > 0.0 { "ahead of" } else { "behind" };
        let text = format!(
            "its clock is about {:.0} s {direction} ours (the Date of an answer has whole seconds)",
            about.abs()
        );
        return (State::Warning, text);
    }
    let within_s = least_ns.unsigned_abs().max(most_ns.unsigned_abs()) as f64 / 1e9;
    (State::Ok, format!("clock differs by less than {within_s:.1} s (the Date of an answer has whole seconds)"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dated(theirs_s: f64, sent_s: f64, got_s: f64) -> Dated {
        let ns = |s: f64| (s * 1e9) as i64;
        Dated { theirs_ns: ns(theirs_s), sent_ns: ns(sent_s), got_ns: ns(got_s) }
    }

    #[test]
    fn only_a_difference_that_is_certain_is_told() {
        // Ours is 100.9 in the same second: no difference at all is possible.
        assert_eq!(verdict(dated(100.0, 100.9, 100.91).bounds_ns()).0, State::Ok);
        // The answer took three seconds: their second lies within.
        assert_eq!(verdict(dated(102.0, 100.0, 103.0).bounds_ns()).0, State::Ok);
        for (theirs, direction) in [(110.0, "10 s ahead"), (90.0, "10 s behind")] {
            let (state, text) = verdict(dated(theirs, 100.4, 100.41).bounds_ns());
            assert!(state == State::Warning && text.contains(direction), "{text}");
        }
    }

    #[test]
    fn a_date_that_cannot_be_read_is_none() {
        let mut headers = HeaderMap::new();
        assert_eq!(Dated::read(&headers, 0, 0), None);
        headers.insert(DATE, http::HeaderValue::from_static("tomorrow"));
        assert_eq!(Dated::read(&headers, 0, 0), None);
        headers.insert(DATE, http::HeaderValue::from_static("Thu, 01 Jan 1970 00:01:40 GMT"));
        assert_eq!(Dated::read(&headers, 1, 2), Some(Dated { theirs_ns: 100 * SECOND_NS, sent_ns: 1, got_ns: 2 }));
    }
}
