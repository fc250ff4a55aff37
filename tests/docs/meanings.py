"""What each setting means, for people.  A test holds that none is missing and none is left over."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

ZONE: Final[Mapping[str, str]] = {
    "zone": "Name of the zone. Without it, the datacenter of the Consul agent.",
    "trust_domain": "SPIFFE trust domain. All zones of a mesh share it, for good.",
    "data_dir": "Directory for the admin token, the bundle and, without Vault, the CA.",
    "embedded": "Run the embedded registry instead of using Consul: `true`, or the settings below.",
    "embedded.listen": "Where the embedded registry listens.",
    "embedded.neighbours": "URLs of the embedded registries of other zones, by name. All have the "
    "same token (`registry-token` in `data_dir`).",
    "consul.url": "HTTP API of a Consul agent of this datacenter.",
    "consul.token_file": "File with the zone's ACL token.",
    "consul.ca_file": "CA of Consul's TLS.",
    "consul.cert_file": "Client certificate for Consul; needs `key_file`.",
    "consul.key_file": "Its key.",
    "consul.max_watches": "Services watched by a blocking query each; those beyond are swept. "
    "Keep it well below the agent's `http_max_conns_per_client`.",
    "ca.mode": "Who signs: `builtin` (a root in `data_dir`), `vault` (an intermediate that Vault "
    "signed, its key in memory), `vault-sign` (Vault signs every leaf).",
    "ca.leaf_ttl": "Life of a certificate; it is renewed at half of it.",
    "ca.intermediate_ttl": "Life of the zone's intermediate; must exceed `leaf_ttl`.",
    "ca.vault": "How Vault is reached; required with the modes `vault` and `vault-sign`.",
    "ca.vault.address": "Vault's URL.",
    "ca.vault.auth.token_file": "File with a Vault token. Give this or `approle`.",
    "ca.vault.auth.approle": "Log in by AppRole. Give this or `token_file`.",
    "ca.vault.auth.approle.role_id_file": "File with the role id.",
    "ca.vault.auth.approle.secret_id_file": "File with the secret id.",
    "ca.vault.mount": "Path of the PKI mount.",
    "ca.vault.role": "Role that signs leaves in mode `vault-sign`.",
    "ca.vault.ca_file": "CA of Vault's TLS.",
    "ca.vault.namespace": "Vault namespace.",
    "listen.api": "Enrolment and administration, HTTPS.",
    "listen.xds": "xDS, gRPC with mutual TLS.",
    "listen.metrics": "Metrics and health, plain HTTP.",
    "advertise.api": "What agents are told to dial for the API. Without it, what is listened on; "
    "this host's name where that is every address.",
    "advertise.xds": "What agents are told to dial for xDS: every instance of the zone.",
    "enrolment.rate": "Certificates a second, all callers together.",
    "enrolment.burst": "Certificates at once, all callers together.",
    "enrolment.per_address.rate": "Requests a second of one address (one /64 for IPv6).",
    "enrolment.per_address.burst": "Requests at once of one address.",
    "enrolment.reattest_for": "How long after its last certificate a host may prove itself again "
    "with its used join token.",
    "enrolment.max_token_ttl": "The longest life of a join token; not above `reattest_for`.",
    "admin.token_file": "File with the admin token. Without it, `admin-token` in `data_dir`, made "
    "at the first start.",
    "log.level": "What is logged.",
    "log.format": "`json` for programs, `text` for people.",
}

PROXY: Final[Mapping[str, str]] = {
    "service": "The service that this proxy is for.",
    "id": "The instance. Without it, `<service>-<host name>-<digest of the machine>`, kept from "
    "the first start on, whatever the host is called later.",
    "zone_api": "Addresses of the zone's API.",
    "join_token_file": "File with a join token. Give this or `consul_token_file`.",
    "consul_token_file": "File with a Consul token that may register the service; needs "
    "`bundle_file`.",
    "bundle_file": "The mesh's trust bundle (`mesh ca bundle`). A join token pins it by itself.",
    "machine_uuid_file": "A copy of `/sys/class/dmi/id/product_uuid`, which only root may read: it "
    "tells the machine from a copy of it.",
    "state_dir": "What this proxy remembers; its owner's only.",
    "role": "What the proxy is for. A gateway has no application; between zones its service is "
    "`mesh-gateway`, or `mesh-egress` for egress.",
    "inbound_address": "Address on which callers are served.",
    "inbound_port": "Port on which callers are served; 10001 for a zone gateway, 10002 for egress, "
    "10003 for an edge gateway, where it tells load balancers how it is.",
    "wan_address": "Where other zones dial a gateway, if that is not its advertised address.",
    "files_dir": "Where an egress gateway finds the files that `terminating-gateway` entries name; "
    "`/etc/mesh/egress` where nothing is said.",
    "advertise_address": "Address that callers dial. Without it, `inbound_address` if that is one "
    "address, else this host's address towards the zone.",
    "app": "Where the application listens. Without it, the proxy only calls.",
    "capture": "Where connections of the application arrive that are redirected to the proxy, by "
    "convention `127.0.0.1:15001` (and `[::1]:15001` with it): those to virtual addresses go to "
    "services of the mesh, of the others MeshPassthrough says which pass. Without it, nothing is "
    "captured.",
    "dns": "Where questions (UDP) for names of the mesh arrive that are redirected to the proxy, "
    "by convention `127.0.0.1:15053`: it answers with virtual addresses.",
    "upstreams": "Services that the application calls: `service:port` or `service:address:port`, "
    "the place on this host where it finds them.",
    "registration": "Who is told of the instance: the Consul agent of this host, the zone, nobody.",
    "tags": "Tags of the registered service.",
    "meta": "Metadata of the registered service.",
    "labels": "Labels by which policies select this proxy, beside `service` and `zone`; they are "
    "registered as metadata, too.",
    "consul.url": "HTTP API of this host's Consul agent.",
    "consul.token_file": "File with a token that may register the service.",
    "consul.ca_file": "CA of Consul's TLS.",
    "vault": "The Vault with an edge gateway's certificates for clients.",
    "vault.address": "Vault's URL.",
    "vault.auth.token_file": "File with a Vault token, read at each use. Give this or `approle`.",
    "vault.auth.approle": "Log in by AppRole. Give this or `token_file`.",
    "vault.auth.approle.role_id_file": "File with the role id.",
    "vault.auth.approle.secret_id_file": "File with the secret id.",
    "vault.auth.approle.mount": "Where the method is mounted.",
    "vault.ca_file": "CA of Vault's TLS.",
    "vault.namespace": "Vault namespace.",
    "vault.refresh": "How often a certificate in the key/value store is read again.",
    "health.kind": "How the application's health is found: a TCP connect, an HTTP GET, or not.",
    "health.path": "Path of the HTTP check.",
    "health.interval": "How often.",
    "listen": "Readiness and metrics, plain HTTP.",
    "app_metrics_url": "The application's own metrics, to be shown on the same page.",
    "drain": "How long a stop waits for open connections.",
    "envoy": "Another Envoy than the bundled one.",
    "concurrency": "Envoy's worker threads.",
    "log_level": "What the agent and Envoy log.",
}

RATELIMIT: Final[Mapping[str, str]] = {
    "listen.grpc": "Where proxies ask; on loopback, for its own proxy stands in front of it.",
    "listen.health": "Readiness and metrics, plain HTTP.",
    "memory.max_counters": "Counters in memory; beyond them, what is new is refused.",
    "redis": "Without it, counters are in memory; with it, `memory` is refused.",
    "redis.url": "`redis://host:port/database`, or `rediss://` for TLS.",
    "redis.username": "Name of the Redis user.",
    "redis.password_file": "File with the password.",
    "redis.ca_file": "CA of the TLS of Redis.",
    "redis.timeout": "How long an answer of Redis is waited for.",
    "redis.max_connections": "Connections to Redis.",
    "redis.key_prefix": "How the keys in Redis begin.",
    "response_headers": "Whether callers are told what is left of a limit, in headers "
    "`RateLimit-Limit`, `RateLimit-Remaining` and `RateLimit-Reset`.",
    "grace": "How long a stop waits for calls under way.",
    "log.level": "What is logged.",
    "log.format": "`json` for programs, `text` for people.",
}

CAPTURE: Final[Mapping[str, str]] = {
    "trust_domain": "The zone's trust domain: it tells the mesh's IPv6 addresses.",
    "proxies[].service": "The service whose proxy it is.",
    "proxies[].users": "Users (names or uids) whose connections it takes. With neither `users` nor "
    "`cgroups`, it takes everybody's but root's whom no other proxy takes.",
    "proxies[].cgroups": "Cgroups, as `system.slice/web.service`, whose processes' connections it "
    "takes; a cgroup stands over a user.",
    "proxies[].outbound": "The port of the setting `capture` of its proxy. Without it, nothing "
    "that applications send is captured.",
    "proxies[].to": "`mesh`: connections to the mesh's virtual addresses; `all`: to everywhere.",
    "proxies[].inbound": "Port of the application, and the proxy's `inbound_port`, to which "
    "connections from other hosts go instead.",
    "exclude.ports": "Destination ports that are not captured, beside 22.",
    "exclude.cidrs": "Destinations that are not captured, beside loopback, link-local and "
    "multicast.",
    "exclude.users": "Users whose connections are not captured, beside those of the proxies, of "
    "Consul, Vault, sshd and systemd.",
    "dns": "Without it, names are left alone.",
    "dns.port": "The port of the setting `dns` of one of this host's proxies.",
}
