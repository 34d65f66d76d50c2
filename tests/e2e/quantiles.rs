//! Quantiles, against those that the client and the origin measure themselves.
//!
//! For each request the origin's own time lies within the gateway's, and the gateway's within the
//! client's, so that the same holds of every quantile. The first is asserted outright. The second
//! has a bound, a hundredth (what a histogram of two digits may be wrong by) and a millisecond,
//! and a busy machine can hold a client back for longer than that between the gateway's last byte
//! and its own clock. That can only drive the two apart: one round of some in which all
//! quantiles agree shows that the gateway is right, a wrong gateway has none.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use harness::client::Client;
use harness::metrics::Exposition;
use harness::origin::Origin;

use crate::numbers::{draw, numbers, with_admin};

const ROUNDS_MAX: u64 = 8;
const CLIENTS: u64 = 4;
const REQUESTS: u64 = 50;
const SHARES: [(f64, &str); 3] = [(0.5, "0.5"), (0.9, "0.9"), (0.99, "0.99")];

fn us(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

/// The smallest time that this share of all does not exceed, as histograms have it.
fn quantile(times: &[f64], share: f64) -> f64 {
    let mut times = times.to_vec();
    times.sort_by(f64::total_cmp);
    times[(share * times.len() as f64).ceil() as usize - 1]
}

fn exceeds(larger: f64, smaller: f64) -> bool {
    larger > smaller * 1.01 + 1000.0
}

/// Asks for delays of 5 to 200 ms; the times of all requests.
fn ask(address: &str, mut seed: u64) -> Vec<f64> {
    let mut client = Client::connect(address);
    let mut times = Vec::new();
    for _ in 0..REQUESTS {
        let delay = 5 + draw(&mut seed) % 196;
        let request = format!("GET /{delay} HTTP/1.1\r\nHost: a\r\n\r\n");
        let began = Instant::now();
        assert_eq!(client.ask(request).status, 200);
        times.push(us(began.elapsed()));
    }
    times
}

/// The times of all requests as the clients and the origin measured them, and the gateway's
/// numbers.
fn round(driver: &str, seed: u64) -> (Vec<f64>, Vec<f64>, Exposition) {
    let origin = Origin::new();
    let (gateway, admin) =
        with_admin(driver, 2, &format!("[route.app]\nto = \"http://{}\"\n", origin.address()));
    let delays = Arc::new(Mutex::new(Vec::new()));
    let kept = delays.clone();
    origin.serve(move |head| {
        let began = Instant::now();
        let delay = head.split([' ', '/']).nth(2).and_then(|ms| ms.parse().ok());
        harness::pace(Duration::from_millis(delay.expect("the path is a number")));
        kept.lock().unwrap().push(us(began.elapsed()));
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_vec()
    });
    let clients: Vec<_> = (1..=CLIENTS)
        .map(|n| {
            let address = gateway.address();
            std::thread::spawn(move || ask(&address, seed * CLIENTS + n))
        })
        .collect();
    let times = clients.into_iter().flat_map(|client| client.join().unwrap()).collect();
    let numbers = numbers(&admin);
    gateway.stop();
    let delays = delays.lock().unwrap().clone();
    (times, delays, numbers)
}

/// Whether all quantiles agree with the client's; none may lie below the origin's.
fn agrees(times: &[f64], delays: &[f64], numbers: &Exposition, said: &mut String) -> bool {
    let mut agrees = true;
    // A route's histogram has two digits, that of all routes three.
    for route in ["app", ""] {
        for (share, text) in SHARES {
            let name = "busbar_request_duration_quantiles_seconds";
            let told = numbers.value(name, &[("route", route), ("quantile", text)]) * 1e6;
            let (client, origin) = (quantile(times, share), quantile(delays, share));
            let line = format!("p{share} {told} µs, client {client}, origin {origin}\n");
            assert!(!exceeds(origin, told), "below what the origin took: {line}");
            agrees &= !exceeds(told, client) && !exceeds(client, told);
            *said += &line;
        }
        let labels = [("route", route)];
        let count = numbers.value("busbar_request_duration_quantiles_seconds_count", &labels);
        assert_eq!(count as usize, times.len());
        let sum = numbers.value("busbar_request_duration_quantiles_seconds_sum", &labels) * 1e6;
        assert!(sum >= delays.iter().sum::<f64>(), "{sum}");
    }
    agrees
}

on_both_drivers! {
    fn are_those_of_the_client(driver: &str) {
        let mut said = String::new();
        let agreed = (1..=ROUNDS_MAX).any(|seed| {
            let (times, delays, numbers) = round(driver, seed);
            agrees(&times, &delays, &numbers, &mut said)
        });
        assert!(agreed, "in none of {ROUNDS_MAX} rounds:\n{said}");
    }
}
