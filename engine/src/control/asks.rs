//! What the operator asks, and what workers ask.

use serde_json::json;

use super::{Control, jwks, limits};
use crate::admin::{Answer, Ask, What};
use crate::rt;
use crate::worker::mailbox::ToWorker;

impl Control {
    pub(super) async fn answer(&mut self, ask: Ask) {
        let is_ready = self.is_ready();
        let is_probe_of_readiness = ask.what == What::Ready;
        let json = match ask.what {
            What::Reload => return self.reload(Some(ask.answer)).await,
            What::Metrics(format) => return self.collect(Some((format, Some(ask.answer)))),
            What::Explain(query) => {
                return self.explain(&query, ask.answer);
            }
            What::Limits(query) => {
                let snapshot = self.publisher.present().expect("it runs on one");
                let _ = ask.answer.send(match limits::look(snapshot, &query, rt::now()) {
                    Ok(json) => Answer::Done(json),
                    Err(why) => Answer::Refused(json!({ "error": why })),
                });
                return;
            }
            What::Status => self.status(),
            What::Health => json!({ "healthy": true }),
            What::Ready => json!({ "ready": is_ready }),
        };
        let _ = ask.answer.send(match is_probe_of_readiness && !is_ready {
            true => Answer::Refused(json),
            false => Answer::Done(json),
        });
    }

    /// All workers serve the same configuration, and go on doing so.
    pub(super) fn is_ready(&self) -> bool {
        let generation = self.publisher.present().map_or(0, |s| s.generation);
        self.drain.is_none() && self.adopted.iter().all(|adopted| *adopted == generation)
    }

    pub(super) fn tell_news(&self, news: jwks::News) {
        // First the keys, then to those who wait that they are there.
        if let Some(keys) = news.keys {
            self.workers.send_all(|| ToWorker::Keys(keys.clone()));
        }
        for (worker, ticket, answer) in news.found {
            self.workers.send(worker as usize, ToWorker::Found(ticket, answer));
        }
    }
}
