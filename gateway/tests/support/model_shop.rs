//! A Vendure in memory, as far as we use it, that loses, delays and garbles what is said to it.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use stockwire_gateway::exchange::{Answer, Loss, Outbound, Request};

use crate::dice::Dice;

pub(crate) struct ModelShop {
    /// SKU to (HAM, MUC).
    pub(crate) held: BTreeMap<String, [i64; 2]>,
    /// Writes whose senders gave up, still on their way.
    delayed: Vec<Value>,
    /// The session that is open; a restart of the shop forgets it.
    session: Option<u64>,
    sessions: u64,
}

impl ModelShop {
    pub(crate) fn new(skus: &[&str]) -> Self {
        let held = skus.iter().map(|sku| ((*sku).to_owned(), [0, 0])).collect();
        Self { held, delayed: Vec::new(), session: None, sessions: 0 }
    }

    pub(crate) fn send(
        &mut self,
        outbound: &Outbound,
        dice: &mut Dice,
        trouble: u64,
    ) -> Result<Answer, Loss> {
        while !self.delayed.is_empty() && dice.chance(20) {
            let at = dice.below(self.delayed.len() as u64) as usize;
            let late = self.delayed.remove(at);
            self.write(&late);
        }
        let lost = || Loss::NoAnswer { message: "timed out".into() };
        if !dice.chance(trouble) {
            return Ok(self.perform(outbound));
        }
        match dice.below(7) {
            0 => Err(Loss::NotSent { message: "connection refused".into() }),
            1 => Err(lost()),
            2 => {
                self.perform(outbound);
                Err(lost())
            }
            3 => {
                if outbound.request.name == "update" {
                    self.delayed.push(variables(&outbound.request)["i"].clone());
                }
                Err(lost())
            }
            4 => {
                self.session = None;
                Ok(self.perform(outbound))
            }
            5 => {
                self.perform(outbound);
                Ok(answer(502, "<p>Bad Gateway</p>".into()))
            }
            _ => {
                let mut answer = self.perform(outbound);
                let keep = dice.below(answer.body.len() as u64 + 1) as usize;
                answer.body.truncate(keep);
                Ok(answer)
            }
        }
    }

    /// Everything that is still on its way arrives.
    pub(crate) fn settle(&mut self) {
        for late in std::mem::take(&mut self.delayed) {
            self.write(&late);
        }
    }

    fn perform(&mut self, outbound: &Outbound) -> Answer {
        let request = &outbound.request;
        if request.name == "login" {
            self.sessions += 1;
            self.session = Some(self.sessions);
            let mut answer = data(json!({"login": {"__typename": "CurrentUser", "id": "1"}}));
            answer.headers.push(("vendure-auth-token".into(), format!("t{}", self.sessions)));
            return answer;
        }
        let open = self.session.map(|number| format!("Bearer t{number}"));
        if outbound.credentials.first().map(|(_, token)| token.reveal()) != open.as_deref() {
            let body =
                json!({"errors": [{"message": "no", "extensions": {"code": "FORBIDDEN"}}], "data": null});
            return answer(200, body.to_string());
        }
        let variables = variables(request);
        match request.name {
            "locations" => data(
                json!({"stockLocations": {"items": [{"id": "2", "name": "HAM"}, {"id": "3", "name": "MUC"}]}}),
            ),
            "update" => {
                self.write(&variables["i"]);
                data(json!({"updateProductVariants": []}))
            }
            _ => {
                let wanted = &variables["o"]["filter"]["sku"]["in"];
                let skip = variables["o"]["skip"].as_u64().unwrap_or(0) as usize;
                let asked = |sku: &&String| wanted.as_array().is_none_or(|skus| skus.contains(&json!(sku)));
                let rows: Vec<Value> =
                    self.held.keys().filter(asked).skip(skip).map(|sku| self.row(sku)).collect();
                data(json!({"productVariants": {"totalItems": rows.len(), "items": rows}}))
            }
        }
    }

    fn row(&self, sku: &str) -> Value {
        let level = |(id, on_hand): (&str, i64)| json!({"stockLocation": {"id": id}, "stockOnHand": on_hand, "stockAllocated": 0});
        let [ham, muc] = self.held[sku];
        json!({"id": sku, "sku": sku, "stockLevels": [level(("2", ham)), level(("3", muc))]})
    }

    fn write(&mut self, input: &Value) {
        for variant in input.as_array().unwrap() {
            let held = self.held.get_mut(variant["id"].as_str().unwrap()).unwrap();
            for level in variant["stockLevels"].as_array().unwrap() {
                let at = usize::from(level["stockLocationId"] == "3");
                held[at] = level["stockOnHand"].as_i64().unwrap();
            }
        }
    }
}

fn variables(request: &Request) -> Value {
    request.body.as_ref().unwrap()["variables"].clone()
}

fn data(data: Value) -> Answer {
    answer(200, json!({ "data": data }).to_string())
}

fn answer(status: u16, body: String) -> Answer {
    Answer { status, headers: vec![("content-type".into(), "application/json".into())], body: body.into() }
}
