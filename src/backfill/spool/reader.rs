//! Points out of a file.

use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};

use super::points::unpack;
use super::totals::Totals;
use super::writer::fault;
use super::{FRAME_BYTES_MAX, HEAD_BYTES, MARK, POINTS, Point, TRAILER, damaged, head};
use crate::base::Result;

/// A spool that is being read, frame by frame.
#[derive(Debug)]
pub struct SpoolReader {
    file: File,
    path: PathBuf,
    frames: u32,
    points: u64,
    block: Vec<u8>,
    unpacked: Vec<u8>,
    ended: bool,
    totals: Totals,
}

impl SpoolReader {
    /// From the beginning. `totals`: what its writer said of it.
    ///
    /// # Errors
    /// It is no spool; the system's.
    pub fn open(path: &Path, totals: Totals) -> Result<Self> {
        let file = File::open(path).map_err(|e| fault(path, e))?;
        let (path, block, unpacked) = (path.to_owned(), Vec::new(), Vec::new());
        let mut reader = Self { file, path, frames: 0, points: 0, block, unpacked, ended: false, totals };
        let mut mark = [0; MARK.len()];
        reader.fill(&mut mark)?;
        if mark != *MARK {
            return Err(damaged(&reader.path, "does not begin as one"));
        }
        Ok(reader)
    }

    /// Reads all of it and keeps nothing: what [`SpoolReader::next`] would give is whole then.
    ///
    /// # Errors
    /// Any byte of it is not what was written.
    pub fn verify(path: &Path, totals: Totals) -> Result<()> {
        let mut reader = Self::open(path, totals)?;
        while reader.next()?.is_some() {}
        Ok(())
    }

    /// The points of the next frame; `None` behind the last, once all that was written was met.
    ///
    /// # Errors
    /// Some byte of it is not what was written, or it was cut.
    #[expect(clippy::should_implement_trait, reason = "it fails")]
    pub fn next(&mut self) -> Result<Option<Vec<Point>>> {
        if self.ended {
            return Ok(None);
        }
        let kind = self.frame()?;
        let odd = |what: &str| damaged(&self.path, what);
        match kind {
            POINTS => {
                let points = unpack(&self.unpacked).ok_or_else(|| odd("holds what are no points"))?;
                self.points += points.len() as u64;
                Ok(Some(points))
            }
            TRAILER => {
                let totals = Totals::read(&self.unpacked, || odd("has no proper end"))?;
                if totals != self.totals || totals.points != self.points {
                    return Err(odd("holds another number of points than was written"));
                }
                let mut more = [0; 1];
                if self.file.read(&mut more).map_err(|e| fault(&self.path, e))? > 0 {
                    return Err(odd("goes on behind its end"));
                }
                self.ended = true;
                Ok(None)
            }
            _ => Err(odd("holds a frame of no known kind")),
        }
    }

    /// Reads one frame into `unpacked`, and says its kind.
    fn frame(&mut self) -> Result<u8> {
        let mut found = [0; HEAD_BYTES];
        self.fill(&mut found)?;
        let size = |at: usize| u32::from_le_bytes([found[at], found[at + 1], found[at + 2], found[at + 3]]) as usize;
        let (length, unpacked) = (size(1), size(5));
        if length > FRAME_BYTES_MAX || unpacked > FRAME_BYTES_MAX {
            return Err(damaged(&self.path, "holds a frame that is too large"));
        }
        let mut block = std::mem::take(&mut self.block);
        block.resize(length, 0);
        self.fill(&mut block)?;
        if head(found[0], self.frames, unpacked, &block) != Some(found) {
            return Err(damaged(&self.path, "is damaged: a checksum does not fit"));
        }
        self.unpacked.resize(unpacked, 0);
        let done = lz4_flex::block::decompress_into(&block, &mut self.unpacked);
        if done.ok() != Some(unpacked) {
            return Err(damaged(&self.path, "cannot be unpacked"));
        }
        self.block = block;
        self.frames += 1;
        Ok(found[0])
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<()> {
        self.file.read_exact(buffer).map_err(|e| match e.kind() {
            ErrorKind::UnexpectedEof => damaged(&self.path, "was cut"),
            _ => fault(&self.path, e),
        })
    }
}
