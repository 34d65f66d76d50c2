//! Bounds: each with what is just allowed and what is just not.

use harness::client::{Client, End, ask, asking};
use harness::eventually;
use harness::gateway::Gateway;

use crate::numbers::{numbers, with_admin};

const OWN: &str = "[listener.web]\naddress = \"127.0.0.1:PORT\"\nhead_max = \"1KiB\"\n\
                   headers_max = 10\ntarget_max = \"512B\"\n[route.all]\nrespond = \"ok\"\n";

fn with_value(len: usize) -> String {
    format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "v".repeat(len))
}

on_both_drivers! {
    fn heads_targets_and_fields_are_bounded(driver: &str) {
        let gateway = Gateway::start(driver, OWN);
        let overhead = with_value(0).len();
        assert_eq!(ask(&gateway.address(), with_value(1024 - overhead)).status, 200);
        assert_eq!(ask(&gateway.address(), with_value(1025 - overhead)).status, 431);
        let target = |n: usize| format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "p".repeat(n - 1));
        assert_eq!(ask(&gateway.address(), target(512)).status, 200);
        assert_eq!(ask(&gateway.address(), target(513)).status, 414);
        let fields = |n: usize| {
            format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: 1\r\n".repeat(n - 1))
        };
        assert_eq!(ask(&gateway.address(), fields(10)).status, 200);
        assert_eq!(ask(&gateway.address(), fields(11)).status, 431);
    }

    /// A connection that has sent nothing is none yet, and becomes one with its first bytes.
    fn a_silent_connection_is_not_accepted_yet_where_that_is_said(driver: &str) {
        for (key, open) in [("", 2.0), ("defer_accept = \"9s\"\n", 1.0)] {
            let text = format!(
                "[listener.web]\naddress = \"127.0.0.1:PORT\"\n{key}[route.a]\nrespond = \"ok\"\n"
            );
            let (gateway, admin) = with_admin(driver, 1, &text);
            let sum = || numbers(&admin).sum("busbar_connections_open", &[]);
            let mut silent = Client::connect(&gateway.address());
            let mut other = Client::connect(&gateway.address());
            assert_eq!(other.ask(asking("/x", &[])).status, 200);
            eventually("those that have sent something are open", || sum() == open);
            assert_eq!(silent.ask(asking("/y", &[])).status, 200, "{key:?}");
            eventually("both are open", || sum() == 2.0);
        }
    }

    fn an_endless_head_is_cut_off(driver: &str) {
        let gateway = Gateway::start(driver, "[route.all]\nrespond = \"ok\"\n");
        let mut client = Client::connect(&gateway.address());
        client.send("GET / HTTP/1.1\r\nHost: a\r\n");
        for _ in 0..100_000 {
            if !client.try_send("X-Filler: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n") {
                break;
            }
        }
        assert_eq!(client.answer().map(|a| a.status).unwrap_or(431), 431);
    }

    fn connections_above_the_bound_wait(driver: &str) {
        let gateway = Gateway::start(driver,
            "[listener.web]\naddress = \"127.0.0.1:PORT\"\nconnections_max = 2\n\
             [route.all]\nrespond = \"ok\"\n");
        let get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        let (mut a, mut b) = (Client::connect(&gateway.address()), Client::connect(&gateway.address()));
        assert_eq!((a.ask(get).status, b.ask(get).status), (200, 200));
        let mut c = Client::connect(&gateway.address());
        c.send(get);
        c.stream.set_read_timeout(Some(std::time::Duration::from_millis(200))).unwrap();
        assert!(std::io::Read::read(&mut c.stream, &mut [0; 1]).is_err(), "it waits");
        drop(a);
        c.stream.set_read_timeout(Some(harness::PATIENCE)).unwrap();
        assert_eq!(c.answer().unwrap().status, 200);
        assert_eq!(b.ask(get).status, 200);
    }

    fn a_client_has_its_share_of_connections(driver: &str) {
        let gateway = Gateway::start(driver,
            "[listener.web]\naddress = \"127.0.0.1:PORT\"\nconnections_per_client = 2\n\
             [route.all]\nrespond = \"ok\"\n");
        let get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        let (mut a, mut b) = (Client::connect(&gateway.address()), Client::connect(&gateway.address()));
        assert_eq!((a.ask(get).status, b.ask(get).status), (200, 200));
        let mut c = Client::connect(&gateway.address());
        assert_eq!(c.ends(), End::Closed);
        drop(a);
        harness::eventually("a place is free again", || {
            let mut d = Client::connect(&gateway.address());
            d.try_send(get) && d.answer().is_ok_and(|a| a.status == 200)
        });
    }

    fn thousands_of_idle_connections_cost_little(driver: &str) {
        let gateway = Gateway::start(driver, "[route.all]\nrespond = \"ok\"\n");
        let get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        assert_eq!(ask(&gateway.address(), get).status, 200, "what comes once is there");
        let before = gateway.memory_kib("VmRSS");
        let mut clients: Vec<Client> =
            (0..2000).map(|_| Client::connect(&gateway.address())).collect();
        for client in &mut clients {
            assert_eq!(client.ask(get).status, 200);
        }
        // The allocator takes memory by huge pages: the measure is coarse by one of them.
        let taken = gateway.memory_kib("VmRSS").saturating_sub(before + 2048);
        let each = taken as f64 / 2000.0;
        assert!(each < 4.0, "{each} KiB each: an idle connection holds no buffer");
    }
}
