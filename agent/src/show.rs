//! Events for people and for other programs: one line each.

use serde_json::{Value, json};
use stockwire_protocol::{
    Body, Content, Details, Event, ItemId, LocationId, Place, Purpose, RawScan, Sequence, StabilitySource,
    UnitSource, Weighing, When,
};

use crate::workflow::amount::say;

/// One event as JSON. Keys that are not known for this event are left out.
pub fn event_json(sequence: Sequence, event: &Event) -> Value {
    let mut line = json!({ "sequence": sequence.get(), "unix_ms": event.when.unix_ms(), "synced": event.when.is_synced() });
    if let When::Unsynced { boot, uptime_ms, .. } = event.when {
        line["boot"] = boot.into();
        line["uptime_ms"] = uptime_ms.into();
    }
    match &event.body {
        Body::Movement(movement) => {
            line["kind"] = "movement".into();
            line["step"] = movement.step.as_str().into();
            line["item"] = movement.item.as_str().into();
            line["quantity"] = movement.quantity.to_string().into();
            line["from"] = place(&movement.from).into();
            line["to"] = place(&movement.to).into();
            line["station"] = movement.station.as_str().into();
            details(&movement.details, &mut line);
        }
        Body::Count(count) => {
            line["kind"] = "count".into();
            line["item"] = count.item.as_str().into();
            line["counted"] = count.counted.to_string().into();
            line["location"] = count.location.as_str().into();
            line["station"] = count.station.as_str().into();
            details(&count.details, &mut line);
        }
        Body::Lost { count } => {
            line["kind"] = "lost".into();
            line["count"] = (*count).into();
        }
        Body::Handling(handling) => {
            line["kind"] = "handling".into();
            line["act"] = handling.act.as_str().into();
            match &handling.content {
                None => {}
                Some(Content::Goods { item, quantity }) => {
                    line["item"] = item.as_str().into();
                    line["quantity"] = quantity.to_string().into();
                }
                Some(Content::Plate(plate)) => line["content_plate"] = plate.to_string().into(),
            }
            if let Some(location) = &handling.location {
                line["location"] = location.as_str().into();
            }
            line["station"] = handling.station.as_str().into();
            details(&handling.details, &mut line);
        }
        Body::Unresolved(unresolved) => {
            line["kind"] = "unresolved".into();
            line["scans"] = unresolved.scans().map(RawScan::as_str).collect::<Vec<_>>().into();
            line["item"] = unresolved.item.known().map(ItemId::as_str).into();
            line["quantity"] = unresolved.quantity.to_string().into();
            match &unresolved.what {
                Purpose::Move { step, from, to } => {
                    line["step"] = step.as_str().into();
                    line["from"] = from.known().map(place).into();
                    line["to"] = to.known().map(place).into();
                }
                Purpose::Count { location } => {
                    line["location"] = location.known().map(LocationId::as_str).into();
                }
            }
            line["station"] = unresolved.station.as_str().into();
            details(&unresolved.details, &mut line);
        }
    }
    line
}

/// One event as a line of text, with amounts as people say them.
pub fn event_text(sequence: Sequence, event: &Event) -> String {
    let clock = if event.when.is_synced() { ' ' } else { '~' };
    let head = format!("{sequence:>10} {clock}{}", event.when.unix_ms());
    let extra =
        |details: &Details| details.reference.as_ref().map_or(String::new(), |text| format!("  {text}"));
    match &event.body {
        Body::Movement(movement) => format!(
            "{head}  {:<16} {} {}  {} -> {}{}",
            movement.step.as_str(),
            say(movement.quantity),
            movement.item,
            place(&movement.from),
            place(&movement.to),
            extra(&movement.details)
        ),
        Body::Count(count) => format!(
            "{head}  {:<16} {} {}  at {}{}",
            "count",
            say(count.counted),
            count.item,
            count.location,
            extra(&count.details)
        ),
        Body::Lost { count } => format!("{head}  {:<16} {count} not recorded here", "lost"),
        Body::Handling(handling) => {
            let content = match &handling.content {
                None => String::new(),
                Some(Content::Goods { item, quantity }) => format!("{} {item}", say(*quantity)),
                Some(Content::Plate(plate)) => format!("plate {plate}"),
            };
            let plate =
                handling.details.license_plate.map(|plate| format!("  plate {plate}")).unwrap_or_default();
            format!("{head}  {:<16} {content}{plate}{}", handling.act.as_str(), extra(&handling.details))
        }
        Body::Unresolved(unresolved) => {
            let scans: Vec<_> = unresolved.scans().map(ToString::to_string).collect();
            format!("{head}  {:<16} {} of {}", "unknown code", say(unresolved.quantity), scans.join(", "))
        }
    }
}

fn place(place: &Place) -> String {
    match place {
        Place::At(location) => location.to_string(),
        Place::Supplier => "supplier".into(),
        Place::Customer => "customer".into(),
        Place::Loss => "loss".into(),
        Place::Transit => "transit".into(),
    }
}

fn details(details: &Details, line: &mut Value) {
    let mut put = |key: &str, value: Option<String>| {
        if let Some(value) = value {
            line[key] = value.into();
        }
    };
    put("gtin", details.gtin.map(|value| value.to_string()));
    put("lot", details.lot.as_ref().map(ToString::to_string));
    put("serial", details.serial.as_ref().map(ToString::to_string));
    put("expires_on", details.expires_on.map(|value| value.to_string()));
    put("license_plate", details.license_plate.map(|value| value.to_string()));
    put("disposition", details.disposition.map(|value| value.as_str().to_owned()));
    put("reference", details.reference.as_ref().map(ToString::to_string));
    put("operator", details.operator.as_ref().map(ToString::to_string));
    put("correlation", details.correlation.as_ref().map(ToString::to_string));
    put("reason", details.reason.as_ref().map(ToString::to_string));
    put("corrects", details.corrects.as_ref().map(|value| value.movement.to_string()));
    if let Some(Weighing { gross, tare, net }) = &details.weighing {
        put("gross", Some(gross.to_string()));
        put("tare", Some(tare.to_string()));
        put("net", Some(net.to_string()));
    }
    // As on the wire: nothing is said where the scale itself vouches.
    let (stability, unit) = (details.stability_source, details.unit_source);
    put("stability_source", (stability != StabilitySource::Reported).then(|| stability.as_str().to_owned()));
    put("unit_source", (unit != UnitSource::Reported).then(|| unit.as_str().to_owned()));
    if !details.exceptions.is_empty() {
        let exceptions: Vec<_> = details.exceptions.iter().map(|exception| exception.as_str()).collect();
        line["exceptions"] = exceptions.into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::contract::event;

    #[test]
    fn an_event_is_one_line() {
        let event = event(3);
        assert_eq!(
            event_text(Sequence::new(4), &event),
            "         4  1790000000003  receiving        4 ITEM-3  supplier -> A-01  PO-3"
        );
        let expected = json!({
            "sequence": 4, "unix_ms": 1_790_000_000_003i64, "synced": true, "kind": "movement", "step": "receiving",
            "item": "ITEM-3", "quantity": "4 H87", "from": "supplier", "to": "A-01", "station": "bench-1", "reference": "PO-3",
        });
        assert_eq!(event_json(Sequence::new(4), &event), expected);
        let lost = Event {
            when: When::Unsynced { unix_ms: 5, boot: 1, uptime_ms: 7 },
            body: Body::Lost { count: 2 },
        };
        assert_eq!(
            event_text(Sequence::new(1), &lost),
            "         1 ~5  lost             2 not recorded here"
        );
        assert_eq!(event_json(Sequence::new(1), &lost)["boot"], 1);
    }
}
