//! How values are written into requests: one form for every request that we make.

use std::io::Write;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

/// One gzip member (QuestDB reads no second one), fast rather than small.
#[must_use]
pub fn gzip(text: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::with_capacity(text.len() / 4), Compression::fast());
    let packed = encoder.write_all(text).and_then(|()| encoder.finish());
    Bytes::from(packed.expect("writing into memory does not fail"))
}

/// A value for a URL's path or query.
#[must_use]
pub fn escape(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

/// A word of a shell command.
#[must_use]
pub fn shell_word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn values_come_back_as_they_were() {
        let mut text = Vec::new();
        flate2::read::GzDecoder::new(&gzip(b"m v=1\n")[..]).read_to_end(&mut text).unwrap();
        assert_eq!(text, b"m v=1\n");
        assert_eq!(shell_word("db/rp"), "db/rp");
        assert_eq!(shell_word("it's $HOME"), "'it'\\''s $HOME'");
        assert_eq!(escape("a b/ö&"), "a%20b%2F%C3%B6%26");
    }
}
