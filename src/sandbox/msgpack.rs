//! msgpack with the codes that InfluxDB 1.x chooses.

use super::encode::{Epoch, Node};

/// Writes a tree.
pub(super) fn put(node: &Node<'_>, epoch: Epoch, out: &mut Vec<u8>) {
    match node {
        Node::Null => out.push(0xc0),
        Node::Bool(v) => out.push(0xc2 | u8::from(*v)),
        Node::Integer(v) => put_integer(*v, out),
        Node::Unsigned(v) => put_unsigned(*v, out),
        Node::Float(v) => put_sized(0xcb, &v.to_bits().to_be_bytes(), out),
        Node::Text(v) => put_text(v, out),
        Node::Owned(v) => put_text(v.as_bytes(), out),
        Node::Time(time_ns) => match epoch {
            Some(unit) => put_integer(time_ns / unit, out),
            None => {
                out.extend_from_slice(&[0xc7, 12, 5]);
                out.extend_from_slice(&time_ns.div_euclid(1_000_000_000).to_be_bytes());
                let rest = i32::try_from(time_ns.rem_euclid(1_000_000_000)).unwrap_or(0);
                out.extend_from_slice(&rest.to_be_bytes());
            }
        },
        Node::List(items) => {
            put_length(items.len(), (0x90, 16), 0xdc, out);
            items.iter().for_each(|item| put(item, epoch, out));
        }
        Node::Map(pairs) => {
            put_length(pairs.len(), (0x80, 16), 0xde, out);
            for (key, value) in pairs {
                put_text(key, out);
                put(value, epoch, out);
            }
        }
    }
}

fn put_sized(code: u8, bytes: &[u8], out: &mut Vec<u8>) {
    out.push(code);
    out.extend_from_slice(bytes);
}

/// Signed integers keep a signed code above 127, as the server's library writes them.
fn put_integer(v: i64, out: &mut Vec<u8>) {
    match v {
        -32..=127 => out.push((v as i8).cast_unsigned()),
        -128..=-33 => put_sized(0xd0, &(v as i8).to_be_bytes(), out),
        -32_768..=32_767 => put_sized(0xd1, &(v as i16).to_be_bytes(), out),
        -2_147_483_648..=2_147_483_647 => put_sized(0xd2, &(v as i32).to_be_bytes(), out),
        _ => put_sized(0xd3, &v.to_be_bytes(), out),
    }
}

fn put_unsigned(v: u64, out: &mut Vec<u8>) {
    match v {
        0..=127 => out.push(v as u8),
        128..=255 => put_sized(0xcc, &[v as u8], out),
        256..=65_535 => put_sized(0xcd, &(v as u16).to_be_bytes(), out),
        65_536..=4_294_967_295 => put_sized(0xce, &(v as u32).to_be_bytes(), out),
        _ => put_sized(0xcf, &v.to_be_bytes(), out),
    }
}

fn put_text(text: &[u8], out: &mut Vec<u8>) {
    match text.len() {
        n @ 0..=31 => out.push(0xa0 | n as u8),
        n @ 32..=255 => out.extend_from_slice(&[0xd9, n as u8]),
        n @ 256..=65_535 => put_sized(0xda, &(n as u16).to_be_bytes(), out),
        n => put_sized(0xdb, &(n as u32).to_be_bytes(), out),
    }
    out.extend_from_slice(text);
}

/// The head of a list or map: `short` is its code for fewer than so many items, `code16` the next larger.
fn put_length(length: usize, short: (u8, usize), code16: u8, out: &mut Vec<u8>) {
    match length {
        n if n < short.1 => out.push(short.0 | n as u8),
        n @ 0..=65_535 => put_sized(code16, &(n as u16).to_be_bytes(), out),
        n => put_sized(code16 + 1, &(n as u32).to_be_bytes(), out),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn msgpack_reads_back_the_same() {
        let integers =
            [0, 127, 128, 32_767, 32_768, i64::from(i32::MAX), i64::MAX, -1, -32, -33, -128, -129, -40_000, i64::MIN];
        let mut bytes = Vec::new();
        integers.iter().for_each(|v| put(&Node::Integer(*v), None, &mut bytes));
        let mut rest = &bytes[..];
        for v in integers {
            assert_eq!(rmpv::decode::read_value(&mut rest).unwrap(), rmpv::Value::from(v));
        }
        let mut bytes = Vec::new();
        put(&Node::Integer(128), None, &mut bytes);
        assert_eq!(bytes, [0xd1, 0, 0x80], "a signed code, as the server writes it");
        for length in [0usize, 15, 16, 31, 32, 255, 256, 65_535, 65_536] {
            let (text, items) = ("x".repeat(length), (0..length).map(|_| Node::Null).collect::<Vec<_>>());
            let pairs = (0..length).map(|_| (b"k".as_slice(), Node::Bool(true))).collect();
            let list = Node::List(vec![
                Node::Text(text.as_bytes()),
                Node::List(items),
                Node::Map(pairs),
                Node::Unsigned(length as u64),
            ]);
            let mut bytes = Vec::new();
            put(&list, None, &mut bytes);
            let mut rest = &bytes[..];
            let read = rmpv::decode::read_value(&mut rest).unwrap();
            assert_eq!(rest.len(), 0);
            assert_eq!(read[0].as_str().unwrap().len(), length);
            assert_eq!(read[1].as_array().unwrap().len(), length);
            assert_eq!(read[2].as_map().unwrap().len(), length);
            assert_eq!(read[3].as_u64().unwrap(), length as u64);
        }
    }
}
