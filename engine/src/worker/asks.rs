//! Questions that others answer: helper threads and control. Each waits in the task of its
//! connection; the answer comes through the mailbox.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::pin;
use std::task::{Poll, Waker};

use crate::policy::Answer;
use crate::rt::{self, Stop, Watch};

/// Names one question of one worker. Those that nobody waits for any more are told apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ticket {
    place: u32,
    turn: u32,
}

#[derive(Debug, Default)]
struct Place {
    turn: u32,
    is_open: bool,
    waker: Option<Waker>,
    answer: Option<Answer>,
}

/// What a worker waits to be told.
#[derive(Debug, Default)]
pub struct Asks(RefCell<Vec<Place>>);

impl Asks {
    /// A new question. It is forgotten when the guard goes.
    pub fn open(&self) -> Open<'_> {
        let mut places = self.0.borrow_mut();
        let place = places.iter().position(|place| !place.is_open).unwrap_or(places.len());
        if place == places.len() {
            places.push(Place::default());
        }
        let found = &mut places[place];
        found.turn = found.turn.wrapping_add(1);
        (found.is_open, found.waker, found.answer) = (true, None, None);
        Open { asks: self, ticket: Ticket { place: place as u32, turn: found.turn } }
    }

    /// Takes an answer to whoever still waits for it.
    pub fn answer(&self, ticket: Ticket, answer: Answer) {
        let mut places = self.0.borrow_mut();
        let place = places.get_mut(ticket.place as usize);
        let Some(place) = place.filter(|p| p.is_open && p.turn == ticket.turn) else { return };
        place.answer = Some(answer);
        if let Some(waker) = place.waker.take() {
            waker.wake();
        }
    }

    /// Questions that are open; for tests.
    #[cfg(test)]
    pub fn open_count(&self) -> usize {
        self.0.borrow().iter().filter(|place| place.is_open).count()
    }
}

/// A question that somebody waits for.
#[derive(Debug)]
pub struct Open<'a> {
    asks: &'a Asks,
    ticket: Ticket,
}

impl Open<'_> {
    pub fn ticket(&self) -> Ticket {
        self.ticket
    }

    /// Waits for the answer, as long as `watch` allows.
    pub async fn heard(&self, watch: &Watch) -> Result<Answer, Stop> {
        let answer = pin!(poll_fn(|cx| {
            let place = &mut self.asks.0.borrow_mut()[self.ticket.place as usize];
            match place.answer {
                Some(answer) => Poll::Ready(Ok(answer)),
                None => {
                    place.waker = Some(cx.waker().clone());
                    Poll::Pending
                }
            }
        }));
        rt::until(answer, watch).await
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        let place = &mut self.asks.0.borrow_mut()[self.ticket.place as usize];
        (place.is_open, place.waker) = (false, None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_reaches_its_question_and_no_later_one() {
        let asks = Asks::default();
        let first = asks.open();
        let (second, old) = (asks.open(), first.ticket());
        assert_ne!(first.ticket(), second.ticket());
        drop(first);
        let third = asks.open();
        assert_eq!(third.ticket().place, old.place, "places are used again");
        asks.answer(old, Answer::Yes);
        let places = asks.0.borrow();
        assert_eq!(places[old.place as usize].answer, None, "of a question that is gone");
        drop(places);
        asks.answer(third.ticket(), Answer::No);
        assert_eq!(asks.0.borrow()[old.place as usize].answer, Some(Answer::No));
        assert_eq!(asks.open_count(), 2);
    }
}
