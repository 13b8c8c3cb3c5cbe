// The power of two choices in AssemblyScript: of two endpoints drawn at random, the less loaded one. The same picks as
// the built-in `p2c`, number for number.
//
// The names are the contract's (plugin-sdk/wit/policy.wit), the types what the component model's canonical ABI makes of
// them. What is exported gets its full name from exports.mjs.

@external("sluicegate:policy/endpoints@0.1.0", "count")
declare function count(): u32;
@external("sluicegate:policy/endpoints@0.1.0", "weight")
declare function weight(index: u32): u32;
@external("sluicegate:policy/endpoints@0.1.0", "read")
declare function read(index: u32, signal: u32): u64;
@external("sluicegate:policy/request@0.1.0", "tried")
declare function tried(nth: u32): u32;
@external("sluicegate:policy/host@0.1.0", "log")
declare function log(level: u32, message: usize, length: u32): void;

const IN_FLIGHT: u32 = 0;
const ERROR: u32 = 0;

/** The answer of a pick that leaves the request to the proxy, and the end of `tried`. */
const NONE: u32 = u32.MAX_VALUE;

let rng: u64 = 0;
let endpoints: u32 = 0;
/** Where a retry's request has been, in ascending order. */
const gone = new StaticArray<u32>(9);

/** `result<_, string>`: nothing, or why not. */
const result = heap.alloc(12);
const refusal = String.UTF8.encode("this policy has nothing to configure");

/** Where the host puts what it passes: of this policy's calls only the configuration. */
export function cabi_realloc(old: usize, oldSize: u32, align: u32, newSize: u32): usize {
  return heap.alloc(newSize);
}

export function configure(config: usize, length: u32, seed: u64, worker: u32, workers: u32): usize {
  const isEmpty = String.UTF8.decodeUnsafe(config, length) == "{}";
  heap.free(config);
  store<u8>(result, isEmpty ? 0 : 1);
  store<u32>(result, changetype<usize>(refusal), 4);
  store<u32>(result, refusal.byteLength, 8);
  rng = seed;
  return result;
}

export function endpointsChanged(now: u64): void {
  endpoints = count();
}

export function pick(now: u64, hash: u64, attempt: u32): u32 {
  if (attempt > 0) return pickAgain();
  const bits = next(); // Enough for both.
  const first = scaled(<u32>bits, endpoints);
  let second = scaled(<u32>(bits >> 32), endpoints > 1 ? endpoints - 1 : 0);
  if (endpoints < 2) return endpoints == 0 ? NONE : 0;
  if (second >= first) second++;
  return lessLoaded(first, second);
}

/** A retry: where the request has not been yet. */
function pickAgain(): u32 {
  let length = 0;
  for (let nth: u32 = 0; nth < 8; nth++) {
    const index = tried(nth);
    if (index == NONE) break;
    if (index < endpoints && !isGone(index, length)) insert(index, length++);
  }
  const left = endpoints - length;
  if (left == 0) return NONE;
  const first = past(below(left), length);
  if (left == 1) return first;
  insert(first, length++);
  return lessLoaded(first, past(below(left - 1), length));
}

function isGone(index: u32, length: i32): bool {
  for (let i = 0; i < length; i++) if (gone[i] == index) return true;
  return false;
}

function insert(index: u32, length: i32): void {
  let i = length;
  for (; i > 0 && gone[i - 1] > index; i--) gone[i] = gone[i - 1];
  gone[i] = index;
}

/** A place among what is left, moved past what is gone. */
function past(index: u32, length: i32): u32 {
  for (let i = 0; i < length && gone[i] <= index; i++) index++;
  return index;
}

/** In flight with this request, for the weight, compared as fractions. */
function lessLoaded(a: u32, b: u32): u32 {
  const loadA = (read(a, IN_FLIGHT) + 1) * weight(b);
  const loadB = (read(b, IN_FLIGHT) + 1) * weight(a);
  return loadA <= loadB ? a : b;
}

/** SplitMix64. */
function next(): u64 {
  rng += 0x9e3779b97f4a7c15;
  let z = rng;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

/** Of random bits a number below `bound`, by Lemire's multiplication. */
function scaled(bits: u32, bound: u32): u32 {
  return <u32>((<u64>bits * bound) >> 32);
}

function below(bound: u32): u32 {
  return scaled(<u32>next(), bound);
}

/** What AssemblyScript calls before it traps: the message, the file and the line go to the proxy's log. */
function abort(message: string | null, file: string | null, line: u32, column: u32): void {
  const text = String.UTF8.encode(`${message ? message : "aborted"} at ${file ? file : "?"}:${line}:${column}`);
  log(ERROR, changetype<usize>(text), text.byteLength);
  unreachable();
}
