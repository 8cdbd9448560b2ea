//! Many buyers for one piece, through the gateway's HTTP door.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tokio::task::JoinSet;

/// Buyers who want the piece at the same moment.
pub const BUYERS: usize = 32;
/// Rounds when nothing else is said; `STOCKWIRE_RACE_ROUNDS` says more.
const ROUNDS: usize = 10;

/// Runs the rounds against gateways of one set of books, in which the item has stock at the site, and returns how many
/// there were. The buyers are spread over the gateways' addresses.
///
/// # Errors
/// When a round has not exactly one winner, or when anything else is answered than granted or refused.
pub async fn last_piece(doors: &[String], at: &str, item: &str) -> Result<usize> {
    let rounds = match std::env::var("STOCKWIRE_RACE_ROUNDS") {
        Ok(text) => text.parse().context("STOCKWIRE_RACE_ROUNDS is no number of rounds")?,
        Err(_) => ROUNDS,
    };
    let client = reqwest::Client::new();
    let buyers = Buyers { client, doors: doors.into(), at: at.into(), item: item.into() };
    // All but one piece belongs to somebody.
    let stock = buyers.get(&format!("/v1/stock?site={at}&item={item}")).await?;
    let rows = stock["rows"].as_array().context("rows of stock")?;
    let pieces = rows.iter().filter_map(|row| row["on_hand"].as_str()?.parse::<u64>().ok()).sum::<u64>();
    ensure!(pieces > 1, "{item} has {pieces} pieces at {at}");
    let (status, answer) = buyers.reserve(0, "FIRST", pieces - 1).await?;
    ensure!(status == 200, "{status}: {answer}");
    for round in 0..rounds {
        let mut running = JoinSet::new();
        for buyer in 0..BUYERS {
            let (buyers, order) = (buyers.clone(), format!("R{round}-{buyer}"));
            running.spawn(async move { (buyers.reserve(buyer, &order, 1).await, order) });
        }
        let mut winners = Vec::new();
        for (answer, order) in running.join_all().await {
            let (status, answer) = answer?;
            match status {
                200 => winners.push(order),
                409 => ensure!(
                    answer["detail"].as_str().is_some_and(|detail| detail.contains("1 wanted, 0 available")),
                    "round {round}, {order}: {answer}"
                ),
                status => anyhow::bail!("round {round}, {order}: {status} {answer}"),
            }
        }
        ensure!(winners.len() == 1, "round {round}: {} winners: {winners:?}", winners.len());
        let held = buyers.get(&format!("/v1/reservations?item={item}&pending=true")).await?;
        let held = held["rows"].as_array().context("rows of reservations")?;
        ensure!(held.len() == 2, "round {round}: {held:?}");
        // Twice, because a cancellation that comes again must free nothing twice.
        for door in 0..2 {
            buyers.give_back(round + door, &winners[0]).await?;
        }
    }
    Ok(rounds)
}

/// What all of them share.
#[derive(Clone)]
struct Buyers {
    client: reqwest::Client,
    doors: Vec<String>,
    at: String,
    item: String,
}

impl Buyers {
    /// The address for the n-th of them.
    fn door(&self, n: usize) -> &str {
        &self.doors[n % self.doors.len()]
    }

    async fn get(&self, path: &str) -> Result<Value> {
        let answer = self.client.get(format!("{}{path}", self.door(0))).send().await?;
        let (status, answer): (u16, Value) = (answer.status().as_u16(), answer.json().await?);
        ensure!(status == 200, "{path}: {status} {answer}");
        Ok(answer)
    }

    async fn reserve(&self, n: usize, order: &str, pieces: u64) -> Result<(u16, Value)> {
        let body = json!({"channel": "shop", "order": order, "lines": [
            {"line": 1, "item": self.item, "site": self.at, "quantity": pieces.to_string()},
        ]});
        let answer = self.client.post(format!("{}/v1/reservations", self.door(n))).json(&body).send().await?;
        Ok((answer.status().as_u16(), answer.json().await?))
    }

    async fn give_back(&self, n: usize, order: &str) -> Result<()> {
        let url = format!("{}/v1/reservations/shop/{order}/resolve", self.door(n));
        let body = json!({"key": "cancelled", "step": "void"});
        let answer = self.client.post(url).json(&body).send().await?;
        let (status, answer): (u16, Value) = (answer.status().as_u16(), answer.json().await?);
        ensure!(status == 200 && answer["rows"][0]["voided"] == "1", "{order}: {status} {answer}");
        Ok(())
    }
}
