//! Finds the lines that an answer quotes as refused among those that were sent.
//!
//! The servers quote a line as it is, and it may hold line feeds, quotes and the servers' own words. So the message is never
//! cut: it is walked along the lines that were sent, in their order, and each quote must be one of them to the last byte.

/// What begins each quote.
const QUOTE: &str = "unable to parse '";
/// What ends it, before the reason.
const END: &str = "': ";

/// A refused line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Its number among the lines that were sent, from 0.
    pub line: usize,
    /// The server's reason for this line.
    pub reason: String,
}

/// The refused lines in order, or `None` where the message does not read as a list of quotes of these lines and of nothing
/// else: then it says nothing for certain.
pub fn quoted<'a>(message: &str, lines: impl Iterator<Item = &'a [u8]>) -> Option<Vec<Refused>> {
    let mut rest = &message.as_bytes()[message.find(QUOTE)?..];
    let mut found = Vec::new();
    for (line, text) in lines.enumerate() {
        if rest.is_empty() {
            break;
        }
        // JSON replaces bytes that are no UTF-8: those lines are compared as they would stand there.
        let shown = String::from_utf8_lossy(text.trim_ascii_end());
        let Some(after) = rest
            .strip_prefix(QUOTE.as_bytes())
            .and_then(|after| after.strip_prefix(shown.as_bytes()))
            .and_then(|after| after.strip_prefix(END.as_bytes()))
        else {
            continue;
        };
        let next = memchr::memmem::find(after, format!("\n{QUOTE}").as_bytes());
        let (reason, others) = next.map_or((after, &[][..]), |at| (&after[..at], &after[at + 1..]));
        found.push(Refused { line, reason: String::from_utf8_lossy(reason).into_owned() });
        rest = others;
    }
    (rest.is_empty() && !found.is_empty()).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: [&[u8]; 5] = [b"m v=1 1\n", b"m v=2u 2\n", b"m v=\"a\nb 'c': d\" 3\n", b"m v=2u 2\n", b"n v=5u 5\n"];

    fn found(message: &str) -> Option<Vec<usize>> {
        let found = quoted(message, LINES.into_iter())?;
        Some(found.into_iter().map(|refused| refused.line).collect())
    }

    #[test]
    fn quotes_are_found_in_order_whatever_stands_in_them() {
        assert_eq!(found("unable to parse 'm v=2u 2': invalid number"), Some(vec![1]));
        let many = "partial write: unable to parse 'm v=2u 2': invalid number\nunable to parse 'm v=\"a\nb 'c': d\" 3': no\n\
                    unable to parse 'm v=2u 2': invalid number dropped=0 for database: d";
        assert_eq!(found(many), Some(vec![1, 2, 3]));
        assert_eq!(quoted(many, LINES.into_iter()).unwrap()[0].reason, "invalid number");
    }

    #[test]
    fn what_quotes_anything_else_says_nothing() {
        for message in [
            "unable to parse 'm v=2u': invalid number",
            "unable to parse 'other v=1 1': no",
            "unable to parse 'n v=5u 5': no\nunable to parse 'm v=2u 2': out of order",
            "unable to parse 'm v=2u 2': no\nunable to parse 'm v=\"a\nb",
            "field type conflict",
        ] {
            assert_eq!(found(message), None, "{message}");
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_compared_as_json_shows_them() {
        let lines: [&[u8]; 2] = [b"m v=1 1\n", b"m\xff v=1u 1\n"];
        let found = quoted("unable to parse 'm\u{fffd} v=1u 1': invalid number", lines.into_iter()).unwrap();
        assert_eq!(found[0].line, 1);
    }
}
