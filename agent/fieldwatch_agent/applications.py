"""Application labels by port: what a flow most likely carries, until something better is known.

Names are those of IANA's service name registry, or the common one where that is better known (IANA's `ms-wbt-server` is
`rdp` to everyone). A port that many programs share has no label rather than a wrong one. The kernel gets the table as
two arrays, one for each transport.
"""

from __future__ import annotations

from functools import cache

PORTS = 65_536

# Label, then its ports: 53 = TCP and UDP, t22 = TCP only, u67 = UDP only, a-b = a range. None: only content tells.
_TABLE = """
# the old Internet
echo 7; discard 9; systat t11; daytime 13; netstat t15; qotd 17; chargen 19; time 37; whois t43; gopher t70
finger t79; ident t113; nntp t119; nntps t563; irc t194 t6660-6667; ircs t6697; uucp t540; talk u517; ntalk u518
rwhois t4321
# the web and files
http t80 t8000 t8008 t8080-8081 t8888; https 443 t8443; quic; ftp-data t20; ftp t21; ftps-data t989; ftps t990
tftp u69; rsync t873; afp t548; nfs 2049; smb t445; iscsi t860 t3260; nbd t10809; svn t3690; git t9418
cvs t2401; perforce t1666; websocket-proxy t3129; squid t3128; socks t1080; fastcgi t9000; ajp t8009
gemini t1965; distcc t3632; ipfs t4001 u4001
# a terminal, a screen
ssh t22; telnet t23; telnets t992; exec t512; login t513; shell t514; klogin t543; kshell t544; rdp 3389
vnc t5900-5909; vnc-http t5800-5809; x11 t6000-6063; xdmcp u177; spice t5930; citrix-ica t1494; citrix-cgp t2598
nomachine 4000; pcanywhere t5631 u5632; radmin t4899; teamviewer 5938; anydesk t7070
rustdesk t21115-21119 u21116; dameware t6129; apple-remote-desktop u3283; winrm t5985; winrms t5986
mosh u60000-60010; cockpit t9090; webmin t10000
# names, time, addresses
dns 53; dns-over-tls t853; dns-over-quic u853; mdns u5353; llmnr 5355; nbns 137; nbds u138; nbss t139; wins 1512
ntp u123; nts-ke t4460; ptp u319-320; dhcp u67-68; dhcpv6 u546-547; dhcp-failover t647; pxe u4011
nat-pmp u5350-5351; ssdp u1900; upnp t2869; wsd u3702; wsd-http t5357; wsd-https t5358; slp 427; stun 3478
stuns 5349; teredo u3544
# mail and talk
smtp t25; submission t587; smtps t465; pop2 t109; pop3 t110; pop3s t995; imap t143; imaps t993; sieve t4190
lmtp t24; sip 5060; sips t5061; h323 t1720; h323-gatekeeper u1718-1719; sccp t2000; sccps t2443
mgcp u2427 u2727; rtp u5004; rtcp u5005; xmpp t5222; xmpp-server t5269; xmpp-bosh t5280; iax u4569; mumble 64738
teamspeak u9987; msnp t1863; aim t5190; matrix-federation t8448; zoom u8801-8810; webex u9000
facetime u16384-16387; push-apple t5223; push-google t5228-5230
# accounts and keys
kerberos 88; kpasswd 464; kerberos-admin t749; ldap 389; ldaps t636; ldap-global-catalog t3268
ldaps-global-catalog t3269; radius u1812 u1645; radius-accounting u1813 u1646
radius-dynamic-authorization u3799; radsec t2083; tacacs t49; diameter t3868; isakmp u500; ipsec-nat-t u4500
msrpc 135; msrpc-http t593; ad-web-services t9389; dfsr t5722
# routers, switches, tunnels
bgp t179; rip u520; ripng u521; ldp 646; bfd u3784-3785 u4784; hsrp u1985; hsrpv6 u2029; msdp t639; olsr u698
babel u6696; glbp u3222; lisp u4341; lisp-control u4342; pim-port t8471; capwap u5246-5247; lwapp u12222-12223
vxlan u4789 u8472; geneve u6081; gre-in-udp u4754; l2tp u1701; pptp t1723; openvpn 1194; wireguard u51820
zerotier u9993; tailscale u41641; nebula u4242; gtp-control u2123; gtp-user u2152; gtp-prime u3386; pcep t4189
openflow t6653 t6633; netconf t830; netconf-call-home t4334; restconf-call-home t4336; gnmi t9339
cisco-ip-sla u1967; cisco-smart-install t4786; mikrotik-api t8728; mikrotik-apis t8729; mikrotik-winbox t8291
mikrotik-discovery u5678; ubiquiti-discovery u10001
# watching
snmp u161; snmp-trap u162; snmp-tls t10161; snmp-trap-tls t10162; syslog u514 t601; syslog-tls t6514
netflow u2055 u9995; ipfix 4739; ipfix-tls 4740; sflow u6343; twamp 862; owamp t861; zabbix-agent t10050
zabbix t10051; nrpe t5666; nsca t5667; munin t4949; collectd u25826; statsd u8125; graphite t2003-2004
influxdb t8086; prometheus-node t9100; alertmanager t9093; grafana t3000; loki t3100; otlp-grpc t4317
otlp-http t4318; jaeger u6831-6832; logstash-beats t5044; gelf 12201; fluentd t24224; splunk-forwarder t9997
splunk-management t8089; checkmk-agent t6556; icinga t5665; ganglia 8649; gearman t4730
# databases and queues
mysql t3306; mysqlx t33060; postgresql t5432; ms-sql t1433; ms-sql-browser u1434; oracle t1521; oracle-tls t2484
db2 t50000; redis t6379; memcached 11211; mongodb t27017-27019; cassandra t9042; couchdb t5984; couchdbs t6984
elasticsearch t9200; elasticsearch-node t9300; neo4j t7687; clickhouse t8123 t9440; solr t8983; riak t8087
rethinkdb t28015; arangodb t8529; firebird t3050; interbase-gds t3051; informix t9088; sybase t4100
hbase t16000 t16020; hdfs t8020 t9870; zookeeper t2181; kafka t9092; amqp t5672; amqps t5671
rabbitmq-management t15672; erlang-portmapper t4369; mqtt t1883; mqtts t8883; stomp t61613; activemq t61616
nats t4222; nats-cluster t6222; nsq t4150; pulsar t6650
# machines and clusters
docker t2375; dockers t2376; docker-swarm t2377 7946; kubernetes t6443; kubelet t10250; etcd t2379-2380
consul t8300-8302 u8301-8302; consul-http t8500; consul-dns 8600; vault t8200; nomad t4646-4648; puppet t8140
salt t4505-4506; chef-push t10002; ipmi u623; ipmi-secure u664; vmware-console t902-903; libvirt t16509
libvirts t16514; proxmox t8006; hyper-v-console t2179; glusterfs t24007-24008; ceph-monitor t3300 t6789
ceph-osd t6800-6829; corosync u5404-5405; pacemaker t3121; spark t7077; cpanel t2082; whm t2086-2087
plesk t8880; directadmin t2222; java-rmi t1099; java-debug t5005; jetdirect t9101-9107; printer t515; ipp 631
nut t3493; apcupsd t3551; adb t5555; sunrpc 111
# things
modbus t502; modbus-tls t802; opc-ua t4840; dnp3 20000; ethernet-ip 44818; ethernet-ip-io u2222; s7comm t102
iec-104 t2404; iec-104-tls t19998; bacnet u47808; profinet-context-manager u34964; omron-fins u9600
knxnet-ip u3671; lonworks u1628-1629; niagara-fox t1911; niagara-foxs t4911; ge-srtp t18245; melsec t5007 u5006
codesys t2455; hart-ip 5094; doip t13400 u13400; someip-discovery u30490; ads t48898; coap u5683; coaps u5684
lwm2m-bootstrap u5685; lifx u56700; wiz u38899; kasa 9999; tuya u6666-6667 t6668; artnet u6454; sacn u5568
dante u4440; chromecast u8008; plex t32400; plex-discovery u32410-32414; sonos t1400; spotify-connect u57621
roku u8060; matter u5540; onvif-rtsp t8554; rtsp 554; rtmp t1935; daap t3689; ndi t5960-5970; shairport t5000
icecast t8001; slimproto t3483; slimdevices u3483; crestron-cip 41794
# play and peers
bittorrent 6881-6889; bittorrent-dht u6771; gnutella 6346-6347; edonkey t4662; kademlia u4672; soulseek t2234
syncthing 22000; syncthing-discovery u21027; dropbox-lan-sync 17500; bitcoin t8333; ethereum 30303
monero t18080; stratum t3333; lightning t9735; tor t9001 t9030; tor-socks t9050 t9150; tor-control t9051
i2p t7654; freenet t9481; minecraft t25565 u19132; steam u27000-27015; quake u27960; battlenet t1119
xbox-live u3074
"""


def _places(text: str) -> tuple[str, range]:
    """("t", "u" or both, ports) of one place in the table."""
    transports, ports = ("tu", text) if text[0].isdigit() else (text[0], text[1:])
    first, _, last = ports.partition("-")
    return transports, range(int(first), int(last or first) + 1)


def _entries() -> list[list[str]]:
    lines = [line for line in _TABLE.strip().splitlines() if not line.startswith("#")]
    return [entry.split() for entry in ";".join(lines).split(";")]


LABELS: list[str] = ["", *(label for label, *_ in _entries())]
"""Label by number; 0 is no label."""


CONTENT_LABELS = {"tls": "https", "http": "http", "smb": "smb", "ssh": "ssh", "quic": "quic"}
"""What the first octets of a flow tell (the kernel's name): its label, where the port says nothing else."""


def content_labels() -> dict[str, int]:
    """Label number of each content that the kernel tells."""
    return {content: LABELS.index(label) for content, label in CONTENT_LABELS.items()}


@cache  # a quarter of a megabyte, the same for every engine
def port_labels() -> tuple[bytes, bytes]:
    """(TCP, UDP): 65,536 label numbers each, u16 little-endian, by port."""
    tables = {transport: bytearray(2 * PORTS) for transport in "tu"}
    for number, (_, *places) in enumerate(_entries(), start=1):
        for transports, ports in map(_places, places):
            for transport in transports:
                for port in ports:
                    tables[transport][2 * port : 2 * port + 2] = number.to_bytes(2, "little")
    return bytes(tables["t"]), bytes(tables["u"])
