//! A DNS server whose answers a test sets.

use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpListener, UdpSocket},
    sync::{Arc, Mutex},
    thread,
};

use simple_dns::{
    CLASS, Name, Packet, PacketFlag, QTYPE, RCODE, ResourceRecord, TYPE,
    rdata::{A, AAAA, CNAME, RData, SRV},
};

use crate::eventually;

#[derive(Default)]
struct Zone {
    records: BTreeMap<String, Vec<ResourceRecord<'static>>>,
    is_broken: bool,
    knows_only_ipv4: bool,
    fails_for_ipv6: bool,
    asked: u64,
}

/// Answers over UDP, and over TCP what is too long for that, for as long as the test's process lives.
pub struct NameServer {
    /// Where it is asked.
    pub address: SocketAddr,
    zone: Arc<Mutex<Zone>>,
}

impl NameServer {
    /// Starts one that knows no name.
    pub fn start() -> Self {
        let (address, udp, tcp) = eventually("a port that UDP and TCP have", || {
            let udp = UdpSocket::bind("127.0.0.1:0").ok()?;
            let address = udp.local_addr().ok()?;
            Some((address, udp, TcpListener::bind(address).ok()?))
        });
        let zone = Arc::new(Mutex::new(Zone::default()));
        let (by_datagram, by_stream) = (Arc::clone(&zone), Arc::clone(&zone));
        thread::spawn(move || {
            let mut query = [0; 512];
            loop {
                let Ok((count, client)) = udp.recv_from(&mut query) else { continue };
                let answer = by_datagram.lock().unwrap().answer(&query[..count], 512);
                if !answer.is_empty() {
                    let _ = udp.send_to(&answer, client);
                }
            }
        });
        thread::spawn(move || {
            for mut stream in tcp.incoming().flatten() {
                let mut length = [0; 2];
                stream.read_exact(&mut length).unwrap();
                let mut query = vec![0; u16::from_be_bytes(length).into()];
                stream.read_exact(&mut query).unwrap();
                let answer = by_stream.lock().unwrap().answer(&query, usize::from(u16::MAX));
                stream.write_all(&(answer.len() as u16).to_be_bytes()).unwrap();
                stream.write_all(&answer).unwrap();
            }
        });
        Self { address, zone }
    }

    /// The name has these addresses from now on, and no others.
    pub fn set_addresses(&self, name: &str, ttl: u32, addresses: &[IpAddr]) {
        let data = addresses.iter().map(|address| match address {
            IpAddr::V4(address) => RData::A(A::from(*address)),
            IpAddr::V6(address) => RData::AAAA(AAAA::from(*address)),
        });
        self.set(name, ttl, data.collect());
    }

    /// The name is another's alias from now on.
    pub fn set_alias(&self, name: &str, ttl: u32, of: &str) {
        self.set(name, ttl, vec![RData::CNAME(CNAME(Name::new(of).unwrap().into_owned()))]);
    }

    /// The name has these services from now on: priority, weight, port and host.
    pub fn set_services(&self, name: &str, ttl: u32, services: &[(u16, u16, u16, &str)]) {
        let data = services.iter().map(|(priority, weight, port, target)| {
            let target = Name::new(target).unwrap().into_owned();
            RData::SRV(SRV { priority: *priority, weight: *weight, port: *port, target })
        });
        self.set(name, ttl, data.collect());
    }

    /// Fails from now on, or works again.
    pub fn set_broken(&self, is_broken: bool) {
        self.zone.lock().unwrap().is_broken = is_broken;
    }

    /// Says nothing at all about IPv6 from now on.
    pub fn forget_ipv6(&self) {
        self.zone.lock().unwrap().knows_only_ipv4 = true;
    }

    /// Fails from now on when it is asked about IPv6, or works again.
    pub fn set_broken_for_ipv6(&self, is_broken: bool) {
        self.zone.lock().unwrap().fails_for_ipv6 = is_broken;
    }

    /// How often it was asked.
    pub fn asked(&self) -> u64 {
        self.zone.lock().unwrap().asked
    }

    fn set(&self, name: &str, ttl: u32, data: Vec<RData<'static>>) {
        let owner = Name::new(name).unwrap().into_owned();
        let records = data.into_iter().map(|data| ResourceRecord::new(owner.clone(), CLASS::IN, ttl, data)).collect();
        self.zone.lock().unwrap().records.insert(name.to_owned(), records);
    }
}

impl Zone {
    fn answer(&mut self, query: &[u8], most: usize) -> Vec<u8> {
        self.asked += 1;
        let query = Packet::parse(query).unwrap();
        let mut answer = Packet::new_reply(query.id());
        answer.questions = query.questions.clone();
        let (mut name, kind) = (query.questions[0].qname.to_string(), query.questions[0].qtype);
        let is_ipv6 = kind == QTYPE::TYPE(TYPE::AAAA);
        if self.knows_only_ipv4 && is_ipv6 {
            return Vec::new();
        }
        if self.is_broken || (self.fails_for_ipv6 && is_ipv6) {
            *answer.rcode_mut() = RCODE::ServerFailure;
            return answer.build_bytes_vec().unwrap();
        }
        loop {
            let Some(records) = self.records.get(&name) else {
                *answer.rcode_mut() = RCODE::NameError;
                break;
            };
            if let [alias @ ResourceRecord { rdata: RData::CNAME(of), .. }] = &records[..] {
                answer.answers.push(alias.clone());
                name = of.0.to_string();
                continue;
            }
            answer.answers.extend(records.iter().filter(|record| record.match_qtype(kind)).cloned());
            break;
        }
        let bytes = answer.build_bytes_vec().unwrap();
        if bytes.len() <= most {
            return bytes;
        }
        answer.answers.clear();
        answer.set_flags(PacketFlag::TRUNCATION);
        answer.build_bytes_vec().unwrap()
    }
}
