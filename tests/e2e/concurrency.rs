//! So many requests at one time, and no more.

use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use harness::client::{Client, asking, get};
use harness::eventually;
use harness::gateway::Gateway;
use harness::origin::Origin;
use harness::tokens::hashed;

use crate::numbers::{numbers, with_admin};

/// A service that holds each request until it is let go.
#[derive(Clone, Default)]
struct Slow {
    /// How many are there, how many there were at most, and how many may go.
    state: Arc<(Mutex<[usize; 3]>, Condvar)>,
}

impl Slow {
    fn serve(&self) -> String {
        let origin = Origin::new();
        let address = origin.address();
        let slow = self.clone();
        origin.serve(move |_| {
            let (state, told) = &*slow.state;
            let mut held = state.lock().unwrap();
            held[0] += 1;
            held[1] = held[1].max(held[0]);
            let mut held = told.wait_while(held, |held| held[2] == 0).unwrap();
            held[0] -= 1;
            held[2] -= 1;
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_vec()
        });
        address
    }

    fn let_go(&self, count: usize) {
        self.state.0.lock().unwrap()[2] += count;
        self.state.1.notify_all();
    }

    fn here(&self) -> usize {
        self.state.0.lock().unwrap()[0]
    }

    fn most(&self) -> usize {
        self.state.0.lock().unwrap()[1]
    }

    fn has(&self, count: usize) {
        eventually("the service has them", || self.here() == count);
    }
}

fn begin(gateway: &Gateway, path: &str, lines: &[&str]) -> Client {
    let mut client = Client::connect(&gateway.address());
    client.send(asking(path, lines));
    client
}

fn crowd(gateway: &Gateway, count: usize, path: &str) -> Vec<Client> {
    (0..count).map(|_| begin(gateway, path, &[])).collect()
}

fn config(service: &str, limit: &str) -> String {
    format!(
        "[upstream.slow]\nendpoints = [\"{service}\"]\n\
         [route.a]\npath = \"/a\"\nauth = \"none\"\nto = \"slow\"\n{limit}\n\
         [route.open]\npath = \"/open\"\nauth = \"none\"\nrespond = \"open\"\n"
    )
}

on_both_drivers! {
    fn the_limit_holds_over_all_workers(driver: &str) {
        let slow = Slow::default();
        let gateway = Gateway::two(driver, &config(&slow.serve(), "concurrency = 3"));
        for round in 1..=3 {
            let mut all = crowd(&gateway, 12, "/a");
            slow.has(3);
            // Those that are refused have their answers first.
            let (mut busy, mut kept) = (0, Vec::new());
            for client in &mut all {
                let mut byte = [0; 1];
                client.stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
                match client.stream.peek(&mut byte) {
                    Ok(_) => {
                        let answer = client.answer().unwrap();
                        assert_eq!((answer.status, &*answer.problem()), (503, "busy"));
                        assert_eq!(answer.field("retry-after"), Some("1"));
                        busy += 1;
                    }
                    Err(_) => kept.push(client),
                }
            }
            assert_eq!((busy, kept.len(), slow.most()), (9, 3, 3), "round {round}");
            slow.let_go(3);
            for client in kept {
                client.stream.set_read_timeout(Some(harness::PATIENCE)).unwrap();
                assert_eq!(client.answer().unwrap().status, 200);
            }
        }
        gateway.stop();
    }

    fn who_waits_has_a_turn_and_no_more_wait_than_may(driver: &str) {
        let slow = Slow::default();
        let limit = "concurrency = { limit = 2, queue = 4, wait = \"15s\" }";
        let gateway = Gateway::two(driver, &config(&slow.serve(), limit));
        let mut first = crowd(&gateway, 2, "/a");
        slow.has(2);
        let mut waiting = crowd(&gateway, 4, "/a");
        assert_eq!(get(&gateway.address(), "/open").status, 200);
        slow.let_go(6);
        first.append(&mut waiting);
        first.iter_mut().for_each(|client| assert_eq!(client.answer().unwrap().status, 200));
        assert_eq!(slow.most(), 2);
        // Each worker has room for four: of twelve at most ten get in or wait.
        let mut all = crowd(&gateway, 14, "/a");
        slow.has(2);
        slow.let_go(14);
        let answers = all.iter_mut().map(|client| client.answer().unwrap().status);
        let statuses: Vec<u16> = answers.collect();
        assert!(statuses.iter().all(|status| [200, 503].contains(status)), "{statuses:?}");
        assert_eq!(slow.most(), 2);
        gateway.stop();
    }

    fn a_wait_ends_by_itself(driver: &str) {
        let slow = Slow::default();
        let limit = "concurrency = { limit = 1, queue = 9, wait = \"150ms\" }";
        let gateway = Gateway::two(driver, &config(&slow.serve(), limit));
        let mut first = begin(&gateway, "/a", &[]);
        slow.has(1);
        for mut client in crowd(&gateway, 3, "/a") {
            let answer = client.answer().unwrap();
            assert_eq!((answer.status, &*answer.problem()), (503, "busy"));
            assert!(answer.field("retry-after").is_some());
            assert_eq!(client.ask(asking("/open", &[])).status, 200, "the connection stays");
        }
        slow.let_go(1);
        assert_eq!(first.answer().unwrap().status, 200);
        gateway.stop();
    }

    /// Each of those who wait has a turn before anybody has another, in the order they came.
    fn callers_have_turns_in_a_queue(driver: &str) {
        let origin = Origin::new();
        let consumers = ["acme", "beta", "carl"].map(|name| {
            format!("[consumer.{name}]\napi_keys = [\"{}\"]\n", hashed(name))
        });
        let (gateway, admin) = with_admin(driver, 1, &format!(
            "[auth.keys]\nmethod = \"api_key\"\n{}[upstream.slow]\nendpoints = [\"{}\"]\n\
             [route.a]\nauth = \"keys\"\nto = \"slow\"\n\
             concurrency = {{ limit = 1, queue = 9, wait = \"60s\" }}\n",
            consumers.concat(), origin.address()));
        let mut clients = Vec::new();
        for (n, name) in
            ["acme", "acme", "acme", "acme", "beta", "carl", "beta"].into_iter().enumerate()
        {
            let path = format!("/{n}");
            clients.push(begin(&gateway, &path, &[&format!("X-Api-Key: {name}")]));
            let count = n as f64 + 1.0;
            eventually("it is there or waits", || {
                numbers(&admin).value("busbar_requests_in_flight", &[]) == count
            });
        }
        let mut up = origin.accept();
        let order = [(); 7].map(|()| {
            let head = up.head();
            up.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
            head.as_bytes()[5] - b'0'
        });
        assert_eq!(order, [0, 1, 4, 5, 2, 6, 3]);
        clients.iter_mut().for_each(|client| assert_eq!(client.answer().unwrap().status, 200));
        gateway.stop();
    }

    /// In the service, and in the queue.
    fn who_hangs_up_frees_a_place(driver: &str) {
        let slow = Slow::default();
        let limit = "concurrency = { limit = 1, queue = 2, wait = \"15s\" }";
        let gateway = Gateway::two(driver, &config(&slow.serve(), limit));
        let first = begin(&gateway, "/a", &[]);
        slow.has(1);
        let is_refused = |client: &mut Client| {
            client.stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
            let said = client.stream.peek(&mut [0; 1]).is_ok();
            client.stream.set_read_timeout(Some(harness::PATIENCE)).unwrap();
            said
        };
        // Both queues are full; then those that waited are gone.
        let mut crowd = crowd(&gateway, 10, "/a");
        assert!(crowd.iter_mut().any(is_refused));
        drop(crowd);
        let mut last = begin(&gateway, "/a", &[]);
        eventually("a place in the queue is free", || {
            let refused = is_refused(&mut last);
            if refused {
                last = begin(&gateway, "/a", &[]);
            }
            !refused
        });
        // The service has not answered the first, and never needs to.
        drop(first);
        slow.has(2);
        slow.let_go(2);
        assert_eq!(last.answer().unwrap().status, 200);
        gateway.stop();
    }

    fn a_reload_takes_nobodys_place_away(driver: &str) {
        let slow = Slow::default();
        let limit = "concurrency = { limit = 1, queue = 9, wait = \"15s\" }";
        let text = config(&slow.serve(), limit);
        let gateway = Gateway::two(driver, &text);
        let mut first = begin(&gateway, "/a", &[]);
        slow.has(1);
        let mut waiting = crowd(&gateway, 4, "/a");
        // Nor does another limit that is put before it.
        let beside = text.replace("concurrency = {", "concurrency = [{ limit = 50, per = \
                                   \"upstream\", queue = 3 }, {").replace("15s\" }", "15s\" }]");
        gateway.rewrite(&beside);
        gateway.reload();
        waiting.extend(crowd(&gateway, 2, "/a"));
        assert_eq!(get(&gateway.address(), "/open").status, 200);
        assert_eq!(slow.most(), 1, "whoever is in counts on");
        slow.let_go(7);
        assert_eq!(first.answer().unwrap().status, 200);
        waiting.iter_mut().for_each(|client| assert_eq!(client.answer().unwrap().status, 200));
        assert_eq!(slow.most(), 1);
        // A higher limit lets more in at once.
        gateway.rewrite(&text.replace("limit = 1", "limit = 3"));
        gateway.reload();
        let mut all = crowd(&gateway, 5, "/a");
        slow.has(3);
        slow.let_go(5);
        all.iter_mut().for_each(|client| assert_eq!(client.answer().unwrap().status, 200));
        gateway.stop();
    }

    /// On both workers: of four that wait, some are where the first is not.
    fn who_waits_for_a_limit_that_is_gone_or_higher_goes_on(driver: &str) {
        let slow = Slow::default();
        let limit = "concurrency = { limit = 1, queue = 9, wait = \"60s\" }";
        let service = config(&slow.serve(), limit);
        let (gateway, admin) = with_admin(driver, 2, &service);
        let text = format!("[admin]\naddress = \"{admin}\"\n{service}");
        for (changed, now) in [
            (text.replace("limit = 1", "limit = 3"), 3),
            (text.replace(limit, ""), 7),
            (text.replace(limit, "concurrency = { limit = 1, per = \"upstream\" }"), 7),
        ] {
            let mut all = crowd(&gateway, 1, "/a");
            slow.has(1);
            all.extend(crowd(&gateway, 6, "/a"));
            eventually("they wait", || {
                numbers(&admin).value("busbar_requests_in_flight", &[]) >= 7.0
            });
            gateway.rewrite(&changed);
            gateway.reload();
            slow.has(now);
            slow.let_go(7);
            all.iter_mut().for_each(|client| assert_eq!(client.answer().unwrap().status, 200));
            gateway.rewrite(&text);
            gateway.reload();
        }
        gateway.stop();
    }

    /// And gives it back when both ends have closed. Reloads leave it its place.
    fn an_open_tunnel_holds_a_place(driver: &str) {
        let origin = Origin::new();
        let text = config(&origin.address(), "concurrency = 1");
        let gateway = Gateway::two(driver, &text);
        let fields = ["Connection: Upgrade", "Upgrade: websocket"];
        for round in 0..2 {
            let mut client = begin(&gateway, "/a", &fields);
            let mut up = origin.accept();
            up.head();
            up.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\
                     Upgrade: websocket\r\n\r\n");
            assert_eq!(client.head().unwrap().status, 101);
            for reloads in 0..2 {
                for _ in 0..3 {
                    let answer = begin(&gateway, "/a", &[]).answer().unwrap();
                    assert_eq!((answer.status, &*answer.problem()), (503, "busy"), "{reloads}");
                }
                gateway.rewrite(&format!("{text}timeout = \"{}s\"\n", 9 + reloads));
                gateway.reload();
            }
            client.send("ping");
            assert_eq!(up.exactly(4), b"ping");
            // Whichever end closes first, the other follows.
            if round == 0 {
                drop(client);
                assert!(up.ends().is_empty());
                drop(up);
            } else {
                drop(up);
                assert!(client.rest().0.is_empty());
                drop(client);
            }
            eventually("the place is free", || {
                let mut next = begin(&gateway, "/a", &["Connection: close"]);
                match origin.accept_within(Duration::from_millis(100)) {
                    Some(mut up) => {
                        up.head();
                        up.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
                        next.answer().unwrap().status == 200
                    }
                    None => next.answer().unwrap().status != 503,
                }
            });
        }
        gateway.stop();
    }

    fn by_consumer_by_plan_and_by_upstream(driver: &str) {
        let slow = Slow::default();
        let gateway = Gateway::two(driver, &format!(r#"
[auth.keys]
method = "api_key"
[plan.gold]
concurrency = 2
[consumer.acme]
api_keys = ["{}"]
[consumer.beta]
plan = "gold"
api_keys = ["{}"]
[upstream.slow]
endpoints = ["{}"]
[route.each]
path = "/each"
auth = "keys"
to = "slow"
concurrency = {{ limit = 1, per = "consumer" }}
[route.plan]
path = "/plan"
auth = "keys"
to = "slow"
[route.one]
path = "/one"
auth = "none"
to = "slow"
concurrency = {{ limit = 1, per = "upstream" }}
[route.two]
path = "/two"
auth = "none"
to = "slow"
concurrency = {{ limit = 1, per = "upstream" }}
"#, hashed("acme"), hashed("beta"), slow.serve()));
        let (acme, beta) = ("X-Api-Key: acme", "X-Api-Key: beta");
        for (held, refused, status, problem) in [
            (&[("/each", acme), ("/each", beta)][..], &[("/each", acme), ("/each", beta)][..],
             429, "too-many-at-once"),
            (&[("/plan", beta), ("/plan", beta), ("/plan", acme), ("/plan", acme)],
             &[("/plan", beta), ("/each", beta)], 429, "too-many-at-once"),
            (&[("/one", "A: b")], &[("/two", "A: b"), ("/one", "A: b")], 503, "busy"),
        ] {
            let in_it = |(path, line): &(&str, &str)| begin(&gateway, path, &[line]);
            let mut inside: Vec<Client> = held.iter().map(in_it).collect();
            slow.has(held.len());
            for (path, line) in refused {
                let answer = begin(&gateway, path, &[line]).answer().unwrap();
                assert_eq!((answer.status, &*answer.problem()), (status, problem), "{path} {line}");
                assert_eq!(answer.field("retry-after"), Some("1"));
            }
            slow.let_go(held.len());
            inside.iter_mut().for_each(|client| assert_eq!(client.answer().unwrap().status, 200));
            // Places are free once answers are out.
            eventually("all are free", || {
                let (path, line) = held[0];
                let mut client = begin(&gateway, path, &[line]);
                eventually("it is there or refused", || {
                    let mut byte = [0; 1];
                    client.stream.set_nonblocking(true).unwrap();
                    let said = client.stream.peek(&mut byte).is_ok();
                    client.stream.set_nonblocking(false).unwrap();
                    said || slow.here() == 1
                });
                slow.let_go(slow.here());
                client.answer().unwrap().status == 200
            });
        }
        gateway.stop();
    }
}
