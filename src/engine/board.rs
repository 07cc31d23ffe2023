//! What the engine's thread and its handles both look at: places to wait in, whether it serves, what it does.

use super::{Error, Stats};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError, watch};

/// Shared by an engine's handles, its thread and its sequences.
#[derive(Debug)]
pub(super) struct Board {
    max_waiting: usize,
    /// Fair: a place that becomes free goes to whoever asked first.
    places: Arc<Semaphore>,
    /// Why the engine serves no more, once it does not.
    ended: watch::Sender<Option<Error>>,
    stats: Mutex<Stats>,
}

/// A place among the waiting requests; dropping it makes room for the next.
#[derive(Debug)]
pub(super) struct Place {
    _permit: OwnedSemaphorePermit,
    /// When the request came that it was taken for.
    pub(super) since: Instant,
}

impl Board {
    /// With this many places, at least one and at most what a semaphore can count.
    pub(super) fn new(max_waiting: usize) -> Self {
        let max_waiting = max_waiting.clamp(1, Semaphore::MAX_PERMITS);
        let places = Arc::new(Semaphore::new(max_waiting));
        Self { max_waiting, places, ended: watch::Sender::new(None), stats: Mutex::default() }
    }

    /// A place to wait in, if one is left.
    pub(super) fn place(&self) -> Result<Place, Error> {
        match self.places.clone().try_acquire_owned() {
            Ok(permit) => Ok(Place { _permit: permit, since: Instant::now() }),
            Err(TryAcquireError::NoPermits) => Err(Error::Busy(self.max_waiting)),
            Err(TryAcquireError::Closed) => Err(self.refusal()),
        }
    }

    /// A place to wait in, as soon as one is left and all who asked before have theirs.
    pub(super) async fn place_when_free(&self) -> Result<Place, Error> {
        let since = Instant::now();
        let permit = self.places.clone().acquire_owned().await.map_err(|_| self.refusal())?;
        Ok(Place { _permit: permit, since })
    }

    /// Requests that have a place.
    pub(super) fn waiting(&self) -> usize {
        self.max_waiting.saturating_sub(self.places.available_permits())
    }

    /// From now on the engine serves no more. The first reason stays.
    pub(super) fn end(&self, why: Error) {
        self.ended.send_if_modified(|ended| {
            let first = ended.is_none();
            if first {
                *ended = Some(why);
            }
            first
        });
        self.places.close();
    }

    /// Whether the engine still serves.
    pub(super) fn serves(&self) -> bool {
        self.ended.borrow().is_none()
    }

    /// Why it does not.
    pub(super) fn refusal(&self) -> Error {
        self.ended.borrow().clone().unwrap_or(Error::Closed)
    }

    /// Waits until it does not.
    pub(super) async fn ended(&self) -> Error {
        // The sender is ours, so the wait cannot fail.
        self.ended.subscribe().wait_for(Option::is_some).await.ok();
        self.refusal()
    }

    /// Shows what the engine does.
    pub(super) fn post(&self, stats: Stats) {
        *self.stats.lock().unwrap_or_else(PoisonError::into_inner) = stats;
    }

    /// What was posted last, with the requests that wait now.
    pub(super) fn stats(&self) -> Stats {
        let stats = *self.stats.lock().unwrap_or_else(PoisonError::into_inner);
        Stats { waiting: self.waiting(), ..stats }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[test]
    fn places_go_to_whoever_asked_first() {
        let board = Board::new(1);
        let held = board.place().unwrap();
        let (mut first, mut second) = (Box::pin(board.place_when_free()), Box::pin(board.place_when_free()));
        // Asking is what counts, so the second asks after the first and a third, who will not wait, is refused.
        assert!(first.as_mut().now_or_never().is_none() && second.as_mut().now_or_never().is_none());
        drop(held);
        assert_eq!(board.place().unwrap_err(), Error::Busy(1));
        assert!(second.as_mut().now_or_never().is_none());
        let place = first.now_or_never().unwrap().unwrap();
        assert!(second.as_mut().now_or_never().is_none());
        drop(place);
        drop(second.now_or_never().unwrap().unwrap());
        assert_eq!(board.waiting(), 0);
    }

    #[test]
    fn who_stops_waiting_takes_no_place() {
        let board = Board::new(1);
        let held = board.place().unwrap();
        let mut gone = Box::pin(board.place_when_free());
        assert!(gone.as_mut().now_or_never().is_none());
        drop(held);
        drop(gone);
        assert_eq!(board.waiting(), 0);
        board.place().unwrap();
    }

    #[test]
    fn the_end_wakes_all_who_wait_with_the_first_reason() {
        let board = Board::new(1);
        let _held = board.place().unwrap();
        let (mut waiting, mut ended) = (Box::pin(board.place_when_free()), Box::pin(board.ended()));
        assert!(waiting.as_mut().now_or_never().is_none() && ended.as_mut().now_or_never().is_none());
        assert!(board.serves());
        board.end(Error::Failed);
        board.end(Error::Closed);
        assert!(!board.serves());
        assert_eq!(waiting.now_or_never().unwrap().unwrap_err(), Error::Failed);
        assert_eq!(ended.now_or_never(), Some(Error::Failed));
        assert_eq!(board.place().unwrap_err(), Error::Failed);
    }
}
