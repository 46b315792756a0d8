//! Answers as bytes: JSON and msgpack, whole or in chunks, the way InfluxDB 1.x writes them.

use crate::cell::Value;

use super::json;
use super::msgpack;
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
pub(super) enum Node<'a> {
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
        let results =
            answers.iter().enumerate().map(|(id, answer)| result(id, answer, tables(answer.outcome), (false, format)));
        let results = results.collect();
        document(results, format, epoch, &mut out);
        return out;
    };
    for (id, answer) in answers.iter().enumerate() {
        let pieces = pieces(&answer.outcome.tables, chunk_rows.max(1));
        if pieces.is_empty() {
            document(vec![result(id, answer, Vec::new(), (false, format))], format, epoch, &mut out);
        }
        for (at, (t, rows)) in pieces.iter().enumerate() {
            let more_rows = rows.end < t.rows.len();
            let more = at + 1 < pieces.len();
            let tables = vec![table(t, rows.clone(), more_rows)];
            document(vec![result(id, answer, tables, (more, format))], format, epoch, &mut out);
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

/// Of an error msgpack says nothing else; a list of no series it writes down, and JSON leaves out.
fn result<'a>(id: usize, answer: &'a Answer<'_>, tables: Vec<Node<'a>>, (more, format): (bool, Format)) -> Node<'a> {
    let error = answer.outcome.error.as_ref().map(|error| (b"error".as_slice(), Node::Text(error.as_bytes())));
    let error = match (format, error) {
        (Format::Msgpack, Some(error)) => return Node::Map(vec![error]),
        (_, error) => error,
    };
    let series = (!tables.is_empty() || format == Format::Msgpack).then(|| (b"series".as_slice(), Node::List(tables)));
    let messages = answer.warning.as_ref().map(|warning| {
        let message =
            vec![(b"level".as_slice(), Node::Text(b"warning")), (b"text".as_slice(), Node::Text(warning.as_bytes()))];
        (b"messages".as_slice(), Node::List(vec![Node::Map(message)]))
    });
    let both = match format {
        Format::Json => [series, messages],
        Format::Msgpack => [messages, series],
    };
    let mut pairs = vec![(b"statement_id".as_slice(), Node::Integer(id as i64))];
    pairs.extend(both.into_iter().flatten().chain(error));
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
            json::put(node, epoch, out);
            out.push(b'\n');
        }
        Format::Msgpack => msgpack::put(node, epoch, out),
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
        let head = [
            r#"{"results":[{"statement_id":0,"series":[{"name":"a","tags":{"t":"\u003c\ufffd"},"#,
            r#""columns":["time","v","w"],"values":[["2017-07-14T02:40:00.000000001Z",1,null],"#,
        ];
        let text = json(None, None);
        assert!(text.starts_with(&head.concat()), "{text}");
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
}
