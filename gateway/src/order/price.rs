//! Whether an order's sums are right.

use super::{Amount, Line, Order};

/// Faults told of one order: more is a channel whose prices we read wrongly.
pub(super) const FAULTS_MAX: usize = 20;

/// What does not add up, each naming its field; empty when everything does.
///
/// Channels round: prices of single pieces, or tax of each piece before it is multiplied. So a line may be off by one
/// minor unit for each unit of goods it is about, and never by more. Sums of sums are exact.
pub(super) fn check(order: &Order) -> Vec<String> {
    let mut faults = Vec::new();
    let (mut net, mut tax) = (0_i64, 0_i64);
    for (at, line) in order.lines.iter().enumerate() {
        if let Some(fault) = check_line(line) {
            faults.push(format!("lines[{at}]{fault}"));
        }
        (net, tax) = (net.saturating_add(line.amount.net), tax.saturating_add(line.amount.tax));
    }
    for charge in &order.charges {
        (net, tax) = (net.saturating_add(charge.amount.net), tax.saturating_add(charge.amount.tax));
    }
    let sum = Amount { net, tax };
    // Tax may be rounded once for the whole order instead of line by line.
    let slack = i64::try_from(order.lines.len() + order.charges.len()).unwrap_or(i64::MAX);
    if sum.net != order.total.net {
        faults.push(format!(
            "total.net: lines and charges come to {}, the order says {}",
            sum.net, order.total.net
        ));
    }
    if (sum.tax - order.total.tax).abs() > slack {
        faults.push(format!(
            "total.tax: lines and charges come to {}, the order says {}",
            sum.tax, order.total.tax
        ));
    }
    faults.truncate(FAULTS_MAX);
    faults
}

fn check_line(line: &Line) -> Option<String> {
    let scale = 10_i128.pow(line.quantity.uom.decimals());
    let steps = i128::from(line.quantity.steps);
    // Whole units, a part of one counts as one.
    let slack = (steps + scale - 1) / scale;
    let full = (i128::from(line.unit_price) * steps + scale / 2) / scale;
    let net = full - i128::from(line.discount);
    if (net - i128::from(line.amount.net)).abs() > slack {
        return Some(format!(
            ".amount.net: {} at {} less {} comes to {net}, the line says {}",
            line.quantity, line.unit_price, line.discount, line.amount.net
        ));
    }
    let rate = i128::from(line.tax_rate?);
    let tax = (i128::from(line.amount.net) * rate + 5_000) / 10_000;
    ((tax - i128::from(line.amount.tax)).abs() > slack).then(|| {
        format!(
            ".amount.tax: {} at {rate} hundredths of a per cent comes to {tax}, the line says {}",
            line.amount.net, line.amount.tax
        )
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{line, order};
    use super::*;

    #[track_caller]
    fn check(lines: &[Line], total: (i64, i64), expected: &[&str]) {
        let mut content = order("1", lines).into_content();
        content.total = Amount { net: total.0, tax: total.1 };
        let faults = super::check(&Order::new(content).unwrap());
        assert_eq!(faults.len(), expected.len(), "{faults:?}");
        for (fault, expected) in faults.iter().zip(expected) {
            assert!(fault.starts_with(expected), "{fault}");
        }
    }

    #[test]
    fn sums_are_exact_and_lines_may_be_rounded() {
        let of = |net, tax| Line { amount: Amount { net, tax }, ..line("1", "A", 3) };
        // 3 at 10.00, 19 %.
        check(&[of(3_000, 570)], (3_000, 570), &[]);
        check(&[of(2_997, 569)], (2_997, 569), &[]);
        check(&[of(2_996, 569)], (2_996, 569), &["lines[0].amount.net: "]);
        check(&[of(3_000, 574)], (3_000, 574), &["lines[0].amount.tax: "]);
        check(&[of(3_000, 570)], (3_001, 570), &["total.net: "]);
        check(&[of(3_000, 570)], (3_000, 571), &[]);
        check(&[of(3_000, 570)], (3_000, 572), &["total.tax: "]);
        check(&[Line { discount: 500, ..of(2_500, 475) }], (2_500, 475), &[]);
        check(&[Line { tax_rate: None, ..of(3_000, 1) }], (3_000, 1), &[]);
    }
}
