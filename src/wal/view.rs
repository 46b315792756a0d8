//! A complete segment in the address space.
//!
//! Promises: the file is not recycled, and so not written to, while a view or anything read through it lives; a stretch is
//! handed out only after the system has brought its pages in, so that a medium that cannot be read is seen by who reads,
//! who then reads another way.

use std::sync::Arc;

use bytes::Bytes;

use super::live::Segment;
use crate::base::map::Mapped;

/// Cheap to clone; what is read shares it.
#[derive(Clone, Debug)]
pub(crate) struct View {
    whole: Bytes,
    pages: Arc<Mapped>,
}

/// What the bytes are borrowed from.
struct Owner {
    pages: Arc<Mapped>,
    /// Held so that the supply leaves the file alone.
    _segment: Arc<Segment>,
}

impl AsRef<[u8]> for Owner {
    fn as_ref(&self) -> &[u8] {
        (*self.pages).as_ref()
    }
}

impl View {
    /// The pages are those of the segment's file.
    pub(crate) fn new(pages: Mapped, segment: Arc<Segment>) -> Self {
        let pages = Arc::new(pages);
        let whole = Bytes::from_owner(Owner { pages: Arc::clone(&pages), _segment: segment });
        Self { whole, pages }
    }

    /// So many bytes from here on, or `None` where they cannot be read this way.
    pub(crate) fn get(&self, offset: u64, length: usize) -> Option<Bytes> {
        let from = usize::try_from(offset).ok()?;
        let end = from.checked_add(length).filter(|end| *end <= self.whole.len())?;
        self.pages.populate(from, length).ok()?;
        Some(self.whole.slice(from..end))
    }
}
