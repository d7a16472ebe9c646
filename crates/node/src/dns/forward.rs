//! Questions for others: the host's resolvers.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{Name, Record, RecordType};
use hickory_resolver::config::{NameServerConfig, ResolveHosts, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::{Resolver, TokioResolver, system_conf};
use tokio::sync::Semaphore;

/// A question is given up after this, whatever the resolvers do.
const PATIENCE: Duration = Duration::from_secs(5);
/// One attempt at one resolver.
const ATTEMPT: Duration = Duration::from_secs(2);
/// Questions under way at once; more are refused, as by upstream's `max_concurrent 1000`.
const CONCURRENT: usize = 1000;
/// How often a change of the configuration file is looked for, at most.
const LOOK: Duration = Duration::from_secs(5);
const CACHE: u64 = 1024;

/// What came of a question.
pub struct Outcome {
    pub code: ResponseCode,
    pub answers: Vec<Record>,
    pub authorities: Vec<Record>,
}

impl Outcome {
    fn failed(code: ResponseCode) -> Outcome {
        Outcome { code, answers: Vec::new(), authorities: Vec::new() }
    }
}

/// Asks the resolvers of the host's `resolv.conf`, which is read again when it changes.
pub struct Forwarder {
    file: PathBuf,
    /// The cluster's own server, which must not ask itself.
    own: IpAddr,
    state: Mutex<State>,
    places: Semaphore,
}

#[derive(Default)]
struct State {
    resolver: Option<Arc<TokioResolver>>,
    modified: Option<SystemTime>,
    looked: Option<Instant>,
}

impl Forwarder {
    pub fn new(file: PathBuf, own: IpAddr) -> Forwarder {
        let state = Mutex::new(State::default());
        Forwarder { file, own, state, places: Semaphore::new(CONCURRENT) }
    }

    /// Asks for records of a name.
    pub async fn lookup(&self, name: Name, kind: RecordType) -> Outcome {
        let Ok(_place) = self.places.try_acquire() else {
            return Outcome::failed(ResponseCode::Refused);
        };
        let Some(resolver) = self.resolver() else {
            return Outcome::failed(ResponseCode::ServFail);
        };
        let mut name = name;
        name.set_fqdn(true);
        match tokio::time::timeout(PATIENCE, resolver.lookup(name.clone(), kind)).await {
            Ok(Ok(found)) => Outcome {
                code: ResponseCode::NoError,
                answers: found.answers().to_vec(),
                authorities: Vec::new(),
            },
            Ok(Err(NetError::Dns(DnsError::NoRecordsFound(none)))) => Outcome {
                code: none.response_code,
                answers: Vec::new(),
                authorities: none
                    .soa
                    .map(|soa| vec![soa.into_record_of_rdata()])
                    .unwrap_or_default(),
            },
            Ok(Err(NetError::Dns(DnsError::ResponseCode(code)))) => Outcome::failed(code),
            Ok(Err(error)) => {
                tracing::debug!(%name, %kind, %error, "the host's resolvers failed");
                Outcome::failed(ResponseCode::ServFail)
            }
            Err(_) => {
                tracing::debug!(%name, %kind, "the host's resolvers did not answer in time");
                Outcome::failed(ResponseCode::ServFail)
            }
        }
    }

    /// The resolver for the file as it is now; `None` where it names nobody to ask.
    fn resolver(&self) -> Option<Arc<TokioResolver>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.looked.is_some_and(|at| at.elapsed() < LOOK) {
            return state.resolver.clone();
        }
        state.looked = Some(Instant::now());
        let modified = std::fs::metadata(&self.file).and_then(|m| m.modified()).ok();
        if state.resolver.is_none() || modified != state.modified {
            state.modified = modified;
            state.resolver = match self.read() {
                Ok(resolver) => Some(Arc::new(resolver)),
                Err(error) => {
                    let file = self.file.display();
                    tracing::warn!(%file, %error, "names outside the cluster cannot be resolved");
                    None
                }
            };
        }
        state.resolver.clone()
    }

    fn read(&self) -> Result<TokioResolver, String> {
        let text = std::fs::read(&self.file).map_err(|e| e.to_string())?;
        let (config, mut options) =
            system_conf::parse_resolv_conf(text).map_err(|e| e.to_string())?;
        let (_, _, servers) = config.into_parts();
        // Asking ourselves would go round in circles.
        let servers: Vec<NameServerConfig> =
            servers.into_iter().filter(|s| s.ip != self.own && !s.ip.is_unspecified()).collect();
        if servers.is_empty() {
            return Err("no nameserver other than the cluster's own".into());
        }
        options.timeout = ATTEMPT;
        options.attempts = 2;
        options.cache_size = CACHE;
        options.use_hosts_file = ResolveHosts::Never;
        options.preserve_intermediates = true;
        let config = ResolverConfig::from_name_servers(servers);
        Resolver::builder_with_config(config, TokioRuntimeProvider::default())
            .with_options(options)
            .build()
            .map_err(|e| e.to_string())
    }
}
