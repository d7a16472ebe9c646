//! `services/proxy`: HTTP to one of the pods behind a Service.

use ::http::{Request, Response};
use bytes::Bytes;
use timonier_meta::ApiError;
use timonier_meta::gvk::resources;
use timonier_object::Value;

use super::http::Target;
use crate::call::Call;
use crate::http::respond::Body;

/// Passes the request to a ready endpoint of the Service.
pub async fn proxy<B>(call: &Call<'_>, request: Request<B>) -> Result<Response<Body>, ApiError>
where
    B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let target = Target::parse(&call.info.name)?;
    let service = call
        .server
        .peek(&resources::SERVICES, call.namespace(), target.name)
        .ok_or_else(|| call.not_found(target.name))?;
    let port = port_of(&service, target.port).ok_or_else(|| {
        ApiError::unavailable(format!(
            "no service port {:?} found for service {:?}",
            target.port, target.name
        ))
    })?;
    let Some((address, number)) = super::endpoints::choose(call.server, &service, port) else {
        let text = format!("no endpoints available for service {:?}", target.name);
        return Err(ApiError::unavailable(text));
    };
    super::http::pass(call, &target, &address, number, request).await
}

/// The Service's port of a name or number; without one the only port.
fn port_of<'a>(service: &'a Value, asked: &str) -> Option<&'a Value> {
    let ports = service.at("spec.ports").items();
    if asked.is_empty() {
        return if ports.len() == 1 { ports.first() } else { None };
    }
    let number = asked.parse::<i64>().ok();
    ports.iter().find(|p| {
        p.at("name").str() == asked || number.is_some() && p.at("port").as_i64() == number
    })
}
