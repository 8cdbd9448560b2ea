//! `[orders]`: how orders are dealt with.

use std::collections::BTreeMap;

use stockwire_protocol::SiteId;

use super::reader::{Reader, Section};
use super::{id, or, text};
use crate::order::{Check, Leaves, Rule, Source, Verdict, WhenShort};

/// `[orders]`
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Orders {
    /// What happens when stock is missing.
    pub when_short: WhenShort,
    /// When a parcel has left.
    pub leaves: Leaves,
    /// `[[orders.check]]`
    pub checks: Vec<Check>,
    /// `[[orders.source]]`
    pub sources: Vec<Source>,
}

/// Minor units; beyond it a typing error is likelier than an order.
const AMOUNT: (i64, i64) = (0, crate::order::AMOUNT_MAX);
/// A month: an order that waits longer is forgotten by whoever placed it.
const WAIT_S: (i64, i64) = (1, 31 * 24 * 3_600);
const PRIORITY: (i64, i64) = (0, 1_000);
/// Half around the earth.
const KILOMETRES_MAX: u32 = 20_100;

/// Reads the section; `None` when it has a fault.
pub(super) fn orders<'t>(reader: &mut Reader<'t>, root: &mut Section<'t>) -> Option<Orders> {
    let Some(mut section) = reader.section(root, "orders") else { return Some(Orders::default()) };
    let when_short =
        or(reader, &mut section, "when_short", WhenShort::default(), |name| one_of(name, &WhenShort::NAMES));
    let leaves = or(reader, &mut section, "leaves", Leaves::default(), |name| one_of(name, &Leaves::NAMES));
    let mut checks: Vec<Check> = Vec::new();
    let mut sources: Vec<Source> = Vec::new();
    let mut whole = true;
    for section in reader.sections(&mut section, "check") {
        let span = section.span();
        match check(reader, section) {
            Some(check) if checks.iter().any(|other| other.name == check.name) => {
                reader.fault(span, format!("there are two checks named {}", check.name));
            }
            Some(check) => checks.push(check),
            None => whole = false,
        }
    }
    for section in reader.sections(&mut section, "source") {
        let span = section.span();
        match source(reader, section) {
            Some(source) if sources.iter().any(|other| other.site == source.site) => {
                reader.fault(span, format!("there are two sources for the site {}", source.site));
            }
            Some(source) => sources.push(source),
            None => whole = false,
        }
    }
    reader.end(section);
    let (when_short, leaves) = (when_short?, leaves?);
    whole.then_some(Orders { when_short, leaves, checks, sources })
}

fn one_of<T: Copy>(name: &str, names: &[(&str, T)]) -> Result<T, String> {
    let found = names.iter().find(|row| row.0 == name).map(|row| row.1);
    found.ok_or_else(|| {
        let names: Vec<&str> = names.iter().map(|row| row.0).collect();
        format!("expected {}", names.join(" or "))
    })
}

fn check<'t>(reader: &mut Reader<'t>, mut section: Section<'t>) -> Option<Check> {
    let span = section.span();
    let name = reader.required(&mut section, "name", text);
    let asks = reader.required(&mut section, "asks", |name| {
        one_of(name, &[("every", Rule::Every), ("above", Rule::Above(0)), ("unpaid", Rule::Unpaid)])
    });
    let has_limit = section.has("above");
    let limit = reader.integer(&mut section, "above", AMOUNT, 0);
    let wait_ms = section.has("wait_s").then(|| reader.integer(&mut section, "wait_s", WAIT_S, 1) * 1_000);
    let otherwise = or(reader, &mut section, "otherwise", Verdict::Reject, |name| {
        one_of(name, &[("pass", Verdict::Pass), ("reject", Verdict::Reject)])
    });
    reader.end(section);
    let rule = match asks? {
        Rule::Above(_) if has_limit => Rule::Above(limit),
        Rule::Above(_) => {
            reader.fault(span, "a check that asks above needs above = AMOUNT, in minor units".into());
            return None;
        }
        rule => rule,
    };
    Some(Check { name: name?, rule, wait_ms, otherwise: otherwise? })
}

fn source<'t>(reader: &mut Reader<'t>, mut section: Section<'t>) -> Option<Source> {
    let site = reader.required(&mut section, "site", id::<SiteId>);
    let priority = reader.integer(&mut section, "priority", PRIORITY, 0);
    let distances = reader.list(&mut section, "distance_km", distance);
    reader.end(section);
    let distance_km: BTreeMap<String, u32> = distances.into_iter().collect();
    Some(Source { site: site?, priority: u32::try_from(priority).unwrap_or_default(), distance_km })
}

/// `DE 300`, `DE-20 5`.
fn distance(text: &str) -> Result<(String, u32), String> {
    let expected =
        || format!("expected a destination and kilometres such as \"DE 300\" or \"DE-20 5\", got {text:?}");
    let (to, km) = text.split_once(' ').ok_or_else(expected)?;
    let country: String = to.chars().take(2).collect();
    let rest = to.get(2..).unwrap_or_default();
    let fits = country.len() == 2
        && country.bytes().all(|b| b.is_ascii_uppercase())
        && (rest.is_empty() || (rest.starts_with('-') && rest.len() > 1));
    let km: u32 = km.parse().ok().filter(|km| *km <= KILOMETRES_MAX).ok_or_else(expected)?;
    if fits { Ok((to.to_owned(), km)) } else { Err(expected()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        let got: Vec<String> = match Config::parse(text) {
            Ok(_) => Vec::new(),
            Err(faults) => faults.iter().map(ToString::to_string).collect(),
        };
        assert_eq!(got, expected, "{text}");
    }

    #[test]
    fn faults_are_told_with_their_lines() {
        check(
            "[orders]\nwhen_short = \"never\"\nleaves = \"when_picked\"\n[[orders.check]]\nname = \"fraud\"\nasks = \"above\"\n\
             [[orders.source]]\nsite = \"HAM\"\ndistance_km = [\"Germany 5\"]\n",
            &[
                "line 2: orders.when_short = \"never\": expected backorder or partial or cancel",
                "line 4: a check that asks above needs above = AMOUNT, in minor units",
                "line 9: orders.source.distance_km: expected a destination and kilometres such as \"DE 300\" or \"DE-20 5\", got \"Germany 5\"",
            ],
        );
    }

    #[test]
    fn what_is_said_is_what_is_done() {
        let text = "[orders]\nwhen_short = \"partial\"\n[[orders.check]]\nname = \"credit\"\nasks = \"above\"\nabove = 50000\nwait_s = 60\n\
                    otherwise = \"pass\"\n[[orders.source]]\nsite = \"HAM\"\npriority = 2\ndistance_km = [\"DE 300\", \"DE-20 5\"]\n";
        let orders = Config::parse(text).unwrap().orders;
        assert_eq!((orders.when_short, orders.leaves), (WhenShort::Partial, Leaves::WhenShipped));
        let check = Check {
            name: "credit".into(),
            rule: Rule::Above(50_000),
            wait_ms: Some(60_000),
            otherwise: Verdict::Pass,
        };
        assert_eq!(orders.checks, [check]);
        let distance_km = BTreeMap::from([("DE".to_string(), 300), ("DE-20".to_string(), 5)]);
        assert_eq!(orders.sources, [Source { site: SiteId::new("HAM").unwrap(), priority: 2, distance_km }]);
    }
}
