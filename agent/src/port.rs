//! The names of ports: which ones stay, and which port a name stands for now.
//!
//! ```text
//!   /dev/serial/by-id/usb-1a86_USB_Serial-if00-port0     the adapter; good when it has a serial number of its own
//!   /dev/serial/by-path/...-usb-0:1.4:1.0-port0          the socket that it is plugged into
//!   usb:1a86:7523          vendor and product            as in `lsusb`; good when there is one of the kind
//!   usb:0403:6001/A6008isP         and serial number
//!   usb:1a86:7523@1-1.4            and the USB port, as the kernel names it
//!   /dev/ttyUSB0           whatever was found first: another one after the next start. A warning.
//! ```
//! Nothing is opened or read here: `io/ports.rs` lists what there is.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::Serialize;

/// The name of a port in the configuration.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum PortName {
    /// A path, best a link that stays.
    Path(PathBuf),
    /// A USB device, wherever the kernel puts it.
    Usb(UsbName),
}

/// What identifies a USB device.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct UsbName {
    /// Such as 1a86.
    pub vendor: u16,
    /// Such as 7523.
    pub product: u16,
    /// `None`: any.
    pub serial: Option<String>,
    /// Where it is plugged in, such as `1-1.4`; `None`: anywhere.
    pub port: Option<String>,
}

/// A port that is there.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct FoundPort {
    /// The kernel's name, for now.
    pub device: PathBuf,
    /// Links that stand for it, in the order in which they are recommended.
    pub names: Vec<PathBuf>,
    /// `None`: not on USB.
    pub usb: Option<UsbFacts>,
    /// Whether it is an input device that has letters and Enter.
    pub keyboard: bool,
}

/// What a USB device says about itself.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct UsbFacts {
    /// Such as 1a86.
    pub vendor: u16,
    /// Such as 7523.
    pub product: u16,
    /// Cheap adapters have none.
    pub serial: Option<String>,
    /// Where it is plugged in, such as `1-1.4`.
    pub port: String,
    /// Its maker and product in words, as far as it says.
    pub title: String,
}

/// Why a name stands for no port.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Unresolved {
    /// Nothing of that name is there.
    #[error("it is not there")]
    NotThere,
    /// Several are, and one would be a guess.
    #[error("it stands for {}: name one of {}", .devices.join(" and "), .names.join(", "))]
    Several {
        /// Those that are there.
        devices: Vec<String>,
        /// Names that tell them apart.
        names: Vec<String>,
    },
}

impl PortName {
    /// The device that it stands for now. `keyboard` says which kind is looked for: a USB device may be both.
    ///
    /// # Errors
    /// [`Unresolved`].
    pub fn resolve(&self, found: &[FoundPort], keyboard: bool) -> Result<PathBuf, Unresolved> {
        let usb = match self {
            PortName::Path(path) => return Ok(path.clone()),
            PortName::Usb(usb) => usb,
        };
        let matching = found.iter().filter(|port| port.keyboard == keyboard);
        let matching: Vec<_> =
            matching.filter(|port| port.usb.as_ref().is_some_and(|facts| usb.fits(facts))).collect();
        match matching[..] {
            [] => Err(Unresolved::NotThere),
            [one] => Ok(one.device.clone()),
            // One scanner may have several keyboards, for media keys and the like: the first types.
            [first, ..] if keyboard && matching.iter().all(|port| is_same_plug(port, first)) => {
                Ok(first.device.clone())
            }
            _ => Err(Unresolved::Several {
                devices: matching.iter().map(|port| port.device.display().to_string()).collect(),
                names: matching.iter().map(|port| port.best_name(found).to_string()).collect(),
            }),
        }
    }

    /// What is wrong with the name, with a better one if it can be told.
    pub fn warning(&self, found: &[FoundPort]) -> Option<String> {
        let PortName::Path(path) = self else { return None };
        let name = path.strip_prefix("/dev").ok()?.to_str()?;
        let numbered = ["ttyUSB", "ttyACM", "input/event"].iter().any(|kind| {
            let number = name.strip_prefix(kind);
            number
                .is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
        });
        let better = found.iter().find(|port| port.device == *path).map(|port| port.best_name(found));
        let advice = match better.filter(|better| better != self) {
            Some(better) => format!("use \"{better}\""),
            None => "plug it in and run `stockwire-agent devices`, which prints the name to use".to_owned(),
        };
        numbered.then(|| format!("{self} may be another device after the next start: {advice}"))
    }
}

impl FoundPort {
    /// The name to configure: by-id where that is unique, else what stays with the socket, else the number.
    pub fn best_name(&self, all: &[FoundPort]) -> PortName {
        let of_the_kind = |other: &&FoundPort| match (&self.usb, &other.usb) {
            (Some(one), Some(other)) => {
                (one.vendor, one.product, &one.serial) == (other.vendor, other.product, &other.serial)
            }
            _ => false,
        };
        // Without a serial number the link by-id is the same for all of a kind, and goes to the one plugged in last.
        let twins = all.iter().filter(of_the_kind).filter(|other| !is_same_plug(other, self)).count();
        let by_id = |name: &&PathBuf| name.parent().is_some_and(|directory| directory.ends_with("by-id"));
        let name = match twins {
            0 => self.names.first(),
            _ => self.names.iter().find(|name| !by_id(name)),
        };
        match (name, &self.usb) {
            (Some(name), _) => PortName::Path(name.clone()),
            (None, Some(usb)) => PortName::Usb(UsbName {
                vendor: usb.vendor,
                product: usb.product,
                serial: usb.serial.clone().filter(|_| twins == 0),
                port: (twins > 0).then(|| usb.port.clone()),
            }),
            (None, None) => PortName::Path(self.device.clone()),
        }
    }

    /// Whether this name stands for it.
    pub fn is_named(&self, name: &PortName) -> bool {
        match name {
            PortName::Path(path) => self.device == *path || self.names.contains(path),
            PortName::Usb(usb) => self.usb.as_ref().is_some_and(|facts| usb.fits(facts)),
        }
    }
}

fn is_same_plug(one: &FoundPort, other: &FoundPort) -> bool {
    matches!((&one.usb, &other.usb), (Some(one), Some(other)) if one.port == other.port)
}

impl UsbName {
    fn fits(&self, facts: &UsbFacts) -> bool {
        (self.vendor, self.product) == (facts.vendor, facts.product)
            && self.serial.as_ref().is_none_or(|serial| facts.serial.as_ref() == Some(serial))
            && self.port.as_ref().is_none_or(|port| *port == facts.port)
    }
}

impl fmt::Display for PortName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PortName::Path(path) => write!(f, "{}", path.display()),
            PortName::Usb(UsbName { vendor, product, serial, port }) => {
                write!(f, "usb:{vendor:04x}:{product:04x}")?;
                serial.iter().try_for_each(|serial| write!(f, "/{serial}"))?;
                port.iter().try_for_each(|port| write!(f, "@{port}"))
            }
        }
    }
}

/// Why a text is no name of a port.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PortNameError {
    /// Neither of the two.
    #[error("a path begins with /, a USB device with usb:")]
    Neither,
    /// `usb:` and something else.
    #[error(
        "a USB device is written usb:VENDOR:PRODUCT with four hexadecimal digits each, then /SERIAL or @PORT"
    )]
    Usb,
}

impl FromStr for PortName {
    type Err = PortNameError;

    fn from_str(text: &str) -> Result<Self, PortNameError> {
        if Path::new(text).is_absolute() {
            return Ok(PortName::Path(text.into()));
        }
        let usb = text.strip_prefix("usb:").ok_or(PortNameError::Neither)?;
        read_usb(usb).map(PortName::Usb).ok_or(PortNameError::Usb)
    }
}

fn read_usb(text: &str) -> Option<UsbName> {
    // A serial number may hold an @, a USB port is digits, points and one dash.
    let (rest, port) = match text.rsplit_once('@') {
        Some((rest, port)) if is_usb_port(port) => (rest, Some(port.to_owned())),
        _ => (text, None),
    };
    let (ids, serial) = match rest.split_once('/') {
        Some((ids, serial)) if !serial.is_empty() => (ids, Some(serial.to_owned())),
        Some(_) => return None,
        None => (rest, None),
    };
    let (vendor, product) = ids.split_once(':')?;
    let hex = |text: &str| {
        let digits = text.len() == 4 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        u16::from_str_radix(text, 16).ok().filter(|_| digits)
    };
    Some(UsbName { vendor: hex(vendor)?, product: hex(product)?, serial, port })
}

fn is_usb_port(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_digit())
        && text.contains('-')
        && text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'-'))
}

impl From<PathBuf> for PortName {
    fn from(path: PathBuf) -> Self {
        PortName::Path(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(device: &str, names: &[&str], usb: Option<(u16, u16, &str, &str)>) -> FoundPort {
        FoundPort {
            device: format!("/dev/{device}").into(),
            names: names.iter().map(|name| format!("/dev/serial/{name}").into()).collect(),
            usb: usb.map(|(vendor, product, serial, port)| UsbFacts {
                vendor,
                product,
                serial: (!serial.is_empty()).then(|| serial.to_owned()),
                port: port.to_owned(),
                title: String::new(),
            }),
            keyboard: device.starts_with("input"),
        }
    }

    fn bench() -> Vec<FoundPort> {
        vec![
            found("ttyUSB0", &["by-id/ch340", "by-path/1.3"], Some((0x1a86, 0x7523, "", "1-1.3"))),
            found("ttyUSB1", &["by-path/1.4"], Some((0x1a86, 0x7523, "", "1-1.4"))),
            found("ttyUSB2", &["by-id/ftdi-A6", "by-path/2"], Some((0x0403, 0x6001, "A6", "1-2"))),
            found("ttyACM0", &[], Some((0x05e0, 0x1701, "S1", "1-3"))),
            found("ttyAMA0", &[], None),
            found("input/event3", &[], Some((0x05e0, 0x1200, "", "1-5"))),
            found("input/event4", &[], Some((0x05e0, 0x1200, "", "1-5"))),
        ]
    }

    #[test]
    fn names_are_read_and_printed() {
        for text in [
            "/dev/serial/by-id/x",
            "usb:1a86:7523",
            "usb:0403:6001/A6008isP",
            "usb:1a86:7523@1-1.4",
            "usb:0403:6001/A@b/c@2-1",
            "usb:0403:6001/A@b",
        ] {
            assert_eq!(text.parse::<PortName>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "ttyUSB0",
            "usb:",
            "usb:1a86",
            "usb:1a86:752",
            "usb:1a86:7523/",
            "usb:1a86:75 3",
            "usb:+a86:7523",
        ] {
            assert!(text.parse::<PortName>().is_err(), "{text}");
        }
    }

    fn resolve(name: &str, keyboard: bool) -> Result<String, String> {
        let device = name.parse::<PortName>().unwrap().resolve(&bench(), keyboard);
        device.map(|device| device.display().to_string()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_name_stands_for_one_device_or_for_none() {
        for (name, device) in [
            ("/dev/anything", "/dev/anything"),
            ("usb:0403:6001", "/dev/ttyUSB2"),
            ("usb:0403:6001/A6", "/dev/ttyUSB2"),
            ("usb:1a86:7523@1-1.4", "/dev/ttyUSB1"),
            ("usb:05e0:1701/S1@1-3", "/dev/ttyACM0"),
        ] {
            assert_eq!(resolve(name, false).as_deref(), Ok(device));
        }
        assert_eq!(resolve("usb:05e0:1200", true).as_deref(), Ok("/dev/input/event3"));
        for name in ["usb:0403:6001/A7", "usb:0403:6001@1-1", "usb:0403:6002", "usb:05e0:1200"] {
            assert_eq!(resolve(name, false), Err("it is not there".into()), "{name}");
        }
        assert_eq!(
            resolve("usb:1a86:7523", false).unwrap_err(),
            "it stands for /dev/ttyUSB0 and /dev/ttyUSB1: name one of /dev/serial/by-path/1.3, /dev/serial/by-path/1.4"
        );
    }

    #[test]
    fn the_best_name_is_one_that_stays() {
        let names: Vec<String> = bench().iter().map(|port| port.best_name(&bench()).to_string()).collect();
        assert_eq!(
            names,
            [
                "/dev/serial/by-path/1.3",
                "/dev/serial/by-path/1.4",
                "/dev/serial/by-id/ftdi-A6",
                "usb:05e0:1701/S1",
                "/dev/ttyAMA0",
                "usb:05e0:1200",
                "usb:05e0:1200",
            ]
        );
        // Each of them leads back to its device, but for the twins of one plug.
        for port in &bench()[..5] {
            let name = port.best_name(&bench());
            assert!(port.is_named(&name), "{name}");
            if let PortName::Usb(_) = name {
                assert_eq!(name.resolve(&bench(), false).as_ref(), Ok(&port.device));
            }
        }
    }

    #[test]
    fn a_number_is_warned_about_with_the_name_to_use() {
        let warning = |name: &str| name.parse::<PortName>().unwrap().warning(&bench());
        assert_eq!(
            warning("/dev/ttyUSB2").unwrap(),
            "/dev/ttyUSB2 may be another device after the next start: use \"/dev/serial/by-id/ftdi-A6\""
        );
        assert!(warning("/dev/ttyUSB0").unwrap().contains("by-path/1.3"), "its by-id name is its twin's too");
        assert!(warning("/dev/ttyACM0").unwrap().contains("usb:05e0:1701/S1"));
        assert!(warning("/dev/input/event3").unwrap().contains("usb:05e0:1200"));
        assert!(warning("/dev/ttyUSB9").unwrap().contains("stockwire-agent devices"));
        for good in ["/dev/serial/by-id/x", "/dev/ttyAMA0", "/dev/ttyS0", "usb:0403:6001", "/dev/ttyUSB"] {
            assert_eq!(warning(good), None, "{good}");
        }
    }
}
