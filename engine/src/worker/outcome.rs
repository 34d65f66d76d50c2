//! What went wrong with an exchange, who is to blame, and what the client is told.

use crate::http::problem::Problem;
use crate::metrics::reason::Reason;
use crate::rt::Stop;

/// Why an exchange got no answer from its service.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Failure {
    /// The client hung up or broke its connection.
    ClientGone,
    /// The client's body stopped coming, or it stopped taking its answer.
    ClientSlow,
    /// The client's body breaks the rules of its framing.
    ClientBody,
    BodyTooLarge,
    /// The route's rewrite makes no target of what the client sent.
    Rewrite,
    /// No address of the upstream is known.
    NoEndpoint,
    /// Every endpoint tried refused the connection.
    Connect,
    /// An endpoint's certificate was not accepted, or it speaks no TLS that we do.
    UpstreamTls,
    /// No connection in time, `connections_max` included.
    ConnectTimeout,
    Busy,
    /// The origin closed before a byte of its answer. `sent`: a byte of the request went out.
    Closed {
        sent: bool,
    },
    /// The origin's answer breaks the rules, or ended in its head; nothing of it was passed on.
    BadAnswer,
    /// The origin's body ended in its middle, or broke the rules there.
    Truncated,
    AnswerTimeout,
    /// The origin's body stopped coming, or it stopped taking the request's.
    BodyTimeout,
    /// `deadline` has passed.
    Deadline,
    /// The drain's deadline has passed.
    Cut,
}

impl Failure {
    /// The problem that tells the client, if it can still be told.
    pub fn problem(self) -> Option<Problem> {
        match self {
            Failure::ClientGone | Failure::Cut => None,
            Failure::ClientSlow => Some(Problem::RequestTimeout),
            Failure::ClientBody => Some(Problem::BadRequest),
            Failure::Rewrite => Some(Problem::BadRewrite),
            Failure::BodyTooLarge => Some(Problem::BodyTooLarge),
            Failure::NoEndpoint | Failure::Connect | Failure::Busy => Some(Problem::Unavailable),
            Failure::UpstreamTls
            | Failure::Closed { .. }
            | Failure::BadAnswer
            | Failure::Truncated => Some(Problem::BadGateway),
            Failure::ConnectTimeout
            | Failure::AnswerTimeout
            | Failure::BodyTimeout
            | Failure::Deadline => Some(Problem::GatewayTimeout),
        }
    }

    /// The word for it, in metrics and log.
    pub fn reason(self) -> Reason {
        match self {
            Failure::ClientGone => Reason::ClientGone,
            Failure::ClientSlow => Reason::ClientSlow,
            Failure::ClientBody => Reason::ClientBody,
            Failure::Rewrite => Reason::Rewrite,
            Failure::BodyTooLarge => Reason::BodyTooLarge,
            Failure::NoEndpoint => Reason::NoEndpoint,
            Failure::Connect => Reason::ConnectRefused,
            Failure::UpstreamTls => Reason::UpstreamTls,
            Failure::ConnectTimeout => Reason::ConnectTimeout,
            Failure::Busy => Reason::UpstreamBusy,
            Failure::Closed { .. } => Reason::UpstreamClosed,
            Failure::BadAnswer => Reason::BadAnswer,
            Failure::Truncated => Reason::UpstreamTruncated,
            Failure::AnswerTimeout => Reason::AnswerTimeout,
            Failure::BodyTimeout => Reason::UpstreamSlow,
            Failure::Deadline => Reason::Deadline,
            Failure::Cut => Reason::DrainCut,
        }
    }

    /// Whether an answer that was cut off may have left the kernel with a lot that the client does
    /// not take. A plain close would keep it for minutes.
    pub fn leaves_unsent(self) -> bool {
        matches!(self, Failure::ClientGone | Failure::ClientSlow | Failure::Deadline | Failure::Cut)
    }

    /// What ended a wait for the client.
    pub fn of_client(stop: Stop, expired: Failure) -> Failure {
        match stop {
            Stop::Expired => expired,
            Stop::Gone | Stop::Drain | Stop::Broken(_) => Failure::ClientGone,
        }
    }
}

/// How a connection goes on after an exchange.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Next {
    KeepAlive,
    /// Everything was read and answered.
    Close,
    /// Answered, but the client may still be sending: a plain close would reset the answer away.
    Linger,
    /// The answer is cut short in a way that only a reset makes visible, or the client does not
    /// take it: the kernel is to forget what it still holds.
    Reset,
}
