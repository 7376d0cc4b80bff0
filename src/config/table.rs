//! One row of the table of keys, and the macro that writes rows down.

use super::hidden::MASK;
use super::value::{Raw, quoted};

/// When a changed value takes effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// On reload, without dropping a client.
    Reload,
    /// When the process starts again.
    Restart,
}

/// One key of `T`: [`super::Config`], or one element of an array of tables.
pub struct Key<T: 'static> {
    pub section: &'static str,
    pub name: &'static str,
    /// `section.name`.
    pub full: &'static str,
    /// One or two sentences for users, with the unit.
    pub doc: &'static str,
    pub effect: Effect,
    /// Reads into the field; the error is a sentence without the key's name.
    pub(super) set: fn(&mut T, &Raw) -> Result<(), String>,
    pub(super) show: fn(&T) -> String,
    pub(super) takes: fn(&T) -> String,
    pub(super) same: fn(&T, &T) -> bool,
    pub(super) copy: fn(&T, &mut T),
}

impl<T: Default> Key<T> {
    /// What may be given, with the unit or the range.
    pub fn takes(&self) -> String {
        (self.takes)(&T::default())
    }

    /// The value that bare `text` means, as TOML; a secret is not masked.
    pub(crate) fn to_toml(&self, text: &str) -> Result<String, String> {
        let mut scratch = T::default();
        (self.set)(&mut scratch, &Raw::Bare(text.into()))?;
        match self.show(&scratch) {
            shown if shown == quoted(MASK) => Ok(quoted(text)),
            shown => Ok(shown),
        }
    }
}

impl<T> Key<T> {
    /// The value as TOML, secrets masked.
    pub fn show(&self, config: &T) -> String {
        (self.show)(config)
    }
}

/// The section of `section.name` or `section.part.name`.
macro_rules! section {
    ($section:ident $name:ident) => {
        stringify!($section)
    };
    ($section:ident $part:ident $name:ident) => {
        concat!(stringify!($section), ".", stringify!($part))
    };
}

/// The name of `section.name` or `section.part.name`.
macro_rules! name {
    ($section:ident $name:ident) => {
        stringify!($name)
    };
    ($section:ident $part:ident $name:ident) => {
        stringify!($name)
    };
}

/// `section.name => field.path, kind, Effect, "words for users";`
macro_rules! keys {
    ($target:ty; $( $section:ident . $name:ident $(. $last:ident)? => $($field:ident).+, $kind:expr, $effect:ident, $doc:literal; )*) => {
        &[ $( $crate::config::table::Key {
            section: $crate::config::table::section!($section $name $($last)?),
            name: $crate::config::table::name!($section $name $($last)?),
            full: concat!(stringify!($section), ".", stringify!($name) $(, ".", stringify!($last))?),
            doc: $doc,
            effect: $crate::config::table::Effect::$effect,
            set: |target: &mut $target, raw| {
                target.$($field).+ = $crate::config::value::Kind::read(&$kind, raw)?;
                Ok(())
            },
            show: |target| $crate::config::value::Kind::show(&$kind, &target.$($field).+),
            takes: |target| $crate::config::value::takes(&$kind, &target.$($field).+),
            same: |a, b| $crate::config::value::Kind::same(&$kind, &a.$($field).+, &b.$($field).+),
            copy: |from, to| to.$($field).+ = from.$($field).+.clone(),
        } ),* ]
    };
}

pub(crate) use {keys, name, section};
