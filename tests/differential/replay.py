"""Forwarded messages, given to a server again: does it see the same?"""

import base64
import binascii
import collections
import concurrent.futures
import json
import re
import socket
import time

import origins

# Behind each message, on the same connection.
LAST = b"GET /last HTTP/1.1\r\nHost: last.test\r\nConnection: close\r\n\r\n"

# Servers that leave chunked bodies to their applications, by their documentation.
WITHOUT_CHUNKS = {"http.server"}

# Of several lines with the same name, these show their applications the last one.
KEEP_LAST = {"cheroot"}

# Characters that a URI has only escaped; some servers escape them, which makes no difference (RFC 3986, section 2.1).
ESCAPED = {ord(character): f"%{ord(character):02X}" for character in '"<>\\^`{|}'}


def answers(data, method):
    """The answers in a stream: status, and what the server saw, if it says so."""
    found = []
    while data:
        head, end, data = data.partition(b"\r\n\r\n")
        status = re.match(rb"HTTP/1\.[01] (\d\d\d)", head)
        if not status or not end:
            found.append((0, None))
            break
        status = int(status[1])
        if status < 200:
            continue
        fields = {}
        for line in head.split(b"\r\n")[1:]:
            name, _, value = line.partition(b":")
            fields[name.strip().lower()] = value.strip()
        body, echoed = b"", fields.get(b"x-echo")
        if method == "HEAD" or status in (204, 304):
            pass
        elif fields.get(b"transfer-encoding", b"").lower() == b"chunked":
            size = -1
            while size != 0 and data:
                line, _, data = data.partition(b"\r\n")
                try:
                    size = int(line.partition(b";")[0], 16)
                except ValueError:
                    break
                body, data = body + data[:size], data[size + 2 :]
        elif b"content-length" in fields:
            length = int(fields[b"content-length"])
            body, data = data[:length], data[length:]
        else:
            body, data = data, b""
        method = "GET"
        try:
            found.append((status, json.loads(base64.b64decode(echoed or body, validate=True))))
        except (binascii.Error, ValueError):
            found.append((status, None))
    return found


def ask(port, raw, method):
    data = b""
    with socket.create_connection(("127.0.0.1", port), 20) as stream:
        stream.settimeout(3)
        try:
            stream.sendall(raw + LAST)
            while part := stream.recv(1 << 16):
                data += part
        except ConnectionError:
            pass
        except TimeoutError:
            return answers(data, method), True
    return answers(data, method), False


def plain(target):
    # ASGI has no empty query.
    return re.sub("%(?![0-9A-Fa-f]{2})", "%25", target.translate(ESCAPED)).removesuffix("?")


def differences(raw, expected, seen, keeps_last):
    if plain(seen["target"]) != plain(expected["target"]):
        yield "target", expected["target"], seen["target"]
    for key in ("method", "body"):
        if seen[key] != expected[key]:
            yield key, expected[key], seen[key]
    for name in sorted({*expected["headers"], *seen["headers"]}):
        one, other = (view["headers"].get(name) for view in (expected, seen))
        if b"\n" + name.replace("-", "_").encode() in raw:
            # Underscores are an application's own affair: some servers drop these names, some give them hyphens.
            continue
        if keeps_last and one and other and one.split(", ")[-1] == other:
            continue
        if re.sub(r"\s*,\s*", ",", one or "") != re.sub(r"\s*,\s*", ",", other or ""):
            yield name, one, other


def verdict(name, raw, expected, port):
    """What the server made of a message: "same", "refused", or how it differs."""
    got, hangs = ask(port, raw, expected["method"])
    statuses = [status for status, _ in got]
    if not got:
        return "says nothing" if hangs else "closes", statuses
    status, seen = got[0]
    if seen is None:
        # A part of what was asked for, or what the server itself has to say of `OPTIONS *`.
        kind = f"refused {status}" if status >= 400 else f"answered by itself {status}"
        others = [other for _, other in got[1:] if other and other["target"] != "/last"]
        return (f"refused {status}, and took the rest for a request" if others else kind), statuses
    different = list(differences(raw, expected, seen, name in KEEP_LAST))
    if different:
        return "differs in " + ", ".join(sorted({key for key, _, _ in different})), different
    if len(got) > 2 or len(got) == 2 and (not got[1][1] or got[1][1]["target"] != "/last"):
        return "lost its place", got
    return "same" if len(got) == 2 else "same, and closed", None


def replay(name, forwarded, show):
    """Gives a server all of them. Prints what it made of them; how many it took for something else."""
    start = time.monotonic()
    origin = origins.Origin(name)
    kinds = collections.defaultdict(list)
    try:
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            if name in WITHOUT_CHUNKS:
                forwarded = {raw: it for raw, it in forwarded.items() if b"\r\ntransfer-encoding:" not in raw.lower()}
            work = {pool.submit(verdict, name, raw, it[2], origin.port): (raw, it) for raw, it in forwarded.items()}
            for future in concurrent.futures.as_completed(work):
                kind, detail = future.result()
                kinds[kind].append((*work[future], detail))
    finally:
        origin.stop()
    print(f"{name}: {time.monotonic() - start:.0f} s")
    failed = 0
    for kind, them in sorted(kinds.items()):
        good = kind.startswith(("same", "refused", "answered")) and "rest" not in kind
        failed += 0 if good else len(them)
        print(f"  {kind}: {len(them)}")
        if not kind.startswith("same") and (show > 1 or not good):
            for raw, (case, _, _), detail in sorted(them, key=lambda it: len(it[0]))[:show]:
                print(f"    {case}: {raw[:220]!r} {str(detail)[:300]}")
    return failed
