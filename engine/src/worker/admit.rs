//! Runs the policies of a listener and of a route, and does what they ask for.

use std::net::IpAddr;

use parser::Method;

use crate::h1::client::Marks;
use crate::h1::server::Request;
use crate::http::forwarded::{AddressText, client_address};
use crate::http::template::Facts;
use crate::metrics::reason::Reason;
use crate::policy::{Admitted, Ask, Outcome, Refusal, RequestCx};
use crate::rt;
use crate::worker::conn::Conn;
use crate::worker::exchange::Exchange;
use crate::worker::find_out;
use crate::worker::outcome::Failure;
use crate::worker::view::View;

/// Asks the listener's policies, before there is a route. `Err`: one refuses.
pub fn guard(
    conn: &Conn,
    view: &View,
    request: &Request,
    bytes: &[u8],
) -> Result<Box<Admitted>, (Refusal, Box<Admitted>)> {
    let mut admitted = conn.w.take_admitted();
    let trusted = conn.is_trusted(view);
    let client = client(conn, view, trusted, request, bytes);
    let text = AddressText::new(client);
    let facts = Facts {
        client: text.as_bytes(),
        host: request.host(bytes).unwrap_or_default(),
        path: request.path(bytes),
        query: request.query(bytes).unwrap_or_default(),
        method: request.method_text(bytes),
        consumer: &[],
        request_id: &[],
        route: &[],
        params: &[],
        fields: &request.head.fields,
        head: bytes,
    };
    let asked = Asked { conn, view, client, method: request.head.method };
    let guards = &conn.listener(view).guards;
    match asked.with(&facts, &mut admitted, |cx| guards.on_request(cx)) {
        Outcome::Pass => {
            count_dry_refusals(conn, &mut admitted);
            Ok(admitted)
        }
        Outcome::Refuse(refusal) => {
            settle(conn, view, Outcome::Refuse(refusal), &mut admitted);
            Err((refusal, admitted))
        }
        // Guards neither answer nor ask: they know what they need.
        Outcome::Reply(..) | Outcome::Ask(_) => Err((Refusal::FORBIDDEN, admitted)),
    }
}

/// Asks a route's policies in turn, up to one that wants to know something first. What they leave
/// behind stays in the exchange.
pub fn now(x: &mut Exchange<'_>) -> Outcome {
    let mut admitted = x.admitted.take().unwrap_or_else(|| x.conn.w.take_admitted());
    let outcome = with(x, &mut admitted, |cx| x.route.policies.on_request(cx));
    let outcome = settle(x.conn, x.view, outcome, &mut admitted);
    x.admitted = Some(admitted);
    outcome
}

/// Finds out what is asked and goes on, to the end. Nobody else is asked for a client that left.
pub async fn later(x: &mut Exchange<'_>, mut ask: Ask) -> Result<Outcome, Failure> {
    let mut admitted = x.admitted.take().unwrap_or_default();
    let outcome = loop {
        let found = find_out::find_out(x, ask, &mut admitted.question).await;
        let Ok(answer) = found else { break Err(Failure::ClientGone) };
        let outcome = with(x, &mut admitted, |cx| x.route.policies.on_answer(cx, answer));
        match outcome {
            Outcome::Ask(next) => ask = next,
            outcome => break Ok(outcome),
        }
    };
    // What a client took that left stays taken.
    let kept = *outcome.as_ref().unwrap_or(&Outcome::Reply(0, Reason::ClientGone));
    let settled = settle(x.conn, x.view, kept, &mut admitted);
    let outcome = outcome.map(|_| settled);
    x.admitted = Some(admitted);
    outcome
}

/// Of one request, what its policies are shown beside its facts.
struct Asked<'a> {
    conn: &'a Conn,
    view: &'a View,
    client: Option<IpAddr>,
    method: Method,
}

impl Asked<'_> {
    fn with<T>(
        &self,
        facts: &Facts<'_>,
        admitted: &mut Admitted,
        run: impl FnOnce(&mut RequestCx<'_>) -> T,
    ) -> T {
        let snapshot = &*self.view.snapshot;
        run(&mut RequestCx {
            now: rt::cached_now(),
            wall: rt::wall_seconds(),
            client: self.client,
            certificate: self.conn.stream.client().map(|client| &client.identity),
            method: self.method,
            facts,
            consumers: &snapshot.consumers,
            limits: snapshot.limits.as_deref(),
            desks: &self.view.desks,
            hasher: &self.conn.w.hasher,
            remembered: &self.view.remembered,
            is_told: false,
            admitted,
        })
    }
}

fn with<T>(
    x: &Exchange<'_>,
    admitted: &mut Admitted,
    run: impl FnOnce(&mut RequestCx<'_>) -> T,
) -> T {
    let client = client(x.conn, x.view, x.trusted, x.request, x.bytes);
    let asked = Asked { conn: x.conn, view: x.view, client, method: x.request.head.method };
    asked.with(&x.facts(), admitted, run)
}

fn client(
    conn: &Conn,
    view: &View,
    trusted: bool,
    request: &Request,
    bytes: &[u8],
) -> Option<IpAddr> {
    let peer = conn.peer?;
    match trusted {
        true => {
            let proxies = &view.snapshot.server.trusted_proxies;
            Some(client_address(peer, proxies, request.said(bytes)))
        }
        false => Some(peer),
    }
}

/// What a limit refuses has cost its caller nothing.
fn settle(conn: &Conn, view: &View, outcome: Outcome, admitted: &mut Admitted) -> Outcome {
    let limits = view.snapshot.limits.as_deref();
    match (outcome, limits) {
        (Outcome::Refuse(refusal), Some(table)) if refusal.is_by_limit() => {
            admitted.takings.give_back(table, rt::now);
            admitted.permits.clear();
        }
        (Outcome::Ask(_), _) => return outcome,
        (Outcome::Refuse(_) | Outcome::Reply(..), _) => {
            admitted.permits.clear();
            admitted.takings.clear();
        }
        _ => admitted.takings.clear(),
    }
    count_dry_refusals(conn, admitted);
    outcome
}

fn count_dry_refusals(conn: &Conn, admitted: &mut Admitted) {
    if admitted.dry_refusals > 0 {
        let mut recorder = conn.w.recorder.borrow_mut();
        recorder.whole.dry_refusals += u64::from(std::mem::take(&mut admitted.dry_refusals));
    }
}

/// What policies left for the head that goes to the service.
pub fn request_marks<'x>(x: &'x Exchange<'_>) -> Marks<'x> {
    let lines = x.admitted.as_deref().map_or(&[][..], |admitted| &admitted.to_service);
    Marks { drops: &x.route.policies.drops, lines }
}

/// And for the head that goes to the client.
pub fn answer_marks<'x>(x: &'x Exchange<'_>) -> Marks<'x> {
    let lines = x.admitted.as_deref().map_or(&[][..], |admitted| &admitted.to_client);
    Marks { drops: &x.route.policies.answer_drops, lines }
}
