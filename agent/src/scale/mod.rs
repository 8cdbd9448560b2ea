//! Scales: one table, one file per protocol.
//!
//! A protocol turns bytes into [`Reading`]s, whatever it calls things itself. Two rules hold for all of them: a reply
//! that carries only a status says so ([`Reading::value`] is `None`), so that no old weight is left standing; and a
//! unit that is not known is a fault, never a guess.
//!
//! ```text
//!   bytes --> frame (finds frames, resynchronises) --> one file per protocol --> Reading, FrameFault
//! ```

mod frame;
mod reading;
mod still;

pub mod adam;
pub mod and;
pub mod capture;
pub mod cas_10;
pub mod cas_22;
pub mod cas_pd2;
pub mod d70;
pub mod diagnosis;
pub mod dibal;
pub mod gram_k3;
pub mod link;
pub mod mt_sics;
pub mod nci;
pub mod ohaus;
pub mod radwag;
pub mod rinstrum;
pub mod sbi;
pub mod toledo_8217;
pub mod toledo_continuous;

use std::time::Duration;

pub use self::frame::{BUFFERED_MAX, parity_of};
pub use self::reading::{FaultKind, FrameFault, Net, Range, Reading, Shown, Source, Stability, Unit};
use crate::serial::LineSettings;

/// The scale protocols, in the order in which they are listed to people.
pub static SCALES: &[&dyn ScaleProtocol] = &[
    &mt_sics::MtSics,
    &toledo_8217::Toledo8217,
    &toledo_continuous::ToledoContinuous,
    &nci::Nci,
    &nci::NciEcr,
    &and::And,
    &cas_22::Cas22,
    &cas_pd2::CasPd2,
    &cas_10::Cas10,
    &dibal::Dibal,
    &ohaus::Ohaus,
    &sbi::Sbi16,
    &sbi::Sbi22,
    &radwag::Radwag,
    &adam::CpwPlus,
    &adam::Cbd,
    &gram_k3::GramK3,
    &rinstrum::Rinstrum,
    &d70::D70,
    &link::Link,
];

/// The protocol of that name.
pub fn find(name: &str) -> Option<&'static dyn ScaleProtocol> {
    SCALES.iter().copied().find(|row| row.name() == name)
}

/// One row of [`SCALES`].
pub trait ScaleProtocol: Sync {
    /// For configuration and the command line: lower case with dashes.
    fn name(&self) -> &'static str;

    /// For people.
    fn title(&self) -> &'static str;

    /// How these scales leave the factory.
    fn line(&self) -> LineSettings;

    /// For a scale that sends by itself: how long it never pauses, so that after it the last weight is none of now and
    /// the scale counts as silent. `None`: it is asked.
    fn pause_max(&self) -> Option<Duration> {
        None
    }

    /// It prints a load once, and an empty platform never: to be asked when the operator says so, and not over and over.
    fn prints(&self) -> bool {
        false
    }

    /// Which of [`ScaleOptions`], besides the unit, mean anything to it: setting another one is a mistake.
    fn options(&self) -> &'static [&'static str] {
        &[]
    }

    /// A decoder for one port, to be thrown away when the port is lost.
    fn decoder(&self, options: &ScaleOptions) -> Box<dyn ScaleDecoder>;
}

/// What a site can set about one scale.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ScaleOptions {
    /// Used only when a frame carries no unit itself; the reading then says that it was configured.
    pub unit: Option<Unit>,
    /// `status_bits`: what the status byte of a Toledo 8217 means.
    pub status_bits: StatusBits,
    /// `checksum`: whether a Toledo continuous frame ends with one.
    pub checksum: bool,
}

impl Default for ScaleOptions {
    fn default() -> Self {
        Self { unit: None, status_bits: StatusBits::default(), checksum: true }
    }
}

impl ScaleOptions {
    /// The unit that a frame spells, else the configured one; and who says so.
    ///
    /// # Errors
    /// When the spelling is not known, or nobody names a unit.
    pub fn unit_of(&self, spelled: &str) -> Result<(Unit, Source), FaultKind> {
        match (spelled.trim_matches(' '), self.unit) {
            ("", Some(unit)) => Ok((unit, Source::Configured)),
            ("", None) => Err(FaultKind::MissingUnit),
            (spelled, _) => match Unit::parse(spelled) {
                Some(unit) => Ok((unit, Source::Reported)),
                None => Err(FaultKind::UnknownUnit { unit: spelled.chars().take(8).collect() }),
            },
        }
    }
}

/// The two families of scales that speak Toledo 8217.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum StatusBits {
    /// `8217`: bit 5 tells net from gross.
    Toledo,
    /// `benchpro`: bit 5 is always set and tells nothing. The default, since it claims less.
    #[default]
    BenchPro,
}

impl StatusBits {
    /// From its name in the configuration.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Toledo, Self::BenchPro].into_iter().find(|bits| bits.as_str() == name)
    }

    /// Its name in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Toledo => "8217",
            Self::BenchPro => "benchpro",
        }
    }
}

/// The conversation with one scale: bytes in, readings and faults out.
pub trait ScaleDecoder: Send {
    /// Bytes that ask for one weight now; `None` when the scale sends by itself. Asking again begins anew.
    fn request(&mut self) -> Option<Vec<u8>>;

    /// What came from the port, split anywhere.
    fn handle_bytes(&mut self, now: Duration, bytes: &[u8]);

    /// The next reply, in the order of the bytes.
    fn poll_reply(&mut self) -> Option<Result<Reading, FrameFault>>;

    /// Bytes to write back at once: handshakes and acknowledgements. To be asked after every `handle_*`.
    fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        None
    }

    /// When [`ScaleDecoder::handle_timeout`] is due.
    fn poll_timeout(&self) -> Option<Duration> {
        None
    }

    /// Time has passed: a frame that broke off becomes a fault.
    fn handle_timeout(&mut self, _now: Duration) {}

    /// There is no more: the port is lost or the input ended. What is left over becomes a fault.
    fn handle_end(&mut self);

    /// Bytes held back for a frame that is not complete; at most [`BUFFERED_MAX`].
    fn buffered(&self) -> usize;
}

#[cfg(test)]
mod testing;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_found_by_name_and_names_are_unique() {
        for (at, row) in SCALES.iter().enumerate() {
            assert_eq!(
                SCALES.iter().position(|other| other.name() == row.name()),
                Some(at),
                "{}",
                row.name()
            );
            assert!(find(row.name()).is_some() && !row.title().is_empty());
            let asked = row.decoder(&ScaleOptions::default()).request().is_some();
            assert_eq!(asked, row.pause_max().is_none(), "{}: asked, or awaited", row.name());
        }
        assert!(find("no-such-scale").is_none());
    }

    #[test]
    fn every_row_survives_noise_in_bounded_memory_and_says_so() {
        for row in SCALES {
            let mut decoder = row.decoder(&ScaleOptions::default());
            let mut random = 1u64;
            let mut faults = 0;
            for block in 0..256u64 {
                let noise: Vec<u8> = (0..4_096)
                    .map(|_| {
                        random = random
                            .wrapping_mul(6_364_136_223_846_793_005)
                            .wrapping_add(1_442_695_040_888_963_407);
                        (random >> 56) as u8
                    })
                    .collect();
                decoder.handle_bytes(Duration::from_millis(block), &noise);
                while let Some(reply) = decoder.poll_reply() {
                    match reply {
                        Ok(reading) => {
                            assert!(reading.value.is_none(), "{}: noise became {reading:?}", row.name());
                        }
                        Err(fault) => {
                            assert!(fault.raw.len() <= BUFFERED_MAX, "{}", row.name());
                            faults += 1;
                        }
                    }
                }
            }
            assert!(faults > 0, "{}: 1 MiB of noise went unnoticed", row.name());
        }
    }
}
