//! Where operators leave orders for whoever copies to one destination, from any thread, and see how far it is.
//!
//! Promises: an order is carried out or refused with a reason, once, in the order in which they came; one that nobody can carry out any
//! more is told so. At most [`ORDERS_MAX`] wait.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, oneshot};

use super::progress::Progress;
use crate::base::{Error, Kind, Result, Side};

/// Orders that may wait at once.
pub const ORDERS_MAX: usize = 16;

/// What an operator wants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// A new job.
    Start {
        /// What it is to copy, as it is kept with the job.
        scope: String,
    },
    /// The job ends for now, at the end of a chunk or before it.
    Pause,
    /// It goes on.
    Resume,
    /// What was given up is tried again.
    Retry,
    /// It is given up; what was copied stays.
    Cancel,
}

/// What came of an order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// The job that it was about; 0: not known yet.
    pub job: i64,
    /// A sentence for people.
    pub text: String,
}

/// An order with whoever waits for its answer.
#[derive(Debug)]
pub struct Asked {
    /// It.
    pub order: Order,
    answer: oneshot::Sender<Result<Done>>,
}

impl Asked {
    /// Carried out, or refused. Whoever asked may have gone.
    pub fn answer(self, done: Result<Done>) {
        drop(self.answer.send(done));
    }
}

#[derive(Debug, Default)]
struct Book {
    waiting: VecDeque<Asked>,
    has_ended: bool,
}

#[derive(Debug, Default)]
struct Inner {
    book: Mutex<Book>,
    asked: Notify,
}

/// Shared by operators and whoever copies.
#[derive(Clone, Debug, Default)]
pub struct Desk {
    inner: Arc<Inner>,
    progress: Progress,
}

impl Desk {
    /// How far the job is.
    #[must_use]
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Leaves an order, and waits until it is carried out: to pause may take as long as a request to the destination without an answer
    /// can take effect.
    ///
    /// # Errors
    /// Why it is refused; too many wait; nobody copies any more.
    pub async fn ask(&self, order: Order) -> Result<Done> {
        let (answer, heard) = oneshot::channel();
        {
            let mut book = self.book();
            if book.has_ended {
                return Err(ended());
            }
            if book.waiting.len() >= ORDERS_MAX {
                let what = format!("{ORDERS_MAX} orders wait already");
                return Err(Error::new(Kind::Limit, Side::Own, what).retryable());
            }
            book.waiting.push_back(Asked { order, answer });
        }
        self.inner.asked.notify_one();
        heard.await.unwrap_or_else(|_| Err(ended()))
    }

    /// The next order.
    pub async fn next(&self) -> Asked {
        loop {
            if let Some(asked) = self.book().waiting.pop_front() {
                return asked;
            }
            self.inner.asked.notified().await;
        }
    }

    /// Nobody carries out orders any more.
    pub fn end(&self) {
        let mut book = self.book();
        book.has_ended = true;
        book.waiting.clear();
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.inner.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn ended() -> Error {
    Error::new(Kind::State, Side::Own, "nobody copies history in this process any more")
        .hint("see why in twinline events; it begins again when twinline is started again")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn orders_come_in_order_and_none_waits_for_ever() {
        let desk = Desk::default();
        let (first, second) = (desk.clone(), desk.clone());
        let both = async move { tokio::join!(first.ask(Order::Pause), second.ask(Order::Resume)) };
        let carries = async {
            let asked = desk.next().await;
            assert_eq!(asked.order, Order::Pause);
            asked.answer(Ok(Done { job: 1, text: "paused".to_owned() }));
            // The second is met by the end.
            desk.end();
        };
        let ((paused, resumed), ()) = tokio::join!(both, carries);
        assert_eq!(paused.map(|done| done.job).ok(), Some(1));
        assert!(resumed.is_err() && desk.ask(Order::Cancel).await.is_err());
    }

    #[tokio::test]
    async fn they_are_bounded() {
        let desk = Desk::default();
        let mut waiting = Vec::new();
        for _ in 0..ORDERS_MAX {
            let desk = desk.clone();
            let mut ask = Box::pin(async move { desk.ask(Order::Pause).await });
            assert!(std::future::poll_fn(|cx| std::task::Poll::Ready(ask.as_mut().poll(cx))).await.is_pending());
            waiting.push(ask);
        }
        let refused = desk.ask(Order::Pause).await.map_err(|error| error.to_string());
        assert!(refused.is_err_and(|why| why.contains("wait already")));
    }
}
