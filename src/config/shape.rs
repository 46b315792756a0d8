//! What a rule does to lines on their way, as it is written.

use crate::line::{BadRule, Part, Rules};

/// Which lines go, and what of them. Patterns are matched with the names that the lines have at the source.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Shape {
    /// Measurements that go; all where there are none.
    pub include: Vec<String>,
    /// Measurements that stay, also of those.
    pub exclude: Vec<String>,
    /// Tags that are left out.
    pub drop_tags: Vec<String>,
    /// Fields that are left out.
    pub drop_fields: Vec<String>,
    /// Measurements by their old and new names; the first that fits decides.
    pub rename_measurement: Vec<(String, String)>,
    /// Tags, likewise.
    pub rename_tag: Vec<(String, String)>,
    /// Fields, likewise.
    pub rename_field: Vec<(String, String)>,
    /// Integers that become floats: `measurement.field`.
    pub int_to_float: Vec<String>,
}

/// A part of it that cannot be meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadShape {
    /// The key under which it stands.
    pub key: &'static str,
    /// Its text.
    pub text: String,
    /// Why.
    pub why: BadRule,
}

impl Shape {
    /// Whether lines go as they came.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The keys by which two series, or two fields, may become one.
    pub fn may_merge(&self) -> impl Iterator<Item = &'static str> {
        let keys = [
            ("drop_tags", self.drop_tags.is_empty()),
            ("rename_measurement", self.rename_measurement.is_empty()),
            ("rename_tag", self.rename_tag.is_empty()),
        ];
        keys.into_iter().filter(|(_, is_empty)| !is_empty).map(|(key, _)| key)
    }

    /// The same, ready for lines.
    ///
    /// # Errors
    /// Part of it cannot be meant.
    pub fn rules(&self) -> Result<Rules, BadShape> {
        let mut rules = Rules::default();
        let bad = |key, text: &str| {
            let text = text.to_owned();
            move |why| BadShape { key, text, why }
        };
        for text in &self.include {
            rules.keep(text).map_err(bad("include", text))?;
        }
        for text in &self.int_to_float {
            rules.int_to_float(text).map_err(bad("int_to_float", text))?;
        }
        let dropped = [
            ("exclude", Part::Measurement, &self.exclude),
            ("drop_tags", Part::Tag, &self.drop_tags),
            ("drop_fields", Part::Field, &self.drop_fields),
        ];
        for (key, part, texts) in dropped {
            for text in texts {
                rules.drop(part, text).map_err(bad(key, text))?;
            }
        }
        let renamed = [
            ("rename_measurement", Part::Measurement, &self.rename_measurement),
            ("rename_tag", Part::Tag, &self.rename_tag),
            ("rename_field", Part::Field, &self.rename_field),
        ];
        for (key, part, pairs) in renamed {
            for (from, to) in pairs {
                rules.rename(part, from, to).map_err(bad(key, from))?;
            }
        }
        Ok(rules)
    }
}
