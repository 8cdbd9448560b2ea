//! Handlers about how items are sold.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use serde::{Deserialize, Serialize};
use stockwire_protocol::ItemId;

use super::body::{self, Body};
use super::{Api, Problem, reservation};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Strictness {
    /// Left out: as the channels that sell it are configured.
    strict: Option<bool>,
}

#[derive(Serialize)]
pub(super) struct StrictOutcome {
    result: &'static str,
}

/// Says whether all channels together may sell no more of an item than is there. Sent twice, it is done once.
pub(super) async fn put_strict(
    State(api): State<Arc<Api>>,
    Path(item): Path<String>,
    given: Body<Strictness>,
) -> Result<Json<StrictOutcome>, Problem> {
    let item = body::text("item", &item, ItemId::new)?;
    let strict = body::read(given)?.strict;
    let now = crate::io::unix_ms();
    let changed = api.store.call(move |store| store.put_strict(now, &item, strict)).await?;
    reservation::tell(&api).await?;
    Ok(Json(StrictOutcome { result: if changed { "changed" } else { "as_before" } }))
}
