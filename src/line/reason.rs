//! Why a line is refused.

use thiserror::Error;

/// The longest series key plus separator plus field key that the servers take, in bytes.
pub const MAX_KEY_BYTES: usize = 65_535;

/// Why the servers refuse a line. The text is theirs, without the parts of the line that some of their messages
/// repeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Reason {
    /// The line begins with a comma.
    #[error("missing measurement")]
    MissingMeasurement,
    /// Nothing stands between a comma and the next separator of the tag section.
    #[error("missing tag key")]
    MissingTagKey,
    /// A tag has no value.
    #[error("missing tag value")]
    MissingTagValue,
    /// An unescaped `=` inside a tag value.
    #[error("invalid tag format")]
    InvalidTagFormat,
    /// One tag key twice.
    #[error("duplicate tags")]
    DuplicateTags,
    /// A tag key that InfluxDB 2.x keeps for itself (printed as the server prints it).
    #[error("cannot use reserved tag key \"{0}\"")]
    ReservedTagKey(&'static str),
    /// The line ends before its fields.
    #[error("missing fields")]
    MissingFields,
    /// A field without a name.
    #[error("missing field key")]
    MissingFieldKey,
    /// A field without a value.
    #[error("missing field value")]
    MissingFieldValue,
    /// Not a number by the servers' grammar; unsigned integers for InfluxDB 1.x.
    #[error("invalid number")]
    InvalidNumber,
    /// A float in scientific or long notation that is malformed or beyond the range of 64 bits.
    #[error("invalid float")]
    InvalidFloat,
    /// An integer beyond 64 bits.
    #[error("unable to parse integer")]
    IntegerOutOfRange,
    /// An unsigned integer beyond 64 bits.
    #[error("unable to parse unsigned")]
    UnsignedOutOfRange,
    /// Neither a number, nor a quoted text, nor one of the spellings of true and false.
    #[error("invalid boolean")]
    InvalidBoolean,
    /// A string that does not end.
    #[error("unbalanced quotes")]
    UnbalancedQuotes,
    /// Keys, values and commas of the field section do not pair up.
    #[error("invalid field format")]
    InvalidFieldFormat,
    /// The second reading of the field section ends in a key without a value.
    #[error("invalid value")]
    InvalidFieldValue,
    /// Series key, or series key plus field key, of this many bytes.
    #[error("max key length exceeded: {0} > {MAX_KEY_BYTES}")]
    KeyTooLong(usize),
    /// The timestamp is not an integer.
    #[error("bad timestamp")]
    BadTimestamp,
    /// The timestamp is a minus sign and nothing else.
    #[error("strconv.ParseInt: parsing \"-\": invalid syntax")]
    LoneMinus,
    /// The timestamp is beyond 64 bits.
    #[error("strconv.ParseInt: value out of range")]
    TimestampOutOfRange,
    /// The timestamp, in nanoseconds, is outside the range that the servers store.
    #[error("time outside range -9223372036854775806 - 9223372036854775806")]
    TimeOutOfRange,
    /// Something other than spaces follows the timestamp.
    #[error("point is invalid")]
    InvalidPoint,
}

impl Reason {
    /// A short name that does not change.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::MissingMeasurement => "missing-measurement",
            Self::MissingTagKey => "missing-tag-key",
            Self::MissingTagValue => "missing-tag-value",
            Self::InvalidTagFormat => "invalid-tag-format",
            Self::DuplicateTags => "duplicate-tags",
            Self::ReservedTagKey(_) => "reserved-tag-key",
            Self::MissingFields => "missing-fields",
            Self::MissingFieldKey => "missing-field-key",
            Self::MissingFieldValue => "missing-field-value",
            Self::InvalidNumber => "invalid-number",
            Self::InvalidFloat => "invalid-float",
            Self::IntegerOutOfRange => "integer-out-of-range",
            Self::UnsignedOutOfRange => "unsigned-out-of-range",
            Self::InvalidBoolean => "invalid-boolean",
            Self::UnbalancedQuotes => "unbalanced-quotes",
            Self::InvalidFieldFormat => "invalid-field-format",
            Self::InvalidFieldValue => "invalid-field-value",
            Self::KeyTooLong(_) => "key-too-long",
            Self::BadTimestamp => "bad-timestamp",
            Self::LoneMinus => "lone-minus",
            Self::TimestampOutOfRange => "timestamp-out-of-range",
            Self::TimeOutOfRange => "time-out-of-range",
            Self::InvalidPoint => "after-timestamp",
        }
    }
}
