//! Every code of a diagnostic: `E…` refuses the file, `W…` warns. Codes are stable.

use super::diagnostic::edits;

/// Codes that are named in place of one that does not exist.
const NEAR_MAX: usize = 3;
/// What is compared of a text that should have been a code.
const NAME_CHARS_MAX: usize = 8;

/// What `busbar help CODE` prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Code {
    pub code: &'static str,
    /// What is wrong, in one line.
    pub title: &'static str,
    /// Why it is refused or warned about, and what to do.
    pub text: &'static str,
}

/// The entry of a code, any case.
pub fn code(name: &str) -> Option<&'static Code> {
    CODES.iter().find(|code| code.code.eq_ignore_ascii_case(name))
}

/// The entries whose codes look most like `name`, best first.
pub fn nearest(name: &str) -> Vec<&'static Code> {
    let name: String = name.chars().take(NAME_CHARS_MAX).collect::<String>().to_ascii_uppercase();
    let number = |text: &str| text.trim_start_matches(['E', 'W']).parse().unwrap_or(0_i64);
    let mut near: Vec<&Code> = CODES.iter().collect();
    near.sort_by_key(|code| {
        (edits(name.as_bytes(), code.code.as_bytes()), (number(&name) - number(code.code)).abs())
    });
    near.truncate(NEAR_MAX);
    near
}

macro_rules! codes {
    ($($code:literal $title:literal $text:literal)*) => {
        /// Sorted by code.
        pub const CODES: &[Code] = &[$(Code { code: $code, title: $title, text: $text },)*];
    };
}

codes! {
    "E100" "the text is not TOML"
        "The file breaks a rule of TOML. Texts stand in quotes, and a name may be given only once \
         in a table. What could be read was checked all the same; mistakes that need the whole \
         file show up after this one is gone."
    "E101" "unknown key"
        "Keys that Busbar does not know are refused: a key that is silently ignored is a policy \
         that silently does not work."
    "E102" "a value of the wrong type"
        "The key wants another type of value, such as a text in quotes, a list or a table."
    "E103" "a word that is not among the known ones"
        "The key takes one of a few words, which the message lists."
    "E104" "a quantity needs a unit"
        "Times, sizes and rates are texts with a unit: \"10s\", \"64KiB\", \"100B/s\". A bare \
         number only counts things."
    "E105" "a quantity that can't be read"
        "A quantity is a whole number directly followed by a unit. Times: us ms s m h d. Sizes: \
         B KiB MiB GiB, and kB MB GB in powers of ten. Counts: k M G, or none."
    "E106" "a number out of its range"
        "The message names the range."
    "E107" "a key is missing"
        "The table means nothing without this key."
    "E108" "a limit that can't be lifted"
        "\"none\" lifts a limit or a timeout where the reference says so. This one protects the \
         gateway itself and needs a value."
    "E109" "a name that can't be used"
        "Names of tables stand in metrics and log lines: letters, digits, `-`, `_` and `.`, at \
         most 100, beginning with a letter or digit."
    "E110" "`--set` that can't be read"
        "`--set` takes `key.path=VALUE` where VALUE is TOML: `--set server.workers=2`, \
         `--set 'listener.web.address=\":9443\"'`."
    "E111" "a version that this build does not read"
        "`busbar = 1` at the top is the only version there is. It may be left out."
    "E112" "an environment variable is not set"
        "`${NAME}` stands for an environment variable. `${NAME:-text}` gives a default, and `$${` \
         is a literal `${`."
    "E113" "`${` that can't be read"
        "Write `${NAME}` or `${NAME:-text}`; NAME is letters, digits and `_`. A literal `${` is \
         written `$${`."
    "E114" "a file that can't be read"
        "What a configuration names is read when it is loaded: included files, the file of a \
         `respond` (at most 1 MiB), secrets (at most 64 KiB), certificates and keys. Paths are \
         relative to the file that names them. A pattern of `include` may match nothing; a plain \
         name must be there."
    "E115" "the configuration is too large"
        "A configuration may hold at most 64 MiB, 256 listeners, 10,000 groups and a million \
         routes."
    "E116" "an include that can't be followed"
        "A file is included once, not by itself, at most 8 files deep and 1000 in all."
    "E117" "the same name in two files"
        "Tables of several files merge by name, so that each name has one place: a table such as \
         [route.users] in one file, each key of [server], [all], [admin], [defaults.upstream] and \
         [defaults.listener] in one file."
    "E118" "a secret that can't be used"
        "An empty secret proves nothing. `credential:NAME` names a file in \
         $CREDENTIALS_DIRECTORY, without `/`."
    "E120" "an upstream that does not exist"
        "A route's `to` names an `[upstream.NAME]` table or is a URL."
    "E121" "a listener that does not exist"
        "A route's `listener` names `[listener.NAME]` tables."
    "E122" "a route without an action"
        "A route says exactly one of `to`, `respond`, `redirect` and `echo`."
    "E123" "a route with several actions"
        "A route says exactly one of `to`, `respond`, `redirect` and `echo`."
    "E124" "a bad endpoint or URL"
        "An endpoint is \"host:port\", \"http://host:port\", \"unix:/path\" or a table with \
         `address` and `weight`. A route's `to` is a name or \"http://host:port\", without path: \
         the client's path is sent."
    "E125" "a bad listener address"
        "\":8080\" is every address of both families; \"127.0.0.1:8080\", \"[::1]:8080\", \
         \"localhost:8080\" and \"unix:/path\" are the others."
    "E126" "two listeners want the same address"
        "Only one listener can accept on an address. An address of all interfaces takes in each \
         single one."
    "E127" "an endpoint is our own listener"
        "Requests would run in a circle until connections run out."
    "E128" "an upstream without a usable endpoint"
        "At least one endpoint with a weight above zero is needed."
    "E129" "no host name to send"
        "`host = \"endpoint\"` sends the endpoint's own name, which a unix socket does not have. \
         Give the name itself."
    "E130" "a bad path"
        "A path is \"/users\", \"/users/{id}\", \"/files/*\" or \"/files/{*rest}\", in canonical \
         form: no `//`, no dot segments, escapes only where they are needed and in upper case."
    "E131" "two routes want the same requests"
        "Their conditions are identical, so that the order in the file would have to decide, and \
         order never means anything here. Names of path parameters don't tell routes apart."
    "E132" "a bad host"
        "A host is \"example.com\", \"*.example.com\" or an address, without scheme or port. \
         Names beyond ASCII are written in their xn-- form."
    "E133" "a bad method"
        "Methods are tokens in the case in which they are sent: \"GET\". CONNECT and TRACE are \
         always answered with 405."
    "E134" "a bad condition"
        "A condition is a value, \"*\" for present, or \"beta*\" for a prefix."
    "E135" "a bad field name or value"
        "Field names are tokens (RFC 9110 §5.1). Values hold no control characters and have no \
         space at their ends."
    "E136" "a field that Busbar itself writes"
        "Fields that frame a message or speak about one connection can't be edited: a wrong one \
         would let gateway and service disagree about where a message ends."
    "E137" "an unknown variable"
        "The variables are the path's parameters, {client} {host} {path} {query} {method} \
         {consumer} {request_id} {route} {query.NAME} and {header.NAME}. `{{` is a brace."
    "E138" "braces that can't be read"
        "`{name}` is a variable; a literal brace is written `{{` or `}}`."
    "E139" "a variable where none may stand"
        "In a URL only {host} may stand where the host is, else a request could choose where a \
         redirect leads. In a body variables are escaped for its type, which must be a text, \
         HTML, XML or JSON."
    "E140" "nobody is known here"
        "Limits by consumer or claim, `allow` and plans need to know who is calling, and the route \
         has no `auth`, or `auth = \"none\"`."
    "E141" "a group that does not exist"
        "`group` names a [group.NAME] table."
    "E142" "groups in a circle, or too deep"
        "A group may name one group that it is part of, at most four of them one in the other, \
         and one of them is the widest."
    "E143" "nothing to take away"
        "`without` names keys that `[all]` or a group around this table says. What nobody says \
         has its default already."
    "E144" "a bad address prefix"
        "A prefix is \"10.0.0.0/8\", \"2001:db8::/32\" or a single address."
    "E145" "an address prefix with bits outside of it"
        "\"10.0.0.1/8\" is either the single address or the prefix 10.0.0.0/8."
    "E146" "a status that can't be used here"
        "Answers have a status from 200 to 599; redirects are 301, 302, 303, 307 or 308. 204 and \
         304 have no body."
    "E147" "a key in the wrong place"
        "The word is known, but it stands in a table that can't have it: an action on a group, \
         `endpoints` among defaults."
    "E148" "a bad rewrite"
        "`rewrite.path` begins with `/` and is in canonical form, without `?`; `rewrite.query` \
         has no `?` of its own; `rewrite.host` is a host, with its port if it needs one. Spaces \
         and the like are written as escapes: %20."
    "E149" "mistakes in a list"
        "Files of prefixes, consumers, passwords or keys are read when the configuration is. The \
         message names lines; nothing has changed."
    "E151" "a prefix that may and may not"
        "The longest prefix of both lists counts; this one stands in both, so that neither would."
    "E152" "any page with credentials"
        "`origins = [\"*\"]` with `credentials = true` would let every page act in the name of \
         whoever visits it."
    "E153" "a bad origin"
        "An origin is \"https://example.com\", with its port if it is not the usual one, \
         \"https://*.example.com\", or \"*\"."
    "E154" "an authentication that does not exist"
        "A route's `auth` names `[auth.NAME]` tables, or is \"none\"."
    "E155" "a plan that does not exist"
        "A consumer's `plan` names a `[plan.NAME]` table."
    "E156" "consumers that can't be told apart"
        "Each has a name of its own, and each key belongs to one of them."
    "E157" "a consumer or a word that nobody has"
        "`allow` names consumers, groups and scopes. Where only known consumers can come, one that \
         does not exist would keep everyone out."
    "E158" "a rate that can't be counted"
        "Rates go from 1 in 30 days to 1,000,000,000 in a second, in whole seconds."
    "E159" "no one upstream to count"
        "A limit per upstream holds for the upstream of its route, which has to have exactly one: no \
         shares of several, and no answer of its own."
    "E160" "two limits of one upstream"
        "The requests to an upstream at one time are counted once, for all of its routes. Each \
         `concurrency` with per = \"upstream\" that holds for it has the same `limit` and `queue`; \
         `wait` is each one's own."
    "E161" "a certificate or key that can't be used"
        "Certificates, keys, authorities and lists of revoked certificates are PEM files. A \
         certificate stands first in its file, those that vouch for it behind it; a key is ECDSA, \
         Ed25519 or RSA, and not encrypted. A reload with one that can't be used is refused: what \
         was read before stays."
    "E162" "a key that does not fit its certificate"
        "The public key in the first certificate of the file has to be that of the private key. \
         While files are being replaced it can be so for a moment; the next change is read again."
    "E163" "clients' certificates, and nobody who vouches"
        "`client_ca` names the authorities whose word counts; without it clients are not asked for \
         a certificate."
    "E164" "TLS with some endpoints, and not with all"
        "The endpoints of one upstream are equal to each other: all `https://`, or, with `tls` in \
         its table, without a scheme."
    "E165" "no name to ask a service for"
        "The name in its certificate is that of the endpoint, or `server_name`. A unix socket has \
         none."
    "E166" "a bad pin"
        "A pin is \"sha256:\" and the SHA-256 of the key's SubjectPublicKeyInfo: `openssl x509 -in \
         a.pem -noout -pubkey | openssl pkey -pubin -outform der | openssl dgst -sha256 -binary | \
         base64`."
    "E167" "a redirect to HTTPS that leads nowhere"
        "`redirect = \"https\"` on a listener in the clear sends every request to port 443 of the \
         same host, \"https:8443\" to another port."
    "E168" "a PROXY header from nobody"
        "It says who the client is, so it counts only from the peers that `server.trusted_proxies` \
         names; a unix socket's peers have no addresses."
    "E169" "HSTS that no list of preloaded names takes"
        "`preload` wants `subdomains = true` and a `max_age` of at least a year: hstspreload.org."
    "E190" "this build does not know the key"
        "The word belongs to Busbar's language but this build can't do it. It is refused, not \
         ignored."
    "W201" "routes that are open to everyone"
        "The routes have no `auth`, and other machines can reach a listener that they are served \
         on. `auth = \"none\"` on a route, a group or [all] says that this is meant."
    "W202" "two routes can want the same request"
        "Both match it and neither is more specific: the route whose name sorts first gets it. \
         A route for HEAD meets one for GET, which takes in HEAD; the one that names it gets it."
    "W203" "an upstream that no route uses"
        "It costs little, but it is often a misspelt name."
    "W204" "a listener that no route can be reached by"
        "Every route names other listeners; each request here is answered with 404."
    "W205" "an endpoint twice in one upstream"
        "It gets two shares. `weight` says so more clearly."
    "W206" "no routes"
        "Every request is answered with 404."
    "W207" "an address that can be reached without TLS"
        "Whoever is on the way can read and change what passes. Behind a proxy that ends TLS, \
         listen on a loopback address, if it is on this machine."
    "W208" "an include that matches nothing"
        "A pattern may match no file, as long as it is no mistake in the folder's name."
    "W209" "a group that no route is part of"
        "It has no effect; it is often a misspelt name."
    "W210" "a secret stands in the file"
        "Whoever sees the file or a copy of it has the secret. `${NAME}` takes it from the \
         environment, `file:/path` from a file, `credential:NAME` from systemd."
    "W211" "a file of a secret that is open to others"
        "Its owner alone should read it (0600), or a group (0640); nobody else."
    "W212" "a rewrite without effect"
        "What is sent upstream is rewritten. Answers of Busbar's own, and redirects, have nothing \
         to rewrite."
    "W213" "an authentication that no route uses"
        "It costs little, but it is often a misspelt name."
    "W214" "a route that nobody can use"
        "Its methods only let known consumers in, and there are none who could."
    "W215" "keys that verify nothing"
        "Keys of a set are left out when their kind, their use or their algorithm is not one that \
         counts here."
    "W216" "addresses that nobody tells"
        "Whoever comes by a unix socket has no address: `ip` lets all of them pass, and limits by \
         client count them as one. The proxy in front can do it, or it comes by TCP and \
         `server.trusted_proxies` names it."
    "W217" "a certificate whose time is over or to come"
        "Clients and services refuse a certificate that has expired or is not valid yet. A list of \
         revoked certificates that is out of date still counts, but does not know the latest."
    "W218" "a service that anybody can be"
        "With `verify = false` and without `pins` whoever is on the way can answer in the service's \
         name, and read all that it is sent."
    "W219" "a certificate that no client is given"
        "Clients ask for a DNS name, and this certificate holds none. Only the listener's default, \
         `cert`, needs no name."
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_sorted_and_unique() {
        assert!(CODES.windows(2).all(|pair| pair[0].code < pair[1].code));
        assert_eq!(code("e104").map(|code| code.code), Some("E104"));
        assert_eq!(code("E999"), None);
    }

    #[test]
    fn the_nearest_codes_differ_least() {
        let first = |name: &str| nearest(name)[0].code;
        let rows = [("E1O4", "E104"), ("104", "E104"), ("e204", "E104"), ("W199", "W190")];
        for (name, expect) in rows {
            let found: Vec<&str> = nearest(name).iter().map(|code| code.code).collect();
            let known = code(expect).is_some();
            assert!(!known || found.contains(&expect), "{name}: {found:?}");
        }
        assert_eq!(first("E1O4"), "E104");
        assert_eq!(nearest(&"x".repeat(100_000)).len(), NEAR_MAX);
    }
}
