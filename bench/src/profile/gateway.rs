//! The gateway under a tool, and the client that asks it.
#![allow(clippy::disallowed_methods)] // a program of its own: it reads the clock, connects, sleeps

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::latency::answers::Answers;
use crate::latency::load::SMALL;
use crate::latency::poll::Poll;
use crate::process::{free_port, wait_for};
use crate::{peers, routes};

/// How long a process may take to end; callgrind writes its file then.
const END: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(10);
/// An answer that takes longer is none.
const ANSWER: Duration = Duration::from_secs(10);

pub struct Gateway {
    pub port: u16,
    child: Child,
}

/// What all parts of a profile share.
pub struct Place<'a> {
    pub dir: &'a Path,
    pub origin: u16,
    pub busbar: &'a str,
}

impl Gateway {
    /// Starts it on CPU 0 with one worker on a driver; `under`: a program that runs it.
    pub fn start(place: &Place, driver: &str, under: &[String]) -> Result<Gateway, String> {
        let port = free_port();
        let setup = peers::Setup {
            dir: place.dir,
            origin: place.origin,
            busbar: None,
            logs: false,
            tls: false,
            connections_max: peers::CONNECTIONS_MAX,
        };
        let text = peers::BUSBAR
            .replace("workers = 1\n", &format!("workers = 1\ndriver = \"{driver}\"\n"));
        let name = format!("profile-{driver}.toml");
        let file = setup.write(&name, &text, port, &routes::one().busbar)?;
        let failed = |e: std::io::Error| format!("{file}: {e}");
        let log = place.dir.join(format!("{name}.out"));
        let log = fs::File::create(log).map_err(failed)?;
        let child = Command::new("taskset")
            .args(["-c", "0"])
            .args(under)
            .args([place.busbar, "run"])
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(failed)?)
            .stderr(log)
            .spawn()
            .map_err(failed)?;
        let gateway = Gateway { port, child };
        wait_for(port, &format!("the gateway on {driver}"))?;
        gateway.wait_for_answer()?;
        Ok(gateway)
    }

    /// It listens for a moment to see whether the port is free, and closes that again: under
    /// valgrind the moment is long enough to be taken for the gateway.
    fn wait_for_answer(&self) -> Result<(), String> {
        let until = Instant::now() + ANSWER;
        loop {
            let asked = Client::connect(self.port, 1).and_then(|mut client| client.ask(1));
            if asked.is_ok() || Instant::now() > until {
                return asked;
            }
            std::thread::sleep(LOOK);
        }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Asks it to end, and waits until it has.
    pub fn end(mut self) -> Result<(), String> {
        interrupt(&mut self.child, libc::SIGTERM)
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A signal to a child, and its end.
#[allow(unsafe_code)] // a signal to a process this program started
pub fn interrupt(child: &mut Child, signal: i32) -> Result<(), String> {
    // SAFETY: a plain call; the child was not waited for, so the id is still its own.
    unsafe { libc::kill(child.id() as i32, signal) };
    let until = Instant::now() + END;
    while Instant::now() < until {
        match child.try_wait() {
            Ok(Some(_)) => return Ok(()),
            Ok(None) => std::thread::sleep(LOOK),
            Err(e) => return Err(e.to_string()),
        }
    }
    Err(format!("process {} does not end", child.id()))
}

/// A closed loop: each connection asks again when its answer is there, until so many are.
pub struct Client {
    poll: Poll,
    connections: Vec<(TcpStream, Answers)>,
}

impl Client {
    pub fn connect(port: u16, connections: usize) -> Result<Client, String> {
        let failed = |e: std::io::Error| format!("port {port}: {e}");
        let poll = Poll::new().map_err(failed)?;
        let mut opened = Vec::new();
        for key in 0..connections {
            let stream = TcpStream::connect(("127.0.0.1", port)).map_err(failed)?;
            stream.set_nodelay(true).map_err(failed)?;
            stream.set_nonblocking(true).map_err(failed)?;
            poll.add(&stream, key, libc::EPOLLIN).map_err(failed)?;
            opened.push((stream, Answers::default()));
        }
        Ok(Client { poll, connections: opened })
    }

    pub fn ask(&mut self, requests: u32) -> Result<(), String> {
        let failed = |e: std::io::Error| format!("a request: {e}");
        let (mut sent, mut answered) = (0, 0);
        for (stream, _) in self.connections.iter_mut().take(requests as usize) {
            stream.write_all(SMALL).map_err(failed)?;
            sent += 1;
        }
        let mut ready = Vec::new();
        let mut piece = [0; 16 * 1024];
        while answered < requests {
            self.poll.wait(ANSWER, &mut ready).map_err(failed)?;
            if ready.is_empty() {
                return Err(format!("{} requests have no answer", sent - answered));
            }
            for key in ready.drain(..) {
                let (stream, answers) = &mut self.connections[key];
                let n = match stream.read(&mut piece) {
                    Ok(0) => return Err("a connection was closed".to_owned()),
                    Ok(n) => n,
                    Err(e) if e.kind() == ErrorKind::WouldBlock => continue,
                    Err(e) => return Err(failed(e)),
                };
                let ended = answers.take(&piece[..n])?;
                if ended.bad > 0 {
                    return Err("an answer was not 200".to_owned());
                }
                answered += ended.good as u32;
                if ended.good > 0 && sent < requests {
                    stream.write_all(SMALL).map_err(failed)?;
                    sent += 1;
                }
            }
        }
        Ok(())
    }
}
