//! Input devices of the kernel: a scanner that plays a keyboard, taken away from every console and desktop.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use evdev::EventType;
use evdev::raw_stream::RawDevice;
use rustix::fs::{Mode, OFlags};
use tokio::io::unix::AsyncFd;

use crate::scanner::keyboard::KeyEvent;

/// The kernel's code for "events were dropped".
const SYN_DROPPED: u16 = 3;

/// An input device that only we hear.
#[derive(Debug)]
pub(super) struct Keys(AsyncFd<RawDevice>);

impl Keys {
    /// Opens and grabs it: without the grab every scan would also be typed into whatever has the console.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file: OwnedFd = rustix::fs::open(path, flags, Mode::empty())?;
        let mut device = RawDevice::from_fd(file)?;
        device.grab()?;
        // The device owns its descriptor and neither closes nor replaces it, which is what the unsafe successor of this
        // function asks to be promised.
        #[allow(deprecated, reason = "the successor is unsafe, and this crate forbids itself unsafe code")]
        let device = AsyncFd::new(device)?;
        Ok(Self(device))
    }

    /// The next events, as `scanner/keyboard.rs` takes them; never none.
    pub(super) async fn read(&mut self) -> io::Result<Vec<u8>> {
        loop {
            let mut ready = self.0.readable_mut().await?;
            // What is not ready after all is waited for again; anything else is the device's end.
            let Ok(fetched) = ready.try_io(|device| {
                let events: Vec<_> = device.get_mut().fetch_events()?.collect();
                // Ready and empty is an end, as it is on a serial port; to ask again would be to ask for ever.
                if events.is_empty() { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(events) }
            }) else {
                continue;
            };
            let bytes: Vec<u8> = fetched?.into_iter().filter_map(key).flat_map(KeyEvent::to_bytes).collect();
            // Most batches hold more than keys; some hold nothing else.
            if !bytes.is_empty() {
                return Ok(bytes);
            }
        }
    }
}

fn key(event: evdev::InputEvent) -> Option<KeyEvent> {
    match event.event_type() {
        // Any other value than these three is none of the kernel's, and the decoder counts it.
        EventType::KEY => Some(KeyEvent { code: event.code(), value: event.value().clamp(0, 3) as u8 }),
        EventType::SYNCHRONIZATION if event.code() == SYN_DROPPED => Some(KeyEvent::LOST),
        _ => None,
    }
}
