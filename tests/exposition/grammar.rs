//! The corners of the grammar, as tables of a line and what it says.

use flinkrelay::exposition::{
    Entry, Kind, Limits, NAN, Reason, SyntaxError, page, parse, skim, split,
};

/// A sample as `series | name | label=value;… | value | timestamp`, another entry in words.
fn show(line: &[u8]) -> String {
    match parse(line, &Limits::default()) {
        Ok(Entry::Blank) => "blank".to_owned(),
        Ok(Entry::Comment) => "comment".to_owned(),
        Ok(Entry::Help { name, text }) => format!("help {name} [{text}]"),
        Ok(Entry::Type { name, kind }) => format!("type {name} {kind}"),
        Ok(Entry::Sample(sample)) => {
            let labels = sample.labels().map(|(name, value)| format!("{name}={value};"));
            let labels: String = labels.collect();
            let timestamp = sample.timestamp_ms.map(|ms| format!(" @{ms}")).unwrap_or_default();
            let series = sample.series.escape_ascii();
            format!("{series} | {} | {labels} | {}{timestamp}", sample.name, sample.value)
        }
        Err(error) => error.to_string(),
    }
}

fn check(line: &str, expect: &str) {
    assert_eq!(show(line.as_bytes()), expect, "{line:?}");
}

fn refuse(line: impl AsRef<[u8]>, reason: Reason, column: usize) {
    let line = line.as_ref();
    let found = line.get(column - 1).copied();
    let expect = Err(SyntaxError { reason, column, found });
    assert_eq!(parse(line, &Limits::default()), expect, "{}", line.escape_ascii());
}

#[test]
fn lines_without_a_sample() {
    for line in ["", " ", "\t", " \t "] {
        check(line, "blank");
    }
    for line in [
        "#",
        "# ",
        " \t# indented",
        "#HELP a b",
        "#TYPE a gauge",
        "# HELP",
        "# TYPE",
        "# HELPFUL a b",
        "# TYPEa gauge",
        "# help a b",
        "# UNIT a seconds",
        "# EOF",
        "# a{b=\"c\"} 1",
        "## HELP a b",
        "# # HELP a b",
    ] {
        check(line, "comment");
    }
    assert_eq!(show(b"# any \xff bytes \0"), "comment");
}

#[test]
fn help() {
    check("# HELP a text", "help a [text]");
    check("# HELP a", "help a []");
    check("# HELP a ", "help a []");
    check("  #\t HELP \t a:b_1 \t text  with blanks ", "help a:b_1 [text  with blanks ]");
    check(r"# HELP a one\ntwo \\ three \d \", "help a [one\ntwo \\ three \\d \\]");
    check(r#"# HELP a "quoted" \"twice\""#, r#"help a ["quoted" \"twice\"]"#);
    check("# HELP a 日志 # not a comment", "help a [日志 # not a comment]");
    check("# HELP a nul \0 byte", "help a [nul \0 byte]");
    refuse("# HELP ", Reason::MetricName, 8);
    refuse("# HELP 1a text", Reason::MetricName, 8);
    refuse("# HELP {} text", Reason::MetricName, 8);
    refuse("# HELP a-b text", Reason::MetricNameEnd, 9);
    refuse("# HELP a{} text", Reason::MetricNameEnd, 9);
    refuse(b"# HELP a b\xffc", Reason::Utf8, 11);
    refuse(b"# HELP a\xff b", Reason::MetricNameEnd, 9);
}

#[test]
fn types() {
    for kind in [Kind::Counter, Kind::Gauge, Kind::Histogram, Kind::Summary, Kind::Untyped] {
        check(&format!("# TYPE a {kind}"), &format!("type a {kind}"));
    }
    check(" #\tTYPE \ta:b \t gauge\t ", "type a:b gauge");
    refuse("# TYPE ", Reason::MetricName, 8);
    refuse("# TYPE #", Reason::MetricName, 8);
    refuse("# TYPE a", Reason::Kind, 9);
    refuse("# TYPE a ", Reason::Kind, 10);
    refuse("# TYPE a Gauge", Reason::Kind, 10);
    refuse("# TYPE a unknown", Reason::Kind, 10);
    refuse("# TYPE a gauge gauge", Reason::Kind, 10);
    refuse("# TYPE a gauge\r", Reason::Kind, 10);
    refuse("# TYPE a.b gauge", Reason::MetricNameEnd, 9);
    refuse(b"# TYPE a \xff", Reason::Kind, 10);
}

#[test]
fn samples_without_labels() {
    check("a 1", "a | a |  | 1");
    check("a\t1", "a | a |  | 1");
    check(" \ta  \t 1 \t", "a | a |  | 1");
    check("_:a:B9 -2.5e3", "_:a:B9 | _:a:B9 |  | -2500");
    check(": 1", ": | : |  | 1");
    check("a NaN", "a | a |  | NaN");
    check("a +Inf 1395066363000", "a | a |  | inf @1395066363000");
    check("a -Inf -1 ", "a | a |  | -inf @-1");
    let long = "a_metric_name:longer_than:two_blocks_of_sixteen_bytes1234567890";
    check(&format!("{long} 3"), &format!("{long} | {long} |  | 3"));
    refuse("a", Reason::ValueMissing, 2);
    refuse("a ", Reason::ValueMissing, 3);
    refuse("1a 1", Reason::MetricName, 1);
    refuse("-a 1", Reason::MetricName, 1);
    refuse("é 1", Reason::MetricName, 1);
    refuse("<html>", Reason::MetricName, 1);
    refuse("{} 1", Reason::MetricName, 1);
    refuse("{\"a.b\"} 1", Reason::MetricName, 1);
    refuse("\0a 1", Reason::MetricName, 1);
    refuse("a.b 1", Reason::MetricNameEnd, 2);
    refuse("a-b 1", Reason::MetricNameEnd, 2);
    refuse("a_metric_name_of_31_bytes_is_bad! 1", Reason::MetricNameEnd, 33);
    // Prometheus reads `foo` and 1 here, and `foo`, .5 and a timestamp.
    refuse("foo+1", Reason::MetricNameEnd, 4);
    refuse("foo.5 7", Reason::MetricNameEnd, 4);
    refuse("a true", Reason::ValueNumber, 3);
    refuse("a 1_000", Reason::ValueNumber, 3);
    refuse("a 0x1p4", Reason::ValueNumber, 3);
    refuse("a 1e400", Reason::ValueRange, 3);
    refuse("a 1 1.5", Reason::Timestamp, 5);
    refuse("a 1 2 3", Reason::TrailingText, 7);
    refuse("a 1\r", Reason::ValueNumber, 3);
    refuse("a\r 1", Reason::MetricNameEnd, 2);
    refuse(b"a 1 \xff", Reason::Utf8, 5);
}

#[test]
fn samples_with_labels() {
    check("a{} 1", "a{} | a |  | 1");
    check("a { } 1", "a { } | a |  | 1");
    check("a\t{\t}\t1", "a\\t{\\t} | a |  | 1");
    check(r#"a{b="c"} 1"#, r#"a{b=\"c\"} | a | b=c; | 1"#);
    check(r#"a{b="c"}1 2"#, r#"a{b=\"c\"} | a | b=c; | 1 @2"#);
    check(r#"a{b="c",} 1"#, r#"a{b=\"c\",} | a | b=c; | 1"#);
    check(r#"  a{b="",c="d"} 1"#, r#"a{b=\"\",c=\"d\"} | a | b=;c=d; | 1"#);
    check(
        "a { b = \"c\" ,\td\t=\t\"e\" , } 1",
        "a { b = \\\"c\\\" ,\\td\\t=\\t\\\"e\\\" , } | a | b=c;d=e; | 1",
    );
    // Prometheus lets the comma be missing.
    check(r#"a{b="c" d="e"} 1"#, r#"a{b=\"c\" d=\"e\"} | a | b=c;d=e; | 1"#);
    check(r#"a{b="c"d="e"} 1"#, r#"a{b=\"c\"d=\"e\"} | a | b=c;d=e; | 1"#);
    check(r#"a{_B9="c",__x="d"} 1"#, r#"a{_B9=\"c\",__x=\"d\"} | a | _B9=c;__x=d; | 1"#);
    check(r#"a{job="j",le="+Inf"} 1"#, r#"a{job=\"j\",le=\"+Inf\"} | a | job=j;le=+Inf; | 1"#);
}

#[test]
fn hostile_label_values() {
    let check = |text: &str, expect: &str| {
        let line = format!("a{{b=\"{text}\",c=\"d\"}} 1");
        let Ok(Entry::Sample(sample)) = parse(line.as_bytes(), &Limits::default()) else {
            panic!("{line}");
        };
        let labels = sample.labels().map(|(name, value)| (name, value.into_owned()));
        let labels = labels.collect::<Vec<_>>();
        assert_eq!(labels, [("b", expect.to_owned()), ("c", "d".to_owned())], "{line}");
        assert_eq!(split(line.as_bytes()).unwrap().series, sample.series, "{line}");
    };
    check("} 2", "} 2");
    check("{x=y}", "{x=y}");
    check("# HELP", "# HELP");
    check(" a , b ", " a , b ");
    check("=,=", "=,=");
    check(r#"\""#, "\"");
    check(r#"\"} 5 \"c\"=\""#, "\"} 5 \"c\"=\"");
    check(r"\\", r"\");
    check(r"\\\\", r"\\");
    check(r"\n", "\n");
    check(r"\\n", r"\n");
    check(r"\t\d\日", r"\t\d\日");
    check("日志 \u{1f600}\u{0}\u{7f}\r\t", "日志 \u{1f600}\u{0}\u{7f}\r\t");
}

#[test]
fn bad_labels() {
    refuse(r#"a{b="c""#, Reason::LabelName, 8);
    refuse(r#"a{b="c",,} 1"#, Reason::LabelName, 9);
    refuse(r#"a{,} 1"#, Reason::LabelName, 3);
    refuse(r#"a{,b="c"} 1"#, Reason::LabelName, 3);
    refuse(r#"a{1b="c"} 1"#, Reason::LabelName, 3);
    refuse(r#"a{="c"} 1"#, Reason::LabelName, 3);
    refuse(r#"a{"b"="c"} 1"#, Reason::LabelName, 3);
    refuse(r#"a{b:c="d"} 1"#, Reason::LabelEquals, 4);
    refuse("a{b} 1", Reason::LabelEquals, 4);
    refuse("a{b", Reason::LabelEquals, 4);
    refuse("a{b=c} 1", Reason::LabelQuote, 5);
    refuse("a{b='c'} 1", Reason::LabelQuote, 5);
    refuse("a{b=", Reason::LabelQuote, 5);
    refuse("a{", Reason::LabelName, 3);
    refuse(r#"a{b="c} 1"#, Reason::LabelUnterminated, 5);
    refuse(r#"a{b="c\"} 1"#, Reason::LabelUnterminated, 5);
    refuse(r#"a{b="c\"#, Reason::LabelUnterminated, 5);
    refuse(r#"a{b="c"}"#, Reason::ValueMissing, 9);
    refuse(r#"a{b="c"} {d="e"} 1"#, Reason::ValueNumber, 10);
    refuse(r#"a{b="c"}{d="e"} 1"#, Reason::ValueNumber, 9);
    refuse(r#"a{b="c"} } 1"#, Reason::ValueNumber, 10);
    refuse(r#"a{b="c"} 1 # {x="y"} 1"#, Reason::Timestamp, 12);
    refuse(b"a{b=\"\xff\"} 1", Reason::Utf8, 6);
    refuse(b"a{b=\"\xed\xa0\x80\"} 1", Reason::Utf8, 6);
    refuse(b"a{\xff=\"b\"} 1", Reason::Utf8, 3);
}

#[test]
fn a_label_name_stands_once() {
    refuse(r#"a{b="1",b="1"} 1"#, Reason::LabelDuplicate, 9);
    refuse(r#"a{b="1",c="2", b="3"} 1"#, Reason::LabelDuplicate, 16);
    refuse(r#"a{b="",b=""} 1"#, Reason::LabelDuplicate, 8);
    refuse(r#"a{__name__="b"} 1"#, Reason::LabelDuplicate, 3);
    check(r#"a{b="1",B="2",bb="3"} 1"#, r#"a{b=\"1\",B=\"2\",bb=\"3\"} | a | b=1;B=2;bb=3; | 1"#);
    // Beyond the labels that a sample holds in place.
    let pairs = (0..40).map(|n| format!("label_{n}=\"{n}\",")).collect::<String>();
    let good = format!("a{{{pairs}}} 1");
    assert!(matches!(parse(good.as_bytes(), &Limits::default()),
        Ok(Entry::Sample(sample)) if sample.labels().len() == 40
            && sample.labels().enumerate().all(|(n, (name, value))|
                name == format!("label_{n}") && value == n.to_string())));
    let start = format!("a{{{pairs}");
    refuse(format!("{start}label_39=\"\"}} 1"), Reason::LabelDuplicate, start.len() + 1);
    refuse(format!("{start}label_0=\"\"}} 1"), Reason::LabelDuplicate, start.len() + 1);
}

#[test]
fn limits() {
    let limits = Limits { line_bytes_max: 20, labels_max: 2, page_bytes_max: 60 };
    let check = |line: &str, expect: Result<(), (Reason, usize)>| {
        let seen = parse(line.as_bytes(), &limits).map(drop);
        assert_eq!(seen.map_err(|error| (error.reason, error.column)), expect, "{line}");
    };
    check(r#"a{b="1",c="2"} 12345"#, Ok(()));
    check(r#"a{b="1",c="2"} 123456"#, Err((Reason::LineTooLong, 21)));
    check(r#"a{b="",c="",d=""} 1"#, Err((Reason::LabelsTooMany, 13)));
    check(r#"a{b="",c="",} 1"#, Ok(()));
    assert!(page(&[b'\n'; 60], &limits).is_ok());
    let error = page(&[b'\n'; 61], &limits).unwrap_err();
    assert_eq!(error.to_string(), "the page is larger than the limit of 60 bytes");
}

#[test]
fn nan_has_one_pattern_of_bits() {
    for text in ["NaN", "nan", "NAN", "nAN"] {
        let line = format!("a {text}");
        let Ok(Entry::Sample(sample)) = parse(line.as_bytes(), &Limits::default()) else {
            panic!("{line}");
        };
        assert_eq!(sample.value.to_bits(), NAN.to_bits());
        assert_ne!(sample.value.to_bits(), 0x7ff0_0000_0000_0002);
    }
}

#[test]
fn a_bad_line_costs_no_other_line() {
    let text = b"# TYPE a gauge\r\na 1\nb{c=\"d\"\n\n\tb 2 \na{b=\"\xe9\"} 1\nc 3";
    let page = page(text, &Limits::default()).unwrap();
    let names = page.samples().map(|sample| sample.name).collect::<Vec<_>>();
    assert_eq!(names, ["a", "b", "c"]);
    let numbers = page.entries.iter().map(|(number, _)| *number).collect::<Vec<_>>();
    assert_eq!(numbers, [1, 2, 4, 5, 7]);
    let faults = page.faults.iter().map(|fault| format!("@{} {fault}", fault.offset));
    assert_eq!(
        faults.collect::<Vec<_>>(),
        [
            "@27 line 3, column 8: expected a label name or `}`, found the end of the line",
            "@40 line 6, column 6: not UTF-8, found byte 0xe9",
        ]
    );
}

#[test]
fn skim_finds_what_comments_of_reporters_are_about() {
    let check = |line: &str, expect: Option<(&str, Option<Kind>)>| {
        let skimmed = skim(line.as_bytes()).map(|found| (found.family, found.kind));
        assert_eq!(skimmed, expect.map(|(family, kind)| (family.as_bytes(), kind)), "{line:?}");
    };
    check("# HELP a b c", Some(("a", None)));
    check("# HELP a", Some(("a", None)));
    check("# HELP a\tb", Some(("a", None)));
    for kind in [Kind::Counter, Kind::Gauge, Kind::Histogram, Kind::Summary, Kind::Untyped] {
        check(&format!("# TYPE a:b {kind}"), Some(("a:b", Some(kind))));
        check(&format!("# TYPE a\t{kind} "), Some(("a", Some(kind))));
    }
    // Those are parsed each time.
    let others =
        ["# TYPE a  gauge", "# HELP  a b", "#  HELP a b", " # HELP a b", "# HELP ", "# TYPE a"];
    others.into_iter().chain(["", "#", "# a comment", "a 1"]).for_each(|line| check(line, None));
}

#[test]
fn split_takes_the_last_brace_or_the_first_blank() {
    let check = |line: &str, expect: Option<(&str, &str)>| {
        let halves = split(line.as_bytes()).map(|found| (found.series, found.rest));
        assert_eq!(halves, expect.map(|(a, b)| (a.as_bytes(), b.as_bytes())), "{line:?}");
    };
    check("a 1", Some(("a", " 1")));
    check(" \ta\t1 2", Some(("a", "\t1 2")));
    check("a{b=\"} {\"} 1", Some(("a{b=\"} {\"}", " 1")));
    check("a { } 1", Some(("a { }", " 1")));
    check("a{}1", Some(("a{}", "1")));
    check("a", None);
    check("", None);
    check(" ", None);
}
