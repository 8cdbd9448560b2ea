//! How the agent stands, as one value: what `status` prints and `doctor` judges.
//!
//! The edges fill it in; this file turns it into findings. Each says what is wrong and what to check, and the worst
//! one decides the exit code.

use serde::Serialize;

use crate::outbox::{OutboxStatus, Stop};
use crate::scanner::LineCounts;

/// Everything there is to know, at one moment.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Health {
    /// Who.
    pub agent: String,
    /// Software version.
    pub software: String,
    /// The record on disk.
    pub journal: JournalHealth,
    /// The connection to the broker.
    pub link: LinkHealth,
    /// The way to the gateway.
    pub outbox: OutboxStatus,
    /// Scanners and scales.
    pub devices: Vec<DeviceHealth>,
    /// The wall clock.
    pub clock: ClockHealth,
    /// The disk below the journal.
    pub disk: DiskHealth,
    /// Items and locations.
    pub catalogue: CatalogueHealth,
}

/// The record on disk.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct JournalHealth {
    /// Which life of it.
    pub epoch: String,
    /// Last sequence recorded.
    pub head: u64,
    /// Last sequence that the gateway holds.
    pub watermark: u64,
    /// Bytes of unacknowledged events.
    pub used_bytes: u64,
    /// Bytes allowed.
    pub quota_bytes: u64,
    /// Why it cannot be written now, and what to check.
    pub fault: Option<Fault>,
    /// An earlier journal that was damaged or overtaken and lies beside this one, with events that may not be at the
    /// gateway.
    pub set_aside: Vec<String>,
}

/// An error with its hint.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Fault {
    /// What is wrong.
    pub message: String,
    /// What to check.
    pub hint: String,
}

/// The connection to the broker.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct LinkHealth {
    /// `host:port`.
    pub broker: String,
    /// Whether it is connected.
    pub connected: bool,
    /// For how long it has been so, or has not.
    pub since_s: u64,
    /// Why the last connection or attempt ended.
    pub last_loss: Option<String>,
}

/// One scanner or scale.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct DeviceHealth {
    /// Its name in the configuration.
    pub name: String,
    /// Its port.
    pub port: String,
    /// Its protocol.
    pub protocol: String,
    /// How it stands.
    pub state: DeviceState,
    /// What its line shows to be wrong, and what to do; scales only, and `None` while nothing is.
    pub advice: Option<Fault>,
    /// What came over its line.
    pub counts: LineCounts,
    /// The last fault of its line and what to check.
    pub last_fault: Option<Fault>,
    /// What came over its line last, control characters escaped.
    pub last_bytes: String,
}

/// How a device stands. Silence is no fault in a scanner and one in a scale that was asked.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum DeviceState {
    /// The port is open and, if it was asked, it answers.
    Working,
    /// The port is not there.
    Unplugged,
    /// The port is there and cannot be opened.
    CannotOpen {
        /// The system's reason.
        reason: String,
    },
    /// It was asked and does not answer.
    Silent {
        /// For how long.
        for_s: u64,
    },
    /// Data bits or parity are set differently at the two ends.
    Parity,
    /// The two ends have different speeds.
    WrongSpeed,
    /// It answers, and nothing of it is understood.
    Garbage,
}

/// The wall clock.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct ClockHealth {
    /// Whether it is synchronised.
    pub synced: bool,
    /// What it says, milliseconds since 1970-01-01 UTC.
    pub unix_ms: i64,
}

/// The disk below the journal.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct DiskHealth {
    /// Free for the agent.
    pub free_bytes: u64,
    /// Whether it was mounted, or went, read-only.
    pub read_only: bool,
}

/// Items and locations.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct CatalogueHealth {
    /// 0 before the first has come.
    pub revision: u64,
    /// How many items.
    pub items: usize,
    /// How many locations.
    pub locations: usize,
}

/// One thing that is not as it should be.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Finding {
    /// How bad.
    pub severity: Severity,
    /// A stable word, for machines.
    pub code: &'static str,
    /// What is wrong.
    pub message: String,
    /// What to check or do.
    pub hint: String,
}

/// How bad a finding is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Work goes on; somebody should look.
    Warning,
    /// Something does not work.
    Error,
}

/// At this share of the quota there is still time to mend the link: half a day, when it filled in two.
const JOURNAL_WARNING_PERCENT: u64 = 75;
/// SQLite's log and the system's own files need room even when the journal has its quota.
const DISK_FREE_BYTES_MIN: u64 = 64 * 1024 * 1024;

impl Health {
    /// What is wrong, the worst first.
    pub fn findings(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        self.judge_journal(&mut findings);
        self.judge_disk(&mut findings);
        self.judge_way(&mut findings);
        self.devices.iter().filter_map(judge_device).for_each(|finding| findings.push(finding));
        if !self.clock.synced {
            findings.push(warning(
                "clock_unsynced",
                "the clock is not synchronised; events carry the time since start and are dated later",
                "is a time server reachable? `timedatectl` tells; a TLS link may wait for it",
            ));
        }
        if self.catalogue.revision == 0 {
            findings.push(warning(
                "no_catalogue",
                "no catalogue has come from the gateway: every barcode is unknown",
                "is the gateway running, and does it know this site's items?",
            ));
        }
        findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
        findings
    }

    /// 0 when nothing worse than a warning was found, else 1.
    pub fn exit_code(&self) -> u8 {
        u8::from(self.findings().iter().any(|finding| finding.severity == Severity::Error))
    }

    /// Health and findings as one JSON object.
    pub fn to_json(&self) -> String {
        #[derive(Serialize)]
        struct Report<'a> {
            #[serde(flatten)]
            health: &'a Health,
            findings: Vec<Finding>,
        }
        // Serialising plain fields to memory cannot fail; if it ever did, the text says so.
        serde_json::to_string(&Report { health: self, findings: self.findings() })
            .unwrap_or_else(|error| format!("{{\"error\":\"{error}\"}}"))
    }

    fn judge_journal(&self, findings: &mut Vec<Finding>) {
        let journal = &self.journal;
        if let Some(fault) = &journal.fault {
            findings.push(error("journal_fault", fault.message.clone(), fault.hint.clone()));
        }
        let backlog = journal.head.saturating_sub(journal.watermark);
        if journal.used_bytes.saturating_mul(100)
            >= journal.quota_bytes.saturating_mul(JOURNAL_WARNING_PERCENT)
        {
            findings.push(warning(
                "journal_filling",
                format!(
                    "the journal holds {backlog} unacknowledged events in {} of {} bytes; at the quota scans are refused",
                    journal.used_bytes, journal.quota_bytes
                ),
                "mend the link to the gateway, or raise the quota if the disk has room",
            ));
        }
        for file in &journal.set_aside {
            findings.push(warning(
                "journal_set_aside",
                format!("{file} was set aside; it may hold events that the gateway does not have"),
                format!("look with `stockwire-agent journal export --file {file}`, then have them checked at the gateway"),
            ));
        }
    }

    fn judge_disk(&self, findings: &mut Vec<Finding>) {
        if self.disk.read_only {
            findings.push(error(
                "disk_read_only",
                "the disk below the journal is read-only: nothing can be recorded",
                "a worn SD card remounts itself read-only; replace it. `dmesg` tells",
            ));
        } else if self.disk.free_bytes < DISK_FREE_BYTES_MIN {
            findings.push(warning(
                "disk_low",
                format!("{} bytes are free on the disk below the journal", self.disk.free_bytes),
                "delete what is not needed; at least 64 MiB should stay free",
            ));
        }
    }

    fn judge_way(&self, findings: &mut Vec<Finding>) {
        let (link, outbox) = (&self.link, &self.outbox);
        if !link.connected {
            let reason = link.last_loss.as_deref().unwrap_or("no attempt has ended yet");
            findings.push(error(
                "link_down",
                format!("no connection to {} for {} s: {reason}", link.broker, link.since_s),
                "scans are recorded and wait. Check network, name, port and certificates: `stockwire-agent doctor`",
            ));
        }
        if let Some(stop) = &outbox.stop {
            findings.push(judge_stop(stop));
        } else if link.connected && outbox.timeouts > 0 {
            findings.push(error(
                "gateway_silent",
                format!(
                    "the broker is connected and the gateway has not acknowledged {} times in a row",
                    outbox.timeouts
                ),
                "is the gateway running, and connected to the same broker?",
            ));
        } else if link.connected && outbox.undelivered > 0 {
            findings.push(error(
                "not_delivered",
                format!("the broker did not take {} publishes in a row", outbox.undelivered),
                "is the gateway subscribed, and may this agent write to its topic?",
            ));
        }
    }
}

fn judge_stop(stop: &Stop) -> Finding {
    match stop {
        Stop::Version => error(
            "gateway_outdated",
            "the gateway does not read this agent's wire version; nothing is sent",
            "update the gateway first, then the agents",
        ),
        Stop::Malformed => error(
            "batch_malformed",
            "the gateway could not read what was sent; nothing is sent",
            "look at the gateway's dead letters and report them; the events stay in the journal",
        ),
        Stop::Conflict => error(
            "identity_conflict",
            "the gateway has other events under this journal's identity; nothing is sent",
            "do two boxes share one identity, or was the disk restored from a copy? see the gateway's dead letters",
        ),
        Stop::UnknownAgent => error(
            "agent_unknown",
            "the gateway does not know this agent's site; nothing is sent",
            "correct `site` under `[agent]`, or add the site to the ERP; the events stay in the journal",
        ),
        Stop::JournalBehindGateway { watermark, head } => error(
            "journal_behind_gateway",
            format!(
                "the gateway holds events up to {watermark}, this journal knew of {head}: it is an old copy"
            ),
            "the agent begins a new epoch by itself; check who restored the disk, and the file set aside",
        ),
        Stop::GatewayBehindJournal { watermark, kept_after } => error(
            "gateway_behind_journal",
            format!(
                "the gateway asks for events after {watermark}, this journal keeps only those after {kept_after}"
            ),
            "was the gateway's database restored from a backup? it must be brought forward",
        ),
    }
}

fn judge_device(device: &DeviceHealth) -> Option<Finding> {
    let DeviceHealth { name, port, protocol, state, advice, last_fault, .. } = device;
    // What the line shows says more than the state alone.
    let told = |code, message: String, hint: &str| match advice {
        Some(Fault { message, hint }) => error(code, format!("{name} {message}"), hint.as_str()),
        None => error(code, message, hint),
    };
    Some(match state {
        DeviceState::Working => return None,
        DeviceState::Unplugged => error(
            "device_unplugged",
            format!("{name}: {port} is not there"),
            "plug it in, or correct its port; `stockwire-agent devices` lists what is there",
        ),
        DeviceState::CannotOpen { reason } => error(
            "device_cannot_open",
            format!("{name}: {port} cannot be opened: {reason}"),
            "does another program use it, and may this user read it (group dialout, and input for scanners that play a keyboard)?",
        ),
        DeviceState::Silent { for_s } => told(
            "device_silent",
            format!("{name} has not answered for {for_s} s"),
            "is it switched on, is the cable right, and is the speed the one of its menu?",
        ),
        DeviceState::Parity => told(
            "device_parity",
            format!("{name} has other data bits or another parity"),
            "compare line = with its menu",
        ),
        DeviceState::WrongSpeed => {
            told("device_wrong_speed", format!("{name} has another speed"), "compare line = with its menu")
        }
        DeviceState::Garbage => told(
            "device_garbage",
            format!("{name} answers, but not in {protocol}"),
            last_fault
                .as_ref()
                .map_or("compare protocol and line settings with its menu", |fault| fault.hint.as_str()),
        ),
    })
}

fn error(code: &'static str, message: impl Into<String>, hint: impl Into<String>) -> Finding {
    Finding { severity: Severity::Error, code, message: message.into(), hint: hint.into() }
}

fn warning(code: &'static str, message: impl Into<String>, hint: impl Into<String>) -> Finding {
    Finding { severity: Severity::Warning, ..error(code, message, hint) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn healthy() -> Health {
        Health {
            agent: "box-1".into(),
            software: "0.1.0".into(),
            journal: JournalHealth {
                epoch: "00".into(),
                head: 10,
                watermark: 10,
                used_bytes: 0,
                quota_bytes: 1_000,
                fault: None,
                set_aside: vec![],
            },
            link: LinkHealth { broker: "mqtt:8883".into(), connected: true, since_s: 5, last_loss: None },
            outbox: OutboxStatus {
                connected: true,
                in_flight: 0,
                sent: 10,
                timeouts: 0,
                undelivered: 0,
                rebuilds: 0,
                stop: None,
                last_progress: None,
            },
            devices: vec![DeviceHealth {
                name: "scale-1".into(),
                port: "/dev/serial/by-id/x".into(),
                protocol: "mt-sics".into(),
                state: DeviceState::Working,
                advice: None,
                counts: LineCounts::default(),
                last_fault: None,
                last_bytes: String::new(),
            }],
            clock: ClockHealth { synced: true, unix_ms: 0 },
            disk: DiskHealth { free_bytes: 1 << 30, read_only: false },
            catalogue: CatalogueHealth { revision: 1, items: 1, locations: 1 },
        }
    }

    fn check(change: impl FnOnce(&mut Health), expected: &[&str], exit_code: u8) {
        let mut health = healthy();
        change(&mut health);
        let findings = health.findings();
        assert_eq!(findings.iter().map(|finding| finding.code).collect::<Vec<_>>(), expected);
        assert_eq!(health.exit_code(), exit_code);
        assert!(findings.iter().all(|finding| !finding.message.is_empty() && !finding.hint.is_empty()));
    }

    #[test]
    fn each_fault_has_its_own_finding() {
        check(|_| {}, &[], 0);
        check(|h| h.clock.synced = false, &["clock_unsynced"], 0);
        check(|h| h.catalogue.revision = 0, &["no_catalogue"], 0);
        check(|h| h.journal.used_bytes = 750, &["journal_filling"], 0);
        check(|h| h.journal.set_aside = vec!["old.db".into()], &["journal_set_aside"], 0);
        let fault = || Some(Fault { message: "full".into(), hint: "drain".into() });
        check(|h| h.journal.fault = fault(), &["journal_fault"], 1);
        check(|h| h.disk.free_bytes = 1, &["disk_low"], 0);
        check(|h| h.disk.read_only = true, &["disk_read_only"], 1);
        check(|h| h.link.connected = false, &["link_down"], 1);
        check(|h| h.outbox.timeouts = 2, &["gateway_silent"], 1);
        check(|h| h.outbox.undelivered = 2, &["not_delivered"], 1);
        for (stop, code) in [
            (Stop::Version, "gateway_outdated"),
            (Stop::Malformed, "batch_malformed"),
            (Stop::Conflict, "identity_conflict"),
            (Stop::UnknownAgent, "agent_unknown"),
            (Stop::JournalBehindGateway { watermark: 9, head: 5 }, "journal_behind_gateway"),
            (Stop::GatewayBehindJournal { watermark: 1, kept_after: 5 }, "gateway_behind_journal"),
        ] {
            check(|h| h.outbox.stop = Some(stop), &[code], 1);
        }
        for (state, code) in [
            (DeviceState::Unplugged, "device_unplugged"),
            (DeviceState::CannotOpen { reason: "busy".into() }, "device_cannot_open"),
            (DeviceState::Silent { for_s: 9 }, "device_silent"),
            (DeviceState::Parity, "device_parity"),
            (DeviceState::WrongSpeed, "device_wrong_speed"),
            (DeviceState::Garbage, "device_garbage"),
        ] {
            check(|h| h.devices[0].state = state, &[code], 1);
        }
    }

    #[test]
    fn what_the_line_shows_is_told() {
        let mut health = healthy();
        health.devices[0].state = DeviceState::Parity;
        health.devices[0].advice = Some(Fault { message: "sends as with 7E1".into(), hint: "set it".into() });
        let finding = health.findings().remove(0);
        assert_eq!(
            (finding.message.as_str(), finding.hint.as_str()),
            ("scale-1 sends as with 7E1", "set it")
        );
    }

    #[test]
    fn the_worst_comes_first_and_json_carries_all() {
        let mut health = healthy();
        health.clock.synced = false;
        health.link.connected = false;
        let json: serde_json::Value = serde_json::from_str(&health.to_json()).unwrap();
        assert_eq!(json["findings"][0]["code"], "link_down");
        assert_eq!(json["findings"][0]["severity"], "error");
        assert_eq!(json["findings"][1]["severity"], "warning");
        assert_eq!(json["journal"]["head"], 10);
        assert_eq!(json["devices"][0]["state"]["kind"], "working");
        assert_eq!(json["outbox"]["last_progress_ms"], serde_json::Value::Null);
    }
}
