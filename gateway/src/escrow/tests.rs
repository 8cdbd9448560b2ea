//! Channels that sell what they were told, a network that loses and delays, and somebody who counts.

use super::*;

const LAG_MS: i64 = 60_000;

/// Splitmix64.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// What happened at the channel, in its order, until we hear of it.
#[derive(Clone, Copy, Debug)]
enum News {
    Order { placed_ms: i64 },
    Cancel { placed_ms: i64 },
}

/// A number under way.
#[derive(Clone, Copy, Debug)]
struct Sent {
    arrives_ms: i64,
    number: i64,
    expects: Option<i64>,
}

/// A channel as it is in truth.
struct Shop {
    kind: Kind,
    /// What it holds: on hand, or what is left to sell.
    held: i64,
    /// Its own open orders.
    open: i64,
    cancelling: i64,
    /// Left the house; the channel is told once no number is under way that was made before.
    shipped: i64,
    news: Vec<News>,
    late: Vec<Sent>,
    /// A number that is being answered: when, and whether it was taken.
    answer: Option<(Sent, Option<bool>, i64)>,
}

impl Shop {
    fn can_sell(&self) -> bool {
        match self.kind {
            Kind::OnHand => self.held > self.open,
            Kind::Net | Kind::CompareAndSet => self.held > 0,
        }
    }

    /// `false` = it does not hold what was expected.
    fn take(&mut self, sent: Sent) -> bool {
        if self.kind == Kind::CompareAndSet && sent.expects.is_some_and(|expects| expects != self.held) {
            return false;
        }
        self.held = sent.number;
        true
    }
}

struct Market {
    dice: Dice,
    now_ms: i64,
    on_hand: i64,
    reserved: i64,
    shops: Vec<Shop>,
    seats: Vec<Seat>,
    attempts: Vec<u32>,
    chaos: bool,
    told: u64,
    sold: u64,
}

impl Market {
    fn new(seed: u64, kinds: &[Kind]) -> Self {
        let mut dice = Dice(seed);
        let on_hand = dice.below(12) as i64;
        let seat = |kind: &Kind| Seat {
            kind: *kind,
            share: 1 + dice.below(3) as i64,
            want: 0,
            orders: Orders::default(),
            grants: Grants::default(),
        };
        let seats: Vec<Seat> = kinds.iter().map(seat).collect();
        let shop = |kind: &Kind| Shop {
            kind: *kind,
            held: 0,
            open: 0,
            cancelling: 0,
            shipped: 0,
            news: Vec::new(),
            late: Vec::new(),
            answer: None,
        };
        let shops = kinds.iter().map(shop).collect();
        let attempts = vec![0; kinds.len()];
        Self { dice, now_ms: 0, on_hand, reserved: 0, shops, seats, attempts, chaos: true, told: 0, sold: 0 }
    }

    fn pool(&self) -> i64 {
        self.on_hand - self.reserved
    }

    fn step(&mut self) -> Result<(), String> {
        self.now_ms += self.dice.below(LAG_MS as u64 / 4) as i64;
        for at in 0..self.shops.len() {
            self.network(at);
            self.hear(at)?;
        }
        if self.chaos {
            self.people();
        }
        for seat in &mut self.seats {
            seat.want = self.on_hand - self.reserved;
            seat.grants.settle(seat.kind, self.now_ms, LAG_MS, seat.orders);
        }
        let pool = self.pool();
        let decisions = plan(pool, self.now_ms, &self.seats);
        for (at, decision) in decisions.into_iter().enumerate() {
            let Decision::Tell(number) = decision else { continue };
            let expects = expected(&self.seats[at], self.now_ms, self.attempts[at]);
            if !allows(pool, &self.seats, at, number, expects) {
                return Err(format!(
                    "the plan does not fit: {at} is to be told {number} of {pool}: {:?}",
                    self.seats
                ));
            }
            if !self.chaos || self.dice.chance(60) {
                self.tell(at, number, expects);
            }
        }
        let mut promised = 0;
        for (at, (shop, seat)) in self.shops.iter().zip(&self.seats).enumerate() {
            let unseen = shop.news.iter().filter(|news| matches!(news, News::Order { .. })).count() as i64;
            let cancelled = shop.news.len() as i64 - unseen;
            let more = match shop.kind {
                Kind::OnHand => (shop.held - shop.open).max(0),
                Kind::Net | Kind::CompareAndSet => shop.held,
            };
            // What it gave back and we have not heard of is ours still.
            promised += unseen + more - cancelled;
            if unseen + more - cancelled > seat.exposure() {
                return Err(format!("{at} may sell {more} and sold {unseen} unseen: {seat:?}"));
            }
        }
        match promised <= pool {
            true => Ok(()),
            false => Err(format!("{promised} may be sold, {pool} are there: {:?}", self.seats)),
        }
    }

    fn tell(&mut self, at: usize, number: i64, expects: Option<i64>) {
        self.told += 1;
        let (seat, shop) = (&mut self.seats[at], &mut self.shops[at]);
        seat.grants.send(seat.kind, number, expects, seat.orders);
        self.attempts[at] += 1;
        let sent = Sent { arrives_ms: self.now_ms + self.dice.below(5_000) as i64, number, expects };
        let fate = if self.chaos { self.dice.below(8) } else { 0 };
        match fate {
            0..=2 => shop.answer = Some((sent, None, sent.arrives_ms + self.dice.below(20_000) as i64)),
            3 => {
                // Done, and the answer is lost.
                shop.take(sent);
                seat.grants.lose(self.now_ms);
            }
            4 => seat.grants.lose(self.now_ms),
            5 | 6 => {
                let arrives_ms = self.now_ms + self.dice.below(UNANSWERED_MS as u64) as i64;
                shop.late.push(Sent { arrives_ms, ..sent });
                seat.grants.lose(self.now_ms);
            }
            _ => seat.grants.refuse(),
        }
    }

    fn network(&mut self, at: usize) {
        let (now_ms, shop, seat) = (self.now_ms, &mut self.shops[at], &mut self.seats[at]);
        let (due, later) = shop.late.iter().partition(|sent| sent.arrives_ms <= now_ms);
        shop.late = later;
        for sent in due {
            shop.take(sent);
        }
        if shop.late.is_empty() && shop.answer.is_none() {
            shop.open -= shop.shipped;
            shop.held -= shop.shipped;
            shop.shipped = 0;
        }
        let Some((sent, taken, answered_ms)) = shop.answer else { return };
        let taken = taken.or_else(|| (sent.arrives_ms <= now_ms).then(|| shop.take(sent)));
        shop.answer = Some((sent, taken, answered_ms));
        if answered_ms > now_ms {
            return;
        }
        shop.answer = None;
        match taken {
            Some(true) => {
                seat.grants.accept(seat.kind, now_ms, seat.orders);
                self.attempts[at] = 0;
            }
            _ => seat.grants.refuse(),
        }
    }

    /// Hears of the oldest news; of those that are as old as the window allows, always.
    fn hear(&mut self, at: usize) -> Result<(), String> {
        while let Some(news) = self.shops[at].news.first().copied() {
            let (News::Order { placed_ms } | News::Cancel { placed_ms }) = news;
            // The next step comes within a quarter of the window.
            if placed_ms + LAG_MS * 3 / 4 > self.now_ms && self.dice.chance(70) {
                break;
            }
            self.shops[at].news.remove(0);
            let orders = &mut self.seats[at].orders;
            match news {
                News::Order { .. } => {
                    if self.on_hand - self.reserved < 1 {
                        return Err(format!("{at} has sold what is not there"));
                    }
                    self.reserved += 1;
                    orders.pending += 1;
                    orders.taken += 1;
                }
                News::Cancel { .. } => {
                    self.reserved -= 1;
                    orders.pending -= 1;
                    orders.taken -= 1;
                    orders.given_back += 1;
                    self.shops[at].cancelling -= 1;
                }
            }
        }
        Ok(())
    }

    fn people(&mut self) {
        for _ in 0..1 + self.dice.below(4) {
            let at = self.dice.below(self.shops.len() as u64) as usize;
            let (placed_ms, shop, orders) = (self.now_ms, &mut self.shops[at], &mut self.seats[at].orders);
            match self.dice.below(10) {
                0..=5 if shop.can_sell() => {
                    self.sold += 1;
                    match shop.kind {
                        Kind::OnHand => shop.open += 1,
                        Kind::Net | Kind::CompareAndSet => shop.held -= 1,
                    }
                    shop.news.push(News::Order { placed_ms });
                }
                6 if orders.pending > shop.cancelling => {
                    orders.pending -= 1;
                    self.reserved -= 1;
                    self.on_hand -= 1;
                    shop.shipped += i64::from(shop.kind == Kind::OnHand);
                }
                7 if orders.pending > shop.cancelling => {
                    shop.cancelling += 1;
                    match shop.kind {
                        Kind::OnHand => shop.open -= 1,
                        Kind::Net | Kind::CompareAndSet => shop.held += i64::from(self.dice.chance(50)),
                    }
                    shop.news.push(News::Cancel { placed_ms });
                }
                8 => self.on_hand += self.dice.below(6) as i64,
                _ => {}
            }
        }
    }
}

fn play(seed: u64, kinds: &[Kind]) -> Result<Market, String> {
    let mut market = Market::new(seed, kinds);
    for _ in 0..150 {
        market.step()?;
    }
    market.chaos = false;
    for _ in 0..400 {
        market.step()?;
    }
    Ok(market)
}

#[test]
fn an_order_and_a_cancellation_at_once_hide_neither() {
    let orders = |taken, given_back| Orders { pending: taken, taken, given_back };
    let mut grants = Grants::default();
    grants.send(Kind::Net, 5, None, orders(0, 0));
    grants.accept(Kind::Net, 0, orders(0, 0));
    grants.send(Kind::Net, 6, None, orders(3, 0));
    grants.accept(Kind::Net, 1_000, orders(3, 0));
    // It sells one of the six, two of the older orders are cancelled and it counts up by them: it holds seven.
    grants.settle(Kind::Net, 2_000 + LAG_MS, LAG_MS, orders(2, 2));
    assert!(grants.exposure(Kind::Net, orders(2, 2)) >= 7, "{grants:?}");
}

#[test]
fn nothing_is_sold_twice() {
    let kinds = [Kind::OnHand, Kind::Net, Kind::CompareAndSet];
    let (mut told, mut sold) = (0, 0);
    for seed in 0..400 {
        let mut dice = Dice(seed + 1_000_000);
        let kinds: Vec<Kind> = (0..1 + dice.below(4)).map(|_| kinds[dice.below(3) as usize]).collect();
        match play(seed, &kinds) {
            Ok(market) => (told, sold) = (told + market.told, sold + market.sold),
            Err(fault) => panic!("seed {seed}, {kinds:?}: {fault}"),
        }
    }
    // A market in which nothing is offered sells nothing twice either.
    assert!(told > 5_000 && sold > 3_000, "{told} numbers, {sold} sold");
}

#[test]
fn what_is_there_is_offered_once_it_is_quiet() {
    for seed in 0..60 {
        for kinds in [&[Kind::OnHand; 4][..], &[Kind::OnHand, Kind::OnHand, Kind::CompareAndSet]] {
            let market = play(seed, kinds).unwrap();
            let promised: i64 = market.seats.iter().map(Seat::exposure).sum();
            assert_eq!(promised, market.pool(), "seed {seed}: {:?}", market.seats);
        }
    }
}

#[test]
fn the_pool_is_divided_by_share_and_then_in_order() {
    #[track_caller]
    fn check(pool: i64, wants: &[(i64, i64)], expected: &[i64]) {
        let seat = |(share, want): &(i64, i64)| Seat {
            kind: Kind::OnHand,
            share: *share,
            want: *want,
            orders: Orders::default(),
            grants: Grants::default(),
        };
        let seats: Vec<Seat> = wants.iter().map(seat).collect();
        assert_eq!(divide(pool, &seats), expected);
    }
    check(10, &[(100, 10), (100, 10)], &[5, 5]);
    check(3, &[(100, 9), (100, 9)], &[2, 1]);
    check(10, &[(75, 9), (25, 9)], &[8, 2]);
    check(10, &[(100, 2), (100, 9)], &[2, 8]);
    check(2, &[(100, 9), (100, 9), (100, 9)], &[1, 1, 0]);
    check(-3, &[(100, 9)], &[0]);
    check(9, &[], &[]);
}
