//! A metric's name in the notation of `catalogue.yaml`, and what follows from it: the names it is
//! exported under, the name that Flink's HELP shows, and its canonical name.
//!
//! ```text
//!   name    = piece, { piece }
//!   piece   = text
//!           | "<", segment, ">"                        a part that varies
//!           | "{", key, "}"                            the key of a key-value group
//!           | "(", text, "|", label, "=", value, ")"   fixed text that tells metrics of one name apart
//!           | "[", text, "]"                           fixed text whose dots are the metric's own
//! ```
//!
//! In the canonical name only text stays, and a segment that is no dimension (the name that a library
//! gives its metric); everything else leaves it and is a label.

use std::collections::BTreeMap;

use super::file::{Matches, Varying};

/// One exported name as text and varying parts, see [`Spelling::parts`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// Fixed text, not empty.
    Text(String),
    /// A part that varies.
    Free(Matches),
}

/// A piece of a name, as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// Fixed text; a dot in it may be the border of a group.
    Text(String),
    /// Fixed text that is the metric's own, dots included.
    Own(String),
    /// The key of a key-value group.
    Key(String),
    /// Fixed text that is a label in canonical names.
    Word {
        /// The text.
        text: String,
        /// The label's name.
        label: String,
        /// The label's value.
        value: String,
    },
    /// A part that varies.
    Free {
        /// Its name.
        segment: String,
        /// What it may be.
        matches: Matches,
        /// The label it is in canonical names; `None` when it stays in the name.
        label: Option<String>,
    },
}

/// A name in the file's notation, taken apart; never empty.
#[derive(Clone, Debug)]
pub(super) struct Spelling {
    pieces: Vec<Piece>,
}

impl Spelling {
    /// Takes a name apart.
    ///
    /// # Errors
    /// What is wrong with the notation, or with what it describes.
    pub(super) fn parse(name: &str, segments: &BTreeMap<String, Varying>) -> Result<Self, String> {
        let (mut pieces, mut rest) = (Vec::new(), name);
        while let Some(first) = rest.chars().next() {
            let (piece, behind) = match first {
                '<' => {
                    let (segment, behind) = word(rest, '>')?;
                    (free(segment, segments)?, behind)
                }
                '{' => {
                    let (key, behind) = word(rest, '}')?;
                    (Piece::Key(key.to_owned()), behind)
                }
                '(' => {
                    let (inside, behind) = enclosed(rest, ')')?;
                    (telling(inside)?, behind)
                }
                '[' => {
                    let (own, behind) = enclosed(rest, ']')?;
                    (Piece::Own(own.to_owned()), behind)
                }
                _ => {
                    let end = rest.find(['<', '{', '(', '[']).unwrap_or(rest.len());
                    let (text, behind) = rest.split_at(end);
                    (Piece::Text(text.to_owned()), behind)
                }
            };
            check_neighbours(pieces.last(), &piece)?;
            pieces.push(piece);
            rest = behind;
        }
        if pieces.is_empty() { Err("is empty".to_owned()) } else { Ok(Self { pieces }) }
    }

    /// The pieces in their order.
    pub(super) fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    /// The varying parts in their order: segment and label.
    pub(super) fn varying(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Free { segment, label, .. } => Some((segment.as_str(), label.as_deref())),
            _ => None,
        })
    }

    /// The keys of its key-value groups.
    pub(super) fn keys(&self) -> impl Iterator<Item = &str> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Key(key) => Some(key.as_str()),
            _ => None,
        })
    }

    /// The name as Flink has it: `Network.Input.<gate>.totalQueueLen`.
    pub(super) fn as_in_flink(&self) -> String {
        let mut name = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Key(key) => name.extend(["{", key, "}"]),
                Piece::Free { segment, .. } => name.extend(["<", segment, ">"]),
                Piece::Text(text) | Piece::Own(text) | Piece::Word { text, .. } => {
                    name.push_str(text);
                }
            }
        }
        name
    }

    /// The name as the reporter writes it below the scope: `Network_Input_<gate>_totalQueueLen`.
    pub(super) fn exported(&self) -> String {
        let mut name = String::new();
        for piece in &self.pieces {
            match piece.text() {
                Ok(text) => name.push_str(&sanitised(text)),
                Err(segment) => name.extend(["<", segment, ">"]),
            }
        }
        name
    }

    /// The exported name with `prefix` before it, as text and varying parts; no two texts in a row,
    /// and the first part is text.
    pub(super) fn parts(&self, prefix: String) -> Vec<Part> {
        merged(&self.pieces, prefix, sanitised)
    }

    /// What HELP may show as the metric's own name: all, or what stands behind a dot that may be the
    /// border of a group, but never the key of a group or a segment that is a group. Unsanitised.
    pub(super) fn own_names(&self) -> Vec<Vec<Part>> {
        let whole = std::iter::once((String::new(), self.pieces.as_slice()));
        let behind_dots = self.pieces.iter().enumerate().flat_map(|(at, piece)| {
            let text = if let Piece::Text(text) = piece { text.as_str() } else { "" };
            let rest = self.pieces.get(at + 1..).unwrap_or_default();
            let behind = move |dot: usize| text.get(dot + 1..).unwrap_or_default().to_owned();
            text.match_indices('.').map(move |(dot, _)| (behind(dot), rest))
        });
        let own = whole.chain(behind_dots).filter(|(_, pieces)| !holds_a_group(pieces));
        let mut names: Vec<_> =
            own.map(|(front, pieces)| merged(pieces, front, str::to_owned)).collect();
        names.retain(|name| !name.is_empty());
        names
    }

    /// What stays of the name in its canonical form, as text and segments that are no dimension.
    pub(super) fn staying(&self) -> Vec<Staying> {
        let mut staying: Vec<Staying> = Vec::new();
        let mut gap = true;
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) | Piece::Own(text) => {
                    let text = sanitised(text);
                    // Where a piece left, one of the separators around it leaves with it.
                    let (joint, open) = match staying.last() {
                        Some(Staying::Text(last)) => (gap, last.ends_with('_')),
                        Some(Staying::Segment(_)) => (gap, false),
                        None => (true, true),
                    };
                    let text = match text.strip_prefix('_') {
                        Some(rest) if joint && open => rest,
                        _ => text.as_str(),
                    };
                    match staying.last_mut() {
                        Some(Staying::Text(last)) => last.push_str(text),
                        _ => staying.push(Staying::Text(text.to_owned())),
                    }
                    gap = false;
                }
                Piece::Free { segment, label: None, .. } => {
                    staying.push(Staying::Segment(segment.clone()));
                    gap = false;
                }
                Piece::Free { .. } | Piece::Key(_) | Piece::Word { .. } => gap = true,
            }
        }
        if let Some(Staying::Text(last)) = staying.last_mut()
            && gap
            && last.ends_with('_')
        {
            last.pop();
        }
        staying
    }
}

/// A piece of a canonical name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Staying {
    /// Fixed text.
    Text(String),
    /// A varying part that is no dimension.
    Segment(String),
}

impl Piece {
    /// Its text on a page, or the segment that it is.
    fn text(&self) -> Result<&str, &str> {
        match self {
            Self::Text(text) | Self::Own(text) | Self::Key(text) | Self::Word { text, .. } => {
                Ok(text)
            }
            Self::Free { segment, .. } => Err(segment),
        }
    }
}

/// Text as the reporter writes it (`AbstractPrometheusReporter.CHARACTER_FILTER`).
pub(super) fn sanitised(text: &str) -> String {
    let sanitise = |c: char| if c.is_ascii_alphanumeric() || c == ':' { c } else { '_' };
    text.chars().map(sanitise).collect()
}

/// Pieces as text and varying parts, with `prefix` before them.
fn merged(pieces: &[Piece], prefix: String, write: impl Fn(&str) -> String) -> Vec<Part> {
    let mut parts = if prefix.is_empty() { Vec::new() } else { vec![Part::Text(prefix)] };
    for piece in pieces {
        match (piece, parts.last_mut()) {
            (Piece::Free { matches, .. }, _) => parts.push(Part::Free(*matches)),
            (piece, Some(Part::Text(last))) => last.push_str(&write(piece.text().unwrap_or(""))),
            (piece, _) => parts.push(Part::Text(write(piece.text().unwrap_or("")))),
        }
    }
    parts
}

/// Whether one of the pieces is the name of a group, whatever the dots are.
fn holds_a_group(pieces: &[Piece]) -> bool {
    let next = pieces.iter().skip(1).map(Some).chain([None]);
    pieces.iter().zip(next).any(|(piece, next)| match (piece, next) {
        (Piece::Key(_), _) => true,
        (Piece::Free { .. }, Some(Piece::Text(text))) => text.starts_with('.'),
        _ => false,
    })
}

fn free(segment: &str, segments: &BTreeMap<String, Varying>) -> Result<Piece, String> {
    let varying =
        segments.get(segment).ok_or_else(|| format!("<{segment}> is not under `segments`"))?;
    Ok(Piece::Free {
        segment: segment.to_owned(),
        matches: varying.matches,
        label: varying.label(segment).map(str::to_owned),
    })
}

/// `Input|direction=input`
fn telling(inside: &str) -> Result<Piece, String> {
    let parts = inside.split_once('|');
    let parts = parts.and_then(|(text, rest)| Some((text, rest.split_once('=')?)));
    match parts {
        Some((text, (label, value))) if !text.is_empty() && is_word(label) && !value.is_empty() => {
            let [text, label, value] = [text, label, value].map(str::to_owned);
            Ok(Piece::Word { text, label, value })
        }
        _ => Err(format!("`({inside})` is not of the form (text|label=value)")),
    }
}

/// Refuses what could not be told apart on a page.
fn check_neighbours(last: Option<&Piece>, next: &Piece) -> Result<(), String> {
    let Some(Piece::Free { matches, .. }) = last else { return Ok(()) };
    match next.text() {
        Err(segment) => Err(format!("<{segment}> follows another segment without text between")),
        Ok(text)
            if *matches == Matches::Number && text.starts_with(|c: char| c.is_ascii_digit()) =>
        {
            Err("a digit after a segment that is a number belongs to either".to_owned())
        }
        Ok(_) => Ok(()),
    }
}

/// The word between the bracket that `text` starts with and `close`, and what follows.
fn word(text: &str, close: char) -> Result<(&str, &str), String> {
    let (word, rest) = enclosed(text, close)?;
    if is_word(word) {
        Ok((word, rest))
    } else {
        Err(format!("`{word}` is no name of a segment or key"))
    }
}

fn enclosed(text: &str, close: char) -> Result<(&str, &str), String> {
    text.get(1..)
        .and_then(|text| text.split_once(close))
        .ok_or_else(|| format!("`{text}` lacks its `{close}`"))
}

fn is_word(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphabetic() || b == b'_')
}
