//! Deliberate faults: for each guarantee, the production code is broken in one place and a test must notice.
//!
//! The tree is copied, one exact piece of text is replaced, and the proof is run on the copy. A proof that still
//! passes means that the guarantee is not tested; a text that is no longer there means that this table is out of
//! date. Both fail the stage.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use super::POSTGRES_VARIABLE;
use super::stage::Running;
use crate::real::Postgres;

/// One fault.
pub struct Sabotage {
    /// What is broken, in a few words.
    pub name: &'static str,
    /// The file, from the workspace's root.
    pub file: &'static str,
    /// Text that stands there exactly once.
    pub good: &'static str,
    /// What it is replaced with.
    pub bad: &'static str,
    /// Arguments of cargo that must pass on the good code and fail on the bad.
    pub proof: &'static [&'static str],
}

/// The simulated world as a proof: most of these faults show within the first few seeds.
const WORLD: &[&str] =
    &["run", "--locked", "-p", "stockwire-tests", "--bin", "world", "--", "--seeds", "100"];

// With the tests' package beside them cargo takes the features of every dependency that the world was built with, and
// need not build those again.
const GATEWAY_STORE: &[&str] =
    &["test", "--locked", "-p", "stockwire-gateway", "-p", "stockwire-tests", "--lib", "sqlite_store"];
const GATEWAY_POSTGRES: &[&str] = &[
    "test",
    "--locked",
    "-p",
    "stockwire-gateway",
    "-p",
    "stockwire-tests",
    "--lib",
    "postgres_store",
    "--",
    "--ignored",
];
const GATEWAY_RESERVATIONS: &[&str] =
    &["test", "--locked", "-p", "stockwire-gateway", "-p", "stockwire-tests", "--lib", "reservation"];
const GATEWAY_ORDERS: &[&str] =
    &["test", "--locked", "-p", "stockwire-gateway", "-p", "stockwire-tests", "--lib", "order"];
const GATEWAY_LEASES: &[&str] =
    &["test", "--locked", "-p", "stockwire-gateway", "-p", "stockwire-tests", "--lib", "lease"];
const GATEWAY_CHANNELS: &[&str] =
    &["test", "--locked", "-p", "stockwire-gateway", "-p", "stockwire-tests", "--test", "channel_faults"];
const GATEWAY_ESCROW: &[&str] =
    &["test", "--locked", "-p", "stockwire-gateway", "-p", "stockwire-tests", "--lib", "escrow"];
const AGENT_OUTBOX: &[&str] =
    &["test", "--locked", "-p", "stockwire-agent", "-p", "stockwire-tests", "--test", "outbox"];
const AGENT_FEED: &[&str] = &[
    "test",
    "--locked",
    "-p",
    "stockwire-agent",
    "-p",
    "stockwire-tests",
    "--lib",
    "changes_are_put_onto_their_snapshot",
];
const AGENT_JOURNAL: &[&str] = &[
    "test",
    "--locked",
    "-p",
    "stockwire-agent",
    "-p",
    "stockwire-tests",
    "--test",
    "sqlite_journal",
    "keeps_the_contract",
];

const AGENT_SSI: &[&str] =
    &["test", "--locked", "-p", "stockwire-agent", "-p", "stockwire-tests", "--lib", "scanner::ssi"];
const AGENT_STORIES: &[&str] =
    &["test", "--locked", "-p", "stockwire-agent", "-p", "stockwire-tests", "--test", "stories"];

/// Every fault that must be caught.
pub static SABOTAGES: &[Sabotage] = &[
    Sabotage {
        name: "ack before commit: acks go out although the transaction failed",
        file: "gateway/src/ingest.rs",
        good: "                decided = Some(outcome);
                Some(writes)
            })?;
            match decided {
                // The transaction is committed here",
        bad: "                decided = Some(outcome);
                Some(writes)
            })
            .unwrap_or_default();
            match decided {
                // The transaction is committed here",
        proof: WORLD,
    },
    Sabotage {
        name: "the token is not compared: a holder that lost its lease in a file writes on",
        file: "gateway/src/io/sqlite_store/mod.rs",
        good: "            leases::check(&transaction, grant)?;",
        bad: "            let _ = grant;",
        proof: GATEWAY_LEASES,
    },
    Sabotage {
        name: "the same in PostgreSQL",
        file: "gateway/src/io/postgres_store/session.rs",
        good: "                leases::check(&tx, grant, leases::Hold::Shared)?;",
        bad: "                let _ = (grant, leases::Hold::Shared);",
        proof: GATEWAY_POSTGRES,
    },
    Sabotage {
        name: "a lease is given to whoever asks for it",
        file: "gateway/src/io/sqlite_store/leases.rs",
        good: "holder <> ?2 AND until > ?3",
        bad: "holder <> ?2 AND until > ?3 AND 1 = 0",
        proof: GATEWAY_LEASES,
    },
    Sabotage {
        name: "a holder goes on when its lease may have lapsed",
        file: "gateway/src/lease.rs",
        good: "self.held.as_ref().filter(|held| now < held.until)",
        bad: "self.held.as_ref().filter(|held| now < held.until.max(Duration::MAX))",
        proof: GATEWAY_LEASES,
    },
    Sabotage {
        name: "whoever takes a channel over forgets what was in flight",
        file: "gateway/src/sender/channel.rs",
        good: "store.recover_publications(at.unix_ms, &self.settings.channel)?",
        bad: "0",
        proof: GATEWAY_CHANNELS,
    },
    Sabotage {
        name: "an old word about a gap is taken for a new one",
        file: "agent/src/outbox.rs",
        good: "now.saturating_sub(since) < self.config.ack_timeout",
        bad: "now < since",
        proof: AGENT_OUTBOX,
    },
    Sabotage {
        name: "trim on PUBACK: the journal forgets what the broker took, whatever the gateway holds",
        file: "agent/src/outbox.rs",
        good: "        journal.handle_ack(ack.watermark, ack.digest)?;",
        bad: "        let trusted = self.sent.max(ack.watermark);
        let digest = digest_at(journal, trusted)?;
        journal.handle_ack(trusted, digest)?;",
        proof: WORLD,
    },
    Sabotage {
        name: "PUBACK as delivery: a batch that the broker took is not waited for any more",
        file: "agent/src/outbox.rs",
        good: "        if accepted || !known {
            return;
        }",
        bad: "        if accepted {
            self.in_flight.retain(|batch| batch.token != token);
            if self.in_flight.is_empty() {
                self.ack_due = None;
            }
        }
        if accepted || !known {
            return;
        }",
        proof: WORLD,
    },
    Sabotage {
        name: "no unique key at ingest: a batch that comes again is taken again",
        file: "gateway/src/ingest/desk.rs",
        good: "        for at in 0..known {
            if self.is_held(",
        bad: "        let known = known.saturating_sub(usize::MAX);
        for at in 0..known {
            if self.is_held(",
        proof: WORLD,
    },
    Sabotage {
        name: "no unique key in the table of events",
        file: "gateway/src/io/sqlite_store/schema.rs",
        good: "    key INTEGER PRIMARY KEY,            -- stream << 40 | sequence: one identity, once",
        bad: "    key INTEGER,                        -- stream << 40 | sequence: one identity, once",
        proof: GATEWAY_STORE,
    },
    Sabotage {
        name: "no unique key in PostgreSQL's table of events",
        file: "gateway/src/io/postgres_store/schema.rs",
        good: "    PRIMARY KEY (site, key)             -- one identity, once",
        bad: "    CHECK (site > 0)                    -- one identity, once",
        proof: GATEWAY_POSTGRES,
    },
    Sabotage {
        name: "several gateways, no lock: each writes on what it read, whatever the others write",
        file: "gateway/src/io/postgres_store/session.rs",
        good: "FROM books FOR UPDATE",
        bad: "FROM books",
        proof: GATEWAY_POSTGRES,
    },
    Sabotage {
        name: "sequence reused after restart: the journal counts on from its watermark",
        file: "agent/src/io/sqlite_journal/schema.rs",
        good: "let head = last.max(watermark);",
        bad: "let head = watermark.min(last.max(watermark));",
        proof: AGENT_JOURNAL,
    },
    Sabotage {
        name: "gap skipped: a batch above the watermark is applied all the same",
        file: "gateway/src/ingest/desk.rs",
        good: "            return Taken::Yes(Some(Refusal::Gap));
        }
        let known = (stream.watermark.get() + 1 - batch.first.get())",
        bad: "        }
        let known = (stream.watermark.get() + 1)
            .saturating_sub(batch.first.get())",
        proof: WORLD,
    },
    Sabotage {
        name: "ERP posting repeated blindly: created without a look for what an earlier attempt left",
        file: "gateway/src/erp/tryton/carry.rs",
        good: "(_, None) | (State::Start, Some(Ok(_))) => self.look(),",
        bad: "(_, None) | (State::Start, Some(Ok(_))) => self.create(),",
        proof: WORLD,
    },
    Sabotage {
        name: "beep before commit: the good signal sounds when the scan is understood",
        file: "agent/src/station.rs",
        good: "        self.actions.push_back(Action::Record { ticket, events });",
        bad: "        self.actions.push_back(Action::Record { ticket, events });
        self.signal(Signal::Good, String::new());",
        proof: WORLD,
    },
    Sabotage {
        name: "merged lives: what conflicts is set aside, and the stream goes on behind it",
        file: "gateway/src/ingest/desk.rs",
        good: "                self.quarantine(arrived, at, key);
                stream.frozen = true;",
        bad: "                self.quarantine(arrived, at, key);",
        proof: WORLD,
    },
    Sabotage {
        name: "an old journal believes acks of events that it never had",
        file: "agent/src/outbox.rs",
        good: "        if ack.watermark > head {
            // Using",
        bad: "        if ack.watermark > head && head > ack.watermark {
            // Using",
        proof: AGENT_OUTBOX,
    },
    Sabotage {
        name: "an agent believes an ack whatever its digest says",
        file: "agent/src/outbox.rs",
        good: "            && !self.is_ours(ack, journal)?",
        bad: "            && self.is_ours(ack, journal).is_err()",
        proof: AGENT_OUTBOX,
    },
    Sabotage {
        name: "a packet that a scanner sends again counts as another piece",
        file: "agent/src/scanner/ssi.rs",
        good: "if packet.is_retransmit() && is_same {",
        bad: "if packet.is_retransmit() && is_same && packet.data.is_empty() {",
        proof: AGENT_SSI,
    },
    Sabotage {
        name: "the platform counts as free after a weight was used: the same load is booked twice",
        file: "agent/src/scale/capture.rs",
        good: "        (self.platform, self.confirmed) = (Platform::Occupied, false);",
        bad: "        (self.platform, self.confirmed) = (Platform::Free, false);",
        proof: AGENT_STORIES,
    },
    Sabotage {
        name: "an unstable weight enters a movement",
        file: "agent/src/scale/capture.rs",
        good: "        if reading.stability == Stability::Moving {",
        bad: "        if reading.stability == Stability::Moving && reading.value.is_none() {",
        proof: AGENT_STORIES,
    },
    Sabotage {
        name: "a reply with a status alone leaves the old weight standing",
        file: "agent/src/station.rs",
        good: "            // A status or a fault: the old weight no longer stands.
            _ => None,",
        bad: "            // A status or a fault: the old weight no longer stands.
            _ => self.screen.weight.take(),",
        proof: AGENT_STORIES,
    },
    Sabotage {
        name: "resolved twice: a fact that is booked already is booked again",
        file: "gateway/src/ingest/decide.rs",
        good: "    if held.ledger.is_some() {",
        bad: "    if held.ledger.is_some() && held.bytes.is_empty() {",
        proof: GATEWAY_STORE,
    },
    Sabotage {
        name: "the books follow what a code means later: what it was taken for is not kept",
        file: "gateway/src/io/sqlite_store/ingest.rs",
        good: "    let Some(bytes) = bytes else { return Ok(()) };",
        bad: "    let Some(bytes) = bytes.filter(|bytes| bytes.is_empty()) else { return Ok(()) };",
        proof: GATEWAY_STORE,
    },
    Sabotage {
        name: "delta over a gap: changes are put onto another snapshot than theirs",
        file: "agent/src/feed.rs",
        good: "        if since > self.snapshot {
            // At a new connection",
        bad: "        if since > self.snapshot && since == 0 {
            // At a new connection",
        proof: AGENT_FEED,
    },
    Sabotage {
        name: "a number that forgets what has left: the shop may not ship the last piece that it has sold",
        file: "gateway/src/order/desk.rs",
        good: "        self.out();\n",
        bad: "",
        proof: GATEWAY_ORDERS,
    },
    Sabotage {
        name: "no demand sum: the lines of one order are compared one by one",
        file: "gateway/src/reservation.rs",
        good: "        sum.steps = sum.steps.saturating_add(line.quantity.steps);",
        bad: "        sum.steps = sum.steps.max(line.quantity.steps);",
        proof: GATEWAY_RESERVATIONS,
    },
    Sabotage {
        name: "no check of what others hold: a piece is promised twice",
        file: "gateway/src/io/sqlite_store/reservations.rs",
        good: "                known.shelves.insert(name.clone(), shelf(tx, *item, *site)?);",
        bad: "                let shelf = Shelf { reserved: 0, ..shelf(tx, *item, *site)? };
                known.shelves.insert(name.clone(), shelf);",
        proof: GATEWAY_RESERVATIONS,
    },
    Sabotage {
        name: "no expiry: a basket that nobody pays holds its stock for ever",
        file: "gateway/src/reservation.rs",
        good: "Firmness::Soft { until_ms } if until_ms <= now_ms)",
        bad: "Firmness::Soft { until_ms } if until_ms <= now_ms && now_ms < 0)",
        proof: GATEWAY_RESERVATIONS,
    },
    Sabotage {
        name: "captured twice: an order that comes again is another one",
        file: "gateway/src/order/command.rs",
        good: "    if desk.standing.order == *order {",
        bad: "    if desk.standing.order == *order && known.rows.is_empty() {",
        proof: GATEWAY_ORDERS,
    },
    Sabotage {
        name: "posted twice: a pick ends more than is still held",
        file: "gateway/src/order/desk/stock.rs",
        good: "if where_picked { more.min(*here) } else { more }.min(*pending);",
        bad: "if where_picked { more.min(*here) } else { more };",
        proof: GATEWAY_ORDERS,
    },
    Sabotage {
        name: "not posted: a hold stays when the goods have left the shelf",
        file: "gateway/src/order/desk.rs",
        good: "            self.post_holds(&before);",
        bad: "            let _ = &before;",
        proof: GATEWAY_ORDERS,
    },
    Sabotage {
        name: "an unknown outcome is forgotten: a sale that may still come is taken for not made",
        file: "gateway/src/order/standing.rs",
        good: "                state.unresolved = true;",
        bad: "                state.unresolved = false;",
        proof: GATEWAY_ORDERS,
    },
    Sabotage {
        name: "no escrow: every channel is told as if it were the only one",
        file: "gateway/src/io/sheet.rs",
        good: "policies.any(|policy| policy.selling.strict)",
        bad: "policies.any(|policy| policy.selling.strict && policy.sites.is_empty())",
        proof: WORLD,
    },
    Sabotage {
        name: "no lag window: a lowered number frees its stock at once, whatever was sold under it",
        file: "gateway/src/escrow.rs",
        good: "            GrantState::Held { since_ms } => since_ms.saturating_add(lag_ms) <= now_ms,",
        bad: "            GrantState::Held { since_ms } => since_ms.saturating_sub(lag_ms) <= now_ms,",
        proof: GATEWAY_ESCROW,
    },
    Sabotage {
        name: "no compare-and-set: a number is written over what was sold unseen",
        file: "gateway/src/io/sqlite_store/escrow.rs",
        good: "    update.expects = expects;",
        bad: "    update.expects = expects.filter(|expects| *expects < 0);",
        proof: WORLD,
    },
];

/// What is copied: the workspace's own files.
const COPIED: [&str; 10] = [
    "Cargo.toml",
    "Cargo.lock",
    "clippy.toml",
    ".cargo",
    "protocol",
    "agent",
    "gateway",
    "firmware-bridge",
    "cross",
    "tests",
];

pub(super) fn run(stage: &Running) -> Result<u64> {
    let copy = stage.root().join("target/sabotage");
    share_builds(&copy)?;
    let mut missed = Vec::new();
    let postgres = Postgres::start()?;
    let address = postgres.address();
    let environment = [(POSTGRES_VARIABLE, address.as_str())];
    for sabotage in SABOTAGES {
        // Files are rewritten only where they differ, so that cargo rebuilds one crate and not six.
        for name in COPIED {
            mirror(&stage.root().join(name), &copy.join(name))?;
        }
        let path = copy.join(sabotage.file);
        let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        let found = text.matches(sabotage.good).count();
        ensure!(
            found == 1,
            "{}: the text to break stands {found} times in {}, expected once: bring the table up to date",
            sabotage.name,
            sabotage.file
        );
        fs::write(&path, text.replacen(sabotage.good, sabotage.bad, 1))?;
        // First that it compiles: a fault that does not build would be "caught" by nothing.
        let build: Vec<&str> = match sabotage.proof.split_first() {
            Some((&"test", rest)) => {
                let before = rest.iter().take_while(|word| **word != "--");
                ["test", "--no-run"].into_iter().chain(before.copied()).collect()
            }
            Some((&"run", rest)) => {
                let before = rest.iter().take_while(|word| **word != "--");
                ["build"].into_iter().chain(before.copied()).collect()
            }
            _ => bail!("{}: a proof is `cargo test ...` or `cargo run ...`", sabotage.name),
        };
        stage
            .cargo_in(&copy, &build)
            .with_context(|| format!("{}: the fault does not build", sabotage.name))?;
        match stage.cargo_at(&copy, &environment, sabotage.proof) {
            Ok(_) => missed.push(sabotage.name),
            Err(_) => println!("   caught: {}", sabotage.name),
        }
    }
    ensure!(missed.is_empty(), "not caught: {}", missed.join(", "));
    Ok(SABOTAGES.len() as u64)
}

/// Gives the copy what is built of other people's crates, as links: their builds do not depend on where we stand, and
/// building them again takes minutes. Ours do, so they are built anew, under other names.
fn share_builds(copy: &Path) -> Result<()> {
    let own = std::env::current_exe().context("finding this program")?;
    let (Some(built), target) = (own.parent(), copy.join("target")) else { return Ok(()) };
    if target.exists() {
        return Ok(());
    }
    fs::create_dir_all(&target).with_context(|| format!("making {}", target.display()))?;
    let debug = target.join("debug");
    let status = Command::new("cp").arg("-al").args([built, &debug]).status().context("starting cp")?;
    ensure!(status.success(), "linking {} ended with {status}", built.display());
    // Not what other builds write to in place.
    fs::remove_dir_all(debug.join("incremental")).ok();
    fs::remove_file(debug.join(".cargo-lock")).ok();
    Ok(())
}

/// Makes `copy` equal to `source`, leaving equal files untouched.
fn mirror(source: &Path, copy: &Path) -> Result<()> {
    if source.is_dir() {
        fs::create_dir_all(copy).with_context(|| format!("making {}", copy.display()))?;
        for entry in fs::read_dir(copy)? {
            let entry = entry?;
            if !source.join(entry.file_name()).exists() {
                let path = entry.path();
                if path.is_dir() { fs::remove_dir_all(&path)? } else { fs::remove_file(&path)? }
            }
        }
        for entry in fs::read_dir(source)? {
            let entry = entry?;
            if entry.file_name() == "target" || entry.file_name() == "node_modules" {
                continue;
            }
            mirror(&entry.path(), &copy.join(entry.file_name()))?;
        }
        return Ok(());
    }
    let wanted = fs::read(source).with_context(|| format!("reading {}", source.display()))?;
    if fs::read(copy).is_ok_and(|present| present == wanted) {
        return Ok(());
    }
    fs::write(copy, wanted).with_context(|| format!("writing {}", copy.display()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test says by panicking what went wrong")]
mod tests {
    use super::*;

    #[test]
    fn every_text_to_break_stands_once() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        for sabotage in SABOTAGES {
            let text = fs::read_to_string(root.join(sabotage.file)).unwrap();
            assert_eq!(text.matches(sabotage.good).count(), 1, "{} in {}", sabotage.name, sabotage.file);
            assert_ne!(sabotage.good, sabotage.bad, "{}", sabotage.name);
        }
        assert!(SABOTAGES.len() >= 6, "the six of the first issue at least");
    }
}
