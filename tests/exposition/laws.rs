//! What holds for every page: print and parse are inverse, chunks change nothing, no bytes panic,
//! and the fast way agrees with the full one.

use flinkrelay::exposition::{Entry, Limits, NAN, fuzz_page, parse, split, value};
use proptest::prelude::*;

const METRIC: &str = "[a-zA-Z_:][a-zA-Z0-9_:]{0,40}";
const LABEL: &str = "[a-zA-Z_][a-zA-Z0-9_]{0,12}";

/// Anything, with more than their share of the characters that mean something in the format.
fn text() -> impl Strategy<Value = String> {
    let char = prop_oneof![
        3 => any::<char>(),
        2 => prop::sample::select(r##"\"{}=,# nN_:0"##.chars().collect::<Vec<_>>()),
        2 => "[a-z0-9]".prop_map(|text| text.chars().next().unwrap()),
    ];
    prop::collection::vec(char, 0..12).prop_map(|chars| chars.into_iter().collect())
}

fn number() -> impl Strategy<Value = f64> {
    prop_oneof![
        any::<f64>().prop_map(|number| if number.is_nan() { NAN } else { number }),
        any::<i32>().prop_map(f64::from),
        prop::sample::select(vec![
            0.0,
            -0.0,
            NAN,
            f64::INFINITY,
            f64::NEG_INFINITY,
            f64::MIN_POSITIVE
        ]),
    ]
}

/// What a sample means, apart from how it is written.
#[derive(Clone, Debug)]
struct Model {
    name: String,
    labels: Vec<(String, String)>,
    value: f64,
    timestamp_ms: Option<i64>,
}

fn model() -> impl Strategy<Value = Model> {
    let labels = prop::collection::btree_map(LABEL, text(), 0..20)
        .prop_map(|labels| labels.into_iter().filter(|(name, _)| name != "__name__").collect())
        .prop_flat_map(|labels: Vec<_>| Just(labels).prop_shuffle());
    (METRIC, labels, number(), prop::option::of(any::<i64>()))
        .prop_map(|(name, labels, value, timestamp_ms)| Model { name, labels, value, timestamp_ms })
}

/// Writes a model down; `choices` decides on blanks and on all else that the format leaves open.
fn print(model: &Model, choices: &[u8]) -> String {
    let mut choices = choices.iter().copied().cycle();
    let mut choose =
        move |texts: &[&'static str]| texts[usize::from(choices.next().unwrap()) % texts.len()];
    let optional = ["", "", " ", "\t", "  \t"];
    let blanks = [" ", "\t", "   ", "\t \t"];
    let mut line = format!("{}{}", choose(&optional), model.name);
    if !model.labels.is_empty() || choose(&["", "{"]) == "{" {
        line.extend([choose(&optional), "{", choose(&optional)]);
        for (index, (name, value)) in model.labels.iter().enumerate() {
            let last = index + 1 == model.labels.len();
            let value = value.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n");
            let separator = if last { choose(&["", ","]) } else { choose(&[",", ",", ",", " "]) };
            line.extend([name, choose(&optional), "=", choose(&optional), "\"", &value, "\""]);
            line.extend([choose(&optional), separator, choose(&optional)]);
        }
        line.extend(["}", choose(&optional)]);
    } else {
        line.push_str(choose(&blanks));
    }
    let value = model.value;
    line.push_str(&match choose(&["", "e", "?"]) {
        _ if value.is_nan() => choose(&["NaN", "nan", "NAN"]).to_owned(),
        _ if value.is_infinite() => {
            let word = choose(&["Inf", "inf", "INFINITY"]);
            format!("{}{word}", if value < 0.0 { "-" } else { choose(&["", "+"]) })
        }
        "e" => format!("{value:E}"),
        "?" => format!("{value:?}"),
        _ => format!("{value}"),
    });
    if let Some(timestamp_ms) = model.timestamp_ms {
        line.extend([choose(&blanks), &timestamp_ms.to_string()]);
    }
    line.push_str(choose(&optional));
    line
}

/// Lines of all kinds, most of them nearly right, ended in all ways.
fn page_text() -> impl Strategy<Value = Vec<u8>> {
    let choices = || prop::collection::vec(any::<u8>(), 1..40);
    let sample = (model(), choices()).prop_map(|(model, choices)| print(&model, &choices)).boxed();
    let damaged =
        (sample.clone(), any::<prop::sample::Index>(), text()).prop_map(|(line, at, text)| {
            let mut chars = line.chars().collect::<Vec<_>>();
            let at = at.index(chars.len());
            chars.splice(at..=at, text.chars());
            chars.into_iter().collect()
        });
    let line = prop_oneof![
        4 => sample,
        2 => damaged,
        1 => "# (HELP|TYPE|help) [a-z:9 ]{0,5}( gauge| counter|\\PC{0,6})",
        1 => "[ \t#]{0,3}",
        1 => "\\PC{0,30}",
    ];
    let line = prop_oneof![8 => line.prop_map(String::into_bytes), 1 => prop::collection::vec(any::<u8>(), 0..20)];
    let ended = (line, prop::sample::select(vec!["\n", "\n", "\r\n", ""]));
    prop::collection::vec(ended, 0..8).prop_map(|lines| {
        lines.into_iter().flat_map(|(line, end)| [line, end.into()].concat()).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn parse_undoes_print(model in model(), choices in prop::collection::vec(any::<u8>(), 1..60)) {
        let line = print(&model, &choices);
        let entry = parse(line.as_bytes(), &Limits::default());
        let Ok(Entry::Sample(sample)) = entry else {
            return Err(TestCaseError::fail(format!("{line:?}: {entry:?}")));
        };
        prop_assert_eq!(sample.name, &model.name);
        prop_assert_eq!(sample.labels().len(), model.labels.len());
        for ((name, value), (expect_name, expect_value)) in sample.labels().zip(&model.labels) {
            prop_assert_eq!((name, &*value), (&**expect_name, &**expect_value));
        }
        prop_assert_eq!(sample.value.to_bits(), model.value.to_bits());
        prop_assert_eq!(sample.timestamp_ms, model.timestamp_ms);

        // The fast way reads the same line alike, and with it any other value of the series.
        let found = split(line.as_bytes()).unwrap();
        prop_assert_eq!(found.series, sample.series);
        let (number, timestamp_ms) = value(found.rest).unwrap();
        prop_assert_eq!((number.to_bits(), timestamp_ms), (model.value.to_bits(), model.timestamp_ms));
        let next = [found.series, b" 42 7"].concat();
        let entry = parse(&next, &Limits::default());
        let next_is_read = matches!(&entry, Ok(Entry::Sample(next))
            if next.series == sample.series && next.value == 42.0 && next.timestamp_ms == Some(7));
        prop_assert!(next_is_read, "{:?}", entry);
    }

    #[test]
    fn the_laws_hold_on_nearly_right_pages(page in page_text()) {
        fuzz_page(&page);
    }

    #[test]
    fn the_laws_hold_on_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        fuzz_page(&bytes);
    }

    #[test]
    fn the_laws_hold_on_any_mix_of_the_formats_bytes(text in "[ab{}=\",\\\\ \t\r\n#01.eNn+-]{0,80}") {
        fuzz_page(text.as_bytes());
    }
}
