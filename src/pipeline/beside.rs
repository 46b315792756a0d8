//! Work that takes long, beside the event loop: other clients are not to wait for one large body.

use super::Refusal;

/// From this size on a body is worked on beside the event loop; below, changing threads costs more than it saves.
pub(super) const LARGE_BYTES: usize = 1 << 20;

/// Runs `work` on a thread of the runtime's bounded pool.
pub(super) async fn beside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Refusal> {
    tokio::task::spawn_blocking(work).await.map_err(|_| Refusal::Capacity("the body could not be worked on"))
}

/// Runs `work` here, or beside the event loop when it has much to read.
pub(super) async fn by_size<T: Send + 'static>(
    bytes: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Refusal> {
    if bytes > LARGE_BYTES { beside(work).await } else { Ok(work()) }
}
