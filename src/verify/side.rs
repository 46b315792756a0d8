//! One side of a comparison: a window as a stream of cells, in the form in which the destination would hold them.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::Future;
use std::rc::Rc;

use super::project::{LeftOut, Projection};
use crate::base::Result;
use crate::cell::Cell;
use crate::db::read::{CellStream, Reader, Window, unreadable_fields};

/// Cells of a window, in pieces of bounded size.
pub trait Cells {
    /// The next ones; `None` when the window was read to its announced end.
    ///
    /// # Errors
    /// The answer is cut, late, too large, or no answer: what was handed out is not the window.
    fn next(&mut self) -> impl Future<Output = Result<Option<Vec<Cell>>>>;

    /// What was read and is not handed out, since the destination cannot hold it; by reason.
    fn left_out(&self) -> LeftOut;
}

/// A database that can be read.
pub trait Side {
    /// Its cells.
    type Cells: Cells;

    /// Some measurements in a window.
    ///
    /// # Errors
    /// Of the connection and the question.
    fn open(&self, measurements: &[Vec<u8>], window: Window) -> impl Future<Output = Result<Self::Cells>>;
}

/// A place of InfluxDB 1.x or 2.x.
#[derive(Clone, Debug)]
pub struct Influx {
    reader: Reader,
    /// Database and policy.
    place: (String, String),
    projection: Option<Rc<RefCell<Projection>>>,
}

impl Influx {
    /// As the reader sees it. `projection`: on the source's side, what the destination makes of it.
    #[must_use]
    pub fn new(reader: Reader, place: (String, String), projection: Option<Projection>) -> Self {
        Self { reader, place, projection: projection.map(|one| Rc::new(RefCell::new(one))) }
    }
}

impl Side for Influx {
    type Cells = InfluxCells;

    async fn open(&self, measurements: &[Vec<u8>], window: Window) -> Result<InfluxCells> {
        Ok(InfluxCells {
            side: self.clone(),
            left: measurements.iter().cloned().collect(),
            window,
            current: None,
            left_out: LeftOut::new(),
        })
    }
}

/// The cells of some measurements, one after the other.
#[derive(Debug)]
pub struct InfluxCells {
    side: Influx,
    left: VecDeque<Vec<u8>>,
    window: Window,
    current: Option<CellStream>,
    left_out: LeftOut,
}

impl Cells for InfluxCells {
    async fn next(&mut self) -> Result<Option<Vec<Cell>>> {
        loop {
            let Some(stream) = &mut self.current else {
                let Some(name) = self.left.pop_front() else { return Ok(None) };
                let (db, rp) = (&self.side.place.0, &self.side.place.1);
                let stream = self.side.reader.stream(db, rp, &name, self.window).await?;
                let hidden = unreadable_fields(stream.fields()).len() as u64;
                if hidden > 0 {
                    *self.left_out.entry("field-not-shown").or_default() += hidden;
                }
                self.current = Some(stream);
                continue;
            };
            match stream.next().await? {
                None => self.current = None,
                Some(cells) => {
                    let Some(projection) = &self.side.projection else { return Ok(Some(cells)) };
                    let mut projection = projection.borrow_mut();
                    let out = &mut self.left_out;
                    return Ok(Some(cells.into_iter().filter_map(|cell| projection.cell(cell, out)).collect()));
                }
            }
        }
    }

    fn left_out(&self) -> LeftOut {
        self.left_out.clone()
    }
}
