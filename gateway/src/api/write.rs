//! Handlers that change something, or ask the run loop to.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use serde::{Deserialize, Serialize};
use stockwire_protocol::{AgentId, CommandBody, ReplyResult, SiteId};
use tokio::sync::oneshot;

use super::json::PlanAnswer;
use super::{Api, Problem, RunRequest};
use crate::dead_letter::DeadLetterId;
use crate::ingest::Replay;

/// There and back over a slow uplink, and no longer than a person waits.
const REPLY_WAIT: Duration = Duration::from_secs(10);
/// The ERP is read for it, location by location.
const RECONCILE_WAIT: Duration = Duration::from_secs(120);

#[derive(Serialize)]
pub(super) struct CommandOutcome {
    result: &'static str,
    reason: Option<String>,
    took_ms: u64,
}

pub(super) async fn ping(
    State(api): State<Arc<Api>>,
    Path((site, agent)): Path<(String, String)>,
) -> Result<Json<CommandOutcome>, Problem> {
    let site = SiteId::new(site).map_err(|fault| Problem::bad("site", fault.to_string()))?;
    let agent = AgentId::new(agent).map_err(|fault| Problem::bad("agent", fault.to_string()))?;
    let begun = tokio::time::Instant::now();
    let name = format!("{site}/{agent}");
    let request = |answer| RunRequest::Command { site, agent, body: CommandBody::Ping, answer };
    let reply = ask(&api, REPLY_WAIT, request).await?;
    let reply =
        reply.ok_or_else(|| Problem::timeout(format!("{name} did not answer within {REPLY_WAIT:?}")))?;
    let took_ms = begun.elapsed().as_millis() as u64;
    Ok(Json(match reply {
        ReplyResult::Done => CommandOutcome { result: "done", reason: None, took_ms },
        ReplyResult::Refused(why) => CommandOutcome { result: "refused", reason: Some(why), took_ms },
    }))
}

#[derive(Serialize)]
pub(super) struct ReplayOutcome {
    result: &'static str,
    reason: Option<String>,
}

pub(super) async fn replay(
    State(api): State<Arc<Api>>,
    Path(number): Path<i64>,
) -> Result<Json<ReplayOutcome>, Problem> {
    let request = |answer| RunRequest::Replay { id: DeadLetterId(number), by: "api".into(), answer };
    let outcome = ask(&api, REPLY_WAIT, request).await?;
    let outcome = outcome.ok_or_else(|| Problem::timeout("the store is busy; try again"))??;
    Ok(Json(match outcome {
        Replay::Applied => ReplayOutcome { result: "applied", reason: None },
        Replay::AlreadyApplied => ReplayOutcome { result: "already_applied", reason: None },
        Replay::AlreadyClosed => ReplayOutcome { result: "already_closed", reason: None },
        Replay::Requeued => ReplayOutcome { result: "requeued", reason: None },
        Replay::StillRefused { reason } => ReplayOutcome { result: "still_refused", reason: Some(reason) },
    }))
}

#[derive(Deserialize)]
pub(super) struct Discard {
    why: String,
}

#[derive(Serialize)]
pub(super) struct DiscardOutcome {
    result: &'static str,
}

pub(super) async fn discard(
    State(api): State<Arc<Api>>,
    Path(number): Path<i64>,
    body: Result<Json<Discard>, axum::extract::rejection::JsonRejection>,
) -> Result<Json<DiscardOutcome>, Problem> {
    let why = match body {
        Ok(Json(body)) if !body.why.trim().is_empty() => body.why,
        _ => {
            return Err(Problem::bad(
                "why",
                "expected {\"why\": \"...\"}: a discarded message needs a reason",
            ));
        }
    };
    let at = crate::io::unix_ms();
    let closed =
        api.store.call(move |store| store.discard_dead_letter(at, DeadLetterId(number), "api", &why)).await?;
    Ok(Json(DiscardOutcome { result: if closed { "discarded" } else { "already_closed" } }))
}

pub(super) async fn reconcile(State(api): State<Arc<Api>>) -> Result<Json<PlanAnswer>, Problem> {
    let plan = ask(&api, RECONCILE_WAIT, |answer| RunRequest::Reconcile { answer }).await?;
    let plan = plan.ok_or_else(|| Problem::timeout("the ERP did not answer in time"))?;
    plan.map(|plan| Json(plan.into())).map_err(Problem::unavailable)
}

/// Hands a request to the run loop; `None` when the answer did not come in time.
pub(super) async fn ask<T>(
    api: &Api,
    wait: Duration,
    request: impl FnOnce(oneshot::Sender<T>) -> RunRequest,
) -> Result<Option<T>, Problem> {
    let (answer, answered) = oneshot::channel();
    let busy = |_| Problem::unavailable("the gateway has too many requests in hand; try again");
    api.requests.try_send(request(answer)).map_err(busy)?;
    match tokio::time::timeout(wait, answered).await {
        Ok(Ok(value)) => Ok(Some(value)),
        Ok(Err(_)) | Err(_) => Ok(None),
    }
}
