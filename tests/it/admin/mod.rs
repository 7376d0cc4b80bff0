//! The console and the HTTP listener, with the house behind them played by a stand-in.

mod console;
mod house;
mod http;
mod raw;
