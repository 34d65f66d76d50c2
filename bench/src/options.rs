//! What the command line asks for.

use crate::relay::Kind;
use crate::scenario;

/// What is to be done.
#[derive(Debug, PartialEq)]
pub enum Task {
    /// Busbar beside its peers, and the relays below all of them.
    Compare(Options),
    /// The relays beside nginx alone.
    Floor(Options),
    /// To be one of the relays.
    Relay { kind: Kind, port: u16, origin: u16 },
}

#[derive(Debug, PartialEq)]
pub struct Options {
    pub rounds: usize,
    pub seconds: u32,
    pub connections: u32,
    /// Connections of the scenario about idle ones.
    pub idle: u32,
    /// And of that about idle ones with TLS, which take more memory on this side too.
    pub idle_tls: u32,
    /// Every proxy writes an access log in every scenario.
    pub logs: bool,
    pub only: Option<String>,
    pub busbar: Option<String>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            rounds: 5,
            seconds: 2,
            connections: 64,
            idle: 9_000,
            idle_tls: 5_000,
            logs: false,
            only: None,
            busbar: None,
        }
    }
}

impl Options {
    /// Whether a scenario is asked for: by its whole name, else by a part of it.
    pub fn wants(&self, name: &str) -> bool {
        self.only.as_deref().is_none_or(|only| match scenario::names().any(|name| name == only) {
            true => name == only,
            false => name.contains(only),
        })
    }
}

const USAGE: &str = "say: compare or floor [--rounds N] [--seconds N] [--connections N] \
                     [--idle N] [--idle-tls N] [--logs] [--only SCENARIO] [--busbar PATH], \
                     or relay epoll|io_uring|rt --port N --origin N";

pub fn read(mut args: impl Iterator<Item = String>) -> Result<Task, String> {
    match args.next().as_deref() {
        Some("compare") => options(args).map(Task::Compare),
        Some("floor") => options(args).map(Task::Floor),
        Some("relay") => relay(args),
        _ => Err(USAGE.to_owned()),
    }
}

fn options(mut args: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options = Options::default();
    while let Some(flag) = args.next() {
        if flag == "--logs" {
            options.logs = true;
            continue;
        }
        let value = args.next().ok_or(format!("{flag} needs a value"))?;
        let number = || value.parse::<u32>().map_err(|e| format!("{flag} {value}: {e}"));
        match flag.as_str() {
            "--rounds" => options.rounds = number()?.max(1) as usize,
            "--seconds" => options.seconds = number()?.max(1),
            "--connections" => options.connections = number()?.max(1),
            "--idle" => options.idle = number()?.max(1),
            "--idle-tls" => options.idle_tls = number()?.max(1),
            "--only" => options.only = Some(value),
            "--busbar" => options.busbar = Some(value),
            _ => return Err(format!("{flag} is not known; {USAGE}")),
        }
    }
    Ok(options)
}

fn relay(mut args: impl Iterator<Item = String>) -> Result<Task, String> {
    let kind = args.next().and_then(|name| Kind::named(&name)).ok_or(USAGE)?;
    let (mut port, mut origin) = (0, 0);
    while let Some(flag) = args.next() {
        let value = args.next().ok_or(format!("{flag} needs a value"))?;
        let number = value.parse().map_err(|e| format!("{flag} {value}: {e}"))?;
        match flag.as_str() {
            "--port" => port = number,
            "--origin" => origin = number,
            _ => return Err(format!("{flag} is not known; {USAGE}")),
        }
    }
    Ok(Task::Relay { kind, port, origin })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &str) -> Result<Task, String> {
        read(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn command_lines_are_understood() {
        assert_eq!(of("compare"), Ok(Task::Compare(Options::default())));
        let asked = Options {
            rounds: 3,
            logs: true,
            only: Some("routes".to_owned()),
            ..Options::default()
        };
        assert!(asked.wants("200 routes") && !asked.wants("keep-alive 128 B"));
        assert_eq!(of("floor --logs --rounds 3 --only routes"), Ok(Task::Floor(asked)));
        let relay = Task::Relay { kind: Kind::Uring, port: 1, origin: 2 };
        assert_eq!(of("relay io_uring --port 1 --origin 2"), Ok(relay));
    }

    #[test]
    fn a_whole_name_asks_for_one_scenario_and_a_part_for_all_that_hold_it() {
        let wanted = |only: &str| {
            let options = Options { only: Some(only.to_owned()), ..Options::default() };
            scenario::names().filter(|name| options.wants(name)).collect::<Vec<_>>()
        };
        assert_eq!(wanted("keep-alive 128 B"), ["keep-alive 128 B"]);
        assert_eq!(wanted("128 B"), ["keep-alive 128 B", "TLS keep-alive 128 B"]);
        assert_eq!(wanted("TLS").len(), 5);
        assert_eq!(scenario::names().filter(|name| Options::default().wants(name)).count(), 15);
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for line in ["", "compare --rounds", "compare --rounds x", "floor --x 1", "relay select"] {
            assert!(of(line).is_err(), "{line}");
        }
    }
}
