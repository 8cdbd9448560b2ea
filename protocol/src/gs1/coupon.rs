//! North American coupon codes, AI 8110 and 8112: digits of which some say how many follow.

use super::check::Check;
use super::date::{Date, DayZero};

/// AI 8110, in this order; behind the first three only what the offer needs:
///
/// ```text
///  L company prefix  6 offer code  L save value  purchase
///  1 rule  purchase  L company prefix              second purchase
///  2 purchase  L company prefix                    third purchase
///  3 YYMMDD                                        valid until
///  4 YYMMDD                                        valid from
///  5 L serial number
///  6 L retailer
///  9 save value code, applies to, store coupon, do not multiply
///
///  purchase = L requirement, 1 code, 3 family code;  L = one digit that tells the length of what follows
/// ```
pub(super) fn is_coupon(text: &str) -> bool {
    let mut rest = Digits(text.as_bytes());
    text.bytes().all(|byte| byte.is_ascii_digit()) && rest.coupon().is_some() && rest.0.is_empty()
}

/// AI 8112: format, funder, offer code and serial number.
pub(super) fn is_coupon_offer(text: &str) -> bool {
    let mut rest = Digits(text.as_bytes());
    text.bytes().all(|byte| byte.is_ascii_digit()) && rest.offer().is_some() && rest.0.is_empty()
}

/// What is left to read; `None` from any step: this is no coupon.
struct Digits<'a>(&'a [u8]);

impl<'a> Digits<'a> {
    fn coupon(&mut self) -> Option<()> {
        self.company_prefix(b'0'..=b'6')?;
        self.take(6)?;
        self.counted(b'1'..=b'5', 0)?;
        self.purchase()?;
        if self.is_next(b'1') {
            self.one_of(b"0123")?;
            self.purchase()?;
            self.optional_company_prefix()?;
        }
        if self.is_next(b'2') {
            self.purchase()?;
            self.optional_company_prefix()?;
        }
        let until = if self.is_next(b'3') { Some(self.date()?) } else { None };
        if self.is_next(b'4') {
            let from = self.date()?;
            if until.is_some_and(|until| from > until) {
                return None;
            }
        }
        if self.is_next(b'5') {
            self.counted(b'0'..=b'9', 6)?;
        }
        if self.is_next(b'6') {
            self.company_prefix(b'1'..=b'7')?;
        }
        if self.is_next(b'9') {
            self.one_of(b"01256")?;
            self.one_of(b"012")?;
            self.take(1)?;
            self.one_of(b"01")?;
        }
        Some(())
    }

    fn offer(&mut self) -> Option<()> {
        self.one_of(b"01")?;
        self.counted(b'0'..=b'6', 6)?;
        self.take(6)?;
        self.counted(b'0'..=b'9', 6).map(|_| ())
    }

    fn purchase(&mut self) -> Option<()> {
        self.counted(b'1'..=b'5', 0)?;
        self.one_of(b"012349")?;
        self.take(3).map(|_| ())
    }

    /// A company prefix behind its length; 9 says that there is none.
    fn optional_company_prefix(&mut self) -> Option<()> {
        if self.is_next(b'9') { Some(()) } else { self.company_prefix(b'0'..=b'6') }
    }

    fn company_prefix(&mut self, lengths: core::ops::RangeInclusive<u8>) -> Option<()> {
        let prefix = self.counted(lengths, 6)?;
        core::str::from_utf8(prefix).is_ok_and(|prefix| Check::CompanyPrefix.holds(prefix)).then_some(())
    }

    /// Six digits, which as text compare like the dates they are as long as these are of one century.
    fn date(&mut self) -> Option<&'a [u8]> {
        let digits = self.take(6)?;
        // The century matters only for 29 February 1900 and 2100, which no coupon in use names.
        Date::from_yymmdd(core::str::from_utf8(digits).ok()?, 2000, DayZero::Refused).ok()?;
        Some(digits)
    }

    /// A digit in `lengths`, and as many digits as it says and `more`.
    fn counted(&mut self, lengths: core::ops::RangeInclusive<u8>, more: usize) -> Option<&'a [u8]> {
        let length = self.take(1)?[0];
        if !lengths.contains(&length) {
            return None;
        }
        self.take(usize::from(length - b'0') + more)
    }

    fn one_of(&mut self, digits: &[u8]) -> Option<()> {
        digits.contains(&self.take(1)?[0]).then_some(())
    }

    fn is_next(&mut self, digit: u8) -> bool {
        let is_next = self.0.first() == Some(&digit);
        if is_next {
            self.0 = &self.0[1..];
        }
        is_next
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;

    use super::*;

    #[test]
    fn coupons() {
        let check = |text: &str, expected: bool| assert_eq!(is_coupon(text), expected, "{text}");
        // Prefix of 6 digits, offer code, save value of 1 digit, purchase of 1 digit with its code and family.
        check("012345612345611110000", true);
        check("", false);
        check("01234561234561111000", false);
        check("0123456123456111100007", false);
        check("712345612345611110000", false);
        check("01234561234560111000", false);
        check("012345612345611115000", false);
        let with = |more: &str, expected| check(&format!("012345612345611110000{more}"), expected);
        with("1011000", false);
        with("101110000", false);
        with("10111000", false);
        with("101110009", true);
        with("10111000001234567", false);
        with("101110000123456", true);
        with("131110009", true);
        with("141110009", false);
        with("2111000", false);
        with("211100009", false);
        with("21100009", true);
        with("3260731", true);
        with("3260700", false);
        with("32607314260801", false);
        with("32607314260731", true);
        with("4260731", true);
        with("50123456", true);
        with("5012345", false);
        with("611234567", true);
        with("60123456", false);
        with("90000", true);
        with("90100", true);
        with("93000", false);
        with("90300", false);
        with("90002", false);
        with("9000", false);
        with("326073142607315012345661123456790000", true);
        with("42607313260731", false);
    }

    #[test]
    fn offers() {
        let check = |text: &str, expected: bool| assert_eq!(is_coupon_offer(text), expected, "{text}");
        check("001234561234560123456", true);
        check("101234561234560123456", true);
        check("201234561234560123456", false);
        check("071234561234560123456", false);
        check("00123456123456012345", false);
        check("0012345612345601234567", false);
        check("00123456123456", false);
        check("0012345612345x0123456", false);
        check("", false);
    }
}
