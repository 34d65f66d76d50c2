//! `bench latency`: how long small requests take at a rate that all can hold, alone or beside a
//! client that wants much.

pub mod answers;
mod beside;
pub mod load;
pub mod poll;
mod report;

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::process::{self, Process};
use crate::{peers, routes};
use beside::{Beside, Done};
use load::Load;
use report::{Report, Round};

const SAY: &str = "say: latency [--rate N] [--seconds N] [--rounds N] [--connections N] \
                   [--busbar PATH] [--stream MBPS | --beside pipeline|slow-reader]";
/// What a proxy gets to see that the clients of a round are gone, before it is stopped.
const FAREWELL: Duration = Duration::from_millis(50);

struct Options {
    rounds: usize,
    rate: u32,
    seconds: u32,
    connections: usize,
    beside: Beside,
    busbar: Option<String>,
}

fn options(args: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut args = args;
    let mut options = Options {
        rounds: 5,
        rate: 10_000,
        seconds: 2,
        connections: 64,
        beside: Beside::Nothing,
        busbar: None,
    };
    while let Some(flag) = args.next() {
        let value = args.next().ok_or(format!("{flag} needs a value; {SAY}"))?;
        let number = || value.parse::<u32>().map_err(|e| format!("{flag} {value}: {e}"));
        match flag.as_str() {
            "--rounds" => options.rounds = number()?.max(1) as usize,
            "--rate" => options.rate = number()?.max(1),
            "--seconds" => options.seconds = number()?.max(1),
            "--connections" => options.connections = number()?.max(1) as usize,
            "--busbar" => options.busbar = Some(value),
            "--stream" | "--beside" if options.beside != Beside::Nothing => {
                return Err("one client beside is enough".to_owned());
            }
            "--stream" => options.beside = Beside::Stream(number()?.max(1)),
            "--beside" => {
                options.beside = match value.as_str() {
                    "pipeline" => Beside::Pipeline,
                    "slow-reader" => Beside::SlowReader,
                    _ => return Err(format!("--beside {value} is not known; {SAY}")),
                }
            }
            _ => return Err(format!("{flag} is not known; {SAY}")),
        }
    }
    Ok(options)
}

pub fn run() -> Result<(), String> {
    let options = options(std::env::args().skip(2))?;
    let scratch = process::scratch_dir()?;
    beside::large_file(scratch.path())?;
    compare(&options, scratch.path())
}

fn compare(options: &Options, dir: &std::path::Path) -> Result<(), String> {
    let origin = peers::origin(dir)?;
    let setup = peers::Setup {
        dir,
        origin: origin.port,
        busbar: options.busbar.as_deref(),
        logs: false,
        tls: false,
        connections_max: peers::CONNECTIONS_MAX,
    };
    let peers = peers::start_all(&setup, "one", &routes::one())?;
    peers.iter().for_each(|p| p.process.stop());
    println!("{}", process::machine());
    println!(
        "rounds {}, {} s each, {} connections, {} requests/s due; times from when a request was \
         due: median (min–max)\n",
        options.rounds, options.seconds, options.connections, options.rate
    );
    let mut report = Report::new(options.beside.name());
    for round in 0..=options.rounds {
        // The first round warms up.
        let seconds = if round == 0 { 1 } else { options.seconds };
        let rows = peers.iter().map(|p| (p.name, p.port, Some(&p.process)));
        // A pipeline that no proxy slows down takes all of the core that origin and load share.
        let floor = (options.beside != Beside::Pipeline).then_some(("no proxy", origin.port, None));
        for (name, port, process) in rows.chain(floor) {
            let measured = measure(options, seconds, port, process);
            let measured = measured.map_err(|e| format!("{name}: {e}"))?;
            if round > 0 {
                report.add(name, measured);
            }
        }
    }
    println!("{report}");
    Ok(())
}

/// One run of one proxy; without a process, of the origin alone.
#[allow(clippy::disallowed_methods)] // a program of its own
fn measure(
    options: &Options,
    seconds: u32,
    port: u16,
    process: Option<&Process>,
) -> Result<Round, String> {
    process.inspect(|p| p.go_on());
    let load = Load { port, connections: options.connections, rate: options.rate, seconds };
    let done = Done::default();
    let began = std::time::Instant::now();
    let (seen, memory_kib, elapsed) = std::thread::scope(|scope| {
        if options.beside != Beside::Nothing {
            scope.spawn(|| options.beside.run(port, &done));
        }
        let generator = scope.spawn(|| {
            poll::settle(1);
            load::run(load)
        });
        let seen = generator.join().unwrap_or(Err("the generator panicked".to_owned()));
        let elapsed = began.elapsed().as_secs_f64();
        done.is_over.store(true, Ordering::Relaxed);
        (seen, process.map_or(0, |p| p.memory_kib()), elapsed)
    });
    if let Some(process) = process {
        std::thread::sleep(FAREWELL);
        process.stop();
    }
    let us = |ns: u64| ns as f64 / 1000.0;
    let seen = seen?;
    let count = |n: &std::sync::atomic::AtomicU64| n.load(Ordering::Relaxed) as f64;
    Ok(Round {
        p50_us: us(seen.times.value_at_quantile(0.5)),
        p99_us: us(seen.times.value_at_quantile(0.99)),
        p999_us: us(seen.times.value_at_quantile(0.999)),
        max_us: us(seen.times.max()),
        late_p99_us: us(seen.late.value_at_quantile(0.99)),
        per_second: seen.answered as f64 / seen.seconds.max(f64::from(load.seconds)),
        errors: seen.errors,
        beside_mbps: count(&done.bytes) / elapsed / 1e6,
        beside_per_second: count(&done.answers) / elapsed,
        beside_errors: done.errors.load(Ordering::Relaxed),
        memory_mib: memory_kib as f64 / 1024.0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_client_beside_is_chosen() {
        let read = |text: &str| options(text.split_whitespace().map(str::to_owned));
        assert_eq!(read("--stream 200").unwrap().beside, Beside::Stream(200));
        assert_eq!(read("--beside slow-reader").unwrap().beside, Beside::SlowReader);
        assert_eq!(read("--rate 5").unwrap().beside, Beside::Nothing);
        assert!(read("--beside pipeline --stream 200").is_err());
        assert!(read("--beside x").is_err());
        assert!(read("--rate").is_err());
    }
}
