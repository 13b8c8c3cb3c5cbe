# Every kind of call, with plain bytes as messages.
import concurrent.futures
import time

import grpc


def unary(request, context):
    context.set_trailing_metadata((("x-seen", dict(context.invocation_metadata()).get("x-own", "")),))
    return request[::-1]


def fails(request, context):
    context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not today")


def slow(request, context):
    time.sleep(5)
    return b""


def many_out(request, context):
    for _ in range(int(request)):
        yield b"x" * 1000


def many_in(requests, context):
    return str(sum(len(request) for request in requests)).encode()


def both(requests, context):
    for request in requests:
        yield request * 2


handlers = {
    "Unary": grpc.unary_unary_rpc_method_handler(unary),
    "Fails": grpc.unary_unary_rpc_method_handler(fails),
    "Slow": grpc.unary_unary_rpc_method_handler(slow),
    "ManyOut": grpc.unary_stream_rpc_method_handler(many_out),
    "ManyIn": grpc.stream_unary_rpc_method_handler(many_in),
    "Both": grpc.stream_stream_rpc_method_handler(both),
}
server = grpc.server(concurrent.futures.ThreadPoolExecutor(8))
server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Echo", handlers),))
port = server.add_insecure_port("127.0.0.1:0")
server.start()
print(port, flush=True)
server.wait_for_termination()
