//! A station with its scanners and its scale: bytes in, events to record out.

use std::sync::Arc;
use std::time::Duration;

use stockwire_protocol::{Event, MovementId, When};

use crate::catalogue::Catalogue;
use crate::config::{Config, ScaleConfig, ScannerConfig, StationConfig};
use crate::feedback::Signal;
use crate::health::{DeviceHealth, DeviceState, Fault};
use crate::io::serial::{Closed, PortEvent, PortWriter};
use crate::journal::JournalError;
use crate::port::PortName;
use crate::scale::diagnosis::{Diagnosis, Evidence};
use crate::scale::{FaultKind, FrameFault, ScaleDecoder};
use crate::scanner::{LineCounts, ScannerDecoder, Source};
use crate::station::{self, Action, Recorded, Screen, SharedPicture, Station, Ticket};
use crate::watch::glance::{Glance, Glimpse};

/// Longer than any decoder waits for the rest of a read; when a port is lost, none will come.
const NOTHING_MORE: Duration = Duration::from_secs(60);
/// The last bytes of a line that `devices` shows: a label, or a few frames of a scale.
const LAST_BYTES_MAX: usize = 48;
/// Of a line's faults one is logged in this time: noise would otherwise fill the disk with its own log (F55).
const FAULT_LOG_EVERY: Duration = Duration::from_secs(10);

/// One station and its devices.
pub(super) struct Place {
    name: String,
    station: Station,
    scanners: Vec<ScannerLine>,
    scale: Option<ScaleLine>,
    /// The scanner that was used last: it gets the beep.
    last_scanner: usize,
    /// The scanner whose read is on its way into the journal: it gets the answer, whoever scans meanwhile.
    recording: Option<(Ticket, usize)>,
    /// Taken from the station, not yet given to the journal.
    records: Vec<(Ticket, Vec<Event>)>,
    /// For displays.
    glance: Glance,
}

/// Which device of a station.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Slot {
    Scanner(usize),
    Scale,
}

struct ScannerLine {
    config: ScannerConfig,
    decoder: Box<dyn ScannerDecoder>,
    line: Line,
    /// Of decoders before this one.
    counts_before: LineCounts,
}

struct ScaleLine {
    config: ScaleConfig,
    decoder: Box<dyn ScaleDecoder>,
    line: Line,
    counts: LineCounts,
    /// What came over its line, to tell what is wrong with it.
    evidence: Evidence,
    /// When one that sends by itself is silent, unless it sends before; `None` when it is asked, gone or silent.
    silent_at: Option<Duration>,
}

/// A port, and what is known about it.
struct Line {
    writer: PortWriter,
    /// `None`: open.
    closed: Option<Closed>,
    last_fault: Option<Fault>,
    fault_logged: Option<Duration>,
    faults_unlogged: u64,
    /// What came last, as it came; at most `LAST_BYTES_MAX`.
    last_bytes: Vec<u8>,
}

impl Place {
    /// `open` starts the port of a slot.
    pub(super) fn new(
        config: &Config,
        station: &StationConfig,
        (catalogue, picture): (Arc<Catalogue>, SharedPicture),
        mut open: impl FnMut(Slot) -> PortWriter,
    ) -> Self {
        let bounce =
            station.scanners.iter().map(|scanner| (scanner.device.clone(), scanner.bounce)).collect();
        let core = station::StationConfig {
            agent: config.agent.clone(),
            station: station.name.clone(),
            bounce,
            scale: station.scale.is_some(),
            scale_prints: station.scale.as_ref().is_some_and(|scale| scale.protocol.prints()),
            site_gln: config.site_gln,
            unknown: station.unknown,
            variable_measure: config.variable_measure,
        };
        let scanners = station.scanners.iter().enumerate().map(|(at, scanner)| ScannerLine {
            decoder: scanner.protocol.decoder(&scanner.options),
            line: Line::new(open(Slot::Scanner(at))),
            counts_before: LineCounts::default(),
            config: scanner.clone(),
        });
        let scanners = scanners.collect();
        let scale = station.scale.as_ref().map(|scale| ScaleLine {
            decoder: scale.protocol.decoder(&scale.options),
            line: Line::new(open(Slot::Scale)),
            counts: LineCounts::default(),
            evidence: Evidence::default(),
            silent_at: None,
            config: scale.clone(),
        });
        Self {
            name: station.name.to_string(),
            station: Station::sharing(core, catalogue, picture),
            scanners,
            scale,
            last_scanner: 0,
            recording: None,
            records: Vec::new(),
            glance: Glance::default(),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn screen(&self) -> &Screen {
        self.station.screen()
    }

    pub(super) fn glimpse(&self, now: Duration) -> Glimpse {
        self.glance.glimpse(now)
    }

    pub(super) fn handle_catalogue(&mut self, catalogue: Arc<Catalogue>) {
        self.station.handle_catalogue(catalogue);
    }

    pub(super) fn handle_tasks(&mut self, now: Duration) {
        self.station.handle_tasks();
        self.act(now, None);
    }

    pub(super) fn handle_history(&mut self, now: Duration, when: When, history: &[(MovementId, Event)]) {
        self.station.handle_history(now, when, history);
        self.act(now, None);
    }

    pub(super) fn handle_port(&mut self, now: Duration, when: When, slot: Slot, event: PortEvent) {
        match slot {
            Slot::Scanner(at) => self.handle_scanner(now, when, at, event),
            Slot::Scale => self.handle_scale(now, when, event),
        }
        self.act(now, None);
    }

    fn handle_scanner(&mut self, now: Duration, when: When, at: usize, event: PortEvent) {
        let scanner = &mut self.scanners[at];
        match event {
            PortEvent::Opened => {
                // Half a read from before the loss must not meet half a read from after it.
                scanner.counts_before = scanner.counts();
                scanner.decoder = scanner.config.protocol.decoder(&scanner.config.options);
                scanner.line.opened(&self.name, scanner.config.device.as_str());
            }
            PortEvent::Closed(closed) => {
                // What was begun is told now: the operator must not wait for it.
                scanner.decoder.handle_timeout(now + NOTHING_MORE);
                scanner.line.lost(&self.name, scanner.config.device.as_str(), closed)
            }
            PortEvent::Bytes(bytes) => {
                if scanner.config.protocol.source() == Source::Serial {
                    scanner.line.note(&bytes);
                }
                scanner.decoder.handle_bytes(now, &bytes)
            }
        }
        self.poll_reads(now, when, at);
    }

    fn poll_reads(&mut self, now: Duration, when: When, at: usize) {
        let scanner = &mut self.scanners[at];
        scanner.transmit();
        while let Some(read) = scanner.decoder.poll_read() {
            self.last_scanner = at;
            match &read {
                // Control characters are data here and commands on a terminal.
                Ok(raw) => {
                    tracing::debug!(station = self.name, scan = %raw.escape_ascii(), "scan");
                    scanner.line.last_fault = None;
                    if scanner.config.protocol.source() == Source::Keyboard {
                        // Key codes would tell nobody anything.
                        scanner.line.note(raw);
                    }
                }
                Err(fault) => {
                    let device = scanner.config.device.as_str();
                    scanner.line.fault(now, &self.name, device, fault.to_string(), fault.hint());
                }
            }
            self.station.handle_scan(now, when, &scanner.config.device, read);
        }
    }

    fn handle_scale(&mut self, now: Duration, when: When, event: PortEvent) {
        let Some(scale) = &mut self.scale else { return };
        let device = scale.config.device.clone();
        let device = device.as_str();
        match event {
            PortEvent::Opened => {
                scale.decoder = scale.config.protocol.decoder(&scale.config.options);
                scale.evidence.handle_opened();
                scale.await_bytes(now);
                scale.line.opened(&self.name, device);
            }
            PortEvent::Closed(closed) => {
                scale.decoder.handle_end();
                scale.evidence.handle_closed();
                scale.silent_at = None;
                scale.line.lost(&self.name, device, closed);
                self.lose_weight();
            }
            PortEvent::Bytes(bytes) => {
                scale.line.note(&bytes);
                scale.evidence.handle_bytes(&bytes);
                scale.await_bytes(now);
                scale.decoder.handle_bytes(now, &bytes)
            }
        }
        self.poll_weights(now, when);
    }

    fn poll_weights(&mut self, now: Duration, when: When) {
        let Some(scale) = &mut self.scale else { return };
        let device = scale.config.device.clone();
        let device = device.as_str();
        scale.transmit();
        while let Some(reply) = scale.decoder.poll_reply() {
            // What a reply asks to be answered with, such as a capture's acknowledgement, goes out at once.
            scale.transmit();
            scale.evidence.handle_reply(&reply);
            match &reply {
                Ok(_) => {
                    scale.counts.reads += 1;
                    scale.line.last_fault = None;
                }
                Err(FrameFault { kind: FaultKind::OtherReply, .. }) => {}
                Err(fault) => {
                    scale.counts.faults += 1;
                    if fault.kind.is_damage() {
                        scale.counts.garbage_bytes += fault.bytes as u64;
                    }
                    scale.line.fault(now, &self.name, device, fault.to_string(), fault.kind.hint());
                }
            }
            self.glance.handle_weight(now, &reply);
            self.station.handle_weight(now, when, reply);
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Duration> {
        let decoders = self.scanners.iter().filter_map(ScannerLine::poll_timeout);
        let scale = self.scale.as_ref().and_then(|scale| scale.decoder.poll_timeout());
        let silence = self.scale.as_ref().and_then(|scale| scale.silent_at);
        decoders.chain(scale).chain(silence).chain(self.station.poll_timeout()).min()
    }

    pub(super) fn handle_timeout(&mut self, now: Duration, when: When) {
        for at in 0..self.scanners.len() {
            let scanner = &mut self.scanners[at];
            if scanner.poll_timeout().is_some_and(|due| due <= now) {
                scanner.decoder.handle_timeout(now);
                self.poll_reads(now, when, at);
            }
        }
        if let Some(scale) = &mut self.scale {
            scale.decoder.handle_timeout(now);
            self.poll_weights(now, when);
            self.notice_silence(now);
        }
        self.station.handle_timeout(now);
        self.act(now, None);
    }

    /// A scale that sends by itself and has stopped: what it sent last is no weight of now.
    fn notice_silence(&mut self, now: Duration) {
        let Some(scale) = &mut self.scale else { return };
        let Some(pause_max) = scale.config.protocol.pause_max() else { return };
        let Some(due) = scale.silent_at.take_if(|due| now >= *due) else { return };
        let device = scale.config.device.as_str();
        tracing::warn!(station = self.name, device, after = ?pause_max, "the scale sends no more");
        scale.evidence.handle_silence(due.saturating_sub(pause_max));
        self.lose_weight();
    }

    fn lose_weight(&mut self) {
        self.glance.handle_scale_lost();
        self.station.handle_scale_lost();
    }

    /// What waits for the journal.
    pub(super) fn take_records(&mut self) -> Vec<(Ticket, Vec<Event>)> {
        std::mem::take(&mut self.records)
    }

    pub(super) fn handle_recorded(
        &mut self,
        now: Duration,
        ticket: Ticket,
        result: Result<Recorded, &JournalError>,
    ) {
        let asked = self.recording.take_if(|(recording, _)| *recording == ticket);
        self.station.handle_recorded(now, ticket, result);
        self.act(now, asked.map(|(_, scanner)| scanner));
    }

    /// Does what the station wants, except to record. The first signal is for the scanner that `answered` names.
    fn act(&mut self, now: Duration, mut answered: Option<usize>) {
        while let Some(action) = self.station.poll_action() {
            match action {
                Action::Record { ticket, events } => {
                    self.recording = Some((ticket, self.last_scanner));
                    self.records.push((ticket, events));
                }
                Action::Signal { signal, message } => {
                    self.glance.handle_signal(now, signal, &message);
                    self.signal(now, answered.take().unwrap_or(self.last_scanner), signal, &message);
                }
                Action::RequestWeight => {
                    if let Some(scale) = &mut self.scale {
                        // One that sends by itself is awaited as well.
                        scale.evidence.handle_request(now);
                        if let Some(bytes) = scale.decoder.request() {
                            scale.line.write(bytes);
                        }
                    }
                }
                // `status` asks for the screen when somebody looks.
                Action::Display(_) => {}
            }
        }
    }

    /// Through the scanner, if it can; the screen shows it in any case.
    fn signal(&mut self, now: Duration, scanner: usize, signal: Signal, message: &str) {
        match signal {
            Signal::NotStored => tracing::error!(station = self.name, signal = signal.as_str(), message),
            _ => tracing::info!(station = self.name, signal = signal.as_str(), message),
        }
        let scanner = &mut self.scanners[scanner];
        if scanner.decoder.handle_signal(now, signal) {
            scanner.transmit();
        }
    }

    pub(super) fn health(&self, now: Duration) -> Vec<DeviceHealth> {
        let scanners = self.scanners.iter().map(|scanner| {
            let counts = scanner.counts();
            let state = scanner.line.state(counts);
            let ScannerConfig { device, port, protocol, .. } = &scanner.config;
            self.device(device.as_str(), port, protocol.name(), state, counts, &scanner.line)
        });
        let scale = self.scale.iter().map(|scale| {
            let ScaleConfig { device, port, protocol, line, .. } = &scale.config;
            let mut state = scale.line.state(scale.counts);
            let mut advice = None;
            if scale.line.closed.is_none() {
                let diagnosis = scale.evidence.diagnose(now, protocol.name(), *line);
                state = diagnosis_state(&diagnosis);
                advice = (state != DeviceState::Working).then(|| Fault {
                    message: diagnosis.message(protocol.name(), *line),
                    hint: diagnosis.hint(&port.to_string()),
                });
            }
            let health =
                self.device(device.as_str(), port, protocol.name(), state, scale.counts, &scale.line);
            DeviceHealth { advice, ..health }
        });
        scanners.chain(scale).collect()
    }

    fn device(
        &self,
        device: &str,
        port: &PortName,
        protocol: &str,
        state: DeviceState,
        counts: LineCounts,
        line: &Line,
    ) -> DeviceHealth {
        DeviceHealth {
            name: format!("{}/{device}", self.name),
            port: port.to_string(),
            protocol: protocol.to_owned(),
            state,
            advice: None,
            counts,
            last_fault: line.last_fault.clone(),
            last_bytes: line.last_bytes.escape_ascii().to_string(),
        }
    }
}

/// An open port's state.
fn diagnosis_state(diagnosis: &Diagnosis) -> DeviceState {
    match diagnosis {
        Diagnosis::Working | Diagnosis::Unknown => DeviceState::Working,
        Diagnosis::Unplugged => DeviceState::Unplugged,
        Diagnosis::Silent { waited } => DeviceState::Silent { for_s: waited.as_secs() },
        Diagnosis::Parity { .. } => DeviceState::Parity,
        Diagnosis::WrongSpeed => DeviceState::WrongSpeed,
        Diagnosis::Garbage { .. } => DeviceState::Garbage,
    }
}

impl ScaleLine {
    fn await_bytes(&mut self, now: Duration) {
        self.silent_at = self.config.protocol.pause_max().map(|pause| now + pause);
    }

    fn transmit(&mut self) {
        while let Some(bytes) = self.decoder.poll_transmit() {
            self.line.write(bytes);
        }
    }
}

impl ScannerLine {
    /// Nothing is due at a port that is not there.
    fn poll_timeout(&self) -> Option<Duration> {
        self.decoder.poll_timeout().filter(|_| self.line.closed.is_none())
    }

    fn transmit(&mut self) {
        while let Some(bytes) = self.decoder.poll_transmit() {
            self.line.write(bytes);
        }
    }

    fn counts(&self) -> LineCounts {
        let (before, now) = (self.counts_before, self.decoder.counts());
        LineCounts {
            reads: before.reads + now.reads,
            faults: before.faults + now.faults,
            garbage_bytes: before.garbage_bytes + now.garbage_bytes,
        }
    }
}

impl Line {
    fn new(writer: PortWriter) -> Self {
        // Until the port's task says otherwise.
        let closed = Some(Closed::NotThere);
        Self {
            writer,
            closed,
            last_fault: None,
            fault_logged: None,
            faults_unlogged: 0,
            last_bytes: Vec::new(),
        }
    }

    fn opened(&mut self, station: &str, device: &str) {
        self.closed = None;
        self.last_fault = None;
        tracing::info!(station, device, "port open");
    }

    fn lost(&mut self, station: &str, device: &str, closed: Closed) {
        match &closed {
            Closed::NotThere => tracing::warn!(station, device, "the port is not there"),
            Closed::CannotOpen(reason) => {
                tracing::warn!(station, device, reason, "the port cannot be opened")
            }
        }
        self.closed = Some(closed);
    }

    fn fault(&mut self, now: Duration, station: &str, device: &str, message: String, hint: &str) {
        if self.fault_logged.is_none_or(|logged| now.saturating_sub(logged) >= FAULT_LOG_EVERY) {
            let unlogged = std::mem::take(&mut self.faults_unlogged);
            tracing::warn!(station, device, fault = message, hint, unlogged, "not understood");
            self.fault_logged = Some(now);
        } else {
            self.faults_unlogged += 1;
        }
        self.last_fault = Some(Fault { message, hint: hint.to_owned() });
    }

    fn note(&mut self, bytes: &[u8]) {
        self.last_bytes.extend_from_slice(&bytes[bytes.len().saturating_sub(LAST_BYTES_MAX)..]);
        self.last_bytes.drain(..self.last_bytes.len().saturating_sub(LAST_BYTES_MAX));
    }

    fn write(&self, bytes: Vec<u8>) {
        if self.closed.is_some() {
            // Neither a question nor a beep is worth anything once it is back.
            return;
        }
        if !self.writer.write(bytes) {
            tracing::warn!("a port takes no more: a question or a beep was dropped");
        }
    }

    fn state(&self, counts: LineCounts) -> DeviceState {
        match &self.closed {
            Some(Closed::NotThere) => DeviceState::Unplugged,
            Some(Closed::CannotOpen(reason)) => DeviceState::CannotOpen { reason: reason.clone() },
            None if counts.reads == 0 && counts.faults > 0 => DeviceState::Garbage,
            None => DeviceState::Working,
        }
    }
}

#[cfg(test)]
mod tests;
