//! The choice among usable targets.

use std::rc::Rc;

use super::Target;
use crate::rng::Rng;
use crate::snapshot::Balance;

/// Chooses among the targets for which `usable` holds; `None` when there is none.
pub fn pick<'t, C>(
    balance: Balance,
    targets: &'t [Rc<Target<C>>],
    rng: &mut Rng,
    usable: impl Fn(&Target<C>) -> bool,
) -> Option<&'t Rc<Target<C>>> {
    match balance {
        Balance::RoundRobin => round_robin(targets, usable),
        Balance::LeastRequest => least_request(targets, rng, usable),
    }
}

/// The targets of each endpoint.
fn by_endpoint<C>(targets: &[Rc<Target<C>>]) -> impl Iterator<Item = &[Rc<Target<C>>]> {
    targets.chunk_by(|a, b| Rc::ptr_eq(&a.share, &b.share))
}

/// Smooth weighted round robin: each endpoint with a usable target earns its weight, the richest
/// is taken and pays the sum. Over any run of sum-of-weights picks each is taken exactly weight
/// times, evenly spread; of its targets each in turn. O(targets).
fn round_robin<C>(
    targets: &[Rc<Target<C>>],
    usable: impl Fn(&Target<C>) -> bool,
) -> Option<&Rc<Target<C>>> {
    let (mut best, mut sum): (Option<&[Rc<Target<C>>]>, i64) = (None, 0);
    for endpoint in by_endpoint(targets).filter(|e| e.iter().any(|t| usable(t))) {
        let share = &endpoint[0].share;
        let weight = i64::from(share.weight.get());
        share.credit.set(share.credit.get() + weight);
        sum += weight;
        if best.is_none_or(|b| share.credit.get() > b[0].share.credit.get()) {
            best = Some(endpoint);
        }
    }
    let best = best?;
    let share = &best[0].share;
    share.credit.set(share.credit.get() - sum);
    let mut turns = (0..best.len()).map(|i| (share.turn.get() as usize + i) % best.len());
    let at = turns.find(|at| usable(&best[*at]))?;
    share.turn.set(at as u32 + 1);
    Some(&best[at])
}

/// Draws two usable targets by weight and takes the one with fewer requests under way per
/// weight (Mitzenmacher 2001, the power of two choices). A target's weight is its endpoint's,
/// divided by the endpoint's targets.
fn least_request<'t, C>(
    targets: &'t [Rc<Target<C>>],
    rng: &mut Rng,
    usable: impl Fn(&Target<C>) -> bool,
) -> Option<&'t Rc<Target<C>>> {
    let (a, a_count) = draw(targets, rng, &usable, None)?;
    let Some((b, b_count)) = draw(targets, rng, &usable, Some(a.serial)) else { return Some(a) };
    let load = |x: &Target<C>, x_count: usize, y: &Target<C>| {
        u64::from(x.inflight.get()) * x_count as u64 * u64::from(y.share.weight.get())
    };
    Some(if load(b, b_count, a) < load(a, a_count, b) { b } else { a })
}

/// One usable target other than `except`, with a chance in proportion to its weight, and how many
/// its endpoint has.
fn draw<'t, C>(
    targets: &'t [Rc<Target<C>>],
    rng: &mut Rng,
    usable: impl Fn(&Target<C>) -> bool,
    except: Option<u32>,
) -> Option<(&'t Rc<Target<C>>, usize)> {
    let is_candidate = |t: &Target<C>| usable(t) && Some(t.serial) != except;
    let endpoints = || by_endpoint(targets).filter(|e| e.iter().any(|t| is_candidate(t)));
    let weight = |endpoint: &[Rc<Target<C>>]| u32::from(endpoint[0].share.weight.get());
    let sum: u32 = endpoints().map(weight).sum();
    if sum == 0 {
        return None;
    }
    let mut at = rng.below(sum);
    let endpoint = endpoints().find(|e| match at.checked_sub(weight(e)) {
        Some(left) => {
            at = left;
            false
        }
        None => true,
    })?;
    let candidates = || endpoint.iter().filter(|t| is_candidate(t));
    let nth = match endpoint.len() {
        1 => 0, // Fast path: no second draw.
        _ => rng.below(candidates().count() as u32) as usize,
    };
    candidates().nth(nth).map(|target| (target, endpoint.len()))
}

/// One of `weights` (id, weight) in proportion; `sum` is above zero.
pub fn split<T: Copy>(weights: &[(T, u32)], sum: u32, rng: &mut Rng) -> T {
    if let [only] = weights {
        return only.0; // Fast path: no draw.
    }
    let mut at = rng.below(sum);
    for &(id, weight) in weights {
        match at.checked_sub(weight) {
            Some(left) => at = left,
            None => return id,
        }
    }
    weights[weights.len() - 1].0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::EndpointId;
    use crate::snapshot::{Endpoint, EndpointAddress};
    use crate::upstream::Share;

    fn targets(weights: &[u16]) -> Vec<Rc<Target<()>>> {
        let target = |(index, &weight): (usize, &u16)| {
            let address = EndpointAddress::Unix("/x".into());
            let endpoint = EndpointId(index as u32);
            let of = Endpoint { address: address.clone(), weight, text: "x".into() };
            Target::new(index as u32, endpoint, &of, address, None, Share::new(weight), 1)
        };
        weights.iter().enumerate().map(target).collect()
    }

    #[test]
    fn round_robin_is_exact_and_evenly_spread() {
        let targets = targets(&[5, 1, 1]);
        let mut rng = Rng::from_u64(1);
        let mut next = || pick(Balance::RoundRobin, &targets, &mut rng, |_| true).unwrap().serial;
        let order: Vec<u32> = (0..14).map(|_| next()).collect();
        assert_eq!(order, [0, 0, 1, 0, 2, 0, 0, 0, 0, 1, 0, 2, 0, 0]);
    }

    #[test]
    fn unusable_targets_are_never_taken() {
        let targets = targets(&[1, 1, 1]);
        let mut rng = Rng::from_u64(1);
        for balance in [Balance::RoundRobin, Balance::LeastRequest] {
            for _ in 0..50 {
                assert_eq!(pick(balance, &targets, &mut rng, |t| t.serial == 2).unwrap().serial, 2);
            }
            assert!(pick(balance, &targets, &mut rng, |_| false).is_none());
        }
    }

    #[test]
    fn the_less_loaded_of_two_is_taken() {
        let targets = targets(&[1, 1]);
        let mut rng = Rng::from_u64(1);
        targets[0].inflight.set(3);
        for _ in 0..50 {
            assert_eq!(
                pick(Balance::LeastRequest, &targets, &mut rng, |_| true).unwrap().serial,
                1
            );
        }
    }

    #[test]
    fn a_split_follows_its_weights() {
        let mut rng = Rng::from_u64(3);
        let hits = (0..10_000).filter(|_| split(&[('a', 95), ('b', 5)], 100, &mut rng) == 'b');
        assert!((400..600).contains(&hits.count()));
    }
}
