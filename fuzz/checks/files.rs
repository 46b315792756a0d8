//! Files of history: what is read depends on the bytes alone.
//!
//! Of the first four bytes one chooses the kind of file, one the size of the pieces in which it is read, one where it goes on.

use twinline::backfill::files::{Format, Found, Item, Options, Reader};
use twinline::base::Side;
use twinline::cell::{Series, Value};
use twinline::db::read::annotated::{Record, Records, Tables};

use super::{HEAD, PRECISIONS};

/// Longer rows than any of the input.
const ROW_BYTES_MAX: usize = 64 << 20;

fn read(format: Format, options: Options, file: &[u8], piece: usize) -> Vec<Item> {
    let (mut reader, mut all) = (Reader::new(format, options), Vec::new());
    for bytes in file.chunks(piece.max(1)) {
        reader.feed(bytes);
        all.extend(&mut reader);
    }
    reader.end();
    all.extend(&mut reader);
    all
}

pub fn files(input: &[u8]) {
    let Some((head, file)) = input.split_at_checked(HEAD) else { return };
    let format = if head[0] & 1 == 0 { Format::Lines } else { Format::Flux };
    let precision = PRECISIONS[usize::from(head[0] >> 1) % PRECISIONS.len()];
    let untimed_ns = (head[0] & 0x80 != 0).then_some(9);
    let options = Options { precision, untimed_ns, from: 0 };
    let whole = read(format, options, file, file.len());
    assert_eq!(read(format, options, file, usize::from(head[1])), whole, "{}", file.escape_ascii());
    in_order(&whole, file);
    goes_on(&whole, file, (format, options), usize::from(head[2]));
    if format == Format::Flux {
        as_an_answer(&whole, file);
    }
}

/// Places grow, lie in the file, and nothing comes behind what is broken.
fn in_order(items: &[Item], file: &[u8]) {
    let mut end = 0;
    for (number, item) in items.iter().enumerate() {
        assert!(
            item.at.byte <= item.end && end <= item.end && item.end <= file.len() as u64,
            "{}",
            file.escape_ascii()
        );
        end = item.end;
        match &item.found {
            Found::Point(point) => {
                assert!(!point.fields.is_empty(), "{}", file.escape_ascii());
                let mut keys: Vec<&Vec<u8>> = point.fields.iter().map(|(key, _)| key).collect();
                keys.sort();
                keys.dedup();
                assert_eq!(keys.len(), point.fields.len(), "no key twice: {}", file.escape_ascii());
            }
            Found::Fault(fault) => {
                assert!(fault.at.byte <= file.len() as u64, "{}", file.escape_ascii());
                assert!(!fault.code.is_empty() && !fault.reason.is_empty());
            }
            Found::Broken(_) => assert_eq!(number + 1, items.len(), "{}", file.escape_ascii()),
        }
    }
}

/// What was left at the end of an item goes on with the next one.
fn goes_on(items: &[Item], file: &[u8], (format, options): (Format, Options), choice: usize) {
    if items.is_empty() {
        return;
    }
    let done = items[choice % items.len()].end;
    let rest = read(format, Options { from: done, ..options }, file, 7);
    let rest: Vec<_> = rest.into_iter().filter(|item| item.end > done).collect();
    let behind: Vec<_> = items.iter().filter(|item| item.end > done).cloned().collect();
    assert_eq!(rest, behind, "from {done}: {}", file.escape_ascii());
}

/// The same bytes as an answer hold the same rows, up to the first that is none.
fn as_an_answer(items: &[Item], file: &[u8]) {
    let (mut records, mut tables) = (Records::new(ROW_BYTES_MAX, Side::Source), Tables::default());
    let mut rows: Vec<(Series, Vec<u8>, Value, i64)> = Vec::new();
    records.push(file);
    while let Some(record) = records.take().expect("no row is too long") {
        match tables.record(record, true) {
            Record::Nothing => {}
            Record::Row(series, field, value, time_ns) => rows.push((series, field, value, time_ns)),
            Record::Odd(_) | Record::Broken(_) => break,
        }
    }
    let points = items.iter().map_while(|item| match &item.found {
        Found::Point(point) => Some(point),
        _ => None,
    });
    let found: Vec<_> = points
        .map(|point| ((*point.series).clone(), point.fields[0].0.clone(), point.fields[0].1.clone(), point.time_ns))
        .collect();
    assert_eq!(found, rows, "{}", file.escape_ascii());
}
