//! The precedence, sentence by sentence, and agreement with `naive`.

use std::time::{Duration, Instant};

use parser::{Field, FieldId, Fields, Method};
use proptest::prelude::*;

use super::*;

/// `name: METHODS host path ?query h:header`, where all but name and path may be missing; hosts
/// begin with `@`, methods are joined by `,`.
fn rule(text: &str) -> Rule {
    let (name, text) = text.split_once(": ").expect("a name");
    let mut rule = Rule { name: name.to_owned(), ..Rule::default() };
    for word in text.split(' ') {
        let condition = |word: &str| {
            let (name, value) = word.split_once('=').expect("a condition");
            let value = match value.strip_suffix('*') {
                Some("") => ValuePattern::Present,
                Some(prefix) => ValuePattern::Prefix(prefix.to_owned()),
                None => ValuePattern::Exact(value.to_owned()),
            };
            (name.to_owned(), value)
        };
        match word.as_bytes() {
            [b'/', ..] => rule.path = word.to_owned(),
            [b'@', ..] => rule.hosts.push(word[1..].to_owned()),
            [b'?', ..] => rule.query.push(condition(&word[1..])),
            [b'h', b':', ..] => rule.headers.push(condition(&word[2..])),
            _ => rule.methods = word.split(',').map(str::to_owned).collect(),
        }
    }
    rule
}

/// `METHOD path[?query] [@host] [name:value]…`; gives `name [captures]`, the `Allow` value, or
/// `404`.
fn ask(router: &Router, rules: &[Rule], request: &str) -> String {
    let mut words = request.split(' ');
    let method = words.next().expect("a method");
    let target = words.next().expect("a target");
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let (mut host, mut fields) = (None, Fields::default());
    for word in words {
        if let Some(name) = word.strip_prefix('@') {
            host = Some(name.as_bytes());
            continue;
        }
        let start = word.as_ptr() as usize - request.as_ptr() as usize;
        let colon = start + word.find(':').expect("a field");
        let (name, value) = (Span::new(start, colon), Span::new(colon + 1, start + word.len()));
        fields.push(Field { name, value, id: FieldId::Other });
    }
    let lookup = Lookup {
        host,
        path: path.as_bytes(),
        query: query.as_bytes(),
        method: Method::of(method.as_bytes()),
        method_text: method.as_bytes(),
        fields: &fields,
        head: request.as_bytes(),
    };
    let mut params = Params::default();
    match router.find(&lookup, &mut params) {
        Found::Route(route) => {
            let mut text = rules[route.index()].name.clone();
            for span in params.as_slice() {
                text += " ";
                text += std::str::from_utf8(span.of(path.as_bytes())).expect("ASCII");
            }
            text
        }
        Found::MethodNotAllowed { allow } => {
            assert_eq!(params.as_slice(), []);
            format!("405 {allow}")
        }
        Found::NotFound => "404".to_owned(),
    }
}

/// The root of the rules without hosts.
fn root_of(router: &Router) -> u32 {
    let mut root = None;
    router.hosts.any_root(None, |found| root.replace(found).is_some());
    root.expect("a rule without hosts")
}

fn check(rules: &[&str], rows: &[(&str, &str)]) {
    let rules: Vec<Rule> = rules.iter().map(|text| rule(text)).collect();
    let router = build(&rules).expect("good rules");
    for (request, expect) in rows {
        assert_eq!(ask(&router, &rules, request), *expect, "{request}");
    }
}

#[test]
fn the_narrowest_host_wins_and_lets_the_rest_through() {
    check(
        &[
            "exact: @a.b.c /x",
            "long: @*.b.c /x/{y}",
            "long-x: @*.b.c /x",
            "short: @*.c /{any}/z",
            "none: /*",
        ],
        &[
            ("GET /x @a.b.c", "exact"),
            ("GET /x @A.B.C.", "exact"),
            ("GET /x @z.b.c", "long-x"),
            ("GET /x @b.c", "none x"),
            ("GET /x/q @a.b.c", "long q"),
            ("GET /x/z @a.b.c", "long z"),
            ("GET /y/z @a.b.c", "short y"),
            ("GET /y/z @c", "none y/z"),
            ("GET /y @a.b.c", "none y"),
            ("GET /x", "none x"),
        ],
    );
}

#[test]
fn paths_are_compared_segment_by_segment_from_the_left() {
    check(
        &[
            "me: /users/me",
            "me-all: /users/me/{*rest}",
            "id: /users/{id}",
            "id-x: /users/{id}/x",
            "users: /users",
            "users-all: /users/*",
            "root: /",
            "any-me: /{any}/me/x",
        ],
        &[
            ("GET /users", "users"),
            ("GET /users/", "users-all "),
            ("GET /users/me", "me"),
            ("GET /users/me/", "me-all "),
            ("GET /users/me/x", "me-all x"),
            ("GET /users/mex", "id mex"),
            ("GET /users/m", "id m"),
            ("GET /users/42/x", "id-x 42"),
            ("GET /users/42/x/", "users-all 42/x/"),
            ("GET /users//x", "users-all /x"),
            ("GET /usersx", "404"),
            ("GET /", "root"),
            ("GET /u/me/x", "any-me u"),
            ("GET //me/x", "404"),
        ],
    );
}

#[test]
fn a_static_dead_end_gives_way_to_a_param() {
    check(
        &["me: /users/me", "x: /users/{id}/x", "deep: /{a}/{b}/{c}/y"],
        &[
            ("GET /users/me/x", "x me"),
            ("GET /users/me/x/y", "deep users me x"),
            ("GET /users/me/y", "404"),
        ],
    );
}

#[test]
fn a_rest_takes_its_own_prefix_with_and_without_a_slash() {
    check(
        &["files: /files/*", "all: @h /*"],
        &[
            ("GET /files", "files "),
            ("GET /files/", "files "),
            ("GET /files/a/b", "files a/b"),
            ("GET /filesa", "404"),
            ("GET / @h", "all "),
            ("GET /a @h", "all a"),
            ("OPTIONS * @h", "all "),
            ("OPTIONS *", "404"),
        ],
    );
}

#[test]
fn methods_then_headers_then_query_then_the_name_decide() {
    check(
        &[
            "any: /a h:x=1 h:y=1",
            "get: GET /a",
            "get-x: GET /a h:x=1",
            "get-q: GET /a ?q=1 ?r=1",
            "b: GET /a h:y=*",
            "post: POST /b h:x=1",
            "wide: /{all}",
        ],
        &[
            ("GET /a", "get"),
            ("GET /a x:1", "get-x"),
            ("GET /a x:2", "get"),
            ("GET /a?q=1&r=1 X:1", "get-x"),
            ("GET /a?r=1&q=1", "get-q"),
            ("GET /a y:1 x:1", "b"),
            ("PUT /a y:1 x:1", "any"),
            ("PUT /a x:1", "wide a"),
            ("POST /b", "wide b"),
            ("POST /b x:2 x:1", "post"),
        ],
    );
}

#[test]
fn head_goes_where_get_does_unless_a_rule_names_it() {
    check(
        &[
            "get: GET /a",
            "get-x: GET /b h:x=1",
            "head: HEAD /b",
            "get-b: GET /b",
            "post: POST /c",
            "any: /d",
            "head-d: HEAD /d",
        ],
        &[
            ("HEAD /a", "get"),
            ("HEAD /b x:1", "head"),
            ("GET /b x:1", "get-x"),
            ("HEAD /c", "405 POST"),
            ("HEAD /d", "head-d"),
            ("GET /d", "any"),
        ],
    );
}

#[test]
fn a_known_path_with_another_method_says_what_the_narrowest_place_allows() {
    check(
        &["read: GET,PURGE /a", "write: POST /a h:x=1", "all: DELETE /*", "canary: /b h:x=1"],
        &[
            ("PUT /a", "405 GET, HEAD, POST, PURGE"),
            ("DELETE /a", "all a"),
            ("PURGE /a", "read"),
            ("purge /a", "405 GET, HEAD, POST, PURGE"),
            // The place takes POST, only not without `x`: the wider one is asked.
            ("POST /a", "405 DELETE"),
            ("POST /a x:1", "write"),
            ("GET /b", "405 DELETE"),
        ],
    );
    check(&["x: POST /a h:x=1"], &[("POST /a", "404"), ("GET /a", "405 POST")]);
}

#[test]
fn query_is_compared_decoded_and_plus_stays_plus() {
    check(
        &["v: /a ?v=1+b", "w: /b ?w*=*", "p: /c ?p=ab*", "e: /d ?e="],
        &[
            ("GET /a?v=1+b", "v"),
            ("GET /a?x&%76=%31%2Bb", "v"),
            ("GET /a?v=1%20b", "404"),
            ("GET /a?v=1+b+", "404"),
            ("GET /b?w%2a", "w"),
            ("GET /b?w", "404"),
            ("GET /c?p=a&p=abc", "p"),
            ("GET /c?p=a", "404"),
            ("GET /d?e", "e"),
            ("GET /d?e=1", "404"),
        ],
    );
}

/// All 2^12 ways to write 12 segments as static or param, and a rest above each: the worst set
/// for going back that 12 segments allow.
#[test]
fn a_hostile_path_sees_each_node_at_most_once() {
    let depth = 12;
    let path = |ways: usize, len: usize| {
        let segment = |i: usize| match ways >> i & 1 {
            0 => "/a".to_owned(),
            _ => format!("/{{p{i}}}"),
        };
        (0..len).map(segment).collect::<String>()
    };
    let mut rules = Vec::new();
    for ways in 0..1 << depth {
        // Method `X` is never asked for, so that no place ends the search.
        rules.push(rule(&format!("r: X {}/end", path(ways, depth))));
    }
    for len in [0, 3, 7] {
        rules.extend((0..1 << len).map(|ways| rule(&format!("w: X {}/*", path(ways, len)))));
    }
    let router = build(&rules).expect("good rules");
    let hostile = format!("{}/enD", "/a".repeat(depth));
    let mut places = 0;
    let mut visited = 0;
    let mut params = Params::default();
    let root = root_of(&router);
    let found = router.trie.any_place_counted(
        root,
        hostile.as_bytes(),
        &mut params,
        |_| {
            places += 1;
            false
        },
        &mut visited,
    );
    assert!(!found && params.as_slice().is_empty());
    assert_eq!(places, 1 + (1 << 3) + (1 << 7));
    assert!(visited <= router.trie.nodes_count(), "{visited} of {}", router.trie.nodes_count());
    // With few rules the same path costs next to nothing.
    let few = build(&[rule("a: /a/*"), rule("b: /{x}/{y}/b")]).expect("good rules");
    let mut visited = 0;
    few.trie.any_place_counted(
        root_of(&few),
        hostile.as_bytes(),
        &mut params,
        |_| false,
        &mut visited,
    );
    assert!(visited <= few.trie.nodes_count());
}

#[test]
fn large_sets_are_small_and_judged_quickly() {
    let rules: Vec<Rule> = (0..100_000)
        .map(|i| {
            let (service, resource) = (i / 100, i % 100);
            rule(&format!("r{i}: GET @h{}.example /s{service}/{{id}}/r{resource}", i % 7))
        })
        .collect();
    #[allow(clippy::disallowed_methods)] // a coarse bound on the build
    let start = Instant::now();
    assert_eq!(conflicts(&rules), []);
    assert_eq!(overlaps(&rules), []);
    let took = start.elapsed();
    let router = build(&rules).expect("good rules");
    // Generous: this runs unoptimised and beside others.
    assert!(took < Duration::from_secs(10), "{took:?}");
    assert!(router.heap_bytes() < rules.len() * 512, "{}", router.heap_bytes());
    assert_eq!(ask(&router, &rules, "GET /s500/x/r4 @h1.example"), "404");
    let index = 50_004;
    let request = format!("GET /s500/x/r4 @h{}.example", index % 7);
    assert_eq!(ask(&router, &rules, &request), "r50004 x");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn agrees_with_the_naive_router(data in proptest::collection::vec(any::<u8>(), 0..1500)) {
        naive::check_bytes(&data);
    }
}
