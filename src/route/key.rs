//! A route's canonical text, read again.

use super::RouteName;

impl RouteName {
    /// The name behind a canonical text ([`RouteName::key`]); none where it is something else.
    #[must_use]
    pub fn from_key(key: &str) -> Option<Self> {
        let two = |first: &str, second: &str| {
            let (one, rest) = quoted(key.strip_prefix(first)?)?;
            let (two, rest) = quoted(rest.strip_prefix(second)?)?;
            rest.is_empty().then_some((one, two))
        };
        if let Some((db, rp)) = two("db=", " rp=") {
            return Some(Self::Database { db, rp });
        }
        two("org=", " bucket=").map(|(org, bucket)| Self::Bucket { org, bucket })
    }
}

/// A text as `{:?}` writes it, and what follows.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut found = String::new();
    let mut rest = text.strip_prefix('"')?.chars();
    loop {
        found.push(match rest.next()? {
            '"' => return Some((found, rest.as_str())),
            '\\' => match rest.next()? {
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                '0' => '\0',
                'u' => {
                    let (digits, behind) = rest.as_str().strip_prefix('{')?.split_once('}')?;
                    rest = behind.chars();
                    char::from_u32(u32::from_str_radix(digits, 16).ok()?)?
                }
                plain => plain,
            },
            plain => plain,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_comes_back() {
        for odd in ["", "d", "a\"b\\", "\n\r\t\0'", "ö\u{200b}\u{1f600}", "\" rp=\"", "e\u{301}"] {
            let (one, two) = (odd.to_owned(), format!("{odd}x"));
            let database = RouteName::Database { db: one.clone(), rp: two.clone() };
            assert_eq!(RouteName::from_key(&database.key()), Some(database));
            let bucket = RouteName::Bucket { org: two, bucket: one };
            assert_eq!(RouteName::from_key(&bucket.key()), Some(bucket));
        }
        for other in ["", "d/rp", "db=\"d\"", "db=\"d\" rp=\"\" ", "bucket b of o", "db=\"d rp=\"\""] {
            assert_eq!(RouteName::from_key(other), None, "{other}");
        }
    }
}
