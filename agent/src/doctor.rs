//! The doctor: small numbered checks, each good or with what to do next, and one line at the end.
//!
//! It judges what others observed, so that every outcome can be tested; `main` looks at files, ports and the agent.

use serde::{Deserialize, Serialize};

/// What was seen.
#[derive(Clone, Debug)]
pub struct Observed {
    /// The configuration; its faults, when it cannot be used. Everything below is then unknown.
    pub config: Result<Configured, String>,
    /// The directory of the journal can be written to; else why not.
    pub directory: Result<(), String>,
    /// The certificate files; `None` without TLS.
    pub tls: Option<Result<(), String>>,
    /// The running agent's answer, or why there is none.
    pub status: Result<String, String>,
    /// Without a running agent: whether the broker's port answers.
    pub broker: Option<Result<(), String>>,
    /// Ports of the configuration that are not there.
    pub missing_ports: Vec<String>,
    /// Names of ports that may mean another device after the next start.
    pub port_warnings: Vec<String>,
}

/// The configuration in short.
#[derive(Clone, Debug)]
pub struct Configured {
    /// Where it is.
    pub path: String,
    /// Who we are.
    pub agent: String,
    /// How many stations.
    pub stations: usize,
}

/// One check.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Check {
    /// Counted from 1.
    pub number: usize,
    /// What was looked at.
    pub name: &'static str,
    /// How it is.
    pub verdict: Verdict,
    /// What was found.
    pub message: String,
    /// What to do; empty when it is good.
    pub hint: String,
}

/// How a check came out.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// As it should be.
    Good,
    /// Work goes on; somebody should look.
    Warning,
    /// Something does not work.
    Failed,
}

/// The part of `status` that is judged.
#[derive(Deserialize)]
struct Status {
    pid: u32,
    findings: Vec<Found>,
    journal: JournalFound,
}

#[derive(Deserialize)]
struct JournalFound {
    head: u64,
    watermark: u64,
}

#[derive(Deserialize)]
struct Found {
    severity: String,
    code: String,
    message: String,
    hint: String,
}

/// Findings of the running agent by the check they belong to, in the order in which data flows.
const GROUPS: [(&str, &[&str], &str); 6] = [
    ("devices", &["device_"], "every scanner and scale works"),
    ("journal", &["journal_", "disk_"], "scans are recorded"),
    ("broker", &["link_", "not_delivered"], "connected"),
    ("gateway", &["gateway_", "batch_", "identity_", "agent_"], "it acknowledges what it holds"),
    ("clock", &["clock_"], "synchronised"),
    ("catalogue", &["no_catalogue", "catalogue_"], "barcodes are known"),
];

/// The checks that can be made; after one that stands in the way of the others there are none.
pub fn checks(observed: &Observed) -> Vec<Check> {
    let mut checks = List(Vec::new());
    let configured = match &observed.config {
        Ok(configured) => configured,
        Err(faults) => {
            checks.failed("configuration", faults, "correct it, then run `stockwire-agent check-config`");
            return checks.0;
        }
    };
    let Configured { path, agent, stations } = configured;
    if *stations == 0 {
        let hint = "add a [[station]]; `stockwire-agent devices` lists the ports that are there";
        checks.add("configuration", Verdict::Warning, format!("{path} has no station"), hint);
    } else {
        checks.good("configuration", format!("{path}: {agent} with {stations} station(s)"));
    }
    for warning in &observed.port_warnings {
        checks.add("ports", Verdict::Warning, warning, "put that name into the configuration");
    }
    match &observed.directory {
        Ok(()) => checks.good("directory", "the journal's directory can be written to"),
        Err(error) => {
            checks.failed("directory", error, "make the directory, and give it to the agent's user")
        }
    }
    match &observed.tls {
        None => checks.add(
            "certificates",
            Verdict::Warning,
            "TLS is off: anyone on the way reads and forges movements",
            "set broker.tls = true unless the broker runs on this machine",
        ),
        Some(Ok(())) => checks.good("certificates", "they can be read and belong together"),
        Some(Err(error)) => {
            checks.failed("certificates", error, "put the files of one enrolment back, or enrol again")
        }
    }
    match &observed.status {
        Ok(status) => match serde_json::from_str(status) {
            Ok(status) => running(&status, &mut checks),
            Err(error) => checks.failed(
                "agent",
                format!("its answer is not understood: {error}"),
                "is another version running? `systemctl restart stockwire-agent`",
            ),
        },
        Err(error) => not_running(observed, error, &mut checks),
    }
    checks.0
}

fn running(status: &Status, checks: &mut List) {
    let JournalFound { head, watermark } = status.journal;
    let backlog = head.saturating_sub(watermark);
    checks.good(
        "agent",
        format!("running as process {}, {head} recorded, {backlog} still to be acknowledged", status.pid),
    );
    for (name, codes, good) in GROUPS {
        let found: Vec<&Found> = status
            .findings
            .iter()
            .filter(|finding| codes.iter().any(|code| finding.code.starts_with(code)))
            .collect();
        if found.is_empty() {
            checks.good(name, good);
        }
        for finding in found {
            let verdict = if finding.severity == "error" { Verdict::Failed } else { Verdict::Warning };
            checks.add(name, verdict, &finding.message, &finding.hint);
        }
    }
    // A code that no group knows must not be swallowed.
    let grouped = |code: &str| GROUPS.iter().flat_map(|group| group.1).any(|prefix| code.starts_with(prefix));
    for finding in status.findings.iter().filter(|finding| !grouped(&finding.code)) {
        let verdict = if finding.severity == "error" { Verdict::Failed } else { Verdict::Warning };
        checks.add("other", verdict, &finding.message, &finding.hint);
    }
}

fn not_running(observed: &Observed, error: &str, checks: &mut List) {
    checks.failed(
        "agent",
        format!("no answer: {error}"),
        "start it with `systemctl start stockwire-agent`; `journalctl -u stockwire-agent` tells why it ended",
    );
    if observed.missing_ports.is_empty() {
        checks.good("devices", "every port is there");
    }
    for port in &observed.missing_ports {
        checks.failed(
            "devices",
            format!("{port} is not there"),
            "plug it in; `stockwire-agent devices` lists what is there",
        );
    }
    match &observed.broker {
        Some(Ok(())) => checks.good("broker", "its port answers"),
        Some(Err(error)) => checks.failed("broker", error, "check network, name, port and firewall"),
        None => {}
    }
}

struct List(Vec<Check>);

impl List {
    fn add(
        &mut self,
        name: &'static str,
        verdict: Verdict,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        let number = self.0.len() + 1;
        self.0.push(Check { number, name, verdict, message: message.into(), hint: hint.into() });
    }

    fn good(&mut self, name: &'static str, message: impl Into<String>) {
        self.add(name, Verdict::Good, message, "");
    }

    fn failed(&mut self, name: &'static str, message: impl Into<String>, hint: impl Into<String>) {
        self.add(name, Verdict::Failed, message, hint);
    }
}

/// The worst of all.
pub fn verdict(checks: &[Check]) -> Verdict {
    checks.iter().map(|check| check.verdict).max().unwrap_or(Verdict::Good)
}

/// For a terminal; with `colour`, the last line is green, yellow or red.
pub fn to_text(checks: &[Check], colour: bool) -> String {
    let mut text = String::new();
    for check in checks {
        let mark = match check.verdict {
            Verdict::Good => "ok  ",
            Verdict::Warning => "look",
            Verdict::Failed => "FAIL",
        };
        text.push_str(&format!("{:>2}. {mark} {:<13} {}\n", check.number, check.name, check.message));
        if !check.hint.is_empty() {
            text.push_str(&format!("{:>23}-> {}\n", "", check.hint));
        }
    }
    let count = |verdict| checks.iter().filter(|check| check.verdict == verdict).count();
    let (code, end) = match verdict(checks) {
        Verdict::Good => (32, format!("All is well: {} checks passed.", checks.len())),
        Verdict::Warning => (33, format!("It works; {} to look at.", count(Verdict::Warning))),
        Verdict::Failed => (31, format!("{} of {} checks failed.", count(Verdict::Failed), checks.len())),
    };
    if colour { text + &format!("\x1b[{code}m{end}\x1b[0m\n") } else { text + &end + "\n" }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn healthy() -> Observed {
        Observed {
            config: Ok(Configured { path: "config.toml".into(), agent: "box-1".into(), stations: 1 }),
            directory: Ok(()),
            tls: Some(Ok(())),
            status: Ok(r#"{"pid":7,"journal":{"head":5,"watermark":3},"findings":[]}"#.into()),
            broker: None,
            missing_ports: vec![],
            port_warnings: vec![],
        }
    }

    fn check(change: impl FnOnce(&mut Observed), worst: Verdict, told: &str) {
        let mut observed = healthy();
        change(&mut observed);
        let checks = checks(&observed);
        assert_eq!(verdict(&checks), worst, "{checks:?}");
        let text = to_text(&checks, false);
        assert!(text.contains(told), "{text}");
        for (at, check) in checks.iter().enumerate() {
            assert_eq!(check.number, at + 1);
            assert_eq!(check.hint.is_empty(), check.verdict == Verdict::Good, "{check:?}");
        }
    }

    fn finding(severity: &str, code: &str) -> String {
        format!(
            r#"{{"pid":7,"journal":{{"head":5,"watermark":3}},"findings":[{{"severity":"{severity}","code":"{code}","message":"it is so","hint":"do this"}}]}}"#
        )
    }

    #[test]
    fn each_observation_has_its_line() {
        check(|_| {}, Verdict::Good, "All is well: 10 checks passed.\n");
        check(|o| o.config = Err("line 3: no".into()), Verdict::Failed, "1. FAIL configuration line 3: no");
        check(|o| o.directory = Err("read-only".into()), Verdict::Failed, "2. FAIL directory     read-only");
        check(
            |o| o.port_warnings = vec!["one/scanner: /dev/ttyUSB0 may be another".into()],
            Verdict::Warning,
            "2. look ports         one/scanner: /dev/ttyUSB0",
        );
        check(|o| o.tls = None, Verdict::Warning, "3. look certificates  TLS is off");
        check(|o| o.tls = Some(Err("key of another".into())), Verdict::Failed, "key of another");
        check(
            |o| o.status = Err("refused".into()),
            Verdict::Failed,
            "4. FAIL agent         no answer: refused",
        );
        check(|o| o.status = Ok("{}".into()), Verdict::Failed, "not understood");
        check(
            |o| o.status = Ok(finding("error", "device_unplugged")),
            Verdict::Failed,
            "5. FAIL devices       it is so",
        );
        check(
            |o| o.status = Ok(finding("warning", "journal_filling")),
            Verdict::Warning,
            "6. look journal       it is so",
        );
        check(
            |o| o.status = Ok(finding("error", "link_down")),
            Verdict::Failed,
            "FAIL broker        it is so",
        );
        check(
            |o| o.status = Ok(finding("error", "gateway_silent")),
            Verdict::Failed,
            "FAIL gateway       it is so",
        );
        check(
            |o| o.status = Ok(finding("warning", "no_catalogue")),
            Verdict::Warning,
            "look catalogue     it is so",
        );
        check(
            |o| o.status = Ok(finding("error", "brand_new")),
            Verdict::Failed,
            "FAIL other         it is so",
        );
        check(
            |o| {
                o.status = Err("refused".into());
                o.missing_ports = vec!["/dev/x".into()];
                o.broker = Some(Err("no route".into()));
            },
            Verdict::Failed,
            "/dev/x is not there",
        );
    }
}
