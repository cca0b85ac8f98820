//! Relabelling against the cases of Prometheus' own tests, and properties that hold for any rule.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "the lints spare test functions, not the functions they call"
)]

use flinkrelay::{
    labels::Labels,
    relabel::{RawRule, Rule, RuleError, apply},
};
use proptest::prelude::*;

/// A rule from `key=value` words; `~` in a value is a line break, `source_labels` are cut at commas.
fn raw(text: &str) -> RawRule {
    let mut raw = RawRule::default();
    for word in text.split_whitespace() {
        let (key, value) = word.split_once('=').expect("key=value");
        let value = value.replace('~', "\n");
        match key {
            "source" => raw.source_labels = Some(value.split(',').map(str::to_owned).collect()),
            "separator" => raw.separator = Some(value),
            "regex" => raw.regex = Some(value),
            "modulus" => raw.modulus = Some(value.parse().unwrap()),
            "target" => raw.target_label = Some(value),
            "replacement" => raw.replacement = Some(value),
            "action" => raw.action = Some(value),
            key => panic!("no key {key}"),
        }
    }
    raw
}

fn rule(text: &str) -> Rule {
    Rule::try_new(raw(text)).unwrap_or_else(|e| panic!("{text}: {e}"))
}

/// Labels from `name=value` words, `~` in a value is a line break.
fn labels(text: &str) -> Labels<'static> {
    text.split_whitespace()
        .map(|word| word.split_once('=').expect("name=value"))
        .map(|(name, value)| (name.to_owned(), value.replace('~', "\n")))
        .collect()
}

const DROPPED: &str = "(dropped)";

#[track_caller]
fn check(input: &str, rules: &[&str], expected: &str) {
    let rules: Vec<Rule> = rules.iter().map(|text| rule(text)).collect();
    let mut edited = labels(input);
    let kept = apply(&rules, &mut edited);
    assert_eq!(kept, expected != DROPPED, "kept?");
    if kept {
        edited.sort();
        let mut expected = labels(expected);
        expected.sort();
        assert_eq!(edited, expected);
    }
}

#[test]
fn replace() {
    check(
        "a=foo b=bar c=baz",
        &["source=a regex=f(.*) target=d replacement=ch${1}-ch${1}"],
        "a=foo b=bar c=baz d=choo-choo",
    );
    check(
        "a=foo b=bar c=baz",
        &[
            "source=a,b regex=f(.*);(.*)r target=a replacement=b${1}${2}m",
            "source=c,a regex=(b).*b(.*)ba(.*) target=d replacement=$1$2$2$3",
        ],
        "a=boobam b=bar c=baz d=boooom",
    );
    check("a=abc", &["source=a regex=.*(b).* target=d"], "a=abc d=b");
    check("a=boo", &["source=a regex=f target=b replacement=bar"], "a=boo");
    check("a=foo", &["source=a target=b"], "a=foo b=foo");
    check("a=foo", &["target=b replacement=const"], "a=foo b=const");
    check("a=foo b=bar", &["source=a,b,none separator=-- target=c"], "a=foo b=bar c=foo--bar--");
    check("a=foo b=bar", &["source=a,b separator= target=c"], "a=foo b=bar c=foobar");
    check("a=foo", &["action=RePlace source=a target=b"], "a=foo b=foo");
}

#[test]
fn an_empty_replacement_deletes() {
    check("a=foo f=baz", &["source=a regex=(f).* target=$1 replacement=$2"], "a=foo");
    check("a=foo b=bar", &["target=b replacement="], "a=foo");
    check("a=foo b=bar", &["source=none target=b"], "a=foo");
    check("a=foo b=bar", &["source=a regex=(.*)x target=b"], "a=foo b=bar");
    check("a=foo", &["source=none target=b"], "a=foo");
}

#[test]
fn a_target_template_that_gives_no_legal_name_skips_the_rule() {
    let regex = "regex=some-([^-]+)-([^,]+)";
    let go = |rest: &str, expected: &str| {
        check("a=some-name-value", &[&format!("source=a {regex} {rest}")], expected);
    };
    go("target=${1} replacement=${2}", "a=some-name-value name=value");
    go("target=${1} replacement=${3}", "a=some-name-value");
    go("target=${3} replacement=${1}", "a=some-name-value");
    check(
        "a=some-name-0",
        &[
            "source=a regex=some-([^-]+)-([^,]+) target=${3} replacement=${1}",
            "source=a regex=some-([^-]+)(-[^,]+) target=${2} replacement=${1}",
            "source=a regex=some-([^-]+)-([^,]+) target=${2} replacement=${1}",
        ],
        "a=some-name-0",
    );
    // Greedy: `$1x` is the group named `1x`, which there is not.
    check("a=b", &["source=a target=$1x replacement=v"], "a=b");
    check("a=b", &["source=a target=${1}x replacement=v"], "a=b bx=v");
    check("a=b", &["source=a target=b replacement=$1x"], "a=b");
}

#[test]
fn tags_of_a_service_become_labels() {
    check(
        "__meta_sd_tags=path:/secret,job:some-job,label:foo=bar",
        &[
            "source=__meta_sd_tags regex=(?:.+,|^)path:(/[^,]+).* replacement=${1} target=__metrics_path__",
            "source=__meta_sd_tags regex=(?:.+,|^)job:([^,]+).* replacement=${1} target=job",
            "source=__meta_sd_tags regex=(?:.+,|^)label:([^=]+)=([^,]+).* replacement=${2} target=${1}",
        ],
        "__meta_sd_tags=path:/secret,job:some-job,label:foo=bar __metrics_path__=/secret \
         job=some-job foo=bar",
    );
}

#[test]
fn keep_and_drop() {
    let drop = "action=drop source=a";
    check("a=foo", &["action=drop source=a regex=.*o.*", "source=a target=d"], DROPPED);
    check("a=foo b=bar", &["action=drop source=a regex=.*o.*"], DROPPED);
    check("a=foo", &["action=drop source=a regex=no-match"], "a=foo");
    check("a=foo", &["action=drop source=a regex=f|o"], "a=foo");
    check("a=foo", &["action=keep source=a regex=no-match"], DROPPED);
    check("a=foo", &["action=keep source=a regex=f.*"], "a=foo");
    check("a=foo", &[&format!("{drop} regex=")], "a=foo");
    check("b=foo", &[&format!("{drop} regex=")], DROPPED);
    // Without a regex everything matches.
    check("b=foo", &[drop], DROPPED);
    check("a=foo", &["action=keep"], "a=foo");
}

#[test]
fn keepequal_and_dropequal() {
    let input = "__tmp_port=1234 __port1=1234 __port2=5678";
    check(input, &["action=keepequal source=__tmp_port target=__port1"], input);
    check(input, &["action=keepequal source=__tmp_port target=__port2"], DROPPED);
    check(input, &["action=dropequal source=__tmp_port target=__port1"], DROPPED);
    check(input, &["action=dropequal source=__tmp_port target=__port2"], input);
    check("a=1", &["action=keepequal source=b target=c"], "a=1");
    check("a=1", &["action=dropequal source=b target=c"], DROPPED);
}

#[test]
fn hashmod() {
    check(
        "a=foo b=bar c=baz",
        &["action=hashmod source=c target=d modulus=1000"],
        "a=foo b=bar c=baz d=976",
    );
    check("a=foo~bar", &["action=hashmod source=a target=b modulus=1000"], "a=foo~bar b=734");
    // MD5 of nothing ends in e9800998ecf8427e.
    check(
        "a=foo",
        &["action=hashmod source=none target=b modulus=18446744073709551615"],
        "a=foo b=16825458760271544958",
    );
}

#[test]
fn labelmap() {
    check(
        "a=foo b1=bar b2=baz",
        &["action=labelmap regex=(b.*) replacement=bar_${1}"],
        "a=foo b1=bar b2=baz bar_b1=bar bar_b2=baz",
    );
    check(
        "a=foo __meta_my_bar=aaa __meta_my_baz=bbb __meta_other=ccc",
        &["action=labelmap regex=__meta_(my.*) replacement=${1}"],
        "a=foo __meta_my_bar=aaa __meta_my_baz=bbb __meta_other=ccc my_bar=aaa my_baz=bbb",
    );
    // Of two labels that get one name the later in order of names wins, wherever they stand.
    check("b_x=2 a_x=1", &["action=labelmap regex=._(x)"], "a_x=1 b_x=2 x=2");
    check("a_x=1 b_x=2", &["action=labelmap regex=._(x)"], "a_x=1 b_x=2 x=2");
    // A name that is not legal is not written.
    check("m_1=1", &["action=labelmap regex=m_(.)"], "m_1=1");
}

#[test]
fn labeldrop_and_labelkeep() {
    check("a=foo b1=bar b2=baz", &["action=labelkeep regex=(b.*)"], "b1=bar b2=baz");
    check("a=foo b1=bar b2=baz", &["action=labeldrop regex=(b.*)"], "a=foo");
    check(
        "__meta_port_name=foo __meta_metrics_port=9091",
        &[
            "action=labeldrop regex=^__meta_port_name$",
            "source=__meta_metrics_port regex=(.+) replacement=metrics target=__meta_port_name",
            "action=keep source=__meta_port_name regex=^metrics$",
        ],
        "__meta_metrics_port=9091 __meta_port_name=metrics",
    );
}

#[test]
fn upper_and_lower_case() {
    check(
        "foo=bAr123Foo",
        &["action=uppercase source=foo target=up", "action=lowercase source=foo target=low"],
        "foo=bAr123Foo up=BAR123FOO low=bar123foo",
    );
    check("a=x b=Y", &["action=lowercase source=a,b target=c"], "a=x b=Y c=x;y");
    check("a=x", &["action=lowercase source=none target=a"], "");
}

#[test]
fn a_dot_matches_line_breaks() {
    let named = "regex=(line1).*(?<second>line2)";
    check(
        "a=line1~line2",
        &["source=a regex=line1.*line2 target=d replacement=match${1}"],
        "a=line1~line2 d=match",
    );
    check(
        "a=line1~line2",
        &[
            &format!("source=a {named} target=label1_${{1}} replacement=val_${{second}}"),
            &format!("source=a {named} target=label2_$1 replacement=val_$second"),
        ],
        "a=line1~line2 label1_line1=val_line2 label2_line1=val_line2",
    );
}

#[test]
fn an_anchor_inside_the_pattern_does_no_harm() {
    check(
        "__name__=http_requests_total",
        &["source=__name__ regex=.*_total$ target=type replacement=counter"],
        "__name__=http_requests_total type=counter",
    );
}

#[track_caller]
fn refused(text: &str, field: &str, message: &str) {
    let error = Rule::try_new(raw(text)).expect_err(text);
    assert_eq!(error.field(), field, "{text}");
    assert_eq!(error.to_string(), message, "{text}");
}

#[test]
fn a_rule_that_prometheus_refuses_is_refused() {
    let check = refused;
    check(
        "action=replce",
        "action",
        "unknown relabel action `replce`, expected one of `replace`, `keep`, `drop`, `keepequal`, \
         `dropequal`, `hashmod`, `labelmap`, `labeldrop`, `labelkeep`, `lowercase`, `uppercase`",
    );
    check("source=a", "target_label", "relabel action replace requires a `target_label`");
    for action in ["lowercase", "uppercase", "keepequal", "dropequal", "replace"] {
        check(
            &format!("action={action} source=a target="),
            "target_label",
            &format!("relabel action {action} requires a `target_label`"),
        );
    }
    check(
        "action=hashmod target=a",
        "modulus",
        "relabel action hashmod requires a non-zero `modulus`",
    );
    check(
        "action=hashmod target=a modulus=0",
        "modulus",
        "relabel action hashmod requires a non-zero `modulus`",
    );
    check(
        "action=hashmod modulus=2",
        "target_label",
        "relabel action hashmod requires a `target_label`",
    );
    for action in ["lowercase", "uppercase", "hashmod", "keepequal", "dropequal"] {
        check(
            &format!("action={action} modulus=2 target=${{3}}"),
            "target_label",
            &format!("`${{3}}` is not a valid `target_label` for relabel action {action}"),
        );
    }
    check(
        "action=labelmap replacement=-$1",
        "replacement",
        "`-$1` is not a valid `replacement` for relabel action labelmap",
    );
    check("source=a-b target=c", "source_labels", "`a-b` is not a valid label name");
    check(
        "source=a target=b regex=(",
        "regex",
        "`(` is not a valid regular expression: unclosed group",
    );
}

#[test]
fn a_key_that_the_action_ignores_is_refused() {
    let check = refused;
    for action in ["lowercase", "uppercase"] {
        check(
            &format!("action={action} target=a replacement=x"),
            "replacement",
            &format!(
                "relabel action {action} takes no `replacement`, only `source_labels`, \
                 `separator` and `target_label`"
            ),
        );
    }
    for action in ["keepequal", "dropequal"] {
        for (key, field) in
            [("regex=(.*)", "regex"), ("modulus=3", "modulus"), ("separator=,", "separator")]
        {
            check(
                &format!("action={action} source=a target=b {key}"),
                field,
                &format!(
                    "relabel action {action} takes no `{field}`, only `source_labels` and \
                     `target_label`"
                ),
            );
        }
    }
    for action in ["labeldrop", "labelkeep"] {
        for (key, field) in [
            ("source=a", "source_labels"),
            ("target=b", "target_label"),
            ("modulus=3", "modulus"),
            ("separator=,", "separator"),
            ("replacement=x", "replacement"),
        ] {
            check(
                &format!("action={action} {key}"),
                field,
                &format!("relabel action {action} takes no `{field}`, only `regex`"),
            );
        }
    }
}

#[test]
fn keys_that_only_repeat_a_default_pass() {
    for text in [
        "action=keepequal source=a target=b separator=; replacement=$1 modulus=0",
        "action=labeldrop regex=x separator=; replacement=$1 modulus=0 target=",
        "action=lowercase source=a target=b replacement=$1",
    ] {
        assert!(Rule::try_new(raw(text)).is_ok(), "{text}");
    }
}

#[test]
fn templates_of_a_label_name() {
    for (target, valid) in [
        ("-label", false),
        ("label", true),
        ("label${1}", true),
        ("${1}label", true),
        ("${1}", true),
        ("${", false),
        ("$", false),
        ("${}", false),
        ("foo${", false),
        ("$1", true),
        ("asd$2asd", true),
        ("-foo${1}bar-", false),
        ("bar.foo${1}bar", false),
        ("_${1}_", true),
        ("foo${bar}foo", true),
        ("0${3}", false),
        ("utf-8.label", false),
        ("${1}0", true),
    ] {
        let result =
            Rule::try_new(RawRule { target_label: Some(target.to_owned()), ..RawRule::default() });
        match result {
            Ok(_) => assert!(valid, "{target} should be refused"),
            Err(error) => {
                assert!(!valid, "{target} should pass: {error}");
                assert!(matches!(error, RuleError::Target { .. }), "{target}: {error}");
            }
        }
    }
}

fn any_labels() -> impl Strategy<Value = Labels<'static>> {
    proptest::collection::vec(("[a-c_]{1,3}", "[a-c;\n日]{0,4}"), 0..6)
        .prop_map(|pairs| pairs.into_iter().collect())
}

fn any_regex() -> impl Strategy<Value = String> {
    proptest::collection::vec(
        prop_oneof![
            Just("a"),
            Just("b"),
            Just("."),
            Just("(.*)"),
            Just("[^a]*"),
            Just("|"),
            Just(r"\w")
        ],
        0..5,
    )
    .prop_map(|parts| parts.concat())
}

fn built(action: &str, regex: &str) -> Rule {
    let source_labels = matches!(action, "keep" | "drop").then(|| vec!["a".to_owned()]);
    Rule::try_new(RawRule {
        action: Some(action.to_owned()),
        regex: Some(regex.to_owned()),
        source_labels,
        ..RawRule::default()
    })
    .unwrap()
}

proptest! {
    #[test]
    fn keep_and_drop_are_opposites(input in any_labels(), regex in any_regex()) {
        let kept = apply(&[built("keep", &regex)], &mut input.clone());
        let not_dropped = apply(&[built("drop", &regex)], &mut input.clone());
        prop_assert_ne!(kept, not_dropped);
    }

    #[test]
    fn labelkeep_and_labeldrop_part_the_set(input in any_labels(), regex in any_regex()) {
        let (mut kept, mut rest) = (input.clone(), input.clone());
        prop_assert!(apply(&[built("labelkeep", &regex)], &mut kept));
        prop_assert!(apply(&[built("labeldrop", &regex)], &mut rest));
        prop_assert_eq!(kept.len() + rest.len(), input.len());
        for (name, value) in input.iter() {
            prop_assert_eq!(kept.get(name).xor(rest.get(name)), Some(value));
        }
    }

    #[test]
    fn the_default_rule_copies(input in any_labels()) {
        let mut copied = input.clone();
        prop_assert!(apply(&[rule("source=a target=zz")], &mut copied));
        prop_assert_eq!(copied.get("zz"), input.get("a"));
        copied.remove("zz");
        prop_assert_eq!(copied, input);
    }

    #[test]
    fn hashmod_stays_below_its_modulus(input in any_labels(), modulus in 1_u64..) {
        let text = format!("action=hashmod source=a,b target=zz modulus={modulus}");
        let mut hashed = input;
        prop_assert!(apply(&[rule(&text)], &mut hashed));
        prop_assert!(hashed.get("zz").unwrap().parse::<u64>().unwrap() < modulus);
    }

    #[test]
    fn keepequal_agrees_with_replace_and_dropequal(input in any_labels()) {
        let kept = apply(&[rule("action=keepequal source=a,b target=c")], &mut input.clone());
        let dropped = !apply(&[rule("action=dropequal source=a,b target=c")], &mut input.clone());
        let joined = format!(
            "{};{}",
            input.get("a").unwrap_or_default(),
            input.get("b").unwrap_or_default(),
        );
        prop_assert_eq!(kept, input.get("c").unwrap_or_default() == joined);
        prop_assert_eq!(kept, dropped);
    }

    #[test]
    fn names_and_values_stay_legal(
        input in any_labels(),
        regex in any_regex(),
        target in "[a$1{}]{1,5}",
        replacement in "\\PC{0,6}",
    ) {
        let raw = RawRule {
            source_labels: Some(vec!["a".to_owned()]),
            regex: Some(regex),
            target_label: Some(target),
            replacement: Some(replacement),
            ..RawRule::default()
        };
        if let Ok(rule) = Rule::try_new(raw) {
            let mut edited = input;
            prop_assert!(apply(&[rule], &mut edited));
            for (name, value) in edited.iter() {
                prop_assert!(flinkrelay::relabel::is_label_name(name), "{}", name);
                prop_assert!(!value.is_empty());
            }
        }
    }
}
