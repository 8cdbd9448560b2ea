//! What a scan means at a station.

use stockwire_protocol::gs1::{Command, Kind, LocationCode, Scan, Severity};
use stockwire_protocol::{Code, LocationId, OperatorId, RawScan, Reason, Reference};

use super::Station;
use crate::catalogue::{Catalogue, LookUp};
use crate::feedback::Signal;
use crate::workflow::amount::Label;
use crate::workflow::{Input, Stranger, Unknown};

/// What a scan means.
pub(super) enum Meaning<'a> {
    Input(Input<'a>),
    Workflow(String),
    Operator(OperatorId),
}

impl Station {
    pub(super) fn understand<'a>(
        &self,
        scan: &Scan,
        catalogue: &'a Catalogue,
    ) -> Result<Meaning<'a>, (Signal, String)> {
        let refused = |message: String| (Signal::Refused, message);
        let input = match scan.kind() {
            Kind::Error => {
                let errors = scan.findings().iter().filter(|finding| finding.severity() == Severity::Error);
                let message = errors.map(|finding| finding.message.clone()).collect::<Vec<_>>().join("; ");
                return Err(refused(format!("not readable: {message}")));
            }
            Kind::Command(Command::Workflow(name)) => return Ok(Meaning::Workflow(name.clone())),
            Kind::Command(Command::Operator(name)) => {
                let operator = OperatorId::new(name.as_str()).map_err(|error| refused(error.to_string()))?;
                return Ok(Meaning::Operator(operator));
            }
            Kind::Command(Command::Done) => Input::Done,
            Kind::Command(Command::Cancel) => Input::Cancel,
            Kind::Command(Command::Undo) => Input::Undo,
            Kind::Command(Command::Yes) => Input::Yes,
            Kind::Command(Command::No) => Input::No,
            Kind::Command(Command::Short) => Input::Short,
            Kind::Command(Command::Weigh) => Input::Weigh,
            Kind::Command(Command::Quantity(quantity)) => Input::Quantity(*quantity),
            Kind::Command(Command::Reason(why)) => {
                Input::Reason(Reason::new(why.as_str()).map_err(|error| refused(error.to_string()))?)
            }
            Kind::Location(code) => Input::Location(self.location(scan, code, catalogue)?),
            Kind::Gs1 | Kind::DigitalLink | Kind::Ean(_) | Kind::Plain(_) | Kind::Url(_) => {
                let label = Label::of(scan).map_err(|error| refused(error.to_string()))?;
                match catalogue.look_up(scan) {
                    LookUp::Found(item) => Input::Item(item, label),
                    LookUp::Ambiguous { first, second } => {
                        return Err(refused(format!(
                            "this code means both {first} and {second}: have it put right"
                        )));
                    }
                    LookUp::Unknown => self.other(scan, label, catalogue),
                }
            }
        };
        Ok(Meaning::Input(input))
    }

    /// No item: an order, a plate, the number of a task, or a stranger.
    fn other<'a>(&self, scan: &Scan, label: Label, catalogue: &Catalogue) -> Input<'a> {
        let text = scan.data_text();
        match (&label.order, label.license_plate) {
            _ if label.gtin.is_some() => {}
            (Some(order), _) => return Input::Reference(order.clone()),
            (None, Some(plate)) => return Input::Plate(plate),
            (None, None) => {
                let id = Reference::new(text.as_str()).ok();
                if let Some(id) = id.filter(|id| self.picture().tasks().names(id)) {
                    return Input::Reference(id);
                }
            }
        }
        let why = unknown(scan, catalogue);
        Input::Stranger(Stranger { raw: RawScan::new(scan.raw_text()), text, why }, label)
    }

    fn location(
        &self,
        scan: &Scan,
        code: &LocationCode,
        catalogue: &Catalogue,
    ) -> Result<Code<LocationId>, (Signal, String)> {
        if let (Some(ours), Some(theirs)) = (self.config.site_gln, code.gln)
            && ours != theirs
        {
            return Err((
                Signal::Refused,
                format!("this location belongs to the site {theirs}, not to {ours}"),
            ));
        }
        if let Some(known) = catalogue.location(&code.code) {
            return Ok(Code::Known(known.clone()));
        }
        match (self.config.unknown, RawScan::new(scan.raw_text())) {
            (Unknown::Record, Some(raw)) => Ok(Code::Scanned(raw)),
            _ => Err((Signal::Unknown, format!("{} is no location of site {}", code.code, catalogue.site()))),
        }
    }
}

fn unknown(scan: &Scan, catalogue: &Catalogue) -> String {
    if catalogue.revision() == 0 {
        return "no catalogue has come from the gateway yet: nothing can be booked".into();
    }
    match scan.gtin() {
        Some(gtin) => format!("no item has the GTIN {gtin}"),
        None => format!(
            "no item has the code {}",
            scan.data_text().chars().take(48).collect::<String>().escape_debug()
        ),
    }
}
