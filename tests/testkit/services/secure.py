"""What makes services safe to reach over a network that is not trusted, for tests: certificates, users with rights, and a
gate of TLS and a login before a registry that has neither.

    secure.py certificates FOLDER
    secure.py admit BOOTSTRAP USER PASSWORD [RIGHT ...]      RIGHT: topic:efd.:read,write  group:efd.:read
    secure.py gate PORT FOLDER USER PASSWORD TARGET

Every RIGHT is for names that begin so. The last line printed is JSON.
"""

import base64
import datetime
import http.server
import ipaddress
import json
import pathlib
import ssl
import sys
import urllib.error
import urllib.request


def certificates(folder):
    """ca.crt, server.pem (key and certificate for 127.0.0.1), and other-ca.crt, which signed nothing."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    now = datetime.datetime.now(datetime.timezone.utc)

    def certificate(name, key, issuer=None, issuer_key=None):
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        names = x509.SubjectAlternativeName(
            [x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        )
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer.subject if issuer else subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=2))
            .add_extension(
                x509.BasicConstraints(ca=issuer is None, path_length=None),
                critical=True,
            )
        )
        if issuer:
            builder = builder.add_extension(names, critical=False)
        return builder.sign(issuer_key or key, hashes.SHA256())

    def pem(item):
        return item.public_bytes(serialization.Encoding.PEM)

    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(3)]
    authority = certificate("test authority", keys[0])
    server = certificate("test server", keys[1], authority, keys[0])
    (folder / "ca.crt").write_bytes(pem(authority))
    (folder / "other-ca.crt").write_bytes(pem(certificate("another", keys[2])))
    key = keys[1].private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    (folder / "server.pem").write_bytes(key + pem(server))
    print(json.dumps({"folder": str(folder)}))


def admit(bootstrap, user, password, rights):
    from confluent_kafka import admin

    client = admin.AdminClient({"bootstrap.servers": bootstrap})
    scram = admin.ScramCredentialInfo(admin.ScramMechanism.SCRAM_SHA_512, 4096)
    upsert = admin.UserScramCredentialUpsertion(user, scram, password.encode())
    for future in client.alter_user_scram_credentials([upsert]).values():
        future.result(30)
    bindings = []
    for right in rights:
        kind, prefix, operations = right.split(":")
        for operation in operations.split(","):
            bindings.append(
                admin.AclBinding(
                    admin.ResourceType[kind.upper()],
                    prefix,
                    admin.ResourcePatternType.PREFIXED,
                    f"User:{user}",
                    "*",
                    admin.AclOperation[operation.upper()],
                    admin.AclPermissionType.ALLOW,
                )
            )
    if bindings:
        for future in client.create_acls(bindings).values():
            future.result(30)
    print(json.dumps({"user": user, "rights": len(bindings)}))


def gate(port, folder, user, password, target):
    wanted = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()

    class Gate(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self, status, body, kind="application/json"):
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def forward(self):
            length = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(length) if length else None
            if self.headers.get("Authorization") != wanted:
                return self.answer(401, b'{"error_code":401,"message":"who are you"}')
            request = urllib.request.Request(
                target + self.path, data=body, method=self.command
            )
            for name in ("Accept", "Content-Type"):
                if self.headers.get(name):
                    request.add_header(name, self.headers[name])
            try:
                with urllib.request.urlopen(request, timeout=30) as answer:
                    self.answer(answer.status, answer.read())
            except urllib.error.HTTPError as error:
                self.answer(error.code, error.read())
            except urllib.error.URLError as error:
                self.answer(502, json.dumps({"message": str(error)}).encode())

        do_GET = do_POST = do_PUT = do_DELETE = forward

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", int(port)), Gate)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pathlib.Path(folder) / "server.pem")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    print("ready", flush=True)
    server.serve_forever()


match sys.argv[1:]:
    case ["certificates", folder]:
        certificates(folder)
    case ["admit", bootstrap, user, password, *rights]:
        admit(bootstrap, user, password, rights)
    case ["gate", port, folder, user, password, target]:
        gate(port, folder, user, password, target)
    case _:
        sys.exit(__doc__)
