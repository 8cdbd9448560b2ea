//! The store behind one lock: its calls block, so they are made on the runtime's blocking threads.

use std::sync::{Arc, Mutex, PoisonError};

/// A store or a reader that several tasks use, one at a time.
pub struct Shared<S: ?Sized>(Arc<Mutex<Box<S>>>);

impl<S: ?Sized> Clone for Shared<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S: ?Sized + Send + 'static> Shared<S> {
    /// Takes a store in.
    pub fn new(store: Box<S>) -> Self {
        Self(Arc::new(Mutex::new(store)))
    }

    /// Works with the store on a blocking thread. Nobody else uses it meanwhile, so `work` must not wait for anything
    /// but the database.
    ///
    /// # Panics
    /// Passes a panic of `work` on: a bug, after which the transaction in hand was rolled back.
    pub async fn call<T: Send + 'static>(&self, work: impl FnOnce(&mut S) -> T + Send + 'static) -> T {
        let shared = Arc::clone(&self.0);
        let done = tokio::task::spawn_blocking(move || {
            // A panic in an earlier call left no transaction open: dropping it rolled it back.
            let mut store = shared.lock().unwrap_or_else(PoisonError::into_inner);
            work(&mut store)
        });
        match done.await {
            Ok(value) => value,
            Err(fault) => match fault.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime is going down; there is nobody left to tell.
                Err(_) => std::future::pending().await,
            },
        }
    }
}
