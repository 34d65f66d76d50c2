//! Name and password (RFC 7617). Hashes are slow on purpose, so a helper thread verifies them, and
//! good ones are remembered for a short time.

use parser::FieldId;

use super::cx::{Question, Who};
use super::identify::Found;
use super::{Answer, Ask, Refusal, RequestCx};
use crate::auth::basic::Credentials;
use crate::auth::consumers::Consumers;
use crate::auth::hash::PasswordHash;
use crate::auth::memory::Proof;

/// One `[auth.NAME]` with `method = "basic"`.
#[derive(Debug)]
pub struct Basic {
    pub realm: Box<str>,
    /// Name and password go on to the service.
    pub keep: bool,
    /// Of a file; else consumers have passwords of their own.
    pub users: Option<Box<Consumers>>,
    /// Keys the memory of good ones; of this process alone.
    pub secret: [u8; 32],
}

/// A password that has to be verified.
#[derive(Debug)]
pub struct Password {
    pub hash: PasswordHash,
    pub credentials: Credentials,
    proof: Option<Proof>,
}

impl Basic {
    pub(super) fn look(&self, id: u32, cx: &mut RequestCx<'_>) -> Found {
        let header = match cx.single_of(FieldId::Authorization) {
            Ok(header) => header,
            Err(_) => return Found::Bad(Refusal::BAD_CREDENTIAL),
        };
        let Some(value) = header.filter(|value| is_basic(value)) else { return Found::Nothing };
        let Some(credentials) = Credentials::read(value) else {
            return Found::Bad(Refusal::BAD_CREDENTIAL);
        };
        let (user, password) = (credentials.user(), credentials.password());
        let users = self.users.as_deref().unwrap_or(cx.consumers);
        let Some((found, hash)) = users.basic(user) else {
            // As slow as for somebody who is there.
            let (hash, proof) = (users.decoy(), None);
            return ask(cx, Password { hash, credentials, proof });
        };
        let proof = cx.remembered.of(id).map(|memory| {
            let text = users.basic_text(found).unwrap_or_default();
            (memory, memory.proof(user, password, text, || self.secret))
        });
        match proof {
            Some((memory, proof)) if memory.knows_password(&proof, cx.now) => known(cx, user),
            proof => {
                let proof = proof.map(|(_, proof)| proof);
                ask(cx, Password { hash, credentials, proof })
            }
        }
    }

    pub(super) fn hear(&self, id: u32, cx: &mut RequestCx<'_>, answer: Answer) -> Found {
        let Question::Password(asked) = std::mem::take(&mut cx.admitted.question) else {
            return Found::Bad(Refusal::AUTH_UNAVAILABLE);
        };
        match answer {
            Answer::Yes => {
                if let (Some(memory), Some(proof)) = (cx.remembered.of(id), asked.proof) {
                    memory.remember_password(proof, cx.now);
                }
                known(cx, asked.credentials.user())
            }
            Answer::No => Found::Bad(Refusal::BAD_CREDENTIAL),
            Answer::Unknown => Found::Bad(Refusal::AUTH_UNAVAILABLE),
        }
    }
}

fn is_basic(value: &[u8]) -> bool {
    let scheme = value.split(|&b| b == b' ').next().unwrap_or_default();
    scheme.eq_ignore_ascii_case(b"basic")
}

fn ask(cx: &mut RequestCx<'_>, password: Password) -> Found {
    cx.admitted.question = Question::Password(Box::new(password));
    Found::Ask(Ask::Password)
}

fn known(cx: &mut RequestCx<'_>, user: &[u8]) -> Found {
    match cx.consumers.by_name(user) {
        Some(id) => cx.admitted.found(Who::Consumer(id), &[]),
        None => cx.admitted.found(Who::Named, user),
    }
}
