//! The safeguards of `FORMAT.md`. In the product each one holds, always. A test can switch one off for its own thread, to
//! see that the simulated disk then finds the loss: a safeguard that can go unnoticed is none, or the test is none.

/// What keeps the promise of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(test), expect(dead_code, reason = "tests name what they switch off"))]
pub(crate) enum Safeguard {
    /// A group is synced before anybody hears of it.
    SyncBeforeSuccess,
    /// Everything in a segment is synced before the next one claims it, whether somebody hears of it or not.
    SyncBeforeRotation,
    /// A header is synced before its name is.
    HeaderBeforeName,
    /// A name is synced before the first record.
    NameBeforeRecords,
    /// What recovery copies is synced before the segment that claims it is published.
    CopiesBeforeHeader,
    /// What may be in the page cache only is copied, not trusted.
    CopyForward,
    /// A mark behind the copies calls them durable.
    MarkBehindCopies,
    /// Recovery syncs the directory before it looks.
    DirectoryFirst,
    /// D comes from any record of the last segment, not from those before the first bad one.
    ProofAnywhere,
    /// The header stands twice.
    HeaderTwin,
    /// A mark proves the last group when nothing follows.
    IdleMark,
    /// That mark is synced.
    MarkSynced,
    /// After a failed sync the file is not synced again.
    NoRetry,
    /// A recycled segment's old name is gone for good before its bytes change, and before a younger one goes.
    RenameBeforeReuse,
    /// When that is in doubt, recycling stops.
    RecycleInOrder,
    /// A file that becomes a segment gets a new salt.
    NewSalt,
    /// A saved floor is synced before it is called saved.
    CursorSynced,
    /// The first save of a process writes a new file: the name of the old one may not be durable.
    CursorAnew,
    /// Readers are woken when there is something to read.
    DurableBeforeWake,
    /// Floors are saved before they release anything (the caller's part).
    SaveBeforeRelease,
}

/// Whether a safeguard holds.
#[cfg(not(test))]
pub(crate) const fn holds(_: Safeguard) -> bool {
    true
}

#[cfg(test)]
thread_local! {
    static OFF: std::cell::Cell<Option<Safeguard>> = const { std::cell::Cell::new(None) };
}

/// Whether a safeguard holds.
#[cfg(test)]
pub(crate) fn holds(safeguard: Safeguard) -> bool {
    OFF.get() != Some(safeguard)
}

/// Runs something on this thread without one of the safeguards.
#[cfg(test)]
pub(crate) fn without<T>(safeguard: Option<Safeguard>, run: impl FnOnce() -> T) -> T {
    struct Restore(Option<Safeguard>);
    impl Drop for Restore {
        fn drop(&mut self) {
            OFF.set(self.0);
        }
    }
    let _restore = Restore(OFF.replace(safeguard));
    run()
}
