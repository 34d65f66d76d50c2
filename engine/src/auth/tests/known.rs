//! The store of consumers.

use crate::auth::consumers::{
    Builder, CONSUMERS_MAX, GROUPS_MAX, Mistake, NAME_BYTES_MAX, has_all, has_any,
};
use crate::auth::hash;
use crate::auth::keys::{KEY_BYTES_MAX, digest_of};
use crate::auth::texts::Words;
use crate::ids::{ConsumerId, PlanId, WordId};

fn builder() -> Builder {
    Builder::new(Words::new(1), 2, 0)
}

fn add(builder: &mut Builder, name: &str) -> Result<ConsumerId, Mistake> {
    builder.add(name.as_bytes(), [], [], None)
}

#[test]
fn consumers_are_found_by_key_and_name_with_what_belongs_to_them() {
    let mut words = Words::new(1);
    let admin = words.intern(b"admin").expect("there is room");
    let mut builder = Builder::new(words, 2, 0);
    let groups: [&[u8]; 3] = [b"staff", b"admin", b"staff"];
    let acme = builder.add(b"acme", groups, [&b"orders:read"[..]], Some(PlanId(3)));
    let acme = acme.expect("no mistake");
    let beta = builder.add(b"beta", [&b"staff"[..]], [], None).expect("no mistake");
    builder.add_key(acme, digest_of(b"key one")).expect("no mistake");
    builder.add_key(acme, digest_of(b"key two")).expect("no mistake");
    builder.add_key(beta, digest_of(b"key three")).expect("no mistake");
    let store = builder.finish();
    assert_eq!(store.by_key(b"key one"), Some(acme));
    assert_eq!(store.by_key(b"key two"), Some(acme));
    assert_eq!(store.by_key(b"key three"), Some(beta));
    for key in [&b""[..], b"key", b"key one ", &digest_of(b"key one")] {
        assert_eq!(store.by_key(key), None);
    }
    assert_eq!(store.by_key(&vec![b'x'; KEY_BYTES_MAX + 1]), None);
    assert_eq!(store.by_name(b"acme"), Some(acme));
    assert_eq!(store.by_name(b"Acme"), None);
    assert_eq!(store.name(beta), b"beta");
    assert_eq!((store.plan(acme), store.plan(beta)), (Some(PlanId(3)), None));
    let staff = store.words().id(b"staff").expect("a group");
    assert_eq!(store.groups(acme), [admin, staff]);
    assert_eq!(store.groups(beta), [staff]);
    assert_eq!(store.scopes(beta), []);
    assert_eq!(store.words().text(store.scopes(acme)[0]), b"orders:read");
    assert!(has_any(store.groups(acme), &[WordId(9), staff]));
    assert!(!has_any(store.groups(beta), &[admin]) && !has_any(store.groups(beta), &[]));
    assert!(has_all(store.groups(acme), &[admin, staff]) && has_all(store.groups(beta), &[]));
    assert!(!has_all(store.groups(beta), &[admin, staff]));
    assert_eq!(format!("{store:?}"), "Consumers(2 with 3 keys, 0 passwords)");
}

#[test]
fn mistakes_leave_nothing_behind() {
    let mut builder = builder();
    let first = add(&mut builder, "first").expect("no mistake");
    assert_eq!(add(&mut builder, "first"), Err(Mistake::NameTwice(first)));
    assert_eq!(add(&mut builder, ""), Err(Mistake::NoName));
    assert_eq!(add(&mut builder, " x"), Err(Mistake::BadName));
    assert_eq!(add(&mut builder, "x "), Err(Mistake::BadName));
    assert_eq!(add(&mut builder, "x\ny"), Err(Mistake::BadName));
    assert!(add(&mut builder, &"x".repeat(NAME_BYTES_MAX)).is_ok());
    assert_eq!(add(&mut builder, &"y".repeat(NAME_BYTES_MAX + 1)), Err(Mistake::LongName));
    for word in ["", "a b", "a\"b", "a\\b", "a\nb", &"x".repeat(129)] {
        let found = builder.add(b"word", [word.as_bytes()], [], None);
        assert_eq!(found, Err(Mistake::BadWord), "{word}");
        let found = builder.add(b"word", [], [word.as_bytes()], None);
        assert_eq!(found, Err(Mistake::BadWord), "{word}");
    }
    let many: Vec<String> = (0..=GROUPS_MAX).map(|i| format!("g{i}")).collect();
    let groups = |count: usize| many[..count].iter().map(|g| g.as_bytes());
    let found = builder.add(b"many", groups(GROUPS_MAX + 1), [], None);
    assert_eq!(found, Err(Mistake::ManyOfOne));
    assert!(builder.add(b"many", groups(GROUPS_MAX), [], None).is_ok());
    assert!(add(&mut builder, "word").is_ok(), "the name is still free");

    let second = add(&mut builder, "second").expect("no mistake");
    builder.add_key(first, digest_of(b"k")).expect("no mistake");
    assert_eq!(builder.add_key(second, digest_of(b"k")), Err(Mistake::KeyTwice(first)));
    assert_eq!(builder.add_key(first, digest_of(b"k")), Err(Mistake::KeyTwice(first)));
    let bcrypt = b"$2b$04$IajxyRXQd0lP98azcn6Jye2gPDJGiLkDrBLm1XVM.XSZ6l7sE0Eiy";
    builder.set_basic(second, bcrypt).expect("no mistake");
    assert_eq!(builder.set_basic(second, bcrypt), Err(Mistake::BasicTwice));
    let found = builder.set_basic(first, b"{SHA}x");
    assert!(matches!(found, Err(Mistake::Hash(hash::Mistake::Weak(_)))), "{found:?}");
    let colon = add(&mut builder, "a:b").expect("a name may have a colon");
    assert_eq!(builder.set_basic(colon, bcrypt), Err(Mistake::ColonInUser));
    let store = builder.finish();
    assert_eq!(store.by_key(b"k"), Some(first));
    assert_eq!(store.basic_text(second), Some(&bcrypt[..]));
    assert_eq!((store.basic_text(first), store.basic_text(colon)), (None, None));
}

#[test]
fn a_store_of_many_takes_little_memory() {
    const COUNT: u32 = 100_000;
    assert!(COUNT as usize <= CONSUMERS_MAX);
    let mut builder = Builder::new(Words::new(1), 2, COUNT as usize);
    for i in 0..COUNT {
        let name = format!("consumer-{i}");
        let group = format!("group-{}", i % 10);
        let added = builder.add(name.as_bytes(), [group.as_bytes()], [], None);
        builder
            .add_key(added.expect("no mistake"), digest_of(&i.to_le_bytes()))
            .expect("it is new");
    }
    let store = builder.finish();
    for i in (0..COUNT).step_by(997) {
        assert_eq!(store.by_key(&i.to_le_bytes()), Some(ConsumerId(i)));
        assert_eq!(store.by_name(format!("consumer-{i}").as_bytes()), Some(ConsumerId(i)));
    }
    assert_eq!(store.by_key(&COUNT.to_le_bytes()), None);
    let each = store.bytes_used() as f64 / f64::from(COUNT);
    assert!(each < 100.0, "{each} bytes for one");
}
