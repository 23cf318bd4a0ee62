//! What makes sense, and what does not.

use super::*;

/// From YAML: generations as `number step[@key] name:id:last-byte-of-address ...`.
fn history(generations: &[&str]) -> EdgeMembershipSpec {
    let member = |text: &str| {
        let [name, id, address] = text.split(':').collect::<Vec<_>>()[..] else { panic!("{text}") };
        format!(
            r#"{{"name":"{name}","id":{id},"address":"198.51.100.{address}","weight":1,"state":"Active"}}"#
        )
    };
    let generation = |text: &&str| {
        let mut words = text.split(' ');
        let (number, step) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let (step, key) = step.split_once('@').map_or((step, None), |(step, key)| (step, Some(key)));
        let key = key.map(|key| format!(r#","flowKey":"{key}""#)).unwrap_or_default();
        let members: Vec<_> = words.map(member).collect();
        format!(r#"{{"number":{number},"step":"{step}"{key},"members":[{}]}}"#, members.join(","))
    };
    let generations: Vec<_> = generations.iter().map(generation).collect();
    let text = format!(r#"{{"spec":{{"lastId":9,"generations":[{}]}}}}"#, generations.join(","));
    serde_json::from_str::<crate::api::EdgeMembership>(&text).expect("JSON").spec
}

#[track_caller]
fn check(generations: &[&str], expected: Result<(), &str>) {
    let found =
        history(generations).check().map_err(|Nonsense { field, message }| format!("{field}: {message}"));
    assert_eq!(found, expected.map_err(str::to_owned));
}

#[test]
fn a_history_makes_sense_or_it_is_said_where_not() {
    check(&[], Ok(()));
    check(&["7 Settled a:1:1 b:2:2", "9 Switch a:1:1", "10 Learn a:1:1 b:2:3"], Ok(()));
    let number = "numbers rise from 1 to 9007199254740991 at most";
    for (generations, field, message) in [
        (&["0 Settled a:1:1"][..], "[0].number", format!("0: {number}")),
        (&["7 Settled a:1:1", "7 Switch a:1:1"], "[1].number", format!("7: {number}")),
        (&["9223372036854775807 Settled a:1:1"], "[0].number", format!("9223372036854775807: {number}")),
        (&["7 Settled"], "[0].members", "there are none".to_owned()),
        (
            &["7 Settled a:1:1 a:1:2"],
            "[0].members[1].name",
            "\"a\" is no name, or that of two members".to_owned(),
        ),
        (&["7 Settled a:0:1"], "[0].members[0].id", "0 is no id, or that of another member".to_owned()),
        (&["7 Settled a:1:1 b:1:2"], "[0].members[1].id", "1 is no id, or that of another member".to_owned()),
        (
            &["7 Settled a:1:1", "8 Switch b:1:2"],
            "[1].members[0].id",
            "1 is no id, or that of another member".to_owned(),
        ),
        (&["7 Settled a:1:1 b:2:1"], "[0].members[1].address", "two members have 198.51.100.1".to_owned()),
    ] {
        check(generations, Err(&format!("spec.generations{field}: {message}")));
    }
    for learned in [&["7 Learn a:1:1"][..], &["7 Settled a:1:1", "8 Learn a:1:1", "9 Switch a:1:1"]] {
        assert!(history(learned).check().is_err_and(|nonsense| nonsense.field.ends_with(".step")));
    }
    let many: Vec<_> = (1..10).map(|number| format!("{number} Switch a:1:1")).collect();
    let many: Vec<_> = many.iter().map(String::as_str).collect();
    check(&many, Err("spec.generations: there are more than 8"));
}

#[test]
fn two_keys_have_one_membership_between_them() {
    let (one, other) = ("0000000a", "0000000b");
    let of = |keys: &[(&str, &str)]| -> Vec<String> {
        let generation =
            |(at, (key, members)): (usize, &(&str, &str))| format!("{} Switch{key} {members}", at + 1);
        keys.iter().enumerate().map(generation).collect()
    };
    let [one, other, third] = [one, other, "0000000c"].map(|key| format!("@{key}"));
    let (two, three) = ("a:1:1 b:2:2", "a:1:1 b:2:2 c:3:3");
    for (keys, is_good) in [
        (&[(one.as_str(), two), (one.as_str(), three)][..], true),
        (&[(&one, two), (&other, two)], true),
        (&[("", two), (&other, three)], true),
        (&[(&one, two), ("", two), (&other, two), (&other, three)], true),
        (&[(&one, two), (&other, two), (&one, two)], true),
        (&[(&one, two), (&other, three)], false),
        (&[(&one, two), (&other, two), (&third, two)], false),
    ] {
        let generations = of(keys);
        let found = history(&generations.iter().map(String::as_str).collect::<Vec<_>>()).check();
        assert_eq!(found.is_ok(), is_good, "{generations:?}: {found:?}");
        assert!(found.is_ok() || found.is_err_and(|nonsense| nonsense.field.ends_with(".flowKey")));
    }
}

#[test]
fn a_generation_keeps_its_key() {
    let before = history(&["7 Settled@0000000a a:1:1"]);
    for (generation, is_good) in [
        ("7 Settled@0000000a a:1:1", true),
        ("7 Settled a:1:1", true),
        ("8 Switch@0000000b a:1:1", true),
        ("7 Settled@0000000b a:1:1", false),
    ] {
        let found = history(&[generation]).check_after(&before);
        assert_eq!(found.is_ok(), is_good, "{generation}: {found:?}");
    }
    assert_eq!(before.check_after(&history(&["7 Settled a:1:1"])), Ok(()));
}

#[test]
fn what_does_not_parse_is_nonsense_too() {
    for generation in [
        "7 Settled a:1:x",
        "7 Settled@key a:1:1",
        "7 Settled a:70000:1",
        "-7 Settled a:1:1",
        "7 Sometime a:1:1",
    ] {
        let found = history(&[generation]).check();
        assert!(found.is_err_and(|nonsense| nonsense.field == "spec"), "{generation}");
    }
}

#[test]
fn numbers_and_steps_only_rise() {
    let before = history(&["7 Settled a:1:1", "8 Switch a:1:1 b:2:2"]);
    for (generations, is_good) in [
        (&["7 Settled a:1:1", "8 Switch a:1:1 b:2:2"][..], true),
        (&["8 Settled a:1:1 b:2:2"], true),
        (&["8 Settled a:1:1 b:2:2", "9 Learn a:1:1"], true),
        (&["700 Switch a:1:1"], true),
        (&[], false),
        (&["7 Settled a:1:1"], false),
        (&["7 Settled a:1:1", "8 Learn a:1:1 b:2:2"], false),
        (&["8 Settled a:1:1 c:2:2"], false),
        (&["9007199254740991 Settled a:1:1"], false),
    ] {
        let found = history(generations).check_after(&before);
        assert_eq!(found.is_ok(), is_good, "{generations:?}: {found:?}");
    }
    assert_eq!(before.check_after(&EdgeMembershipSpec::default()), Ok(()));
}
