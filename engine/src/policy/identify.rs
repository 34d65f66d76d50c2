//! Who is calling: any of a route's methods, or all of them. Each ends in a consumer, in nothing,
//! or in a refusal.

use std::fmt::Write;
use std::sync::Arc;

use parser::encode;

use super::api_key::{self, ApiKey};
use super::basic::Basic;
use super::cx::{Admitted, Who};
use super::forward_auth::ForwardAuth;
use super::jwt::{Jwt, KeySource};
use super::{Answer, Ask, Phase, Policy, Refusal, RequestCx, Verdict};
use crate::auth::fetch::Fetch;
use crate::auth::jwks::Algs;
use crate::http::edit::EditName;

/// The methods of a route.
#[derive(Debug)]
pub struct Identify {
    pub methods: Box<[Arc<Method>]>,
    /// All of them must name the caller, and the same one.
    pub all: bool,
}

/// One `[auth.NAME]`, shared by the routes that use it.
#[derive(Debug)]
pub struct Method {
    pub name: Box<str>,
    /// Its place in what each worker remembers.
    pub id: u32,
    pub kind: Kind,
}

#[derive(Debug)]
#[allow(clippy::large_enum_variant)] // one for each method of a configuration
pub enum Kind {
    ApiKey(ApiKey),
    Basic(Box<Basic>),
    Jwt(Box<Jwt>),
    Forward(Box<ForwardAuth>),
}

/// What one method says of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Found {
    /// No credential of this kind came with it.
    Nothing,
    /// The caller stands in [`Admitted`].
    Known,
    Bad(Refusal),
    Ask(Ask),
}

impl Method {
    fn look(&self, cx: &mut RequestCx<'_>) -> Found {
        match &self.kind {
            Kind::ApiKey(key) => key.look(cx),
            Kind::Basic(basic) => basic.look(self.id, cx),
            Kind::Jwt(jwt) => jwt.look(self.id, cx),
            Kind::Forward(forward) => forward.look(self.id, cx),
        }
    }

    fn hear(&self, cx: &mut RequestCx<'_>, answer: Answer) -> Found {
        match &self.kind {
            Kind::ApiKey(_) => Found::Bad(Refusal::AUTH_UNAVAILABLE), // it never asks
            Kind::Basic(basic) => basic.hear(self.id, cx, answer),
            Kind::Jwt(jwt) => jwt.hear(self.id, cx, answer),
            Kind::Forward(forward) => forward.hear(self.id, cx, answer),
        }
    }

    /// Where its keys come from, when they are fetched, and which of them count.
    pub fn fetches(&self) -> Option<(&Fetch, Algs)> {
        match &self.kind {
            Kind::Jwt(jwt) => match &jwt.keys {
                KeySource::Fetched(from) => Some((from, jwt.algorithms)),
                KeySource::Known(_) => None,
            },
            _ => None,
        }
    }

    /// Fields that hold its credential, when that does not go on.
    fn drops(&self) -> Vec<EditName> {
        let cookie = || EditName::new("Cookie");
        match &self.kind {
            Kind::ApiKey(key) if !key.keep => {
                let cookie = key.cookie.as_ref().map(|_| cookie());
                key.header.iter().cloned().chain(cookie).collect()
            }
            Kind::Basic(basic) if !basic.keep => vec![EditName::new("Authorization")],
            Kind::Jwt(jwt) if !jwt.keep => {
                let cookie = jwt.cookie.as_ref().map(|_| cookie());
                std::iter::once(jwt.header.clone()).chain(cookie).collect()
            }
            _ => Vec::new(),
        }
    }

    /// The cookie that does not go on.
    fn taken_cookie(&self) -> Option<&[u8]> {
        match &self.kind {
            Kind::ApiKey(key) if !key.keep => key.cookie.as_deref(),
            Kind::Jwt(jwt) if !jwt.keep => jwt.cookie.as_deref(),
            _ => None,
        }
    }

    /// The parameter that holds its credential.
    fn param(&self) -> Option<&[u8]> {
        match &self.kind {
            Kind::ApiKey(key) => key.query.as_deref(),
            _ => None,
        }
    }

    pub fn word(&self) -> &'static str {
        match self.kind {
            Kind::ApiKey(_) => "api_key",
            Kind::Basic(_) => "basic",
            Kind::Jwt(_) => "jwt",
            Kind::Forward(_) => "forward",
        }
    }

    /// A challenge (RFC 9110 §11.6.1), `error` when there was a credential of this kind.
    fn challenge(&self, out: &mut Vec<u8>, is_bad: bool) {
        let (scheme, more): (&[u8], &[u8]) = match &self.kind {
            Kind::ApiKey(_) => (b"ApiKey", b""),
            Kind::Basic(_) => (b"Basic", b", charset=\"UTF-8\""),
            // RFC 6750 §3.1.
            Kind::Jwt(_) if is_bad => (b"Bearer", b", error=\"invalid_token\""),
            Kind::Jwt(_) => (b"Bearer", b""),
            // Its own challenges are passed on.
            Kind::Forward(_) => return,
        };
        let realm = match &self.kind {
            Kind::Basic(basic) => &basic.realm,
            _ => &self.name,
        };
        challenge(out, scheme, realm, more);
    }
}

fn challenge(out: &mut Vec<u8>, scheme: &[u8], realm: &str, more: &[u8]) {
    out.extend_from_slice(b"WWW-Authenticate: ");
    out.extend_from_slice(scheme);
    out.extend_from_slice(b" realm=\"");
    out.extend(realm.bytes().filter(|b| !matches!(b, b'"' | b'\\')));
    out.push(b'"');
    out.extend_from_slice(more);
    out.extend_from_slice(b"\r\n");
}

/// A method's place in [`Admitted::bad_methods`].
fn bit(step: usize) -> u64 {
    u32::try_from(step).ok().and_then(|step| 1u64.checked_shl(step)).unwrap_or(0)
}

/// Whether one of these field lines is a challenge.
fn names_challenge(lines: &[u8]) -> bool {
    let name = b"www-authenticate:";
    let is_one =
        |line: &[u8]| line.len() > name.len() && line[..name.len()].eq_ignore_ascii_case(name);
    lines.split(|&b| b == b'\n').any(is_one)
}

/// A query without what any method could take for a credential, into `out`: for the log, also of
/// requests that no such method has seen.
pub fn without_credentials(methods: &[Arc<Method>], query: &[u8], out: &mut Vec<u8>) {
    let is_shown = |param: &&[u8]| {
        !methods.iter().filter_map(|m| m.param()).any(|name| api_key::is_param(param, name))
    };
    for param in query.split(|&b| b == b'&').filter(is_shown) {
        if !out.is_empty() {
            out.push(b'&');
        }
        out.extend_from_slice(param);
    }
}

impl Identify {
    pub fn new(methods: Box<[Arc<Method>]>, all: bool) -> Identify {
        Identify { methods, all }
    }

    /// Fields that hold credentials, which the service is not shown.
    pub fn drops(&self) -> Vec<EditName> {
        self.methods.iter().flat_map(|method| method.drops()).collect()
    }

    /// From the method at `step` on. `first` is what that one said, when it was asked already.
    fn go_on(&self, cx: &mut RequestCx<'_>, mut said: Option<Found>) -> Verdict {
        let mut step = cx.admitted.step;
        while let Some(method) = self.methods.get(step) {
            let found = match said.take() {
                Some(found) => found,
                None => method.look(cx),
            };
            match found {
                Found::Nothing if self.all => return self.refuse(cx, Refusal::NO_CREDENTIAL),
                Found::Nothing => {}
                Found::Known if self.all => {
                    if cx.admitted.is_torn {
                        return self.refuse(cx, Refusal::BAD_CREDENTIAL);
                    }
                }
                Found::Known => return self.known(cx),
                Found::Bad(refusal) => {
                    cx.admitted.bad_methods |= bit(step);
                    if self.all {
                        return self.refuse(cx, refusal);
                    }
                    cx.admitted.remember_refusal(refusal);
                }
                Found::Ask(ask) => {
                    cx.admitted.step = step;
                    return Verdict::Ask(ask);
                }
            }
            step += 1;
        }
        if self.all && cx.admitted.who != Who::Nobody {
            return self.known(cx);
        }
        let refusal = cx.admitted.refusal.unwrap_or(Refusal::NO_CREDENTIAL);
        self.refuse(cx, refusal)
    }

    fn refuse(&self, cx: &mut RequestCx<'_>, refusal: Refusal) -> Verdict {
        if let Some((status, lines)) = cx.admitted.no.take() {
            cx.admitted.who = Who::Nobody;
            let out = &mut cx.admitted.to_client;
            // A redirect to where one signs in is nothing to keep (RFC 9111 §4.2.2).
            out.extend_from_slice(b"Cache-Control: no-store\r\n");
            out.extend_from_slice(&lines);
            if status == 401 && !names_challenge(&lines) {
                self.challenge(out, cx.admitted.bad_methods);
            }
            return Verdict::Reply(status, refusal.reason);
        }
        if refusal.problem.status() == 401 {
            let Admitted { to_refused: out, bad_methods, .. } = &mut *cx.admitted;
            for (step, method) in self.methods.iter().enumerate() {
                method.challenge(out, *bad_methods & bit(step) != 0);
            }
        }
        cx.admitted.who = Who::Nobody;
        Verdict::Refuse(refusal)
    }

    /// For a 401 of a service that gives no challenge, as each has to (RFC 9110 §15.5.2).
    fn challenge(&self, out: &mut Vec<u8>, bad: u64) {
        let before = out.len();
        for (step, method) in self.methods.iter().enumerate() {
            method.challenge(out, bad & bit(step) != 0);
        }
        if out.len() == before
            && let Some(method) = self.methods.first()
        {
            challenge(out, b"Forward", &method.name, b"");
        }
    }

    /// The service learns who it is, and not how that was proved.
    fn known(&self, cx: &mut RequestCx<'_>) -> Verdict {
        let consumers = cx.consumers;
        let Admitted { who, name, to_service: out, .. } = &mut *cx.admitted;
        let name = match who {
            Who::Consumer(id) => consumers.name(*id),
            _ => &name[..],
        };
        if !name.is_empty() {
            encode::field(out, b"X-Consumer-Name", name);
        }
        if let Who::Consumer(id) = who {
            let groups = consumers.groups(*id);
            for (i, group) in groups.iter().enumerate() {
                out.extend_from_slice(if i == 0 { b"X-Consumer-Groups: " } else { b", " });
                out.extend_from_slice(consumers.words().text(*group));
            }
            if !groups.is_empty() {
                out.extend_from_slice(b"\r\n");
            }
        }
        self.take_out(cx);
        Verdict::Pass
    }

    /// The request goes on without its credentials. Fields go by the chain's list.
    fn take_out(&self, cx: &mut RequestCx<'_>) {
        for method in &self.methods {
            match &method.kind {
                Kind::ApiKey(key) if !key.keep => {
                    if let Some(name) = &key.query {
                        api_key::take_param(cx, name);
                    }
                }
                _ => {}
            }
        }
        // All in one: the field is written once.
        if self.methods.iter().any(|method| method.taken_cookie().is_some()) {
            let names = |name: &[u8]| self.methods.iter().any(|m| m.taken_cookie() == Some(name));
            api_key::take_cookies(cx, &names);
        }
    }
}

impl Policy for Identify {
    const KEY: &'static str = "auth";

    fn phase(&self) -> Phase {
        Phase::Identify
    }

    fn on_request(&self, cx: &mut RequestCx<'_>) -> Verdict {
        cx.admitted.step = 0;
        self.go_on(cx, None)
    }

    fn on_answer(&self, cx: &mut RequestCx<'_>, answer: Answer) -> Verdict {
        let said = self.methods[cx.admitted.step].hear(cx, answer);
        self.go_on(cx, Some(said))
    }

    fn tell(&self, out: &mut String) {
        out.push_str(if self.all { "auth all of " } else { "auth any of " });
        for (i, method) in self.methods.iter().enumerate() {
            let comma = if i == 0 { "" } else { ", " };
            let _ = write!(out, "{comma}{} ({})", method.name, method.word());
        }
    }
}
