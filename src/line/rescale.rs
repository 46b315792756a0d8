//! The same lines with their times in another unit, for a destination that does not know the client's.
//!
//! Promise: what comes out are the lines that the dialect accepts, in order, each with the same data and the same time; only the
//! digits of times differ. Nothing is rounded. A line that has no such form is left out and named: one that the dialect refuses
//! (in another unit it could become one that is accepted, as a time beyond 64 bits does), or one whose time is no whole number
//! of the new unit. Lines without a time stay so: [`super::stamp`] comes first.
//!
//! Delivery writes nanoseconds into lines that it takes apart anyway; this is for bodies that are sent on whole. Not wired up yet.

use std::borrow::Cow;
use std::ops::Range;

use super::canonical::write_integer;
use super::careful::skip_blanks;
use super::fast::Reader;
use super::patch::Patch;
use super::point::Nothing;
use super::reason::Reason;
use super::{Dialect, Precision};

/// Why a line cannot be written in another unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unscaled {
    /// The dialect refuses it; times beyond the range of the servers are among these.
    #[error("{0}")]
    Malformed(Reason),
    /// Its time lies between two of the new unit.
    #[error("the time is no whole number of {}s", .0.name())]
    Inexact(Precision),
}

/// The accepted lines of a body of precision `from`, with times in precision `to`; comments and blank lines stay.
#[must_use]
pub fn rescale(
    body: &[u8],
    dialect: Dialect,
    from: Precision,
    to: Precision,
    mut left_out: impl FnMut(Range<usize>, Unscaled),
) -> Cow<'_, [u8]> {
    let mut patch = Patch::new(body);
    let mut reader = Reader::new(body, dialect, from);
    let mut refuse = |patch: &mut Patch<'_>, line: Range<usize>, why| {
        patch.leave_out(line.clone());
        left_out(line, why);
    };
    while let Some(outcome) = reader.next(&mut Nothing) {
        let frame = match outcome {
            Ok(frame) => frame,
            Err(refused) => {
                refuse(&mut patch, refused.span, Unscaled::Malformed(refused.reason));
                continue;
            }
        };
        let Some(time_ns) = frame.time_ns.filter(|_| from != to) else { continue };
        if time_ns % to.unit_ns() != 0 {
            refuse(&mut patch, frame.start..frame.end, Unscaled::Inexact(to));
            continue;
        }
        // Behind the fields of an accepted line stand blanks, the time, and perhaps spaces.
        let start = skip_blanks(&body[..frame.end], frame.fields_end);
        let spaces = body[start..frame.end].iter().rev().take_while(|byte| **byte == b' ').count();
        write_integer(time_ns / to.unit_ns(), patch.replace(start..frame.end - spaces));
    }
    patch.finish()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::naive::{self, Point};
    use super::super::tests::{PRECISIONS, any_body};
    use super::*;

    fn points(body: &[u8], precision: Precision) -> Vec<Point> {
        naive::parse(body, Dialect::Influx2, precision).into_iter().filter_map(|(_, point)| point.ok()).collect()
    }

    fn rescaled(body: &str, from: Precision, to: Precision) -> (String, Vec<(Range<usize>, Unscaled)>) {
        let mut left_out = Vec::new();
        let out = rescale(body.as_bytes(), Dialect::Influx1, from, to, |line, why| left_out.push((line, why)));
        (String::from_utf8(out.into_owned()).unwrap(), left_out)
    }

    #[test]
    fn only_the_digits_of_times_change() {
        let body = "# note 5\nm,t=a v=1 5\n\nm v=2\n  n\\ x s=\"a 7\"  -5  \nm v=3 0";
        let (out, left_out) = rescaled(body, Precision::Second, Precision::Millisecond);
        assert_eq!(out, "# note 5\nm,t=a v=1 5000\n\nm v=2\n  n\\ x s=\"a 7\"  -5000  \nm v=3 0");
        assert_eq!(left_out, []);
        assert_eq!(rescaled(&out, Precision::Millisecond, Precision::Second).0, body);
    }

    #[test]
    fn what_cannot_be_said_exactly_is_left_out_with_the_reason() {
        let (out, left_out) = rescaled("m v=1 1500\nm v=2 2000\n", Precision::Millisecond, Precision::Second);
        assert_eq!(out, "m v=2 2\n");
        assert_eq!(left_out, [(0..10, Unscaled::Inexact(Precision::Second))]);
        assert_eq!(left_out[0].1.to_string(), "the time is no whole number of seconds");
        // As nanoseconds the first one would be a time of the year 1970.
        let (out, left_out) = rescaled("m v=1 9999999999999\nm v=2 1", Precision::Second, Precision::Nanosecond);
        assert_eq!(out, "m v=2 1000000000");
        assert_eq!(left_out, [(0..19, Unscaled::Malformed(Reason::TimeOutOfRange))]);
    }

    #[test]
    fn a_body_that_stays_is_not_copied() {
        let body = b"m v=1 5\nm v=2\n";
        let same = rescale(body, Dialect::Influx1, Precision::Second, Precision::Second, |_, _| panic!("all is well"));
        assert!(matches!(same, Cow::Borrowed(_)));
        let untimed = rescale(&body[8..], Dialect::Influx1, Precision::Second, Precision::Hour, |_, _| panic!());
        assert!(matches!(untimed, Cow::Borrowed(_)));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn the_same_points_at_the_same_times_come_out(
            body in any_body(),
            from in prop::sample::select(&PRECISIONS[..]),
            to in prop::sample::select(&PRECISIONS[..]),
        ) {
            let mut left_out = 0;
            let out = rescale(&body, Dialect::Influx2, from, to, |_, _| left_out += 1);
            let whole = |point: &Point| point.time_ns.is_none_or(|at| at % to.unit_ns() == 0);
            let all = naive::parse(&body, Dialect::Influx2, from);
            let expected: Vec<Point> = all.iter().filter_map(|(_, point)| point.clone().ok()).filter(whole).collect();
            prop_assert_eq!(left_out, all.len() - expected.len());
            prop_assert_eq!(naive::parse(&out, Dialect::Influx2, to).len(), expected.len(), "nothing else comes out");
            prop_assert_eq!(points(&out, to), expected);
        }
    }
}
