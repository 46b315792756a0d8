//! What is wrong with a line, where, in QuestDB's words, and how to mend it.

use super::Reader;
use crate::line::excerpt::excerpt;
use crate::line::record::Fault;

/// Why the server refuses a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Broken {
    NoFields,
    NoTagKey,
    NoFieldKey,
    NoTagValue,
    NoFieldValue,
    /// A separator that may not stand there.
    Separator,
    Value,
    /// A NUL in a value.
    ValueByte,
    OpenQuote,
    SecondQuote,
    /// A NUL, a slash or two backslashes in a name.
    TableName,
    ColumnName,
    /// The same in a time.
    TimeByte,
    Timestamp,
    /// A backslash protects the line feed that the server adds to the body, or a binary value does not end.
    Unfinished,
    /// The server's own word.
    Binary(&'static str),
}

const COMMON: &str = "write table,tag=value field=1 with one space between the sections, none elsewhere, and a backslash before a \
                      space, comma or equals sign inside a name or tag";

impl Reader<'_> {
    #[cold]
    pub(super) fn fault(&self, broken: Broken) -> Fault {
        let at = match broken {
            Broken::Value | Broken::OpenQuote | Broken::Timestamp | Broken::Binary(_) => self.from,
            _ => self.at,
        };
        Fault { at: at.min(self.body.len()), code: broken.code(), reason: self.reason(broken), mend: self.mend(broken) }
    }

    fn reason(&self, broken: Broken) -> String {
        let (token, name, table) = (excerpt(&self.token()), excerpt(&self.name), excerpt(&self.table));
        match broken {
            Broken::NoFields => "No fields were provided".to_owned(),
            Broken::NoTagKey => "INCOMPLETE_TAG".to_owned(),
            Broken::NoFieldKey => "INCOMPLETE_FIELD".to_owned(),
            Broken::NoTagValue => format!("Could not parse entire line. Symbol value is missing: {token}"),
            Broken::NoFieldValue => format!("Could not parse entire line. Field value is missing: {token}"),
            Broken::Separator => "INVALID_FIELD_SEPARATOR".to_owned(),
            Broken::Value | Broken::ValueByte | Broken::OpenQuote | Broken::SecondQuote => {
                format!("Could not parse entire line, field value is invalid. Field: {name}; value: {token}")
            }
            Broken::TableName => "INVALID_TABLE_NAME".to_owned(),
            Broken::ColumnName => format!("table: {table}; invalid column name: {token}"),
            Broken::TimeByte => "NONE".to_owned(),
            Broken::Timestamp => format!("Could not parse timestamp: {token}"),
            Broken::Unfinished => {
                "the body ends within this line: the server answers 204 and stores nothing of it".to_owned()
            }
            Broken::Binary(word) => word.to_owned(),
        }
    }

    fn mend(&self, broken: Broken) -> &'static str {
        match broken {
            Broken::NoFields if self.body[self.from..].starts_with(b"#") => {
                "QuestDB knows no comments: leave the line out"
            }
            Broken::NoTagValue | Broken::NoFieldValue if self.table.starts_with(b"#") => {
                "QuestDB knows no comments: leave the line out"
            }
            Broken::NoFields => {
                "at least one tag or field must follow the table's name: table,tag=value or table field=1"
            }
            Broken::NoTagKey | Broken::NoFieldKey => "write a name right before the =",
            Broken::NoTagValue => "write each tag as name=value; its value may be empty, its name not",
            Broken::NoFieldValue => {
                "write each field as name=value, and exactly one space between the sections of a line; a quote does not \
                 protect a name"
            }
            Broken::Separator => COMMON,
            Broken::Value => value(&self.token()),
            Broken::ValueByte => "only a text in quotes may hold a NUL",
            Broken::OpenQuote => "close the text with a quote; a line feed inside it needs a backslash before it",
            Broken::SecondQuote => "a quote inside a text needs a backslash before it",
            Broken::TableName | Broken::ColumnName => {
                "a name holds no NUL, no slash and no two backslashes in a row; a single backslash protects the byte behind it"
            }
            Broken::TimeByte | Broken::Timestamp => {
                "a timestamp is a whole number, with n, t or m behind it if it is in nanoseconds, microseconds or milliseconds"
            }
            Broken::Unfinished => "remove the backslash at the end of the body, or end the binary value",
            Broken::Binary(_) => "write the value as text",
        }
    }
}

fn value(text: &[u8]) -> &'static str {
    match text {
        [.., b'u'] => "QuestDB has no unsigned integers: write i instead of u, up to 9223372036854775807i",
        [.., b'i'] => "an integer is -9223372036854775808i to 9223372036854775807i, a 256-bit one 0x…i",
        [.., b'd'] => "a decimal has at most 76 digits",
        [b'"', ..] | [.., b'"'] => "a text begins and ends with a quote, right before the next comma or space",
        [b'0'..=b'9' | b'-' | b'+' | b'.', ..] => {
            "this number has a form that QuestDB does not know, or is nearer to zero or larger than a float can be"
        }
        _ => "a text stands in quotes; t, f, true and false need none",
    }
}

impl Broken {
    const fn code(self) -> &'static str {
        match self {
            Self::NoFields => "missing-fields",
            Self::NoTagKey => "missing-tag-key",
            Self::NoFieldKey => "missing-field-key",
            Self::NoTagValue => "missing-tag-value",
            Self::NoFieldValue => "missing-field-value",
            Self::Separator => "invalid-separator",
            Self::Value | Self::ValueByte | Self::SecondQuote => "invalid-field-value",
            Self::OpenQuote => "unbalanced-quotes",
            Self::TableName => "invalid-table-name",
            Self::ColumnName => "invalid-column-name",
            Self::TimeByte | Self::Timestamp => "bad-timestamp",
            Self::Unfinished => "unfinished-line",
            Self::Binary(_) => "invalid-binary-value",
        }
    }
}
