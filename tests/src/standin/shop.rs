//! A stand-in for Vendure's Admin API: log in, read variants and stock locations, set stock on hand.
//!
//! Its rules are Vendure's: transport status 200 whatever happens, a batch is all or nothing, stock is a whole
//! number and absolute, negative numbers are taken, and an unknown stock location is swallowed in silence.

pub mod door;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result};
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::real::World;

/// A running stand-in; it ends when dropped.
pub struct Shop {
    url: String,
    password: String,
    shelves: Arc<Mutex<Shelves>>,
    server: JoinHandle<()>,
}

struct Shelves {
    password: String,
    token: String,
    sites: Vec<String>,
    variants: Vec<Variant>,
    writes: u64,
}

struct Variant {
    sku: String,
    gtin: String,
    /// By site, in the order of `sites`.
    on_hand: Vec<i64>,
}

impl Shop {
    /// Starts one on a free loopback port with the world's items and nothing on hand.
    ///
    /// # Errors
    /// When no port can be had.
    pub async fn start(world: &World) -> Result<Self> {
        let password = crate::real::process::random_secret()?;
        let variant = |item: &crate::real::world::Item| Variant {
            sku: item.sku.clone(),
            gtin: item.gtin.clone(),
            on_hand: vec![0; world.sites.len()],
        };
        let shelves = Arc::new(Mutex::new(Shelves {
            password: password.clone(),
            token: crate::real::process::random_secret()?,
            sites: world.sites.iter().map(|site| site.code.clone()).collect(),
            variants: world.items.iter().map(variant).collect(),
            writes: 0,
        }));
        let routes = Router::new().route("/admin-api", post(answer)).with_state(Arc::clone(&shelves));
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.context("a port for the shop stand-in")?;
        let url = format!("http://{}", listener.local_addr()?);
        let server = tokio::spawn(async move {
            if let Err(fault) = axum::serve(listener, routes).await {
                eprintln!("the shop stand-in ended: {fault}");
            }
        });
        Ok(Self { url, password, shelves, server })
    }

    /// Base address; the Admin API is at `/admin-api` below it.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Password of `superadmin`.
    pub fn password(&self) -> &str {
        &self.password
    }

    /// What each SKU shows, over all sites.
    pub fn on_hand(&self) -> BTreeMap<String, i64> {
        let shelves = lock(&self.shelves);
        shelves.variants.iter().map(|variant| (variant.sku.clone(), variant.on_hand.iter().sum())).collect()
    }

    /// How many stock writes came.
    pub fn writes(&self) -> u64 {
        lock(&self.shelves).writes
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn lock(shelves: &Mutex<Shelves>) -> MutexGuard<'_, Shelves> {
    shelves.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn answer(State(shelves): State<Arc<Mutex<Shelves>>>, headers: HeaderMap, body: String) -> Response {
    let Ok(request) = serde_json::from_str::<Value>(&body) else {
        return (StatusCode::BAD_REQUEST, "not JSON").into_response();
    };
    let (query, variables) = (request["query"].as_str().unwrap_or(""), &request["variables"]);
    let mut shelves = lock(&shelves);
    if root_field(query) == "login" {
        return shelves.login(variables);
    }
    let token = headers.get("authorization").and_then(|value| value.to_str().ok()).unwrap_or("");
    if token != format!("Bearer {}", shelves.token) {
        return refused("You are not currently authorized to perform this action", "FORBIDDEN");
    }
    match root_field(query) {
        "stockLocations" => {
            let first = json!({"id": "1", "name": "Default Stock Location"});
            let sites = shelves.sites.iter().enumerate();
            let sites = sites.map(|(at, name)| json!({"id": location_id(at), "name": name}));
            let items: Vec<Value> = std::iter::once(first).chain(sites).collect();
            axum::Json(json!({"data": {"stockLocations": {"items": items}}})).into_response()
        }
        "productVariants" => shelves.variants(variables),
        "updateProductVariants" => shelves.update(variables),
        other => {
            let body = json!({"errors": [{"message": format!("Cannot query field {other:?} on type \"Query\"."),
                "extensions": {"code": "GRAPHQL_VALIDATION_FAILED"}}]});
            (StatusCode::BAD_REQUEST, axum::Json(body)).into_response()
        }
    }
}

/// The first field that a document selects.
fn root_field(query: &str) -> &str {
    let inside = query.split_once('{').map_or("", |(_, rest)| rest.trim_start());
    inside.split(|letter: char| !letter.is_ascii_alphanumeric()).next().unwrap_or("")
}

fn refused(message: &str, code: &str) -> Response {
    axum::Json(json!({"errors": [{"message": message, "extensions": {"code": code}}], "data": null}))
        .into_response()
}

/// The default location has number 1.
fn location_id(at: usize) -> String {
    (at + 2).to_string()
}

impl Shelves {
    fn login(&self, variables: &Value) -> Response {
        let holds = |value: &Value, wanted: &str| value.as_str() == Some(wanted);
        let given: Vec<&Value> = variables.as_object().map(|map| map.values().collect()).unwrap_or_default();
        let known = given.iter().any(|value| holds(value, "superadmin"))
            && given.iter().any(|value| holds(value, &self.password));
        if !known {
            let body = json!({"data": {"login": {"__typename": "InvalidCredentialsError",
                "errorCode": "INVALID_CREDENTIALS_ERROR", "message": "The provided credentials are invalid"}}});
            return axum::Json(body).into_response();
        }
        let body = json!({"data": {"login": {"__typename": "CurrentUser", "id": "1"}}});
        ([("vendure-auth-token", self.token.clone())], axum::Json(body)).into_response()
    }

    fn variants(&self, variables: &Value) -> Response {
        let options = variables.as_object().and_then(|map| map.values().next()).unwrap_or(&Value::Null);
        let filter = &options["filter"]["sku"];
        let wanted = |sku: &str| match (filter["eq"].as_str(), filter["in"].as_array()) {
            (Some(one), _) => one == sku,
            (_, Some(list)) => list.iter().any(|value| value.as_str() == Some(sku)),
            _ => true,
        };
        let number = |name: &str, otherwise: u64| options[name].as_u64().unwrap_or(otherwise) as usize;
        let found: Vec<usize> =
            (0..self.variants.len()).filter(|at| wanted(&self.variants[*at].sku)).collect();
        let page = found.iter().skip(number("skip", 0)).take(number("take", 100));
        let items: Vec<Value> = page.map(|at| self.variant(*at)).collect();
        let body = json!({"data": {"productVariants": {"totalItems": found.len(), "items": items}}});
        axum::Json(body).into_response()
    }

    fn variant(&self, at: usize) -> Value {
        let variant = &self.variants[at];
        let levels = variant.on_hand.iter().enumerate().map(|(site, on_hand)| {
            json!({"stockLocation": {"id": location_id(site), "name": self.sites[site]},
                "stockOnHand": on_hand, "stockAllocated": 0})
        });
        json!({"id": (at + 1).to_string(), "sku": variant.sku, "enabled": true, "trackInventory": "TRUE",
            "customFields": {"gtin": variant.gtin}, "stockLevels": levels.collect::<Vec<_>>()})
    }

    fn update(&mut self, variables: &Value) -> Response {
        let input = variables.as_object().and_then(|map| map.values().next()).and_then(Value::as_array);
        let Some(input) = input else {
            return refused("Variable \"$i\" of required type was not provided.", "BAD_USER_INPUT");
        };
        // All of it is looked at before any of it is done.
        let mut changes = Vec::new();
        for variant in input {
            let id = variant["id"].as_str().and_then(|id| id.parse::<usize>().ok()).unwrap_or(0);
            if id == 0 || id > self.variants.len() {
                let message = format!("No ProductVariant with the id {:?} could be found", variant["id"]);
                return refused(&message, "ENTITY_NOT_FOUND");
            }
            for level in variant["stockLevels"].as_array().into_iter().flatten() {
                let Some(on_hand) = level["stockOnHand"].as_i64() else {
                    let message = format!("Int cannot represent non-integer value: {}", level["stockOnHand"]);
                    return refused(&message, "BAD_USER_INPUT");
                };
                let site = (0..self.sites.len()).find(|at| level["stockLocationId"] == location_id(*at));
                changes.push((id - 1, site, on_hand));
            }
        }
        self.writes += 1;
        for (variant, site, on_hand) in &changes {
            if let Some(site) = site {
                self.variants[*variant].on_hand[*site] = *on_hand;
            }
        }
        let mut changed: Vec<usize> = changes.iter().map(|change| change.0).collect();
        changed.dedup();
        let variants: Vec<Value> = changed.into_iter().map(|at| self.variant(at)).collect();
        axum::Json(json!({"data": {"updateProductVariants": variants}})).into_response()
    }
}
