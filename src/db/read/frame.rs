//! Finds where a msgpack object ends while it is still arriving, looking at each byte once.

use crate::base::{Error, Kind, Result, Side};

/// Cuts a stream of bytes into whole msgpack objects of bounded size.
#[derive(Debug)]
pub(super) struct Framer {
    buffer: Vec<u8>,
    /// Everything before this was looked at; it stands on the head of an item, or inside a text to skip.
    at: usize,
    /// Items still to come before the current object is whole (its last text may still be arriving at 0).
    items_left: u64,
    inside: bool,
    /// Items of the current object so far: a decoded item takes much more room than its byte.
    items: usize,
    bytes_max: usize,
    items_max: usize,
    side: Side,
}

/// What follows the head of an item.
struct Item {
    /// Bytes of the head and of a text or number behind it.
    bytes: u64,
    /// Items inside it.
    inner: u64,
}

impl Framer {
    /// Objects of more than `bytes_max` bytes or `items_max` items are an error of kind [`Kind::Limit`].
    pub(super) fn new(bytes_max: usize, items_max: usize, side: Side) -> Self {
        Self { buffer: Vec::new(), at: 0, items_left: 0, inside: false, items: 0, bytes_max, items_max, side }
    }

    /// Takes more of the stream.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Whether bytes of an unfinished object are held.
    pub(super) fn is_inside(&self) -> bool {
        !self.buffer.is_empty()
    }

    /// The next whole object, when all of it has arrived.
    ///
    /// # Errors
    /// `Input` for a byte that msgpack does not define, `Limit` for an object that is too large.
    pub(super) fn take(&mut self) -> Result<Option<Vec<u8>>> {
        if self.buffer.is_empty() {
            return Ok(None);
        }
        if !self.inside {
            (self.inside, self.items_left) = (true, 1);
        }
        while self.items_left > 0 {
            if self.at > self.bytes_max || self.items > self.items_max {
                return Err(self.too_large());
            }
            // `at` may stand behind the end: the rest of a text has not arrived yet.
            let Some(head) = self.buffer.get(self.at..).filter(|rest| !rest.is_empty()) else {
                return self.wait();
            };
            let Some(item) = item(head).map_err(|byte| self.not_msgpack(byte))? else {
                return self.wait();
            };
            self.at = usize::try_from(item.bytes).ok().and_then(|n| self.at.checked_add(n)).unwrap_or(usize::MAX);
            self.items += 1;
            self.items_left = (self.items_left - 1).saturating_add(item.inner);
        }
        if self.at > self.buffer.len() {
            return self.wait();
        }
        let rest = self.buffer.split_off(self.at);
        (self.at, self.items, self.inside) = (0, 0, false);
        Ok(Some(std::mem::replace(&mut self.buffer, rest)))
    }

    fn wait(&self) -> Result<Option<Vec<u8>>> {
        if self.buffer.len() > self.bytes_max { Err(self.too_large()) } else { Ok(None) }
    }

    fn too_large(&self) -> Error {
        let (bytes, items) = (self.bytes_max, self.items_max);
        let what = format!("one piece of the answer is larger than {bytes} bytes or {items} values");
        Error::new(Kind::Limit, self.side, what).hint("ask for fewer rows in a piece, or for a smaller window")
    }

    fn not_msgpack(&self, byte: u8) -> Error {
        Error::new(Kind::Input, self.side, format!("the answer is not msgpack: byte 0x{byte:02x} where an item begins"))
    }
}

/// Reads the head of an item; `None` when the head itself has not arrived whole.
fn item(head: &[u8]) -> Result<Option<Item>, u8> {
    let fixed = |bytes: u64| Some(Item { bytes, inner: 0 });
    let number = |bytes: usize| {
        let digits = head.get(1..=bytes)?;
        Some(digits.iter().fold(0u64, |n, &b| n << 8 | u64::from(b)))
    };
    let text = |head_bytes: u64, length: Option<u64>| length.map(|n| Item { bytes: head_bytes + n, inner: 0 });
    let list =
        |head_bytes: u64, each: u64, length: Option<u64>| length.map(|n| Item { bytes: head_bytes, inner: n * each });
    Ok(match head[0] {
        0x00..=0x7f | 0xe0..=0xff | 0xc0 | 0xc2 | 0xc3 => fixed(1),
        byte @ 0x80..=0x8f => list(1, 2, Some(u64::from(byte & 0x0f))),
        byte @ 0x90..=0x9f => list(1, 1, Some(u64::from(byte & 0x0f))),
        byte @ 0xa0..=0xbf => text(1, Some(u64::from(byte & 0x1f))),
        0xc4 | 0xd9 => text(2, number(1)),
        0xc5 | 0xda => text(3, number(2)),
        0xc6 | 0xdb => text(5, number(4)),
        0xc7 => text(3, number(1)),
        0xc8 => text(4, number(2)),
        0xc9 => text(6, number(4)),
        0xcc | 0xd0 => fixed(2),
        0xcd | 0xd1 => fixed(3),
        0xca | 0xce | 0xd2 => fixed(5),
        0xcb | 0xcf | 0xd3 => fixed(9),
        byte @ 0xd4..=0xd8 => fixed(2 + (1 << (byte - 0xd4))),
        0xdc => list(3, 1, number(2)),
        0xdd => list(5, 1, number(4)),
        0xde => list(3, 2, number(2)),
        0xdf => list(5, 2, number(4)),
        byte @ 0xc1 => return Err(byte),
    })
}

#[cfg(test)]
mod tests {
    use rmpv::Value;

    use super::*;

    fn objects() -> Vec<Value> {
        let texts = [0, 1, 31, 32, 255, 256, 70_000].map(|n| Value::from("x".repeat(n)));
        let numbers =
            [0i64, 127, 128, 40_000, 3_000_000_000, i64::MAX, -1, -33, -200, -40_000, i64::MIN].map(Value::from);
        let mut all: Vec<Value> = texts.into_iter().chain(numbers).collect();
        all.extend([Value::Nil, Value::from(true), Value::from(1.5), Value::from(1.5f32), Value::from(u64::MAX)]);
        all.extend([1, 2, 4, 8, 16, 3, 300, 70_000].map(|n| Value::Ext(5, vec![0; n])));
        all.extend([3, 300, 70_000].map(|n| Value::Binary(vec![0; n])));
        all.extend([0, 15, 16, 70_000].map(|n| Value::Array(vec![Value::Nil; n])));
        all.push(Value::Map((0..20).map(|n| (Value::from(n), Value::Array(vec![Value::from("k")]))).collect()));
        all.push(Value::Array(all.clone()));
        all
    }

    fn bytes_of(object: &Value) -> Vec<u8> {
        let mut bytes = Vec::new();
        rmpv::encode::write_value(&mut bytes, object).unwrap();
        bytes
    }

    #[test]
    fn objects_are_found_however_they_arrive() {
        let objects: Vec<Vec<u8>> = objects().iter().map(bytes_of).collect();
        let stream = objects.concat();
        for piece in [1usize, 2, 7, 4096, stream.len()] {
            let mut framer = Framer::new(16 << 20, 1 << 20, Side::Source);
            let mut found = Vec::new();
            for bytes in stream.chunks(piece) {
                framer.push(bytes);
                while let Some(object) = framer.take().unwrap() {
                    found.push(object);
                }
            }
            assert!(found == objects, "in pieces of {piece}: {} objects of {}", found.len(), objects.len());
            assert!(!framer.is_inside());
        }
    }

    #[test]
    fn a_cut_object_is_noticed() {
        let whole = bytes_of(&Value::Array(vec![Value::from("hello"), Value::from(70_000)]));
        for cut in 1..whole.len() {
            let mut framer = Framer::new(1000, 1000, Side::Source);
            framer.push(&whole[..cut]);
            assert!(framer.take().unwrap().is_none() && framer.is_inside(), "cut at {cut}");
        }
    }

    #[test]
    fn size_is_bounded_and_nonsense_refused() {
        let mut framer = Framer::new(100, 10, Side::Source);
        framer.push(&[0xdb, 0xff, 0xff, 0xff, 0xff]);
        assert!(framer.take().unwrap().is_none());
        framer.push(&[b'x'; 100]);
        assert_eq!(framer.take().unwrap_err().kind(), Kind::Limit);
        let mut framer = Framer::new(100, 10, Side::Source);
        framer.push(&[0xdc, 0, 20]);
        framer.push(&[0xc0; 20]);
        assert_eq!(framer.take().unwrap_err().kind(), Kind::Limit, "small bytes, many items");
        let mut framer = Framer::new(100, 10, Side::Source);
        framer.push(&[0xc1]);
        assert_eq!(framer.take().unwrap_err().kind(), Kind::Input);
    }
}
