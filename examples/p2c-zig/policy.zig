//! The power of two choices in Zig: of two endpoints drawn at random, the less loaded one. The same picks as the built-in
//! `p2c`, number for number.
//!
//! The names are the contract's (plugin-sdk/wit/policy.wit), the types what the component model's canonical ABI makes of
//! them.

const std = @import("std");

extern "sluicegate:policy/endpoints@0.1.0" fn count() u32;
extern "sluicegate:policy/endpoints@0.1.0" fn weight(index: u32) u32;
extern "sluicegate:policy/endpoints@0.1.0" fn read(index: u32, signal: Signal) u64;
extern "sluicegate:policy/request@0.1.0" fn tried(nth: u32) u32;
extern "sluicegate:policy/host@0.1.0" fn log(level: Level, message: [*]const u8, length: usize) void;

const Signal = enum(u32) { in_flight, connections, latency_us, successes, failures, timeouts, age_ms };
const Level = enum(u32) { err, warn, info, debug };

/// The answer of a pick that leaves the request to the proxy, and the end of `tried`.
const none = std.math.maxInt(u32);

comptime {
    const balancer = "sluicegate:policy/balancer@0.1.0#";
    @export(&configure, .{ .name = balancer ++ "configure" });
    @export(&endpointsChanged, .{ .name = balancer ++ "endpoints-changed" });
    @export(&pick, .{ .name = balancer ++ "pick" });
    @export(&realloc, .{ .name = "cabi_realloc" });
}

/// A panic says why in the proxy's log before it traps.
pub const panic = std.debug.FullPanic(struct {
    fn panic(message: []const u8, _: ?usize) noreturn {
        log(.err, message.ptr, message.len);
        @trap();
    }
}.panic);

/// The host puts what it passes in here: of this policy's calls only the configuration.
var arena: [4096]u8 = undefined;
var used = std.heap.FixedBufferAllocator.init(&arena);

fn realloc(_: ?[*]u8, _: usize, alignment: usize, size: usize) callconv(.c) [*]u8 {
    std.debug.assert(alignment == 1);
    const bytes = used.allocator().alloc(u8, size) catch @panic("the configuration is too long");
    return bytes.ptr;
}

/// `result<_, string>`: nothing, or why not.
const Result = extern struct { is_error: bool, text: [*]const u8, length: usize };

var result: Result = undefined;
var rng: std.Random.SplitMix64 = undefined;
var endpoints: u32 = 0;

fn configure(config: [*]const u8, length: usize, seed: u64, _: u32, _: u32) callconv(.c) *const Result {
    const is_empty = std.mem.eql(u8, config[0..length], "{}");
    const refusal = "this policy has nothing to configure";
    result = .{ .is_error = !is_empty, .text = refusal, .length = refusal.len };
    rng = .init(seed);
    used.reset();
    return &result;
}

fn endpointsChanged(_: u64) callconv(.c) void {
    endpoints = count();
}

fn pick(_: u64, _: u64, attempt: u32) callconv(.c) u32 {
    if (attempt > 0) return pickAgain();
    const bits = rng.next(); // Enough for both.
    const first = scaled(@truncate(bits), endpoints);
    const second = scaled(@intCast(bits >> 32), endpoints -| 1);
    if (endpoints < 2) return if (endpoints == 0) none else 0;
    return lessLoaded(first, second + @intFromBool(second >= first));
}

/// A retry: where the request has not been yet.
fn pickAgain() u32 {
    // In ascending order.
    var gone: [9]u32 = undefined;
    var length: usize = 0;
    for (0..8) |nth| {
        const index = tried(@intCast(nth));
        if (index == none) break;
        if (index >= endpoints or std.mem.indexOfScalar(u32, gone[0..length], index) != null) continue;
        insert(gone[0 .. length + 1], index);
        length += 1;
    }
    const left: u32 = endpoints - @as(u32, @intCast(length));
    if (left == 0) return none;
    const first = past(below(left), gone[0..length]);
    if (left == 1) return first;
    insert(gone[0 .. length + 1], first);
    const second = past(below(left - 1), gone[0 .. length + 1]);
    return lessLoaded(first, second);
}

/// Puts a number into its place among all but the last, which is free.
fn insert(sorted: []u32, index: u32) void {
    var place = sorted.len - 1;
    while (place > 0 and sorted[place - 1] > index) : (place -= 1) sorted[place] = sorted[place - 1];
    sorted[place] = index;
}

/// A place among what is left, moved past what is gone.
fn past(place: u32, gone: []const u32) u32 {
    var index = place;
    for (gone) |other| {
        if (other > index) break;
        index += 1;
    }
    return index;
}

/// In flight with this request, for the weight, compared as fractions.
fn lessLoaded(a: u32, b: u32) u32 {
    const load_a = (read(a, .in_flight) + 1) * weight(b);
    const load_b = (read(b, .in_flight) + 1) * weight(a);
    return if (load_a <= load_b) a else b;
}

/// Of random bits a number below a bound: Lemire's multiplication instead of a division.
fn scaled(bits: u32, bound: u32) u32 {
    return @intCast((@as(u64, bits) * bound) >> 32);
}

fn below(bound: u32) u32 {
    return scaled(@truncate(rng.next()), bound);
}
