//! The same rules without a socket, for the simulated world: a request as a value in, an answer as a value out.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use stockwire_gateway::exchange::{Answer, Method, Outbound};

use super::{Books, act, create, list, lock};
use crate::real::World;

/// The stand-in, asked directly.
pub struct Door {
    books: Arc<Mutex<Books>>,
}

/// The key of the user application.
pub const KEY: &str = "world";

impl Door {
    /// Seeded with a world.
    pub fn new(world: &World) -> Self {
        Self { books: Arc::new(Mutex::new(Books::new(world, KEY))) }
    }

    /// Works on one request.
    pub fn answer(&self, outbound: &Outbound) -> Answer {
        let request = &outbound.request;
        let query: Vec<String> =
            request.query.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let query = RawQuery(Some(query.join("&")));
        let headers = headers(outbound);
        let books = State(Arc::clone(&self.books));
        let body = request.body.clone().unwrap_or(Value::Null);
        let parts: Vec<&str> = request.path.trim_start_matches('/').split('/').collect();
        let response = match (request.method, parts.as_slice()) {
            (Method::Get, [model]) => {
                now(list(books, Path((*model).to_owned()), query, headers)).into_response()
            }
            (Method::Post, [model]) => {
                now(create(books, Path((*model).to_owned()), headers, axum::Json(body))).into_response()
            }
            (Method::Post, [model, id, action]) => {
                let id = id.parse().unwrap_or(0);
                now(act(books, Path(((*model).to_owned(), id, (*action).to_owned())), headers))
                    .into_response()
            }
            _ => axum::http::StatusCode::NOT_FOUND.into_response(),
        };
        answer(response)
    }

    /// What lies where: `(place, SKU)` to thousandths of the unit.
    pub fn stock(&self) -> BTreeMap<(String, String), i64> {
        let books = lock(&self.books);
        let cells = books.stock.iter().filter_map(|((place, product), amount)| {
            let place = books.locations.iter().find(|location| location.id == *place)?;
            let product = books.products.iter().find(|known| known.id == *product)?;
            Some(((place.code.clone(), product.sku.clone()), *amount))
        });
        cells.collect()
    }

    /// Every document with its reference and state, oldest first.
    pub fn documents(&self) -> Vec<(String, &'static str)> {
        lock(&self.books)
            .documents
            .iter()
            .map(|document| (document.reference.clone(), document.state))
            .collect()
    }
}

/// Headers and credentials of a request, as they would stand on the wire.
pub(in crate::standin) fn headers(outbound: &Outbound) -> HeaderMap {
    let own = outbound.request.headers.iter().map(|(name, value)| (*name, value.clone()));
    let credentials = outbound.credentials.iter().map(|(name, value)| (*name, value.reveal().to_owned()));
    let pairs = own.chain(credentials).filter_map(|(name, value)| {
        Some((HeaderName::from_bytes(name.as_bytes()).ok()?, HeaderValue::from_str(&value).ok()?))
    });
    pairs.collect()
}

/// What a client would read of a response.
pub(in crate::standin) fn answer(response: Response) -> Answer {
    let (head, body) = response.into_parts();
    let text = |value: &HeaderValue| value.to_str().unwrap_or_default().to_owned();
    let headers = head.headers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect();
    let body = now(axum::body::to_bytes(body, usize::MAX)).map(|bytes| bytes.to_vec()).unwrap_or_default();
    Answer { status: head.status.as_u16(), headers, body }
}

/// The handlers wait for nothing, so the first poll is the last.
pub(in crate::standin) fn now<T>(work: impl Future<Output = T>) -> T {
    match pin!(work).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => unreachable!("a stand-in's handler waits"),
    }
}
