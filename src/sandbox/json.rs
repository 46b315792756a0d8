//! JSON as Go's encoder in InfluxDB 1.x writes it.

use crate::base::clock::rfc3339;

use super::encode::{Epoch, Node};

/// Writes a tree.
pub(super) fn put(node: &Node<'_>, epoch: Epoch, out: &mut Vec<u8>) {
    match node {
        Node::Null => out.extend_from_slice(b"null"),
        Node::Bool(v) => out.extend_from_slice(if *v { b"true" } else { b"false" }),
        Node::Integer(v) => out.extend_from_slice(v.to_string().as_bytes()),
        Node::Unsigned(v) => out.extend_from_slice(v.to_string().as_bytes()),
        Node::Float(v) => out.extend_from_slice(float_text(*v).as_bytes()),
        Node::Text(v) => put_text(v, out),
        Node::Owned(v) => put_text(v.as_bytes(), out),
        Node::Time(time_ns) => {
            let time = epoch.map_or_else(|| Node::Owned(rfc3339(*time_ns)), |unit| Node::Integer(time_ns / unit));
            put(&time, None, out);
        }
        Node::List(items) => {
            put_joined(b'[', items, out, |item, out| put(item, epoch, out));
            out.push(b']');
        }
        Node::Map(pairs) => {
            put_joined(b'{', pairs, out, |(key, value), out| {
                put_text(key, out);
                out.push(b':');
                put(value, epoch, out);
            });
            out.push(b'}');
        }
    }
}

fn put_joined<T>(open: u8, items: &[T], out: &mut Vec<u8>, mut each: impl FnMut(&T, &mut Vec<u8>)) {
    out.push(open);
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        each(item, out);
    }
}

/// Stray bytes become U+FFFD, and `<`, `>`, `&` are escaped, as Go's encoder does.
fn put_text(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    for piece in text.utf8_chunks() {
        for c in piece.valid().chars() {
            match c {
                '"' | '\\' => out.extend_from_slice(&[b'\\', c as u8]),
                '\n' => out.extend_from_slice(b"\\n"),
                '\r' => out.extend_from_slice(b"\\r"),
                '\t' => out.extend_from_slice(b"\\t"),
                '\0'..='\x1f' | '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                    out.extend_from_slice(format!("\\u{:04x}", u32::from(c)).as_bytes());
                }
                c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        for _ in piece.invalid() {
            out.extend_from_slice(b"\\ufffd");
        }
    }
    out.push(b'"');
}

/// The shortest digits that read back the same; with an exponent below 1e-6 and from 1e21 on.
fn float_text(v: f64) -> String {
    if !v.is_finite() {
        return "null".to_owned();
    }
    let size = v.abs();
    if size != 0.0 && !(1e-6..1e21).contains(&size) {
        let text = format!("{v:e}");
        return if text.contains("e-") { text } else { text.replace('e', "e+") };
    }
    format!("{v}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_read_back_the_same() {
        let cases = [
            (1.0, "1"),
            (-0.0, "-0"),
            (5e-324, "5e-324"),
            (f64::MAX, "1.7976931348623157e+308"),
            (1e21, "1e+21"),
            (1e20, "100000000000000000000"),
            (1e-6, "0.000001"),
            (1e-7, "1e-7"),
            (0.1, "0.1"),
            (-1.5, "-1.5"),
        ];
        for (value, text) in cases {
            assert_eq!(float_text(value), text);
            assert_eq!(text.parse::<f64>().unwrap().to_bits(), value.to_bits());
        }
    }
}
