//! A hash map of live orders: each lives for three to six seconds, the map itself
//! grows in jumps while it finds its size, and never shrinks.

#[path = "../lib/corpus.rs"]
mod corpus;

use std::collections::HashMap;

#[inline(never)]
fn take_order(orders: &mut HashMap<u32, (f64, Vec<u8>)>, number: u32, until: f64) {
    orders.insert(number, (until, vec![1; 12_000]));
    corpus::hold("take_order", 1);
}

fn main() {
    let mut clock = corpus::begin();
    let (mut orders, mut number) = (HashMap::new(), 0);
    while clock.beat(80.0) {
        number += 1;
        let now = clock.elapsed();
        take_order(
            &mut orders,
            number,
            now + 3.0 + f64::from(corpus::roll() % 3000) / 1000.0,
        );
        if number % 20 == 0 {
            let before = orders.len();
            orders.retain(|_, (until, _)| *until > now);
            corpus::hold("take_order", orders.len() as i64 - before as i64);
        }
    }
    corpus::finish();
}
