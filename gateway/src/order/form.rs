//! How orders are written as JSON: in the store's rows, and at the door. The form is only ever added to.

/// One of our types by its text.
pub(super) mod text {
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(in crate::order) fn serialize<T: Display, S: Serializer>(
        value: &T,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.collect_str(value)
    }

    pub(in crate::order) fn deserialize<'de, T, D>(from: D) -> Result<T, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

/// The same where there may be none.
pub(super) mod maybe_text {
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(in crate::order) fn serialize<T: Display, S: Serializer>(
        value: &Option<T>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => to.collect_str(value),
            None => to.serialize_none(),
        }
    }

    pub(in crate::order) fn deserialize<'de, T, D>(from: D) -> Result<Option<T>, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        let text = Option::<String>::deserialize(from)?;
        text.map(|text| text.parse().map_err(D::Error::custom)).transpose()
    }
}

/// A moment, kept as unix milliseconds and written as `2026-12-31T18:00:00.000Z`.
pub(super) mod instant {
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _, ser::Error as _};

    pub(in crate::order) fn serialize<S: Serializer>(ms: &i64, to: S) -> Result<S::Ok, S::Error> {
        let instant = jiff::Timestamp::from_millisecond(*ms).map_err(S::Error::custom)?;
        to.collect_str(&instant)
    }

    pub(in crate::order) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<i64, D::Error> {
        let text = String::deserialize(from)?;
        let instant: jiff::Timestamp = text.parse().map_err(|_| {
            D::Error::custom(format!("expected a time such as 2026-12-31T18:00:00Z, got {text:?}"))
        })?;
        Ok(instant.as_millisecond())
    }
}

/// A quantity as its decimal number, a space and its unit, `1.5 KGM`; pieces without a unit, as text or as a whole
/// number.
pub(super) mod quantity {
    use serde::{Deserialize, Deserializer, Serializer, de::Error as _};
    use stockwire_protocol::{Quantity, Uom};

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Given {
        Pieces(i64),
        Text(String),
    }

    pub(in crate::order) fn serialize<S: Serializer>(value: &Quantity, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&format_args!("{} {}", value.decimal(), value.uom.code()))
    }

    pub(in crate::order) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Quantity, D::Error> {
        match Given::deserialize(from)
            .map_err(|_| D::Error::custom("expected a number, or text such as \"1.5 KGM\""))?
        {
            Given::Pieces(pieces) => {
                Quantity::parse(&pieces.to_string(), Uom::Piece).map_err(D::Error::custom)
            }
            Given::Text(text) => {
                let (decimal, unit) = match text.split_once(' ') {
                    Some((decimal, code)) => (
                        decimal,
                        Uom::from_code(code).ok_or_else(|| {
                            D::Error::custom(format!(
                                "expected a unit of UN/ECE Rec 20 such as H87 or KGM, got {code:?}"
                            ))
                        })?,
                    ),
                    None => (text.as_str(), Uom::Piece),
                };
                Quantity::parse(decimal, unit).map_err(D::Error::custom)
            }
        }
    }
}
