//! Timeouts in virtual time: each ends what it should, when it should.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use crate::rt::{Listener, Stream, now, pause};
use crate::sim::exec::{self, spawn};
use crate::sim::fault::Faults;
use crate::sim::gateway::{Gateway, Size};
use crate::sim::oracle::Shared;
use crate::time::Mono;

/// What one side saw: what came, and when the end came, in milliseconds since the start.
#[derive(Debug, Default, Clone)]
struct Saw {
    bytes: Vec<u8>,
    first_ms: u64,
    end_ms: u64,
}

const SIZE: Size = Size { workers: 1, buf_bytes_max: 1 << 20, ring_bytes: 1 << 16 };
const START: Mono = Mono(1_000_000_000);

fn ms() -> u64 {
    now().since(START).as_millis() as u64
}

/// Plays `client` against a gateway with `route` and an origin that plays `origin`.
fn play<C, O>(
    route: &str,
    client: impl FnOnce(Rc<Stream>) -> C + 'static,
    origin: impl Fn(Rc<Stream>) -> O + 'static,
) -> (Saw, Saw)
where
    C: Future<Output = ()> + 'static,
    O: Future<Output = ()> + 'static,
{
    let text = format!(
        "[log.access]\n[listener.web]\naddress = \"10.0.0.1:8080\"\n[upstream.app]\nendpoints = \
         [\"10.0.1.1:9000\"]\n[route.app]\nto = \"app\"\n{route}\n"
    );
    let saw: Rc<RefCell<(Saw, Saw)>> = Rc::default();
    let (at_client, at_origin) = (saw.clone(), saw.clone());
    let (_, stuck) = exec::run(1, Faults::default(), false, move || {
        let gateway = SocketAddr::from(([10, 0, 0, 1], 8080));
        let oracle = Shared::default();
        let running = Gateway::start(&text, SIZE, 1, &oracle);
        spawn(serve_origin(origin, at_origin), || {});
        let client = async move {
            let from = SocketAddr::from(([10, 0, 2, 1], 1));
            let stream = Rc::new(Stream::dial(from, gateway).await.expect("it listens"));
            let script = client(stream.clone());
            spawn(script, || {});
            let seen = watch(&stream).await;
            at_client.borrow_mut().0 = seen;
            running.drain().await;
            assert!(oracle.borrow().broken.is_empty(), "{:?}", oracle.borrow().broken);
        };
        spawn(client, || {});
    });
    let _ = stuck; // the origin's listener and late scripts may wait for ever
    saw.take()
}

async fn serve_origin<O: Future<Output = ()> + 'static>(
    origin: impl Fn(Rc<Stream>) -> O,
    saw: Rc<RefCell<(Saw, Saw)>>,
) {
    let listener = Listener::bind(SocketAddr::from(([10, 0, 1, 1], 9000)));
    loop {
        match listener.try_accept() {
            Ok((end, _)) => {
                let stream = Rc::new(Stream::adopt(end).expect("simulated"));
                spawn(origin(stream.clone()), || {});
                let seen = watch(&stream).await;
                saw.borrow_mut().1 = seen;
            }
            Err(_) => _ = listener.wait().await,
        }
    }
}

/// Reads to the end.
async fn watch(stream: &Stream) -> Saw {
    let mut saw = Saw::default();
    let mut room = [0; 4096];
    loop {
        match stream.try_read(&mut room) {
            Ok(0) => break,
            Ok(n) => saw.bytes.extend_from_slice(&room[..n]),
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {
                if stream.wait_readable().await.is_err() {
                    break;
                }
                continue;
            }
            Err(_) => break,
        }
        if saw.first_ms == 0 {
            saw.first_ms = ms();
        }
    }
    saw.end_ms = ms();
    saw
}

fn write(stream: &Stream, bytes: &str) {
    let _ = stream.try_write(bytes.as_bytes(), &[]);
}

async fn seconds(n: u64) {
    pause(Duration::from_secs(n)).await;
}

async fn silent(_: Rc<Stream>) {}

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[track_caller]
fn about(got_ms: u64, expected_ms: u64) {
    let late = got_ms.saturating_sub(expected_ms);
    assert!(got_ms >= expected_ms && late <= 60, "{got_ms} ms instead of {expected_ms} ms");
}

fn starts(saw: &Saw, text: &str) {
    let shown = String::from_utf8_lossy(&saw.bytes);
    assert!(shown.starts_with(text), "{shown}");
}

#[test]
fn a_silent_client_is_closed_after_the_head_timeout() {
    let (client, _) = play("", silent, silent);
    about(client.end_ms, 10_000);
    assert!(client.bytes.is_empty());
}

#[test]
fn a_dripping_head_is_408_ten_seconds_after_the_accept() {
    let drip = |s: Rc<Stream>| async move {
        write(&s, "GET / HTTP/1.1\r\n");
        for _ in 0..20 {
            seconds(1).await;
            write(&s, "X: y\r\n");
        }
    };
    let (client, _) = play("", drip, silent);
    starts(&client, "HTTP/1.1 408 ");
    about(client.first_ms, 10_000);
}

#[test]
fn a_later_heads_clock_starts_with_its_first_byte() {
    let script = |s: Rc<Stream>| async move {
        write(&s, GET);
        seconds(30).await;
        write(&s, "GET");
    };
    let answer = |s: Rc<Stream>| async move { write(&s, OK) };
    let (client, _) = play("", script, answer);
    let text = String::from_utf8_lossy(&client.bytes).into_owned();
    assert!(text.contains("408 "), "{text}");
    // The 408, then a linger of two seconds at most.
    assert!((40_000..42_200).contains(&client.end_ms), "{}", client.end_ms);
}

#[test]
fn an_idle_connection_ends_after_75_seconds() {
    let script = |s: Rc<Stream>| async move { write(&s, GET) };
    let answer = |s: Rc<Stream>| async move { write(&s, OK) };
    let (client, origin) = play("", script, answer);
    about(client.end_ms, 75_000);
    // Ours to the origin goes first, after 55 s, within the second of the sweep.
    assert!((55_000..57_000).contains(&origin.end_ms), "{}", origin.end_ms);
}

#[test]
fn an_answer_is_due_after_the_timeout() {
    let script = |s: Rc<Stream>| async move { write(&s, GET) };
    let (client, origin) = play("timeout = \"7s\"", script, silent);
    starts(&client, "HTTP/1.1 504 ");
    about(client.first_ms, 7_000);
    about(origin.end_ms, 7_000);
    let (client, _) = play("", script, silent);
    about(client.first_ms, 30_000);
}

#[test]
fn the_timeouts_clock_stands_still_while_the_body_is_sent() {
    let script = |s: Rc<Stream>| async move {
        write(&s, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 40000\r\n\r\n");
        for _ in 0..20 {
            seconds(1).await;
            write(&s, &"x".repeat(2000));
        }
    };
    let (client, _) = play("timeout = \"5s\"", script, silent);
    starts(&client, "HTTP/1.1 504 ");
    about(client.first_ms, 25_000);
}

#[test]
fn a_body_that_stands_still_ends_either_way() {
    let script = |s: Rc<Stream>| async move {
        write(&s, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf");
    };
    let (client, origin) = play("body_rate_min = \"none\"", script, silent);
    starts(&client, "HTTP/1.1 408 ");
    about(client.first_ms, 30_000);
    about(origin.end_ms, 30_000);
    let get = |s: Rc<Stream>| async move { write(&s, GET) };
    let half = |s: Rc<Stream>| async move {
        write(&s, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
    };
    let (client, _) = play("", get, half);
    starts(&client, "HTTP/1.1 200 ");
    about(client.end_ms, 30_000);
}

#[test]
fn a_body_slower_than_its_rate_ends_after_its_first_ten_seconds() {
    let drip = |bytes: usize| {
        move |s: Rc<Stream>| async move {
            write(&s, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n");
            for _ in 0..30 {
                seconds(1).await;
                write(&s, &"x".repeat(bytes));
            }
        }
    };
    let (client, _) = play("body_rate_min = \"100B/s\"", drip(50), silent);
    starts(&client, "HTTP/1.1 408 ");
    about(client.first_ms, 10_000);
    let (client, _) = play("body_rate_min = \"100B/s\"", drip(150), silent);
    about(client.first_ms, 40_000); // fast enough until it stops, at 30 s
}

#[test]
fn the_deadline_is_a_hard_total() {
    let script = |s: Rc<Stream>| async move { write(&s, GET) };
    let drip = |s: Rc<Stream>| async move {
        write(&s, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n");
        for _ in 0..100 {
            seconds(1).await;
            write(&s, "x");
        }
    };
    let (client, _) = play("deadline = \"12s\"", script, drip);
    starts(&client, "HTTP/1.1 200 ");
    about(client.end_ms, 12_000);
    let (client, _) = play("deadline = \"12s\"", script, silent);
    starts(&client, "HTTP/1.1 504 ");
    about(client.first_ms, 12_000);
}

#[test]
fn silence_of_both_ends_a_tunnel_and_a_byte_of_either_keeps_it() {
    const ASK: &str =
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    let script = |s: Rc<Stream>| async move {
        write(&s, ASK);
        seconds(50).await;
        write(&s, "ping");
    };
    let switch = |s: Rc<Stream>| async move {
        seconds(1).await;
        let switch =
            "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
        write(&s, switch);
        seconds(60).await;
        write(&s, "pong");
    };
    let (client, _) = play("tunnel_timeout = \"60s\"", script, switch);
    assert!(client.bytes.ends_with(b"pong"));
    about(client.end_ms, 121_000);
}

#[test]
fn events_may_be_silent_for_longer_than_bodies() {
    let script = |s: Rc<Stream>| async move { write(&s, GET) };
    let events = |s: Rc<Stream>| async move {
        write(&s, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n");
        seconds(100).await;
        write(&s, "data: 2\n\n");
    };
    let (client, _) = play("tunnel_timeout = \"200s\"", script, events);
    let text = String::from_utf8_lossy(&client.bytes).into_owned();
    assert!(text.contains("data: 2"), "{text}");
    about(client.end_ms, 300_000);
}

#[test]
fn a_client_that_leaves_is_noticed_within_a_tenth_of_a_second() {
    let script = |s: Rc<Stream>| async move {
        write(&s, GET);
        seconds(5).await;
        s.shut(crate::rt::Shut::Write);
    };
    let (_, origin) = play("", script, silent);
    assert!((5_000..=5_100).contains(&origin.end_ms), "{}", origin.end_ms);
    // In the middle of an answer too.
    let half = |s: Rc<Stream>| async move {
        write(&s, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
    };
    let (_, origin) = play("", script, half);
    assert!((5_000..=5_100).contains(&origin.end_ms), "{}", origin.end_ms);
}

#[test]
fn an_empty_line_behind_a_request_is_no_request() {
    let script = |s: Rc<Stream>| async move {
        write(&s, GET);
        seconds(20).await;
        write(&s, "\r\n");
    };
    let answer = |s: Rc<Stream>| async move { write(&s, OK) };
    let (client, _) = play("", script, answer);
    let text = String::from_utf8_lossy(&client.bytes).into_owned();
    assert!(text.ends_with("\r\n\r\nok"), "no 408: {text}");
    about(client.end_ms, 75_000); // the line is no sign of life either
    // Ahead of the first request it buys no time.
    let script = |s: Rc<Stream>| async move { write(&s, "\r\n") };
    let (client, _) = play("", script, silent);
    about(client.end_ms, 10_000);
    assert!(client.bytes.is_empty());
    // It still belongs to what follows: one is skipped, two are refused.
    for (second, status) in [(GET, "200"), ("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "400")] {
        let script = move |s: Rc<Stream>| async move {
            write(&s, "\r\n");
            seconds(5).await;
            write(&s, second);
        };
        let (client, _) = play("", script, answer);
        starts(&client, &format!("HTTP/1.1 {status} "));
    }
    // With a byte of a request behind it the head's clock runs.
    let script = |s: Rc<Stream>| async move {
        write(&s, GET);
        seconds(20).await;
        write(&s, "\r\n");
        seconds(20).await;
        write(&s, "G");
    };
    let (client, _) = play("", script, answer);
    let text = String::from_utf8_lossy(&client.bytes).into_owned();
    assert!(text.contains(" 408 "), "{text}");
    assert!((50_000..52_200).contains(&client.end_ms), "{}", client.end_ms);
}

/// Answers each request a second after it came.
async fn slow_answers(s: Rc<Stream>) {
    for _ in 0..2 {
        seconds(1).await;
        write(&s, OK);
    }
}

#[test]
fn a_half_close_behind_pipelined_requests_waits_for_their_answers() {
    const LAST: &str = "GET / HTTP/1.0\r\n\r\n";
    // Together, and while the first is under way: those bytes are not even read yet.
    for gap in [0, 400] {
        let script = move |s: Rc<Stream>| async move {
            write(&s, GET);
            pause(Duration::from_millis(gap)).await;
            write(&s, LAST);
            s.shut(crate::rt::Shut::Write);
        };
        let (client, _) = play("", script, slow_answers);
        let text = String::from_utf8_lossy(&client.bytes).into_owned();
        assert_eq!(text.matches("200 OK").count(), 2, "{gap}: {text}");
        assert!((2_000..2_100).contains(&client.end_ms), "{}", client.end_ms);
    }
    // Behind a body that ends too early there is no request.
    let script = |s: Rc<Stream>| async move {
        write(&s, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf");
        s.shut(crate::rt::Shut::Write);
    };
    let (client, _) = play("", script, silent);
    assert!(client.end_ms <= 100 && client.bytes.is_empty(), "{client:?}");
}

#[test]
fn an_answer_to_half_a_request_says_that_it_is_the_last_one() {
    let script = |s: Rc<Stream>| async move {
        write(&s, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9000\r\n\r\nhalf");
    };
    let answer = |s: Rc<Stream>| async move { write(&s, OK) };
    let (client, _) = play("", script, answer);
    starts(&client, "HTTP/1.1 200 ");
    let text = String::from_utf8_lossy(&client.bytes).to_ascii_lowercase();
    assert!(text.contains("connection: close\r\n"), "{text}");
}

#[test]
fn an_idle_connection_that_its_origin_ends_is_given_up_within_a_second() {
    let script = |s: Rc<Stream>| async move {
        write(&s, GET);
        seconds(30).await;
    };
    let ends = |s: Rc<Stream>| async move {
        write(&s, OK);
        seconds(10).await;
        s.shut(crate::rt::Shut::Write);
    };
    let (_, origin) = play("", script, ends);
    assert!((10_000..=11_100).contains(&origin.end_ms), "{}", origin.end_ms);
}

#[test]
fn a_byte_behind_a_last_request_does_not_reset_the_answer_under_way() {
    let answer = |s: Rc<Stream>| async move {
        seconds(1).await;
        let body = "x".repeat(9000);
        write(&s, &format!("HTTP/1.1 200 OK\r\nContent-Length: 9000\r\n\r\n{body}"));
    };
    // Some of these moments lie between the gateway's last write and its arrival.
    for late_us in 0..1000 {
        let script = move |s: Rc<Stream>| async move {
            write(&s, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
            pause(Duration::from_micros(1_000_000 + late_us)).await;
            write(&s, "\r\n");
        };
        let (client, _) = play("", script, answer);
        let len = client.bytes.len();
        assert!(client.bytes.ends_with(b"xxx") && len > 9000, "{late_us}: {len} bytes");
    }
}
