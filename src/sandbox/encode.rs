//! Answers as bytes: JSON and msgpack, whole or in chunks, the way InfluxDB 1.x writes them.

use crate::base::clock::rfc3339;
use crate::cell::Value;

use super::query::{Datum, Outcome, Table};

/// The format that a client accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Json,
    Msgpack,
}

impl Format {
    /// The first of the `Accept` list that we can write; JSON when there is none.
    pub(super) fn accepted(accept: &str) -> Self {
        let mut kinds = accept.split(',').map(|part| part.split(';').next().unwrap_or("").trim());
        let format = kinds.find_map(|kind| match kind {
            "application/x-msgpack" => Some(Self::Msgpack),
            "application/json" => Some(Self::Json),
            _ => None,
        });
        format.unwrap_or(Self::Json)
    }

    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Msgpack => "application/x-msgpack",
        }
    }
}

/// How times are written: `None` as text (msgpack: as its time extension), else divided by so many nanoseconds.
pub(super) type Epoch = Option<i64>;

/// What the `epoch` parameter means.
pub(super) fn epoch(parameter: &str) -> Epoch {
    match parameter {
        "" => None,
        "u" => Some(1_000),
        "ms" => Some(1_000_000),
        "s" => Some(1_000_000_000),
        "m" => Some(60_000_000_000),
        "h" => Some(3_600_000_000_000),
        _ => Some(1),
    }
}

/// A tree that both formats can be written from.
#[derive(Debug)]
enum Node<'a> {
    Null,
    Bool(bool),
    Integer(i64),
    Unsigned(u64),
    Float(f64),
    Text(&'a [u8]),
    Owned(String),
    Time(i64),
    List(Vec<Node<'a>>),
    Map(Vec<(&'a [u8], Node<'a>)>),
}

/// One result of an answer, still to be written.
#[derive(Debug)]
pub(super) struct Answer<'a> {
    pub(super) outcome: &'a Outcome,
    pub(super) warning: Option<String>,
}

/// Writes a whole answer: one document, or with `chunk_rows` one for each piece of a series.
pub(super) fn answer<'a>(
    answers: &'a [Answer<'a>],
    format: Format,
    epoch: Epoch,
    chunk_rows: Option<usize>,
) -> Vec<u8> {
    let mut out = Vec::new();
    let Some(chunk_rows) = chunk_rows else {
        let tables = |outcome: &'a Outcome| outcome.tables.iter().map(|t| table(t, 0..t.rows.len(), false)).collect();
        let results = answers.iter().enumerate().map(|(id, answer)| result(id, answer, tables(answer.outcome), false));
        let results = results.collect();
        document(results, format, epoch, &mut out);
        return out;
    };
    for (id, answer) in answers.iter().enumerate() {
        let pieces = pieces(&answer.outcome.tables, chunk_rows.max(1));
        if pieces.is_empty() {
            document(vec![result(id, answer, Vec::new(), false)], format, epoch, &mut out);
        }
        for (at, (t, rows)) in pieces.iter().enumerate() {
            let more_rows = rows.end < t.rows.len();
            let more = at + 1 < pieces.len();
            let tables = vec![table(t, rows.clone(), more_rows)];
            document(vec![result(id, answer, tables, more)], format, epoch, &mut out);
        }
    }
    out
}

/// An answer that is only an error.
pub(super) fn error(text: &str, format: Format) -> Vec<u8> {
    let mut out = Vec::new();
    put(&Node::Map(vec![(b"error", Node::Text(text.as_bytes()))]), format, None, &mut out);
    out
}

fn pieces(tables: &[Table], chunk_rows: usize) -> Vec<(&Table, std::ops::Range<usize>)> {
    let mut found = Vec::new();
    for table in tables {
        let mut start = 0;
        while start < table.rows.len() {
            let end = table.rows.len().min(start.saturating_add(chunk_rows));
            found.push((table, start..end));
            start = end;
        }
    }
    found
}

fn result<'a>(id: usize, answer: &'a Answer<'_>, tables: Vec<Node<'a>>, more: bool) -> Node<'a> {
    let mut pairs = vec![(b"statement_id".as_slice(), Node::Integer(id as i64))];
    if !tables.is_empty() {
        pairs.push((b"series", Node::List(tables)));
    }
    if let Some(warning) = &answer.warning {
        let message =
            vec![(b"level".as_slice(), Node::Text(b"warning")), (b"text".as_slice(), Node::Text(warning.as_bytes()))];
        pairs.push((b"messages", Node::List(vec![Node::Map(message)])));
    }
    if let Some(error) = &answer.outcome.error {
        pairs.push((b"error", Node::Text(error.as_bytes())));
    }
    if more {
        pairs.push((b"partial", Node::Bool(true)));
    }
    Node::Map(pairs)
}

fn table(table: &Table, rows: std::ops::Range<usize>, more: bool) -> Node<'_> {
    let mut pairs = Vec::new();
    if !table.name.is_empty() {
        pairs.push((b"name".as_slice(), Node::Text(&table.name)));
    }
    if !table.tags.is_empty() {
        let tags = table.tags.iter().map(|(key, value)| (key.as_slice(), Node::Text(value))).collect();
        pairs.push((b"tags", Node::Map(tags)));
    }
    pairs.push((b"columns", Node::List(table.columns.iter().map(|column| Node::Text(column)).collect())));
    let rows = table.rows[rows].iter().map(|row| Node::List(row.iter().map(datum).collect()));
    pairs.push((b"values", Node::List(rows.collect())));
    if more {
        pairs.push((b"partial", Node::Bool(true)));
    }
    Node::Map(pairs)
}

fn datum(datum: &Datum) -> Node<'_> {
    match datum {
        Datum::Null => Node::Null,
        Datum::Time(time_ns) => Node::Time(*time_ns),
        Datum::Value(Value::Float(v)) => Node::Float(*v),
        Datum::Value(Value::Integer(v)) => Node::Integer(*v),
        Datum::Value(Value::Unsigned(v)) => Node::Unsigned(*v),
        Datum::Value(Value::Boolean(v)) => Node::Bool(*v),
        Datum::Value(Value::String(v)) => Node::Text(v),
    }
}

fn document(results: Vec<Node<'_>>, format: Format, epoch: Epoch, out: &mut Vec<u8>) {
    put(&Node::Map(vec![(b"results", Node::List(results))]), format, epoch, out);
}

fn put(node: &Node<'_>, format: Format, epoch: Epoch, out: &mut Vec<u8>) {
    match format {
        Format::Json => {
            put_json(node, epoch, out);
            out.push(b'\n');
        }
        Format::Msgpack => put_msgpack(node, epoch, out),
    }
}

fn put_json(node: &Node<'_>, epoch: Epoch, out: &mut Vec<u8>) {
    match node {
        Node::Null => out.extend_from_slice(b"null"),
        Node::Bool(v) => out.extend_from_slice(if *v { b"true" } else { b"false" }),
        Node::Integer(v) => out.extend_from_slice(v.to_string().as_bytes()),
        Node::Unsigned(v) => out.extend_from_slice(v.to_string().as_bytes()),
        Node::Float(v) => out.extend_from_slice(float_text(*v).as_bytes()),
        Node::Text(v) => put_json_text(v, out),
        Node::Owned(v) => put_json_text(v.as_bytes(), out),
        Node::Time(time_ns) => {
            let time = epoch.map_or_else(|| Node::Owned(rfc3339(*time_ns)), |unit| Node::Integer(time_ns / unit));
            put_json(&time, None, out);
        }
        Node::List(items) => {
            put_joined(b'[', items, out, |item, out| put_json(item, epoch, out));
            out.push(b']');
        }
        Node::Map(pairs) => {
            put_joined(b'{', pairs, out, |(key, value), out| {
                put_json_text(key, out);
                out.push(b':');
                put_json(value, epoch, out);
            });
            out.push(b'}');
        }
    }
}

fn put_joined<T>(open: u8, items: &[T], out: &mut Vec<u8>, mut put: impl FnMut(&T, &mut Vec<u8>)) {
    out.push(open);
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        put(item, out);
    }
}

/// Stray bytes become U+FFFD, and `<`, `>`, `&` are escaped, as Go's encoder does.
fn put_json_text(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    for piece in text.utf8_chunks() {
        for c in piece.valid().chars() {
            match c {
                '"' | '\\' => out.extend_from_slice(&[b'\\', c as u8]),
                '\n' => out.extend_from_slice(b"\\n"),
                '\r' => out.extend_from_slice(b"\\r"),
                '\t' => out.extend_from_slice(b"\\t"),
                '\0'..='\x1f' | '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                    out.extend_from_slice(format!("\\u{:04x}", u32::from(c)).as_bytes());
                }
                c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        for _ in piece.invalid() {
            out.extend_from_slice(b"\\ufffd");
        }
    }
    out.push(b'"');
}

/// The shortest digits that read back the same; with an exponent below 1e-6 and from 1e21 on.
fn float_text(v: f64) -> String {
    if !v.is_finite() {
        return "null".to_owned();
    }
    let size = v.abs();
    if size != 0.0 && !(1e-6..1e21).contains(&size) {
        let text = format!("{v:e}");
        return if text.contains("e-") { text } else { text.replace('e', "e+") };
    }
    format!("{v}")
}

fn put_msgpack(node: &Node<'_>, epoch: Epoch, out: &mut Vec<u8>) {
    match node {
        Node::Null => out.push(0xc0),
        Node::Bool(v) => out.push(0xc2 | u8::from(*v)),
        Node::Integer(v) => put_integer(*v, out),
        Node::Unsigned(v) => put_unsigned(*v, out),
        Node::Float(v) => put_sized(0xcb, &v.to_bits().to_be_bytes(), out),
        Node::Text(v) => put_msgpack_text(v, out),
        Node::Owned(v) => put_msgpack_text(v.as_bytes(), out),
        Node::Time(time_ns) => match epoch {
            Some(unit) => put_integer(time_ns / unit, out),
            None => {
                out.extend_from_slice(&[0xc7, 12, 5]);
                out.extend_from_slice(&time_ns.div_euclid(1_000_000_000).to_be_bytes());
                let rest = i32::try_from(time_ns.rem_euclid(1_000_000_000)).unwrap_or(0);
                out.extend_from_slice(&rest.to_be_bytes());
            }
        },
        Node::List(items) => {
            put_length(items.len(), (0x90, 16), 0xdc, out);
            items.iter().for_each(|item| put_msgpack(item, epoch, out));
        }
        Node::Map(pairs) => {
            put_length(pairs.len(), (0x80, 16), 0xde, out);
            for (key, value) in pairs {
                put_msgpack_text(key, out);
                put_msgpack(value, epoch, out);
            }
        }
    }
}

fn put_sized(code: u8, bytes: &[u8], out: &mut Vec<u8>) {
    out.push(code);
    out.extend_from_slice(bytes);
}

/// Signed integers keep a signed code above 127, as the server's library writes them.
fn put_integer(v: i64, out: &mut Vec<u8>) {
    match v {
        -32..=127 => out.push((v as i8).cast_unsigned()),
        -128..=-33 => put_sized(0xd0, &(v as i8).to_be_bytes(), out),
        -32_768..=32_767 => put_sized(0xd1, &(v as i16).to_be_bytes(), out),
        -2_147_483_648..=2_147_483_647 => put_sized(0xd2, &(v as i32).to_be_bytes(), out),
        _ => put_sized(0xd3, &v.to_be_bytes(), out),
    }
}

fn put_unsigned(v: u64, out: &mut Vec<u8>) {
    match v {
        0..=127 => out.push(v as u8),
        128..=255 => put_sized(0xcc, &[v as u8], out),
        256..=65_535 => put_sized(0xcd, &(v as u16).to_be_bytes(), out),
        65_536..=4_294_967_295 => put_sized(0xce, &(v as u32).to_be_bytes(), out),
        _ => put_sized(0xcf, &v.to_be_bytes(), out),
    }
}

fn put_msgpack_text(text: &[u8], out: &mut Vec<u8>) {
    match text.len() {
        n @ 0..=31 => out.push(0xa0 | n as u8),
        n @ 32..=255 => out.extend_from_slice(&[0xd9, n as u8]),
        n @ 256..=65_535 => put_sized(0xda, &(n as u16).to_be_bytes(), out),
        n => put_sized(0xdb, &(n as u32).to_be_bytes(), out),
    }
    out.extend_from_slice(text);
}

/// The head of a list or map: `short` is its code for fewer than so many items, `code16` the next larger.
fn put_length(length: usize, short: (u8, usize), code16: u8, out: &mut Vec<u8>) {
    match length {
        n if n < short.1 => out.push(short.0 | n as u8),
        n @ 0..=65_535 => put_sized(code16, &(n as u16).to_be_bytes(), out),
        n => put_sized(code16 + 1, &(n as u32).to_be_bytes(), out),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome() -> Outcome {
        let row = |time, v: Value| vec![Datum::Time(time), Datum::Value(v), Datum::Null];
        let rows = vec![
            row(1_500_000_000_000_000_001, Value::Float(1.0)),
            row(2, Value::Float(0.5)),
            row(3, Value::Float(2.0)),
        ];
        let table = |name: &str| Table {
            name: name.as_bytes().to_vec(),
            tags: vec![(b"t".to_vec(), b"<\xff".to_vec())],
            columns: vec![b"time".to_vec(), b"v".to_vec(), b"w".to_vec()],
            rows: rows.clone(),
        };
        Outcome { tables: vec![table("a"), table("b")], error: None }
    }

    fn json(chunk_rows: Option<usize>, epoch: Epoch) -> String {
        let answers = [Answer { outcome: &outcome(), warning: None }];
        String::from_utf8(answer(&answers, Format::Json, epoch, chunk_rows)).unwrap()
    }

    #[test]
    fn json_is_written_as_the_server_does() {
        let head = r#"{"results":[{"statement_id":0,"series":[{"name":"a","tags":{"t":"\u003c\ufffd"},"columns":["time","v","w"],"values":[["2017-07-14T02:40:00.000000001Z",1,null],"#;
        let text = json(None, None);
        assert!(text.starts_with(head), "{text}");
        assert!(text.ends_with("]]}]}]}\n"), "{text}");
        assert!(json(None, Some(1_000_000_000)).contains("[1500000000,1,null],[0,0.5,null]"));
    }

    #[test]
    fn chunks_say_whether_more_follows() {
        let text = json(Some(2), Some(1));
        let seen: Vec<_> = text
            .lines()
            .map(|line| {
                let document: serde_json::Value = serde_json::from_str(line).unwrap();
                let result = &document["results"][0];
                let series = &result["series"][0];
                let rows = series["values"].as_array().unwrap().len();
                (rows, result.get("partial").is_some(), series.get("partial").is_some())
            })
            .collect();
        assert_eq!(seen, [(2, true, true), (1, true, false), (2, true, true), (1, false, false)]);
    }

    #[test]
    fn floats_read_back_the_same() {
        let cases = [
            (1.0, "1"),
            (-0.0, "-0"),
            (5e-324, "5e-324"),
            (f64::MAX, "1.7976931348623157e+308"),
            (1e21, "1e+21"),
            (1e20, "100000000000000000000"),
            (1e-6, "0.000001"),
            (1e-7, "1e-7"),
            (0.1, "0.1"),
            (-1.5, "-1.5"),
        ];
        for (value, text) in cases {
            assert_eq!(float_text(value), text);
            assert_eq!(text.parse::<f64>().unwrap().to_bits(), value.to_bits());
        }
    }

    #[test]
    fn msgpack_reads_back_the_same() {
        let integers =
            [0, 127, 128, 32_767, 32_768, i64::from(i32::MAX), i64::MAX, -1, -32, -33, -128, -129, -40_000, i64::MIN];
        let mut bytes = Vec::new();
        integers.iter().for_each(|v| put_msgpack(&Node::Integer(*v), None, &mut bytes));
        let mut rest = &bytes[..];
        for v in integers {
            assert_eq!(rmpv::decode::read_value(&mut rest).unwrap(), rmpv::Value::from(v));
        }
        let mut bytes = Vec::new();
        put_msgpack(&Node::Integer(128), None, &mut bytes);
        assert_eq!(bytes, [0xd1, 0, 0x80], "a signed code, as the server writes it");
        for length in [0usize, 15, 16, 31, 32, 255, 256, 65_535, 65_536] {
            let (text, items) = ("x".repeat(length), (0..length).map(|_| Node::Null).collect::<Vec<_>>());
            let pairs = (0..length).map(|_| (b"k".as_slice(), Node::Bool(true))).collect();
            let list = Node::List(vec![
                Node::Text(text.as_bytes()),
                Node::List(items),
                Node::Map(pairs),
                Node::Unsigned(length as u64),
            ]);
            let mut bytes = Vec::new();
            put_msgpack(&list, None, &mut bytes);
            let mut rest = &bytes[..];
            let read = rmpv::decode::read_value(&mut rest).unwrap();
            assert_eq!(rest.len(), 0);
            assert_eq!(read[0].as_str().unwrap().len(), length);
            assert_eq!(read[1].as_array().unwrap().len(), length);
            assert_eq!(read[2].as_map().unwrap().len(), length);
            assert_eq!(read[3].as_u64().unwrap(), length as u64);
        }
    }
}
