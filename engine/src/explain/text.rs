//! An explanation for a terminal.

use std::fmt::Write;

use super::{Act, Chosen, Explanation, Outcome, Path, Target};
use crate::config::units::time_text;
use crate::http::problem::Problem;
use crate::router::ValuePattern;
use crate::router::explain::{By, Conditions, Lost};
use crate::snapshot::Route;

/// Columns of the first word or two of a line, and of what follows before a place.
const LABEL: usize = 20;
const MIDDLE: usize = 50;

impl Explanation {
    /// As `busbar explain` prints it.
    pub fn text(&self) -> String {
        let mut out = Lines(String::new());
        let source = match self.source.generation {
            Some(generation) => format!("{}, generation {generation}", self.source.name),
            None => self.source.name.clone(),
        };
        out.line(&format!("listener {}", self.listener), &self.address, &source);
        for note in &self.notes {
            out.line("", note, "");
        }
        match self.client == self.peer {
            true => out.line("client", &self.client, ""),
            false => {
                out.line("client", &format!("{}  (by its proxy {})", self.client, self.peer), "");
            }
        }
        if let Some(host) = &self.host {
            out.line("host", host, "");
        }
        if let Some(path) = &self.path {
            out.line("path", &path.text(), "");
        }
        match &self.outcome {
            Outcome::Route(chosen) => out.route(chosen),
            Outcome::Slash { route, location, place } => {
                out.line(&format!("route {route}"), "its path but for the last slash", place);
                out.near(self);
                out.line("answer", &format!("308 to {location}"), "");
            }
            Outcome::Https { location } => {
                out.line("answer", &format!("308 to {location}: the listener's redirect"), "");
            }
            Outcome::Own => out.line("answer", "204: OPTIONS for the gateway itself", ""),
            Outcome::Problem { problem, route, .. } => {
                let (label, why) = match route {
                    Some(route) => (
                        format!("route {route}"),
                        "refuses %2F and %5C; encoded_slash = \"keep\" takes them",
                    ),
                    None if *problem == Problem::MethodNotAllowed => {
                        ("no route".to_owned(), "the path is known, the method is not")
                    }
                    None => ("no route".to_owned(), "takes this request"),
                };
                out.line(&label, why, "");
            }
            Outcome::Refused(kind) => {
                out.line("target", &self.query.target, "");
                out.line("refused", &format!("{} ({})", kind.text(), kind.section()), "");
            }
        }
        match &self.outcome {
            Outcome::Route(chosen) => {
                out.near(self);
                out.chain(chosen);
                out.settings(chosen);
                out.action(chosen);
            }
            Outcome::Problem { problem, allow, .. } => {
                out.near(self);
                out.problem(*problem, allow);
            }
            Outcome::Refused(kind) => out.problem(Problem::of_head(*kind), ""),
            Outcome::Slash { .. } | Outcome::Https { .. } | Outcome::Own => {}
        }
        out.0
    }
}

impl Path {
    fn text(&self) -> String {
        let Path { received, canonical, sent } = self;
        match (received == canonical, sent == received) {
            (true, _) => format!("{canonical}  (as received)"),
            (false, true) => format!("{canonical}  (received, and sent, as {received})"),
            (false, false) => format!("{canonical}  (received as {received})"),
        }
    }
}

/// Lines in columns.
struct Lines(String);

impl Lines {
    fn line(&mut self, label: &str, middle: &str, place: &str) {
        let gap = if label.chars().count() < LABEL { "" } else { "  " };
        let line = match place {
            "" => format!("{label:<LABEL$}{gap}{middle}"),
            place => format!("{label:<LABEL$}{gap}{middle:<MIDDLE$}  {place}"),
        };
        // A terminal gets nothing that it would obey: values come from requests and files.
        let visible = |c: char| if c.is_control() { '\u{fffd}' } else { c };
        self.0.extend(line.trim_end().chars().map(visible));
        self.0.push('\n');
    }

    fn route(&mut self, chosen: &Chosen) {
        let conditions: String = chosen.conditions.iter().map(|c| format!("  {c}")).collect();
        let middle = format!("{}{conditions}", chosen.pattern);
        self.line(&format!("route {}", chosen.name), &middle, &chosen.place);
        for (name, value) in &chosen.params {
            self.line("", &format!("{{{name}}} = {value}"), "");
        }
    }

    fn near(&mut self, explanation: &Explanation) {
        for near in &explanation.near {
            self.line(&format!("  not {}", near.route), &near.why, &near.place);
        }
        match explanation.farther {
            0 => {}
            1 => self.line("", "and 1 route that is farther off", ""),
            more => self.line("", &format!("and {more} routes that are farther off"), ""),
        }
    }

    fn chain(&mut self, chosen: &Chosen) {
        if let Some(consumer) = &chosen.consumer {
            self.line("consumer", consumer, "");
        }
        for (i, told) in chosen.chain.iter().enumerate() {
            let label = if i == 0 { "chain" } else { "" };
            let from = if told.from.is_empty() { "" } else { "  from " };
            let middle = format!("{:<10} {}{from}{}", told.phase, told.what, told.from);
            self.line(label, &middle, &told.place);
            self.line("", &format!("{:<10} {}", "", told.says), "");
        }
    }

    fn settings(&mut self, chosen: &Chosen) {
        for (i, setting) in chosen.settings.iter().enumerate() {
            let label = if i == 0 { "settings" } else { "" };
            let layers: Vec<&str> = setting.from.iter().map(|from| from.layer.as_str()).collect();
            let from = match layers.is_empty() {
                true => "default".to_owned(),
                false => format!("from {}", layers.join(", ")),
            };
            let place = setting.from.first().map_or("", |from| from.place.as_str());
            self.line(label, &format!("{:<14} {:<16} {from}", setting.key, setting.value), place);
        }
    }

    fn action(&mut self, chosen: &Chosen) {
        match &chosen.action {
            Act::To { targets, sent, retry } => {
                let sum: u64 = targets.iter().map(|target| u64::from(target.weight)).sum();
                targets.iter().for_each(|target| self.target(target, sum, targets.len()));
                for (i, line) in sent.trim_end().lines().enumerate() {
                    self.line(if i == 0 { "sent" } else { "" }, line, "");
                }
                let answer = chosen.settings.iter().find(|setting| setting.key == "timeout");
                let answer = answer.map_or("none", |setting| setting.value.as_str());
                let connect = targets.first().map_or("none", |t| t.connect_timeout.as_str());
                let text = format!("answer {answer}, connect {connect}; retry: {retry}");
                self.line("timeouts", &text, "");
            }
            Act::Respond { status, content_type, body, body_bytes } => {
                let text = match body_bytes {
                    0 => format!("{status} without a body"),
                    _ => format!("{status} {content_type}, {body_bytes} bytes"),
                };
                self.line("answer", &text, "");
                body.lines().for_each(|line| self.line("", line, ""));
            }
            Act::Redirect { status, location } => {
                self.line("answer", &format!("{status} to {location}"), "");
            }
            Act::Echo => self.line("answer", "200 with the request as it arrived", ""),
            Act::Problem(problem) => self.problem(*problem, ""),
            Act::Policy(status) => {
                self.line("answer", &format!("{status}, by a policy"), "");
            }
        }
        for (i, edit) in chosen.answer_edits.iter().enumerate() {
            self.line(if i == 0 { "answer's fields" } else { "" }, edit, "");
        }
    }

    fn target(&mut self, target: &Target, sum: u64, targets: usize) {
        let share = match targets {
            1 => String::new(),
            _ => format!("  {} of {sum} requests", target.weight),
        };
        let label = format!("to {}", target.name);
        let mut endpoints = target.endpoints.iter().map(endpoint);
        let first = endpoints.next().unwrap_or_default();
        self.line(&label, &format!("{first}{share}"), "");
        endpoints.for_each(|text| self.line("", &text, ""));
    }

    fn problem(&mut self, problem: Problem, allow: &str) {
        let allow = if allow.is_empty() { String::new() } else { format!(", Allow: {allow}") };
        let text = format!(
            "{} problem+json  type urn:busbar:problem:{}{allow}",
            problem.status(),
            problem.slug()
        );
        self.line("answer", &text, "");
        self.line("", problem.title(), "");
    }
}

fn endpoint(endpoint: &super::Endpoint) -> String {
    let mut text = endpoint.text.clone();
    if endpoint.weight != 1 {
        let _ = write!(text, " (weight {})", endpoint.weight);
    }
    let Some(state) = &endpoint.state else { return text };
    if !state.addresses.is_empty() {
        let _ = write!(text, " at {}", state.addresses.join(", "));
    }
    let _ = write!(text, " {}", state.word());
    if state.refusing > 0 && state.refusing < state.workers {
        let _ = write!(text, " ({} of {})", state.refusing, state.workers);
    }
    if let Some(again) = state.again_in.filter(|_| state.refusing > 0) {
        let ms = std::time::Duration::from_millis(again.as_millis().max(1) as u64);
        let _ = write!(text, ", tried again in {}", time_text(ms));
    }
    if state.inflight > 0 {
        let _ = write!(text, ", {} under way", state.inflight);
    }
    if state.idle > 0 {
        let _ = write!(text, ", {} idle connections", state.idle);
    }
    text
}

/// What a route asks beside its path.
pub(super) fn conditions(conditions: &Conditions) -> Vec<String> {
    let Conditions { hosts, methods, headers, query, listeners } = conditions;
    let mut texts = Vec::new();
    let named = [("host", hosts), ("methods", methods), ("listener", listeners)];
    for (what, list) in named.into_iter().filter(|(_, list)| !list.is_empty()) {
        texts.push(format!("{what} {}", list.join(" ")));
    }
    texts.extend(headers.iter().map(|(name, want)| format!("header {name} {}", wants(want))));
    texts.extend(query.iter().map(|(name, want)| format!("query {name} {}", wants(want))));
    texts
}

fn wants(want: &ValuePattern) -> String {
    match want {
        ValuePattern::Present => "*".to_owned(),
        ValuePattern::Exact(text) => format!("= {text:?}"),
        ValuePattern::Prefix(text) => format!("= {:?}", format!("{text}*")),
    }
}

/// Why a route did not get a request, in a few words.
pub(super) fn why(lost: &Lost<'_>, route: &Route) -> String {
    let conditions = &route.wanted.conditions;
    let is_not = |what: &str, name: &str, want: &ValuePattern| match want {
        ValuePattern::Present => format!("{what} {name} is not there"),
        want => format!("{what} {name} is not {}", wants(want).trim_start_matches("= ")),
    };
    match lost {
        Lost::Listener => format!("only on listener {}", conditions.listeners.join(", ")),
        Lost::Host => format!("only for host {}", conditions.hosts.join(", ")),
        Lost::Path { has, wants, .. } if has.is_empty() && wants.is_empty() => {
            "path differs in its last slash".to_owned()
        }
        Lost::Path { segment, has, wants: "" } => {
            format!("path goes on at segment {segment}: {}", String::from_utf8_lossy(has))
        }
        Lost::Path { segment, has, wants } if has.is_empty() => {
            format!("path ends before segment {segment}: {wants}")
        }
        Lost::Path { segment, has, wants } => {
            let has = String::from_utf8_lossy(has);
            format!("path differs at segment {segment}: {has} ≠ {wants}")
        }
        Lost::Method => format!("takes only {}", conditions.methods.join(" ")),
        Lost::Header(name, want) => is_not("header", name, want),
        Lost::Query(name, want) => is_not("query", name, want),
        Lost::Beaten(by) => match by {
            By::Host if conditions.hosts.is_empty() => "any host: less specific".to_owned(),
            By::Host => format!("less specific host {}", conditions.hosts.join(", ")),
            By::Path { segment, wants } => {
                let wants = if wants.is_empty() { "its end" } else { wants };
                format!("less specific path at segment {segment}: {wants}")
            }
            By::Methods => "same path, but fewer conditions (no methods)".to_owned(),
            By::Head => "same path, but it takes HEAD only because of GET".to_owned(),
            By::Headers => "same path, but fewer conditions (headers)".to_owned(),
            By::Query => "same path, but fewer conditions (query)".to_owned(),
            By::Name => "as specific, but its name sorts later".to_owned(),
        },
    }
}
