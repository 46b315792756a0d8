//! Events: what an operator wants to find again later, in the order it happened.

use serde::{Deserialize, Serialize};

/// What happened. The name is stable and documented.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EventKind {
    /// The process started on this data directory.
    Started,
    /// The process was asked to stop and did.
    Stopped,
    /// Intents of a dead process were found without an outcome and are doubt now.
    Recovered,
    /// The log met damage.
    LogDamage,
    /// The queue stopped taking writes.
    QueueUnavailable,
    /// The queue takes writes again.
    QueueAvailable,
    /// The queue fills: 70 % or 90 % are used, it will be full within 12 h or 4 h, or its oldest write waits for too long.
    QueueFilling,
    /// Neither is so any more.
    QueueEased,
    /// The destination cannot be written to.
    DestinationPaused,
    /// The destination takes writes again.
    DestinationResumed,
    /// An operator has paused delivery.
    DeliveryPaused,
    /// An operator has let it go on.
    DeliveryResumed,
    /// A destination that others came before begins at the end of the log.
    DestinationBegan,
    /// A destination is not configured any more: how much it has not got.
    DestinationRemoved,
    /// It is configured again, and what came meanwhile is not in the log any more.
    DestinationBack,
    /// One route cannot be delivered.
    RoutePaused,
    /// A route that stood still for longer than its backlog allows has become a gap.
    RouteGap,
    /// That route is delivered again.
    RouteResumed,
    /// The destination does something that an operator should know and that stops nothing; at most once a minute for each
    /// reason.
    DestinationRemark,
    /// Lines were dead-lettered; told at most once a minute for each code, with their number.
    DeadLetter,
    /// Dead letters were removed: repaired from the source, found obsolete, sent as they stood, or purged; what goes within a minute
    /// is one event, whose number grows.
    DeadLettersRemoved,
    /// A statement that the source ran, or may have run, was not carried out at the destination; told the first time.
    StatementNotMirrored,
    /// An operator wants one of them carried out at the destination now.
    StatementConfirmed,
    /// What came of that.
    StatementDone,
    /// A region that is copied beside delivery is not held as it was to be: too many lines wait for it, its place became a gap, or who
    /// copied it has gone.
    HoldBroken,
    /// An operator has seen to one of them: it does not block a cutover any more.
    StatementCleared,
    /// The source's clock and ours differ.
    ClockSkew,
    /// The source has answered no write for some seconds; at most once a minute.
    SourceSilent,
    /// It answers again.
    SourceAnswers,
    /// A route has a steady rate of lines in doubt; once until that has eased.
    DoubtSteady,
    /// It has eased.
    DoubtEased,
    /// A job began to copy history.
    BackfillStarted,
    /// A job has ended: all is copied, some of it could not be, or an operator has given it up.
    BackfillEnded,
    /// What was in doubt, or in a gap, was read back from the source; at most once a minute, with all since.
    ReadBack,
    /// Some of it cannot be read back again and again: why; at most once in ten minutes.
    ReadBackWaits,
    /// Points came to a place of the source other than through Twinline; at most once an hour for each place.
    WritesAround,
    /// Whether source and destination are one server could not be told at the start.
    SameServerUnknown,
    /// There is no ballast, since the disk has too little room for it; told once.
    BallastMissing,
    /// A part of the program has failed: what, and what goes on without it.
    PartFailed,
}

/// One event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When, by our wall clock, ns.
    pub at_ns: i64,
    /// What.
    pub kind: EventKind,
    /// A sentence for people.
    pub text: String,
}
