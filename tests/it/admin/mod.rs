//! The console and the HTTP listener: with the house behind them played by a stand-in, and
//! those of the running program.

mod console;
mod house;
mod http;
mod program;
mod raw;
