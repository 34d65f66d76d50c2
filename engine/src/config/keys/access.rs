//! The keys of who may call, and how much.

use super::{Key, Kind, count, key, later, time};

const METHODS: Kind = Kind::Words(&["api_key", "basic", "jwt", "forward"]);

const METHOD: Key = key("method", METHODS, "", "How callers prove who they are.");

/// Those that every method has, for finding the method.
pub const AUTH: &[Key] = &[METHOD];

pub const AUTH_API_KEY: &[Key] = &[
    METHOD,
    key("header", Kind::Text("a field's name"), "\"X-Api-Key\"", "The field that holds the key."),
    key("query", Kind::Text("a parameter's name"), "", "A parameter of the query that holds it."),
    key("cookie", Kind::Text("a cookie's name"), "", "A cookie that holds it."),
    key("keep", Kind::Bool, "false", "Whether the key goes on to the service."),
];

pub const AUTH_BASIC: &[Key] = &[
    METHOD,
    key(
        "file",
        Kind::Text("a file as `htpasswd -B` writes it"),
        "consumers' own `basic`",
        "Names and hashes (bcrypt or argon2id), read again when it changes.",
    ),
    key("realm", Kind::Text("a text"), "the name of the table", "What browsers show."),
    key("keep", Kind::Bool, "false", "Whether name and password go on to the service."),
];

pub const AUTH_JWT: &[Key] = &[
    METHOD,
    key(
        "jwks",
        Kind::Text("\"https://…\", \"http://…\" or \"file:/path\""),
        "",
        "The issuer's public keys (RFC 7517).",
    ),
    key("issuer", Kind::Text("a text"), "any", "What `iss` must be."),
    key("audience", Kind::Texts("texts"), "any", "One of these must be in `aud`."),
    key(
        "algorithms",
        Kind::Texts("names such as \"ES256\""),
        "all with public keys",
        "Those that count, each for keys of its kind. HMAC (\"HS256\") only if it is named.",
    ),
    time("leeway", "\"60s\"", "By how much clocks may differ, for `exp` and `nbf`."),
    key("require", Kind::Texts("names of claims"), "`exp`", "Claims that must be there."),
    key("scopes_claim", Kind::Text("a claim"), "`scope`, else `scp`", "Where scopes stand."),
    key(
        "consumer_claim",
        Kind::Text("a claim"),
        "\"sub\"",
        "Who it is: a consumer's name, or a new one.",
    ),
    key(
        "to_headers",
        Kind::Shape("claims by field name"),
        "",
        "Fields for the service with the values of claims. What clients send of these is removed on \
         every route.",
    ),
    key(
        "header",
        Kind::Text("a field's name"),
        "\"Authorization\"",
        "Where it stands, behind `Bearer`.",
    ),
    key(
        "cookie",
        Kind::Text("a cookie's name"),
        "",
        "A cookie that holds it, where the field is not there.",
    ),
    key("keep", Kind::Bool, "true", "Whether the token goes on to the service."),
];

pub const AUTH_FORWARD: &[Key] = &[
    METHOD,
    key("to", Kind::Text("a URL, its path included"), "", "The service that is asked, by GET."),
    key(
        "request_headers",
        Kind::Texts("field names"),
        "[\"Authorization\", \"Cookie\"]",
        "Fields of the request that it is shown.",
    ),
    key(
        "response_headers",
        Kind::Texts("field names"),
        "none",
        "Fields of its answer that the route's service is shown. What clients send of these is \
         removed on every route.",
    ),
    key(
        "consumer_header",
        Kind::Text("a field's name"),
        "none",
        "The field of its answer that says who it is.",
    ),
    time("timeout", "\"2s\"", "For its answer."),
    time("remember", "off", "For how long a yes holds for requests that show it the same."),
];

/// `auth` of a route as a table.
pub const AUTH_ALL: &[Key] =
    &[key("all", Kind::Texts("names"), "", "Methods that must all say who it is, and the same.")];

pub const CONSUMER: &[Key] = &[
    key("groups", Kind::Texts("words"), "none", "Groups they are part of, for `allow`."),
    key("scopes", Kind::Texts("words"), "none", "What they may do, for `allow`."),
    key("plan", Kind::Text("a plan's name"), "none", "What they have bought."),
    key(
        "api_keys",
        Kind::Secrets,
        "none",
        "`\"sha256:\"` and 64 hexadecimal digits, as `busbar key new` prints them; or references \
         to the keys themselves.",
    ),
    key("basic", Kind::Secret, "none", "The hash of a password, bcrypt or argon2id."),
    later("subject"),
];

pub const CONSUMERS: &[Key] = &[key(
    "file",
    Kind::Text("a CSV file with a head line"),
    "",
    "More consumers, up to a million: columns `name`, `api_key`, `groups`, `scopes`, `plan`, \
     `basic`. Read again when it changes.",
)];

pub const PLAN: &[Key] = &[
    key(
        "rate_limit",
        Kind::Shape("as on routes, without `per`"),
        "none",
        "How much each of its consumers may, over all routes together.",
    ),
    key(
        "concurrency",
        Kind::Shape("as on routes, without `per`"),
        "none",
        "How many requests each of its consumers may have at one time.",
    ),
    later("quota"),
    later("price"),
];

pub const ALLOW: &[Key] = &[
    key("consumers", Kind::Texts("names"), "all", "One of these."),
    key("groups", Kind::Texts("words"), "any", "Part of one of these."),
    key("scopes", Kind::Texts("words"), "any", "With all of these."),
    key("claims", Kind::Shape("values by claim"), "any", "A token with all of these claims."),
];

pub const IP: &[Key] = &[
    key(
        "allow",
        Kind::Texts("prefixes such as \"10.0.0.0/8\", or \"file:/path\""),
        "all",
        "Addresses that may.",
    ),
    key(
        "deny",
        Kind::Texts("prefixes such as \"10.0.0.0/8\", or \"file:/path\""),
        "none",
        "Addresses that may not. The longest prefix of both lists counts.",
    ),
];

pub const CORS: &[Key] = &[
    key(
        "origins",
        Kind::Texts("\"https://example.com\", \"https://*.example.com\", or \"*\""),
        "",
        "Pages that may call.",
    ),
    key(
        "methods",
        Kind::Texts("methods"),
        "those of the route, else GET, HEAD, POST",
        "What they may.",
    ),
    key("headers", Kind::Texts("field names, or \"*\""), "none", "Fields they may send."),
    key("expose", Kind::Texts("field names"), "none", "Fields of answers they may read."),
    key("credentials", Kind::Bool, "false", "Whether cookies and the like come with it."),
    time("max_age", "\"10m\"", "For how long browsers remember it."),
];

const RATE: Key =
    key("rate", Kind::Rate, "", "So many requests in a time: \"10/s\", \"100/10s\", \"1000/h\".");
const BURST: Key = key(
    "burst",
    count(1, 1_000_000_000),
    "the count of `rate`",
    "So many at once, after a pause. Never more than `burst` and `rate` × T pass in any time T.",
);
const COST: Key = key("cost", count(1, 1_000_000), "1", "What one request takes of it.");
const DRY_RUN: Key = key(
    "dry_run",
    Kind::Bool,
    "false",
    "Counts and tells what it would refuse, and refuses nothing.",
);
const WHEN_FULL: Key = key(
    "when_full",
    Kind::Words(&["allow", "refuse"]),
    "\"allow\"",
    "What becomes of a caller that is new when `server.limit_keys` others are being counted.",
);

pub const RATE_LIMIT: &[Key] = &[
    RATE,
    BURST,
    key(
        "per",
        Kind::Texts("\"client\", \"consumer\", \"route\", \"header:NAME\", \"claim:NAME\""),
        "\"client\"",
        "What counts on its own. Of a list, each combination.",
    ),
    COST,
    DRY_RUN,
    WHEN_FULL,
];

pub const PLAN_RATE: &[Key] = &[RATE, BURST, COST, DRY_RUN, WHEN_FULL];

const LIMIT: Key = key("limit", count(1, 65_535), "", "So many requests at one time.");
const QUEUE: Key =
    key("queue", count(0, 100_000), "0", "How many more may wait for their turn, in each worker.");
const WAIT: Key = time("wait", "\"1s\"", "How long one may wait.");

pub const CONCURRENCY: &[Key] = &[
    LIMIT,
    key(
        "per",
        Kind::Words(&["route", "consumer", "upstream"]),
        "\"route\"",
        "What counts on its own.",
    ),
    QUEUE,
    WAIT,
];

pub const PLAN_CONCURRENCY: &[Key] = &[LIMIT, QUEUE, WAIT];
