//! The shape of an InfluxQL answer in msgpack, and cells out of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use rmpv::ValueRef;

use crate::base::{Error, Kind, Result, Side};
use crate::cell::{Cell, FieldType, Series, Tags, Value};

/// One object of a chunked answer.
#[derive(Debug)]
pub(super) struct Document<'a> {
    pub(super) blocks: Vec<Block<'a>>,
    /// More objects of this statement follow.
    pub(super) partial: bool,
    /// The statement failed.
    pub(super) error: Option<String>,
}

/// Rows of one series.
#[derive(Debug)]
pub(super) struct Block<'a> {
    pub(super) name: Vec<u8>,
    pub(super) tags: Tags,
    pub(super) columns: Vec<Vec<u8>>,
    pub(super) rows: Vec<ValueRef<'a>>,
}

/// A text of the answer: msgpack calls it a string even when it is not UTF-8.
pub(super) fn text<'v>(value: &'v ValueRef<'_>) -> Option<&'v [u8]> {
    match value {
        ValueRef::String(text) => Some(text.as_bytes()),
        ValueRef::Binary(bytes) => Some(bytes),
        _ => None,
    }
}

pub(super) fn parse<'a>(object: &'a [u8], side: Side) -> Result<Document<'a>> {
    let mut rest = object;
    let value = rmpv::decode::read_value_ref(&mut rest)
        .map_err(|e| Error::new(Kind::Input, side, "the answer is not msgpack").because(e))?;
    document(value).ok_or_else(|| strange(side))
}

pub(super) fn strange(side: Side) -> Error {
    Error::new(Kind::Input, side, "the answer does not have the shape of an InfluxQL answer")
}

fn document(value: ValueRef<'_>) -> Option<Document<'_>> {
    let mut found = Document { blocks: Vec::new(), partial: false, error: None };
    for (key, value) in pairs(value)? {
        match text(&key)? {
            b"error" => found.error = Some(lossy(&value)?),
            b"results" => {
                // We send one statement a request, so there is one result.
                for result in list(value)? {
                    read_result(result, &mut found)?;
                }
            }
            _ => {}
        }
    }
    Some(found)
}

fn read_result<'a>(value: ValueRef<'a>, found: &mut Document<'a>) -> Option<()> {
    for (key, value) in pairs(value)? {
        match text(&key)? {
            b"error" => found.error = Some(lossy(&value)?),
            b"partial" => found.partial = matches!(value, ValueRef::Boolean(true)),
            b"series" => found.blocks = list(value)?.into_iter().map(block).collect::<Option<_>>()?,
            _ => {}
        }
    }
    Some(())
}

fn block(value: ValueRef<'_>) -> Option<Block<'_>> {
    let mut found = Block { name: Vec::new(), tags: Vec::new(), columns: Vec::new(), rows: Vec::new() };
    for (key, value) in pairs(value)? {
        match text(&key)? {
            b"name" => found.name = owned(&value)?,
            b"columns" => found.columns = list(value)?.iter().map(owned).collect::<Option<_>>()?,
            b"values" => found.rows = list(value)?,
            b"tags" => {
                for (key, value) in pairs(value)? {
                    found.tags.push((owned(&key)?, owned(&value)?));
                }
            }
            _ => {}
        }
    }
    Some(found)
}

fn pairs(value: ValueRef<'_>) -> Option<Vec<(ValueRef<'_>, ValueRef<'_>)>> {
    match value {
        ValueRef::Map(pairs) => Some(pairs),
        _ => None,
    }
}

/// A list; `nil` stands for an empty one.
fn list(value: ValueRef<'_>) -> Option<Vec<ValueRef<'_>>> {
    match value {
        ValueRef::Array(items) => Some(items),
        ValueRef::Nil => Some(Vec::new()),
        _ => None,
    }
}

fn owned(value: &ValueRef<'_>) -> Option<Vec<u8>> {
    text(value).map(<[u8]>::to_vec)
}

fn lossy(value: &ValueRef<'_>) -> Option<String> {
    text(value).map(|bytes| String::from_utf8_lossy(bytes).into_owned())
}

impl Block<'_> {
    /// Where a column stands.
    pub(super) fn column(&self, name: &[u8]) -> Option<usize> {
        self.columns.iter().position(|column| column == name)
    }

    /// The cells of a row at the places given, as text; `None` when the row is shorter or holds something else there.
    pub(super) fn texts<const N: usize>(row: &ValueRef<'_>, places: [usize; N]) -> Option<[Vec<u8>; N]> {
        let ValueRef::Array(items) = row else { return None };
        let mut found = [const { Vec::new() }; N];
        for (slot, place) in found.iter_mut().zip(places) {
            *slot = match items.get(place)? {
                ValueRef::Boolean(yes) => yes.to_string().into_bytes(),
                other => owned(other)?,
            };
        }
        Some(found)
    }
}

/// Whether the integers of a field carry a sign; msgpack alone does not tell below 128.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sign {
    Signed,
    Unsigned,
}

/// Signs of the integer fields in one window of one measurement.
pub(super) type Signs = BTreeMap<Vec<u8>, Sign>;

/// Why a block could not be turned into cells.
#[derive(Debug)]
pub(super) enum NoCells {
    /// A column with integers whose sign class is not known yet: a field younger than what we know.
    UnknownField(Vec<u8>),
    /// The answer is not what it should be.
    Strange,
}

/// Appends the cells of a block to `out`.
pub(super) fn cells(block: &Block<'_>, signs: &Signs, out: &mut Vec<Cell>) -> Result<(), NoCells> {
    if block.columns.first().is_none_or(|name| name != b"time") {
        return Err(NoCells::Strange);
    }
    let series = Arc::new(Series::new(block.name.clone(), block.tags.clone()));
    let fields: Vec<Arc<[u8]>> = block.columns.iter().map(|name| Arc::from(name.as_slice())).collect();
    for row in &block.rows {
        let ValueRef::Array(items) = row else { return Err(NoCells::Strange) };
        let time_ns = match items.first() {
            Some(ValueRef::Integer(time)) => time.as_i64().ok_or(NoCells::Strange)?,
            _ => return Err(NoCells::Strange),
        };
        if items.len() != fields.len() {
            return Err(NoCells::Strange);
        }
        for (item, field) in items.iter().zip(&fields).skip(1) {
            if let Some(value) = cell_value(item, field, signs)? {
                out.push(Cell { series: series.clone(), field: field.clone(), time_ns, value });
            }
        }
    }
    Ok(())
}

fn cell_value(item: &ValueRef<'_>, field: &[u8], signs: &Signs) -> Result<Option<Value>, NoCells> {
    Ok(Some(match item {
        ValueRef::Nil => return Ok(None),
        ValueRef::F64(v) => Value::Float(*v),
        ValueRef::Boolean(v) => Value::Boolean(*v),
        ValueRef::Integer(v) => match signs.get(field) {
            None => return Err(NoCells::UnknownField(field.to_vec())),
            Some(Sign::Signed) => Value::Integer(v.as_i64().ok_or(NoCells::Strange)?),
            Some(Sign::Unsigned) => Value::Unsigned(v.as_u64().ok_or(NoCells::Strange)?),
        },
        other => Value::String(text(other).ok_or(NoCells::Strange)?.to_vec()),
    }))
}

/// The sign class of fields that have only one integer type; the others need a look at their window.
pub(super) fn plain_signs(keys: &BTreeMap<Vec<u8>, Vec<FieldType>>) -> Signs {
    let sign = |types: &[FieldType]| match (types.contains(&FieldType::Integer), types.contains(&FieldType::Unsigned)) {
        (true, false) => Some(Sign::Signed),
        (false, true) => Some(Sign::Unsigned),
        _ => None,
    };
    keys.iter().filter_map(|(field, types)| Some((field.clone(), sign(types)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(columns: &[&str], rows: &[Vec<rmpv::Value>]) -> Vec<u8> {
        let text = |s: &str| rmpv::Value::from(s);
        let list = |items: Vec<rmpv::Value>| rmpv::Value::Array(items);
        let series = rmpv::Value::Map(vec![
            (text("name"), text("m")),
            (text("tags"), rmpv::Value::Map(vec![(text("t"), text("x")), (text("u"), text(""))])),
            (text("columns"), list(columns.iter().map(|c| text(c)).collect())),
            (text("values"), list(rows.iter().cloned().map(list).collect())),
        ]);
        let result = rmpv::Value::Map(vec![(text("series"), list(vec![series])), (text("partial"), true.into())]);
        let mut bytes = Vec::new();
        let whole = rmpv::Value::Map(vec![(text("results"), list(vec![result]))]);
        rmpv::encode::write_value(&mut bytes, &whole).unwrap();
        bytes
    }

    fn read(bytes: &[u8], signs: &Signs) -> Result<Vec<Cell>, NoCells> {
        let document = parse(bytes, Side::Source).unwrap();
        let mut out = Vec::new();
        document.blocks.iter().try_for_each(|block| cells(block, signs, &mut out))?;
        Ok(out)
    }

    #[test]
    fn rows_become_cells_of_the_right_types() {
        let row = vec![5.into(), 1.5.into(), rmpv::Value::Nil, 7.into(), 7.into(), "s".into(), true.into()];
        let bytes = answer(&["time", "f", "gone", "i", "u", "s", "b"], &[row]);
        let signs = Signs::from([(b"i".to_vec(), Sign::Signed), (b"u".to_vec(), Sign::Unsigned)]);
        let cells = read(&bytes, &signs).unwrap();
        let seen: Vec<_> = cells.iter().map(|c| (c.field.to_vec(), c.value.clone())).collect();
        let expected = [
            (b"f".to_vec(), Value::Float(1.5)),
            (b"i".to_vec(), Value::Integer(7)),
            (b"u".to_vec(), Value::Unsigned(7)),
            (b"s".to_vec(), Value::String(b"s".to_vec())),
            (b"b".to_vec(), Value::Boolean(true)),
        ];
        assert_eq!(seen, expected);
        assert_eq!(cells[0].time_ns, 5);
        assert_eq!(cells[0].series.tags(), &[(b"t".to_vec(), b"x".to_vec())], "an empty tag is no tag");
        assert!(parse(&bytes, Side::Source).unwrap().partial);
    }

    #[test]
    fn what_is_not_known_is_not_guessed() {
        let bytes = answer(&["time", "i"], &[vec![5.into(), 7.into()]]);
        assert!(matches!(read(&bytes, &Signs::new()), Err(NoCells::UnknownField(field)) if field == b"i"));
        let signs = Signs::from([(b"i".to_vec(), Sign::Unsigned)]);
        let bytes = answer(&["time", "i"], &[vec![5.into(), (-7).into()]]);
        assert!(matches!(read(&bytes, &signs), Err(NoCells::Strange)), "an unsigned field cannot be negative");
        let bytes = answer(&["time", "i"], &[vec![5.into()]]);
        assert!(matches!(read(&bytes, &signs), Err(NoCells::Strange)), "a short row");
        let bytes = answer(&["time", "i"], &[vec![1.5.into(), 1.5.into()]]);
        assert!(matches!(read(&bytes, &signs), Err(NoCells::Strange)), "a time that is no integer");
    }

    #[test]
    fn a_shape_that_is_no_answer_is_an_error() {
        for bytes in [&b"\x01"[..], b"\x81\xa7results\x01", b"\x81\xa7results\x91\x81\xa6series\x91\x01", b""] {
            assert!(parse(bytes, Side::Source).is_err(), "{bytes:?}");
        }
    }
}
