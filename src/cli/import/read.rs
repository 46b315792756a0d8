//! Reads files on a thread of its own and hands out windows of them.
//!
//! Promise: a window follows only when the one before was taken; memory is that of two windows and the longest line.

use std::io::{self, BufRead, BufReader, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::bufread::MultiGzDecoder;
use tokio::sync::mpsc;

use super::source::Source;
use crate::backfill::files::{
    Add, Context, Fault, Format, Found, Gathered, HEAD_BYTES, Item, Options, Reader, Window, sniff,
};

/// Read at once.
const PIECE: usize = 128 << 10;

/// A stretch of a file.
#[derive(Debug)]
pub(super) struct Stretch {
    /// The number of the file.
    pub(super) file: usize,
    pub(super) points: Vec<Gathered>,
    pub(super) faults: Vec<(Fault, Option<Arc<Context>>)>,
    /// Lines or rows in it that hold data, faults aside.
    pub(super) lines: u64,
    /// Values that a later one of it replaces.
    pub(super) replaced: u64,
    /// The file is done up to this byte, as it is unpacked.
    pub(super) done: u64,
    /// Bytes of all files that were read, as they lie on disk.
    pub(super) read: u64,
    pub(super) end: Option<End>,
}

/// How a file ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    Whole,
    Broken(String),
}

/// What is to be read, and how.
#[derive(Debug)]
pub(super) struct Order {
    /// Number of the file, the file, and where to go on.
    pub(super) files: Vec<(usize, Source, u64)>,
    pub(super) format: Option<Format>,
    pub(super) options: Options,
}

/// Nobody takes windows any more.
struct Gone;

/// Begins to read.
pub(super) fn start(order: Order) -> io::Result<mpsc::Receiver<Stretch>> {
    let (give, take) = mpsc::channel(1);
    let reading = move || {
        let read = Arc::new(AtomicU64::new(0));
        let Order { files, format, options } = order;
        for (number, source, from) in files {
            let options = Options { from, ..options };
            let mut file = Reading::new(number, &give, &read, from);
            if file.all(source, format, options).is_err() {
                return;
            }
        }
    };
    // It ends with the process: a read of stdin cannot be ended otherwise.
    std::thread::Builder::new().name("import".into()).spawn(reading)?;
    Ok(take)
}

struct Reading<'a> {
    number: usize,
    give: &'a mpsc::Sender<Stretch>,
    read: &'a Arc<AtomicU64>,
    from: u64,
    window: Window,
    faults: Vec<(Fault, Option<Arc<Context>>)>,
    done: u64,
    broken: Option<String>,
}

impl<'a> Reading<'a> {
    fn new(number: usize, give: &'a mpsc::Sender<Stretch>, read: &'a Arc<AtomicU64>, from: u64) -> Self {
        Self { number, give, read, from, window: Window::default(), faults: Vec::new(), done: from, broken: None }
    }

    fn all(&mut self, mut source: Source, format: Option<Format>, options: Options) -> Result<(), Gone> {
        let opened = source.open().and_then(|input| unpacked(Counted { input, read: Arc::clone(self.read) }));
        let mut input = match opened {
            Ok(input) => input,
            Err(error) => return self.end(Some(format!("cannot be read: {error}"))),
        };
        let mut head = Vec::new();
        let begun = input.by_ref().take(HEAD_BYTES as u64).read_to_end(&mut head);
        let format = match (format, sniff(&head)) {
            (Some(format), _) | (None, Ok(format)) => format,
            (None, Err(alien)) => return self.end(Some(format!("it is {}; {}", alien.what, alien.hint))),
        };
        let mut reader = Reader::new(format, options);
        reader.feed(&head);
        self.take(&mut reader)?;
        if let Err(error) = begun {
            return self.end(Some(cut(&error)));
        }
        let mut piece = vec![0; PIECE];
        while self.broken.is_none() {
            match input.read(&mut piece) {
                Ok(0) => {
                    reader.end();
                    self.take(&mut reader)?;
                    self.done = self.done.max(reader.passed());
                    break;
                }
                Ok(bytes) => {
                    reader.feed(&piece[..bytes]);
                    self.take(&mut reader)?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // What stands at the end may be half a line.
                Err(error) => return self.end(Some(cut(&error))),
            }
        }
        let broken = self.broken.take();
        self.end(broken)
    }

    /// What is ready.
    fn take(&mut self, reader: &mut Reader) -> Result<(), Gone> {
        for item in reader {
            let Item { at, end, context, found } = item;
            if end <= self.from && !matches!(found, Found::Broken(_)) {
                continue;
            }
            match found {
                Found::Point(mut point) => loop {
                    match self.window.add(context.as_ref(), point, at, end - at.byte) {
                        Add::Done => break,
                        Add::Full(back) => {
                            self.flush(None)?;
                            point = back;
                        }
                    }
                },
                Found::Fault(fault) => {
                    let is_full = self.window.weigh(end - at.byte);
                    self.faults.push((fault, context));
                    self.done = end;
                    if is_full {
                        self.flush(None)?;
                    }
                }
                Found::Broken(why) => {
                    self.broken = Some(why);
                    return Ok(());
                }
            }
            self.done = end;
        }
        Ok(())
    }

    fn end(&mut self, broken: Option<String>) -> Result<(), Gone> {
        self.flush(Some(broken.map_or(End::Whole, End::Broken)))
    }

    fn flush(&mut self, end: Option<End>) -> Result<(), Gone> {
        let window = std::mem::take(&mut self.window);
        let stretch = Stretch {
            file: self.number,
            lines: window.lines(),
            replaced: window.replaced(),
            points: window.into_points(),
            faults: std::mem::take(&mut self.faults),
            done: self.done,
            read: self.read.load(Ordering::Relaxed),
            end,
        };
        self.give.blocking_send(stretch).map_err(|_| Gone)
    }
}

fn cut(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => {
            "its gzip ends before its end: it was cut off, and what stands above is read but for the last line"
                .to_owned()
        }
        _ => format!("cannot be read on: {error}"),
    }
}

/// Unpacks what begins as gzip does.
fn unpacked(input: Counted) -> io::Result<Box<dyn Read>> {
    let mut input = BufReader::with_capacity(PIECE, input);
    let is_packed = input.fill_buf()?.starts_with(&[0x1f, 0x8b]);
    Ok(if is_packed { Box::new(MultiGzDecoder::new(input)) } else { Box::new(input) })
}

/// Counts what is read.
struct Counted {
    input: Box<dyn Read + Send>,
    read: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.input.read(buffer)?;
        self.read.fetch_add(bytes as u64, Ordering::Relaxed);
        Ok(bytes)
    }
}
