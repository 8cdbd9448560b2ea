//! Tasks: what the warehouse is asked to do, and what came of it.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use serde::{Deserialize, Serialize};
use stockwire_protocol::gs1::Date;
use stockwire_protocol::{ItemId, LocationId, Lot, Reference, SiteId, Task, TaskKind, TaskLine};

use super::body::{self, Body};
use super::json::{Rows, time};
use super::read::Parameters;
use super::{Api, Problem};
use crate::store::TaskQuery;
use crate::task::{self, LineOutcome, TaskName, TaskRow, TaskState};

/// What is asked.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    site: String,
    kind: String,
    id: String,
    order: Option<String>,
    location: Option<String>,
    #[serde(default)]
    lines: Vec<AskedLine>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AskedLine {
    item: String,
    quantity: String,
    uom: Option<String>,
    from: Option<String>,
    to: Option<String>,
    lot: Option<String>,
    expires_on: Option<String>,
}

impl Asked {
    fn parse(self) -> Result<(SiteId, Task), Problem> {
        let line = |(at, line): (usize, &AskedLine)| -> Result<TaskLine, Problem> {
            let at = format!("lines[{at}].");
            let field = |name: &str| format!("{at}{name}");
            Ok(TaskLine {
                item: body::text(field("item"), &line.item, ItemId::new)?,
                quantity: body::quantity(&at, &line.quantity, line.uom.as_ref())?,
                from: body::maybe(field("from"), line.from.as_ref(), LocationId::new)?,
                to: body::maybe(field("to"), line.to.as_ref(), LocationId::new)?,
                lot: body::maybe(field("lot"), line.lot.as_ref(), Lot::new)?,
                expires_on: body::maybe(field("expires_on"), line.expires_on.as_ref(), day)?,
            })
        };
        let task = Task {
            kind: kind(&self.kind)?,
            id: body::text("id", &self.id, Reference::new)?,
            order: body::maybe("order", self.order.as_ref(), Reference::new)?,
            location: body::maybe("location", self.location.as_ref(), LocationId::new)?,
            lines: self.lines.iter().enumerate().map(line).collect::<Result<_, _>>()?,
        };
        // The check names the field before its colon.
        task::check(&task).map_err(|fault| match fault.split_once(": ") {
            Some((field, why)) => Problem::bad(field, why),
            None => Problem::bad("body", fault),
        })?;
        Ok((body::text("site", &self.site, SiteId::new)?, task))
    }
}

/// `2026-12-31`.
fn day(text: &str) -> Result<Date, String> {
    let digits: String = text.split('-').collect();
    let number = digits.parse().ok().filter(|_| text.len() == 10 && digits.len() == 8);
    let day = number.map(Date::from_yyyymmdd).ok_or("expected a day such as 2026-12-31")?;
    day.map_err(|fault| fault.to_string())
}

fn kind(name: &str) -> Result<TaskKind, Problem> {
    task::kind_from_name(name).ok_or_else(|| {
        Problem::bad("kind", format!("expected pick, receive, announced, count or replenish, got {name:?}"))
    })
}

fn name((site, name, id): (String, String, String)) -> Result<TaskName, Problem> {
    Ok(TaskName {
        site: body::text("site", &site, SiteId::new)?,
        id: body::text("task", &id, Reference::new)?,
        kind: kind(&name)?,
    })
}

/// A task with what came of it.
#[derive(Serialize)]
pub(super) struct Told {
    site: String,
    kind: &'static str,
    id: String,
    state: &'static str,
    order: Option<String>,
    location: Option<String>,
    lines: Vec<Line>,
    beyond: Vec<Beyond>,
    created_at: String,
    changed_at: String,
}

#[derive(Serialize)]
struct Line {
    item: String,
    quantity: String,
    uom: &'static str,
    from: Option<String>,
    to: Option<String>,
    lot: Option<String>,
    expires_on: Option<String>,
    done: String,
    short: String,
    open: String,
}

#[derive(Serialize)]
struct Beyond {
    item: String,
    quantity: String,
    uom: &'static str,
    location: Option<String>,
    lot: Option<String>,
}

impl From<TaskRow> for Told {
    fn from(row: TaskRow) -> Self {
        let text = |text: Option<&dyn ToString>| text.map(ToString::to_string);
        let line = |(line, outcome): (&TaskLine, &LineOutcome)| {
            let steps = |steps| stockwire_protocol::Quantity { steps, ..line.quantity }.decimal();
            Line {
                item: line.item.to_string(),
                quantity: line.quantity.decimal(),
                uom: line.quantity.uom.code(),
                from: text(line.from.as_ref().map(|from| from as _)),
                to: text(line.to.as_ref().map(|to| to as _)),
                lot: text(line.lot.as_ref().map(|lot| lot as _)),
                expires_on: text(line.expires_on.as_ref().map(|day| day as _)),
                done: steps(outcome.done),
                short: steps(outcome.short),
                open: steps(outcome.open(line.quantity.steps)),
            }
        };
        let beyond = |done: &task::Done| Beyond {
            item: done.item.to_string(),
            quantity: done.quantity.decimal(),
            uom: done.quantity.uom.code(),
            location: text(done.location.as_ref().map(|location| location as _)),
            lot: text(done.lot.as_ref().map(|lot| lot as _)),
        };
        Self {
            site: row.site.to_string(),
            kind: row.asked.kind.as_str(),
            id: row.asked.id.to_string(),
            state: row.state.as_str(),
            order: text(row.asked.order.as_ref().map(|order| order as _)),
            location: text(row.asked.location.as_ref().map(|location| location as _)),
            lines: row.asked.lines.iter().zip(&row.lines).map(line).collect(),
            beyond: row.beyond.iter().map(beyond).collect(),
            created_at: time(row.created_at_ms),
            changed_at: time(row.changed_at_ms),
        }
    }
}

pub(super) async fn list(
    State(api): State<Arc<Api>>,
    Query(p): Query<Parameters>,
) -> Result<Json<Rows<Told>>, Problem> {
    let state = |name: &String| {
        TaskState::from_name(name)
            .ok_or_else(|| Problem::bad("state", format!("expected open, done or withdrawn, got {name:?}")))
    };
    let query = TaskQuery {
        site: body::maybe("site", p.site.as_ref(), SiteId::new)?,
        kind: p.kind.as_deref().map(kind).transpose()?,
        state: p.state.as_ref().map(state).transpose()?,
        limit: p.limit()?,
        after: p.after,
    };
    let page = api.reader.call(move |reader| reader.tasks(&query)).await?;
    Ok(Json(Rows::of(page, Told::from)))
}

pub(super) async fn show(
    State(api): State<Arc<Api>>,
    Path(path): Path<(String, String, String)>,
) -> Result<Json<Told>, Problem> {
    let name = name(path)?;
    let missing = missing(&name);
    let row = api.reader.call(move |reader| reader.task(&name)).await?;
    row.map(|row| Json(row.into())).ok_or_else(|| Problem::not_found(missing))
}

fn missing(name: &TaskName) -> String {
    format!(
        "site {} has no {} task {}; GET /v1/tasks lists what there is",
        name.site,
        name.kind.as_str(),
        name.id
    )
}

/// Asks for a task, or asks anew. Sent twice, it is asked once.
pub(super) async fn ask(State(api): State<Arc<Api>>, given: Body<Asked>) -> Result<Json<Told>, Problem> {
    let (site, task) = body::read(given)?.parse()?;
    let at = crate::io::unix_ms();
    let row = api.store.call(move |store| store.put_task(at, &site, &task)).await?;
    Ok(Json(row.into()))
}

#[derive(Serialize)]
pub(super) struct WithdrawOutcome {
    result: &'static str,
}

pub(super) async fn withdraw(
    State(api): State<Arc<Api>>,
    Path(path): Path<(String, String, String)>,
) -> Result<Json<WithdrawOutcome>, Problem> {
    let name = name(path)?;
    let missing = missing(&name);
    let at = crate::io::unix_ms();
    let work = move |store: &mut (dyn crate::store::Store + 'static)| {
        Ok::<_, crate::store::StoreError>((store.withdraw_task(at, &name)?, store.task(&name)?))
    };
    match api.store.call(work).await? {
        (_, None) => Err(Problem::not_found(missing)),
        (true, _) => Ok(Json(WithdrawOutcome { result: "withdrawn" })),
        (false, _) => Ok(Json(WithdrawOutcome { result: "already_withdrawn" })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(json: &str, expected: Result<usize, &str>) {
        let asked: Asked = serde_json::from_str(json).unwrap();
        let got = asked.parse().map(|(_, task)| task.lines.len());
        assert_eq!(
            got.as_ref().map_err(|fault| fault.field()),
            expected.as_ref().map_err(|field| Some(*field))
        );
    }

    #[test]
    fn a_refusal_names_the_field() {
        let pick = |line: &str| format!(r#"{{"site":"HAM","kind":"pick","id":"SO-7","lines":[{line}]}}"#);
        check(&pick(r#"{"item":"A","quantity":"5"}"#), Ok(1));
        check(&pick(r#"{"item":"A","quantity":"1.5","uom":"KGM","expires_on":"2027-02-28"}"#), Ok(1));
        check(&pick(""), Err("lines"));
        check(&pick(r#"{"item":"","quantity":"5"}"#), Err("lines[0].item"));
        check(&pick(r#"{"item":"A","quantity":"five"}"#), Err("lines[0].quantity"));
        check(&pick(r#"{"item":"A","quantity":"0"}"#), Err("lines[0].quantity"));
        check(&pick(r#"{"item":"A","quantity":"5","uom":"STONE"}"#), Err("lines[0].uom"));
        check(
            &pick(r#"{"item":"A","quantity":"5"},{"item":"A","quantity":"5","to":"a b"}"#),
            Err("lines[1].to"),
        );
        check(&pick(r#"{"item":"A","quantity":"5","expires_on":"2027-02-30"}"#), Err("lines[0].expires_on"));
        check(&pick(r#"{"item":"A","quantity":"5","expires_on":"28.02.2027"}"#), Err("lines[0].expires_on"));
        check(r#"{"site":"HAM","kind":"dance","id":"SO-7"}"#, Err("kind"));
        check(r#"{"site":"H/M","kind":"count","id":"C","location":"A-01"}"#, Err("site"));
        check(r#"{"site":"HAM","kind":"count","id":"C"}"#, Err("location"));
        check(r#"{"site":"HAM","kind":"count","id":"C","location":"A-01"}"#, Ok(0));
        check(
            r#"{"site":"HAM","kind":"announced","id":"PLT","lines":[{"item":"A","quantity":"5"}]}"#,
            Err("id"),
        );
    }
}
