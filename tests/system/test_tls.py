"""Certificates: who is let in and for what, how hosts join, how certificates are renewed, revoked and replaced, all
while hosts run.

The lab has an authority on h1, a certificate for each host, and an operator's on the client.
"""
import base64
import json
import os
import ssl
import time

import pytest

from cluster import Guest, wait_for
from lab import DROVER

PORT = 7790
HOST_TLS = "/var/lib/drover/tls"
OPERATOR_TLS = "/etc/drover/tls"
ADDRESSES = {"h1": "10.79.0.1", "h2": "10.79.0.2", "h3": "10.79.0.3"}
SOCKET = "/run/drover/droverd.sock"
CLIENT = "10.79.0.254"
OUTSIDER = 65534
GROUP = 7789


@pytest.fixture(scope="module")
def guest(lab, hosts):
    made = Guest(lab, hosts, "mover", "10.77.0.31").create("h1")
    made.start("h1")
    yield made
    made.stop("h1")


def curl(lab, node, to, path="/v1/host", *options, role="host", body=None):
    """Status (0: no answer at all) and JSON of a request; `role` None shows no certificate."""
    folder = HOST_TLS if node in ADDRESSES else OPERATOR_TLS
    shown = ["--cert", f"{folder}/{role}.crt", "--key", f"{folder}/{role}.key"] if role else []
    sent = ["-H", "Expect:", "--data-binary", "@-"] if body is not None else []
    done = lab.run(node, "curl", "-s", "-m", "20", "-w", "\n%{http_code}", "--cacert", f"{folder}/ca.crt", *shown, *sent,
                   *options, f"https://{ADDRESSES[to]}:{PORT}{path}", input=body or "", check=False)
    text, _, status = done.stdout.rpartition("\n")
    return int(status), json.loads(text) if text else None


def call(lab, node, to, method, path, body=None, role="host"):
    return curl(lab, node, to, path, "-X", method, role=role, body=None if body is None else json.dumps(body))


def drover(lab, host, *words, check=True, **options):
    return lab.run(host, DROVER, *words, check=check, **options)


def own_certificate(lab, host):
    return lab.drover(host, "host", "show")["certificate"]


def serials(lab, name):
    """Of the certificates that are good."""
    return [entry["serial"] for entry in lab.drover("h1", "ca", "list")["certificates"]
            if entry["name"] == name and entry["revoked_at"] is None]


def make_token(lab, hosts, name, **fields):
    status, answer = hosts["h1"].call("POST", "/v1/ca/tokens", {"name": name, **fields})
    assert status == 201, answer
    return answer["token"]


def join(lab, node, token, folder, to="h1", check=True):
    return drover(lab, node, "ca", "join", f"{ADDRESSES[to]}:{PORT}", "--join-token-file", "-", "--folder", folder,
                  input=token, check=check)


def join_again(lab, hosts, host):
    """A certificate for a host that lost its own; its agent finds it by itself."""
    join(lab, host, make_token(lab, hosts, host, addresses=[ADDRESSES[host]]), HOST_TLS)
    wait_for(f"{host} to be trusted again", lambda: drover(lab, host, "ca", "renew", check=False).returncode == 0, 15)


# ---- who is let in

def test_hosts_talk_over_tls_only(lab):
    assert curl(lab, "h2", "h1")[0] == 200
    plain = lab.run("h2", "curl", "-s", "-m", "5", f"http://{ADDRESSES['h1']}:{PORT}/v1/host", check=False)
    assert plain.returncode != 0 and plain.stdout == ""
    assert curl(lab, "h2", "h1", "/v1/host", "--tls-max", "1.2")[0] == 0


def test_who_shows_nothing_gets_nothing(lab):
    for path in ("/v1/host", "/v1/vms", "/v1/ca/trust", "/v1/nothing"):
        status, answer = curl(lab, "h2", "h1", path, role=None)
        assert status == 401 and "certificate" in answer["error"]["message"], answer


def test_an_operator_is_let_in_by_certificate_or_token(lab):
    assert curl(lab, "client", "h2", "/v1/vms", role="operator")[0] == 200
    token = lab.run("client", "cat", "/etc/drover/token").stdout.strip()
    assert curl(lab, "client", "h2", "/v1/vms", "-H", f"Authorization: Bearer {token}", role=None)[0] == 200
    assert curl(lab, "client", "h2", "/v1/vms", "-H", "Authorization: Bearer no", role=None)[0] == 401
    assert "h2" in drover(lab, "client", "--connect", f"https://{ADDRESSES['h2']}:{PORT}", "host", "show").stdout


@pytest.mark.parametrize("method, path, body", [
    ("GET", "/v1/vms", None), ("POST", "/v1/vms", {"config": {"name": "x"}}), ("DELETE", "/v1/vms/x", None),
    ("POST", "/v1/vms/x/start", {}), ("POST", "/v1/vms/x/stop", {"force": True}), ("POST", "/v1/vms/x/migrate", {"to": "h2"}),
    ("GET", "/v1/tasks", None), ("POST", "/v1/tasks/x/cancel", {}), ("POST", "/v1/ca/tokens", {"name": "h9"}),
    ("GET", "/v1/ca/certificates", None), ("POST", "/v1/ca/revoke", {"name": "h3"}), ("POST", "/v1/ca/rollover", {}),
    ("POST", "/v1/tls/renew", {}),
])
def test_a_host_steers_no_other(lab, method, path, body):
    status, answer = call(lab, "h2", "h1", method, path, body)
    assert status == 403 and "h2" in answer["error"]["message"], answer


def test_a_host_opens_no_console_of_another(lab):
    status, answer = curl(lab, "h2", "h1", "/v1/vms/x/console", "-H", "Connection: Upgrade", "-H", "Upgrade: websocket",
                          "-H", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "-H", "Sec-WebSocket-Version: 13")
    assert status == 403, answer


def test_a_host_offers_machines_in_its_own_name_only(lab):
    for path in ("/v1/incoming", "/v1/incoming/check"):
        status, answer = call(lab, "h2", "h1", "POST", path, {"source": {"name": "h3"}})
        assert status == 403 and "in the name of host h3" in answer["error"]["message"]
        assert call(lab, "h2", "h1", "POST", path, {"source": {"name": "h2"}})[0] == 400


def test_a_host_that_is_no_peer_is_refused(lab, hosts):
    folder = "/var/lib/drover/stranger"
    join(lab, "h2", make_token(lab, hosts, "h9"), folder)
    lab.run("h2", "ln", "-s", f"{folder}/host.crt", f"{HOST_TLS}/h9.crt")
    lab.run("h2", "ln", "-s", f"{folder}/host.key", f"{HOST_TLS}/h9.key")
    status, answer = curl(lab, "h2", "h1", role="h9")
    assert status == 403 and "h9 is no peer" in answer["error"]["message"]
    assert curl(lab, "h2", "h1", "/v1/ca/trust", role="h9")[0] == 200


@pytest.mark.parametrize("length", [100, 5000, 16384, 17000, 40000, 500000, 1000000])
def test_requests_of_any_length_arrive_whole(lab, length):
    status, answer = call(lab, "h2", "h1", "POST", "/v1/incoming/check", {"source": {"name": "h2"}, "x": "y" * length})
    assert status == 400, answer


# ---- the UNIX socket

@pytest.fixture
def group(lab, hosts):
    """The group drover, on h1 alone (its mounts are its own), with the agent started anew."""
    lab.run("h1", "sh", "-c", f"(cat /etc/group; echo drover:x:{GROUP}:) > /run/drover/group && "
                              "mount --bind /run/drover/group /etc/group")
    restart(lab, "h1")
    yield
    lab.run("h1", "umount", "/etc/group")
    restart(lab, "h1")


def restart(lab, host):
    lab.agent(host, "stop")
    lab.agent(host, "start")


def ask_as(lab, group):
    """HTTP status for somebody who is not root; 0 when the socket does not even let him connect."""
    done = lab.run("h1", "setpriv", f"--reuid={OUTSIDER}", f"--regid={OUTSIDER}", f"--groups={group}", "curl", "-s",
                   "-o", "/dev/null", "-w", "%{http_code}", "--unix-socket", SOCKET, "http://localhost/v1/vms", check=False)
    return int(done.stdout)


def test_the_socket_is_for_root_and_the_group(lab, group):
    assert lab.run("h1", "stat", "-c", "%a %u %g", SOCKET).stdout == f"660 0 {GROUP}\n"
    assert ask_as(lab, GROUP) == 200
    assert ask_as(lab, OUTSIDER) == 0
    lab.run("h1", "chmod", "666", SOCKET)  # a mistake: who it is counts all the same
    assert ask_as(lab, OUTSIDER) == 403
    assert ask_as(lab, GROUP) == 200


def test_without_the_group_the_socket_is_for_root(lab):
    assert lab.run("h1", "stat", "-c", "%a %u", SOCKET).stdout == "600 0\n"
    lab.run("h1", "chmod", "666", SOCKET)
    assert ask_as(lab, GROUP) == 403
    lab.run("h1", "chmod", "600", SOCKET)


# ---- joining

def test_a_token_is_good_once_and_only_at_the_authority(lab, hosts):
    token = make_token(lab, hosts, "h8")
    wrong_place = join(lab, "h3", token, "/var/lib/drover/h8", to="h2", check=False)
    assert wrong_place.returncode != 0 and "do not trust each other" in wrong_place.stderr
    join(lab, "h3", token, "/var/lib/drover/h8")
    again = join(lab, "h3", token, "/var/lib/drover/h8b", check=False)
    assert again.returncode != 0 and "used already" in again.stderr
    assert lab.run("h3", "stat", "-c", "%a", "/var/lib/drover/h8/host.key").stdout == "600\n"


def test_a_token_ends(lab, hosts):
    token = make_token(lab, hosts, "h8", lifetime_s=1)
    time.sleep(2.5)
    late = join(lab, "h3", token, "/var/lib/drover/late", check=False)
    assert late.returncode != 0 and "or is over" in late.stderr


def test_no_secret_is_in_a_log_or_in_the_authoritys_file(lab, hosts):
    token = make_token(lab, hosts, "h7")
    join(lab, "h3", token, "/var/lib/drover/h7")
    secret = json.loads(decode(token))["secret"]
    seen = lab.agent_log("h1") + lab.agent_log("h3") + lab.run("h1", "cat", "/var/lib/drover/ca/ca.json").stdout
    assert token not in seen and secret not in seen
    key = lab.run("h3", "cat", "/var/lib/drover/h7/host.key").stdout.splitlines()[1]
    assert key not in seen


def decode(token):
    return base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))


def test_a_host_that_joins_needs_no_restart(lab, hosts):
    (pid,) = hosts["h3"].processes("droverd")
    lab.run("h3", "sh", "-c", f"rm {HOST_TLS}/*")
    restart(lab, "h3")
    problem = own_certificate(lab, "h3")["problem"]
    assert "ca.crt" in problem
    assert curl(lab, "h2", "h3")[0] == 0
    token = make_token(lab, hosts, "h3", addresses=[ADDRESSES["h3"]])
    (pid,) = hosts["h3"].processes("droverd")
    join(lab, "h3", token, HOST_TLS)
    wait_for("the agent to find its certificate", lambda: curl(lab, "h2", "h3")[0] == 200, 10)
    assert hosts["h3"].processes("droverd") == [pid]


# ---- renewing

def test_certificates_are_renewed_while_a_machine_moves(lab, guest):
    task = guest.begin_move("h2", bandwidth_limit=16 << 20)
    task.wait_for_data()
    for host in ("h1", "h2"):
        before = serials(lab, host)
        drover(lab, host, "ca", "renew")
        assert len(serials(lab, host)) == len(before) + 1
    ended = task.end()
    assert ended["state"] == "succeeded", ended
    back = guest.begin_move("h1").end()
    assert back["state"] == "succeeded", back


def set_lifetime(lab, seconds):
    """Of the certificates that the authority issues from now on; what it was."""
    path = os.path.join(lab.root, "labs", lab.name, "h1", "state", "ca", "ca.json")
    with open(path) as file:
        state = json.load(file)
    before, state["certificate_lifetime_s"] = state["certificate_lifetime_s"], seconds
    with open(path, "w") as file:
        json.dump(state, file)
    return before


def test_an_agent_renews_in_time_by_itself(lab, hosts):
    (pid,) = hosts["h2"].processes("droverd")
    usual = set_lifetime(lab, 9)
    drover(lab, "h2", "ca", "renew")
    first = own_certificate(lab, "h2")
    set_lifetime(lab, usual)
    wait_for("another certificate", lambda: own_certificate(lab, "h2")["not_after"] > first["not_after"] + 3600, 20)
    assert curl(lab, "h1", "h2")[0] == 200
    assert hosts["h2"].processes("droverd") == [pid]


# ---- revoking

def test_who_is_revoked_is_refused_at_once_everywhere(lab, hosts):
    assert curl(lab, "h3", "h1")[0] == 200
    told = lab.drover("h1", "ca", "revoke", "h3")
    assert told["told"] == ["h2"] and told["not_told"] == []
    for host in ("h1", "h2"):
        assert curl(lab, "h3", host)[0] == 0
        status, answer = hosts[host].call("POST", "/v1/vms/nobody/migrate", {"to": "h3"})
        assert status >= 400, answer
        assert curl(lab, host, "h3")[0] == 200  # whoever checks by a name and the authority alone: curl has no list
    failed = drover(lab, "h3", "ca", "renew", check=False)
    assert failed.returncode != 0 and "join again" in failed.stderr
    assert not serials(lab, "h3")
    join_again(lab, hosts, "h3")


def test_a_host_that_was_away_learns_it_when_it_is_back(lab, hosts):
    join(lab, "h3", make_token(lab, hosts, "h3", addresses=[ADDRESSES["h3"]]), "/var/lib/drover/second")
    lab.agent("h2", "stop")
    told = lab.drover("h1", "ca", "revoke", "h3")
    assert [missed["host"] for missed in told["not_told"]] == ["h2"]
    lab.agent("h2", "start")
    wait_for("h2 to know", lambda: curl(lab, "h3", "h2")[0] == 0, 15)
    join_again(lab, hosts, "h3")


def test_a_console_ends_with_its_operators_certificate(lab, hosts, guest):
    folder = "/etc/drover/visitor"
    join(lab, "client", make_token(lab, hosts, "visitor", role="operator"), folder)
    console = lab.start("client", DROVER, "--tls", folder, "--connect", f"https://{ADDRESSES['h1']}:{PORT}", "vm",
                        "console", guest.name, stdin=-1, stdout=-1, stderr=-1)
    wait_for("a connection", lambda: CLIENT in lab.run("h1", "ss", "-tn", "state", "established").stdout, 10)
    time.sleep(1)  # what is refused ends sooner
    assert console.poll() is None
    drover(lab, "h1", "ca", "revoke", "visitor", "--operator")
    assert console.wait(timeout=10) is not None
    console.communicate()
    assert not taken(lab, guest)


def taken(lab, guest):
    done = lab.run("h1", DROVER, "vm", "console", guest.name, check=False)
    return "in use" in done.stderr


def test_the_authoritys_own_host_is_not_revoked(lab):
    refused = drover(lab, "h1", "ca", "revoke", "h1", check=False)
    assert refused.returncode == 4 and "holds the certificate authority" in refused.stderr
    elsewhere = drover(lab, "h2", "ca", "list", check=False)
    assert elsewhere.returncode != 0 and "ask host h1" in elsewhere.stderr


# ---- a new authority

def test_a_new_authority_takes_over(lab, hosts):
    for name in {entry["name"] for entry in lab.drover("h1", "ca", "list")["certificates"]} - set(ADDRESSES) - {"lab"}:
        for role in ([], ["--operator"]):
            drover(lab, "h1", "ca", "revoke", name, *role, check=False)
    before = own_certificate(lab, "h2")["authority"]
    assert lab.drover("h1", "ca", "rollover")["stage"] == "announced"
    assert own_certificate(lab, "h2")["authority"] == before
    lab.agent("h3", "stop")
    left_out = drover(lab, "h1", "ca", "rollover", check=False)
    assert left_out.returncode != 0 and "host h3 does not know of the new authority" in left_out.stderr
    lab.agent("h3", "start")
    assert lab.drover("h1", "ca", "rollover")["stage"] == "switched"
    for host in ADDRESSES:
        wait_for(f"{host} to renew", lambda: own_certificate(lab, host)["authority"] != before, 15)
    in_use = drover(lab, "h1", "ca", "rollover", check=False)
    assert in_use.returncode != 0 and "operator lab still has a certificate of the old" in in_use.stderr
    join(lab, "client", make_token(lab, hosts, "lab", role="operator"), OPERATOR_TLS)
    assert lab.drover("h1", "ca", "rollover")["stage"] == "single"
    for host in ADDRESSES:
        for other in set(ADDRESSES) - {host}:
            assert curl(lab, host, other)[0] == 200
    assert curl(lab, "client", "h3", role="operator")[0] == 200


# ---- who only keeps others waiting

def hello():
    """The first message of a handshake."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    link = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname="h1")
    with pytest.raises(ssl.SSLWantReadError):
        link.do_handshake()
    return outgoing.read()


def test_silent_connections_are_bounded_and_end(lab, hosts):
    """Half handshakes and nothing at all, more than the agent takes: it serves on, and is free of them in the end."""
    begun = hosts["h1"].agent_descriptors()
    first = hello()
    silent = []
    for number in range(420):
        link = hosts["h2"].connect((ADDRESSES["h1"], PORT))
        silent.append(link)
        if number % 3 == 1:
            link.sendall(first)
        elif number % 3 == 2:
            link.sendall(first[:40])
    assert hosts["h1"].agent_descriptors() < begun + 400
    assert hosts["h1"].get("/v1/host")["name"] == "h1"
    wait_for("the agent to hang up", lambda: hosts["h1"].agent_descriptors() <= begun + 5, 60)
    assert curl(lab, "h2", "h1")[0] == 200
    for link in silent:
        link.close()
