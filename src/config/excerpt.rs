//! The line at which a fault stands, with a mark below it. What stands in quotes is left out: it may be a secret.

use super::fault::Position;

/// Longer lines are not shown.
const SHOWN_CHARS: usize = 120;

/// The line and the mark, as two lines; nothing where the line does not help.
pub(super) fn excerpt(text: &str, at: Position) -> Option<String> {
    let line = text.lines().nth(at.line - 1)?;
    // Without a sign of a setting it may be the middle of a long text.
    if line.trim().is_empty() || line.chars().count() > SHOWN_CHARS || !(line.contains('=') || line.contains('[')) {
        return None;
    }
    let (shown, mark) = without_quoted(line, at.column);
    let number = at.line;
    Some(format!("{number:>5} | {shown}\n      | {}^", " ".repeat(mark)))
}

/// The line with `…` for what is in quotes, and the place of a column in it, both counted in characters.
fn without_quoted(line: &str, column: usize) -> (String, usize) {
    let (mut shown, mut mark) = (String::new(), None);
    let (mut quote, mut escaped) = (None, false);
    for (at, c) in line.chars().enumerate() {
        if at + 1 == column {
            mark = Some(shown.chars().count().saturating_sub(usize::from(quote.is_some())));
        }
        match quote {
            None => {
                if c == '"' || c == '\'' {
                    quote = Some(c);
                    shown.push(c);
                    shown.push('…');
                } else if c == '#' {
                    break;
                } else {
                    shown.push(if c.is_control() { ' ' } else { c });
                }
            }
            Some('"') if escaped => escaped = false,
            Some('"') if c == '\\' => escaped = true,
            Some(open) if c == open => {
                quote = None;
                shown.push(c);
            }
            Some(_) => {}
        }
    }
    let shown = shown.trim_end().to_owned();
    let end = shown.chars().count();
    (shown, mark.unwrap_or(end).min(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(line: usize, column: usize) -> Position {
        Position { line, column }
    }

    #[test]
    fn the_mark_stands_below_what_is_wrong() {
        let text = "[queue]\nmax_sice = 5  # note\n";
        assert_eq!(excerpt(text, at(2, 1)).unwrap(), "    2 | max_sice = 5\n      | ^");
        assert_eq!(excerpt(text, at(2, 12)).unwrap(), "    2 | max_sice = 5\n      |            ^");
        assert_eq!(excerpt(text, at(1, 1)).unwrap(), "    1 | [queue]\n      | ^");
        assert_eq!(excerpt(text, at(9, 1)), None);
    }

    #[test]
    fn what_is_quoted_is_never_shown() {
        let text = "tokn = \"hunter2\\\"#hunter2\", b = 'hunter2', c = 1\nhunter2\nx = \"hunter2";
        let shown = excerpt(text, at(1, 8)).unwrap();
        assert_eq!(shown, "    1 | tokn = \"…\", b = '…', c = 1\n      |        ^");
        assert!(excerpt(text, at(1, 48)).unwrap().ends_with("|                          ^"), "behind both");
        assert_eq!(excerpt(text, at(2, 1)), None);
        assert_eq!(excerpt(text, at(3, 8)).unwrap(), "    3 | x = \"…\n      |      ^");
    }
}
