# gRPC's interoperability test cases (github.com/grpc/grpc, doc/interop-test-descriptions.md), with grpcio at both ends.
# Messages are a line of JSON and a payload, instead of protocol buffers: nobody in between looks into them.
#
# Without an argument: a server, which prints its port. With an address, and perhaps the file of an authority: a client.
import concurrent.futures
import json
import sys
import threading
import time
import uuid

import grpc

SERVICE = "/grpc.testing.TestService/"
INITIAL, TRAILING = "x-grpc-test-echo-initial", "x-grpc-test-echo-trailing-bin"
SPECIAL = "\t\ntest with whitespace\r\nand Unicode BMP \u263a and non-BMP \U0001f608\t\n"


def pack(payload=b"", **words):
    return json.dumps(words).encode() + b"\n" + payload


def unpack(message):
    words, _, payload = message.partition(b"\n")
    return json.loads(words), payload


# The server. How streaming calls with a name are getting on:
calls = {}


def echo_metadata(context):
    said = dict(context.invocation_metadata())
    if INITIAL in said:
        context.send_initial_metadata(((INITIAL, said[INITIAL]),))
    if TRAILING in said:
        context.set_trailing_metadata(((TRAILING, said[TRAILING]),))


def echo_status(words, context):
    if "code" in words:
        context.set_details(words["message"])
        context.set_code(next(code for code in grpc.StatusCode if code.value[0] == words["code"]))


def watch(context):
    name = dict(context.invocation_metadata()).get("x-name")
    if name:
        calls[name] = "begun"
        context.add_callback(lambda: calls.update({name: "ended"}))


def unary(request, context):
    words, payload = unpack(request)
    echo_metadata(context)
    echo_status(words, context)
    if words.get("compressed"):
        context.set_compression(grpc.Compression.Gzip)
    if "of" in words:
        return pack(state=calls.get(words["of"]))
    return pack(b"\0" * words.get("size", 0), got=len(payload))


def streaming_input(requests, context):
    watch(context)
    return pack(total=sum(len(unpack(request)[1]) for request in requests))


def full_duplex(requests, context):
    echo_metadata(context)
    watch(context)
    for request in requests:
        words, _ = unpack(request)
        echo_status(words, context)
        if words.get("compressed"):
            context.set_compression(grpc.Compression.Gzip)
        for size in words.get("sizes", []):
            yield pack(b"\0" * size)
        time.sleep(words.get("sleep", 0))


def serve():
    handlers = {
        "EmptyCall": grpc.unary_unary_rpc_method_handler(lambda request, _: b""),
        "UnaryCall": grpc.unary_unary_rpc_method_handler(unary),
        "StreamingInputCall": grpc.stream_unary_rpc_method_handler(streaming_input),
        "StreamingOutputCall": grpc.unary_stream_rpc_method_handler(
            lambda request, context: full_duplex([request], context)
        ),
        "FullDuplexCall": grpc.stream_stream_rpc_method_handler(full_duplex),
    }
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(16))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("grpc.testing.TestService", handlers),))
    print(server.add_insecure_port("127.0.0.1:0"), flush=True)
    server.start()
    server.wait_for_termination()


# The client.
PATIENCE = 60
SIZES_OUT, SIZES_IN = [31415, 9, 2653, 58979], [27182, 8, 1828, 45904]


class Channel:
    def __init__(self, channel):
        self.empty = channel.unary_unary(SERVICE + "EmptyCall")
        self.unary = channel.unary_unary(SERVICE + "UnaryCall")
        self.streaming_input = channel.stream_unary(SERVICE + "StreamingInputCall")
        self.streaming_output = channel.unary_stream(SERVICE + "StreamingOutputCall")
        self.full_duplex = channel.stream_stream(SERVICE + "FullDuplexCall")
        self.unimplemented_method = channel.unary_unary(SERVICE + "UnimplementedCall")
        self.unimplemented_service = channel.unary_unary("/grpc.testing.UnimplementedService/UnimplementedCall")


class Requests:
    """What is asked next, when the answer to the last question is here."""

    def __init__(self):
        self.ready, self.items = threading.Condition(), []

    def put(self, item):
        with self.ready:
            self.items.append(item)
            self.ready.notify()

    def __iter__(self):
        return self

    def __next__(self):
        with self.ready:
            self.ready.wait_for(lambda: self.items, PATIENCE)
            item = self.items.pop(0)
        if item is None:
            raise StopIteration
        return item


def fails(code, details, call):
    try:
        call()
    except grpc.RpcError as error:
        assert error.code() == code, error
        assert details is None or error.details() == details, (error.details(), details)
        return
    raise AssertionError(f"it should have failed with {code}")


def empty_unary(channel):
    assert channel.empty(b"", timeout=PATIENCE) == b""


def large_unary(channel, **options):
    words, payload = unpack(channel.unary(pack(b"\0" * 271828, size=314159), timeout=PATIENCE, **options))
    assert words == {"got": 271828} and payload == b"\0" * 314159


def client_compressed_unary(channel):
    large_unary(channel, compression=grpc.Compression.Gzip)


def server_compressed_unary(channel):
    for compressed in (True, False):
        answer = channel.unary(pack(b"\0" * 271828, size=314159, compressed=compressed), timeout=PATIENCE)
        assert unpack(answer)[1] == b"\0" * 314159


def client_streaming(channel, **options):
    answer = channel.streaming_input((pack(b"\0" * size) for size in SIZES_IN), timeout=PATIENCE, **options)
    assert unpack(answer)[0] == {"total": 74922}


def client_compressed_streaming(channel):
    client_streaming(channel, compression=grpc.Compression.Gzip)


def server_streaming(channel, **words):
    answers = channel.streaming_output(pack(sizes=SIZES_OUT, **words), timeout=PATIENCE)
    assert [len(unpack(answer)[1]) for answer in answers] == SIZES_OUT


def server_compressed_streaming(channel):
    server_streaming(channel, compressed=True)


def ping_pong(channel):
    requests = Requests()
    answers = channel.full_duplex(requests, timeout=PATIENCE)
    for size_in, size_out in zip(SIZES_IN, SIZES_OUT):
        requests.put(pack(b"\0" * size_in, sizes=[size_out]))
        assert len(unpack(next(answers))[1]) == size_out
    requests.put(None)
    assert list(answers) == []


def empty_stream(channel):
    assert list(channel.full_duplex(iter([]), timeout=PATIENCE)) == []


def becomes(channel, name, state):
    end = time.monotonic() + PATIENCE
    while unpack(channel.unary(pack(of=name), timeout=PATIENCE))[0]["state"] != state:
        assert time.monotonic() < end, f"to the server, the call never {state}"
        time.sleep(0.02)


def cancel_after_begin(channel):
    name, requests = uuid.uuid4().hex, Requests()
    requests.put(pack(b"\0"))
    call = channel.streaming_input.future(requests, timeout=PATIENCE, metadata=(("x-name", name),))
    becomes(channel, name, "begun")
    call.cancel()
    assert call.code() == grpc.StatusCode.CANCELLED
    becomes(channel, name, "ended")
    requests.put(None)


def cancel_after_first_response(channel):
    name, requests = uuid.uuid4().hex, Requests()
    answers = channel.full_duplex(requests, timeout=PATIENCE, metadata=(("x-name", name),))
    requests.put(pack(b"\0" * 27182, sizes=[31415]))
    assert len(unpack(next(answers))[1]) == 31415
    answers.cancel()
    fails(grpc.StatusCode.CANCELLED, None, lambda: next(answers))
    becomes(channel, name, "ended")
    requests.put(None)


def timeout_on_sleeping_server(channel):
    # The second one has time to get there.
    for timeout in (0.001, 0.5):
        call = lambda: list(channel.full_duplex(iter([pack(b"\0" * 27182, sleep=2)]), timeout=timeout))
        fails(grpc.StatusCode.DEADLINE_EXCEEDED, None, call)


def custom_metadata(channel):
    said = ((INITIAL, "test_initial_metadata_value"), (TRAILING, b"\xab\xab\xab"))
    _, call = channel.unary.with_call(pack(b"\0" * 271828, size=314159), metadata=said, timeout=PATIENCE)
    stream = channel.full_duplex(iter([pack(b"\0" * 27182, sizes=[31415])]), metadata=said, timeout=PATIENCE)
    assert len(list(stream)) == 1
    for done in (call, stream):
        assert (INITIAL, said[0][1]) in [tuple(pair) for pair in done.initial_metadata()]
        assert (TRAILING, said[1][1]) in [tuple(pair) for pair in done.trailing_metadata()]


def status_code_and_message(channel):
    for message in ("test status message", SPECIAL):
        words = {"code": 2, "message": message}
        fails(grpc.StatusCode.UNKNOWN, message, lambda: channel.unary(pack(**words), timeout=PATIENCE))
        fails(
            grpc.StatusCode.UNKNOWN, message, lambda: list(channel.full_duplex(iter([pack(**words)]), timeout=PATIENCE))
        )


def unimplemented(channel):
    fails(grpc.StatusCode.UNIMPLEMENTED, None, lambda: channel.unimplemented_method(b"", timeout=PATIENCE))
    fails(grpc.StatusCode.UNIMPLEMENTED, None, lambda: channel.unimplemented_service(b"", timeout=PATIENCE))


CASES = [
    empty_unary,
    large_unary,
    client_compressed_unary,
    server_compressed_unary,
    client_streaming,
    client_compressed_streaming,
    server_streaming,
    server_compressed_streaming,
    ping_pong,
    empty_stream,
    cancel_after_begin,
    cancel_after_first_response,
    timeout_on_sleeping_server,
    custom_metadata,
    status_code_and_message,
    unimplemented,
]


def main(address, authority=None):
    if authority:
        credentials = grpc.ssl_channel_credentials(open(authority, "rb").read())
        channel = grpc.secure_channel(address, credentials, [("grpc.ssl_target_name_override", "one.test")])
    else:
        channel = grpc.insecure_channel(address)
    for case in CASES:
        case(Channel(channel))
        print(case.__name__, flush=True)
    # And many at a time.
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        for done in [
            pool.submit(case, Channel(channel)) for _ in range(8) for case in CASES if "cancel" not in case.__name__
        ]:
            done.result()
    print("done")


if len(sys.argv) > 1:
    main(*sys.argv[1:])
else:
    serve()
