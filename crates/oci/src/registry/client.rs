//! Talks to one repository of one registry.

use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, Uri, header};
use hyper::body::Incoming;
use serde::Deserialize;

use super::http::{Body, Failure, Http, empty, full, join, read_all};
use super::token::{self, Challenge};
use crate::error::{Error, Result};
use crate::manifest::{DOCKER_LIST, DOCKER_MANIFEST, MANIFEST_LIMIT, OCI_INDEX, OCI_MANIFEST};
use crate::options::RegistryOptions;
use crate::reference::Reference;

const REDIRECT_LIMIT: usize = 10;
const TRY_LIMIT: u32 = 5;

pub struct Client {
    http: Http,
    reference: Reference,
    options: RegistryOptions,
    /// `https://host:port`.
    base: String,
    /// Whether certificates go unchecked.
    trust: bool,
    /// `pull` or `pull,push`.
    actions: &'static str,
    /// The `Authorization` header that worked last.
    authorization: Mutex<Option<String>>,
}

/// A request that can be sent again.
pub struct Call {
    pub method: Method,
    pub uri: Uri,
    pub headers: Vec<(header::HeaderName, String)>,
    pub body: Bytes,
}

impl Client {
    /// Finds out how the registry is to be spoken to.
    pub async fn connect(
        reference: &Reference,
        options: &RegistryOptions,
        actions: &'static str,
    ) -> Result<Client> {
        let mut client = Client {
            http: Http::new(options.ca_file.as_deref())?,
            reference: reference.clone(),
            options: options.clone(),
            base: String::new(),
            trust: false,
            actions,
            authorization: Mutex::new(None),
        };
        if let Some(auth) = &options.auth
            && !auth.registry_token.is_empty()
        {
            client.set_authorization(format!("Bearer {}", auth.registry_token));
        }
        let host = match reference.registry() {
            "docker.io" => "registry-1.docker.io",
            other => other,
        };
        if options.plain_http {
            client.base = format!("http://{host}");
            return Ok(client);
        }
        client.base = format!("https://{host}");
        if !is_loopback(host) && !options.insecure.iter().any(|i| i == host) {
            return Ok(client);
        }
        // As Docker does: TLS without checks, and plain HTTP if there is no TLS.
        client.trust = true;
        let ping = client.call(Method::GET, client.uri("")?);
        if let Err(Failure::Connect(_)) = client.http.send(client.request(&ping, None), true).await
        {
            client.base = format!("http://{host}");
        }
        Ok(client)
    }

    /// `/v2/<repository>/<rest>`; without `rest` the root of the API.
    pub fn uri(&self, rest: &str) -> Result<Uri> {
        let text = match rest {
            "" => format!("{}/v2/", self.base),
            rest => format!("{}/v2/{}/{rest}", self.base, self.reference.repository()),
        };
        text.parse().map_err(|_| Error::Invalid(format!("{text:?} is no URL")))
    }

    pub fn call(&self, method: Method, uri: Uri) -> Call {
        Call { method, uri, headers: Vec::new(), body: Bytes::new() }
    }

    /// A manifest with its media type.
    pub async fn manifest(&self, name: &str) -> Result<(Bytes, String, Option<String>)> {
        let mut call = self.call(Method::GET, self.uri(&format!("manifests/{name}"))?);
        let accept = [OCI_INDEX, DOCKER_LIST, OCI_MANIFEST, DOCKER_MANIFEST].join(", ");
        call.headers.push((header::ACCEPT, accept));
        let mut tries = 0;
        loop {
            let response = self.send(&call).await?;
            if response.status() != StatusCode::OK {
                return Err(self.refusal(response).await);
            }
            let text = |name: &str| {
                response.headers().get(name).and_then(|v| v.to_str().ok()).map(str::to_owned)
            };
            let media_type = text("content-type").unwrap_or_default();
            let media_type = media_type.split(';').next().unwrap_or_default().trim().to_owned();
            let digest = text("docker-content-digest");
            match read_all(response.into_body(), MANIFEST_LIMIT).await {
                Ok(bytes) => return Ok((bytes, media_type, digest)),
                Err(e) if e.is_transient() && tries < TRY_LIMIT => tries += 1,
                Err(e) => return Err(e),
            }
        }
    }

    /// Sends with authentication, redirects (for GET and HEAD), and retries of what a moment's
    /// trouble can be.
    pub async fn send(&self, call: &Call) -> Result<Response<Incoming>> {
        let mut tries = 0;
        loop {
            let pause = Duration::from_millis(200 << tries);
            match self.send_authorized(call).await {
                Ok(response) if is_busy(response.status()) && tries < TRY_LIMIT => {
                    tokio::time::sleep(retry_after(&response).unwrap_or(pause)).await;
                }
                Ok(response) => return Ok(response),
                Err(e) if e.is_transient() && tries < TRY_LIMIT && !is_refused(&e) => {
                    tokio::time::sleep(pause).await;
                }
                Err(e) => return Err(e),
            }
            tries += 1;
        }
    }

    async fn send_authorized(&self, call: &Call) -> Result<Response<Incoming>> {
        let before = self.authorization();
        let response = self.follow(call, before.as_deref()).await?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return Ok(response);
        }
        let Some(fresh) = self.authenticate(&response).await? else { return Ok(response) };
        if before.as_deref() == Some(&fresh) {
            return Ok(response);
        }
        self.set_authorization(fresh.clone());
        self.follow(call, Some(&fresh)).await
    }

    /// Follows redirects. Credentials never go to another host, nor out of TLS.
    async fn follow(&self, call: &Call, authorization: Option<&str>) -> Result<Response<Incoming>> {
        let mut at = self.call(call.method.clone(), call.uri.clone());
        at.headers = call.headers.clone();
        at.body = call.body.clone();
        let mut authorization = authorization;
        for _ in 0..REDIRECT_LIMIT {
            let request = self.request(&at, authorization);
            let response = self.http.send(request, self.trust).await.map_err(unreachable)?;
            let moved = matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308);
            if !moved || !matches!(at.method, Method::GET | Method::HEAD) {
                return Ok(response);
            }
            let location = response.headers().get(header::LOCATION).and_then(|l| l.to_str().ok());
            let location = location
                .ok_or_else(|| Error::Registry(format!("{} redirects to nowhere", at.uri)))?;
            let next = join(&at.uri, location)?;
            if at.uri.scheme_str() == Some("https")
                && next.scheme_str() != Some("https")
                && !self.trust
            {
                return Err(Error::Registry(format!("{} redirects out of TLS to {next}", at.uri)));
            }
            if next.authority() != at.uri.authority() || next.scheme() != at.uri.scheme() {
                authorization = None;
            }
            at.uri = next;
        }
        Err(Error::Registry(format!("{}: too many redirects", call.uri)))
    }

    pub fn request(&self, call: &Call, authorization: Option<&str>) -> Request<Body> {
        let body = if call.body.is_empty() { empty() } else { full(call.body.clone()) };
        self.request_with(call, authorization, body)
    }

    pub fn request_with(
        &self,
        call: &Call,
        authorization: Option<&str>,
        body: Body,
    ) -> Request<Body> {
        let mut request = Request::new(body);
        *request.method_mut() = call.method.clone();
        *request.uri_mut() = call.uri.clone();
        let given = call.headers.iter().map(|(name, value)| (name.clone(), value.as_str()));
        let authorization = authorization.map(|a| (header::AUTHORIZATION, a));
        for (name, value) in given.chain(authorization) {
            if let Ok(mut value) = header::HeaderValue::from_str(value) {
                value.set_sensitive(name == header::AUTHORIZATION);
                request.headers_mut().insert(name, value);
            }
        }
        request
    }

    /// Sends a streamed body once; whoever calls repeats it.
    pub async fn send_stream(&self, call: &Call, body: Body) -> Result<Response<Incoming>> {
        let ours = call.uri.to_string().starts_with(&format!("{}/", self.base));
        let authorization = if ours { self.authorization() } else { None };
        let request = self.request_with(call, authorization.as_deref(), body);
        self.http.send(request, self.trust).await.map_err(unreachable)
    }

    /// Gets what a 401 demands; `None` if there is nothing to offer.
    async fn authenticate(&self, response: &Response<Incoming>) -> Result<Option<String>> {
        let headers = response.headers().get_all(header::WWW_AUTHENTICATE);
        let offered: Vec<Challenge> =
            headers.iter().filter_map(|h| h.to_str().ok()).flat_map(token::challenges).collect();
        for challenge in &offered {
            if let Challenge::Bearer { realm, service, scope } = challenge {
                return self.fetch_token(realm, service, scope).await.map(Some);
            }
        }
        match &self.options.auth {
            Some(auth) if offered.contains(&Challenge::Basic) && !auth.username.is_empty() => {
                Ok(Some(token::basic(auth)))
            }
            _ => Ok(None),
        }
    }

    async fn fetch_token(&self, realm: &str, service: &str, scope: &str) -> Result<String> {
        let default = format!("repository:{}:{}", self.reference.repository(), self.actions);
        let scope = if scope.is_empty() { &default } else { scope };
        let bad =
            || Error::Registry(format!("the registry names a malformed token server {realm:?}"));
        let mut call =
            self.call(Method::GET, token::query(realm, service, scope).parse().map_err(|_| bad())?);
        let plain = call.uri.scheme_str() != Some("https");
        if call.uri.authority().is_none() || (plain && call.uri.scheme_str() != Some("http")) {
            return Err(bad());
        }
        let auth = self
            .options
            .auth
            .as_ref()
            .filter(|a| !a.username.is_empty() || !a.identity_token.is_empty());
        if auth.is_some() && plain && self.base.starts_with("https:") && !self.trust {
            return Err(Error::Denied(format!(
                "refusing to send credentials to {realm} without TLS"
            )));
        }
        let mut authorization = None;
        match auth {
            Some(auth) if !auth.identity_token.is_empty() => {
                call.method = Method::POST;
                call.uri = realm.parse().map_err(|_| bad())?;
                call.body = token::refresh_form(service, scope, &auth.identity_token).into();
                call.headers
                    .push((header::CONTENT_TYPE, "application/x-www-form-urlencoded".into()));
            }
            Some(auth) => authorization = Some(token::basic(auth)),
            None => {}
        }
        let response = self.follow(&call, authorization.as_deref()).await?;
        let status = response.status();
        if status != StatusCode::OK {
            let text = error_text(response).await;
            let text = format!("{}: the token server answers {status}{text}", self.denied());
            return Err(if is_busy(status) {
                Error::Unreachable(text)
            } else {
                Error::Denied(text)
            });
        }
        let token = token::parse_token(&read_all(response.into_body(), 1 << 20).await?)?;
        Ok(format!("Bearer {token}"))
    }

    /// The error that an answer stands for.
    pub async fn refusal(&self, response: Response<Incoming>) -> Error {
        let status = response.status();
        let text = error_text(response).await;
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                Error::Denied(format!("{}{text}", self.denied()))
            }
            StatusCode::NOT_FOUND => Error::RegistryNotFound(self.reference.to_string()),
            _ if is_busy(status) => {
                Error::Unreachable(format!("{}: the registry answers {status}{text}", self.base))
            }
            _ => Error::Registry(format!("{}: the registry answers {status}{text}", self.base)),
        }
    }

    fn denied(&self) -> String {
        let verb = if self.actions.contains("push") { "push" } else { "pull" };
        format!(
            "{verb} access denied for {}, repository does not exist or may require authorization",
            self.reference.name()
        )
    }

    fn authorization(&self) -> Option<String> {
        self.authorization.lock().unwrap_or_else(|p| p.into_inner()).clone()
    }

    fn set_authorization(&self, value: String) {
        *self.authorization.lock().unwrap_or_else(|p| p.into_inner()) = Some(value);
    }
}

pub fn unreachable(failure: Failure) -> Error {
    Error::Unreachable(failure.to_string())
}

/// A refused connection or an unknown host does not get better within seconds.
fn is_refused(e: &Error) -> bool {
    let text = e.to_string();
    text.contains("cannot reach") && !text.contains("timed out") && !text.contains("reset")
}

fn is_busy(status: StatusCode) -> bool {
    matches!(status.as_u16(), 429 | 500 | 502 | 503 | 504)
}

fn retry_after(response: &Response<Incoming>) -> Option<Duration> {
    let seconds: u64 = response.headers().get(header::RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds.min(10)))
}

/// `: code: message` of the first error in a registry's answer.
async fn error_text(response: Response<Incoming>) -> String {
    #[derive(Deserialize)]
    struct Answer {
        #[serde(default)]
        errors: Vec<Item>,
    }
    #[derive(Deserialize)]
    struct Item {
        #[serde(default)]
        code: String,
        #[serde(default)]
        message: String,
    }
    let Ok(bytes) = read_all(response.into_body(), 64 << 10).await else { return String::new() };
    let Ok(answer) = serde_json::from_slice::<Answer>(&bytes) else { return String::new() };
    match answer.errors.first() {
        Some(item) => format!(": {}: {}", item.code.to_lowercase().replace('_', " "), item.message),
        None => String::new(),
    }
}

/// Whether a registry's host is this machine.
fn is_loopback(host: &str) -> bool {
    if let Ok(address) = host.parse::<std::net::SocketAddr>() {
        return address.ip().is_loopback();
    }
    let name = match host.rsplit_once(':') {
        Some((name, _)) if !host.ends_with(']') => name,
        _ => host,
    };
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    name == "localhost" || bare.parse::<std::net::IpAddr>().is_ok_and(|a| a.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_recognised() {
        for yes in ["localhost", "localhost:5000", "127.0.0.1:1", "127.9.9.9", "[::1]:5", "[::1]"] {
            assert!(is_loopback(yes), "{yes}");
        }
        for no in ["localhost.example", "10.0.0.1:5000", "registry.example", "[fe80::1]:5"] {
            assert!(!is_loopback(no), "{no}");
        }
    }
}
