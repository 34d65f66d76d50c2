//! What holds where a file says nothing, each with its reason.

use std::time::Duration;

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Both families, no privileges needed.
pub const LISTENER_ADDRESS: &str = ":8080";
/// HTTP for reading: browsers and other machines can't reach it by accident.
pub const ADMIN_ADDRESS: &str = "127.0.0.1:9911";
/// Slowloris: a real head arrives in one or two packets.
pub const HEAD_TIMEOUT: Duration = s(10);
/// Above the 60 s of common load balancers in front, so that they close first; an idle connection
/// holds no buffer.
pub const IDLE_TIMEOUT: Duration = s(75);
/// Big cookies pass, and a connection's memory stays bounded.
pub const HEAD_MAX: u64 = 32 << 10;
/// Four times what browsers send behind a few proxies.
pub const HEADERS_MAX: u64 = 100;
/// Longer than any URL that browsers and caches agree on.
pub const TARGET_MAX: u64 = 16 << 10;
/// The kernel cuts it to `net.core.somaxconn`, 4096 since Linux 5.4.
pub const BACKLOG: u64 = 4096;

/// As long as for a head: two round trips and a signature.
pub const HANDSHAKE_TIMEOUT: Duration = s(10);
/// A burst must not take the memory of those who are being served; the rest of it waits.
pub const HANDSHAKES_MAX: u64 = 1024;

/// Survives one lost SYN (sent again after 1 s); a dead host must not eat the deadline.
pub const CONNECT_TIMEOUT: Duration = s(2);
/// Per endpoint and worker: reuse for a burst, few descriptors at rest.
pub const POOL_IDLE: u64 = 32;
/// Under the 60 s that many servers use, so that we close first and reuse meets fewer resets.
pub const POOL_IDLE_TIMEOUT: Duration = s(55);
/// Follows DNS and the drains of balancers.
pub const POOL_LIFETIME: Duration = s(3600);
/// Answers carry more cookies and policies than requests do.
/// Field lines of an answer. `head_max` is what bounds its memory.
pub const UPSTREAM_FIELDS_MAX: u16 = 1000;
pub const UPSTREAM_HEAD_MAX: u64 = 64 << 10;

/// From the choice of an endpoint to the head of the final answer; the bodies are not in it, so
/// that downloads, event streams and long uploads live.
pub const TIMEOUT: Duration = s(30);
/// Between two reads or writes of a body, not in total: slow uploads live.
pub const BODY_TIMEOUT: Duration = s(30);
/// Bodies of APIs; uploads raise it on their route.
pub const BODY_LIMIT: u64 = 10 << 20;
/// One byte a minute is not progress.
pub const BODY_RATE_MIN: u64 = 100;
/// Silence in both directions; WebSockets ping more often than that.
pub const TUNNEL_TIMEOUT: Duration = s(3600);
/// The one protocol that browsers tunnel.
pub const UPGRADE: &str = "websocket";

/// Longer than `TIMEOUT` needs; bounded, so that a deploy ends.
pub const DRAIN_TIMEOUT: Duration = s(30);
/// No load balancer in front is known, so there is none to wait for.
pub const DRAIN_DELAY: Duration = s(0);
/// People in a WebSocket get a few minutes; a day-old one does not hold the process.
pub const TUNNEL_DRAIN: Duration = s(300);

/// 16 MiB, where there is a limit.
pub const LIMIT_KEYS: u64 = 250_000;

/// `respond` without a status.
pub const RESPOND_STATUS: u16 = 200;
/// `respond` with a body and no type.
pub const RESPOND_TYPE: &str = "text/plain; charset=utf-8";
/// Permanent, and a POST stays a POST.
pub const REDIRECT_STATUS: u16 = 308;
/// One share.
pub const WEIGHT: u16 = 1;
