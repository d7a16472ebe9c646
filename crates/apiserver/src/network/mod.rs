//! Addresses and node ports of Services, reserved in the store so that no two Services, and no
//! two API servers, can hand out the same one.
//!
//! ```text
//! begin:  Service ──► fields filled in ──► keys put with Expect::Absent ──► Reservation
//! around: stored? ──► drop what the old state had and the new has not : drop what was taken
//! ```
//!
//! A client that goes away ends a request at any moment: before the write, what was taken is given
//! back; the write itself goes on without the client. What is left all the same (the server was
//! killed, the outcome of a write is unknown) the repair finds.
//!
//! An address is reserved by its `IPAddress` object, as upstream does; a port by a key of its own.

mod cidr;
mod fields;
mod repair;

use std::collections::{BTreeMap, BTreeSet};
use std::mem::take;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;

use smol_str::SmolStr;
use timonier_meta::{ApiError, FieldError, FieldPath, GroupVersionResource};
use timonier_object::{Value, value};
use timonier_store::{Error, Expect, Item};
use tokio::sync::Notify;

pub use cidr::Cidr;
pub use repair::{keep, repair};

use crate::call::Call;
use crate::config::Config;
use crate::server::ApiServer;
use crate::storage;

/// Where address reservations live.
pub const IP_ADDRESSES: GroupVersionResource =
    GroupVersionResource::new_static("networking.k8s.io", "v1", "ipaddresses");
/// Where port reservations live.
pub const PORTS_PREFIX: &str = "/registry/ranges/servicenodeports/";
const MANAGED_BY: &str = "ipallocator.k8s.io";

/// The ranges to hand out from.
pub struct Network {
    /// Wakes the repair: somebody has deleted the object of an address.
    changed: Arc<Notify>,
    /// The first is the primary family.
    pub cidrs: Vec<Cidr>,
    pub ports: RangeInclusive<u16>,
}

impl Network {
    /// Reads the ranges of the configuration.
    pub fn new(config: &Config) -> Result<Self, String> {
        let cidrs = config
            .service_cidrs
            .iter()
            .map(|text| Cidr::parse(text).ok_or(format!("{text:?} is not a CIDR")))
            .collect::<Result<Vec<_>, _>>()?;
        if cidrs.is_empty() || cidrs.len() > 2 {
            return Err("one or two service CIDRs are needed".into());
        }
        Ok(Network { cidrs, ports: config.node_ports.clone(), changed: Arc::default() })
    }

    /// The address of the Service `kubernetes`: the first of the primary range.
    pub fn api_address(&self) -> IpAddr {
        self.cidrs[0].nth(1)
    }

    fn cidr(&self, family: &str) -> Option<&Cidr> {
        self.cidrs.iter().find(|c| c.family() == family)
    }
}

/// What was taken for a Service and what its old state may give back. Where it is dropped, nothing
/// was written, and what was taken is given back.
#[derive(Default)]
pub struct Reservation {
    server: Option<Arc<ApiServer>>,
    taken: Vec<SmolStr>,
    given_back: Vec<SmolStr>,
}

impl Reservation {
    /// Carries out the write of the Service, and gives back what is not used then: the old state's
    /// where the write took place, else the new one's. That is done whether anybody waits for it
    /// or not.
    pub async fn around(
        mut self,
        write: impl Future<Output = Result<Arc<Item>, Error>> + Send + 'static,
    ) -> Result<Arc<Item>, Error> {
        let Some(server) = self.server.take() else { return write.await };
        let (taken, given_back) = (take(&mut self.taken), take(&mut self.given_back));
        let whole = async move {
            let result = write.await;
            let unused = match &result {
                Ok(_) => given_back,
                Err(Error::Conflict { .. } | Error::TooLarge { .. }) => taken,
                // It may have taken place. The repair will see.
                Err(_) => Vec::new(),
            };
            drop_keys(&server, unused).await;
            result
        };
        tokio::spawn(whole).await.unwrap_or(Err(Error::Closed))
    }

    /// Gives back what was taken for a write that did not take place.
    pub async fn end(mut self) {
        if let Some(server) = self.server.take() {
            drop_keys(&server, take(&mut self.taken)).await;
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let taken = take(&mut self.taken);
        if let (Some(server), false) = (self.server.take(), taken.is_empty())
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(async move { drop_keys(&server, taken).await });
        }
    }
}

/// Fills in addresses and ports of a Service and reserves them. Does nothing for other kinds.
pub async fn begin(
    call: &Call<'_>,
    new: &mut Value,
    old: Option<&Value>,
    dry_run: bool,
) -> Result<Reservation, ApiError> {
    if !is_service(call) || new.get("spec").is_none() {
        return Ok(Reservation::default());
    }
    fields::prepare(call, new, old)?;
    let before = old.map(keys_of).unwrap_or_default();
    let server = Some(call.server.clone());
    let mut reservation = Reservation { server, taken: Vec::new(), given_back: Vec::new() };
    let result = fill(call, new, &before, dry_run, &mut reservation.taken).await;
    if let Err(error) = result {
        reservation.end().await;
        return Err(error);
    }
    let after = keys_of(new);
    if !dry_run {
        reservation.given_back = before.difference(&after).cloned().collect();
    }
    Ok(reservation)
}

/// Gives back everything of a Service that is gone; has an address that is gone looked for. Does
/// nothing for other kinds.
pub async fn released(call: &Call<'_>, object: &Value) {
    if is_service(call) {
        drop_keys(call.server, keys_of(object)).await;
    } else if call.row.storage == IP_ADDRESSES {
        call.server.network.changed.notify_one();
    }
}

fn is_service(call: &Call<'_>) -> bool {
    call.row.gvr.resource == "services" && call.row.gvr.group.is_empty()
}

async fn drop_keys(server: &ApiServer, keys: impl IntoIterator<Item = SmolStr>) {
    for key in keys {
        // A reservation that stays for a failed store is found by the next repair.
        if let Err(error) = server.store.delete(key.clone(), Expect::Any).await
            && !matches!(error, Error::Conflict { .. })
        {
            tracing::warn!(%key, %error, "a reservation could not be given back");
        }
    }
}

/// The reservations that a stored Service holds.
fn keys_of(service: &Value) -> BTreeSet<SmolStr> {
    let mut keys = BTreeSet::new();
    for ip in service.at("spec.clusterIPs").items() {
        if let Ok(ip) = ip.str().parse::<IpAddr>() {
            keys.insert(ip_key(&ip));
        }
    }
    for port in service.at("spec.ports").items() {
        keys.extend(port.at("nodePort").as_i64().filter(|p| *p > 0).map(port_key));
    }
    keys.extend(service.at("spec.healthCheckNodePort").as_i64().filter(|p| *p > 0).map(port_key));
    keys
}

fn ip_key(ip: &IpAddr) -> SmolStr {
    storage::resource_key(&IP_ADDRESSES, "", &ip.to_string())
}

fn port_key(port: i64) -> SmolStr {
    format!("{PORTS_PREFIX}{port}").into()
}

/// A Service on its way to its addresses and ports.
struct Filling<'a> {
    call: &'a Call<'a>,
    owner: String,
    name: SmolStr,
    before: &'a BTreeSet<SmolStr>,
    dry_run: bool,
    taken: &'a mut Vec<SmolStr>,
}

async fn fill(
    call: &Call<'_>,
    new: &mut Value,
    before: &BTreeSet<SmolStr>,
    dry_run: bool,
    taken: &mut Vec<SmolStr>,
) -> Result<(), ApiError> {
    let owner = format!("{}/{}", call.namespace(), new.name());
    let mut filling = Filling { call, owner, name: new.name().into(), before, dry_run, taken };
    if fields::needs_addresses(new) {
        filling.addresses(new).await?;
    }
    if fields::needs_node_ports(new) {
        filling.node_ports(new).await?;
    }
    if fields::needs_health_port(new) {
        let wanted = new.at("spec.healthCheckNodePort").int_or(0);
        let path = FieldPath::new("spec.healthCheckNodePort");
        let port = filling.port(wanted, &path).await?;
        new.set("spec.healthCheckNodePort", port);
    }
    Ok(())
}

impl Filling<'_> {
    async fn addresses(&mut self, new: &mut Value) -> Result<(), ApiError> {
        let families: Vec<SmolStr> =
            new.at("spec.ipFamilies").items().iter().map(Value::smol).collect();
        let mut addresses: Vec<SmolStr> =
            new.at("spec.clusterIPs").items().iter().map(Value::smol).collect();
        for (i, family) in families.iter().enumerate() {
            match addresses.get(i) {
                Some(text) => self.address(&text.clone(), &addresses).await?,
                None => addresses.push(self.any_address(family).await?),
            }
        }
        if let Some(first) = addresses.first() {
            new.set("spec.clusterIP", first);
        }
        new.set("spec.clusterIPs", addresses.iter().map(Value::from).collect::<Vec<_>>());
        Ok(())
    }

    /// Reserves the address that the client wants.
    async fn address(&mut self, text: &str, all: &[SmolStr]) -> Result<(), ApiError> {
        let (call, name) = (self.call, self.name.clone());
        let fail = |why: String| {
            let list: Vec<Value> = all.iter().map(Value::from).collect();
            let text = format!("failed to allocate IP {text}: {why}");
            let path = FieldPath::new("spec.clusterIPs");
            Err(call.invalid(&name, &[FieldError::invalid(&path, Value::array(list), text)]))
        };
        let Ok(ip) = text.parse::<IpAddr>() else {
            let path = FieldPath::new("spec.clusterIPs").index(0);
            let why = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
            let error = FieldError::invalid_str(&path, text, why);
            return Err(self.call.invalid(&self.name, &[error]));
        };
        let network = &self.call.server.network;
        if self.before.contains(&ip_key(&ip)) {
            return Ok(());
        }
        if !network.cidrs.iter().any(|c| c.contains(&ip)) {
            let range = network.cidrs.iter().find(|c| c.is_ipv4() == ip.is_ipv4());
            let range = range.unwrap_or(&network.cidrs[0]);
            return fail(format!(
                "the provided network does not match the current range: the provided IP ({ip}) is not in the valid range. The range of valid IPs is {range}"
            ));
        }
        match self.take(ip_key(&ip), ip_object(self.call.server, &ip, &self.owner)).await? {
            true => Ok(()),
            false => fail("provided IP is already allocated".into()),
        }
    }

    /// Reserves a free address: by chance out of the upper part of the range, then the lower,
    /// so that the lower stays free for those who choose.
    async fn any_address(&mut self, family: &str) -> Result<SmolStr, ApiError> {
        let call = self.call;
        let Some(cidr) = call.server.network.cidr(family) else {
            return Err(ApiError::internal(format!("no {family} range")));
        };
        let random = call.server.env.random();
        for ip in cidr.candidates(random) {
            let key = ip_key(&ip);
            if call.server.store.snapshot().get(&key).is_some() || self.taken.contains(&key) {
                continue;
            }
            if self.take(key, ip_object(call.server, &ip, &self.owner)).await? {
                return Ok(ip.to_string().into());
            }
        }
        Err(ApiError::internal("failed to allocate a serviceIP: range is full"))
    }

    async fn node_ports(&mut self, new: &mut Value) -> Result<(), ApiError> {
        let mut ports = new.at("spec.ports").items().to_vec();
        let mut own: BTreeMap<i64, BTreeSet<SmolStr>> = BTreeMap::new();
        for (i, port) in ports.iter_mut().enumerate() {
            let wanted = port.at("nodePort").int_or(0);
            let protocol = port.at("protocol").smol();
            let path = FieldPath::new("spec.ports").index(i).child("nodePort");
            // TCP and UDP of one Service may share a number.
            let shared =
                wanted > 0 && own.get(&wanted).is_some_and(|p| p.iter().any(|p| *p != protocol));
            let number = if shared { wanted } else { self.port(wanted, &path).await? };
            own.entry(number).or_default().insert(protocol);
            port.set("nodePort", number);
        }
        new.set("spec.ports", Value::array(ports));
        Ok(())
    }

    /// Reserves a port: the wanted one, or with 0 any.
    async fn port(&mut self, wanted: i64, path: &FieldPath) -> Result<i64, ApiError> {
        let range = self.call.server.network.ports.clone();
        let (first, last) = (i64::from(*range.start()), i64::from(*range.end()));
        let (call, name) = (self.call, self.name.clone());
        let fail =
            |why: String| Err(call.invalid(&name, &[FieldError::invalid(path, wanted, why)]));
        if wanted != 0 {
            if self.before.contains(&port_key(wanted)) {
                return Ok(wanted);
            }
            if !(first..=last).contains(&wanted) {
                return fail(format!(
                    "provided port is not in the valid range. The range of valid ports is {first}-{last}"
                ));
            }
            let value = storage::encode_plain(&self.owner);
            return match self.take(port_key(wanted), value).await? {
                true => Ok(wanted),
                false => fail("provided port is already allocated".into()),
            };
        }
        let size = last - first + 1;
        let start = (self.call.server.env.random() % size as u64) as i64;
        for i in 0..size {
            let port = first + (start + i) % size;
            let key = port_key(port);
            let taken = self.before.contains(&key) || self.taken.contains(&key);
            if taken || self.call.server.store.snapshot().get(&key).is_some() {
                continue;
            }
            if self.take(key, storage::encode_plain(&self.owner)).await? {
                return Ok(port);
            }
        }
        Err(ApiError::internal("failed to allocate a nodePort: range is full"))
    }

    /// Puts a reservation; false where somebody has it. A dry run only looks.
    async fn take(&mut self, key: SmolStr, value: bytes::Bytes) -> Result<bool, ApiError> {
        let store = &self.call.server.store;
        if self.dry_run {
            return Ok(store.snapshot().get(&key).is_none());
        }
        match store.put(key.clone(), value, Expect::Absent).await {
            Ok(_) => {
                self.taken.push(key);
                Ok(true)
            }
            Err(Error::Conflict { .. }) => Ok(false),
            Err(error) => Err(crate::write::error(self.call, &self.name, error)),
        }
    }
}

fn ip_object(server: &ApiServer, ip: &IpAddr, owner: &str) -> bytes::Bytes {
    let (namespace, name) = owner.split_once('/').unwrap_or(("", owner));
    let family = if ip.is_ipv4() { "IPv4" } else { "IPv6" };
    storage::encode(&value!({
        "kind": "IPAddress", "apiVersion": "networking.k8s.io/v1",
        "metadata": {
            "name": (ip.to_string()), "uid": (server.env.uid()), "generation": 1,
            "creationTimestamp": (server.env.now().rfc3339()),
            "labels": {
                "ipaddress.kubernetes.io/ip-family": family,
                "ipaddress.kubernetes.io/managed-by": MANAGED_BY
            }
        },
        "spec": { "parentRef": { "group": "", "resource": "services", "namespace": namespace, "name": name } },
    }))
}
