//! `keys.csv`: what is read, and every mistake with its place.

use crate::auth::consumers::{Builder, Consumers};
use crate::auth::csv;
use crate::auth::keys::digest_of;
use crate::auth::texts::Words;
use crate::ids::PlanId;

fn read(text: &[u8]) -> Result<Consumers, String> {
    let mut builder = Builder::new(Words::new(1), 2, csv::lines(text));
    builder.add(b"configured", [], [], None).expect("no mistake");
    let plan = |name: &[u8]| (name == b"gold").then_some(PlanId(7));
    csv::read(text, &mut builder, plan).map_err(|mistakes| mistakes.to_string())?;
    Ok(builder.finish())
}

fn digest(key: &[u8]) -> String {
    digest_of(key).iter().fold("sha256:".to_owned(), |text, byte| format!("{text}{byte:02x}"))
}

const BCRYPT: &str = "$2b$04$IajxyRXQd0lP98azcn6Jye2gPDJGiLkDrBLm1XVM.XSZ6l7sE0Eiy";

#[test]
fn a_file_is_read_in_all_its_forms() {
    let (one, two, three) = (digest(b"one"), digest(b"two"), digest(b"three"));
    let text = format!(
        "\u{feff}# keys of partners\r\nplan, name ,api_key,groups,scopes,basic\r\n\
         gold,acme,{one} {two},staff  admin,orders:read,\r\n\n\
         # another\n\
         ,\"be\"\"ta, Inc.\",{three},,,\"{BCRYPT}\"\n,\"é\",,,,"
    );
    let store = read(text.as_bytes()).expect("no mistake");
    let acme = store.by_name(b"acme").expect("it is there");
    assert_eq!(store.by_key(b"one"), Some(acme));
    assert_eq!(store.by_key(b"two"), Some(acme));
    assert_eq!(store.plan(acme), Some(PlanId(7)));
    let groups: Vec<&[u8]> = store.groups(acme).iter().map(|&g| store.words().text(g)).collect();
    assert_eq!(groups, [b"staff", b"admin"]);
    let beta = store.by_name(b"be\"ta, Inc.").expect("it is there");
    assert_eq!(store.by_key(b"three"), Some(beta));
    assert!(store.basic(b"be\"ta, Inc.").expect("a hash").1.verify(b"password"));
    assert!(store.by_name("é".as_bytes()).is_some());
    assert_eq!(store.len(), 4);
    assert_eq!(read(b"name\n").expect("no consumer is no mistake").len(), 1);
}

fn check(text: &str, expect: &str) {
    assert_eq!(read(text.as_bytes()).map(drop), Err(expect.to_owned()), "{text}");
}

#[test]
fn every_mistake_stands_with_its_place() {
    let (one, upper) = (digest(b"one"), digest(b"two").to_uppercase());
    check(
        &format!(
            "name,api_key,groups,scopes,plan,basic\n\
             acme,{one},,,silver,\n\
             é,{one} nokey,a\"b,,,\n\
             acme,,,,,\n\
             configured,,,,,\n\
             x,{upper},,,,plain\n\
             ,,,,,\n\
             a,b\n\
             a,,,,,,z\n\
             y,,a\tb,,,\n\
             z,,ok,a\\b,,\n"
        ),
        "2:80: no plan `silver`\n\
         3:82: a quote stands at the beginning of a cell or in quotes\n",
    );
    check(
        &format!(
            "name,api_key,groups,scopes,plan,basic\n\
             acme,{one},,,silver,\n\
             é,{one} nokey,,,,\n\
             acme,,,,,\n\
             configured,,,,,\n\
             x,{upper},,,,plain\n\
             ,,,,,\n\
             a,b\n\
             a,,,,,,z\n\
             y,,a\tb,,,\n\
             z,,ok,a\\b,,\n"
        ),
        "2:80: no plan `silver`\n\
         3:3: this key is another consumer's (line 2)\n\
         3:3: a key is `sha256:` and 64 lower-case hex digits\n\
         4:1: this name is another consumer's (line 2)\n\
         5:1: this name is another consumer's (in the configuration)\n\
         6:3: a key is `sha256:` and 64 lower-case hex digits\n\
         6:78: this is a plain password or crypt's old hash: use `htpasswd -B` or argon2id\n\
         7:1: a consumer needs a name\n\
         8:1: 2 cells, where the first line names 6 columns\n\
         9:8: 7 cells, where the first line names 6 columns\n\
         10:4: a group or scope has 1 to 128 printable bytes\n\
         11:7: a group or scope has 1 to 128 printable bytes\n",
    );
}

#[test]
fn the_first_line_names_known_columns_once() {
    check("", "1:1: the first line names the columns\n");
    check("# nothing\n", "1:1: the first line names the columns\n");
    check(
        "key\n",
        "1:1: no column `key`: name, api_key, groups, scopes, plan, basic\n\
        1:1: the first line names the columns; `name` is needed\n",
    );
    check("name,groups,name\na,b,c\n", "1:13: column `name` stands here twice\n");
}

#[test]
fn no_group_reads_as_two() {
    let why = "a group or scope has no comma; spaces stand between them\n";
    check("name,groups\na,\"b,admin\"\n", &format!("2:3: {why}"));
    check("name,scopes\na,\"b c,d\"\n", &format!("2:3: {why}"));
}

#[test]
fn quotes_are_those_of_rfc_4180() {
    check("name\n\"a", "2:1: a quote is not closed\n");
    check("name\na\"b\"\n", "2:2: a quote stands at the beginning of a cell or in quotes\n");
    check("name\n\"a\"b\n", "2:4: a comma or the line's end is expected after a quote\n");
    check("name\n\"a\n", "2:1: a quote is not closed\n");
    // Line breaks in quotes count, and no name has one.
    check(
        "name,plan\n\"a\nb\",\nc,silver\n",
        "2:1: a name has no control characters or spaces around it\n4:3: no plan `silver`\n",
    );
    assert_eq!(
        read(b"name,groups\na,\"b\nc\"\n").map(drop).expect_err("a line break"),
        "2:3: a group or scope has 1 to 128 printable bytes\n"
    );
    let store = read(b"name,groups\r\n\"a\",\"b c\"\r\n\"d\",e\r\n").expect("no mistake");
    assert_eq!(store.len(), 3);
}

#[test]
fn bytes_lines_and_mistakes_are_bounded() {
    assert_eq!(read(b"name\n\xff\n").map(drop), Err("2:1: a name is UTF-8\n".to_owned()));
    let long = "x".repeat(csv::RECORD_BYTES_MAX + 1);
    check(&format!("name\n{long}\ny\n"), "2:1: a line has at most 65536 bytes\n");
    check(&format!("name\n\"{long}\"\n"), "2:1: a quote is not closed\n");
    check(&format!("name,plan\n\"a\",{long}\n"), "2:1: a line has at most 65536 bytes\n");
    let many = format!("name\n{}", "a\n".repeat(50));
    let all = read(many.as_bytes()).map(drop).expect_err("a name many times");
    assert_eq!(all.lines().count(), 21);
    assert!(all.ends_with("and 29 more\n"), "{all}");
}

/// The bound of a million lines in 1.5 s holds for an optimised build (`bench/benches/auth.rs`);
/// here it is seen that nothing grows faster than the file.
#[test]
fn a_large_file_is_read() {
    let mut text = "name,api_key,groups\n".to_owned();
    for i in 0..20_000u32 {
        text += &format!("c{i},{},g{}\n", digest(&i.to_le_bytes()), i % 100);
    }
    let store = read(text.as_bytes()).expect("no mistake");
    assert_eq!(store.by_key(&19_999u32.to_le_bytes()), store.by_name(b"c19999"));
}
