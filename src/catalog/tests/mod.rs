//! Decisions over pictures that are made by hand.

mod builder;
mod effects;
mod keys;
mod names;
mod places;
mod read;
mod returnable;
mod write;
