//! Annotated CSV, as Flux answers in its long form: one row is one field of one point. No I/O.
//!
//! Promise: types are those of `#datatype`, never guessed. Measurement, field, value and time are the columns that Flux names so; any other
//! text is a tag, unless it is empty. An error in the stream is an error, also behind rows; a stream that does not end with its empty line
//! is not whole ([`Tables::is_closed`]).

mod cells;
mod records;
mod table;

use crate::cell::{Series, Value};

pub use cells::cells;
pub use records::Records;
use table::Table;

/// Why a row is no point: a short stable code, the reason, how to mend it.
pub type Odd = (&'static str, String, &'static str);

const AGAIN: &str = "ask again for all annotations: \"annotations\":[\"datatype\",\"group\",\"default\"]";

/// What a record was.
#[derive(Debug)]
pub enum Record {
    /// An annotation, a header, an end of a table, or a row that is not wanted.
    Nothing,
    /// A field of a point: series, field, value, nanoseconds.
    Row(Series, Vec<u8>, Value, i64),
    /// A row that is none.
    Odd(Odd),
    /// It is of no use, and neither is the rest.
    Broken(String),
}

/// Reads the records of an answer, one after the other.
#[derive(Debug, Default)]
pub struct Tables {
    notes: Notes,
    table: Option<Table>,
    is_closed: bool,
}

/// Annotations of the table to come.
#[derive(Debug, Default)]
struct Notes {
    datatype: Option<Vec<Vec<u8>>>,
    default: Option<Vec<Vec<u8>>>,
}

impl Tables {
    /// Whether the last record was an empty one, as at the end of each result.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// Takes a record without its end. A row is read only where it `is_wanted`.
    pub fn record(&mut self, text: &[u8], is_wanted: bool) -> Record {
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        self.is_closed = text.is_empty();
        if text.is_empty() {
            (self.table, self.notes) = (None, Notes::default());
            return Record::Nothing;
        }
        let Some(cells) = cells(text) else {
            let reason = "quotes stand where none may".to_owned();
            return Record::Odd(("bad-quotes", reason, "put the cell in quotes, and double those in it"));
        };
        let owned = || cells.iter().map(|cell| cell.to_vec()).collect::<Vec<_>>();
        match &*cells[0] {
            b"#datatype" => {
                (self.table, self.notes) =
                    (None, Notes { datatype: Some(owned()), default: self.notes.default.take() });
                return Record::Nothing;
            }
            b"#default" => {
                self.notes.default = Some(owned());
                return Record::Nothing;
            }
            // Which columns are in the key changes nothing here: in the long form all tags are.
            b"#group" => return Record::Nothing,
            _ => {}
        }
        let Some(table) = &self.table else {
            return match Table::new(&cells, self.notes.datatype.as_deref(), self.notes.default.as_deref()) {
                Ok(table) => {
                    self.table = Some(table);
                    Record::Nothing
                }
                Err(why) => Record::Broken(why),
            };
        };
        if table.columns() != cells.len() {
            let reason = format!("{} cells in a table of {} columns", cells.len(), table.columns());
            return Record::Odd(("columns", reason, "write one cell for each column"));
        }
        if table.tells_error() {
            return Record::Broken(table.error(&cells));
        }
        if !is_wanted {
            return Record::Nothing;
        }
        match table.point(&cells) {
            Ok((series, field, value, time_ns)) => Record::Row(series, field, value, time_ns),
            Err(odd) => Record::Odd(odd),
        }
    }
}
