//! The text format's parser from outside: its grammar, its laws, and real pages of Flink.

#[cfg(test)]
#[path = "exposition/corpus.rs"]
mod corpus;
#[cfg(test)]
#[path = "exposition/differential.rs"]
mod differential;
#[cfg(test)]
#[path = "exposition/grammar.rs"]
mod grammar;
#[cfg(test)]
#[path = "exposition/laws.rs"]
mod laws;
#[cfg(test)]
#[path = "exposition/pages.rs"]
mod pages;
