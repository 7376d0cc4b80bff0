//! What is answered to which request.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Method, Request, Response, StatusCode};
use serde_json::json;

use super::gate::{self, Denial};
use super::{Access, api, page};
use crate::admin::house::House;
use crate::metrics::Phase;

type Reply = Response<Full<Bytes>>;

const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";
const PLAIN: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
const HTML: &str = "text/html; charset=utf-8";

/// The page has no script and loads nothing.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

pub(super) async fn respond(
    request: Request<Incoming>,
    peer: SocketAddr,
    access: &Access,
    house: Arc<dyn House>,
) -> Reply {
    let head = request.method() == Method::HEAD;
    let mut reply = route(&request, peer, access, &*house).await;
    if head {
        *reply.body_mut() = Full::default();
    }
    reply
}

async fn route(
    request: &Request<Incoming>,
    peer: SocketAddr,
    access: &Access,
    house: &dyn House,
) -> Reply {
    let path = request.uri().path();
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    let look = async || gate::may_look(request.headers(), peer, access).await;
    match path {
        "/drain" if request.method() != Method::POST => not_allowed("POST"),
        "/drain" => match gate::may_change(request.headers(), access).await {
            Ok(()) => drain(house, peer).await,
            Err(denial) => denied(denial),
        },
        _ if !reads => not_allowed("GET, HEAD"),
        "/healthz" => reply(StatusCode::OK, PLAIN, "ok\n"),
        "/readyz" => ready(house),
        "/metrics" => match house.metrics().render(&house.snapshot()) {
            Ok(text) => reply(StatusCode::OK, PROMETHEUS, text),
            Err(error) => {
                tracing::error!(%error, "metrics could not be rendered");
                failed("metrics could not be rendered")
            }
        },
        "/" => match look().await {
            Ok(()) => reply(StatusCode::OK, HTML, page::render(house)),
            Err(denial) => denied(denial),
        },
        _ => match path.strip_prefix("/api/v1/").and_then(api::find) {
            Some(show) => match look().await {
                Ok(()) => json(StatusCode::OK, &api::render(&show.table(house))),
                Err(denial) => denied(denial),
            },
            None => {
                let error = json!({ "error": "there is no such page" });
                json(StatusCode::NOT_FOUND, &error)
            }
        },
    }
}

/// Whether new clients should be sent here. Backends of an earlier process, which keep the cache from
/// serving for a while, are no reason against it: everything works without the cache.
fn ready(house: &dyn House) -> Reply {
    let snapshot = house.snapshot();
    let reason = match snapshot.phase {
        Phase::Draining => Some("draining"),
        Phase::Stopping => Some("stopping"),
        Phase::Serving if !snapshot.upstream_reachable => Some("upstream unreachable"),
        Phase::Serving => None,
    };
    match reason {
        None => json(StatusCode::OK, &json!({ "ready": true })),
        Some(reason) => {
            let body = json!({ "ready": false, "reason": reason });
            json(StatusCode::SERVICE_UNAVAILABLE, &body)
        }
    }
}

async fn drain(house: &dyn House, peer: SocketAddr) -> Reply {
    tracing::info!(client = %peer, "drain requested over http");
    match house.drain().await {
        Ok(()) => json(StatusCode::ACCEPTED, &json!({ "draining": true })),
        Err(error) => {
            tracing::error!(%error, "drain failed");
            failed("the drain could not begin")
        }
    }
}

fn denied(denial: Denial) -> Reply {
    json(
        StatusCode::FORBIDDEN,
        &json!({ "error": denial.explanation() }),
    )
}

fn failed(what: &str) -> Reply {
    json(StatusCode::INTERNAL_SERVER_ERROR, &json!({ "error": what }))
}

fn not_allowed(allowed: &'static str) -> Reply {
    let error = json!({ "error": format!("use {allowed}") });
    let mut reply = json(StatusCode::METHOD_NOT_ALLOWED, &error);
    reply
        .headers_mut()
        .insert(ALLOW, HeaderValue::from_static(allowed));
    reply
}

fn json(status: StatusCode, body: &serde_json::Value) -> Reply {
    reply(status, JSON, format!("{body}\n"))
}

fn reply(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(Full::new(body.into()));
    *reply.status_mut() = status;
    let headers = reply.headers_mut();
    for (name, value) in [
        (CONTENT_TYPE, content_type),
        (CACHE_CONTROL, "no-store"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (CONTENT_SECURITY_POLICY, POLICY),
        (REFERRER_POLICY, "no-referrer"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    reply
}
