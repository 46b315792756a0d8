//! Cells into a file.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::points::Packing;
use super::totals::{Adding, Totals};
use super::{FRAME_BYTES, FRAME_BYTES_MAX, MARK, POINTS, Point, TRAILER, head};
use crate::base::{Error, Kind, Result, Side};
use crate::cell::{Cell, SumKey};

/// A spool that is being written. Cells of one point must come one after the other.
#[derive(Debug)]
pub struct SpoolWriter {
    file: File,
    path: PathBuf,
    open: Option<Point>,
    packing: Packing,
    adding: Adding,
    points: u64,
    frames: u32,
    bytes: u64,
    bytes_max: u64,
}

impl SpoolWriter {
    /// A new file of at most so many bytes, in place of one that may be there; only its owner may read it.
    ///
    /// # Errors
    /// The system's.
    pub fn create(path: &Path, key: SumKey, bytes_max: u64) -> Result<Self> {
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path);
        let file = file.map_err(|e| fault(path, e))?;
        let mut writer = Self {
            file,
            path: path.to_owned(),
            open: None,
            packing: Packing::default(),
            adding: Adding::new(key),
            points: 0,
            frames: 0,
            bytes: 0,
            bytes_max,
        };
        writer.put(&[MARK])?;
        Ok(writer)
    }

    /// Adds cells.
    ///
    /// # Errors
    /// `Limit` beyond the size; the system's.
    pub fn add(&mut self, cells: Vec<Cell>) -> Result<()> {
        for cell in cells {
            self.adding.add(&cell);
            let Cell { series, field, time_ns, value } = cell;
            match &mut self.open {
                Some(open)
                    if open.time_ns == time_ns && (Arc::ptr_eq(&open.series, &series) || open.series == series) =>
                {
                    open.values.push((field, value));
                }
                open => {
                    if let Some(done) = open.replace(Point { series, time_ns, values: vec![(field, value)] }) {
                        self.close(&done)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Ends the file, and says what is in it.
    ///
    /// # Errors
    /// As [`SpoolWriter::add`].
    pub fn finish(mut self) -> Result<Totals> {
        if let Some(done) = self.open.take() {
            self.close(&done)?;
        }
        self.frame()?;
        let totals = self.adding.totals(self.points);
        self.write(TRAILER, &totals.bytes())?;
        Ok(totals)
    }

    fn close(&mut self, point: &Point) -> Result<()> {
        self.packing.add(point);
        self.points += 1;
        if self.packing.bytes.len() >= FRAME_BYTES { self.frame() } else { Ok(()) }
    }

    fn frame(&mut self) -> Result<()> {
        if self.packing.bytes.is_empty() {
            return Ok(());
        }
        let bytes = std::mem::take(&mut self.packing.bytes);
        self.write(POINTS, &bytes)?;
        self.packing.bytes = bytes;
        self.packing.clear();
        Ok(())
    }

    fn write(&mut self, kind: u8, unpacked: &[u8]) -> Result<()> {
        let block = lz4_flex::block::compress(unpacked);
        let fits = unpacked.len() <= FRAME_BYTES_MAX && block.len() <= FRAME_BYTES_MAX;
        let head = head(kind, self.frames, unpacked.len(), &block).filter(|_| fits).ok_or_else(|| {
            Error::new(Kind::Limit, Side::Source, "one point of the source is larger than a frame of the spool can be")
        })?;
        self.frames += 1;
        self.put(&[&head, &block])
    }

    fn put(&mut self, parts: &[&[u8]]) -> Result<()> {
        for part in parts {
            self.bytes += part.len() as u64;
            if self.bytes > self.bytes_max {
                let what = format!("the window is larger than a spool may be ({} bytes)", self.bytes_max);
                return Err(Error::new(Kind::Limit, Side::Own, what).hint("a smaller window is taken"));
            }
            self.file.write_all(part).map_err(|e| fault(&self.path, e))?;
        }
        Ok(())
    }
}

pub(super) fn fault(path: &Path, error: std::io::Error) -> Error {
    Error::disk(format!("the spool {}", path.display()), error)
        .or_hint("free some of the disk of data_dir, then: twinline backfill resume")
}
