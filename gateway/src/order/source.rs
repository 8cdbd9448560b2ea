//! Source selection: which sites ship an order.
//!
//! Fewest parcels first, then the sites' priority, then how far they are from where the order goes, then their names:
//! so the same order and the same shelves always give the same sites. What was weighed is recorded with the decision.

use std::collections::BTreeMap;

use stockwire_protocol::{ItemId, SiteId};

use super::fact::{Considered, ItemSteps, LineSteps};
use super::{LineId, Party};

/// A site that may ship.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Source {
    /// Which.
    pub site: SiteId,
    /// 0 is asked first.
    pub priority: u32,
    /// Kilometres to a destination: a country (`DE`), or a country and the beginning of a postal code (`DE-20`). The
    /// longest that fits counts.
    pub distance_km: BTreeMap<String, u32>,
}

impl Source {
    /// How far it is to there; `None` when nobody has told.
    pub fn distance(&self, to: &Party) -> Option<u32> {
        let country = to.country.as_deref()?;
        let code = to.postal_code.as_deref().unwrap_or_default();
        let there = format!("{country}-{code}");
        let fits = |(key, _): &(&String, &u32)| {
            key.as_str() == country || (key.len() > 3 && there.starts_with(key.as_str()))
        };
        self.distance_km.iter().filter(fits).max_by_key(|(key, _)| key.len()).map(|(_, km)| *km)
    }
}

/// What is wanted of a line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Want {
    /// Which line.
    pub line: LineId,
    /// What.
    pub item: ItemId,
    /// How much; more than zero.
    pub steps: i64,
}

/// Where everything comes from.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Selection {
    /// So much of a line from a site; in the order of the wants.
    pub takes: Vec<(LineId, ItemId, SiteId, i64)>,
    /// What is nowhere.
    pub missing: Vec<LineSteps>,
    /// What it was decided by.
    pub considered: Vec<Considered>,
}

/// Beyond so many sites pairs are not tried one with the other: whoever has more splits by priority.
const PAIRED_SITES_MAX: usize = 40;

/// Chooses. `available` is what may be promised to this buyer at each site.
pub fn select(
    wants: &[Want],
    sources: &[Source],
    to: &Party,
    available: &BTreeMap<(ItemId, SiteId), i64>,
) -> Selection {
    let mut ranked: Vec<&Source> = sources.iter().collect();
    ranked.sort_by_key(|source| {
        (source.priority, source.distance(to).unwrap_or(u32::MAX), source.site.clone())
    });
    let demand = wants.iter().fold(BTreeMap::<&ItemId, i64>::new(), |mut demand, want| {
        *demand.entry(&want.item).or_default() += want.steps;
        demand
    });
    let there = |item: &ItemId, site: &SiteId| -> i64 {
        available.get(&(item.clone(), site.clone())).copied().unwrap_or_default().max(0)
    };
    let considered = ranked.iter().map(|source| Considered {
        site: source.site.clone(),
        priority: source.priority,
        distance_km: source.distance(to),
        available: demand
            .keys()
            .map(|item| ItemSteps { item: (*item).clone(), steps: there(item, &source.site) })
            .collect(),
    });
    let considered = considered.collect();
    let fills = |sites: &[&Source]| {
        demand.iter().all(|(item, steps)| {
            sites.iter().fold(0_i64, |sum, source| sum.saturating_add(there(item, &source.site))) >= *steps
        })
    };
    let chosen: Vec<&Source> = one(&ranked, fills).or_else(|| two(&ranked, fills)).unwrap_or_else(|| {
        // Three parcels or more, or not enough at all: whoever has most of what is still wanted is next.
        greedy(&ranked, &demand, there)
    });
    let mut rest = available.clone();
    let mut selection = Selection { considered, ..Selection::default() };
    for want in wants {
        let mut open = want.steps;
        // A line comes from one site when one of them has all of it.
        let whole = chosen.iter().position(|source| {
            rest.get(&(want.item.clone(), source.site.clone())).is_some_and(|steps| *steps >= open)
        });
        let order = whole.into_iter().chain(0..chosen.len());
        for at in order {
            let site = &chosen[at].site;
            let Some(steps) = rest.get_mut(&(want.item.clone(), site.clone())) else { continue };
            let taken = open.min((*steps).max(0));
            if taken > 0 {
                *steps -= taken;
                open -= taken;
                selection.takes.push((want.line.clone(), want.item.clone(), site.clone(), taken));
            }
        }
        if open > 0 {
            selection.missing.push(LineSteps { line: want.line.clone(), steps: open });
        }
    }
    selection
}

fn one<'a>(ranked: &[&'a Source], fills: impl Fn(&[&'a Source]) -> bool) -> Option<Vec<&'a Source>> {
    ranked.iter().find(|source| fills(&[source])).map(|source| vec![*source])
}

fn two<'a>(ranked: &[&'a Source], fills: impl Fn(&[&'a Source]) -> bool) -> Option<Vec<&'a Source>> {
    let near = &ranked[..ranked.len().min(PAIRED_SITES_MAX)];
    let pairs = near
        .iter()
        .enumerate()
        .flat_map(|(at, first)| near[at + 1..].iter().map(move |second| [*first, *second]));
    pairs.map(|pair| pair.to_vec()).find(|pair| fills(pair))
}

fn greedy<'a>(
    ranked: &[&'a Source],
    demand: &BTreeMap<&ItemId, i64>,
    there: impl Fn(&ItemId, &SiteId) -> i64,
) -> Vec<&'a Source> {
    let mut open = demand.clone();
    let mut left: Vec<&Source> = ranked.to_vec();
    let mut chosen = Vec::new();
    while !left.is_empty() {
        // Items filled whole count first: steps of different units cannot be added up.
        let score = |source: &Source| {
            let filled = open.iter().filter(|(_, steps)| **steps > 0);
            let filled: Vec<(bool, bool)> = filled
                .map(|(item, steps)| (there(item, &source.site) >= *steps, there(item, &source.site) > 0))
                .collect();
            let whole = filled.iter().filter(|(whole, _)| *whole).count();
            (whole, filled.iter().filter(|(_, some)| *some).count())
        };
        // The first of equals: `left` is in rank.
        let best = (0..left.len()).rev().max_by_key(|at| score(left[*at])).unwrap_or_default();
        if score(left[best]) == (0, 0) {
            break;
        }
        let source = left.remove(best);
        for (item, steps) in &mut open {
            *steps -= there(item, &source.site).min(*steps);
        }
        chosen.push(source);
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(name: &str, priority: u32, distance: &[(&str, u32)]) -> Source {
        let distance_km = distance.iter().map(|(to, km)| ((*to).to_string(), *km)).collect();
        Source { site: SiteId::new(name).unwrap(), priority, distance_km }
    }

    /// `A 2, B 1` against `HAM A 2, MUC B 5`: `A 2 HAM, B 1 MUC`, what is missing with a `-`.
    #[track_caller]
    fn check(wants: &str, shelves: &str, sources: &[Source], expected: &str) {
        let rows = |text: &str| -> Vec<Vec<String>> {
            let rows = text.split(',').map(str::trim).filter(|row| !row.is_empty());
            rows.map(|row| row.split(' ').map(str::to_owned).collect()).collect()
        };
        let wants: Vec<Want> = rows(wants)
            .iter()
            .enumerate()
            .map(|(at, row)| Want {
                line: LineId::new((at + 1).to_string()).unwrap(),
                item: ItemId::new(row[0].as_str()).unwrap(),
                steps: row[1].parse().unwrap(),
            })
            .collect();
        let available = rows(shelves)
            .iter()
            .map(|row| {
                let key = (ItemId::new(row[1].as_str()).unwrap(), SiteId::new(row[0].as_str()).unwrap());
                (key, row[2].parse().unwrap())
            })
            .collect();
        let to = Party { country: Some("DE".into()), postal_code: Some("80331".into()), ..Party::default() };
        let selection = select(&wants, sources, &to, &available);
        assert_eq!(selection.considered.len(), sources.len());
        let takes = selection.takes.iter().map(|(line, _, site, steps)| format!("{line} {steps} {site}"));
        let missing = selection.missing.iter().map(|part| format!("{} {} -", part.line, part.steps));
        assert_eq!(takes.chain(missing).collect::<Vec<_>>().join(", "), expected, "{shelves}");
    }

    #[test]
    fn fewest_parcels_then_priority_then_distance_then_name() {
        let plain = [source("HAM", 0, &[]), source("MUC", 0, &[]), source("BER", 0, &[])];
        check("A 1", "HAM A 1, MUC A 1, BER A 1", &plain, "1 1 BER");
        let near = [
            source("HAM", 0, &[("DE", 500)]),
            source("MUC", 0, &[("DE", 500), ("DE-80", 10)]),
            source("BER", 1, &[]),
        ];
        check("A 1", "HAM A 1, MUC A 1, BER A 1", &near, "1 1 MUC");
        // BER comes last, and is the only one that sends one parcel.
        check("A 1, B 1", "HAM A 1, MUC B 1, BER A 1, BER B 1", &near, "1 1 BER, 2 1 BER");
        check("A 1, B 1", "HAM A 1, HAM B 0, MUC B 1, BER A 1", &near, "1 1 HAM, 2 1 MUC");
        // A line is not cut when one of the two has all of it.
        check("A 3, B 3", "HAM A 3, MUC A 1, MUC B 3", &near, "1 3 HAM, 2 3 MUC");
        check("A 3", "HAM A 1, MUC A 1, BER A 1", &near, "1 1 MUC, 1 1 HAM, 1 1 BER");
    }

    #[test]
    fn what_is_nowhere_is_missing() {
        let plain = [source("HAM", 0, &[]), source("MUC", 1, &[])];
        check("A 2", "", &plain, "1 2 -");
        check("A 2", "HAM A 1", &plain, "1 1 HAM, 1 1 -");
        check("A 2", "HAM A -5", &plain, "1 2 -");
        // Two lines of one item never take a piece twice.
        check("A 1, A 1", "HAM A 1", &plain, "1 1 HAM, 2 1 -");
    }
}
