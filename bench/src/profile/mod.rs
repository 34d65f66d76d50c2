//! `bench profile`: where a small request's cost goes.
//!
//! Instructions and allocations by callgrind, system calls by strace, ring operations by perf. A
//! tool that is missing is said and left out.

mod callgrind;
mod calls;
mod check;
mod gateway;
mod layers;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::{peers, process};
use callgrind::Costs;
use gateway::{Client, Gateway, Place, interrupt};

/// Exchanges of the short run under callgrind; the long one has twice as many.
const EXCHANGES: u32 = 2000;
/// What a connection and a worker do once is done after these.
const WARM_UP: u32 = 500;
const TRACED: u32 = 4000;
const COUNTED: u32 = 20_000;
const DEAREST: usize = 25;
const CONNECTIONS: [usize; 2] = [1, 64];
/// Until perf counts; it doesn't say when it does.
const PERF_BEGINS: Duration = Duration::from_millis(500);
const SUBMIT: &str = "io_uring:io_uring_submit_req";
/// Said by name, when perf can count them; which calls there are is strace's to say.
const NAMED: [&str; 7] =
    ["recvfrom", "sendto", "sendmsg", "poll", "epoll_wait", "epoll_ctl", "io_uring_enter"];
const ENTERED: &str = "syscalls:sys_enter_";
const ANY: &str = "raw_syscalls:sys_enter";

const USAGE: &str = "say: profile [--busbar PATH] [--driver epoll|uring] [--connections N] \
                     [--check FILE | --record FILE]";

pub fn run() -> Result<(), String> {
    let mut args = std::env::args().skip(2);
    let own = std::env::current_exe().map_err(|e| e.to_string())?.with_file_name("busbar");
    let mut busbar = own.display().to_string();
    let (mut check, mut record) = (None, None);
    let (mut driver, mut connections) = ("epoll".to_owned(), 1);
    while let Some(flag) = args.next() {
        match (flag.as_str(), args.next()) {
            ("--busbar", Some(path)) => busbar = path,
            ("--check", Some(path)) => check = Some(path),
            ("--record", Some(path)) => record = Some(path),
            ("--driver", Some(name)) => driver = name,
            ("--connections", Some(count)) => {
                connections = count.parse().map_err(|e| format!("--connections {count}: {e}"))?;
            }
            _ => return Err(USAGE.into()),
        }
    }
    if !Path::new(&busbar).exists() {
        return Err(format!("{busbar} is missing: cargo build --release -p busbar-engine"));
    }
    let scratch = process::scratch_dir()?;
    let origin = peers::origin(scratch.path())?;
    let place = Place { dir: scratch.path(), origin: origin.port, busbar: &busbar };
    println!("{}\nGET of 128 B over keep-alive, one worker, no access log\n", process::machine());
    let counts = by_layer(&place, &Load { driver: &driver, connections })?;
    match (counts, check, record) {
        (None, Some(_), _) | (None, _, Some(_)) => Ok(()), // said already
        (Some(counts), Some(file), _) => check_against(&file, &counts),
        (Some(counts), _, Some(file)) => {
            fs::write(&file, check::write(&counts)).map_err(|e| format!("{file}: {e}"))
        }
        _ => by_call(&place),
    }
}

/// An error when a layer costs more than the file says.
fn check_against(file: &str, counts: &check::Counts) -> Result<(), String> {
    let text = fs::read_to_string(file).map_err(|e| format!("{file}: {e}"))?;
    let recorded = check::read(&text).map_err(|e| format!("{file}: {e}"))?;
    let (dearer, cheaper) = check::compare(&recorded, counts);
    for line in &cheaper {
        println!("cheaper, to be recorded anew: {line}");
    }
    if dearer.is_empty() {
        println!("no layer is dearer than {file} says");
        return Ok(());
    }
    Err(format!("an exchange costs more than {file} says:\n  {}", dearer.join("\n  ")))
}

/// Says so when a tool is not here.
fn is_here(tool: &str) -> bool {
    let mut version = Command::new(tool);
    version.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
    let is_here = version.status().is_ok_and(|status| status.success());
    if !is_here {
        println!("{tool} is not installed: left out\n");
    }
    is_here
}

/// What callgrind sees. What is recorded and checked is that of one connection on epoll.
struct Load<'a> {
    driver: &'a str,
    connections: usize,
}

/// `None` without valgrind.
fn by_layer(place: &Place, load: &Load) -> Result<Option<check::Counts>, String> {
    if !is_here("valgrind") {
        return Ok(None);
    }
    let short = under_callgrind(place, load, EXCHANGES)?;
    let long = under_callgrind(place, load, 2 * EXCHANGES)?;
    let costs = callgrind::per_exchange(&short, &long, EXCHANGES);
    print_layers(&costs, load);
    let layers = costs.by(|p| layers::layer(p).to_owned());
    Ok(Some(check::judged(layers.into_iter().filter(|(layer, _)| layers::repeats(layer)))))
}

fn under_callgrind(place: &Place, load: &Load, exchanges: u32) -> Result<Costs, String> {
    let file = place.dir.join(format!("callgrind.out.{exchanges}"));
    let under = [
        "valgrind".to_owned(),
        "--tool=callgrind".to_owned(),
        format!("--callgrind-out-file={}", file.display()),
    ];
    let gateway = Gateway::start(place, load.driver, &under)?;
    let mut client = Client::connect(gateway.port, load.connections)?;
    client.ask(WARM_UP + exchanges)?;
    drop(client);
    gateway.end()?;
    let text = fs::read_to_string(&file).map_err(|e| format!("{}: {e}", file.display()))?;
    Ok(callgrind::read(&text))
}

fn print_layers(costs: &Costs, load: &Load) {
    let total = costs.total();
    println!("### instructions per exchange: {total:.0}\n");
    println!(
        "callgrind, driver {}, connections {}; {} exchanges less {EXCHANGES}. User space only. A \
         line's layer is that of its source file; the standard library's lines belong to the \
         function they were inlined into. After inlining all of this is approximate.\n",
        load.driver,
        load.connections,
        2 * EXCHANGES
    );
    let print = |head: &str, rows: Vec<(String, f64)>, count: usize| {
        println!("| {head} | instructions | share |\n|---|---|---|");
        for (name, cost) in rows.iter().take(count).filter(|(_, cost)| *cost >= 0.5) {
            println!("| {name} | {cost:.0} | {:.1} % |", cost / total * 100.0);
        }
        println!();
    };
    print("layer", costs.by(|p| layers::layer(p).to_owned()), usize::MAX);
    print("function, without what it calls", costs.by(|p| p.function.to_string()), DEAREST);
    print("source file", costs.by(|p| short_file(&p.file)), DEAREST);
    let allocations = costs.allocations();
    let count = allocations.iter().fold(0.0, |sum, (_, count)| sum + count);
    println!("### allocations per exchange: {count:.3}\n");
    for (caller, count) in allocations.iter().filter(|(_, count)| *count >= 0.001) {
        println!("- {count:.3} from {caller}");
    }
    println!();
}

/// Without the folders that are the machine's.
fn short_file(file: &str) -> String {
    let parts = ["/registry/src/", "/rustc/"]
        .iter()
        .find_map(|mark| file.split_once(mark)?.1.split_once('/').map(|(_, rest)| rest.to_owned()));
    parts.unwrap_or_else(|| file.to_owned())
}

/// One driver at one number of connections.
struct Counted {
    driver: &'static str,
    connections: usize,
    calls: Option<BTreeMap<String, u64>>,
    submitted: u64,
    events: BTreeMap<String, u64>,
}

fn by_call(place: &Place) -> Result<(), String> {
    let (has_strace, has_perf) = (is_here("strace"), is_here("perf"));
    let mut counted = Vec::new();
    for driver in ["epoll", "uring"] {
        for connections in CONNECTIONS {
            let gateway = Gateway::start(place, driver, &[])?;
            let mut client = Client::connect(gateway.port, connections)?;
            client.ask(WARM_UP)?;
            let trace = place.dir.join("strace.out");
            let mut one =
                Counted { driver, connections, calls: None, submitted: 0, events: BTreeMap::new() };
            if has_perf {
                one.events = under_perf(place, &gateway, &mut client)?;
            }
            if has_strace {
                under_strace(&trace, &gateway, &mut client)?;
                let text = fs::read_to_string(&trace).map_err(|e| e.to_string())?;
                one.calls = Some(calls::counts(&text));
                one.submitted = calls::submitted(&text);
            }
            drop(client);
            gateway.end()?;
            counted.push(one);
        }
    }
    print_calls(&counted);
    Ok(())
}

fn under_strace(trace: &Path, gateway: &Gateway, client: &mut Client) -> Result<(), String> {
    let failed = |e: std::io::Error| format!("strace: {e}");
    let mut strace = Command::new("strace")
        .args(["-f", "-C", "-o"])
        .arg(trace)
        .args(["-p", &gateway.id().to_string()])
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    let words = strace.stderr.take().ok_or("strace has no voice")?;
    let mut words = BufReader::new(words).lines();
    let attached = words.by_ref().map_while(Result::ok).find(|line| line.contains("attached"));
    let asked = attached.ok_or("strace may not attach".to_owned()).and_then(|_| client.ask(TRACED));
    interrupt(&mut strace, libc::SIGINT)?;
    asked
}

#[allow(clippy::disallowed_methods)] // a program of its own
fn under_perf(
    place: &Place,
    gateway: &Gateway,
    client: &mut Client,
) -> Result<BTreeMap<String, u64>, String> {
    let file = place.dir.join("perf.out");
    let named = NAMED.map(|name| format!("{ENTERED}{name}")).join(",");
    let mut perf = Command::new("perf")
        .args(["stat", "-x,", "-e", &format!("{ANY},{SUBMIT},{named}"), "-o"])
        .arg(&file)
        .args(["-p", &gateway.id().to_string()])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|e| format!("perf: {e}"))?;
    std::thread::sleep(PERF_BEGINS);
    let asked = client.ask(COUNTED);
    interrupt(&mut perf, libc::SIGINT)?;
    asked?;
    // Without the tracepoints perf ends at once and has written nothing.
    Ok(calls::events(&fs::read_to_string(&file).unwrap_or_default()))
}

fn print_calls(counted: &[Counted]) {
    println!("### system calls and ring operations per request\n");
    println!(
        "perf: {COUNTED} requests at their own speed. strace: {TRACED}, and it slows them down: \
         more is ready when it is looked for, so there are fewer waits. What the other threads do \
         meanwhile is in it.\n"
    );
    println!(
        "| driver | connections | system calls (perf) | io_uring_enter (perf) | ring operations \
         (perf) | system calls (strace) | ring operations (strace) |\n|---|---|---|---|---|---|---|"
    );
    let absent = || "not available here".to_owned();
    for one in counted {
        let event = |name: &str| match one.events.get(name) {
            Some(count) => format!("{:.3}", *count as f64 / f64::from(COUNTED)),
            None => absent(),
        };
        let traced = |count: u64| format!("{:.3}", count as f64 / f64::from(TRACED));
        let all = one.calls.as_ref().map(|calls| calls.values().sum());
        println!(
            "| {} | {} | {} | {} | {} | {} | {} |",
            one.driver,
            one.connections,
            event(ANY),
            event(&format!("{ENTERED}io_uring_enter")),
            event(SUBMIT),
            all.map_or_else(absent, traced),
            all.map_or_else(absent, |_| traced(one.submitted)),
        );
    }
    println!();
    for one in counted {
        let named = one
            .events
            .iter()
            .filter_map(|(event, count)| Some((event.strip_prefix(ENTERED)?.to_owned(), *count)));
        print_names("perf", one, &named.collect(), COUNTED);
        if let Some(calls) = &one.calls {
            print_names("strace", one, calls, TRACED);
        }
    }
    println!();
}

fn print_names(tool: &str, one: &Counted, calls: &BTreeMap<String, u64>, requests: u32) {
    let mut calls: Vec<_> = calls.iter().collect();
    calls.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let each = calls.iter().map(|(name, count)| (name, **count as f64 / f64::from(requests)));
    let each = each.filter(|(_, count)| *count >= 0.001);
    let text: Vec<_> = each.map(|(name, count)| format!("{name} {count:.3}")).collect();
    if !text.is_empty() {
        println!("- {}, {} connections, {tool}: {}", one.driver, one.connections, text.join(", "));
    }
}
