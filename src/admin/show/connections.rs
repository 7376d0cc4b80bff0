//! CLIENTS, SERVERS, PINS.

use super::moment;
use crate::admin::house::House;
use crate::admin::table::{Cell, Column, int4, int8, row, text};

pub(super) const CLIENTS: &[Column] = SOCKETS;
pub(super) const SERVERS: &[Column] = SOCKETS;

const SOCKETS: &[Column] = &[
    text("type"),
    text("user"),
    text("database"),
    text("state"),
    text("addr"),
    int4("port"),
    text("local_addr"),
    int4("local_port"),
    text("connect_time"),
    text("request_time"),
    int4("wait"),
    int4("wait_us"),
    int4("close_needed"),
    text("ptr"),
    text("link"),
    int4("remote_pid"),
    text("tls"),
    text("application_name"),
    int4("prepared_statements"),
    int4("id"),
    text("pins"),
];

pub(super) fn clients(house: &dyn House) -> Vec<Vec<Cell>> {
    let row = |client: crate::admin::house::ClientRow| {
        row![
            "C",
            client.user,
            client.database,
            client.state.as_str(),
            client.addr,
            client.port,
            client.local_addr,
            client.local_port,
            moment(client.connect_time),
            moment(client.request_time),
            client.wait.as_secs(),
            client.wait.subsec_micros(),
            false,
            pointer('c', Some(client.id)),
            pointer('s', client.link),
            client.remote_pid,
            client.tls,
            client.application_name,
            client.prepared_statements,
            client.id,
            client.pins.join(","),
        ]
    };
    house.clients().into_iter().map(row).collect()
}

pub(super) fn servers(house: &dyn House) -> Vec<Vec<Cell>> {
    let row = |server: crate::admin::house::ServerRow| {
        row![
            "S",
            server.user,
            server.database,
            server.state.as_str(),
            server.addr,
            server.port,
            server.local_addr,
            server.local_port,
            moment(server.connect_time),
            moment(server.request_time),
            0_u64,
            0_u64,
            server.close_needed,
            pointer('s', Some(server.id)),
            pointer('c', server.link),
            server.remote_pid,
            server.tls,
            server.application_name,
            server.prepared_statements,
            server.id,
            server.pins.join(","),
        ]
    };
    house.servers().into_iter().map(row).collect()
}

/// Where PgBouncer prints an address in its memory we print a name: what matters is
/// that one line's `link` is another's `ptr`.
fn pointer(side: char, id: Option<u64>) -> String {
    id.map_or_else(String::new, |id| format!("{side}{id}"))
}

pub(super) const PINS: &[Column] = &[
    int8("client_id"),
    text("database"),
    text("user"),
    text("application_name"),
    text("reason"),
    int4("server_pid"),
];

pub(super) fn pins(house: &dyn House) -> Vec<Vec<Cell>> {
    let row = |pin: crate::admin::house::PinRow| {
        row![
            pin.client_id,
            pin.database,
            pin.user,
            pin.application_name,
            pin.reason,
            pin.server_pid,
        ]
    };
    house.pins().into_iter().map(row).collect()
}
