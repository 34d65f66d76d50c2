//! A service of the operator's own that says who may: it is shown parts of the request, and
//! answers by its status.

use std::rc::Rc;
use std::time::Duration;

use parser::encode;

use super::cx::{Question, Who};
use super::identify::Found;
use super::{Answer, Ask, Refusal, RequestCx};
use crate::auth::remembered::Yes;
use crate::auth::{Now, Wall};
use crate::http::edit::EditName;
use crate::ids::UpstreamId;

/// One `[auth.NAME]` with `method = "forward"`.
#[derive(Debug)]
pub struct ForwardAuth {
    pub upstream: UpstreamId,
    /// Path and query of the question.
    pub target: Box<str>,
    /// Fields of the request that it is shown.
    pub request_headers: Box<[EditName]>,
    /// Fields of its answer that the route's service is shown.
    pub response_headers: Box<[EditName]>,
    /// The field of its answer that says who it is.
    pub consumer_header: Option<EditName>,
    pub timeout: Duration,
    /// For how long a yes holds; `None`: each request asks.
    pub remember: Option<Duration>,
}

/// A question to the service, and what came of it.
#[derive(Debug, Default)]
pub struct Forward {
    /// The method's number.
    pub method: u32,
    /// Lines that it is shown, by which its answer is remembered.
    pub shown: Vec<u8>,
    /// Of a yes.
    pub yes: Yes,
    /// Of a no that the client is told: its status, and whole lines.
    pub no: Option<(u16, Vec<u8>)>,
}

impl ForwardAuth {
    pub(super) fn look(&self, id: u32, cx: &mut RequestCx<'_>) -> Found {
        let mut asked = Forward { method: id, ..Forward::default() };
        self.show(cx, &mut asked.shown);
        let now = Now { mono: cx.now, wall: Wall(cx.wall) };
        let memory = cx.remembered.of(id).filter(|_| self.remember.is_some());
        if let Some(yes) = memory.and_then(|memory| memory.yes(&asked.shown, now)) {
            return self.known(cx, &yes);
        }
        cx.admitted.question = Question::Forward(Box::new(asked));
        Found::Ask(Ask::Forward)
    }

    pub(super) fn hear(&self, id: u32, cx: &mut RequestCx<'_>, answer: Answer) -> Found {
        let Question::Forward(asked) = std::mem::take(&mut cx.admitted.question) else {
            return Found::Bad(Refusal::AUTH_UNAVAILABLE);
        };
        match (answer, asked.no) {
            (Answer::Yes, _) => {
                let yes = Rc::new(asked.yes);
                if let (Some(memory), Some(ttl)) = (cx.remembered.of(id), self.remember) {
                    let now = Now { mono: cx.now, wall: Wall(cx.wall) };
                    memory.remember_yes(&asked.shown, &yes, ttl, now);
                }
                self.known(cx, &yes)
            }
            (Answer::No, no) => {
                cx.admitted.no = no;
                Found::Bad(Refusal::FORBIDDEN)
            }
            (Answer::Unknown, _) => Found::Bad(Refusal::AUTH_UNAVAILABLE),
        }
    }

    /// The lines of the question: what it is about (as other gateways name it), and the fields.
    fn show(&self, cx: &RequestCx<'_>, out: &mut Vec<u8>) {
        let facts = cx.facts;
        encode::field(out, b"X-Forwarded-Method", facts.method);
        encode::field(out, b"X-Forwarded-Host", facts.host);
        out.extend_from_slice(b"X-Forwarded-Uri: ");
        out.extend_from_slice(facts.path);
        if !facts.query.is_empty() {
            out.push(b'?');
            out.extend_from_slice(facts.query);
        }
        out.extend_from_slice(b"\r\n");
        encode::field(out, b"X-Forwarded-For", facts.client);
        for field in facts.fields.iter() {
            if self.request_headers.iter().any(|name| name.is(field, facts.head)) {
                encode::field(out, field.name.of(facts.head), field.value.of(facts.head));
            }
        }
    }

    fn known(&self, cx: &mut RequestCx<'_>, yes: &Yes) -> Found {
        cx.admitted.to_service.extend_from_slice(&yes.lines);
        match cx.consumers.by_name(&yes.name) {
            Some(id) => cx.admitted.found(Who::Consumer(id), &[]),
            None => cx.admitted.found(Who::Named, &yes.name),
        }
    }
}
