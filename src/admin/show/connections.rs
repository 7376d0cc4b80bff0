//! CLIENTS, SERVERS, SOCKETS, ACTIVE_SOCKETS, PINS.

use super::moment;
use crate::admin::house::{ClientRow, ClientState, House, ServerRow, ServerState};
use crate::admin::table::{Cell, Column, int4, int8, row, text};

/// With `$more` behind what PgBouncer 1.18 has of every socket.
macro_rules! columns {
    ($($more:expr),* $(,)?) => {
        &[
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
            $($more,)*
        ]
    };
}

pub(super) const CLIENTS: &[Column] =
    columns![int4("prepared_statements"), int4("id"), text("pins")];
pub(super) const SERVERS: &[Column] = CLIENTS;
/// What lies in PgBouncer's buffers; ours are another's business.
pub(super) const SOCKETS: &[Column] = columns![
    int4("recv_pos"),
    int4("pkt_pos"),
    int4("pkt_remain"),
    int4("send_pos"),
    int4("send_remain"),
    int4("pkt_avail"),
    int4("send_avail"),
    int4("prepared_statements"),
    int4("id"),
    text("pins"),
];
/// Of [`SOCKETS`], those about buffers.
const BUFFER_COLUMNS: std::ops::Range<usize> = 18..25;

pub(super) fn clients(house: &dyn House) -> Vec<Vec<Cell>> {
    let rows = house.clients().into_iter();
    rows.map(|client| client_row(client, "")).collect()
}

pub(super) fn servers(house: &dyn House) -> Vec<Vec<Cell>> {
    let rows = house.servers().into_iter();
    rows.map(|server| server_row(server, "")).collect()
}

pub(super) fn sockets(house: &dyn House) -> Vec<Vec<Cell>> {
    sockets_of(house, |_| true, |_| true)
}

pub(super) fn active_sockets(house: &dyn House) -> Vec<Vec<Cell>> {
    sockets_of(
        house,
        |client| client.state == ClientState::Active,
        |server| server.state == ServerState::Active,
    )
}

fn sockets_of(
    house: &dyn House,
    client: impl Fn(&ClientRow) -> bool,
    server: impl Fn(&ServerRow) -> bool,
) -> Vec<Vec<Cell>> {
    let clients = house.clients().into_iter().filter(client);
    let servers = house.servers().into_iter().filter(server);
    clients
        .map(|client| client_row(client, "cl_"))
        .chain(servers.map(|server| server_row(server, "sv_")))
        .map(|mut row| {
            let zero = BUFFER_COLUMNS.map(|_| Cell::Number(0));
            row.splice(BUFFER_COLUMNS.start..BUFFER_COLUMNS.start, zero);
            row
        })
        .collect()
}

fn client_row(client: ClientRow, prefix: &str) -> Vec<Cell> {
    row![
        "C",
        client.user,
        client.database,
        format!("{prefix}{}", client.state.as_str()),
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
}

fn server_row(server: ServerRow, prefix: &str) -> Vec<Cell> {
    row![
        "S",
        server.user,
        server.database,
        format!("{prefix}{}", server.state.as_str()),
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
