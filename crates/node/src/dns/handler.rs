//! One question, one answer.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hickory_proto::op::{Edns, HeaderCounts, Metadata, OpCode, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, NS, PTR, SOA, SRV, TXT};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use hickory_server::net::runtime::Time;
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::zone_handler::MessageResponseBuilder;
use timonier_traffic::Cidr;
use timonier_traffic::dns::{self, Answer, Data, Kind};

use super::Names;
use super::forward::Forwarder;

/// Names that stand for others are followed so often.
const MOST_ALIASES: usize = 8;
/// The largest answer over UDP, whatever the client says.
const LARGEST_UDP: u16 = 4096;

/// Answers from the index, or by the forwarder.
pub struct Handler {
    names: Arc<Names>,
    forwarder: Forwarder,
    /// Others are refused: a resolver that is open to everybody can be made to flood somebody.
    clients: Vec<Cidr>,
    /// Turns the order of answers, so that clients that take the first spread.
    turn: AtomicUsize,
}

/// An answer in the making.
struct Reply {
    code: ResponseCode,
    authoritative: bool,
    answers: Vec<Record>,
    authorities: Vec<Record>,
    additionals: Vec<Record>,
}

impl Reply {
    fn failed(code: ResponseCode) -> Reply {
        Reply {
            code,
            authoritative: false,
            answers: Vec::new(),
            authorities: Vec::new(),
            additionals: Vec::new(),
        }
    }
}

impl Handler {
    pub fn new(names: Arc<Names>, forwarder: Forwarder, clients: Vec<Cidr>) -> Handler {
        Handler { names, forwarder, clients, turn: AtomicUsize::new(0) }
    }

    fn is_client(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_loopback() || self.clients.iter().any(|c| c.contains(address))
    }

    /// How many records the answer to a request has.
    pub async fn records(&self, request: &Request) -> usize {
        let reply = self.reply(request).await;
        reply.answers.len() + reply.authorities.len() + reply.additionals.len()
    }

    async fn reply(&self, request: &Request) -> Reply {
        if !self.is_client(request.src().ip()) {
            return Reply::failed(ResponseCode::Refused);
        }
        if request.metadata.op_code != OpCode::Query {
            return Reply::failed(ResponseCode::NotImp);
        }
        let Ok(info) = request.request_info() else {
            return Reply::failed(ResponseCode::FormErr);
        };
        if info.query.query_class() != DNSClass::IN {
            return Reply::failed(ResponseCode::Refused);
        }
        let (name, kind) = (info.query.original().name(), info.query.query_type());
        let text = info.query.name().to_string();
        let text = text.trim_end_matches('.');
        let Some(mut reply) = self.known(text, kind, name) else {
            let outcome = self.forwarder.lookup(name.clone(), kind).await;
            return Reply {
                answers: outcome.answers,
                authorities: outcome.authorities,
                ..Reply::failed(outcome.code)
            };
        };
        self.follow(&mut reply, kind).await;
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        if reply.answers.len() > 1 && matches!(kind, RecordType::A | RecordType::AAAA) {
            let aliases = reply.answers.iter().take_while(|r| alias(r).is_some()).count();
            let addresses = &mut reply.answers[aliases..];
            if !addresses.is_empty() {
                let by = turn % addresses.len();
                addresses.rotate_left(by);
            }
        }
        reply
    }

    /// The index's answer; `None` where others are to be asked.
    fn known(&self, text: &str, kind: RecordType, asked: &Name) -> Option<Reply> {
        let index = self.names.read();
        let answer = index.answer(text, kind_of(kind));
        if answer == Answer::Elsewhere {
            return None;
        }
        if !self.names.is_ready() {
            return Some(Reply::failed(ResponseCode::ServFail));
        }
        let mut reply = Reply { authoritative: true, ..Reply::failed(ResponseCode::NoError) };
        match answer {
            Answer::Found { answers, additionals } => {
                // The name comes back in the case in which it was asked for.
                reply.answers = answers
                    .iter()
                    .filter_map(record)
                    .map(|mut r| {
                        if r.name == *asked {
                            r.name = asked.clone();
                        }
                        r
                    })
                    .collect();
                reply.additionals = additionals.iter().filter_map(record).collect();
            }
            other => {
                if other == Answer::NoName {
                    reply.code = ResponseCode::NXDomain;
                }
                reply.authorities.extend(record(&index.authority()));
            }
        }
        Some(reply)
    }

    /// Adds what an alias at the end stands for, because simple clients do not ask again.
    async fn follow(&self, reply: &mut Reply, kind: RecordType) {
        if !matches!(kind, RecordType::A | RecordType::AAAA) {
            return;
        }
        for _ in 0..MOST_ALIASES {
            let Some(target) = reply.answers.last().and_then(alias) else { return };
            let text = target.to_ascii().to_ascii_lowercase();
            match self.known(text.trim_end_matches('.'), kind, &target) {
                Some(more) => {
                    reply.code = more.code;
                    reply.answers.extend(more.answers);
                }
                None => {
                    let outcome = self.forwarder.lookup(target, kind).await;
                    reply.code = outcome.code;
                    reply.answers.extend(outcome.answers);
                    return;
                }
            }
        }
    }
}

#[async_trait::async_trait]
impl RequestHandler for Handler {
    async fn handle_request<R: ResponseHandler, T: Time>(
        &self,
        request: &Request,
        mut response: R,
    ) -> ResponseInfo {
        let reply = self.reply(request).await;
        let mut metadata = Metadata::response_from_request(&request.metadata);
        metadata.response_code = reply.code;
        metadata.authoritative = reply.authoritative;
        metadata.recursion_available = true;
        let edns = request.edns.as_ref().map(|asked| {
            let mut edns = Edns::new();
            edns.set_max_payload(asked.max_payload().clamp(512, LARGEST_UDP));
            edns
        });
        let mut builder = MessageResponseBuilder::from_message_request(request);
        if let Some(edns) = &edns {
            builder.edns(edns);
        }
        let message = builder.build(
            metadata,
            &reply.answers,
            &reply.authorities,
            std::iter::empty(),
            &reply.additionals,
        );
        match response.send_response(message).await {
            Ok(info) => info,
            Err(error) => {
                tracing::debug!(client = %request.src(), %error, "cannot answer");
                let header =
                    hickory_proto::op::Header { metadata, counts: HeaderCounts::default() };
                ResponseInfo::from(header)
            }
        }
    }
}

fn kind_of(kind: RecordType) -> Kind {
    match kind {
        RecordType::A => Kind::A,
        RecordType::AAAA => Kind::Aaaa,
        RecordType::CNAME => Kind::Cname,
        RecordType::SRV => Kind::Srv,
        RecordType::PTR => Kind::Ptr,
        RecordType::TXT => Kind::Txt,
        RecordType::NS => Kind::Ns,
        RecordType::SOA => Kind::Soa,
        RecordType::ANY => Kind::Any,
        _ => Kind::Other,
    }
}

fn alias(record: &Record) -> Option<Name> {
    match &record.data {
        RData::CNAME(CNAME(target)) => Some(target.clone()),
        _ => None,
    }
}

/// A record for the wire; `None` for a name that cannot be one, which an object may hold.
fn record(record: &dns::Record) -> Option<Record> {
    let name = |text: &str| -> Option<Name> {
        let mut name = Name::from_ascii(text).ok()?;
        name.set_fqdn(true);
        Some(name)
    };
    let data = match &record.data {
        Data::A(address) => RData::A(A(*address)),
        Data::Aaaa(address) => RData::AAAA(AAAA(*address)),
        Data::Cname(target) => RData::CNAME(CNAME(name(target)?)),
        Data::Ptr(target) => RData::PTR(PTR(name(target)?)),
        Data::Ns(server) => RData::NS(NS(name(server)?)),
        Data::Txt(text) => RData::TXT(TXT::new(vec![text.clone()])),
        Data::Srv { priority, weight, port, target } => {
            RData::SRV(SRV::new(*priority, *weight, *port, name(target)?))
        }
        Data::Soa { server, contact, serial, minimum } => {
            let (server, contact) = (name(server)?, name(contact)?);
            RData::SOA(SOA::new(server, contact, *serial, 7200, 1800, 86_400, *minimum))
        }
    };
    Some(Record::from_rdata(name(&record.name)?, record.ttl, data))
}
