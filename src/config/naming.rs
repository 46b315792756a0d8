//! Names at the destination that hold names of the source: `prod_{db}`.

use std::fmt;

/// What stands for a name of the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Own {
    /// Its database; of a bucket, what stands before the first `/`.
    Db,
    /// Its retention policy; empty for the default one. Of a bucket, what stands behind the first `/`.
    Rp,
    /// Its bucket; of a database, `db` or `db/rp`.
    Bucket,
    /// Its organisation.
    Org,
}

const OWN: [(&str, Own); 4] = [("db", Own::Db), ("rp", Own::Rp), ("bucket", Own::Bucket), ("org", Own::Org)];

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Piece {
    Text(String),
    Own(Own),
}

/// How a name is made.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Naming {
    pieces: Vec<Piece>,
    text: String,
}

/// Names of a place at the source, in the words of both families.
#[derive(Clone, Copy, Debug, Default)]
pub struct Names<'a> {
    /// Database.
    pub db: &'a str,
    /// Retention policy; empty for the default one.
    pub rp: &'a str,
    /// Bucket.
    pub bucket: &'a str,
    /// Organisation.
    pub org: &'a str,
}

impl Naming {
    /// As it is written: `{db}`, `{rp}`, `{bucket}` and `{org}` stand for the source's own names, `{{` and `}}` for braces.
    ///
    /// # Errors
    /// What stands in braces is none of these.
    pub fn new(text: &str) -> Result<Self, String> {
        let (mut pieces, mut plain, mut rest) = (Vec::new(), String::new(), text);
        while let Some(at) = rest.find(['{', '}']) {
            let (before, from) = rest.split_at(at);
            plain.push_str(before);
            if let Some(behind) = from.strip_prefix("{{").or_else(|| from.strip_prefix("}}")) {
                plain.push_str(&from[..1]);
                rest = behind;
                continue;
            }
            let word = from.strip_prefix('{').and_then(|from| from.split_once('}'));
            let own = word.and_then(|(word, behind)| Some((OWN.iter().find(|(name, _)| *name == word)?.1, behind)));
            let Some((own, behind)) = own else {
                return Err(format!("\"{text}\": a brace that is not of {{db}}, {{rp}}, {{bucket}} or {{org}}"));
            };
            pieces.extend((!plain.is_empty()).then(|| Piece::Text(std::mem::take(&mut plain))));
            pieces.push(Piece::Own(own));
            rest = behind;
        }
        plain.push_str(rest);
        pieces.extend((!plain.is_empty()).then_some(Piece::Text(plain)));
        Ok(Self { pieces, text: text.to_owned() })
    }

    /// Exactly this name.
    #[must_use]
    pub fn fixed(name: &str) -> Self {
        let text = name.replace('{', "{{").replace('}', "}}");
        let pieces = if name.is_empty() { Vec::new() } else { vec![Piece::Text(name.to_owned())] };
        Self { pieces, text }
    }

    /// The name for a place of the source. Where nothing follows a last `/`, the policy behind it is the default one: it goes.
    #[must_use]
    pub fn of(&self, names: Names<'_>) -> String {
        let pieces = self.pieces.iter().map(|piece| match piece {
            Piece::Text(text) => text.as_str(),
            Piece::Own(Own::Db) => names.db,
            Piece::Own(Own::Rp) => names.rp,
            Piece::Own(Own::Bucket) => names.bucket,
            Piece::Own(Own::Org) => names.org,
        });
        let name: String = pieces.collect();
        match name.strip_suffix('/') {
            Some(shorter) if self.pieces.last() == Some(&Piece::Own(Own::Rp)) => shorter.to_owned(),
            _ => name,
        }
    }

    /// What stands before its first `/`.
    #[must_use]
    pub fn head(&self) -> Self {
        let head = self.text.split('/').next().unwrap_or_default();
        Self::new(head).unwrap_or_else(|_| self.clone())
    }

    /// The name, where it holds none of the source's.
    #[must_use]
    pub fn literal(&self) -> Option<String> {
        match self.pieces.as_slice() {
            [] => Some(String::new()),
            [Piece::Text(text)] => Some(text.clone()),
            _ => None,
        }
    }

    /// Whether it holds the name of the source's database, or bucket.
    #[must_use]
    pub fn tells_places_apart(&self) -> bool {
        self.pieces.iter().any(|piece| matches!(piece, Piece::Own(Own::Db | Own::Bucket)))
    }

    /// Whether it can be this name for another database, or bucket, than `own` with its policies. Wrong only by saying yes.
    #[must_use]
    pub fn may_be(&self, name: &str, own: &str) -> bool {
        let is_other = |inner: &str| inner != own && inner.split('/').next() != Some(own);
        match self.pieces.as_slice() {
            [] => name.is_empty(),
            [Piece::Text(text)] => text == name,
            [Piece::Own(Own::Db | Own::Bucket)] => is_other(name),
            [Piece::Text(before), Piece::Own(Own::Db | Own::Bucket)] => {
                name.strip_prefix(before.as_str()).is_some_and(is_other)
            }
            [Piece::Own(Own::Db | Own::Bucket), Piece::Text(behind)] => {
                name.strip_suffix(behind.as_str()).is_some_and(is_other)
            }
            _ => true,
        }
    }
}

impl fmt::Display for Naming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: Names<'_> = Names { db: "d", rp: "week", bucket: "d/week", org: "acme" };

    fn of(text: &str, names: Names<'_>) -> String {
        Naming::new(text).expect("it can be read").of(names)
    }

    #[test]
    fn names_of_the_source_stand_where_they_are_asked_for() {
        assert_eq!(of("prod_{db}", NAMES), "prod_d");
        assert_eq!(of("{org}.{bucket}-{rp}", NAMES), "acme.d/week-week");
        assert_eq!(of("{{{db}}}", NAMES), "{d}");
        assert_eq!((of("x/{rp}", Names { rp: "", ..NAMES }), of("x/", NAMES)), ("x".to_owned(), "x/".to_owned()));
        assert_eq!(Naming::fixed("a{b}"), Naming::new("a{{b}}").expect("it can be read"));
        for bad in ["{", "}", "{name}", "a{db", "{}", "{DB}"] {
            assert!(Naming::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_may_be_the_name_for_others_is_told() {
        let may_be = |text: &str, name, own| Naming::new(text).expect("it can be read").may_be(name, own);
        assert!(may_be("all", "all", "d") && !may_be("all", "other", "d"));
        assert!(
            !may_be("prod_{db}", "prod_d", "d") && may_be("prod_{db}", "prod_e", "d") && !may_be("prod_{db}", "e", "d")
        );
        assert!(may_be("{db}_{rp}", "d_x", "d"), "it cannot be said");
    }
}
