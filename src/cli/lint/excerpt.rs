//! A line of the file with a mark below one byte, for people.
//!
//! Promise: however long the line is and whatever bytes it has, the excerpt is short, each byte that is no plain character can be seen, and
//! the mark stands below the byte.

/// Characters that are shown before and from the marked one on.
const BEFORE: usize = 60;
const AFTER: usize = 50;

/// What is shown of a line, and in which column of it the mark stands, from 0.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::cli) struct Excerpt {
    pub(in crate::cli) text: String,
    pub(in crate::cli) mark: usize,
}

/// The surroundings of a byte in a line, which may be right behind its end.
pub(in crate::cli) fn excerpt(line: &[u8], at: usize) -> Excerpt {
    let at = char_start(line, at.min(line.len()));
    // A character has four bytes at most.
    let from = char_start(line, at.saturating_sub(4 * (BEFORE + 1)));
    let to = (at + 4 * (AFTER + 1)).min(line.len());
    let before = visible(&line[from..at]);
    let behind = visible(&line[at..to]);
    let hidden = before.len().saturating_sub(BEFORE);
    let mut shown = Excerpt { text: String::new(), mark: 0 };
    if from > 0 || hidden > 0 {
        shown.text.push('…');
        shown.mark += 1;
    }
    for (text, columns) in &before[hidden..] {
        shown.text.push_str(text);
        shown.mark += columns;
    }
    for (text, _) in behind.iter().take(AFTER) {
        shown.text.push_str(text);
    }
    if to < line.len() || behind.len() > AFTER {
        shown.text.push('…');
    }
    shown
}

/// The column of a byte as editors count, in characters from 1; a byte that belongs to none counts as one. `known` is an earlier
/// answer for the same line, or (0, 1): where a character begins, and its column. Only what lies behind it is looked at.
pub(in crate::cli) fn column(line: &[u8], at: usize, known: (usize, usize)) -> (usize, usize) {
    let at = char_start(line, at.min(line.len()));
    let (from, before) = if known.0 <= at { known } else { (0, 1) };
    let count = |chunk: std::str::Utf8Chunk<'_>| chunk.valid().chars().count() + chunk.invalid().len();
    (at, before + line[from..at].utf8_chunks().map(count).sum::<usize>())
}

/// The first byte of the character that this byte belongs to.
fn char_start(line: &[u8], at: usize) -> usize {
    let continues = |at: usize| matches!(line.get(at), Some(0x80..=0xbf));
    (0..4).map(|back| at.saturating_sub(back)).find(|at| !continues(*at)).unwrap_or(at)
}

/// What a server says, which may repeat a piece of the line: short, and on one line.
pub(in crate::cli) fn readable(text: &str) -> String {
    const SHOWN: usize = 300;
    let mut characters = text.chars();
    let shown: String = characters.by_ref().take(SHOWN).map(|c| character(c).0).collect();
    if characters.next().is_some() { shown + "…" } else { shown }
}

/// Each character as it is shown, and its columns.
fn visible(bytes: &[u8]) -> Vec<(String, usize)> {
    let mut all = Vec::new();
    for chunk in bytes.utf8_chunks() {
        all.extend(chunk.valid().chars().map(character));
        all.extend(chunk.invalid().iter().map(|byte| (format!("<{byte:02x}>"), 4)));
    }
    all
}

fn character(c: char) -> (String, usize) {
    match c {
        // Their pictures: ␀, ␉, ␍ and so on.
        '\0'..='\x1f' => (char::from_u32(0x2400 + u32::from(c)).unwrap_or('␦').to_string(), 1),
        '\x7f' => ("␡".to_owned(), 1),
        // What cannot be seen, or is not what it looks like.
        '\u{80}'..='\u{a0}'
        | '\u{ad}'
        | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202f}'
        | '\u{2060}'..='\u{206f}'
        | '\u{feff}' => {
            let text = format!("<U+{:04X}>", u32::from(c));
            let columns = text.len();
            (text, columns)
        }
        '\u{300}'..='\u{36f}' => (c.to_string(), 0),
        '\u{1100}'..='\u{115f}'
        | '\u{2e80}'..='\u{a4cf}'
        | '\u{ac00}'..='\u{d7a3}'
        | '\u{f900}'..='\u{faff}'
        | '\u{fe30}'..='\u{fe6f}'
        | '\u{ff00}'..='\u{ff60}'
        | '\u{1f300}'..='\u{1faff}'
        | '\u{20000}'..='\u{3fffd}' => (c.to_string(), 2),
        _ => (c.to_string(), 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(line: &[u8], at: usize) -> (String, usize) {
        let Excerpt { text, mark } = excerpt(line, at);
        (text, mark)
    }

    #[test]
    fn odd_bytes_are_seen_and_the_mark_stands_below_its_byte() {
        assert_eq!(shown(b"m v=1\r", 5), ("m v=1␍".to_owned(), 5));
        assert_eq!(shown(b"m\xff v=x", 5), ("m<ff> v=x".to_owned(), 8));
        assert_eq!(shown("ä\u{a0}=x".as_bytes(), 5), ("ä<U+00A0>=x".to_owned(), 10));
        assert_eq!(shown("東京 x".as_bytes(), 7), ("東京 x".to_owned(), 5));
        assert_eq!(shown(b"m", 9), ("m".to_owned(), 1), "behind the end");
        assert_eq!(shown(b"", 0), (String::new(), 0));
    }

    #[test]
    fn what_a_server_says_stays_on_one_line() {
        assert_eq!(readable("left: `\r\n\u{1b}[31m`"), "left: `␍␊␛[31m`");
        assert_eq!(readable(&"a".repeat(1_000)), "a".repeat(300) + "…");
    }

    #[test]
    fn a_long_line_is_cut_around_the_mark() {
        let line = [vec![b'a'; 5_000], b"!".to_vec(), vec![b'b'; 5_000]].concat();
        let (text, mark) = shown(&line, 5_000);
        assert_eq!(text, format!("…{}!{}…", "a".repeat(60), "b".repeat(49)));
        assert_eq!(text.chars().nth(mark), Some('!'));
        let (text, mark) = shown("ä".repeat(5_000).as_bytes(), 5_000);
        assert_eq!((text.chars().count(), mark), (1 + 60 + 50 + 1, 61));
        for at in 0..40 {
            shown(&[0x80; 40], at);
        }
    }

    #[test]
    fn columns_count_characters_from_one() {
        let line = "ä=\u{1f600}x".as_bytes();
        assert_eq!([0, 1, 2, 3, 7, 8].map(|at| column(line, at, (0, 1)).1), [1, 1, 2, 3, 4, 5]);
        assert_eq!(column(b"\xff\xffx", 2, (0, 1)), (2, 3));
    }

    #[test]
    fn a_column_is_the_same_whatever_was_known_before() {
        let line = b"\xc3\xa4=\xf0\x9f\x98\x80\x80x\xe2\x82\xff\x80\x80\x80\x80\x80\xe2\x82\xac\r";
        for at in 0..=line.len() {
            let expected = column(line, at, (0, 1));
            for before in 0..=line.len() {
                assert_eq!(column(line, at, column(line, before, (0, 1))), expected, "{at} after {before}");
            }
        }
    }
}
