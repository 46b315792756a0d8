//! Each level of the parser against the slow reader.

use std::ops::Range;

use twinline::line::{self, Dialect, Line, Precision};

use super::{HEAD, Shape, Shapes, copied, fastest, merged, rules, slow, values};

pub fn levels(input: &[u8]) {
    let Some((head, body)) = input.split_first_chunk::<HEAD>() else { return };
    let (dialect, precision) = rules(head[0]);
    read_alike(body, dialect, precision);
    values(fastest(), body, dialect, precision);
    let ends = ends_alike(body);
    shaped_alike(body, &ends, dialect, precision);
}

/// Lines, outlines and figures.
fn read_alike(body: &[u8], dialect: Dialect, precision: Precision) {
    let expected = slow(body, dialect, precision);
    let found: Vec<_> = line::lines(body, dialect, precision)
        .map(|outcome| match outcome {
            Ok(line) => (line.span(), Ok(copied(&line))),
            Err(refused) => {
                assert_eq!(refused.raw, &body[refused.span.clone()]);
                assert!((refused.span.start..=refused.span.end).contains(&refused.at), "{refused:?}");
                (refused.span, Err(merged(refused.reason)))
            }
        })
        .collect();
    assert_eq!(found, expected);

    let good = expected.iter().filter_map(|(span, outcome)| Some((span, outcome.as_ref().ok()?.time_ns)));
    let default_ns = 1_600_000_000_123_456_789;
    let summary = line::inspect(body, dialect, precision, default_ns);
    let times: Vec<i64> = good.clone().map(|(_, time)| time.unwrap_or(precision.truncate(default_ns))).collect();
    assert_eq!((summary.lines as usize, summary.malformed as usize), (times.len(), expected.len() - times.len()));
    assert_eq!(summary.untimed as usize, good.filter(|(_, time)| time.is_none()).count());
    assert_eq!(summary.min_ns, times.iter().copied().min().unwrap_or(i64::MAX));
    assert_eq!(summary.max_ns, times.iter().copied().max().unwrap_or(i64::MIN));

    let mut all = line::lines(body, dialect, precision);
    let key = line::SeriesKey::new(body.len() as u128);
    let counted =
        line::outline_with(key, body, dialect, precision, default_ns, |outlined| match (outlined, all.next()) {
            (Ok(outlined), Some(Ok(read))) => {
                assert_eq!(
                    (&outlined.span, outlined.fields_end, outlined.time_ns, outlined.series),
                    (&read.span(), read.fields_end(), read.timestamp_ns(), line::series_hash_with(key, &read))
                );
                assert!(outlined.careful.is_none_or(|whole| copied(&whole) == copied(&read)));
            }
            (Err(outlined), Some(Err(read))) => assert_eq!(outlined, read),
            other => panic!("{other:?}"),
        });
    assert!(all.next().is_none());
    assert_eq!(counted, summary);
}

/// Line ends: those of lines that are neither blank nor comments are the slow reader's.
fn ends_alike(body: &[u8]) -> Vec<Range<usize>> {
    let mut ends = Vec::new();
    line::boundaries(body, |span| ends.push(span));
    let mut next = 0;
    for span in &ends {
        assert_eq!(span.start, next);
        assert!(span.end == body.len() || body[span.end] == b'\n');
        next = span.end + 1;
    }
    assert!(next >= body.len());
    let said = ends.iter().filter_map(|span| {
        let text = body[span.clone()].iter().find(|byte| !b" \t\0".contains(byte))?;
        // Where a body ends inside quotes.
        let open = body[span.clone()].ends_with(b"\n");
        (*text != b'#').then_some(span.start..span.end - usize::from(open))
    });
    let expected = slow(body, Dialect::Influx2, Precision::Nanosecond).into_iter().map(|(span, _)| span);
    assert!(said.eq(expected), "{ends:?}");
    ends
}

/// Structure: each line once, and of those that are accepted what reading finds.
fn shaped_alike(body: &[u8], ends: &[Range<usize>], dialect: Dialect, precision: Precision) {
    let mut shapes = Shapes::default();
    line::spans(body, &mut shapes);
    let shapes = shapes.lines;
    assert!(shapes.iter().map(|shape| shape.start(body)).eq(ends.iter().map(|span| span.start)), "{shapes:?}");
    let mut left = shapes.iter().zip(ends);
    for read in line::lines(body, dialect, precision).flatten() {
        let (shape, span) = left.find(|(_, span)| span.start == read.span().start).expect("each line has a shape");
        match shape {
            Shape::Ordinary { measurement, tags, fields, time } => {
                let of = of_line(&read);
                assert_eq!((*measurement, tags, fields), (of.0, &of.1, &of.2));
                let count = std::str::from_utf8(time).expect("it was accepted").trim_start_matches(['\t', '\0']);
                let count = (!count.is_empty()).then(|| count.parse::<i64>().expect("it was accepted"));
                assert_eq!(read.timestamp_ns(), count.map(|count| count * precision.unit_ns()));
            }
            Shape::Other(raw) => assert_eq!(*raw, &body[span.clone()]),
        }
    }
}

fn of_line<'a>(line: &Line<'a>) -> (&'a [u8], super::Pairs<'a>, super::Pairs<'a>) {
    let tags = line.tags().iter().map(|tag| (tag.raw_key(), tag.raw_value())).collect();
    let fields = line.fields().iter().map(|field| (field.raw_key(), field.raw_value())).collect();
    (line.raw_measurement(), tags, fields)
}
