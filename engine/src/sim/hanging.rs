//! The watchdog's wiring: a worker that runs answers pings, one that does not is named.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use crate::control::watchdog::Watchdog;
use crate::rt;
use crate::sim::exec::{self, spawn};
use crate::sim::fault::Faults;
use crate::sim::gateway::snapshot;
use crate::worker::mailbox::{Adoption, FromWorker, Mailbox, Outbox, Slot, ToWorker, mailbox};
use crate::worker::{self, Seat, Worker};

/// A worker's real life on a mailbox.
fn live(id: u32, mailbox: Mailbox, slot: Slot, outbox: Outbox) {
    let adoption = Adoption {
        log: None,
        snapshot: Arc::new(snapshot("[route.all]\nrespond = \"ok\"\n")),
        bounds: Box::default(),
        clients: None,
        opened: Vec::new(),
        sockets: Box::default(),
        resolved: Vec::new(),
        keys: Vec::new(),
    };
    let seat = Seat {
        id,
        workers: 2,
        adoption,
        peers: None,
        outbox,
        mailbox,
        offload: Default::default(),
        hasher: worker::hasher([0; 16]),
        buf_bytes_max: 1 << 20,
        seed: [0; 16],
    };
    let life = async move {
        let inbox = slot.open().expect("simulated");
        worker::serve(Worker::new(&seat), seat.adoption, inbox).await;
    };
    spawn(life, || panic!("the worker panicked"));
}

/// The real worker answers pings; one that takes up its mailbox late is named until then.
#[test]
fn workers_in_the_simulated_world_answer() {
    let said: Rc<RefCell<Vec<String>>> = Rc::default();
    let hears = said.clone();
    exec::run(1, Faults::default(), false, move || {
        let outbox = Outbox::new(|| {});
        let (first, slot) = mailbox().expect("simulated");
        live(0, first.clone(), slot, outbox.clone());
        let (second, slot) = mailbox().expect("simulated");
        let mut slot = Some(slot);
        let control = async move {
            let mailboxes = [first, second];
            let mut dog = Watchdog::new(2, rt::now());
            for second in 1..12 {
                rt::sleep_until(dog.next_at()).await;
                while let Some((worker, message)) = outbox.next() {
                    assert!(matches!(message, FromWorker::Pong), "{message:?}");
                    hears.borrow_mut().extend(dog.answered(worker as usize, rt::now()));
                }
                let tick = dog.tick(rt::now());
                hears.borrow_mut().extend(tick.lines);
                tick.pings.iter().for_each(|&w| assert!(mailboxes[w].send(ToWorker::Ping)));
                if second == 5
                    && let Some(slot) = slot.take()
                {
                    live(1, mailboxes[1].clone(), slot, outbox.clone());
                }
            }
            mailboxes.iter().for_each(|mailbox| _ = mailbox.send(ToWorker::Drain));
        };
        spawn(control, || panic!("control panicked"));
    });
    let expect =
        ["worker 1 has not answered for 1 s: it hangs", "worker 1 answers again after 5 s"];
    assert_eq!(*said.borrow(), expect);
}
