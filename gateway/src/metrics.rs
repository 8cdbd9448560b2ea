//! Numbers for Prometheus: counters kept here, gauges asked of the store when somebody looks.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::ingest::Counts;
use crate::store::Gauges;

/// Counters since the start.
#[derive(Debug, Default)]
pub struct Metrics {
    events_new: AtomicU64,
    events_duplicate: AtomicU64,
    gaps: AtomicU64,
    conflicts: AtomicU64,
    malformed: AtomicU64,
    unappliable: AtomicU64,
    lost: AtomicU64,
    groups: AtomicU64,
    broker_connected: AtomicU64,
    leases: Mutex<Vec<(String, bool)>>,
}

impl Metrics {
    /// Counts one committed group.
    pub fn ingested(&self, counts: &Counts) {
        let add = |counter: &AtomicU64, by: u64| counter.fetch_add(by, Ordering::Relaxed);
        add(&self.events_new, counts.events_new);
        add(&self.events_duplicate, counts.events_duplicate);
        add(&self.gaps, counts.gaps);
        add(&self.conflicts, counts.conflicts);
        add(&self.malformed, counts.malformed);
        add(&self.unappliable, counts.unappliable);
        add(&self.lost, counts.lost);
        add(&self.groups, 1);
    }

    /// Whether the broker is there.
    pub fn set_connected(&self, connected: bool) {
        self.broker_connected.store(u64::from(connected), Ordering::Relaxed);
    }

    /// What must be done once, and whether it is done here.
    pub fn set_leases(&self, leases: Vec<(String, bool)>) {
        *self.leases.lock().unwrap_or_else(PoisonError::into_inner) = leases;
    }

    /// The text format, version 0.0.4. Names are `stockwire_<name>_<unit>[_total]`.
    pub fn print(&self, gauges: &Gauges, now_ms: i64) -> String {
        let mut out = Page(String::new());
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let results = [
            ("new", read(&self.events_new)),
            ("duplicate", read(&self.events_duplicate)),
            ("unappliable", read(&self.unappliable)),
        ];
        out.head("stockwire_ingest_events_total", "counter", "Events taken in, by result");
        for (result, value) in results {
            out.row("stockwire_ingest_events_total", &[("result", result)], value);
        }
        let refusals = [
            ("gap", read(&self.gaps)),
            ("conflict", read(&self.conflicts)),
            ("malformed", read(&self.malformed)),
        ];
        out.head("stockwire_ingest_refused_total", "counter", "Batches not taken in, by reason");
        for (reason, value) in refusals {
            out.row("stockwire_ingest_refused_total", &[("reason", reason)], value);
        }
        out.one("stockwire_ingest_groups_total", "counter", "Transactions of ingest", read(&self.groups));
        out.one(
            "stockwire_broker_connected",
            "gauge",
            "1 = the broker is there",
            read(&self.broker_connected),
        );
        out.head("stockwire_lease_held", "gauge", "1 = this gateway does that work, 0 = another one or none");
        for (lease, held) in self.leases.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            out.row("stockwire_lease_held", &[("lease", lease)], u64::from(*held));
        }
        out.one("stockwire_ledger_rows", "gauge", "Rows in the books", gauges.ledger_head);
        out.one("stockwire_events_held", "gauge", "Events held", gauges.events);
        out.one(
            "stockwire_balances_negative",
            "gauge",
            "Physical balances below zero",
            gauges.negative_balances,
        );
        out.one("stockwire_streams_frozen", "gauge", "Streams stopped by a conflict", gauges.frozen_streams);
        out.one("stockwire_events_lost", "gauge", "Facts that agents had to drop", gauges.lost);
        out.one(
            "stockwire_agents_backlog_events",
            "gauge",
            "Recorded at the edge and not yet here",
            gauges.backlog,
        );
        out.head("stockwire_agents", "gauge", "Agents, by state");
        for (state, value) in ["online", "stopped", "lost"].iter().zip(gauges.devices) {
            out.row("stockwire_agents", &[("state", state)], value);
        }
        out.head("stockwire_dead_letters_open", "gauge", "Dead letters that wait for somebody, by class");
        for (class, value) in &gauges.dead_letters {
            out.row("stockwire_dead_letters_open", &[("class", class.as_str())], *value);
        }
        let age_s = |since: &Option<i64>| since.map_or(0, |since| (now_ms - since).max(0) as u64 / 1000);
        out.head("stockwire_erp_unposted_rows", "gauge", "Ledger rows that the ERP has not booked");
        out.head("stockwire_erp_unposted_age_seconds", "gauge", "How long the oldest of them has waited");
        for (erp, count, since) in &gauges.unposted {
            out.row("stockwire_erp_unposted_rows", &[("erp", erp.as_str())], *count);
            out.row("stockwire_erp_unposted_age_seconds", &[("erp", erp.as_str())], age_s(since));
        }
        out.head(
            "stockwire_channel_unpublished_skus",
            "gauge",
            "SKUs whose number the channel has not accepted",
        );
        out.head(
            "stockwire_channel_unpublished_age_seconds",
            "gauge",
            "How long the oldest of them has waited",
        );
        for (channel, count, since) in &gauges.unpublished {
            out.row("stockwire_channel_unpublished_skus", &[("channel", channel.as_str())], *count);
            out.row(
                "stockwire_channel_unpublished_age_seconds",
                &[("channel", channel.as_str())],
                age_s(since),
            );
        }
        out.0
    }
}

struct Page(String);

impl Page {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a String does not fail.
        let _ = write!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    fn row(&mut self, name: &str, labels: &[(&str, &str)], value: u64) {
        let labels: Vec<String> = labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let _ = writeln!(self.0, "{name}{labels} {value}");
    }

    fn one(&mut self, name: &str, kind: &str, help: &str, value: u64) {
        self.head(name, kind, help);
        self.row(name, &[], value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sample_belongs_to_a_declared_metric() {
        let metrics = Metrics::default();
        metrics.ingested(&Counts { events_new: 3, ..Counts::default() });
        metrics.set_leases(vec![("erp/erp".into(), true), ("channel/shop".into(), false)]);
        let page = metrics.print(&Gauges { devices: [1, 2, 3], ..Gauges::default() }, 0);
        assert!(page.contains("stockwire_ingest_events_total{result=\"new\"} 3\n"), "{page}");
        assert!(page.contains("stockwire_lease_held{lease=\"channel/shop\"} 0\n"), "{page}");
        for line in page.lines().filter(|line| !line.starts_with('#')) {
            let name = line.split(['{', ' ']).next().unwrap();
            assert!(page.contains(&format!("# TYPE {name} ")), "{line}");
        }
    }
}
