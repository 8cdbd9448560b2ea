//! What every store must do: one suite, run against each of them.
//!
//! A case is given an empty store and tells a story through the same doors as the gateway. To have a new store
//! tested, add a module with [`suite`] in its test code.

use stockwire_protocol::cbor::Message;
use stockwire_protocol::topic::{self, Subject};
use stockwire_protocol::{
    AgentId, Batch, BizStep, Body, ChannelId, Count, Details, Epoch, Event, ItemId, LocationId, Lot,
    Movement, Place, Quantity, Reference, Refusal, Sequence, SiteId, Sku, StationId, Uom, When,
};

use crate::availability::{Basis, ChannelPolicy, Selling};
use crate::catalogue::{ErpId, Item, Listing, Location, Site, Snapshot};
use crate::ingest::{Ingest, Outcome, Publish};
use crate::ledger::OpeningLine;
use crate::store::{DeadLetterQuery, StockQuery, Store};

pub(crate) mod briefing;
pub(crate) mod codes;
pub(crate) mod escrow;
pub(crate) mod ingest;
pub(crate) mod leases;
pub(crate) mod letters;
pub(crate) mod offers;
pub(crate) mod orders;
pub(crate) mod postings;
pub(crate) mod property;
pub(crate) mod queries;
pub(crate) mod reservations;
pub(crate) mod tasks;

/// One test for each case, against the store that `$make` makes; all ignored, with a reason, for a store that needs more
/// than a file.
macro_rules! suite {
    (ignored $reason:literal, $make:expr) => {
        $crate::store::contract::suite!(@cases [#[ignore = $reason]] $make);
    };
    (@cases $attribute:tt $make:expr) => {
        $crate::store::contract::suite!(@modules $attribute $make;
            ingest: new_events_are_booked_and_acknowledged, a_duplicate_changes_nothing, an_overlap_adds_its_tail,
                a_gap_is_refused_and_nothing_of_it_applied, overtaking_within_a_group_is_no_gap,
                other_bytes_are_quarantined_and_freeze_the_stream, discarding_the_conflict_lets_the_stream_go_on,
                a_conflict_within_one_group_is_seen, a_foreign_payload_is_refused, garbage_is_kept_once_and_answered,
                an_unknown_version_waits_for_its_build, garbage_never_fills_the_store,
                what_the_catalogue_lacks_is_held_and_replayed_once, nothing_is_taken_before_the_books_are_open,
                a_journal_does_not_change_its_site,
                an_unknown_site_is_refused_and_its_journal_keeps_everything, a_count_books_the_difference, a_count_without_lot_counts_all_lots,
                counts_of_one_group_see_each_other, grams_are_booked_as_kilograms, absurd_quantities_are_set_aside,
                lost_facts_are_told, below_zero_is_flagged_once, states_make_devices, the_last_transaction_is_all_or_nothing;
            postings: documents_are_made_of_mixed_work, a_batch_keeps_its_lines_and_its_reference,
                nothing_overtakes_an_open_batch, a_refused_document_is_cut_until_one_line_is_left,
                a_dead_line_is_replayed_as_a_new_document, a_line_without_reference_is_set_aside,
                nothing_is_posted_before_the_books_are_open, a_final_state_stays, sites_post_to_their_own_erp;
            offers: a_number_reaches_the_channel, numbers_are_coalesced, the_scarcest_goes_first,
                what_is_in_flight_is_not_sent_twice, an_unknown_outcome_is_kept, a_change_in_flight_stays_due,
                the_same_number_covers_newer_rows, a_refused_number_is_a_dead_letter, a_policy_change_makes_offers_due,
                a_late_result_changes_nothing;
            leases: a_lease_has_one_holder_until_it_gives_it_back, a_lease_that_lapses_is_taken_by_another,
                a_new_life_takes_its_own_lease_over_at_once, nothing_is_written_under_a_lost_lease,
                whoever_takes_over_finds_what_was_in_flight;
            letters: the_same_content_is_one_letter, a_letter_is_closed_once, letters_are_listed_newest_first;
            queries: stock_is_paged_without_hole_or_repeat, movements_come_newest_first, changes_follow_a_cursor,
                a_trace_tells_the_whole_way, gauges_count_what_waits, a_reconciliation_knows_what_is_on_its_way,
                a_catalogue_is_revised_only_when_it_changes, a_large_catalogue_comes_in_parts,
                api_keys_are_made_used_and_revoked, books_open_once;
            briefing: an_agent_is_told_everything_once_and_then_what_changes, stock_alone_is_told_less_often,
                changes_that_save_nothing_are_a_snapshot, nobody_is_told_of_a_site_that_no_erp_has,
                an_agent_learns_how_far_its_own_journal_is_in_the_picture;
            codes: an_unknown_code_waits_until_it_is_said, a_count_under_an_unknown_code_books_the_difference,
                a_code_means_one_item, a_places_other_name_is_booked_as_the_place, a_packs_code_counts_what_is_in_it,
                an_items_rules_outlive_the_catalogue, aliases_are_listed_without_hole_or_repeat,
                changes_of_the_catalogue_are_what_was_touched, events_are_found_by_what_they_mention, what_waits_for_a_code_is_found,
                a_second_letter_about_a_fact_changes_nothing;
            tasks: a_task_is_done_by_what_names_it, asking_twice_is_asking_once, goods_may_be_there_before_the_paper,
                a_plate_does_its_own_task_and_its_orders, a_count_task_is_done_by_counting,
                a_task_without_sense_is_refused, a_site_has_no_more_tasks_than_its_boxes_hold,
                tasks_are_listed_without_hole_or_repeat, a_code_said_later_does_its_task,
                a_picture_tells_what_is_to_be_done_and_what_lies_where, too_much_news_is_a_new_picture;
            reservations: the_last_piece_is_promised_once, a_request_again_changes_nothing, what_is_short_is_told_whole,
                holds_end_once_and_free_what_they_held, soft_holds_end_by_themselves, a_confirmed_hold_stays,
                kept_stock_is_for_its_account, promises_lower_what_channels_are_told,
                less_than_promised_is_a_shortage, reservations_are_listed_without_hole_or_repeat,
                nonsense_is_refused_and_nothing_held;
            escrow: what_is_there_is_divided, an_order_counts_against_what_its_channel_was_told,
                a_lost_number_stays_in_escrow, a_lower_number_frees_after_the_lag_window,
                what_does_not_fit_any_more_is_not_sent, others_take_only_what_no_channel_may_sell,
                an_item_says_whether_it_is_sold_strictly;
            orders: an_order_is_captured_once, two_orders_for_the_last_piece_end_in_one_shipment_and_one_backorder,
                what_the_warehouse_does_wakes_its_order, steps_outside_are_due_at_their_door,
                what_has_left_is_in_the_number_until_the_channel_knows,
                what_a_channel_was_told_of_is_looked_at_again,
                an_order_from_elsewhere_leaves_alone_what_channels_may_sell,
                a_refused_write_keeps_nothing, orders_are_listed_without_hole_or_repeat,
                a_channel_is_read_on_from_where_it_was_read_to;
            property: any_order_of_arrival_gives_the_same_books;
        );
    };
    (@modules $attribute:tt $make:expr; $($module:ident: $($case:ident),+;)+) => {
        $(mod $module {
            $($crate::store::contract::suite!(@case $attribute $make; $module $case);)+
        })+
    };
    (@case [$(#[$attribute:meta])?] $make:expr; $module:ident $case:ident) => {
            #[test]
            $(#[$attribute])?
            fn $case() {
                $crate::store::contract::$module::$case(&$make);
            }
    };
    ($make:expr) => {
        $crate::store::contract::suite!(@cases [] $make);
    };
}
pub(crate) use suite;

/// Makes an empty store.
pub(crate) type Make<'a> = &'a dyn Fn() -> Box<dyn Store>;

/// A store with its rules, and a clock that ticks a second at each call.
pub(crate) struct Bench {
    pub(crate) store: Box<dyn Store>,
    pub(crate) ingest: Ingest,
    pub(crate) now_ms: i64,
}

pub(crate) fn agent(name: &str) -> AgentId {
    AgentId::new(name).unwrap()
}

pub(crate) fn site(name: &str) -> SiteId {
    SiteId::new(name).unwrap()
}

pub(crate) fn item(name: &str) -> ItemId {
    ItemId::new(name).unwrap()
}

pub(crate) fn channel() -> ChannelId {
    ChannelId::new("shop").unwrap()
}

pub(crate) fn sku(name: &str) -> Sku {
    Sku::new(name).unwrap()
}

pub(crate) fn erp() -> ErpId {
    ErpId::new("erp").unwrap()
}

pub(crate) fn epoch(byte: u8) -> Epoch {
    Epoch::from_bytes([byte; 16])
}

/// `A-01` is a location; the other names are the virtual places.
pub(crate) fn place(name: &str) -> Place {
    match name {
        "supplier" => Place::Supplier,
        "customer" => Place::Customer,
        "loss" => Place::Loss,
        "transit" => Place::Transit,
        name => Place::At(LocationId::new(name).unwrap()),
    }
}

/// The sites HAM and MUC with and IN each; SKU-1 to SKU-9 in pieces and WEIGHED in kilograms.
pub(crate) fn snapshot() -> Snapshot {
    let sites = ["HAM", "MUC"];
    let piece = |n| (format!("SKU-{n}"), Uom::Piece);
    let items = (1..=9).map(piece).chain([("WEIGHED".to_string(), Uom::Kilogram)]);
    Snapshot {
        sites: sites
            .iter()
            .map(|name| Site { site: site(name), reference: Some(format!("site {name}")) })
            .collect(),
        items: items
            .map(|(name, uom)| Item {
                id: item(&name),
                name: format!("Part {name}"),
                uom,
                gtins: vec![],
                codes: vec![format!("code {name}")],
                reference: Some(format!("item {name}")),
            })
            .collect(),
        locations: sites
            .iter()
            .flat_map(|name| {
                ["A-01", "A-02", "IN"].map(|location| Location {
                    site: site(name),
                    location: LocationId::new(location).unwrap(),
                    reference: Some(format!("{name}/{location}")),
                })
            })
            .collect(),
    }
}

/// `shop` sells SKU-1 to SKU-9 of both sites, holding back as given.
pub(crate) fn policy(safety_stock: i64) -> ChannelPolicy {
    ChannelPolicy {
        channel: channel(),
        sites: vec![site("HAM"), site("MUC")],
        safety_stock,
        out_of_stock_threshold: 0,
        cap: None,
        basis: Basis::OnHand,
        selling: Selling::default(),
    }
}

pub(crate) fn event(unix_ms: i64, body: Body) -> Event {
    Event { when: When::Synced { unix_ms }, body }
}

/// `quantity` pieces of an item from one place to another.
pub(crate) fn moved(item_name: &str, quantity: i64, from: &str, to: &str) -> Event {
    movement(item_name, Quantity::pieces(quantity), from, to, Details::default())
}

pub(crate) fn movement(item_name: &str, quantity: Quantity, from: &str, to: &str, details: Details) -> Event {
    let step = BizStep::Storing;
    let (from, to, station) = (place(from), place(to), StationId::new("S1").unwrap());
    let movement = Movement { step, item: item(item_name), quantity, from, to, station, details };
    event(1_000, Body::Movement(movement))
}

/// `quantity` pieces of an item, by somebody who looked.
pub(crate) fn counted(item_name: &str, quantity: i64, location: &str) -> Event {
    counted_lot(item_name, quantity, location, None)
}

pub(crate) fn counted_lot(item_name: &str, quantity: i64, location: &str, lot: Option<&str>) -> Event {
    let count = Count {
        item: item(item_name),
        counted: Quantity::pieces(quantity),
        location: LocationId::new(location).unwrap(),
        station: StationId::new("S1").unwrap(),
        details: Details { lot: lot.map(|lot| Lot::new(lot).unwrap()), ..Details::default() },
    };
    event(1_000, Body::Count(count))
}

pub(crate) fn referring(reference: &str) -> Details {
    Details { reference: Some(Reference::new(reference).unwrap()), ..Details::default() }
}

pub(crate) fn batch(agent_name: &str, epoch_byte: u8, first: u64, events: &[Event]) -> Batch {
    let (agent, epoch) = (agent(agent_name), epoch(epoch_byte));
    Batch { agent, epoch, first: Sequence::new(first), events: events.to_vec() }
}

impl Bench {
    /// An empty store.
    pub(crate) fn empty(make: Make<'_>) -> Self {
        Self { store: make(), ingest: Ingest::new(), now_ms: 1_700_000_000_000 }
    }

    /// With catalogue, channel, listings and open books.
    pub(crate) fn new(make: Make<'_>) -> Self {
        Self::opened(make, &[])
    }

    /// The same with an opening stock at HAM: item, location, pieces.
    pub(crate) fn opened(make: Make<'_>, stock: &[(&str, &str, i64)]) -> Self {
        let mut bench = Self::empty(make);
        bench.store.replace_channels(&[policy(0)]).unwrap();
        bench.store.replace_catalogue(&erp(), &snapshot()).unwrap();
        let line = |(name, location, pieces): &(&str, &str, i64)| OpeningLine {
            site: site("HAM"),
            location: LocationId::new(*location).unwrap(),
            item: item(name),
            quantity: Quantity::pieces(*pieces),
        };
        let lines: Vec<_> = stock.iter().map(line).collect();
        assert!(bench.store.open_books(1, &erp(), &lines).unwrap());
        let listing =
            |n| Listing { sku: sku(&format!("SHOP-{n}")), item: item(&format!("SKU-{n}")), reference: None };
        let listings: Vec<_> = (1..=9).map(listing).collect();
        assert_eq!(bench.store.replace_listings(&channel(), &listings).unwrap().active, 9);
        bench
    }

    pub(crate) fn tick(&mut self) -> i64 {
        self.now_ms += 1_000;
        self.now_ms
    }

    /// A group of payloads, each under its own topic.
    pub(crate) fn publish(&mut self, publishes: &[(String, Vec<u8>)]) -> Outcome {
        let now = self.tick();
        let publishes: Vec<_> =
            publishes.iter().map(|(topic, payload)| Publish { topic, payload, retained: false }).collect();
        self.ingest.handle_publishes(self.store.as_mut(), now, &publishes).unwrap()
    }

    /// A group of batches from HAM.
    pub(crate) fn send_all(&mut self, batches: &[Batch]) -> Outcome {
        let publishes: Vec<_> =
            batches.iter().map(|batch| (topic_of("HAM", batch), batch.encode())).collect();
        self.publish(&publishes)
    }

    /// One batch from box-1's first journal.
    pub(crate) fn send(&mut self, first: u64, events: &[Event]) -> Outcome {
        self.send_all(&[batch("box-1", 1, first, events)])
    }

    /// Events that follow what the store holds of box-1's first journal.
    pub(crate) fn record(&mut self, events: &[Event]) -> Outcome {
        let held = self
            .store
            .devices()
            .unwrap()
            .iter()
            .find(|device| device.agent == agent("box-1"))
            .map(|d| d.watermark);
        let outcome = self.send(held.map_or(1, |held| held.get() + 1), events);
        assert_eq!(outcome.counts.events_new, events.len() as u64, "{outcome:?}");
        outcome
    }

    /// Stock in one line: `HAM/A-01 SKU-1 7, ...`, lots and conditions after a slash.
    pub(crate) fn stock(&self) -> String {
        let page = self.store.stock(&StockQuery::default()).unwrap();
        let row = |row: &crate::store::StockRow| {
            let lot = row.lot.as_ref().map(|lot| format!("/{lot}")).unwrap_or_default();
            format!("{}/{} {}{lot} {}", row.site, row.location, row.item, row.on_hand.decimal())
        };
        page.rows.iter().map(row).collect::<Vec<_>>().join(", ")
    }

    /// Dead letters in one line each, oldest first: `class state xN: reason`.
    pub(crate) fn letters(&self) -> Vec<String> {
        let page = self.store.dead_letters(&DeadLetterQuery::default()).unwrap();
        let line = |l: &crate::dead_letter::DeadLetter| {
            format!("{} {} x{}: {}", l.class.as_str(), l.state.as_str(), l.times, l.reason)
        };
        page.rows.iter().rev().map(line).collect()
    }

    /// Proves the books.
    pub(crate) fn prove(&self) {
        let report = self.store.verify_books().unwrap();
        assert!(report.is_right(), "{report:?}");
    }
}

pub(crate) fn topic_of(site_name: &str, batch: &Batch) -> String {
    topic::topic(&site(site_name), &batch.agent, Subject::Events)
}

/// Acks in one line each: `agent watermark refusal`.
pub(crate) fn acks(outcome: &Outcome) -> Vec<String> {
    let line = |(_, agent, ack): &(SiteId, AgentId, stockwire_protocol::Ack)| {
        let refusal = ack.refusal.map(|refusal: Refusal| format!(" {refusal:?}")).unwrap_or_default();
        format!("{agent} {}{refusal}", ack.watermark)
    };
    outcome.acks.iter().map(line).collect()
}
