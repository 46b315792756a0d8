//! Reads files on a thread of its own and hands out windows of them.
//!
//! Promise: a window follows only when the one before was taken; memory is that of two windows and the longest line. Of a packed file that
//! can be read twice nothing is handed out before all its checksums held; of one that cannot, what may be false is named.

use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::mpsc;

use super::doubt::Doubt;
use super::packed::{PIECE, Text};
use super::source::Source;
use crate::backfill::files::{
    Add, Context, Fault, Format, Found, Gathered, HEAD_BYTES, Item, Options, Reader, Window, sniff,
};

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
    /// The file begins with a byte order mark, which was left out.
    pub(super) is_marked: bool,
    pub(super) end: Option<End>,
}

/// How a file ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    Whole,
    Broken(String),
    /// What was handed out of it may be false.
    Doubtful(String),
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
    /// Where the window begins, as the file is unpacked; `None`: it is empty.
    window_from: Option<u64>,
    /// What was handed out is done up to this byte.
    flushed: u64,
    /// Bytes that the reader has, as the file is unpacked; and those of them whose checksum held, of a packed file.
    fed: u64,
    sure: Option<u64>,
    doubt: Doubt,
    is_marked: bool,
}

impl<'a> Reading<'a> {
    fn new(number: usize, give: &'a mpsc::Sender<Stretch>, read: &'a Arc<AtomicU64>, from: u64) -> Self {
        Self {
            number,
            give,
            read,
            from,
            window: Window::default(),
            faults: Vec::new(),
            done: from,
            broken: None,
            window_from: None,
            flushed: from,
            fed: 0,
            sure: None,
            doubt: Doubt::default(),
            is_marked: false,
        }
    }

    fn all(&mut self, mut source: Source, format: Option<Format>, options: Options) -> Result<(), Gone> {
        let mut input = match self.opened(&mut source) {
            Ok(input) => input,
            Err(end) => return self.flush(Some(end)),
        };
        let mut head = Vec::new();
        let begun = input.by_ref().take(HEAD_BYTES as u64).read_to_end(&mut head);
        if let (Err(_), Some(sure)) = (&begun, input.sure()) {
            head.truncate(usize::try_from(sure).unwrap_or(usize::MAX));
        }
        let format = match (format, sniff(&head)) {
            (Some(format), _) | (None, Ok(format)) => format,
            (None, Err(alien)) => return self.end(Some(format!("it is {}; {}", alien.what, alien.hint))),
        };
        let mut reader = Reader::new(format, options);
        self.feed(&mut reader, &input, &head)?;
        if let Err(error) = begun {
            return self.stop(&input, &error);
        }
        let mut piece = vec![0; PIECE];
        while self.broken.is_none() {
            match input.read(&mut piece) {
                Ok(0) => {
                    self.sure = input.sure();
                    reader.end();
                    self.take(&mut reader)?;
                    self.done = self.done.max(reader.passed());
                    self.broken = self.broken.take().or_else(|| input.tail().map(behind));
                    break;
                }
                Ok(bytes) => self.feed(&mut reader, &input, &piece[..bytes])?,
                // What stands at the end may be half a line.
                Err(error) => return self.stop(&input, &error),
            }
        }
        let broken = self.broken.take();
        self.end(broken)
    }

    /// Its text. A packed file that can be read twice is unpacked once for its checksums alone: what comes out before they held may be false.
    fn opened(&self, source: &mut Source) -> Result<Text<Counted>, End> {
        let unread = |error: io::Error| End::Broken(format!("cannot be read: {error}"));
        if source.is_regular() {
            let mut once = File::open(&source.path).and_then(Text::new).map_err(unread)?;
            if let Err(why) = once.check() {
                return Err(self.refused(&why));
            }
        }
        let read = Arc::clone(self.read);
        source.open().and_then(|input| Text::new(Counted { input, read })).map_err(unread)
    }

    /// Of a damaged file nothing is taken.
    fn refused(&self, why: &str) -> End {
        if self.from == 0 {
            return End::Broken(format!(
                "{why}: nothing of it was written, because what is unpacked before a checksum held may be false; import an intact copy"
            ));
        }
        End::Doubtful(format!(
            "{why}: nothing more of it is written, but its first {} bytes (unpacked) were written before and may be false; import an intact copy",
            self.from
        ))
    }

    fn feed(&mut self, reader: &mut Reader, input: &Text<Counted>, bytes: &[u8]) -> Result<(), Gone> {
        if self.sure != input.sure() {
            self.sure = input.sure();
            self.doubt = Doubt::default();
        }
        self.fed += bytes.len() as u64;
        reader.feed(bytes);
        self.take(reader)
    }

    /// It cannot be read on. What was not handed out yet of a member whose checksum did not hold is dropped.
    fn stop(&mut self, input: &Text<Counted>, error: &io::Error) -> Result<(), Gone> {
        let why = input.damage(error);
        let Some(sure) = input.sure() else { return self.end(Some(why)) };
        if self.fed > sure && self.window_from.is_none_or(|from| from >= sure) {
            (self.window, self.faults, self.window_from) = (Window::default(), Vec::new(), None);
            self.done = self.flushed;
        } else {
            self.flush(None)?;
        }
        let end = match self.doubt.told() {
            None => End::Broken(format!("{why}: nothing of this member was written; import an intact copy")),
            Some(told) => End::Doubtful(format!(
                "{why}: what was taken of this member may be false, {told}; its lines among the rejects too: do not mend them; \
                 import an intact copy, and look for points that should not be there"
            )),
        };
        self.flush(Some(end))
    }

    /// What is ready.
    fn take(&mut self, reader: &mut Reader) -> Result<(), Gone> {
        self.is_marked = reader.is_marked();
        for item in reader {
            let Item { at, end, context, found } = item;
            if end <= self.from && !matches!(found, Found::Broken(_)) {
                continue;
            }
            match found {
                Found::Point(mut point) => loop {
                    self.window_from.get_or_insert(at.byte);
                    match self.window.add(context.as_ref(), point, at, end - at.byte) {
                        Add::Done => break,
                        Add::Full(back) => {
                            self.flush(None)?;
                            point = back;
                        }
                    }
                },
                Found::Fault(fault) => {
                    self.window_from.get_or_insert(at.byte);
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
            is_marked: self.is_marked,
            end,
        };
        if self.sure.is_some_and(|sure| self.fed > sure) {
            self.doubt.add(&stretch.points);
        }
        (self.flushed, self.window_from) = (self.done, None);
        self.give.blocking_send(stretch).map_err(|_| Gone)
    }
}

fn behind(bytes: u64) -> String {
    format!(
        "{bytes} bytes behind its end are no gzip and were not read; all of its gzip was read, and its checksum held"
    )
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
