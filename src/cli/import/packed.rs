//! The text of a file, packed with gzip or not.
//!
//! Promise: of a packed file it is known at any time which bytes belong to members whose checksum held. What follows the last member is
//! counted and never unpacked. An input that comes in pieces of any size is told apart as a whole one is.

use std::io::{self, BufRead, Read};

use flate2::bufread::GzDecoder;

/// Read at once.
pub(super) const PIECE: usize = 128 << 10;
const MAGIC: &[u8] = &[0x1f, 0x8b];

/// What is read.
#[derive(Debug)]
pub(super) enum Text<R> {
    Plain(Input<R>),
    Packed(Box<Packed<R>>),
}

/// Members of gzip, one after the other.
#[derive(Debug)]
pub(super) struct Packed<R> {
    /// The member under way; `None` behind the last one.
    member: Option<GzDecoder<Input<R>>>,
    /// Members whose checksum held.
    held: u64,
    /// Unpacked bytes of them.
    sure: u64,
    unpacked: u64,
    /// What follows the last one.
    tail: Tail,
}

/// Bytes that are no gzip.
#[derive(Clone, Copy, Debug, Default)]
struct Tail {
    bytes: u64,
    /// One of them is not zero: more than the padding that `gzip` passes over too.
    says_something: bool,
}

impl<R: Read> Text<R> {
    /// From its beginning.
    ///
    /// # Errors
    /// It cannot be read.
    pub(super) fn new(from: R) -> io::Result<Self> {
        let mut input = Input::new(from);
        if input.peek(MAGIC.len())?.starts_with(MAGIC) {
            let member = Some(GzDecoder::new(input));
            let packed = Packed { member, held: 0, sure: 0, unpacked: 0, tail: Tail::default() };
            return Ok(Self::Packed(Box::new(packed)));
        }
        Ok(Self::Plain(input))
    }

    /// Unpacked bytes, from the beginning, whose checksum held; `None`: it has no checksums.
    pub(super) fn sure(&self) -> Option<u64> {
        match self {
            Self::Plain(_) => None,
            Self::Packed(packed) => Some(packed.sure),
        }
    }

    /// Bytes behind the last member that are no gzip; zeros alone are padding. Known at the end.
    pub(super) fn tail(&self) -> Option<u64> {
        match self {
            Self::Packed(packed) if packed.tail.says_something => Some(packed.tail.bytes),
            _ => None,
        }
    }

    /// Reads a packed one to its end, for its checksums alone; says what is wrong.
    pub(super) fn check(&mut self) -> Result<(), String> {
        if matches!(self, Self::Plain(_)) {
            return Ok(());
        }
        let mut piece = vec![0; PIECE];
        loop {
            match self.read(&mut piece) {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(error) => return Err(self.damage(&error)),
            }
        }
    }

    /// An error of reading, with its place in the file as it lies there.
    pub(super) fn damage(&self, error: &io::Error) -> String {
        let Self::Packed(packed) = self else { return format!("cannot be read on: {error}") };
        let what = match error.kind() {
            io::ErrorKind::UnexpectedEof => "is cut off",
            io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => "is damaged",
            _ => "cannot be read on",
        };
        let at = packed.member.as_ref().map_or(0, |member| member.get_ref().consumed);
        format!("its gzip {what} (member {}, found at byte {at} of the packed file: {error})", packed.held + 1)
    }
}

impl<R: Read> Read for Text<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(input) => input.read(buffer),
            Self::Packed(packed) => packed.read(buffer),
        }
    }
}

impl<R: Read> Packed<R> {
    /// Bytes of one member; 0: the last one has ended.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(member) = &mut self.member {
            let bytes = member.read(buffer)?;
            if bytes > 0 || buffer.is_empty() {
                self.unpacked += bytes as u64;
                return Ok(bytes);
            }
            // It says that it has ended only when its checksum and its length held.
            self.sure = self.unpacked;
            self.held += 1;
            let Some(mut input) = self.member.take().map(GzDecoder::into_inner) else { break };
            if input.peek(MAGIC.len())?.starts_with(MAGIC) {
                self.member = Some(GzDecoder::new(input));
            } else {
                self.tail = input.rest()?;
            }
        }
        Ok(0)
    }
}

/// A file as it lies there, with a view of what comes next.
#[derive(Debug)]
pub(super) struct Input<R> {
    from: R,
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    consumed: u64,
}

impl<R: Read> Input<R> {
    fn new(from: R) -> Self {
        Self { from, buffer: vec![0; PIECE].into_boxed_slice(), start: 0, end: 0, consumed: 0 }
    }

    /// At least so many bytes that come next, fewer at the end.
    fn peek(&mut self, bytes: usize) -> io::Result<&[u8]> {
        while self.end - self.start < bytes {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
            match self.from.read(&mut self.buffer[self.end..]) {
                Ok(0) => break,
                Ok(more) => self.end += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(&self.buffer[self.start..self.end])
    }

    /// Counts all that is left.
    fn rest(&mut self) -> io::Result<Tail> {
        let mut tail = Tail::default();
        loop {
            let seen = self.peek(1)?;
            let bytes = seen.len();
            if bytes == 0 {
                return Ok(tail);
            }
            tail.says_something |= seen.iter().any(|byte| *byte != 0);
            tail.bytes += bytes as u64;
            self.consume(bytes);
        }
    }
}

impl<R: Read> Read for Input<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let seen = self.peek(1)?;
        let bytes = seen.len().min(buffer.len());
        buffer[..bytes].copy_from_slice(&seen[..bytes]);
        self.consume(bytes);
        Ok(bytes)
    }
}

impl<R: Read> BufRead for Input<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.peek(1)
    }

    fn consume(&mut self, bytes: usize) {
        self.start += bytes;
        self.consumed += bytes as u64;
    }
}
