//! A small pool of persistent threads that share the items of one job at a time.
//!
//! ```text
//!   caller:  publish job ── take items ── close job ── wait for those still inside ── return
//!   worker:  spin a little, then sleep ── join an open job ── take items ── leave
//! ```
//!
//! Items are handed out by one atomic counter, so a thread that the operating system has taken away
//! holds up at most the one item it is in. A worker that has not joined by the time the items run
//! out is not waited for: on a busy machine a late worker costs nothing.

#![allow(unsafe_code)]

use std::any::Any;
use std::cell::{Cell, UnsafeCell};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::*};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long a thread without work spins before it sleeps. Longer than the gap between two matrix
/// products of a forward pass, short enough that an idle machine stays cool.
const SPIN: Duration = Duration::from_micros(50);

// The state word: number of the job, whether it is open, and how many workers are inside.
const OPEN: u64 = 1 << 15;
const INSIDE: u64 = OPEN - 1;
const JOB: u64 = 1 << 16;

type Item<'a> = &'a (dyn Fn(usize) + Sync);

/// See the module's documentation.
pub(super) struct Pool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    /// One job at a time.
    run: Mutex<()>,
}

struct Shared {
    state: AtomicU64,
    /// The next item of the job; on its own cache line, as all threads write to it.
    next: Padded<AtomicUsize>,
    job: UnsafeCell<Option<Job>>,
    /// Workers that may be inside at once.
    most_inside: AtomicU64,
    stop: AtomicBool,
    /// Workers asleep, or about to be.
    asleep: AtomicUsize,
    /// The caller sleeps until the last worker leaves.
    caller_waits: AtomicBool,
    lock: Mutex<()>,
    wake: Condvar,
    left: Condvar,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

#[repr(align(128))]
struct Padded<T>(T);

#[derive(Clone, Copy)]
struct Job {
    item: *const (dyn Fn(usize) + Sync),
    n: usize,
}

// SAFETY: `job` is written only by the caller that holds `Pool::run` while no worker is inside, and read only by
// workers that are inside (`Shared::join`); the closure it points to is `Sync`.
unsafe impl Sync for Shared {}
// SAFETY: as above; nothing in it belongs to one thread.
unsafe impl Send for Shared {}

thread_local! {
    /// Whether this thread is running an item: jobs inside a job run in place.
    static WORKING: Cell<bool> = const { Cell::new(false) };
}

impl Pool {
    /// A pool of `threads` threads, the caller of [`Pool::for_each`] included (at least 1, at most 1024).
    pub(super) fn new(threads: usize) -> Pool {
        let shared = Arc::new(Shared {
            state: AtomicU64::new(0),
            next: Padded(AtomicUsize::new(0)),
            job: UnsafeCell::new(None),
            most_inside: AtomicU64::new(INSIDE),
            stop: AtomicBool::new(false),
            asleep: AtomicUsize::new(0),
            caller_waits: AtomicBool::new(false),
            lock: Mutex::new(()),
            wake: Condvar::new(),
            left: Condvar::new(),
            panic: Mutex::new(None),
        });
        // A system that refuses more threads leaves us with fewer: slower, not wrong.
        let workers = (1..threads.clamp(1, 1024))
            .map_while(|i| {
                let shared = shared.clone();
                std::thread::Builder::new().name(format!("loco-{i}")).spawn(move || shared.work()).ok()
            })
            .collect();
        Pool { shared, workers, run: Mutex::new(()) }
    }

    /// Threads that take part, the caller included.
    pub(super) fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Calls `item(i)` once for each `i` in `0..n` and returns when all calls have returned. A panic in
    /// any of them is passed on to the caller (other items may then not be called).
    pub(super) fn for_each(&self, n: usize, item: Item) {
        self.for_each_by(usize::MAX, n, item);
    }

    /// The same by at most `threads` threads, the caller included.
    pub(super) fn for_each_by(&self, threads: usize, n: usize, item: Item) {
        if n <= 1 || threads <= 1 || self.workers.is_empty() || WORKING.get() {
            (0..n).for_each(item);
            return;
        }
        let _one_job = guard(&self.run);
        let shared = &*self.shared;
        // SAFETY: only the lifetime changes. The pointer is used by workers inside the job, and this
        // function does not return or unwind before the job is closed and the last worker has left.
        let erased = unsafe { std::mem::transmute::<Item<'_>, Item<'static>>(item) };
        // SAFETY: `run` is held and the last job is closed and left, so nobody else touches `job`.
        unsafe { *shared.job.get() = Some(Job { item: erased, n }) };
        shared.next.0.store(0, Relaxed);
        shared.most_inside.store((threads as u64 - 1).min(INSIDE), Relaxed);
        // Publishes the job (Release) and orders it before the look at `asleep` (SeqCst), see `sleep`.
        let number = shared.state.load(Relaxed) & !(JOB - 1);
        shared.state.store(number.wrapping_add(JOB) | OPEN, SeqCst);
        if shared.asleep.load(SeqCst) > 0 {
            drop(guard(&shared.lock));
            shared.wake.notify_all();
        }
        shared.take_items(item, n);
        shared.close_and_wait();
        let panic = guard(&shared.panic).take();
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.stop.store(true, SeqCst);
        drop(guard(&self.shared.lock));
        self.shared.wake.notify_all();
        for worker in self.workers.drain(..) {
            // Workers catch the panics of items, so they end normally.
            let _ = worker.join();
        }
    }
}

impl Shared {
    fn work(&self) {
        let mut last = 0;
        while let Some(job) = self.join(&mut last) {
            // SAFETY: we are inside the job, so the caller is waiting for us and the closure is alive.
            let item = unsafe { &*job.item };
            self.take_items(item, job.n);
            self.leave();
        }
    }

    /// Waits for an open job other than `last` and enters it; `None` when the pool is dropped.
    fn join(&self, last: &mut u64) -> Option<Job> {
        loop {
            let state = self.wait_for_job(*last)?;
            if state & INSIDE >= self.most_inside.load(Relaxed) {
                // Enough are inside. Whether the limit read was this job's or a later one's: this job is done without us.
                *last = state & !(JOB - 1);
                continue;
            }
            // Acquire: what the caller wrote before it opened the job is seen after this.
            if self.state.compare_exchange_weak(state, state + 1, AcqRel, Relaxed).is_ok() {
                *last = state & !(JOB - 1);
                // SAFETY: we have entered an open job: the caller does not write `job` before we leave.
                return unsafe { *self.job.get() };
            }
        }
    }

    fn is_new(state: u64, last: u64) -> bool {
        state & OPEN != 0 && state & !(JOB - 1) != last
    }

    fn wait_for_job(&self, last: u64) -> Option<u64> {
        let found = spin_until(|| {
            let state = self.state.load(SeqCst);
            (Self::is_new(state, last) || self.stop.load(Relaxed)).then_some(state)
        });
        match found {
            Some(_) if self.stop.load(SeqCst) => None,
            Some(state) => Some(state),
            None => self.sleep(last),
        }
    }

    /// Sleeps until there is a job. `asleep` is raised before the state is looked at, and the caller
    /// looks at `asleep` after it has changed the state: one of the two sees the other. Whoever
    /// wakes takes the lock first, so the signal cannot fall between our look and our wait.
    fn sleep(&self, last: u64) -> Option<u64> {
        let mut lock = guard(&self.lock);
        self.asleep.fetch_add(1, SeqCst);
        let found = loop {
            let state = self.state.load(SeqCst);
            if self.stop.load(SeqCst) {
                break None;
            }
            if Self::is_new(state, last) {
                break Some(state);
            }
            lock = self.wake.wait(lock).unwrap_or_else(|poisoned| poisoned.into_inner());
        };
        self.asleep.fetch_sub(1, SeqCst);
        found
    }

    fn take_items(&self, item: Item, n: usize) {
        WORKING.set(true);
        let result = catch_unwind(AssertUnwindSafe(|| {
            loop {
                let i = self.next.0.fetch_add(1, Relaxed);
                if i >= n {
                    break;
                }
                item(i);
            }
        }));
        WORKING.set(false);
        if let Err(panic) = result {
            // No further items; half the range, so that later increments do not wrap.
            self.next.0.store(usize::MAX / 2, Relaxed);
            guard(&self.panic).get_or_insert(panic);
        }
    }

    /// The caller: nobody enters any more; returns when all who entered have left.
    fn close_and_wait(&self) {
        // SeqCst here and in `leave` orders these changes against `caller_waits`. Acquire: what the items
        // wrote is seen by the caller.
        self.state.fetch_and(!OPEN, SeqCst);
        let empty = || self.state.load(SeqCst) & INSIDE == 0;
        if spin_until(|| empty().then_some(())).is_some() {
            return;
        }
        let mut lock = guard(&self.lock);
        self.caller_waits.store(true, SeqCst);
        while !empty() {
            lock = self.left.wait(lock).unwrap_or_else(|poisoned| poisoned.into_inner());
        }
        self.caller_waits.store(false, SeqCst);
    }

    fn leave(&self) {
        let before = self.state.fetch_sub(1, SeqCst);
        if before & INSIDE == 1 && self.caller_waits.load(SeqCst) {
            drop(guard(&self.lock));
            self.left.notify_all();
        }
    }
}

/// Polls for at most [`SPIN`].
fn spin_until<T>(mut poll: impl FnMut() -> Option<T>) -> Option<T> {
    let mut start = None;
    loop {
        for _ in 0..64 {
            if let Some(found) = poll() {
                return Some(found);
            }
            std::hint::spin_loop();
        }
        if start.get_or_insert_with(Instant::now).elapsed() > SPIN {
            return None;
        }
    }
}

/// The lock; a poisoned one too, as none of the pool's locks guards data that a panic could leave half-changed.
fn guard<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_is_called_once_in_thousands_of_short_jobs() {
        for threads in [1, 2, 3, 8] {
            let pool = Pool::new(threads);
            assert_eq!(pool.threads(), threads);
            for job in 0..2000 {
                let n = job % 37;
                let calls: Vec<_> = (0..n).map(|_| AtomicUsize::new(0)).collect();
                pool.for_each(n, &|i| {
                    calls[i].fetch_add(1, Relaxed);
                });
                assert!(calls.iter().all(|c| c.load(Relaxed) == 1), "{threads} threads, job {job}");
            }
        }
    }

    #[test]
    fn no_more_threads_than_allowed_are_inside() {
        let pool = Pool::new(4);
        for threads in [1, 2, 3] {
            for _ in 0..200 {
                let (inside, most, calls) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
                pool.for_each_by(threads, 16, &|_| {
                    most.fetch_max(inside.fetch_add(1, SeqCst) + 1, SeqCst);
                    std::thread::yield_now();
                    calls.fetch_add(1, SeqCst);
                    inside.fetch_sub(1, SeqCst);
                });
                assert_eq!(calls.into_inner(), 16);
                assert!(most.into_inner() <= threads);
            }
        }
    }

    #[test]
    fn workers_wake_from_sleep() {
        let pool = Pool::new(3);
        for _ in 0..20 {
            while pool.shared.asleep.load(SeqCst) < 2 {
                std::thread::yield_now();
            }
            // Each item waits until all three threads are in one: only possible if both workers woke.
            let inside = AtomicUsize::new(0);
            pool.for_each(3, &|_| {
                inside.fetch_add(1, SeqCst);
                while inside.load(SeqCst) < 3 {
                    std::thread::yield_now();
                }
            });
        }
    }

    #[test]
    fn callers_on_several_threads_take_turns() {
        let pool = Pool::new(3);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for n in 0..300 {
                        let sum = AtomicUsize::new(0);
                        pool.for_each(n, &|i| {
                            sum.fetch_add(i, Relaxed);
                        });
                        assert_eq!(sum.into_inner(), n * n.saturating_sub(1) / 2);
                    }
                });
            }
        });
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_pool_goes_on() {
        let pool = Pool::new(3);
        for round in 0..50 {
            let result =
                catch_unwind(AssertUnwindSafe(|| pool.for_each(64, &|i| assert_ne!(i, round, "item {round}"))));
            let message = *result.unwrap_err().downcast::<String>().unwrap();
            assert!(message.contains(&format!("item {round}")), "{message}");
            let calls = AtomicUsize::new(0);
            pool.for_each(64, &|_| {
                calls.fetch_add(1, Relaxed);
            });
            assert_eq!(calls.into_inner(), 64);
        }
    }

    #[test]
    fn a_job_inside_a_job_runs_in_place() {
        let pool = Pool::new(2);
        let calls = AtomicUsize::new(0);
        pool.for_each(8, &|_| {
            pool.for_each(8, &|_| {
                calls.fetch_add(1, Relaxed);
            })
        });
        assert_eq!(calls.into_inner(), 64);
    }
}
