//! Newtypes for the numbers that must not be mixed up.

use std::fmt;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number! {
    /// Log sequence number: position of a record in the log. Starts at 1, grows by one a record, never wraps.
    Lsn(u64)
}
number! {
    /// Number of a log segment file; grows by one with each published segment.
    SegmentId(u64)
}
number! {
    /// Interned route. 0 stands for "not listed": the record's own text names it.
    RouteId(u32)
}
number! {
    /// One client request within one incarnation of the process; for tracing.
    RequestId(u64)
}
number! {
    /// Generation of the primary: which side spoke for the data, and since which flip. Grows by one with every flip.
    Epoch(u32)
}
number! {
    /// Generation of the process on one data directory; grows with each start.
    Incarnation(u64)
}

impl Lsn {
    /// No record; everything valid is greater.
    pub const ZERO: Self = Self(0);

    /// The position after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// The position before this one; zero stays zero.
    #[must_use]
    pub fn before(self) -> Self {
        Self(self.0.saturating_sub(1))
    }
}

/// The destination's configured name: `[a-z0-9_-]{1,64}`. It names floors and state and is never derived from the URL.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DestinationId(String);

impl DestinationId {
    /// Checks the form of a configured id.
    ///
    /// # Errors
    /// A sentence for the user when the text is empty, longer than 64 bytes, or holds other characters: the id becomes a file name.
    pub fn parse(text: &str) -> Result<Self, String> {
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
        if text.is_empty() || text.len() > 64 || !text.bytes().all(allowed) {
            return Err(format!("\"{text}\" is not a destination id: use 1 to 64 of a-z, 0-9, - and _"));
        }
        Ok(Self(text.to_owned()))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DestinationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::DestinationId;

    #[test]
    fn a_destination_id_is_a_safe_file_name() {
        assert_eq!(DestinationId::parse("main-2_b").map(|id| id.to_string()), Ok("main-2_b".to_owned()));
        for bad in ["", "a/b", "..", "A", "a b", &"x".repeat(65)] {
            assert!(DestinationId::parse(bad).is_err(), "{bad:?} must be refused");
        }
    }
}
