//! InfluxQL as the servers read it, as far as it changes something: several statements in one text, what each would change, and
//! how it is written so that it means the same later and elsewhere.
//!
//! Promises: pure, and no text makes it panic. A statement that changes data or settings on some server is never taken for one that
//! only reads; one that cannot be read is said to be so. What is kept of a statement names no password.

mod change;
mod lex;
mod predicate;
mod ran;
mod statement;

pub use change::{Change, Class, Policy};
pub use predicate::{Deletion, Untranslated, span_s};
pub use ran::{Answered, Ran, ran};
pub use statement::{Statement, split};

/// A name in double quotes.
#[must_use]
pub fn identifier(name: &str) -> String {
    let mut out = String::with_capacity(name.len() + 2);
    out.push('"');
    for c in name.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
