//! Who may call: what several routes share, and what is never left out.

use super::*;
use crate::policy::AnyPolicy;

#[test]
fn routes_share_the_one_count_of_their_upstream() {
    let text = "[all]\nauth = \"none\"\nconcurrency = { limit = 2, per = \"upstream\" }\n\
        [route.a]\npath = \"/a\"\nto = \"b\"\n\
        concurrency = { limit = 2, per = \"upstream\", wait = \"3s\" }\n\
        [route.c]\npath = \"/c\"\nto = \"b\"\n\
        [route.d]\npath = \"/d\"\nto = \"http://h:2\"\n\
        [upstream.b]\nendpoints = [\"h:1\"]\n";
    let snapshot = good(text);
    let ids: std::collections::BTreeSet<u64> =
        snapshot.permits.iter().map(|cell| cell.id).collect();
    assert_eq!((ids.len(), snapshot.permits.len()), (2, 2));
    let other = text.replace(
        "limit = 2, per = \"upstream\", wait",
        "limit = 3, queue = 1, per = \"upstream\", wait",
    );
    assert_eq!(report(&other).len(), 1, "{:?}", report(&other));
}

/// One that holds a place and waits for another's never waits for somebody who does the same the
/// other way round.
#[test]
fn routes_take_their_places_in_one_order() {
    let (upstream, consumer) = ("{ limit = 1, per = \"upstream\" }", "{ limit = 1 }");
    let consumer = consumer.replace(" }", ", per = \"consumer\" }");
    let snapshot = good(&format!(
        "[all]\nauth = \"f\"\nconcurrency = [{consumer}, {upstream}]\n\
        [auth.f]\nmethod = \"forward\"\nto = \"http://a:1/\"\n\
        [route.a]\npath = \"/a\"\nto = \"b\"\nconcurrency = {upstream}\n\
        [route.b]\npath = \"/b\"\nto = \"b\"\nconcurrency = {{ limit = 9 }}\n\
        [upstream.b]\nendpoints = [\"h:1\"]\n"
    ));
    for route in &snapshot.routes {
        let numbers = route.policies.policies().iter().filter_map(|policy| match policy {
            AnyPolicy::Concurrency(limit) => Some(limit.number),
            _ => None,
        });
        let numbers: Vec<u32> = numbers.collect();
        assert!(numbers.len() >= 2 && numbers.is_sorted(), "{} {numbers:?}", route.name);
    }
}

#[test]
fn a_method_that_names_nobody_may_stand_among_others() {
    good(
        "[auth.f]\nmethod = \"forward\"\nto = \"http://a:1/\"\n\
        [auth.keys]\nmethod = \"api_key\"\n[consumer.acme]\n\
        api_keys = [\"sha256:2c70e12b7a0646f92279f427c7b38e7334d8e5389cff167a1dc30e73f826b683\"]\n\
        [route.a]\nauth = { all = [\"keys\", \"f\"] }\nto = \"http://h:1\"\n",
    );
}

#[test]
fn no_word_of_a_rule_is_left_out() {
    let rule = |count: usize| {
        let words: Vec<String> = (0..count).map(|i| format!("\"{i}\"")).collect();
        format!(
            "[auth.f]\nmethod = \"forward\"\nto = \"http://a:1/\"\n[route.a]\nauth = \"f\"\n\
            to = \"http://h:1\"\nallow = {{ scopes = [{}] }}\n",
            words.join(",")
        )
    };
    assert_eq!(report(&rule(65_536)), Vec::<String>::new());
    let found = report(&rule(65_537));
    assert!(found.len() == 1 && found[0].starts_with("E103 7:"), "{found:?}");
}
