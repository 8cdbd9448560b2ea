//! The ports of this machine, as the kernel and udev list them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::port::{FoundPort, PortName, Unresolved, UsbFacts};

/// Where to look; tests give a tree of their own.
#[derive(Clone, Debug)]
pub struct Roots {
    /// `/dev`.
    pub dev: PathBuf,
    /// `/sys`.
    pub sys: PathBuf,
}

impl Default for Roots {
    fn default() -> Self {
        Self { dev: "/dev".into(), sys: "/sys".into() }
    }
}

/// How far above a port its USB device stands in the kernel's tree: interface, driver, input, event.
const USB_LEVELS_MAX: usize = 8;
/// Bits of the kernel's key bitmap: A and Enter.
const KEY_A: usize = 30;
const KEY_ENTER: usize = 28;

/// The device that a name stands for now.
///
/// # Errors
/// [`Unresolved`]. A listing that fails is as good as nothing found: the next attempt looks again.
pub fn resolve(name: &PortName, keyboard: bool) -> Result<PathBuf, Unresolved> {
    match name {
        PortName::Path(path) if path.exists() => Ok(path.clone()),
        PortName::Path(_) => Err(Unresolved::NotThere),
        PortName::Usb(_) => {
            let found = list(&Roots::default()).map_err(|_| Unresolved::NotThere)?;
            name.resolve(&found, keyboard)
        }
    }
}

/// The ports that are there, each once: serial ones with hardware behind them or with a link, and keyboards on USB.
///
/// # Errors
/// When a directory that is there cannot be listed.
pub fn list(roots: &Roots) -> io::Result<Vec<FoundPort>> {
    let mut found: Vec<FoundPort> = Vec::new();
    let mut links = Vec::new();
    for directory in ["serial/by-id", "serial/by-path", "input/by-id", "input/by-path"] {
        for name in names_in(&roots.dev.join(directory))? {
            // A link whose device has just gone is no port.
            if let Ok(device) = fs::canonicalize(&name) {
                links.push((device, name));
            }
        }
    }
    // Names that the site gave by rules of its own; not the streams of whatever process looks.
    let mut own_names = Vec::new();
    for name in names_in(&roots.dev)? {
        let target = fs::read_link(&name).ok().filter(|target| !target.starts_with("/proc"));
        if let Some(device) = target.and_then(|_| fs::canonicalize(&name).ok()) {
            own_names.push((device, name));
        }
    }
    // Where the system logs and logins are, nobody has plugged in a scale, and what is asked there is typed there.
    let consoles = fs::read_to_string(roots.sys.join("class/tty/console/active")).unwrap_or_default();
    for (class, directory) in [("tty", ""), ("input", "input")] {
        for node in names_in(&roots.dev.join(directory))? {
            let Some(name) = node.file_name().and_then(|name| name.to_str()) else { continue };
            if own_names.iter().any(|(_, own)| *own == node) {
                continue;
            }
            let entry = roots.sys.join("class").join(class).join(name).join("device");
            let device = fs::canonicalize(&node).unwrap_or_else(|_| node.clone());
            let linked = links.iter().any(|(target, _)| *target == device);
            let wanted = match class {
                "tty" if consoles.split_whitespace().any(|console| console == name) => false,
                "tty" => linked || name.starts_with("tty") && is_wired(&entry),
                _ => name.starts_with("event"),
            };
            if !wanted {
                continue;
            }
            let usb = usb_facts(&entry);
            let keyboard = class == "input";
            if keyboard && (usb.is_none() || !types_letters(&entry)) {
                continue;
            }
            let named = links.iter().chain(&own_names).filter(|(target, _)| *target == device);
            let names = named.map(|(_, name)| name.clone()).collect();
            found.push(FoundPort { device, names, usb, keyboard });
        }
    }
    // Links of what is not in /dev itself, such as pseudo terminals in tests and on virtual machines.
    for (device, name) in links {
        let is_keyboard = name.components().any(|part| part.as_os_str() == "input");
        match found.iter_mut().find(|port| port.device == device) {
            Some(port) if !port.names.contains(&name) => port.names.push(name),
            Some(_) => {}
            None if is_keyboard => {}
            None => found.push(FoundPort { device, names: vec![name], usb: None, keyboard: false }),
        }
    }
    Ok(found)
}

/// The paths in a directory, sorted by length and name so that ttyUSB10 follows ttyUSB9; none when it is not there.
fn names_in(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut names = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    names.sort_by_key(|name| (name.as_os_str().len(), name.clone()));
    Ok(names)
}

/// Whether there is hardware behind a terminal. The kernel makes nodes for serial ports that a board might have; of those
/// that it has not found the type is 0.
fn is_wired(entry: &Path) -> bool {
    let found = |kind: String| kind.trim() != "0";
    entry.exists() && fs::read_to_string(entry.with_file_name("type")).map_or(true, found)
}

/// The USB device above a port in the kernel's tree.
fn usb_facts(entry: &Path) -> Option<UsbFacts> {
    let start = fs::canonicalize(entry).ok()?;
    let text = |directory: &Path, name: &str| {
        let text = fs::read_to_string(directory.join(name)).ok()?;
        Some(text.trim().to_owned()).filter(|text| !text.is_empty())
    };
    let hex = |directory: &Path, name| u16::from_str_radix(&text(directory, name)?, 16).ok();
    start.ancestors().take(USB_LEVELS_MAX).find_map(|directory| {
        let title = [text(directory, "manufacturer"), text(directory, "product")];
        Some(UsbFacts {
            vendor: hex(directory, "idVendor")?,
            product: hex(directory, "idProduct")?,
            serial: text(directory, "serial"),
            port: directory.file_name()?.to_str()?.to_owned(),
            title: title.into_iter().flatten().collect::<Vec<_>>().join(" "),
        })
    })
}

/// Whether an input device has letters and Enter: one scanner often has further ones, for power and media keys.
fn types_letters(entry: &Path) -> bool {
    // Words of the machine's size in hexadecimal, the highest first.
    let bitmap = fs::read_to_string(entry.join("capabilities/key")).unwrap_or_default();
    let lowest = bitmap.split_whitespace().next_back().and_then(|word| u64::from_str_radix(word, 16).ok());
    lowest.is_some_and(|word| word >> KEY_A & 1 == 1 && word >> KEY_ENTER & 1 == 1)
}
