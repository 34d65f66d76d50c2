//! Handshakes that never end, that are none, and more of them than there is room for.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use harness::certs::{Authority, Wish};
use harness::client::End;
use harness::crowd::{Bystander, Meter, raise_descriptors, status_kib};
use harness::gateway::Gateway;
use harness::origin::Origin;
use harness::secure::{ASK, Secure, VERSIONS, listener};
use harness::tls::{s_client, testssl, to};
use harness::{PATIENCE, eventually};

const HELLO: &str = "[route.a]\nrespond = \"hello\"\n";

/// What a client says first.
fn hello(secure: &Secure) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut tls = to("shop.example", &secure.believing(VERSIONS[0]));
    tls.write_tls(&mut bytes).expect("it goes to memory");
    bytes
}

fn connect(secure: &Secure, bytes: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(secure.gateway.address()).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("above zero");
    stream.write_all(bytes).expect("it reads");
    stream
}

/// Waits for the gateway's end, whatever it says before.
fn ends(mut stream: TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Err(e) = stream.read_to_end(&mut bytes) {
        assert_eq!(e.kind(), std::io::ErrorKind::ConnectionReset, "it does not end");
    }
    bytes
}

on_both_drivers! {
    fn who_stalls_is_gone_by_the_deadline(driver: &str) {
        let secure = Secure::start(driver, ", handshake_timeout = \"300ms\"", HELLO);
        let whole = hello(&secure);
        // Nothing, the beginning of a record, half a hello, and all of it but no more.
        let stalled: Vec<TcpStream> =
            [0, 3, whole.len() / 2, whole.len()].map(|n| connect(&secure, &whole[..n])).into();
        stalled.into_iter().for_each(|stream| drop(ends(stream)));
        eventually("they are counted", || secure.greeted("timeout") == 4);
        // One that goes on a byte at a time has no more time than they.
        let mut slow = connect(&secure, &[]);
        eventually("it ends", || {
            let byte = whole[0];
            slow.write_all(&[byte]).is_err()
        });
        assert_eq!(secure.ask(ASK).text(), "hello");
    }

    fn garbage_ends_a_handshake_with_an_alert_at_most(driver: &str) {
        let secure = Secure::start(driver, "", HELLO);
        let whole = hello(&secure);
        let mut broken = whole.clone();
        broken[43] = 0xff; // no session's id is as long
        let mut long = vec![0x16, 3, 1, 0xff, 0xff];
        long.resize(70_000, 0);
        let rows: [&[u8]; 8] = [
            &[0; 64], &[0xff; 4096], b"SSH-2.0-x\r\n"[..].into(), b"\x16\x03\x01\x00\x00", &broken, &long,
            b"\x17\x03\x03\x00\x20................................",
            b"\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10\x00\x00\x01\x00\x80",
        ];
        let mut count = 0;
        for row in rows {
            let mut stream = connect(&secure, &[]);
            let _ = stream.write_all(row);
            let _ = stream.shutdown(std::net::Shutdown::Write);
            let said = ends(stream);
            assert!(said.is_empty() || said[0] == 0x15 || said.starts_with(b"HTTP/1.1 400"),
                    "{row:?}: {said:?}");
            count += u64::from(!said.starts_with(b"HTTP/1.1 400"));
        }
        // A hello, and then no answer to ours but garbage.
        let mut stream = connect(&secure, &whole);
        assert_ne!(stream.read(&mut [0; 1]).expect("its flight"), 0);
        stream.write_all(&[0xff; 100]).expect("it reads");
        ends(stream);
        assert_eq!(secure.ask(ASK).text(), "hello");
        eventually("they are counted", || secure.greeted("failed") == count + 1);
    }

    /// The oldest give way; what is past its handshake is left alone.
    fn of_too_many_handshakes_the_newest_get_in(driver: &str) {
        let origin = Origin::new();
        let rest = format!("{HELLO}[route.app]\npath = \"/app\"\nto = \"http://{}\"\n",
                           origin.address());
        let secure = Secure::start(driver, ", handshakes_max = 4", &rest);
        let mut busy = secure.client();
        busy.send("GET /app HTTP/1.1\r\nHost: a\r\n\r\n");
        let mut up = origin.accept();
        up.head();
        let (whole, mut tunnel) = (hello(&secure), secure.client());
        assert_eq!(tunnel.ask(ASK).text(), "hello");
        let mut stalled = Vec::new();
        for round in 0..10 {
            stalled.extend((0..10).map(|_| connect(&secure, &whole[..whole.len() / 2])));
            // They come first: both workers have four of them, and no more to let in.
            let are_in = || secure.greeted("crowded") + 8 >= 10 * (round + 1);
            eventually("they are in", are_in);
            assert_eq!(secure.ask(ASK).text(), "hello", "{round}");
        }
        // Two workers, four each: all others have ended, the first of them first.
        eventually("the others are gone", || secure.greeted("crowded") >= 92);
        assert!(secure.greeted("crowded") <= 100);
        stalled.drain(..60).for_each(|stream| assert!(ends(stream).is_empty()));
        assert_eq!(tunnel.ask(ASK).text(), "hello");
        up.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        assert_eq!(busy.answer().unwrap().text(), "ok");
    }

    /// Handshakes cost CPU: whoever has no part in them is served in between.
    fn requests_go_on_in_a_storm(driver: &str) {
        let plain = harness::free_port();
        let rest = format!("[listener.plain]\naddress = \"127.0.0.1:{plain}\"\n{HELLO}");
        let secure = Secure::start(driver, ", handshakes_max = 64", &rest);
        let bystander = Bystander::begin(&format!("127.0.0.1:{plain}"), "/");
        let whole = hello(&secure);
        for _ in 0..5 {
            // Whole hellos, each of which is answered by a signature.
            let storm: Vec<TcpStream> = (0..100).map(|_| connect(&secure, &whole)).collect();
            assert_eq!(secure.ask(ASK).text(), "hello");
            drop(storm);
        }
        let served = bystander.end();
        assert!(served.p99 < Duration::from_secs(1), "{served:?}");
    }

    /// 64 on each worker, with as much as a hello may have before it is one.
    fn stalled_hellos_cost_bounded_memory(driver: &str) {
        raise_descriptors();
        let secure = Secure::start(driver, ", handshakes_max = 64", HELLO);
        (0..8).for_each(|_| assert_eq!(secure.ask(ASK).status, 200));
        let before = status_kib(secure.gateway.pid(), "RssAnon");
        let meter = Meter::begin(secure.gateway.pid());
        // A hello of 65,535 bytes, in records of 16 KiB, all but its end.
        let mut bytes = Vec::new();
        let message = [&[1, 0, 0xff, 0xff][..], &[3, 3], &[0; 60_000]].concat();
        for part in message.chunks(16_000) {
            bytes.extend([0x16, 3, 1, (part.len() >> 8) as u8, part.len() as u8]);
            bytes.extend(part);
        }
        let whole = hello(&secure);
        let mut stalled = Vec::new();
        for n in 0..1000 {
            let mut stream = connect(&secure, &[]);
            // (It may be refused in the midst of it.)
            let _ = stream.write_all(if n % 4 == 0 { &bytes } else { &whole });
            stalled.push(stream);
        }
        eventually("most are gone", || secure.greeted("crowded") + secure.greeted("failed") > 800);
        assert_eq!(secure.ask(ASK).text(), "hello");
        let most = meter.end();
        let bound = 2 * 64 * (72 + 40) + 4096;
        assert!(most < before + bound, "{before} KiB grew to {most} KiB, {bound} are allowed");
    }

    fn a_flood_of_key_updates_ends_its_connection(driver: &str) {
        let secure = Secure::start(driver, "", HELLO);
        let mut client = secure.client();
        assert_eq!(client.ask(ASK).text(), "hello");
        for _ in 0..200 {
            client.tls.as_mut().unwrap().refresh_traffic_keys().expect("TLS 1.3");
            assert_eq!(client.ask(ASK).text(), "hello", "with requests in between it is none");
        }
        let before = status_kib(secure.gateway.pid(), "RssAnon");
        let mut client = secure.client();
        assert_eq!(client.ask(ASK).text(), "hello");
        let tls = client.tls.as_mut().unwrap();
        for _ in 0..10_000 {
            tls.refresh_traffic_keys().expect("TLS 1.3");
            while tls.wants_write() {
                if tls.write_tls(&mut client.stream).is_err() {
                    break;
                }
            }
        }
        assert!(!client.try_send(ASK) || client.answer().is_err());
        assert!(status_kib(secure.gateway.pid(), "RssAnon") < before + 2048);
        assert_eq!(secure.ask(ASK).text(), "hello");
    }

    fn nobody_renegotiates(driver: &str) {
        let secure = Secure::start(driver, "", HELLO);
        let mut command = Command::new("openssl");
        command.args(["s_client", "-tls1_2", "-connect", &secure.gateway.address()]);
        let said = harness::child::run_with(&mut command, b"R\n", PATIENCE);
        assert!(said.all().contains("RENEGOTIATING"), "{said:#?}");
        assert!(said.all().contains("no renegotiation"), "{said:#?}");
        assert_eq!(s_client(secure.gateway.port, &["-tls1_2"]).status, Some(200));
        assert_eq!(secure.ask(ASK).text(), "hello");
    }

    /// Records that are none, behind a handshake that was good.
    fn garbage_behind_a_handshake_is_the_end(driver: &str) {
        let secure = Secure::start(driver, "", HELLO);
        for version in VERSIONS {
            for garbage in [&[0xff; 40][..], b"\x17\x03\x03\x00\x1e..............................",
                            ASK.as_bytes()] {
                let mut client = secure.connect(&secure.believing(version));
                assert_eq!(client.ask(ASK).text(), "hello");
                client.stream.write_all(garbage).expect("it reads");
                let (rest, end) = client.rest();
                assert!(rest.is_empty() && end != End::Closed, "{end:?}");
            }
        }
        assert_eq!(secure.ask(ASK).text(), "hello");
    }
}

/// What testssl finds that is no fault of the gateway's: nobody it knows vouches for our authority,
/// which says nowhere what it has revoked; and its own openssl has no GOST.
const EXCEPT: [&str; 3] = ["cert_chain_of_trust", "cert_revocation", "engine_problem"];
/// What it sometimes can't look at on a busy machine (`tls::openssl_resumes` does).
const UNSEEN: (&str, &str) = ("sessionresumption_ticket", "WARN");

/// By another program's judgement there is nothing above LOW.
#[test]
fn testssl_finds_nothing() {
    let authority = Authority::new("Root");
    let wish = Wish { sans: &["IP:127.0.0.1"], until: 90, ..Wish::default() };
    let pair = authority.issue("shop", &wish);
    let text = format!("{}{HELLO}", listener(&pair, ", hsts = \"365d\""));
    let gateway = Gateway::two("uring", &text);
    // Protocols, forward secrecy, lists of ciphers and their order, the certificate, and every
    // vulnerability that has a name.
    let found = testssl(gateway.port, &["-p", "-f", "-s", "-P", "-S", "-U"]);
    let is_bad =
        |severity: &str| matches!(severity, "MEDIUM" | "HIGH" | "CRITICAL" | "WARN" | "FATAL");
    let bad = found.iter().filter(|(id, severity, _)| {
        let is_unseen = (id.as_str(), severity.as_str()) == UNSEEN;
        is_bad(severity) && !is_unseen && !EXCEPT.iter().any(|known| id.starts_with(known))
    });
    let bad: Vec<_> = bad.collect();
    assert!(found.len() > 60 && bad.is_empty(), "of {}: {bad:#?}", found.len());
}
