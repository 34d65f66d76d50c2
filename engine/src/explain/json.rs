//! An explanation for programs.

use serde_json::{Map, Value, json};

use super::{Act, Chosen, Explanation, Outcome, Target};
use crate::http::problem::Problem;

impl Explanation {
    /// As `busbar explain --json` prints it.
    pub fn json(&self) -> Value {
        let near = self
            .near
            .iter()
            .map(|near| json!({ "route": near.route, "place": near.place, "why": near.why }));
        let mut json = json!({
            "query": self.query.to_json(),
            "configuration": self.source.name,
            "generation": self.source.generation,
            "listener": { "name": self.listener, "address": self.address },
            "notes": self.notes,
            "host": self.host,
            "peer": self.peer,
            "client": self.client,
            "path": self.path.as_ref().map(|path| json!({
                "received": path.received, "canonical": path.canonical, "sent": path.sent,
            })),
            "status": self.own_status(),
            "not": near.collect::<Value>(),
            "farther": self.farther,
            "text": self.text(),
        });
        let (outcome, details) = self.outcome_json();
        json["outcome"] = json!(outcome);
        for (name, value) in details {
            json[name] = value;
        }
        json
    }

    fn outcome_json(&self) -> (&'static str, Map<String, Value>) {
        let mut details = Map::new();
        let mut add = |name: &str, value: Value| _ = details.insert(name.to_owned(), value);
        let outcome = match &self.outcome {
            Outcome::Refused(kind) => {
                add("problem", problem(Problem::of_head(*kind)));
                add("rule", json!({ "text": kind.text(), "section": kind.section() }));
                "refused"
            }
            Outcome::Problem { problem: which, allow, route } => {
                add("problem", problem(*which));
                if !allow.is_empty() {
                    add("allow", json!(allow));
                }
                if let Some(route) = route {
                    add("route", json!({ "name": route }));
                }
                "problem"
            }
            Outcome::Own => "options",
            Outcome::Https { location } => {
                add("location", json!(location));
                "https"
            }
            Outcome::Slash { route, location, place } => {
                add("route", json!({ "name": route, "place": place }));
                add("location", json!(location));
                "slash"
            }
            Outcome::Route(chosen) => {
                add("route", chosen.json());
                add("consumer", json!(chosen.consumer));
                add("chain", chosen.chain_json());
                add("settings", chosen.settings_json());
                add("action", chosen.action_json());
                "route"
            }
        };
        (outcome, details)
    }
}

fn problem(problem: Problem) -> Value {
    json!({
        "type": format!("urn:busbar:problem:{}", problem.slug()),
        "title": problem.title(),
        "status": problem.status(),
    })
}

impl Chosen {
    fn json(&self) -> Value {
        let params: Map<String, Value> =
            self.params.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
        json!({
            "name": self.name,
            "place": self.place,
            "path": self.pattern,
            "conditions": self.conditions,
            "params": params,
        })
    }

    fn settings_json(&self) -> Value {
        let one = |setting: &super::Setting| {
            let from = setting.from.iter();
            let from = from.map(|from| json!({ "layer": from.layer, "place": from.place }));
            json!({
                "key": setting.key,
                "value": setting.value,
                "from": from.collect::<Value>(),
            })
        };
        self.settings.iter().map(one).collect()
    }

    fn chain_json(&self) -> Value {
        let one = |told: &super::Told| {
            json!({
                "phase": told.phase,
                "policy": told.what,
                "from": { "layer": told.from, "place": told.place },
                "says": told.says,
            })
        };
        self.chain.iter().map(one).collect()
    }

    fn action_json(&self) -> Value {
        let mut json = match &self.action {
            Act::To { targets, sent, retry } => json!({
                "to": targets.iter().map(target).collect::<Value>(),
                "sent": sent.trim_end().lines().collect::<Vec<_>>(),
                "retry": retry,
            }),
            Act::Respond { status, content_type, body, body_bytes } => json!({
                "respond": {
                    "status": status,
                    "type": content_type,
                    "body": body,
                    "body_bytes": body_bytes,
                },
            }),
            Act::Redirect { status, location } => {
                json!({ "redirect": { "status": status, "location": location } })
            }
            Act::Echo => json!({ "echo": true }),
            Act::Problem(which) => json!({ "problem": problem(*which) }),
            Act::Policy(status) => json!({ "policy": { "status": status } }),
        };
        json["answer_edits"] = json!(self.answer_edits);
        json
    }
}

fn target(target: &Target) -> Value {
    let endpoint = |endpoint: &super::Endpoint| {
        let state = endpoint.state.as_ref().map(|state| {
            json!({
                "word": state.word(),
                "addresses": state.addresses,
                "workers": state.workers,
                "refusing": state.refusing,
                "again_in_ms": state.again_in.map(|again| again.as_millis() as u64),
                "inflight": state.inflight,
                "idle": state.idle,
            })
        });
        json!({ "address": endpoint.text, "weight": endpoint.weight, "state": state })
    };
    json!({
        "upstream": target.name,
        "weight": target.weight,
        "connect_timeout": target.connect_timeout,
        "endpoints": target.endpoints.iter().map(endpoint).collect::<Value>(),
    })
}
