//! Hashes that other programs made, and those that are refused.

use std::collections::BTreeMap;

use crate::auth::consumers::Builder;
use crate::auth::hash::{Costs, Mistake, PasswordHash};
use crate::auth::htpasswd;
use crate::auth::texts::Words;

fn parse(text: &str) -> Result<PasswordHash, Mistake> {
    PasswordHash::parse(text.as_bytes())
}

/// Of argon2's C library and OpenBSD's bcrypt.
const KNOWN: [(&str, &str); 6] = [
    (
        "$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHQBAQEB$QrAbG0Z3K6Uk5yxIYgcVFyNCBJUI1NVNjK5c8x2u3Q8",
        "password",
    ),
    ("$argon2id$v=19$m=256,t=3,p=2$c29tZXNhbHQCAgIC$g6BAgJW/N/P8zTh8pmF3XQ", "pässword"),
    (
        "$argon2id$v=19$m=128,t=2,p=4$c29tZXNhbHQEBAQE$\
         cgWWAi4ehBV5TNeg+lgRYFgWEloBaQFdtdPHKu1U+dEr3EKr0z7JxxWlotvkG0fjDofvuIJQ3gW7wflddKM5Ww",
        "",
    ),
    ("$2b$04$IajxyRXQd0lP98azcn6Jye2gPDJGiLkDrBLm1XVM.XSZ6l7sE0Eiy", "password"),
    ("$2a$04$aKx78R/X9CMyiNtbBbnKeekLBXZZswV0dsG8c.nsAmzkNHC6/mJwe", "correct horse"),
    ("$2a$04$E41zqcN9D40nc.araVhN5.8DLI6VK.zhV38CQPvxnxqeeJeskuSia", ""),
];

#[test]
fn hashes_of_other_programs_verify_their_password_alone() {
    for (hash, password) in KNOWN {
        let parsed = parse(hash).expect(hash);
        assert!(parsed.verify(password.as_bytes()), "{hash}");
        for other in [&format!("{password}x"), "Password", "passwor", "password\0"] {
            assert!(!parsed.verify(other.as_bytes()), "{hash} {other}");
        }
        assert!(!format!("{parsed:?}").contains(&hash[hash.len() - 8..]));
    }
    // PHP and Apache write $2y$ for what is $2b$.
    let y = parse(&KNOWN[3].0.replace("$2b$", "$2y$")).expect("it is one");
    assert!(y.verify(b"password"));
}

#[test]
fn a_password_is_never_cut() {
    let of_72 = parse("$2b$04$Es7fxMOQSmjdfmi8/fB/sO2ObV/hNbguC2Alw/CjUzVb1O6boNUdm");
    let of_71 = parse("$2b$04$uLgCtBg.Wlq87F8.xGVSje7xq.UKPVgbkwhFmPpxPr8WOWN2GeaqG");
    let (of_72, of_71) = (of_72.expect("it is one"), of_71.expect("it is one"));
    for len in [70, 71, 72, 73, 200] {
        assert_eq!(of_72.verify(&vec![b'x'; len]), len == 72, "{len}");
        assert_eq!(of_71.verify(&vec![b'x'; len]), len == 71, "{len}");
    }
    let argon2 = parse(KNOWN[0].0).expect("it is one");
    assert!(!argon2.verify(&[b'x'; 1025]));
    // Made of `a`, NUL, `b`: what some readers take for `a` is nobody's password.
    let nul = "$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHQ$\
        YH5LH3SREWBZAsD4qNs6v2A/bHNkccBelye31D3kZ3c";
    assert!(!parse(nul).expect("it is one").verify(b"a\0b"));
}

#[test]
fn costs_are_bounded() {
    let argon2 = |costs: &str| {
        let rest = "c29tZXNhbHQBAQEB$QrAbG0Z3K6Uk5yxIYgcVFyNCBJUI1NVNjK5c8x2u3Q8";
        parse(&format!("$argon2id$v=19${costs}${rest}")).map(|hash| hash.costs())
    };
    let costs = |memory_kib, time, lanes| Ok(Costs::Argon2id { memory_kib, time, lanes });
    assert_eq!(argon2("m=262144,t=16,p=16"), costs(262_144, 16, 16));
    assert_eq!(argon2("m=262145,t=1,p=1"), Err(Mistake::Memory));
    assert_eq!(argon2("m=15,t=1,p=2"), Err(Mistake::Memory));
    assert_eq!(argon2("m=64,t=17,p=1"), Err(Mistake::Time));
    assert_eq!(argon2("m=1024,t=1,p=17"), Err(Mistake::Lanes));
    let malformed =
        ["m=64,t=0,p=1", "m=64,t=1", "m=64,t=1,p=1,x=1", "t=1,m=64,p=1", "m=064,t=1,p=1"];
    for costs in malformed.into_iter().chain(["m=+64,t=1,p=1", "m=64,t=1,p=99999999999"]) {
        assert_eq!(argon2(costs), Err(Mistake::Malformed), "{costs}");
    }
    let bcrypt = |cost: &str| {
        let rest = "IajxyRXQd0lP98azcn6Jye2gPDJGiLkDrBLm1XVM.XSZ6l7sE0Eiy";
        parse(&format!("$2b${cost}${rest}")).map(|hash| hash.costs())
    };
    assert_eq!(bcrypt("15"), Ok(Costs::Bcrypt { cost: 15 }));
    assert_eq!(bcrypt("16"), Err(Mistake::Rounds));
    assert_eq!(bcrypt("03"), Err(Mistake::Rounds));
    assert_eq!(bcrypt("4"), Err(Mistake::Malformed));
    assert_eq!(bcrypt("+4"), Err(Mistake::Malformed));
}

#[test]
fn other_forms_are_refused_with_what_to_do() {
    let weak = ["{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=", "$apr1$r31.....$HqJZimcKQFAMYayBlzkrA/"];
    let weak = weak.into_iter().chain(["$1$salt$x", "$5$salt$x", "$6$salt$x", "rqXexS6ZhobKA"]);
    let weak = weak.chain(["secret", "$2x$05$abc", "$argon2i$v=19$m=64,t=1,p=1$c2FsdA$aGFzaA"]);
    for text in weak.chain(["$argon2id$v=16$m=64,t=1,p=1$c2FsdA$aGFzaA"]) {
        let why = parse(text).expect_err(text);
        assert!(matches!(why, Mistake::Weak(_)), "{text}: {why:?}");
        assert!(why.to_string().contains("htpasswd -B"), "{why}");
    }
    let argon2 = |rest: &str| parse(&format!("$argon2id$v=19$m=64,t=1,p=1${rest}")).map(drop);
    let digest = "QrAbG0Z3K6Uk5yxIYgcVFyNCBJUI1NVNjK5c8x2u3Q8";
    assert_eq!(argon2(&format!("c29tZXNhbHQ${digest}")), Ok(()));
    assert_eq!(argon2(&format!("c29tZXNhbA${digest}")), Err(Mistake::Salt));
    assert_eq!(argon2(&format!("c29tZXNhbHQ=${digest}")), Err(Mistake::Salt));
    assert_eq!(argon2("c29tZXNhbHQ$QrAbG0Z3K6Uk5yxIYgcV"), Err(Mistake::Digest));
    assert_eq!(argon2("c29tZXNhbHQ"), Err(Mistake::Malformed));
    assert_eq!(argon2(&format!("c29tZXNhbHQ${digest}$x")), Err(Mistake::Malformed));
    for text in ["", "$", "$2b$", "$2b$04$short", "$unknown$"] {
        assert_eq!(parse(text).map(drop), Err(Mistake::Malformed), "{text}");
    }
}

fn users(text: &str) -> Result<crate::auth::consumers::Consumers, String> {
    let mut builder = Builder::new(Words::new(1), 2, 0);
    htpasswd::read(text.as_bytes(), &mut builder).map_err(|mistakes| mistakes.to_string())?;
    Ok(builder.finish())
}

#[test]
fn an_htpasswd_file_has_users() {
    let (argon2, bcrypt) = (KNOWN[0].0, KNOWN[3].0);
    let text = format!("# users\r\nann:{bcrypt}\r\n\nbob:{argon2}\ncy:{bcrypt}");
    let store = users(&text).expect("no mistake");
    let (bob, hash) = store.basic(b"bob").expect("a user");
    assert_eq!(store.name(bob), b"bob");
    assert!(hash.verify(b"password") && !hash.verify(b"Password"));
    assert!(store.basic(b"dan").is_none() && store.basic(b"").is_none());
    assert_eq!(store.decoy().costs(), Costs::Bcrypt { cost: 4 }, "as most of the file");
    assert!(!format!("{store:?}").contains('$'));
}

#[test]
fn a_decoy_is_nobodys_password() {
    for hash in [PasswordHash::decoy(None), PasswordHash::decoy(Some(Costs::Bcrypt { cost: 4 }))] {
        assert!(!hash.verify(b"") && !hash.verify(b"password"));
    }
    let store = users("").expect("an empty file is one");
    let usual = Costs::Argon2id { memory_kib: 19 << 10, time: 2, lanes: 1 };
    assert_eq!(store.decoy().costs(), usual);
}

#[test]
fn mistakes_of_an_htpasswd_file_stand_with_their_places() {
    let bcrypt = KNOWN[3].0;
    let text = format!(
        "ann:{bcrypt}\nbob\nann:{bcrypt}\ncy:{{SHA}}W6ph5Mm5Pz8GgiULbPgzG37mj9g=\n:{bcrypt}\n\
         dü:$2b$16$IajxyRXQd0lP98azcn6Jye2gPDJGiLkDrBLm1XVM.XSZ6l7sE0Eiy\ned:secret\n"
    );
    let expect = "2:1: `name:hash` is expected\n\
        3:1: this name is another consumer's (line 1)\n\
        4:4: {SHA} hashes are quickly tried: use `htpasswd -B` or argon2id\n\
        5:1: a consumer needs a name\n\
        6:4: bcrypt's cost is 4 to 15\n\
        7:4: this is a plain password or crypt's old hash: use `htpasswd -B` or argon2id\n";
    assert_eq!(users(&text).map(drop), Err(expect.to_owned()));
    let many = "x\n".repeat(30);
    let all = users(&many).map(drop).expect_err("all are mistakes");
    assert!(all.ends_with("20:1: `name:hash` is expected\nand 10 more\n"), "{all}");
}

#[test]
fn costs_can_be_counted() {
    let mut costs = BTreeMap::new();
    for (hash, _) in KNOWN {
        *costs.entry(parse(hash).expect(hash).costs()).or_insert(0) += 1;
    }
    assert_eq!(costs[&Costs::Bcrypt { cost: 4 }], 3);
}
