//! Answers piece by piece: whole objects first, cells out of them.

use std::collections::VecDeque;

use crate::base::{Error, Kind, Result, Side};
use crate::cell::Cell;

use super::client::Answer;
use super::flux::{Bucket, FluxStream};
use super::frame::Framer;
use super::influxql::{FieldKeys, Reader, is_mixed, unreadable_fields};
use super::rows::{self, NoCells, Signs};
use super::windows::Window;

/// A chunked answer as msgpack objects.
#[derive(Debug)]
pub(super) struct Objects {
    answer: Answer,
    framer: Framer,
    /// What the last object said about the statement: more to come, or complete.
    promised_more: bool,
    ended: bool,
    side: Side,
}

impl Objects {
    pub(super) fn new(answer: Answer, framer: Framer, side: Side) -> Self {
        Self { answer, framer, promised_more: true, ended: false, side }
    }

    /// Hands the next object to `use_it`; `None` at a proper end.
    ///
    /// # Errors
    /// An answer that ends although more was promised, or inside an object, or with an error of the statement.
    pub(super) async fn next<T>(
        &mut self,
        mut use_it: impl FnMut(&rows::Document<'_>) -> Result<T>,
    ) -> Result<Option<T>> {
        loop {
            if let Some(object) = self.framer.take()? {
                let document = rows::parse(&object, self.side)?;
                if let Some(text) = &document.error {
                    return Err(statement_error(text, self.side));
                }
                self.promised_more = document.partial;
                return use_it(&document).map(Some);
            }
            if self.ended {
                return if self.framer.is_inside() || self.promised_more { Err(self.cut()) } else { Ok(None) };
            }
            match self.answer.next().await? {
                Some(bytes) => self.framer.push(&bytes),
                None => self.ended = true,
            }
        }
    }

    fn cut(&self) -> Error {
        Error::new(Kind::Answer, self.side, "the answer ended before it was complete").retryable()
    }
}

/// What the text of a failed statement means.
fn statement_error(text: &str, side: Side) -> Error {
    let what = format!("the query failed: {text}");
    if text.contains("timeout") || text.contains("query interrupted") {
        return Error::new(Kind::Timeout, side, what).retryable().hint("ask for a smaller window");
    }
    if text.contains("not authorized") || text.contains("unauthorized") {
        return Error::new(Kind::Auth, side, what).hint("grant the right to read");
    }
    Error::new(Kind::Answer, side, what)
}

/// The cells of one measurement and window, in pieces of bounded size.
#[derive(Debug)]
pub struct CellStream(By);

/// How it is read.
#[derive(Debug)]
enum By {
    Influxql(Box<QlStream>),
    Flux(Box<FluxStream>),
}

impl CellStream {
    pub(super) async fn open(reader: Reader, db: &str, rp: &str, measurement: &[u8], window: Window) -> Result<Self> {
        Ok(Self(match Bucket::named(db, rp) {
            Some(bucket) => By::Flux(Box::new(FluxStream::open(reader, bucket, measurement, window))),
            None => By::Influxql(Box::new(QlStream::open(reader, db, rp, measurement, window).await?)),
        }))
    }

    /// The fields of the measurement with their types, as they were when the stream was opened; none where Flux reads them.
    #[must_use]
    pub fn fields(&self) -> &FieldKeys {
        static NONE: FieldKeys = FieldKeys::new();
        match &self.0 {
            By::Influxql(stream) => &stream.keys,
            By::Flux(_) => &NONE,
        }
    }

    /// The next cells, never an empty list; `None` when all of the window was handed out. After an error the stream is
    /// of no more use, and what it handed out is not the whole window.
    ///
    /// # Errors
    /// Of the connection, of the statement, of a limit; `State` when a field got a second type meanwhile.
    pub async fn next(&mut self) -> Result<Option<Vec<Cell>>> {
        match &mut self.0 {
            By::Influxql(stream) => stream.next().await,
            By::Flux(stream) => stream.next().await,
        }
    }
}

/// By InfluxQL.
#[derive(Debug)]
struct QlStream {
    reader: Reader,
    db: String,
    rp: String,
    measurement: Vec<u8>,
    keys: FieldKeys,
    /// Whether a field has several types, so that the windows were cut at shard groups.
    mixed: bool,
    windows: VecDeque<Window>,
    signs: Signs,
    current: Option<Objects>,
    checked: bool,
}

impl QlStream {
    async fn open(reader: Reader, db: &str, rp: &str, measurement: &[u8], window: Window) -> Result<Self> {
        let mut all = reader.field_keys_of(db, rp, measurement).await?;
        let keys = all.remove(measurement).unwrap_or_default();
        let mixed = is_mixed(&keys);
        if let Some(other) = all.iter().find(|(_, other)| mixed || !agree(&keys, other)) {
            return Err(ambiguous(measurement, other.0, reader.side()));
        }
        // No fields: the query is sent all the same, because it names a database or policy that does not exist.
        let windows =
            if mixed { reader.windows_of_groups(db, rp, measurement, &keys, window).await? } else { vec![window] };
        let nothing_to_read = !keys.is_empty() && unreadable_fields(&keys).len() == keys.len();
        let windows = if nothing_to_read { Vec::new() } else { windows };
        Ok(Self {
            reader,
            db: db.to_owned(),
            rp: rp.to_owned(),
            measurement: measurement.to_vec(),
            keys,
            mixed,
            windows: windows.into(),
            signs: Signs::new(),
            current: None,
            checked: false,
        })
    }

    async fn next(&mut self) -> Result<Option<Vec<Cell>>> {
        loop {
            let Some(objects) = &mut self.current else {
                let Some(window) = self.windows.pop_front() else {
                    self.check_types().await?;
                    return Ok(None);
                };
                let (signs, objects) = self.begin(window).await?;
                (self.signs, self.current) = (signs, Some(objects));
                continue;
            };
            let (signs, measurement, side) = (&self.signs, &self.measurement, self.reader.side());
            let found = objects.next(|document| {
                let mut cells = Vec::new();
                for block in &document.blocks {
                    // A name that is not UTF-8 brings its doubles along.
                    if block.name != *measurement {
                        continue;
                    }
                    match rows::cells(block, signs, &mut cells) {
                        Ok(()) => {}
                        Err(NoCells::Strange) => return Err(rows::strange(side)),
                        Err(NoCells::UnknownField(field)) => return Err(changed(&field, side)),
                    }
                }
                Ok(cells)
            });
            match found.await.map_err(|e| e.context(self.reading()))? {
                None => self.current = None,
                Some(cells) if cells.is_empty() => {}
                Some(cells) => return Ok(Some(cells)),
            }
        }
    }

    async fn begin(&self, window: Window) -> Result<(Signs, Objects)> {
        let Self { reader, db, rp, measurement, keys, .. } = self;
        let signs = reader.signs(db, rp, measurement, keys, window).await?;
        Ok((signs, reader.select(db, rp, measurement, keys, window).await?))
    }

    /// A field that got a second type while we read over shard groups may have hidden values from us.
    async fn check_types(&mut self) -> Result<()> {
        if self.mixed || self.checked {
            return Ok(());
        }
        self.checked = true;
        let keys = self.reader.field_keys(&self.db, &self.rp, &self.measurement).await?;
        match keys.iter().find(|(_, types)| types.len() > 1) {
            Some((field, _)) => Err(changed(field, self.reader.side()).context(self.reading())),
            None => Ok(()),
        }
    }

    fn reading(&self) -> String {
        format!("reading measurement \"{}\"", String::from_utf8_lossy(&self.measurement))
    }
}

/// Whether a query over both measurements leaves every value of the first as it is.
fn agree(keys: &FieldKeys, other: &FieldKeys) -> bool {
    other.iter().all(|(field, types)| keys.get(field).is_none_or(|own| own == types))
}

fn changed(field: &[u8], side: Side) -> Error {
    let what = format!("the types of field \"{}\" changed during the read", String::from_utf8_lossy(field));
    Error::new(Kind::State, side, what).retryable().hint("read the window again")
}

fn ambiguous(wanted: &[u8], other: &[u8], side: Side) -> Error {
    let what = format!(
        "the name \"{}\" is not UTF-8, a query cannot tell it from \"{}\", and their fields differ in type",
        String::from_utf8_lossy(wanted),
        String::from_utf8_lossy(other)
    );
    Error::new(Kind::Answer, side, what).hint("rename or remove one of the measurements")
}
