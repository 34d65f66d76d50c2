//! Tokens that an issuer has signed (RFC 7519), as bearer tokens (RFC 6750) or in a cookie.

use std::rc::Rc;
use std::sync::Arc;

use parser::encode;

use super::api_key;
use super::cx::Who;
use super::identify::Found;
use super::{Answer, Ask, Refusal, RequestCx};
use crate::auth::basic::bearer;
use crate::auth::claims::{Claims, is_padded};
use crate::auth::fetch::Fetch;
use crate::auth::jwks::{Algs, KeySet};
use crate::auth::jwt::{Denied, Rules, verify};
use crate::auth::{Now, Wall};
use crate::http::edit::EditName;

/// Where an issuer's keys come from.
#[derive(Debug)]
pub enum KeySource {
    Known(Arc<KeySet>),
    /// By control; workers are told.
    Fetched(Box<Fetch>),
}

/// One `[auth.NAME]` with `method = "jwt"`.
#[derive(Debug)]
pub struct Jwt {
    pub keys: KeySource,
    /// Keys of others are left out when a set is read.
    pub algorithms: Algs,
    pub rules: Rules,
    /// Fields for the service, and the claims they hold.
    pub to_headers: Box<[(EditName, Box<str>)]>,
    pub header: EditName,
    pub cookie: Option<Box<[u8]>>,
    /// The token goes on to the service.
    pub keep: bool,
}

impl Jwt {
    pub(super) fn look(&self, id: u32, cx: &mut RequestCx<'_>) -> Found {
        self.judge(id, cx, false)
    }

    /// The keys are as new as they can be now.
    pub(super) fn hear(&self, id: u32, cx: &mut RequestCx<'_>, _answer: Answer) -> Found {
        self.judge(id, cx, true)
    }

    fn judge(&self, id: u32, cx: &mut RequestCx<'_>, has_asked: bool) -> Found {
        let token = match self.token(cx) {
            Ok(Some(token)) => token,
            Ok(None) => return Found::Nothing,
            Err(_) => return Found::Bad(Refusal::BAD_CREDENTIAL),
        };
        let memory = cx.remembered.of(id);
        let now = Now { mono: cx.now, wall: Wall(cx.wall) };
        if let Some(claims) = memory.and_then(|memory| memory.token(token, now)) {
            return self.known(cx, claims); // Fast path.
        }
        let fetched = match &self.keys {
            KeySource::Known(_) => None,
            KeySource::Fetched(_) => memory.and_then(|memory| memory.keys()),
        };
        let keys = match (&self.keys, &fetched) {
            (KeySource::Known(keys), _) | (_, Some(keys)) => keys,
            (KeySource::Fetched(_), None) => return Found::Bad(Refusal::AUTH_UNAVAILABLE),
        };
        match verify(token, keys, &self.rules, now.wall) {
            Ok(claims) => {
                let claims = Rc::new(claims);
                memory.inspect(|memory| memory.remember_token(token, &claims, now));
                self.known(cx, claims)
            }
            Err(denied) if denied.asks_for_newer_keys() && fetched.is_some() && !has_asked => {
                cx.admitted.question = super::cx::Question::Keys(id);
                Found::Ask(Ask::Keys)
            }
            Err(Denied::Expired | Denied::NotYetValid) => Found::Bad(Refusal::EXPIRED),
            Err(_) => Found::Bad(Refusal::BAD_CREDENTIAL),
        }
    }

    /// `Ok(None)`: there is none of this kind.
    fn token<'a>(&self, cx: &RequestCx<'a>) -> Result<Option<&'a [u8]>, super::cx::Twice> {
        let is_usual = self.header.id == parser::FieldId::Authorization;
        let field = cx.single(&self.header)?;
        let token = match is_usual {
            true => field.and_then(bearer),
            false => field.map(|value| bearer(value).unwrap_or(value)),
        };
        match (token, &self.cookie) {
            (None, Some(name)) => api_key::cookie(cx, name),
            (token, _) => Ok(token),
        }
    }

    fn known(&self, cx: &mut RequestCx<'_>, claims: Rc<Claims>) -> Found {
        let name = claims.consumer().as_bytes();
        let found = match cx.consumers.by_name(name) {
            Some(id) => cx.admitted.found(Who::Consumer(id), &[]),
            None => cx.admitted.found(Who::Named, name),
        };
        for (field, claim) in &self.to_headers {
            if let Some(text) =
                claims.text(claim).filter(|text| !text.is_empty() && !is_padded(text))
            {
                encode::field(&mut cx.admitted.to_service, field.text.as_bytes(), text.as_bytes());
            }
        }
        cx.admitted.claims = Some(claims);
        found
    }
}
