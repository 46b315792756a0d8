//! What was changed or left out of lines for a destination, by reason.

/// Why a cell is not at the destination what it is at the source. The order is that of the stored counters: new ones come last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Change {
    /// A text, left out.
    TextLeftOut,
    /// A boolean, kept as 1 or 0.
    BooleanAsNumber,
    /// A number that loses digits.
    Digits,
    /// A time that loses what is finer than a millisecond.
    Milliseconds,
    /// A time that the destination would not keep: its line is left out.
    TimeLeftOut,
    /// A name that is another one there.
    Name,
    /// A tag that stands in the place of the name of the database.
    Place,
    /// A time that loses what is finer than a microsecond.
    Microseconds,
    /// An integer that is none there, left out.
    IntegerLeftOut,
    /// An unsigned integer, kept as a signed one.
    UnsignedAsInteger,
    /// A tag or field whose name another of its line has there, left out.
    NameTaken,
    /// A text that is not UTF-8, with a mark in place of what is not.
    BrokenText,
    /// A tag of it is left out by a rule of mapping.
    TagDropped,
    /// Left out by a rule of mapping.
    FieldDropped,
    /// Its measurement, a tag or its field has another name by a rule of mapping.
    Renamed,
    /// An integer that is a float by a rule of mapping.
    IntegerAsFloat,
}

impl Change {
    /// All of them, in the order of the stored counters.
    pub const ALL: [Self; 16] = [
        Self::TextLeftOut,
        Self::BooleanAsNumber,
        Self::Digits,
        Self::Milliseconds,
        Self::TimeLeftOut,
        Self::Name,
        Self::Place,
        Self::Microseconds,
        Self::IntegerLeftOut,
        Self::UnsignedAsInteger,
        Self::NameTaken,
        Self::BrokenText,
        Self::TagDropped,
        Self::FieldDropped,
        Self::Renamed,
        Self::IntegerAsFloat,
    ];

    /// Short stable name.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::TextLeftOut => "text-left-out",
            Self::BooleanAsNumber => "boolean-as-number",
            Self::Digits => "digits",
            Self::Milliseconds => "milliseconds",
            Self::TimeLeftOut => "time-left-out",
            Self::Name => "name",
            Self::Place => "place",
            Self::Microseconds => "microseconds",
            Self::IntegerLeftOut => "integer-left-out",
            Self::UnsignedAsInteger => "unsigned-as-integer",
            Self::NameTaken => "name-taken",
            Self::BrokenText => "broken-text",
            Self::TagDropped => "tag-dropped",
            Self::FieldDropped => "field-dropped",
            Self::Renamed => "renamed",
            Self::IntegerAsFloat => "integer-as-float",
        }
    }

    /// For people.
    #[must_use]
    pub const fn why(self) -> &'static str {
        match self {
            Self::TextLeftOut => "texts are left out",
            Self::BooleanAsNumber => "booleans are kept as 1 and 0",
            Self::Digits => "numbers keep 15 to 16 digits",
            Self::Milliseconds => "times are cut to milliseconds",
            Self::TimeLeftOut => "points of times that the destination does not keep are left out",
            Self::Name => "names are written in another way",
            Self::Place => "a tag stands where the name of the database, policy or bucket would",
            Self::Microseconds => "times are cut to microseconds",
            Self::IntegerLeftOut => "integers that the destination cannot hold are left out",
            Self::UnsignedAsInteger => "unsigned integers are kept as signed ones",
            Self::NameTaken => "of names that are one without regard to case the first is kept",
            Self::BrokenText => "what is not UTF-8 in a text is kept as U+FFFD",
            Self::TagDropped => "tags are left out by rule",
            Self::FieldDropped => "fields are left out by rule",
            Self::Renamed => "measurements, tags or fields have other names by rule",
            Self::IntegerAsFloat => "integers are floats by rule",
        }
    }
}

/// Cells by the reason why they are not what they were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changes([u64; Change::ALL.len()]);

impl Changes {
    /// As they were stored, in the order of [`Change::ALL`]; what is missing is 0.
    #[must_use]
    pub fn stored(counts: &[u64]) -> Self {
        Self(std::array::from_fn(|at| counts.get(at).copied().unwrap_or(0)))
    }

    /// In the order of [`Change::ALL`].
    #[must_use]
    pub fn counts(&self) -> &[u64] {
        &self.0
    }

    /// So many cells more.
    pub fn add(&mut self, change: Change, cells: u64) {
        self.0[change as usize] += cells;
    }

    /// All that others have counted.
    pub fn add_all(&mut self, other: &Self) {
        for (sum, more) in self.0.iter_mut().zip(other.0) {
            *sum += more;
        }
    }

    /// Those that are not 0.
    pub fn some(&self) -> impl Iterator<Item = (Change, u64)> + '_ {
        Change::ALL.into_iter().zip(self.0).filter(|(_, cells)| *cells > 0)
    }
}
