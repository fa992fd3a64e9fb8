//! Flags that several verbs share.

use std::path::PathBuf;

use std::marker::PhantomData;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, ValueEnum};

/// How to write the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    Text,
    /// Stable and versioned, for programs
    Json,
    /// One line per call stack, for flame graphs
    Folded,
    /// One row per finding, for spreadsheets
    Csv,
}

/// The least verdict that makes the exit code 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Worth {
    /// Leaks only
    Leak,
    /// What hardly ever shrinks as well
    Growing,
    /// Suspects as well
    Suspect,
}

/// The formats that a verb has a shape for. The others are taken too, and then
/// refused in a sentence.
pub trait Offers: 'static {
    /// Those
    const FORMATS: &'static [Format];

    /// Takes all, and shows those.
    fn parser() -> impl TypedValueParser<Value = Format> {
        let all = Format::value_variants().iter();
        let values = all.filter_map(|format| {
            let value = format.to_possible_value()?;
            Some(value.hide(!Self::FORMATS.contains(format)))
        });
        PossibleValuesParser::new(values).try_map(|name| Format::from_str(&name, false))
    }
}

/// Every format
#[derive(Debug, Clone)]
pub struct All;
/// Tables without call stacks
#[derive(Debug, Clone)]
pub struct Tables;
/// Text for people, JSON for programs
#[derive(Debug, Clone)]
pub struct Plain;

impl Offers for All {
    const FORMATS: &'static [Format] = &[Format::Text, Format::Json, Format::Folded, Format::Csv];
}

impl Offers for Tables {
    const FORMATS: &'static [Format] = &[Format::Text, Format::Json, Format::Csv];
}

impl Offers for Plain {
    const FORMATS: &'static [Format] = &[Format::Text, Format::Json];
}

/// Where the result goes and how it looks.
#[derive(Debug, Clone, Args)]
pub struct OutputArgs<O: Offers = Plain> {
    /// How to write the result
    #[arg(long, short = 'f', value_parser = O::parser(), default_value = "text")]
    pub format: Format,
    /// Write to FILE instead of the screen, - for standard output
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
    #[arg(skip)]
    offers: PhantomData<O>,
}
