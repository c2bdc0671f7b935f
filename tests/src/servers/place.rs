//! How a repository on a server is reached, by programs and in this process.

use std::sync::Arc;

use backends::{Location, OpenError, Options};
use repo_core::backend::Backend;
use repo_core::context::Context;

use crate::fixtures::PASSWORD;
use crate::program::{Call, Program};

/// A location with all that must be said beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// As `-r` takes it.
    pub location: String,
    /// As `-o` takes them.
    pub options: Vec<String>,
    /// Variables with credentials.
    pub variables: Vec<(String, String)>,
}

impl Place {
    /// A place that needs no more than its location.
    pub fn new(location: impl Into<String>) -> Self {
        Self { location: location.into(), options: Vec::new(), variables: Vec::new() }
    }

    /// With one more extended option.
    #[must_use]
    pub fn option(mut self, option: impl Into<String>) -> Self {
        self.options.push(option.into());
        self
    }

    /// With one more variable.
    #[must_use]
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The location, understood.
    pub fn parsed(&self) -> Location {
        self.location.parse().unwrap_or_else(|error| panic!("{}: {error}", self.location))
    }

    /// The options and variables, understood.
    pub fn options(&self) -> Options {
        let mut options =
            Options::parse(&self.options).unwrap_or_else(|error| panic!("{:?}: {error}", self.options));
        // Programs read this one themselves.
        let authority = self.variables.iter().find(|(name, _)| name == "RESTIC_CACERT");
        options.network.ca_files.extend(authority.map(|(_, file)| file.into()));
        options.variables = self.variables.iter().map(|(name, value)| (name.clone(), value)).collect();
        options
    }

    /// Its storage, in this process.
    pub fn try_open(&self, context: &Context) -> Result<Arc<dyn Backend>, OpenError> {
        backends::open(context, &self.parsed(), &self.options())
    }

    /// Its storage, in this process.
    pub fn open(&self, context: &Context) -> Arc<dyn Backend> {
        self.try_open(context).unwrap_or_else(|error| panic!("{}: {error}", self.location))
    }
}

impl Program {
    /// A command on a repository there, with the password of the fixtures and without a cache.
    pub fn at(&self, place: &Place) -> Call {
        let mut call = self.on(place.location.as_ref()).env("RESTIC_PASSWORD", PASSWORD);
        for option in &place.options {
            call = call.arg("-o").arg(option);
        }
        for (name, value) in &place.variables {
            call = call.env(name, value);
        }
        call
    }
}
