//! Loading and shipping: plates onto a vehicle, until it leaves.
//!
//! ```text
//!  SW:WF:LOAD
//!      |             location            plate: recorded as loaded
//!      '-> NeedDock ---------> Loading ---------------------------> Loading
//!                                 |  ^
//!                            DONE |  | NO, CANCEL, 60 s
//!                                 v  |
//!                              Leaving -- YES: all plates recorded as shipped --> the end
//! ```
//!
//! - A delivery or tour number may be scanned at any time. UNDO takes the last plate off again, by a new fact.
//! - DONE without a plate ends; CANCEL leaves, and the plates stay loaded. 15 minutes without a scan end the session.

use std::time::Duration;

use stockwire_protocol::gs1::Sscc;
use stockwire_protocol::{Act, Body, Code, Details, LocationId, Reference};

use super::fact;
use super::{ANSWER_MAX, Floor, IDLE_MAX, Input, Next, Outcome, Session, Step, Workflow};

/// The row of the table.
pub struct Load;

impl Workflow for Load {
    fn name(&self) -> &'static str {
        "LOAD"
    }

    fn title(&self) -> &'static str {
        "Load and ship"
    }

    fn begin(&self) -> Box<dyn Session> {
        Box::new(State::NeedDock { tour: None })
    }

    fn resume(&self, last: &Body) -> Option<Box<dyn Session>> {
        match last {
            Body::Handling(handling) if handling.act == Act::Loaded => {
                let vehicle = Vehicle {
                    dock: handling.location.clone()?,
                    tour: handling.details.reference.clone(),
                    plates: vec![handling.details.license_plate?],
                };
                Some(Box::new(State::Loading(vehicle)))
            }
            _ => None,
        }
    }
}

/// Plates on one vehicle: three times what the longest truck holds.
const PLATES_MAX: usize = 100;

#[derive(Clone)]
enum State {
    NeedDock { tour: Option<Reference> },
    Loading(Vehicle),
    Leaving(Vehicle),
}

#[derive(Clone)]
struct Vehicle {
    dock: LocationId,
    tour: Option<Reference>,
    /// In the order of loading; at most `PLATES_MAX`.
    plates: Vec<Sscc>,
}

impl Session for State {
    fn expected(&self, _floor: &Floor<'_>) -> String {
        match self {
            State::NeedDock { .. } => "scan the dock where you load".into(),
            State::Loading(vehicle) => match vehicle.plates.len() {
                0 => format!("scan a plate at {}", vehicle.dock),
                count => format!("scan a plate at {}, or DONE ({count} loaded)", vehicle.dock),
            },
            State::Leaving(vehicle) => {
                format!(
                    "does the vehicle leave {} with {}: YES or NO",
                    vehicle.dock,
                    plates(vehicle.plates.len())
                )
            }
        }
    }

    fn patience(&self) -> Duration {
        match self {
            State::NeedDock { .. } | State::Loading(_) => IDLE_MAX,
            State::Leaving(_) => ANSWER_MAX,
        }
    }

    fn step(&self, input: Input<'_>, floor: &Floor<'_>) -> Step {
        // The label of a pallet names its plate beside its contents.
        let input = match input {
            Input::Item(_, label) if label.license_plate.is_some() => {
                label.license_plate.map_or(Input::Cancel, Input::Plate)
            }
            input => input,
        };
        match (self, input) {
            (State::NeedDock { tour }, Input::Location(Code::Known(dock))) => {
                let vehicle = Vehicle { dock, tour: tour.clone(), plates: Vec::new() };
                let message = format!("loading at {}", vehicle.dock);
                Step::heard(State::Loading(vehicle), message)
            }
            (State::NeedDock { .. }, Input::Reference(tour)) => {
                let message = format!("tour {tour}");
                Step::heard(State::NeedDock { tour: Some(tour) }, message)
            }
            (State::Loading(vehicle), Input::Reference(tour)) => {
                let message = format!("tour {tour}");
                Step::heard(State::Loading(Vehicle { tour: Some(tour), ..vehicle.clone() }), message)
            }
            (State::Loading(vehicle), Input::Plate(plate)) => vehicle.load(plate, floor),
            (State::Loading(vehicle), Input::Undo) => {
                let mut vehicle = vehicle.clone();
                vehicle.plates.pop();
                Step::undo_to(State::Loading(vehicle))
            }
            (State::Loading(vehicle), Input::Done) if !vehicle.plates.is_empty() => {
                let leaving = State::Leaving(vehicle.clone());
                let question = leaving.expected(floor);
                Step::heard(leaving, question)
            }
            (State::Leaving(vehicle), Input::Yes) => vehicle.ship(floor),
            (State::Leaving(vehicle), Input::No | Input::Cancel | Input::Undo) => {
                Step::heard(State::Loading(vehicle.clone()), "loading goes on")
            }
            (State::Leaving(vehicle), Input::TimedOut) => {
                Step::dropped(State::Loading(vehicle.clone()), "no answer for a minute: nothing was shipped")
            }
            (State::NeedDock { .. }, Input::Undo) => Step::undo(),
            (State::NeedDock { .. } | State::Loading(_), Input::Done) => Step::end("loading is done"),
            (State::NeedDock { .. } | State::Loading(_), Input::Cancel) => {
                Step::end("loading was left; what is recorded stays")
            }
            (State::NeedDock { .. } | State::Loading(_), Input::TimedOut) => {
                Step::abandoned("loading ended: no scan for 15 minutes")
            }
            (state, input) => Step::not_now(state, input, floor),
        }
    }
}

fn plates(count: usize) -> String {
    if count == 1 { "1 plate".into() } else { format!("{count} plates") }
}

impl Vehicle {
    fn fact(&self, act: Act, plate: Sscc, floor: &Floor<'_>) -> Body {
        let details =
            Details { license_plate: Some(plate), reference: self.tour.clone(), ..Details::default() };
        fact::handled(act, None, Some(self.dock.clone()), details, floor)
    }

    fn load(&self, plate: Sscc, floor: &Floor<'_>) -> Step {
        if self.plates.contains(&plate) {
            return Step::refused(format!("plate {plate} is loaded already"));
        }
        if self.plates.len() >= PLATES_MAX {
            return Step::refused(format!("{PLATES_MAX} plates are loaded: scan DONE"));
        }
        let fact = self.fact(Act::Loaded, plate, floor);
        let mut vehicle = self.clone();
        vehicle.plates.push(plate);
        let message = format!("plate {plate} loaded, {} in all", plates(vehicle.plates.len()));
        Step::record(vec![fact], State::Loading(vehicle), message)
    }

    fn ship(&self, floor: &Floor<'_>) -> Step {
        let facts = self.plates.iter().map(|plate| self.fact(Act::Shipped, *plate, floor)).collect();
        let message = format!("{} shipped", plates(self.plates.len()));
        Step { next: Next::End, outcome: Outcome::Record { facts, message } }
    }
}
