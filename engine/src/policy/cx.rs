//! What policies see of a request, and what they leave behind.

use std::net::IpAddr;
use std::rc::Rc;

use parser::{Field, FieldId, Method};

use crate::auth::claims::Claims;
use crate::auth::consumers::Consumers;
use crate::auth::remembered::Remembered;
use crate::http::edit::EditName;
use crate::http::template::Facts;
use crate::ids::ConsumerId;
use crate::limit::concurrency::{Desk, Permit};
use crate::limit::shard::Table;
use crate::time::Mono;
use crate::tls::Identity;

use super::Refusal;
use super::basic::Password;
use super::concurrency::Waiting;
use super::forward_auth::Forward;
use super::identify::Found;
use super::rate_limit::Takings;

/// More memory than this goes back to the allocator.
const KEPT_BYTES_MAX: usize = 64 << 10;

/// Who sends a request, as far as it is known.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Who {
    /// Nobody has asked, or nobody could say.
    #[default]
    Nobody,
    Consumer(ConsumerId),
    /// Somebody without an entry of their own, by the name in [`Admitted::name`].
    Named,
}

/// What the chain leaves behind for the rest of the exchange. Workers keep them for reuse.
#[derive(Debug, Default)]
pub struct Admitted {
    pub who: Who,
    /// Of [`Who::Named`].
    pub name: Vec<u8>,
    pub claims: Option<Rc<Claims>>,
    /// Whole field lines for the service.
    pub to_service: Vec<u8>,
    /// Whole field lines for the client, on whatever answer it gets.
    pub to_client: Vec<u8>,
    /// Further ones for a refusal: challenges, waits.
    pub to_refused: Vec<u8>,
    /// The query without its credentials, when `has_query`.
    pub query: Vec<u8>,
    pub has_query: bool,
    /// What limits have been charged, until it is sure that the request is let through.
    pub takings: Takings,
    /// Limits that would have refused, but for their `dry_run`.
    pub dry_refusals: u32,
    /// Places among those served at one time; free again when they are dropped.
    pub permits: Vec<Permit>,
    /// The most telling refusal of the methods that were tried.
    pub refusal: Option<Refusal>,
    /// Of a route's methods those whose credential was a wrong one, a bit for each.
    pub bad_methods: u64,
    /// What an authorisation service wants the client to be told: its status, whole lines.
    pub no: Option<(u16, Vec<u8>)>,
    /// Two methods have named two callers.
    pub is_torn: bool,
    /// Where the chain goes on after an `Ask`, and where the policy does.
    pub at: usize,
    pub step: usize,
    spare: Vec<u8>,
    /// What is asked: a password and its hash, say.
    pub question: Question,
}

/// What an [`Ask`](super::Ask) is about.
#[derive(Debug, Default)]
pub enum Question {
    #[default]
    None,
    Password(Box<Password>),
    /// Of the method with this number.
    Keys(u32),
    Forward(Box<Forward>),
    Permit(Box<Waiting>),
}

impl Admitted {
    /// Forgets everything but its memory.
    pub fn clear(&mut self) {
        self.who = Who::Nobody;
        self.name.clear();
        self.claims = None;
        self.to_service.clear();
        self.to_client.clear();
        self.to_refused.clear();
        self.query.clear();
        self.has_query = false;
        self.takings.clear();
        self.permits.clear();
        self.dry_refusals = 0;
        self.bad_methods = 0;
        (self.refusal, self.no, self.is_torn) = (None, None, false);
        (self.at, self.step) = (0, 0);
        self.question = Question::None;
    }

    /// Whether its memory is worth keeping.
    pub fn is_small(&self) -> bool {
        let lists = [&self.name, &self.to_service, &self.to_client, &self.to_refused];
        let all = lists.into_iter().chain([&self.query, &self.spare]);
        all.map(Vec::capacity).sum::<usize>() <= KEPT_BYTES_MAX
    }

    /// A method has found out who it is.
    pub fn found(&mut self, who: Who, name: &[u8]) -> Found {
        let says_no_name = |who: Who, name: &[u8]| who == Who::Named && name.is_empty();
        match self.who {
            known if known == Who::Nobody || says_no_name(known, &self.name) => {
                self.who = who;
                self.name.clear();
                self.name.extend_from_slice(name);
            }
            // It lets through, and does not say whom.
            _ if says_no_name(who, name) => {}
            known => self.is_torn |= known != who || self.name != name,
        }
        Found::Known
    }

    /// What tells the most is told in the end: a wrong credential more than none.
    pub fn remember_refusal(&mut self, refusal: Refusal) {
        let is_last = |r: Refusal| r == Refusal::AUTH_UNAVAILABLE;
        if !self.refusal.is_some_and(is_last) {
            self.refusal = Some(refusal);
        }
    }

    /// Removes parameters from the query that is sent. `query` is the one that came.
    pub fn take_params(&mut self, query: &[u8], is_taken: impl Fn(&[u8]) -> bool) {
        let before = std::mem::take(&mut self.query);
        let mut left = std::mem::take(&mut self.spare);
        left.clear();
        let params = if self.has_query { &before[..] } else { query };
        for param in params.split(|&b| b == b'&').filter(|param| !is_taken(param)) {
            if !left.is_empty() {
                left.push(b'&');
            }
            left.extend_from_slice(param);
        }
        (self.query, self.spare, self.has_query) = (left, before, true);
    }

    /// The name of who was found, empty for nobody.
    pub fn consumer<'a>(&'a self, consumers: &'a Consumers) -> &'a [u8] {
        match self.who {
            Who::Nobody => &[],
            Who::Consumer(id) => consumers.name(id),
            Who::Named => &self.name,
        }
    }
}

/// One request, and what policies share.
#[derive(Debug)]
pub struct RequestCx<'a> {
    pub now: Mono,
    /// Seconds since 1970, for what says so in a credential.
    pub wall: u64,
    /// The client's own address; `None` on a unix socket.
    pub client: Option<IpAddr>,
    /// Who the client is by its certificate, where its listener asked for one.
    pub certificate: Option<&'a Identity>,
    pub method: Method,
    pub facts: &'a Facts<'a>,
    pub consumers: &'a Consumers,
    pub limits: Option<&'a Table>,
    /// This worker's ways to the permits of each concurrency limit.
    pub desks: &'a [Rc<Desk>],
    /// Makes numbers of callers, for turns between them.
    pub hasher: &'a ahash::RandomState,
    /// What this worker remembers of each `[auth.NAME]`.
    pub remembered: &'a Remembered,
    /// Nothing is taken or remembered: `explain` asks.
    pub is_told: bool,
    pub admitted: &'a mut Admitted,
}

impl<'a> RequestCx<'a> {
    /// The value of a field that stands there once. `Err`: it stands there more often.
    pub fn single(&self, name: &EditName) -> Result<Option<&'a [u8]>, Twice> {
        let facts = self.facts;
        let mut found = facts.fields.iter().filter(|field| name.is(field, facts.head));
        once(found.next(), found.next(), facts.head)
    }

    /// The same of a known field.
    pub fn single_of(&self, id: FieldId) -> Result<Option<&'a [u8]>, Twice> {
        let mut found = self.facts.fields.all(id);
        once(found.next(), found.next(), self.facts.head)
    }
}

fn once<'a>(
    first: Option<&Field>,
    second: Option<&Field>,
    head: &'a [u8],
) -> Result<Option<&'a [u8]>, Twice> {
    match (first, second) {
        (_, Some(_)) => Err(Twice),
        (first, None) => Ok(first.map(|field| field.value.of(head))),
    }
}

/// A field that says who somebody is, more than once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Twice;
