//! What the agent's status says, as far as a display shows it. What an older or newer agent does not say is left out.

use serde_json::Value;

use super::glance::{Glimpse, Told, Weight};
use crate::feedback::{Light, Signal};

/// The agent and its stations.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct View {
    /// Who.
    pub agent: String,
    /// The record on disk.
    pub journal: Journal,
    /// The connection to the broker.
    pub link: Link,
    /// Scanners and scales of all stations.
    pub devices: Vec<Device>,
    /// In the order of the configuration.
    pub stations: Vec<Station>,
    /// The worst first.
    pub findings: Vec<Finding>,
}

/// The record on disk.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Journal {
    /// Last sequence recorded.
    pub head: u64,
    /// Last sequence that the gateway holds.
    pub watermark: u64,
}

/// The connection to the broker.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Link {
    /// Whether it is connected.
    pub connected: bool,
    /// For how long it has been so.
    pub since_s: u64,
}

/// A scanner or a scale.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Device {
    /// `station/device`.
    pub name: String,
    /// How it stands: `working`, or a word for what is wrong.
    pub state: String,
}

/// Something that is not as it should be.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Finding {
    /// `error` or `warning`.
    pub severity: String,
    /// The stable word.
    pub code: String,
    /// What is wrong.
    pub message: String,
}

/// One station.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Station {
    /// Its name.
    pub name: String,
    /// What it expects.
    pub screen: Screen,
    /// What it told last.
    pub glimpse: Glimpse,
}

/// What a station expects; a [`crate::station::Screen`] as it comes over the socket.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[allow(missing_docs, reason = "said there")]
pub struct Screen {
    pub workflow: Option<String>,
    pub expected: String,
    pub operator: Option<String>,
    pub recorded: u64,
}

/// A good scan is old news after this; what went wrong stays until the next scan.
const FRESH_MS: u64 = 10_000;
/// A new signal blinks white once for so long, so that the second of two equal ones is seen too.
const FLASH_MS: u64 = 400;
/// A weight that the scale has not confirmed for longer is not what lies on it.
const WEIGHT_MS: u64 = 3_000;

/// What colour a station has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mood {
    /// Nothing happened lately.
    Calm,
    /// This was told.
    Told(Signal),
    /// This was told just now.
    Flash(Signal),
}

impl View {
    /// Reads the agent's answer.
    ///
    /// # Errors
    /// When it is no status.
    pub fn parse(json: &str) -> Result<Self, String> {
        // By hand and not derived: typed reading of these few fields would be a fiftieth of the whole program.
        let status: Value = serde_json::from_str(json).map_err(|error| error.to_string())?;
        if status["agent"].as_str().is_none_or(str::is_empty) {
            // As the agent's own errors come.
            return Err(format!("the agent answered {json}"));
        }
        Ok(Self {
            agent: text(&status["agent"]),
            journal: Journal {
                head: number(&status["journal"]["head"]),
                watermark: number(&status["journal"]["watermark"]),
            },
            link: Link {
                connected: truth(&status["link"]["connected"]),
                since_s: number(&status["link"]["since_s"]),
            },
            devices: each(&status["devices"], |device| Device {
                name: text(&device["name"]),
                state: text(&device["state"]["kind"]),
            }),
            stations: each(&status["stations"], station),
            findings: each(&status["findings"], |finding| Finding {
                severity: text(&finding["severity"]),
                code: text(&finding["code"]),
                message: text(&finding["message"]),
            }),
        })
    }

    /// Events that the gateway does not hold yet.
    pub fn waiting(&self) -> u64 {
        self.journal.head.saturating_sub(self.journal.watermark)
    }

    /// The first thing wrong that is no device's and not the connection, which have their own places.
    pub fn trouble(&self) -> Option<&Finding> {
        self.findings.iter().find(|finding| {
            finding.severity == "error" && finding.code != "link_down" && !finding.code.starts_with("device_")
        })
    }

    /// Devices of a station that do not work: their names and what is wrong.
    pub fn broken<'a>(&'a self, station: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.devices.iter().filter_map(move |device| {
            let name = device.name.strip_prefix(station)?.strip_prefix('/')?;
            (device.state != "working").then_some((name, device.state.as_str()))
        })
    }
}

fn station(station: &Value) -> Station {
    let (screen, glimpse) = (&station["screen"], &station["glimpse"]);
    let optional = |value: &Value| value.as_str().map(str::to_owned);
    let told = |told: &Value| {
        // A signal of a newer agent is told as what needs a look.
        let word = told["signal"].as_str().unwrap_or_default();
        let signal = SIGNALS.into_iter().find(|signal| signal.as_str() == word).unwrap_or(Signal::Refused);
        Told { signal, message: text(&told["message"]), age_ms: number(&told["age_ms"]) }
    };
    let weight = &glimpse["weight"];
    Station {
        name: text(&station["name"]),
        screen: Screen {
            workflow: optional(&screen["workflow"]),
            expected: text(&screen["expected"]),
            operator: optional(&screen["operator"]),
            recorded: number(&screen["recorded"]),
        },
        glimpse: Glimpse {
            signals: number(&glimpse["signals"]),
            recent: each(&glimpse["recent"], told),
            weight: weight.is_object().then(|| Weight {
                value: text(&weight["value"]),
                unit: text(&weight["unit"]),
                moving: truth(&weight["moving"]),
                out_of_range: truth(&weight["out_of_range"]),
                net: truth(&weight["net"]),
                age_ms: number(&weight["age_ms"]),
            }),
        },
    }
}

const SIGNALS: [Signal; 6] =
    [Signal::Good, Signal::Heard, Signal::Unknown, Signal::Refused, Signal::Repeated, Signal::NotStored];

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_default()
}

fn truth(value: &Value) -> bool {
    value.as_bool().unwrap_or_default()
}

fn each<T>(value: &Value, make: impl FnMut(&Value) -> T) -> Vec<T> {
    value.as_array().map_or(&[][..], Vec::as_slice).iter().map(make).collect()
}

impl Station {
    /// The newest signal.
    pub fn last(&self) -> Option<&Told> {
        self.glimpse.recent.first()
    }

    /// What colour it has.
    pub fn mood(&self) -> Mood {
        let Some(told) = self.last() else { return Mood::Calm };
        let passes = matches!(told.signal, Signal::Good | Signal::Heard | Signal::Repeated);
        match told.age_ms {
            age if age < FLASH_MS => Mood::Flash(told.signal),
            age if passes && age >= FRESH_MS => Mood::Calm,
            _ => Mood::Told(told.signal),
        }
    }

    /// The number on the scale, while it is true.
    pub fn weight(&self) -> Option<&Weight> {
        self.glimpse.weight.as_ref().filter(|weight| weight.age_ms < WEIGHT_MS)
    }
}

impl Mood {
    /// The signal, while it is shown.
    pub fn signal(self) -> Option<Signal> {
        match self {
            Mood::Calm => None,
            Mood::Told(signal) | Mood::Flash(signal) => Some(signal),
        }
    }

    /// The light that is shown.
    pub fn light(self) -> Option<Light> {
        self.signal().map(Signal::light)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::watch::glance::Glance;

    fn told(signal: Signal, age_ms: u64) -> Station {
        let recent = vec![Told { signal, message: String::new(), age_ms }];
        Station { glimpse: Glimpse { signals: 1, recent, weight: None }, ..Station::default() }
    }

    #[test]
    fn good_news_fade_and_bad_news_stay() {
        assert_eq!(Station::default().mood(), Mood::Calm);
        assert_eq!(told(Signal::Good, 0).mood(), Mood::Flash(Signal::Good));
        assert_eq!(told(Signal::Good, 9_999).mood(), Mood::Told(Signal::Good));
        assert_eq!(told(Signal::Good, 10_000).mood(), Mood::Calm);
        assert_eq!(told(Signal::NotStored, 1_000_000).mood(), Mood::Told(Signal::NotStored));
        assert_eq!(told(Signal::Unknown, 1_000_000).mood(), Mood::Told(Signal::Unknown));
    }

    #[test]
    fn what_the_agent_writes_is_read() {
        let mut glance = Glance::default();
        for (second, signal) in SIGNALS.into_iter().enumerate() {
            glance.handle_signal(Duration::from_secs(second as u64), signal, signal.as_str());
        }
        let mut glimpse = glance.glimpse(Duration::from_secs(9));
        let (value, unit) = ("12.50".to_owned(), "kg".to_owned());
        glimpse.weight = Some(Weight { value, unit, moving: true, out_of_range: true, net: true, age_ms: 7 });
        let screen = crate::station::Screen {
            workflow: Some("PICK"),
            expected: "scan".into(),
            operator: Some("anna".into()),
            recorded: 3,
            ..Default::default()
        };
        let json = serde_json::json!({ "name": "bench-1", "screen": screen, "glimpse": glimpse });
        let screen = Screen {
            workflow: Some("PICK".into()),
            expected: "scan".into(),
            operator: Some("anna".into()),
            recorded: 3,
        };
        assert_eq!(station(&json), Station { name: "bench-1".into(), screen, glimpse });
    }

    #[test]
    fn an_answer_that_is_no_status_is_told() {
        assert!(View::parse("{\"error\":\"gone\"}").unwrap_err().contains("gone"));
        assert!(View::parse("[]").is_err() && View::parse("{").is_err());
        let json = r#"{"agent":"box-1","journal":{"head":9,"watermark":4},"news":[1],"devices":[
            {"name":"bench-1/scanner","state":{"kind":"unplugged"}},{"name":"bench-1/scale","state":{"kind":"working"}},
            {"name":"bench-10/scanner","state":{"kind":"garbage"}}],
            "findings":[{"severity":"error","code":"link_down"},{"severity":"error","code":"device_unplugged"},
            {"severity":"error","code":"agent_unknown"}]}"#;
        let view = View::parse(json).unwrap();
        assert_eq!((view.waiting(), view.trouble().unwrap().code.as_str()), (5, "agent_unknown"));
        assert_eq!(view.broken("bench-1").collect::<Vec<_>>(), [("scanner", "unplugged")]);
    }
}
