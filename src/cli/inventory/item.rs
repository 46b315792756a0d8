//! What a source has, and what becomes of it.

use serde_json::{Value, json};

/// What Twinline does about a thing, and what is left to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// Writes to it through Twinline arrive at the destination.
    Mirrored,
    /// No rule sends it anywhere.
    SourceOnly,
    /// Its points are made inside the source.
    Inside,
    /// Its points come to the source by another way than through Twinline.
    Around,
    /// It holds no points, and is made at the destination by hand.
    ByHand,
    /// Nothing is to be done.
    Nothing,
}

impl Fate {
    /// Stable name, for programs.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Mirrored => "mirrored",
            Self::SourceOnly => "source-only",
            Self::Inside => "written-inside",
            Self::Around => "written-around",
            Self::ByHand => "by-hand",
            Self::Nothing => "nothing-to-do",
        }
    }

    /// Whether points come to be at the source that no write through Twinline brings.
    pub(super) fn writes(self) -> bool {
        matches!(self, Self::Inside | Self::Around)
    }
}

/// One thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Item {
    pub(super) name: String,
    /// What it is like, for people.
    pub(super) facts: String,
    /// Where its points go at the source, where it makes any and that can be read.
    pub(super) writes_to: Option<String>,
    pub(super) fate: Fate,
    /// What Twinline does, in a sentence.
    pub(super) does: String,
    /// What to type at the destination, or what it says here.
    pub(super) statement: Option<String>,
}

impl Item {
    pub(super) fn new(name: impl Into<String>, facts: impl Into<String>, fate: Fate, does: impl Into<String>) -> Self {
        let (name, facts, does) = (name.into(), facts.into(), does.into());
        Self { name, facts, writes_to: None, fate, does, statement: None }
    }

    pub(super) fn statement(mut self, statement: impl Into<String>) -> Self {
        self.statement = Some(statement.into());
        self
    }

    pub(super) fn writes_to(mut self, target: Option<String>) -> Self {
        self.writes_to = target;
        self
    }
}

/// Things of one kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Group {
    /// Stable name, for programs.
    pub(super) name: &'static str,
    /// For people.
    pub(super) title: &'static str,
    pub(super) items: Vec<Item>,
    /// There are more than are listed.
    pub(super) more: bool,
    /// Why nothing, or not all, is known of it.
    pub(super) unknown: Option<Unknown>,
}

/// Why a question has no answer, and what grants one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unknown {
    pub(super) why: String,
    pub(super) fix: String,
    /// Whether rights are missing.
    pub(super) rights: bool,
}

impl Group {
    pub(super) fn of(name: &'static str, title: &'static str, items: Vec<Item>) -> Self {
        Self { name, title, items, ..Self::default() }
    }

    pub(super) fn unknown(name: &'static str, title: &'static str, unknown: Unknown) -> Self {
        Self { name, title, unknown: Some(unknown), ..Self::default() }
    }

    pub(super) fn document(&self) -> Value {
        let items: Vec<Value> = self
            .items
            .iter()
            .map(|item| {
                json!({
                    "name": item.name,
                    "facts": item.facts,
                    "writes_to": item.writes_to,
                    "fate": item.fate.name(),
                    "does": item.does,
                    "statement": item.statement,
                })
            })
            .collect();
        json!({
            "group": self.name,
            "count": self.items.len(),
            "more": self.more,
            "not_known": self.unknown.as_ref().map(|unknown| json!({ "why": unknown.why, "fix": unknown.fix })),
            "items": items,
        })
    }
}

/// Everything that was asked for.
#[derive(Debug, Default)]
pub(super) struct Inventory {
    pub(super) groups: Vec<Group>,
}

impl Inventory {
    /// Things that make points at the source which Twinline does not see.
    pub(super) fn writers(&self) -> usize {
        self.groups.iter().flat_map(|group| &group.items).filter(|item| item.fate.writes()).count()
    }

    pub(super) fn by_hand(&self) -> usize {
        self.groups.iter().flat_map(|group| &group.items).filter(|item| item.fate == Fate::ByHand).count()
    }

    /// Groups of which nothing, or not all, is known.
    pub(super) fn unknown(&self) -> usize {
        self.groups.iter().filter(|group| group.unknown.is_some()).count()
    }
}
