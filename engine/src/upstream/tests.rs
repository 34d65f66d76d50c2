//! Targets over generations, names and refusals.

use std::time::Duration;

use super::target::{SHUN_FIRST, TRIES_MAX};
use super::*;
use crate::snapshot::{Endpoint, HostMode};

fn upstream(texts: &[(&str, u16)]) -> Upstream {
    let endpoints = texts.iter().map(|&(text, weight)| {
        let address = match text.parse() {
            Ok(ip) => EndpointAddress::Ip(ip),
            Err(_) => EndpointAddress::Name { host: text.into(), port: 80 },
        };
        Endpoint { address, weight, text: text.into() }
    });
    Upstream {
        name: "u".into(),
        endpoints: endpoints.collect(),
        balance: Balance::RoundRobin,
        host: HostMode::Keep,
        pool_idle: 2,
        pool_idle_timeout: Duration::from_secs(55),
        pool_lifetime: Duration::from_secs(3600),
        connect_timeout: Duration::from_secs(2),
        connections_max: None,
        limits: parser::Limits::default(),
        tls: None,
    }
}

#[test]
fn a_refusing_target_is_skipped_for_a_while_and_tried_when_all_refuse() {
    let local: Local<()> = Local::new(&upstream(&[("10.0.0.1:1", 1), ("10.0.0.2:1", 1)]), (0, 1));
    let (mut rng, now) = (Rng::from_u64(1), Mono(1));
    let none = Tried::default();
    let first = local.pick(now, &mut rng, &none).unwrap();
    first.refused(now);
    for _ in 0..4 {
        assert_ne!(local.pick(now, &mut rng, &none).unwrap().serial, first.serial);
    }
    let later = now.after(SHUN_FIRST);
    let again = (0..2).any(|_| local.pick(later, &mut rng, &none).unwrap().serial == 0);
    assert!(again, "its pause is over");
    let second = local.pick(now, &mut rng, &none).unwrap();
    second.refused(now);
    assert!(local.pick(now, &mut rng, &none).is_some(), "all refuse: one is asked anyway");
}

#[test]
fn a_tried_target_is_not_picked_again() {
    let local: Local<()> = Local::new(&upstream(&[("10.0.0.1:1", 1), ("10.0.0.2:1", 1)]), (0, 1));
    let (mut rng, mut tried) = (Rng::from_u64(1), Tried::default());
    for _ in 0..2 {
        tried.add(local.pick(Mono(1), &mut rng, &tried).unwrap().serial);
    }
    assert!(local.pick(Mono(1), &mut rng, &tried).is_none());
}

#[test]
fn addresses_that_stay_keep_their_pools() {
    let model = upstream(&[("app.internal", 1)]);
    let local: Local<u8> = Local::new(&model, (0, 1));
    let mut rng = Rng::from_u64(1);
    assert!(local.pick(Mono(1), &mut rng, &Tried::default()).is_none(), "not resolved yet");
    let resolved = |ips: &[&str]| Resolved {
        host: "app.internal".into(),
        port: 80,
        addresses: ips.iter().map(|ip| ip.parse().unwrap()).collect(),
    };
    local.resolve(&model, &resolved(&["10.0.0.1:80"]));
    let target = local.pick(Mono(1), &mut rng, &Tried::default()).unwrap();
    target.pool.borrow_mut().checkin(7, Mono(1), Mono::NEVER);
    local.resolve(&model, &resolved(&["10.0.0.1:80", "10.0.0.2:80"]));
    assert_eq!(local.idle_len(), 1);
    local.resolve(&model, &resolved(&["10.0.0.2:80"]));
    assert_eq!(local.idle_len(), 0);
    assert!(!target.pool.borrow_mut().checkin(8, Mono(1), Mono::NEVER), "closed for good");
}

#[test]
fn a_names_weight_counts_once_however_many_addresses_it_has() {
    let model = upstream(&[("a.internal", 2), ("10.0.0.9:1", 1), ("b.internal", 1)]);
    let local: Local<u8> = Local::new(&model, (0, 1));
    let resolve = |host: &str, ips: &[&str]| {
        let addresses = ips.iter().map(|ip| ip.parse().unwrap()).collect();
        local.resolve(&model, &Resolved { host: host.into(), port: 80, addresses });
    };
    // In an order that would tear the targets of one name apart.
    resolve("a.internal", &["10.0.1.1:80"]);
    resolve("b.internal", &["10.0.2.1:80", "10.0.2.2:80"]);
    resolve("a.internal", &["10.0.1.1:80", "10.0.1.2:80", "10.0.1.3:80"]);
    let mut rng = Rng::from_u64(1);
    let mut counts = std::collections::BTreeMap::new();
    for turn in 1..=120 {
        let target = local.pick(Mono(1), &mut rng, &Tried::default()).unwrap();
        *counts.entry(target.endpoint.get().index()).or_insert(0) += 1;
        *counts.entry(1000 + target.serial as usize).or_insert(0) += 1;
        let exact = turn % 4 != 0 || counts[&0] == turn / 2 && counts[&2] == turn / 4;
        assert!(exact, "after {turn}: {counts:?}");
    }
    let each: Vec<i32> = counts.range(1000..).map(|(_, count)| *count).collect();
    assert_eq!(each, [30, 20, 15, 15, 20, 20], "addresses take turns");
    // One address that refuses leaves its name's share to the others.
    local.targets.borrow()[0].refused(Mono(1));
    let picks = (0..40).map(|_| local.pick(Mono(1), &mut rng, &Tried::default()).unwrap());
    assert_eq!(picks.filter(|t| t.endpoint.get().index() == 0).count(), 20);
    local.balance.set(Balance::LeastRequest);
    let picks = (0..4000).map(|_| local.pick(Mono(1), &mut rng, &Tried::default()).unwrap());
    let of_a = picks.filter(|t| t.endpoint.get().index() == 0).count();
    assert!((1400..2200).contains(&of_a), "{of_a} of 4000 by two drawn");
}

#[test]
fn every_target_may_be_tried_up_to_the_bound() {
    let texts: Vec<String> = (1..=20).map(|i| format!("10.0.0.{i}:1")).collect();
    let endpoints: Vec<(&str, u16)> = texts.iter().map(|text| (&**text, 1)).collect();
    let local: Local<()> = Local::new(&upstream(&endpoints), (0, 1));
    let (mut rng, mut tried) = (Rng::from_u64(1), Tried::default());
    while !tried.is_full() {
        let target = local.pick(Mono(1), &mut rng, &tried).expect("some are left");
        assert!(!tried.has(target.serial));
        tried.add(target.serial);
    }
    assert_eq!(tried.len(), TRIES_MAX);
}

#[test]
fn endpoints_that_stay_keep_their_pools_over_generations() {
    let local: Local<u8> = Local::new(&upstream(&[("10.0.0.1:1", 1), ("10.0.0.2:1", 1)]), (0, 1));
    let targets = || local.targets.borrow().clone();
    for (target, connection) in targets().iter().zip([1, 2]) {
        target.pool.borrow_mut().checkin(connection, Mono(1), Mono::NEVER);
    }
    let first = targets()[0].clone();
    // Another order, another weight, a new one, one gone.
    local.adopt(&upstream(&[("10.0.0.3:1", 1), ("10.0.0.2:1", 7)]), (0, 1));
    let now = targets();
    assert_eq!(now.len(), 2);
    assert_eq!((&*now[1].text, now[1].share.weight.get(), now[1].serial), ("10.0.0.2:1", 7, 1));
    assert_eq!(local.idle_len(), 1);
    assert!(!first.pool.borrow_mut().checkin(3, Mono(1), Mono::NEVER), "closed for good");
    // Twice the same text are two endpoints, and stay two.
    local.adopt(&upstream(&[("10.0.0.2:1", 1), ("10.0.0.2:1", 1)]), (0, 1));
    let serials: Vec<u32> = targets().iter().map(|t| t.serial).collect();
    local.adopt(&upstream(&[("10.0.0.2:1", 2), ("10.0.0.2:1", 2)]), (0, 1));
    assert_eq!(targets().iter().map(|t| t.serial).collect::<Vec<_>>(), serials);
    assert_eq!((serials.len(), local.idle_len()), (2, 1));
}

#[test]
fn a_names_addresses_stay_over_generations() {
    let local: Local<u8> = Local::new(&upstream(&[("app.internal", 1)]), (0, 1));
    let addresses = Box::new(["10.0.0.1:80".parse().unwrap(), "10.0.0.2:80".parse().unwrap()]);
    let resolved = Resolved { host: "app.internal".into(), port: 80, addresses };
    local.resolve(&upstream(&[("app.internal", 1)]), &resolved);
    local.adopt(&upstream(&[("10.0.0.9:1", 1), ("app.internal", 3)]), (0, 1));
    let texts: Vec<_> = local.targets.borrow().iter().map(|t| t.text.clone()).collect();
    assert_eq!(texts, ["10.0.0.9:1".into(), "app.internal".into(), "app.internal".into()]);
}

/// What was judged by other terms is not used again; the same terms change nothing.
#[test]
fn connections_made_on_other_terms_are_not_used_again() {
    use crate::tls::client::{ClientTerms, Given};
    use crate::tls::verify::Trust;
    let terms = |pins: &[[u8; 32]]| {
        let given = Given {
            trust: &Trust::Anyone,
            trust_digest: [0; 32],
            pins,
            server_name: None,
            own: None,
        };
        Some(std::sync::Arc::new(ClientTerms::of(given).expect("they are possible")))
    };
    let with = |tls| Upstream { tls, ..upstream(&[("10.0.0.1:80", 1)]) };
    let local: Local<u32> = Local::new(&with(terms(&[])), (0, 1));
    let (now, far) = (Mono(1), Mono(1 << 40));
    let target = |local: &Local<u32>| {
        let mut rng = Rng::from_u64(1);
        local.pick(now, &mut rng, &Tried::default()).expect("one")
    };
    target(&local).pool.borrow_mut().checkin(7, now, far);
    local.adopt(&with(terms(&[])), (0, 1));
    assert_eq!(local.idle_len(), 1, "they are the same");
    let before = target(&local);
    local.adopt(&with(terms(&[[1; 32]])), (0, 1));
    assert_eq!(local.idle_len(), 0);
    before.pool.borrow_mut().checkin(8, now, far);
    assert_eq!(before.pool.borrow().len(), 0, "what comes back is dropped");
}
