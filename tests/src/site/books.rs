//! What a site's journal and books say, read through the doors that a user has.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{AGENT, SITE, Site};
use crate::script::Stock;

/// One event of the journal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Recorded {
    /// `box-ham-01/EPOCH/SEQUENCE`
    pub identity: String,
    /// Item.
    pub item: String,
    /// Thousandths of the unit.
    pub amount: i64,
    /// What was done with it.
    pub deed: Deed,
}

/// What an event says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Deed {
    /// So much went from one place to another; `None` is a place outside the site's shelves.
    Moved {
        /// `HAM/A-01`
        from: Option<String>,
        /// `HAM/A-02`
        to: Option<String>,
    },
    /// So much was there.
    Counted {
        /// `HAM/A-01`
        place: String,
    },
}

/// Longest page of the API.
const PAGE: usize = 500;

impl Site {
    /// Everything that the agent's journal holds, oldest first.
    ///
    /// # Errors
    /// When it cannot be read, has a hole, or holds what no storekeeper does.
    pub fn journal(&self) -> Result<Vec<Recorded>> {
        let stats: Value = serde_json::from_str(&self.agent_command(&["journal", "stats", "--json"])?)?;
        let epoch = stats["epoch"].as_str().context("an epoch")?;
        let export = self.agent_command(&["journal", "export"])?;
        let mut rows = Vec::new();
        for line in export.lines() {
            let row: Value = serde_json::from_str(line).with_context(|| format!("journal row {line}"))?;
            let sequence = row["sequence"].as_u64().context("a sequence")?;
            ensure!(
                sequence == rows.len() as u64 + 1,
                "the journal has {sequence} after {} rows",
                rows.len()
            );
            let identity = format!("{AGENT}/{epoch}/{sequence}");
            rows.push(recorded(identity, &row).with_context(|| format!("journal row {line}"))?);
        }
        Ok(rows)
    }

    /// How many events the agent's journal holds.
    ///
    /// # Errors
    /// When it cannot be asked.
    pub fn journal_head(&self) -> Result<u64> {
        let stats: Value = serde_json::from_str(&self.agent_command(&["journal", "stats", "--json"])?)?;
        stats["head"].as_u64().with_context(|| format!("a head in {stats}"))
    }

    /// What lies where by the gateway's books, in thousandths, without zeros.
    ///
    /// # Errors
    /// When the API refuses.
    pub async fn books(&self) -> Result<Stock> {
        let mut books = Stock::new();
        for row in self.pages("/v1/stock").await? {
            let place = format!("{}/{}", text(&row["site"]), text(&row["location"]));
            *books.entry((place, text(&row["item"]).into())).or_default() +=
                thousandths(text(&row["on_hand"]))?;
        }
        books.retain(|_, amount| *amount != 0);
        Ok(books)
    }

    /// All rows of a list of the API.
    ///
    /// # Errors
    /// When it refuses.
    pub async fn pages(&self, path: &str) -> Result<Vec<Value>> {
        let join = if path.contains('?') { '&' } else { '?' };
        let mut rows = Vec::new();
        let mut after = String::new();
        loop {
            let mut page = self.get(&format!("{path}{join}limit={PAGE}{after}")).await?;
            if let Value::Array(more) = page["rows"].take() {
                rows.extend(more);
            }
            match page["next"].as_str() {
                Some(next) => after = format!("&after={}", escape(next)),
                None => return Ok(rows),
            }
        }
    }

    /// What is missing from an event's trace: the stages that it has not passed. A count that changed nothing has no
    /// document and no new number.
    ///
    /// # Errors
    /// When the API refuses.
    pub async fn missing_stages(&self, identity: &str, moves_stock: bool) -> Result<Vec<String>> {
        let trace = self.get(&format!("/v1/traces/{}", escape(identity))).await?;
        let steps = trace["timeline"].as_array().context("a timeline")?;
        let wanted: &[&str] = match moves_stock {
            true => &["recorded", "received", "booked", "posted", "published"],
            false => &["recorded", "received", "booked"],
        };
        let passed = |stage: &str| steps.iter().any(|step| step["stage"] == stage && step["at"].is_string());
        let missing = wanted.iter().filter(|stage| !passed(stage));
        Ok(missing.map(|stage| format!("{identity} is not {stage}: {trace}")).collect())
    }
}

/// What must lie where after all of these, and which of them changed something.
pub fn replay(opening: &Stock, rows: &[Recorded]) -> (Stock, Vec<bool>) {
    let mut stock = opening.clone();
    let mut moved = Vec::new();
    for row in rows {
        let changes: Vec<(&String, i64)> = match &row.deed {
            Deed::Moved { from, to } => from
                .iter()
                .map(|from| (from, -row.amount))
                .chain(to.iter().map(|to| (to, row.amount)))
                .collect(),
            Deed::Counted { place } => {
                let there = stock.get(&(place.clone(), row.item.clone())).copied().unwrap_or(0);
                vec![(place, row.amount - there)]
            }
        };
        moved.push(changes.iter().any(|(_, change)| *change != 0));
        for (place, change) in changes {
            *stock.entry((place.clone(), row.item.clone())).or_default() += change;
        }
    }
    stock.retain(|_, amount| *amount != 0);
    (stock, moved)
}

fn recorded(identity: String, row: &Value) -> Result<Recorded> {
    let place = |name: &str| match text(&row[name]) {
        "supplier" | "customer" | "loss" | "transit" => None,
        code => Some(format!("{SITE}/{code}")),
    };
    let (deed, quantity) = match text(&row["kind"]) {
        "movement" => (Deed::Moved { from: place("from"), to: place("to") }, "quantity"),
        "count" => (Deed::Counted { place: format!("{SITE}/{}", text(&row["location"])) }, "counted"),
        other => anyhow::bail!("no storekeeper does {other:?}"),
    };
    let number = text(&row[quantity]).split(' ').next().unwrap_or_default();
    Ok(Recorded { identity, item: text(&row["item"]).into(), amount: thousandths(number)?, deed })
}

/// A decimal number, exactly.
pub fn thousandths(text: &str) -> Result<i64> {
    let (sign, digits) = text.strip_prefix('-').map_or((1, text), |digits| (-1, digits));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let fits = !whole.is_empty() && fraction.len() <= 3;
    let all = format!("{whole}{fraction:0<3}");
    ensure!(fits && all.bytes().all(|byte| byte.is_ascii_digit()), "{text:?} is no number of thousandths");
    Ok(sign * all.parse::<i64>().with_context(|| format!("{text:?}"))?)
}

/// The text of a JSON value; nothing when it is none.
pub fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("")
}

/// For a path or a query.
fn escape(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes()
        .map(|byte| if plain(byte) { char::from(byte).into() } else { format!("%{byte:02X}") })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_read_exactly() {
        for (text, expected) in
            [("12", 12_000), ("0.5", 500), ("-1.234", -1_234), ("0", 0), ("100.00", 100_000)]
        {
            assert_eq!(thousandths(text).unwrap(), expected, "{text}");
        }
        for text in ["", "1.2345", "1e3", "x", "--1", ".5", "1.-5"] {
            assert!(thousandths(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_count_sets_and_a_movement_adds() {
        let place = || Some("HAM/A-01".to_owned());
        let row = |amount, deed| Recorded { identity: String::new(), item: "SKU".into(), amount, deed };
        let rows = [
            row(5_000, Deed::Moved { from: None, to: place() }),
            row(2_000, Deed::Moved { from: place(), to: Some("HAM/A-02".into()) }),
            row(3_000, Deed::Counted { place: "HAM/A-01".into() }),
            row(1_000, Deed::Counted { place: "HAM/A-01".into() }),
        ];
        let (stock, moved) = replay(&Stock::new(), &rows);
        let cell = |place: &str| (place.to_owned(), "SKU".to_owned());
        assert_eq!(stock, Stock::from([(cell("HAM/A-01"), 1_000), (cell("HAM/A-02"), 2_000)]));
        assert_eq!(moved, [true, true, false, true]);
    }
}
