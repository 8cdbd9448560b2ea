//! Columns as our types and our types as columns; what does not fit was not written by us.

use std::borrow::Cow;
use std::fmt::Display;
use std::str::FromStr;

use postgres::Row;
use postgres::types::FromSql;
use stockwire_protocol::cbor::Message;
use stockwire_protocol::{Digest, Disposition, Epoch, Event, Lot, MovementId, Place, Sequence, Uom};

use super::{SEQUENCE_BITS, Tx};
use crate::store::StoreError;

/// The kind of physical places.
pub(super) const PLACE_AT: i64 = 0;

pub(super) fn unreadable(row: &Row, at: usize, fault: impl Display) -> StoreError {
    let name = row.columns().get(at).map_or("?", postgres::Column::name);
    StoreError::Corrupt { what: format!("column {name}: {fault}") }
}

pub(super) fn get<'r, T: FromSql<'r>>(row: &'r Row, at: usize) -> Result<T, StoreError> {
    row.try_get(at).map_err(|fault| unreadable(row, at, fault))
}

/// A count or position that is never below zero.
pub(super) fn count(row: &Row, at: usize) -> Result<u64, StoreError> {
    let number: i64 = get(row, at)?;
    u64::try_from(number).map_err(|fault| unreadable(row, at, fault))
}

pub(super) fn text<T: FromStr<Err: Display>>(row: &Row, at: usize) -> Result<T, StoreError> {
    get::<&str>(row, at)?.parse().map_err(|fault| unreadable(row, at, fault))
}

/// The same, where an empty text or NULL stands for nothing.
pub(super) fn optional<T: FromStr<Err: Display>>(row: &Row, at: usize) -> Result<Option<T>, StoreError> {
    match get::<Option<&str>>(row, at)? {
        None | Some("") => Ok(None),
        Some(_) => text(row, at).map(Some),
    }
}

/// A word that one of our lists has.
pub(super) fn word<T>(row: &Row, at: usize, read: impl FnOnce(&str) -> Option<T>) -> Result<T, StoreError> {
    let word: &str = get(row, at)?;
    read(word).ok_or_else(|| unreadable(row, at, format!("{word:?} is not known")))
}

pub(super) fn uom(row: &Row, at: usize) -> Result<Uom, StoreError> {
    word(row, at, Uom::from_code)
}

pub(super) fn disposition(row: &Row, at: usize) -> Result<Option<Disposition>, StoreError> {
    match get::<&str>(row, at)? {
        "" => Ok(None),
        _ => word(row, at, Disposition::from_cbv).map(Some),
    }
}

pub(super) fn digest(row: &Row, at: usize) -> Result<Digest, StoreError> {
    get::<i64>(row, at).map(|bits| Digest::from_bits(bits.cast_unsigned()))
}

pub(super) fn epoch(row: &Row, at: usize) -> Result<Epoch, StoreError> {
    let bytes: &[u8] = get(row, at)?;
    bytes.try_into().map(Epoch::from_bytes).map_err(|fault| unreadable(row, at, fault))
}

pub(super) fn sequence(row: &Row, at: usize) -> Result<Sequence, StoreError> {
    count(row, at).map(Sequence::new)
}

pub(super) fn event(row: &Row, at: usize) -> Result<Event, StoreError> {
    Event::decode(get(row, at)?).map_err(|fault| unreadable(row, at, fault))
}

/// A movement's identity from its agent, epoch and event key, side by side.
pub(super) fn movement(row: &Row, at: usize) -> Result<MovementId, StoreError> {
    let sequence = event_sequence(get(row, at + 2)?);
    Ok(MovementId { agent: text(row, at)?, epoch: epoch(row, at + 1)?, sequence })
}

/// A place from its columns kind and location, side by side.
pub(super) fn place(row: &Row, at: usize) -> Result<Place, StoreError> {
    match get::<i64>(row, at)? {
        PLACE_AT => Ok(Place::At(text(row, at + 1)?)),
        1 => Ok(Place::Supplier),
        2 => Ok(Place::Customer),
        3 => Ok(Place::Loss),
        4 => Ok(Place::Transit),
        kind => Err(unreadable(row, at, format!("no kind of place {kind}"))),
    }
}

/// Kinds of places as the schema numbers them.
pub(super) fn place_kind(place: &Place) -> (i64, &str) {
    match place {
        Place::At(location) => (PLACE_AT, location.as_str()),
        Place::Supplier => (1, ""),
        Place::Customer => (2, ""),
        Place::Loss => (3, ""),
        Place::Transit => (4, ""),
    }
}

pub(super) fn lot_text(lot: Option<&Lot>) -> &str {
    lot.map_or("", Lot::as_str)
}

pub(super) fn disposition_text(disposition: Option<Disposition>) -> &'static str {
    disposition.map_or("", Disposition::as_str)
}

/// Text as PostgreSQL can hold it: it has no character 0. Only what others wrote for people goes through here.
pub(super) fn clean(text: &str) -> Cow<'_, str> {
    if text.contains('\0') { Cow::Owned(text.replace('\0', "\u{fffd}")) } else { Cow::Borrowed(text) }
}

/// The event's key: its identity in one integer. `None` beyond what a stream can number.
pub(super) fn event_key(stream: i64, sequence: Sequence) -> Option<i64> {
    let sequence = i64::try_from(sequence.get()).ok().filter(|n| *n < 1 << SEQUENCE_BITS)?;
    (stream < 1 << (63 - SEQUENCE_BITS)).then_some(stream << SEQUENCE_BITS | sequence)
}

pub(super) fn event_sequence(key: i64) -> Sequence {
    Sequence::new((key & ((1 << SEQUENCE_BITS) - 1)).unsigned_abs())
}

/// Site and key of an event that may be held, when its stream is known.
pub(super) fn find_event(tx: &Tx<'_>, movement: &MovementId) -> Result<Option<(i64, i64)>, StoreError> {
    let sql = "SELECT site, no FROM stream WHERE agent = $1 AND epoch = $2";
    let found = tx.optional(
        "looking up a stream",
        sql,
        &[&movement.agent.as_str(), &&movement.epoch.as_bytes()[..]],
    )?;
    let Some(row) = found else { return Ok(None) };
    let (site, stream) = (get(&row, 0)?, get(&row, 1)?);
    Ok(event_key(stream, movement.sequence).map(|key| (site, key)))
}
