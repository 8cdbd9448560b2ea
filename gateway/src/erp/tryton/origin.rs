//! Which lines of which sales the goods of a shipment were sold by.
//!
//! A move that names a line of a sale as its origin counts for it: Tryton then knows what of the sale has left. That is
//! bookkeeping beside the stock: goods for which no line is found leave all the same.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use stockwire_protocol::Quantity;

use super::super::{Posted, Shortage};
use super::carry::Carry;
use super::post::post;
use super::{SiteKeys, keys, number, search};
use crate::exchange::{Answer, Class, Conversation, Failure, Step};
use crate::posting::{PostingBatch, PostingKind, PostingLine};

/// Lines of sales in one reading: a hundred moves seldom belong to more than a hundred orders of ten lines. What is
/// beyond leaves without an origin.
const LINES_MAX: usize = 1_000;
/// Decimals of a unit, at most; Tryton's own are fewer.
const DIGITS_MAX: u32 = 6;

/// A line of a sale, as far as it is not shipped.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Sold {
    line: i64,
    product: i64,
    unit: i64,
    /// What people call the order.
    order: String,
    /// As Tryton tells them: numbers without a unit that we would know.
    quantity: Value,
    moved: Vec<Value>,
}

/// The orders whose sales must be looked for; `None` = none of the batch's goods were picked for one.
pub(super) fn wanted(batch: &PostingBatch) -> Option<BTreeSet<String>> {
    let orders: BTreeSet<String> = match batch.kind {
        PostingKind::Outgoing => batch
            .lines
            .iter()
            .filter_map(|line| Some(line.document_reference.as_ref()?.to_string()))
            .collect(),
        _ => BTreeSet::new(),
    };
    Some(orders).filter(|orders| !orders.is_empty())
}

/// Posting goods that were picked for orders: looks for the sales, then goes the usual way.
pub(super) struct PostSold {
    batch: PostingBatch,
    orders: BTreeSet<String>,
    shortage: Shortage,
    asked: bool,
    carry: Option<Carry>,
}

impl PostSold {
    pub(super) fn new(batch: &PostingBatch, orders: BTreeSet<String>, shortage: Shortage) -> Self {
        Self { batch: batch.clone(), orders, shortage, asked: false, carry: None }
    }

    fn ask(&mut self) -> Step<Posted> {
        let site: Result<SiteKeys, Failure> = match &self.batch.site_reference {
            Some(text) => keys(text),
            None => Err(Failure::new(
                Class::Setup,
                format!("the catalogue has no reference for site {}", self.batch.site),
            )),
        };
        let company = match site {
            Ok(site) => site.company,
            Err(failure) => return Step::Done(Err(failure)),
        };
        self.asked = true;
        let domain = json!([
            ["sale.description", "in", self.orders],
            ["sale.company", "=", company],
            ["sale.state", "in", ["confirmed", "processing", "done"]],
            // One that takes another back counts below zero.
            ["quantity", ">", 0],
            ["product", "!=", null],
        ]);
        let fields = ["product", "unit", "quantity", "sale.description", "moves.quantity", "moves.state"];
        Step::Send(search(
            "sold lines",
            "sale.line",
            &fields,
            &domain,
            LINES_MAX,
            &json!({"company": company}),
        ))
    }
}

impl Conversation for PostSold {
    type Output = Posted;

    fn next(&mut self, last: Option<Result<Answer, Failure>>) -> Step<Posted> {
        if let Some(carry) = &mut self.carry {
            return carry.next(last);
        }
        match last {
            Some(Ok(answer)) if self.asked => match read(&answer) {
                Ok(sold) => self.carry.insert(post(&self.batch, &sold, self.shortage)).next(None),
                Err(failure) => Step::Done(Err(failure)),
            },
            Some(Err(failure)) => Step::Done(Err(failure)),
            _ => self.ask(),
        }
    }
}

fn read(answer: &Answer) -> Result<Vec<Sold>, Failure> {
    let body = answer.json()?;
    let strange = |what: &Value| {
        let text = crate::exchange::excerpt(&what.to_string());
        Failure::new(Class::Setup, format!("expected lines of sales, got {text}"))
    };
    let rows = body.as_array().ok_or_else(|| strange(&body))?;
    let mut sold =
        rows.iter().map(|row| line(row).ok_or_else(|| strange(row))).collect::<Result<Vec<_>, _>>()?;
    sold.sort_by_key(|sold| sold.line);
    Ok(sold)
}

fn line(row: &Value) -> Option<Sold> {
    // A related record comes as its id, or as an object when a field of it was asked for.
    let id = |value: &Value| value.as_i64().or_else(|| value["id"].as_i64());
    let moves = row["moves"].as_array()?.iter().filter(|one| one["state"] != "cancelled");
    Some(Sold {
        line: row["id"].as_i64()?,
        product: id(&row["product"])?,
        unit: id(&row["unit"])?,
        order: row["sale"]["description"].as_str()?.to_owned(),
        quantity: row["quantity"].clone(),
        moved: moves.map(|one| one["quantity"].clone()).collect(),
    })
}

/// What is left of the sold lines while moves are given their shares.
pub(super) struct Shares<'a> {
    sold: &'a [Sold],
    /// Steps taken by this document, by position in `sold`.
    taken: Vec<i64>,
}

impl<'a> Shares<'a> {
    pub(super) fn new(sold: &'a [Sold]) -> Self {
        Self { sold, taken: vec![0; sold.len()] }
    }

    /// Cuts what moved into shares of the lines that it was sold by, the oldest line first; what is more than was sold
    /// stands without one. The shares add up to the line.
    pub(super) fn of(&mut self, line: &PostingLine, product: i64, unit: i64) -> Vec<(Quantity, Option<i64>)> {
        let Quantity { mut steps, uom } = line.quantity;
        let mut shares = Vec::new();
        let order = line.document_reference.as_ref().map(ToString::to_string);
        let fits = |sold: &&Sold| {
            Some(&sold.order) == order.as_ref() && (sold.product, sold.unit) == (product, unit)
        };
        for (at, sold) in self.sold.iter().enumerate().filter(|(_, sold)| fits(sold)) {
            let count = |value: &Value| number::from_json(value, uom, DIGITS_MAX).ok();
            let moved: Option<i64> = sold.moved.iter().map(count).sum();
            // A number that is none of ours: the goods leave, and a person sees the sale open.
            let Some((all, moved)) = count(&sold.quantity).zip(moved) else { continue };
            let share = steps.min(all.saturating_sub(moved).saturating_sub(self.taken[at]));
            if share > 0 {
                self.taken[at] += share;
                steps -= share;
                shares.push((Quantity { steps: share, uom }, Some(sold.line)));
            }
        }
        if steps > 0 || shares.is_empty() {
            shares.push((Quantity { steps, uom }, None));
        }
        shares
    }
}

#[cfg(test)]
mod tests;
