//! The ports of a machine, listed from a tree that looks like `/dev` and `/sys`; and a real input device, where the
//! machine lets one be made.

#![allow(clippy::unwrap_used, reason = "a test says by panicking what went wrong")]

mod bench;

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use bench::Directory;
use stockwire_agent::io::ports::{Roots, list};
use stockwire_agent::port::{FoundPort, PortName, Unresolved};

/// A, Enter and the rest of a keyboard; the lowest word of the kernel's bitmap stands last.
const LETTERS: &str = "1000000000007 ff9f207ac14057ff febeffdfffefffff fffffffffffffffe\n";

/// A machine of files.
struct Machine {
    directory: Directory,
    roots: Roots,
}

impl Machine {
    fn new() -> Self {
        let directory = Directory::new("ports");
        let root = fs::canonicalize(&directory.0).unwrap();
        let roots = Roots { dev: root.join("dev"), sys: root.join("sys") };
        fs::create_dir_all(&roots.dev).unwrap();
        Self { directory, roots }
    }

    /// A USB device at a USB port: its serial number may be missing.
    fn usb(&self, port: &str, vendor: &str, product: &str, serial: Option<&str>) -> PathBuf {
        let device = self.roots.sys.join("devices/usb1").join(port);
        fs::create_dir_all(&device).unwrap();
        let facts = [("idVendor", Some(vendor)), ("idProduct", Some(product)), ("serial", serial)];
        for (name, value) in facts.into_iter().chain([("product", Some("Bar Code Scanner"))]) {
            value.iter().for_each(|value| fs::write(device.join(name), format!("{value}\n")).unwrap());
        }
        device.join(format!("{port}:1.0"))
    }

    /// A node in `/dev`, what the kernel says about it, and links to it.
    fn node(&self, class: &str, name: &str, parent: PathBuf, keys: &str, links: &[&str]) {
        let directory = if class == "input" { "input/" } else { "" };
        let node = self.roots.dev.join(format!("{directory}{name}"));
        fs::create_dir_all(node.parent().unwrap()).unwrap();
        fs::write(&node, "").unwrap();
        fs::create_dir_all(parent.join("capabilities")).unwrap();
        fs::write(parent.join("capabilities/key"), keys).unwrap();
        let entry = self.roots.sys.join("class").join(class).join(name);
        fs::create_dir_all(&entry).unwrap();
        symlink(parent, entry.join("device")).unwrap();
        for link in links {
            let link = self.roots.dev.join(link);
            fs::create_dir_all(link.parent().unwrap()).unwrap();
            symlink(&node, link).unwrap();
        }
    }

    fn tty(&self, name: &str, usb: PathBuf, links: &[&str]) {
        self.node("tty", name, usb.join(name), "", links);
    }

    fn list(&self) -> Vec<FoundPort> {
        list(&self.roots).unwrap()
    }

    /// The node's name for a configured one.
    fn resolve(&self, name: &str, keyboard: bool) -> Result<String, Unresolved> {
        let device = name.parse::<PortName>().unwrap().resolve(&self.list(), keyboard)?;
        Ok(device.strip_prefix(&self.roots.dev).unwrap().display().to_string())
    }

    fn best_names(&self) -> Vec<String> {
        let found = self.list();
        let shown = |port: &FoundPort| port.best_name(&found).to_string();
        found.iter().map(shown).map(|name| name.replace(&self.roots.dev.display().to_string(), "")).collect()
    }
}

#[test]
fn a_machine_without_ports_has_none() {
    let machine = Machine::new();
    assert_eq!(machine.list(), []);
    assert_eq!(machine.resolve("usb:1a86:7523", false), Err(Unresolved::NotThere));
    assert!(machine.directory.0.exists());
}

#[test]
fn everything_that_is_plugged_in_is_found_with_what_usb_says() {
    let machine = Machine::new();
    let ftdi = machine.usb("1-1.2", "0403", "6001", Some("A6008isP"));
    machine.tty("ttyUSB0", ftdi, &["serial/by-id/usb-FTDI_A6008isP", "serial/by-path/1.2"]);
    machine.tty("ttyACM0", machine.usb("1-1.3", "05e0", "1701", None), &["serial/by-id/usb-Zebra"]);
    machine.tty("ttyAMA0", machine.roots.sys.join("devices/platform/serial"), &[]);
    let keys = machine.usb("1-1.4", "0c2e", "0b61", None);
    machine.node(
        "input",
        "event3",
        keys.join("0003:0C2E:0B61.0001/input/input5"),
        LETTERS,
        &["input/by-id/usb-Honeywell-event-kbd"],
    );
    // The same scanner's power key, and a mouse.
    machine.node("input", "event4", keys.join("0003:0C2E:0B61.0002/input/input6"), "10000000000000 0\n", &[]);
    machine.node(
        "input",
        "event5",
        machine.usb("1-1.5", "046d", "c077", None).join("input/input7"),
        "ff0000 0 0 0 0\n",
        &[],
    );
    // Of the ports that a board may have this one has two, and the system's console is on the other one.
    fs::create_dir_all(machine.roots.sys.join("class/tty/console")).unwrap();
    fs::write(machine.roots.sys.join("class/tty/console/active"), "tty0 ttyS2\n").unwrap();
    for (name, kind) in [("ttyS0", "4"), ("ttyS1", "0"), ("ttyS2", "4")] {
        machine.tty(name, machine.roots.sys.join("devices/platform/serial8250"), &[]);
        fs::write(machine.roots.sys.join(format!("class/tty/{name}/type")), format!("{kind}\n")).unwrap();
    }
    // A name by a rule of the site's own, and a stream of the process that looks.
    symlink("ttyUSB0", machine.roots.dev.join("dock-3")).unwrap();
    symlink("/proc/self/fd/0", machine.roots.dev.join("stdin")).unwrap();
    // What is no port at all.
    fs::write(machine.roots.dev.join("tty1"), "").unwrap();
    symlink("gone", machine.roots.dev.join("serial/by-id/usb-gone")).unwrap();

    let expected = [
        "/ttyS0",
        "/serial/by-id/usb-Zebra",
        "/ttyAMA0",
        "/serial/by-id/usb-FTDI_A6008isP",
        "/input/by-id/usb-Honeywell-event-kbd",
    ];
    assert_eq!(machine.best_names(), expected);
    let ftdi = machine.list().into_iter().find(|port| port.device.ends_with("ttyUSB0")).unwrap();
    let usb = ftdi.usb.unwrap();
    assert_eq!((usb.vendor, usb.product, usb.port.as_str()), (0x0403, 0x6001, "1-1.2"));
    assert!(
        ftdi.names.iter().any(|name| name.ends_with("dock-3")) && ftdi.names.len() == 3,
        "{:?}",
        ftdi.names
    );
    assert_eq!((usb.serial.as_deref(), usb.title.as_str()), (Some("A6008isP"), "Bar Code Scanner"));
    assert_eq!(machine.resolve("usb:0403:6001/A6008isP", false).unwrap(), "ttyUSB0");
    assert_eq!(machine.resolve("usb:0c2e:0b61", true).unwrap(), "input/event3");
    assert_eq!(machine.resolve("usb:0c2e:0b61", false), Err(Unresolved::NotThere));
    assert_eq!(machine.resolve("usb:046d:c077", true), Err(Unresolved::NotThere), "a mouse types nothing");
}

/// Two cheap adapters share the link by-id: it belongs to the one that was plugged in last.
#[test]
fn twins_are_told_apart_by_their_socket_also_when_numbers_swap() {
    for (first, second) in [("1-1.3", "1-1.4"), ("1-1.4", "1-1.3")] {
        let machine = Machine::new();
        machine.tty(
            "ttyUSB0",
            machine.usb(first, "1a86", "7523", None),
            &[&format!("serial/by-path/{first}")],
        );
        machine.tty(
            "ttyUSB1",
            machine.usb(second, "1a86", "7523", None),
            &[&format!("serial/by-path/{second}"), "serial/by-id/usb-1a86"],
        );
        let at = |port: &str| machine.resolve(&format!("usb:1a86:7523@{port}"), false).unwrap();
        assert_eq!((at(first), at(second)), ("ttyUSB0".into(), "ttyUSB1".into()));
        assert_eq!(
            machine.best_names(),
            [format!("/serial/by-path/{first}"), format!("/serial/by-path/{second}")]
        );
        let both = machine.resolve("usb:1a86:7523", false).unwrap_err();
        assert!(matches!(&both, Unresolved::Several { names, .. } if names.len() == 2), "{both}");
        let numbered = PortName::from(machine.roots.dev.join("ttyUSB1"));
        assert_eq!(numbered.warning(&machine.list()), None, "only names below /dev are judged");
    }
}

/// A scanner made of software types into the kernel, and the agent's own way of reading it hears every key, alone.
#[test]
fn a_real_input_device_is_grabbed_and_read() {
    use evdev::uinput::VirtualDevice;
    use evdev::{AttributeSet, EventType, InputEvent, KeyCode};
    use std::time::Duration;
    use stockwire_agent::io::serial::{self, PortEvent};
    use stockwire_agent::scanner::keyboard::{KeyEvent, Keyboard, type_text};
    use stockwire_agent::scanner::layout::Layout;
    use stockwire_agent::scanner::{ScannerOptions, ScannerProtocol};
    use stockwire_agent::serial::Attachment;

    if let Err(error) = fs::OpenOptions::new().write(true).open("/dev/uinput") {
        // Not `println!`, which the test runner hides when a test passes.
        writeln!(
            std::io::stderr(),
            "NOT RUN: a_real_input_device_is_grabbed_and_read, because of /dev/uinput: {error}"
        )
        .unwrap();
        return;
    }
    let keys: AttributeSet<KeyCode> = (1..=127).map(KeyCode::new).collect();
    let mut scanner = VirtualDevice::builder()
        .unwrap()
        .name("stockwire test scanner")
        .with_keys(&keys)
        .unwrap()
        .build()
        .unwrap();
    let node = scanner.enumerate_dev_nodes_blocking().unwrap().next().unwrap().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let label = b"]C1010950600013435210AZ\x1d21#";
    let read = runtime.block_on(async {
        let (sender, mut events) = tokio::sync::mpsc::channel(64);
        let _writer = serial::start(0, node.clone(), Attachment::Keyboard, sender);
        let mut decoder =
            Keyboard.decoder(&ScannerOptions { gap: Keyboard.gap(), ..ScannerOptions::default() });
        loop {
            let event = tokio::time::timeout(Duration::from_secs(20), events.recv()).await.unwrap();
            match event.unwrap().1 {
                PortEvent::Opened => {
                    let mut other = evdev::Device::open(&node).unwrap();
                    assert!(other.grab().is_err(), "it belongs to the agent alone");
                    let mut typed = type_text(Layout::Us, label).unwrap();
                    typed.extend([1, 0].map(|value| KeyEvent { code: 28, value }.to_bytes()).concat());
                    for key in typed.chunks(KeyEvent::BYTES) {
                        let code = u16::from_le_bytes([key[0], key[1]]);
                        scanner.emit(&[InputEvent::new(EventType::KEY.0, code, key[2].into())]).unwrap();
                    }
                }
                PortEvent::Bytes(bytes) => decoder.handle_bytes(Duration::ZERO, &bytes),
                PortEvent::Closed(closed) => panic!("{closed:?}"),
            }
            if let Some(read) = decoder.poll_read() {
                break read;
            }
        }
    });
    assert_eq!(read, Ok(label.to_vec()));
}
