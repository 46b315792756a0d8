use std::sync::Arc;

use super::*;
use crate::cell::SumKey;

const KEY: SumKey = SumKey([3, 4]);

fn cells() -> Vec<Cell> {
    let tag = |k: &str, v: &str| (k.as_bytes().to_vec(), v.as_bytes().to_vec());
    let series = [
        Arc::new(Series::new(b"m".to_vec(), vec![tag("host", "a"), tag("r", "\u{e4} ,=")])),
        Arc::new(Series::new(b"m".to_vec(), vec![tag("host", "b")])),
    ];
    let values = [
        Value::Float(-0.0),
        Value::Float(f64::NAN),
        Value::Integer(i64::MIN),
        Value::Unsigned(u64::MAX),
        Value::Boolean(true),
        Value::Boolean(false),
        Value::String(vec![0xff, b'"', b'\n', 0]),
        Value::String(Vec::new()),
    ];
    let mut all = Vec::new();
    for series in &series {
        for time_ns in [i64::MIN + 2, -1, 0, 1_700_000_000_123_456_789, i64::MAX - 1] {
            for (at, value) in values.iter().enumerate().skip((time_ns & 1) as usize) {
                let field: Arc<[u8]> = format!("f{at}").into_bytes().into();
                all.push(Cell { series: Arc::clone(series), field, time_ns, value: value.clone() });
            }
        }
    }
    all
}

fn spooled(path: &Path, cells: &[Cell]) -> Totals {
    let mut writer = SpoolWriter::create(path, KEY, u64::MAX).unwrap();
    // In pieces that cut points.
    for piece in cells.chunks(5) {
        writer.add(piece.to_vec()).unwrap();
    }
    writer.finish().unwrap()
}

fn read(path: &Path, totals: Totals) -> crate::base::Result<Vec<Cell>> {
    let (mut reader, mut all) = (SpoolReader::open(path, totals)?, Vec::new());
    while let Some(points) = reader.next()? {
        all.extend(points.iter().flat_map(Point::cells));
    }
    Ok(all)
}

#[test]
fn every_cell_comes_back_in_order_and_with_every_bit() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.spool");
    let cells = cells();
    let totals = spooled(&path, &cells);
    assert_eq!(read(&path, totals).unwrap(), cells);
    assert_eq!((totals.points, totals.sum.cells, totals.types.iter().sum::<u64>()), (10, 76, 76));
    assert_eq!(totals.times_ns, (i64::MIN + 2, i64::MAX - 1));
    let mut summer = crate::cell::Summer::new(KEY);
    cells.iter().for_each(|cell| summer.add(cell));
    assert_eq!(totals.sum, summer.total());
    let none = spooled(&path, &[]);
    assert_eq!((none.points, read(&path, none).unwrap()), (0, Vec::new()));
}

#[test]
fn many_frames_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.spool");
    let series = Arc::new(Series::new(b"m".to_vec(), Vec::new()));
    let mut random = fastrand::Rng::with_seed(1);
    let value = |random: &mut fastrand::Rng| Value::String((0..200).map(|_| random.u8(..)).collect());
    let cells: Vec<Cell> = (0..10_000)
        .map(|time_ns| Cell { series: series.clone(), field: b"f"[..].into(), time_ns, value: value(&mut random) })
        .collect();
    let totals = spooled(&path, &cells);
    assert_eq!(read(&path, totals).unwrap(), cells);
    let small = SpoolWriter::create(&path, KEY, 100_000);
    let error = small.and_then(|mut writer| writer.add(cells).and_then(|()| writer.finish())).unwrap_err();
    assert_eq!(error.kind(), Kind::Limit);
}

#[test]
fn every_flipped_byte_and_every_cut_is_seen() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.spool");
    let totals = spooled(&path, &cells());
    let whole = std::fs::read(&path).unwrap();
    SpoolReader::verify(&path, totals).unwrap();
    let fails = |bytes: &[u8], what: &str| {
        std::fs::write(&path, bytes).unwrap();
        let error = SpoolReader::verify(&path, totals).expect_err(what);
        assert_eq!(error.kind(), Kind::Damage, "{what}: {error}");
    };
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x41;
        fails(&bytes, &format!("byte {at} flipped"));
        fails(&whole[..at], &format!("cut at {at}"));
    }
    fails(&[&whole[..], b"x"].concat(), "one byte more");
    fails(&[&whole[..], &whole[8..]].concat(), "its frames once more");
    std::fs::write(&path, &whole).unwrap();
    let other = Totals { points: totals.points + 1, ..totals };
    assert!(SpoolReader::verify(&path, other).is_err(), "not the spool that is meant");
}
