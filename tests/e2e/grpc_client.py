# Calls every kind of method through the proxy at the address that is given.
import sys
import time

import grpc

channel = grpc.insecure_channel(sys.argv[1])


def refused(call):
    try:
        call()
    except grpc.RpcError as error:
        return error.code(), error.details()
    raise AssertionError("it should have failed")


unary = channel.unary_unary("/test.Echo/Unary")
answer, call = unary.with_call(b"abc", metadata=(("x-own", "7"),), timeout=10)
assert answer == b"cba", answer
assert ("x-seen", "7") in [tuple(item) for item in call.trailing_metadata()], call.trailing_metadata()
assert unary(b"x" * 3_000_000, timeout=10) == b"x" * 3_000_000

assert sum(len(part) for part in channel.unary_stream("/test.Echo/ManyOut")(b"2000", timeout=10)) == 2_000_000
assert channel.stream_unary("/test.Echo/ManyIn")((b"y" * 1000 for _ in range(2000)), timeout=10) == b"2000000"


def questions():
    # Each waits for the answer to the one before: both directions are open at once.
    for number in range(20):
        while len(answers) < number:
            time.sleep(0.001)
        yield b"%d" % number


answers = []
for part in channel.stream_stream("/test.Echo/Both")(questions(), timeout=10):
    answers.append(part)
assert answers == [b"%d" % number * 2 for number in range(20)], answers

assert refused(lambda: channel.unary_unary("/test.Echo/Fails")(b"")) == (
    grpc.StatusCode.FAILED_PRECONDITION,
    "not today",
)
assert refused(lambda: channel.unary_unary("/test.Echo/Slow")(b"", timeout=0.3))[0] == grpc.StatusCode.DEADLINE_EXCEEDED
code, details = refused(lambda: channel.unary_unary("/test.Gone/Unary")(b"", timeout=10))
assert code == grpc.StatusCode.UNAVAILABLE and "can't connect to 127.0.0.1:1" in details, (code, details)
print("done")
