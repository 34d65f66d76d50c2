//! Issuers' keys: fetched when they are due, and when a token names one that is not known. The last
//! good set stays.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::fetch::{self, Fetched};
use super::{Task, say};
use crate::auth::fetch::Fetch;
use crate::auth::jwks::{Algs, KeySet};
use crate::auth::keys::{Digest, digest_of};
use crate::auth::refresh::{Action, Event, Refresh};
use crate::policy::Answer;
use crate::rng::Rng;
use crate::rt;
use crate::snapshot::Snapshot;
use crate::time::Mono;
use crate::worker::asks::Ticket;
use crate::worker::mailbox::IssuerKeys;

/// Tokens that wait for one fetch, over all workers; further ones do without it.
const WAITING_MAX: usize = 1024;
/// How long a start or a reload waits for keys.
const LEARN_MAX: Duration = Duration::from_secs(1);
/// Fetches that have ended and were not heard of.
const HEARD_MAX: usize = 64;

/// What a fetch came to.
pub type Outcome = (Fetch, Result<Fetched, String>);

/// One issuer, by where its keys are.
struct Issuer {
    from: Fetch,
    /// Of all that ask this issuer.
    algorithms: Algs,
    refresh: Refresh,
    due: Mono,
    keys: Option<Arc<IssuerKeys>>,
    /// Of the text they were read from.
    digest: Option<Digest>,
    fetching: Option<Task>,
    /// Workers and their questions.
    waiting: Vec<(u32, Ticket)>,
    /// It has been said that it can't be reached.
    is_told: bool,
}

/// All issuers that the configuration in force names.
pub struct Issuers {
    issuers: Vec<Issuer>,
    rng: Rng,
    told: mpsc::Sender<Outcome>,
    pub heard: mpsc::Receiver<Outcome>,
    /// Of a change of configuration.
    news: Vec<News>,
}

/// What workers are to be told.
#[derive(Debug, Default)]
pub struct News {
    pub keys: Option<Arc<IssuerKeys>>,
    /// Questions that are answered now.
    pub found: Vec<(u32, Ticket, Answer)>,
}

impl Issuers {
    pub fn new() -> Issuers {
        let (told, heard) = mpsc::channel(HEARD_MAX);
        Issuers { issuers: Vec::new(), rng: Rng::new(rt::entropy()), told, heard, news: Vec::new() }
    }

    /// Follows the issuers that a configuration names, and no others.
    pub fn adopt(&mut self, snapshot: &Snapshot) {
        let mut before = std::mem::take(&mut self.issuers);
        for (from, algorithms) in wanted_of(snapshot.auths.iter().filter_map(|a| a.fetches())) {
            let known = before.iter().position(|issuer| issuer.from == from);
            let known = known.map(|at| before.swap_remove(at));
            let (same, other) = match known {
                Some(known) if known.algorithms == algorithms => (Some(known), None),
                other => (None, other),
            };
            self.issuers.push(same.unwrap_or_else(|| Issuer {
                from,
                algorithms,
                refresh: Refresh::default(),
                due: rt::now(),
                keys: None,
                digest: None,
                fetching: None,
                // They are told when the set is there that is fetched now.
                waiting: other.map(|other| other.waiting).unwrap_or_default(),
                is_told: false,
            }));
        }
        for gone in before {
            let found = gone.waiting.into_iter().map(|(worker, ticket)| {
                (worker, ticket, Answer::No) // nobody fetches its keys any more
            });
            self.news.push(News { keys: None, found: found.collect() });
        }
        self.fetch_due();
    }

    /// As `adopt`, and waits a while for sets that are new. What workers are to be told of it is
    /// in `take_news`, also when this is given up.
    pub async fn learn(&mut self, snapshot: &Snapshot) {
        self.adopt(snapshot);
        let end = tokio::time::Instant::now() + LEARN_MAX;
        while self.issuers.iter().any(|i| i.keys.is_none() && i.fetching.is_some()) {
            match tokio::time::timeout_at(end, self.heard.recv()).await {
                Ok(Some(outcome)) => {
                    let news = self.fetched(outcome);
                    self.news.push(news);
                }
                _ => break, // those that need them get 503 until they are there
            }
        }
    }

    pub fn take_news(&mut self) -> Vec<News> {
        std::mem::take(&mut self.news)
    }

    /// All sets that are known, for workers that begin.
    pub fn keys(&self) -> Vec<Arc<IssuerKeys>> {
        self.issuers.iter().filter_map(|issuer| issuer.keys.clone()).collect()
    }

    pub fn next_at(&self) -> Mono {
        self.issuers.iter().map(|issuer| issuer.due).min().unwrap_or(Mono::NEVER)
    }

    /// Begins the fetches whose time has come.
    pub fn fetch_due(&mut self) {
        let now = rt::now();
        for at in 0..self.issuers.len() {
            if self.issuers[at].due <= now {
                self.happened(at, Event::Time);
            }
        }
    }

    /// A token names a key that its issuer's set does not have.
    pub fn wanted(&mut self, from: &Fetch, worker: u32, ticket: Ticket) -> News {
        let Some(at) = self.issuers.iter().position(|issuer| issuer.from == *from) else {
            return News { found: vec![(worker, ticket, Answer::No)], ..News::default() };
        };
        self.happened(at, Event::UnknownKid);
        let issuer = &mut self.issuers[at];
        if issuer.fetching.is_none() || issuer.waiting.len() >= WAITING_MAX {
            return News { found: vec![(worker, ticket, Answer::No)], ..News::default() };
        }
        issuer.waiting.push((worker, ticket));
        News::default()
    }

    /// A fetch has ended.
    pub fn fetched(&mut self, (from, outcome): Outcome) -> News {
        let Some(at) = self.issuers.iter().position(|issuer| issuer.from == from) else {
            return News::default(); // no configuration asks for it any more
        };
        let issuer = &mut self.issuers[at];
        issuer.fetching = None;
        let set = outcome.and_then(|fetched| {
            let set = KeySet::parse(&fetched.body, issuer.algorithms).map_err(|e| e.to_string())?;
            match set.is_empty() && !set.skipped().is_empty() {
                true => Err(format!("none of its keys can be used: {}", set.skipped()[0].why)),
                false => Ok((set, digest_of(&fetched.body), fetched.max_age)),
            }
        });
        let (event, keys) = match set {
            // Workers keep what they remember of tokens.
            Ok((_, digest, max_age)) if issuer.digest == Some(digest) => {
                issuer.is_told = false;
                (Event::Fetched { max_age }, None)
            }
            Ok((set, digest, max_age)) => {
                issuer.digest = Some(digest);
                if std::mem::take(&mut issuer.is_told) {
                    say(&format!("{from}: {} keys, again", set.len()));
                }
                let keys = Arc::new(IssuerKeys { from: from.clone(), keys: Arc::new(set) });
                issuer.keys = Some(keys.clone());
                (Event::Fetched { max_age }, Some(keys))
            }
            Err(why) => {
                if !std::mem::replace(&mut issuer.is_told, true) {
                    let rest = match issuer.keys {
                        Some(_) => "the last good ones stay",
                        None => "routes that need them get 503 until it answers",
                    };
                    say(&format!("warning: no keys from {from} ({why}); {rest}"));
                }
                (Event::Failed, None)
            }
        };
        let answer = if keys.is_some() { Answer::Yes } else { Answer::No };
        let found = std::mem::take(&mut issuer.waiting);
        let found = found.into_iter().map(|(worker, ticket)| (worker, ticket, answer)).collect();
        self.happened(at, event);
        News { keys, found }
    }

    fn happened(&mut self, at: usize, event: Event) {
        let issuer = &mut self.issuers[at];
        issuer.due = match issuer.refresh.on(event, rt::now(), &mut self.rng) {
            Action::Wait(until) => until,
            Action::Nothing => Mono::NEVER, // until the fetch ends
            Action::Fetch => {
                let (from, told) = (issuer.from.clone(), self.told.clone());
                issuer.fetching = Some(Task(tokio::spawn(async move {
                    let outcome = fetch::get(&from).await;
                    _ = told.send((from, outcome)).await; // control has ended
                })));
                Mono::NEVER
            }
        };
    }
}

/// Each issuer once, with the algorithms of all that ask it.
fn wanted_of<'a>(all: impl Iterator<Item = (&'a Fetch, Algs)>) -> Vec<(Fetch, Algs)> {
    let mut wanted: Vec<(Fetch, Algs)> = Vec::new();
    for (from, algorithms) in all {
        match wanted.iter_mut().find(|(known, _)| known == from) {
            Some((_, known)) => *known = known.or(algorithms),
            None => wanted.push((from.clone(), algorithms)),
        }
    }
    wanted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::gateway::snapshot;

    const SET: &str = "{\"keys\":[]}";

    /// `[auth.NAME]` tables with where their keys are and which of them count.
    fn methods(of: &[(&str, &str)]) -> Snapshot {
        let tables = of.iter().enumerate().map(|(n, (path, algorithms))| {
            format!(
                "[auth.a{n}]\nmethod = \"jwt\"\nissuer = \"https://a\"\naudience = \"a\"\n\
                 jwks = \"http://127.0.0.1:1/{path}\"\nalgorithms = {algorithms}\n\
                 [route.a{n}]\npath = \"/a{n}\"\nauth = \"a{n}\"\nrespond = \"a\"\n"
            )
        });
        snapshot(&tables.collect::<String>())
    }

    fn run(test: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.unwrap().block_on(test);
    }

    fn ticket() -> Ticket {
        crate::worker::asks::Asks::default().open().ticket()
    }

    fn set() -> Result<Fetched, String> {
        Ok(Fetched { body: SET.into(), max_age: None })
    }

    #[test]
    fn two_methods_with_one_url_keep_its_keys_over_reloads() {
        run(async {
            let both = methods(&[("a", "[\"RS256\"]"), ("a", "[\"ES256\"]")]);
            let mut issuers = Issuers::new();
            issuers.adopt(&both);
            let from = issuers.issuers[0].from.clone();
            issuers.fetched((from, set()));
            assert_eq!(issuers.keys().len(), 1);
            issuers.adopt(&both);
            assert_eq!((issuers.keys().len(), issuers.issuers.len()), (1, 1));
            assert!(issuers.issuers[0].fetching.is_none());
            // With other algorithms other keys count.
            issuers.adopt(&methods(&[("a", "[\"RS256\"]")]));
            assert_eq!(issuers.keys().len(), 0);
            assert!(issuers.issuers[0].fetching.is_some());
        });
    }

    #[test]
    fn those_who_wait_are_told_when_a_reload_ends_their_wait() {
        run(async {
            let mut issuers = Issuers::new();
            let algs = "[\"RS256\"]";
            issuers.adopt(&methods(&[("gone", algs), ("other", algs), ("same", algs)]));
            let all: Vec<Fetch> = issuers.issuers.iter().map(|i| i.from.clone()).collect();
            for (n, from) in all.iter().enumerate() {
                assert!(issuers.wanted(from, n as u32, ticket()).found.is_empty());
            }
            // The fetch ends while the reload waits.
            issuers.told.send((all[2].clone(), set())).await.unwrap();
            issuers.learn(&methods(&[("other", "[\"ES256\"]"), ("same", algs)])).await;
            let told = issuers.take_news().into_iter().flat_map(|news| news.found);
            let mut told: Vec<_> = told.map(|(worker, _, answer)| (worker, answer)).collect();
            told.sort_by_key(|(worker, _)| *worker);
            // Nobody listens where the second one's keys are.
            assert_eq!(told, [(0, Answer::No), (1, Answer::No), (2, Answer::Yes)]);
            assert!(issuers.take_news().is_empty());
        });
    }
}
