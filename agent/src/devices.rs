//! What is plugged in, what is configured on it, and how it stands: the table that `devices` prints.
//!
//! Nothing is looked at here: the list of ports, the configuration and the running agent's answer are handed in.

use std::fmt::Write as _;
use std::path::PathBuf;

use serde::Serialize;
use serde_json::Value;

use crate::config::Config;
use crate::port::{FoundPort, PortName, UsbFacts};
use crate::scanner::Source;

/// One line of the table: a port that is there, a device that is configured, or both.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Row {
    /// The name to configure, or the one that is configured and not there.
    pub use_name: String,
    /// The kernel's name, for now; `None`: it is not there.
    pub device: Option<String>,
    /// Whether `use_name` means the same device after the next start.
    pub stable: bool,
    /// What USB says about it.
    pub usb: Option<UsbFacts>,
    /// Such as `bench-1/scanner`; `None`: nothing is configured on it.
    pub configured: Option<String>,
    /// Its protocol.
    pub protocol: Option<&'static str>,
    /// How it stands, as the running agent says; `None`: none runs.
    pub state: Option<String>,
    /// What came over it last, control characters escaped.
    pub last_bytes: Option<String>,
    /// What is wrong, and what to do.
    pub diagnosis: Option<Diagnosis>,
    /// The configured name is one that may mean another device.
    pub warning: Option<String>,
}

/// What is wrong, and what to do.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Diagnosis {
    /// What was expected and what came.
    pub message: String,
    /// What to do next.
    pub hint: String,
}

/// A device of the configuration.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Configured {
    /// Such as `bench-1/scanner`.
    pub name: String,
    /// Where it is to be.
    pub port: PortName,
    /// How it speaks.
    pub protocol: &'static str,
    /// Whether it is an input device.
    pub keyboard: bool,
}

/// All devices of a configuration.
pub fn configured(config: &Config) -> Vec<Configured> {
    let stations = config.stations.iter().flat_map(|station| {
        let scanners = station.scanners.iter().map(|scanner| Configured {
            name: format!("{}/{}", station.name, scanner.device),
            port: scanner.port.clone(),
            protocol: scanner.protocol.name(),
            keyboard: scanner.protocol.source() == Source::Keyboard,
        });
        let scale = station.scale.iter().map(|scale| Configured {
            name: format!("{}/{}", station.name, scale.device),
            port: scale.port.clone(),
            protocol: scale.protocol.name(),
            keyboard: false,
        });
        scanners.chain(scale).collect::<Vec<_>>()
    });
    stations.collect()
}

/// What is wrong with the names of ports, one sentence each.
pub fn warnings(configured: &[Configured], found: &[FoundPort]) -> Vec<String> {
    let numbered = configured
        .iter()
        .filter_map(|device| Some(format!("{}: {}", device.name, device.port.warning(found)?)));
    // Two names for one port are no fault of the text, and each reader would get half of the bytes.
    let shared = found.iter().filter_map(|port| {
        let here: Vec<&str> = configured
            .iter()
            .filter(|device| device.keyboard == port.keyboard && port.is_named(&device.port))
            .map(|device| device.name.as_str())
            .collect();
        let device = port.device.display();
        (here.len() > 1)
            .then(|| format!("{} are on one port, {device}: give each its own", here.join(" and ")))
    });
    numbered.chain(shared).collect()
}

/// The table. `resolve` says where a device is that was not found by listing, and `status` is the running agent's answer.
pub fn table(
    found: &[FoundPort],
    configured: &[Configured],
    resolve: impl Fn(&Configured) -> Option<PathBuf>,
    status: Option<&Value>,
) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    let mut listed = vec![false; configured.len()];
    for port in found {
        let best = port.best_name(found);
        let mut row = Row {
            stable: best.warning(found).is_none(),
            use_name: best.to_string(),
            device: Some(port.device.display().to_string()),
            usb: port.usb.clone(),
            configured: None,
            protocol: None,
            state: None,
            last_bytes: None,
            diagnosis: None,
            warning: None,
        };
        let is_here = |device: &Configured| device.keyboard == port.keyboard && port.is_named(&device.port);
        for (at, device) in configured.iter().enumerate().filter(|(_, device)| is_here(device)) {
            listed[at] = true;
            row.fill(device, found, status);
        }
        rows.push(row);
    }
    for (device, _) in configured.iter().zip(&listed).filter(|(_, listed)| !**listed) {
        let mut row = Row {
            use_name: device.port.to_string(),
            device: resolve(device).map(|path| path.display().to_string()),
            stable: device.port.warning(found).is_none(),
            usb: None,
            configured: None,
            protocol: None,
            state: None,
            last_bytes: None,
            diagnosis: None,
            warning: None,
        };
        row.fill(device, found, status);
        rows.push(row);
    }
    rows
}

impl Row {
    fn fill(&mut self, device: &Configured, found: &[FoundPort], status: Option<&Value>) {
        self.configured = Some(device.name.clone());
        self.protocol = Some(device.protocol);
        self.warning = device.port.warning(found);
        let devices = status.and_then(|status| status["devices"].as_array()).into_iter().flatten();
        let Some(health) = devices.into_iter().find(|health| health["name"] == device.name.as_str()) else {
            return;
        };
        let text = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        self.state = text(&health["state"]["kind"]);
        self.last_bytes = text(&health["last_bytes"]);
        // The finding about the device says more than its last fault, where there is one.
        let findings = status.and_then(|status| status["findings"].as_array()).into_iter().flatten();
        let finding = findings.into_iter().find(|finding| {
            let about = finding["message"].as_str().and_then(|message| message.strip_prefix(&device.name));
            about.is_some_and(|rest| rest.starts_with([':', ' ']))
        });
        let fault = finding.unwrap_or(&health["last_fault"]);
        self.diagnosis = text(&fault["message"])
            .map(|message| Diagnosis { message, hint: text(&fault["hint"]).unwrap_or_default() });
    }
}

/// For a terminal.
pub fn to_text(rows: &[Row], agent_runs: bool) -> String {
    let mut text = String::new();
    for row in rows {
        // Writing to a String cannot fail.
        let _ = match &row.device {
            Some(device) => write!(text, "{}  -> {device}", row.use_name),
            None => write!(text, "{}  is not there", row.use_name),
        };
        if let Some(UsbFacts { vendor, product, serial, port, title }) = &row.usb {
            let serial = serial.as_ref().map_or(String::new(), |serial| format!(", serial number {serial}"));
            let _ = write!(text, "\n    {vendor:04x}:{product:04x} {title} at USB port {port}{serial}");
        }
        if !row.stable {
            text.push_str("\n    may be another device after the next start");
        }
        match (&row.configured, row.protocol) {
            (Some(name), Some(protocol)) => {
                let state = row.state.as_deref().unwrap_or(if agent_runs {
                    "the running agent has another configuration"
                } else {
                    "no agent is running"
                });
                let _ = write!(text, "\n    {name}, {protocol}: {state}");
            }
            _ => text.push_str("\n    not configured"),
        }
        if let Some(bytes) = &row.last_bytes {
            let _ = write!(text, "\n    last bytes: {bytes}");
        }
        if let Some(Diagnosis { message, hint }) = &row.diagnosis {
            let _ = write!(text, "\n    {message}\n    -> {hint}");
        }
        if let Some(warning) = &row.warning {
            let _ = write!(text, "\n    warning: {warning}");
        }
        text.push('\n');
    }
    if rows.is_empty() {
        text.push_str("No serial port and no scanner is plugged in.\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(device: &str, name: &str) -> FoundPort {
        FoundPort { device: device.into(), names: vec![name.into()], usb: None, keyboard: false }
    }

    fn device(name: &str, port: &str) -> Configured {
        Configured { name: name.into(), port: port.parse().unwrap(), protocol: "line", keyboard: false }
    }

    fn status() -> Value {
        serde_json::json!({
            "devices": [
                { "name": "one/scanner", "state": { "kind": "working" }, "last_bytes": "]E0123\\r", "last_fault": null },
                { "name": "two/scanner", "state": { "kind": "garbage" }, "last_bytes": "\\xf8",
                  "last_fault": { "message": "old", "hint": "older" } },
            ],
            "findings": [
                { "message": "two/scanner answers, but not in line", "hint": "compare" },
                { "message": "one/scanner-2: is not there", "hint": "plug it in" },
            ],
        })
    }

    #[test]
    fn ports_and_devices_meet() {
        let found =
            [port("/dev/ttyUSB0", "/dev/serial/by-id/a"), port("/dev/ttyUSB1", "/dev/serial/by-id/b")];
        let devices = [
            device("one/scanner", "/dev/serial/by-id/a"),
            device("two/scanner", "/dev/ttyUSB1"),
            device("three/scanner", "usb:1a86:7523"),
        ];
        let rows = table(&found, &devices, |_| None, Some(&status()));
        let text = to_text(&rows, true);
        assert_eq!(
            text,
            "/dev/serial/by-id/a  -> /dev/ttyUSB0\n    one/scanner, line: working\n    last bytes: ]E0123\\r\n\
             /dev/serial/by-id/b  -> /dev/ttyUSB1\n    two/scanner, line: garbage\n    last bytes: \\xf8\n    \
             two/scanner answers, but not in line\n    -> compare\n    \
             warning: /dev/ttyUSB1 may be another device after the next start: use \"/dev/serial/by-id/b\"\n\
             usb:1a86:7523  is not there\n    three/scanner, line: the running agent has another configuration\n"
        );
        let json = serde_json::to_value(&rows).unwrap();
        assert_eq!((&json[0]["use_name"], &json[0]["stable"]), (&"/dev/serial/by-id/a".into(), &true.into()));
        assert_eq!(json[2]["device"], Value::Null);
    }

    #[test]
    fn without_an_agent_and_without_anything() {
        let rows = table(&[port("/dev/ttyUSB0", "/dev/serial/by-id/a")], &[], |_| None, None);
        assert!(to_text(&rows, false).ends_with("not configured\n"));
        let elsewhere = [device("one/scanner", "/run/scanner")];
        let rows = table(&[], &elsewhere, |_| Some("/dev/pts/3".into()), None);
        assert_eq!(
            to_text(&rows, false),
            "/run/scanner  -> /dev/pts/3\n    one/scanner, line: no agent is running\n"
        );
        assert!(to_text(&[], false).contains("No serial port"));
    }

    #[test]
    fn numbers_are_warned_about_by_device() {
        let found = [port("/dev/ttyUSB0", "/dev/serial/by-id/a")];
        let devices = [device("one/scanner", "/dev/serial/by-id/a"), device("two/scanner", "usb:1a86:7523")];
        assert_eq!(warnings(&devices, &found), Vec::<String>::new());
        let mut usb = port("/dev/ttyUSB1", "/dev/serial/by-id/b");
        usb.usb = Some(UsbFacts {
            vendor: 0x1a86,
            product: 0x7523,
            serial: None,
            port: "1-1".into(),
            title: String::new(),
        });
        let twice = [device("one/scanner", "/dev/serial/by-id/b"), device("two/scanner", "usb:1a86:7523")];
        assert_eq!(
            warnings(&twice, &[usb]),
            ["one/scanner and two/scanner are on one port, /dev/ttyUSB1: give each its own"]
        );
        let numbered = warnings(&[device("one/scanner", "/dev/ttyUSB0")], &found);
        assert!(
            numbered.len() == 1 && numbered[0].starts_with("one/scanner: /dev/ttyUSB0 may be"),
            "{numbered:?}"
        );
    }
}
