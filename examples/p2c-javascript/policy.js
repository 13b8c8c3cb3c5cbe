// The power of two choices in JavaScript: of two endpoints drawn at random, the less loaded one. The same picks as the
// built-in `p2c`, number for number.

import { count, weight, read } from "sluicegate:policy/endpoints@0.1.0";
import { tried } from "sluicegate:policy/request@0.1.0";

// The answer of a pick that leaves the request to the proxy, and the end of `tried`: the largest u32. The engine passes a
// u32 as if it were signed.
const NONE = -1;

let random;
let endpoints = 0;

export const balancer = {
  configure(config, seed, worker, workers) {
    const unknown = Object.keys(JSON.parse(config));
    if (unknown.length > 0) throw `this policy has nothing to configure, not even ${unknown}`;
    random = new SplitMix64(seed);
  },

  endpointsChanged(now) {
    endpoints = count();
  },

  pick(now, hash, attempt) {
    if (attempt > 0) return pickAgain();
    const [high, low] = random.next(); // Enough for both.
    const first = scaled(low, endpoints);
    const second = scaled(high, Math.max(endpoints - 1, 0));
    if (endpoints < 2) return endpoints === 0 ? NONE : 0;
    return lessLoaded(first, second >= first ? second + 1 : second);
  },
};

// A retry: where the request has not been yet.
function pickAgain() {
  const gone = [];
  for (let nth = 0; nth < 8; nth++) {
    const index = tried(nth);
    if ((index | 0) === NONE) break;
    if (index < endpoints && !gone.includes(index)) gone.push(index);
  }
  const left = endpoints - gone.length;
  if (left === 0) return NONE;
  const first = past(random.below(left), gone);
  if (left === 1) return first;
  gone.push(first);
  return lessLoaded(first, past(random.below(left - 1), gone));
}

// A place among what is left, moved past what is gone.
function past(index, gone) {
  for (const other of gone.sort((a, b) => a - b)) {
    if (other > index) break;
    index++;
  }
  return index;
}

// In flight with this request, for the weight, compared as fractions.
function lessLoaded(a, b) {
  const loadA = (Number(read(a, "in-flight")) + 1) * weight(b);
  const loadB = (Number(read(b, "in-flight")) + 1) * weight(a);
  return loadA <= loadB ? a : b;
}

// SplitMix64 in halves of 32 bits, which cost an interpreter less than big integers do.
class SplitMix64 {
  constructor(seed) {
    // A u64 is a number where it fits into one.
    this.high = Number(BigInt(seed) >> 32n);
    this.low = Number(BigInt(seed) & 0xffffffffn);
  }

  next() {
    const low = this.low + 0x7f4a7c15;
    this.high = (this.high + 0x9e3779b9 + (low > 0xffffffff ? 1 : 0)) >>> 0;
    this.low = low >>> 0;
    let z = [this.high, this.low];
    z = multiply(shifted(z, 30), 0xbf58476d, 0x1ce4e5b9);
    z = multiply(shifted(z, 27), 0x94d049bb, 0x133111eb);
    return shifted(z, 31);
  }

  below(bound) {
    return scaled(this.next()[1], bound);
  }
}

// Of random bits a number below `bound`, by Lemire's multiplication.
function scaled(bits, bound) {
  return Math.floor((bits * bound) / 0x100000000);
}

// z ^ (z >> bits)
function shifted([high, low], bits) {
  return [(high ^ (high >>> bits)) >>> 0, (low ^ ((low >>> bits) | (high << (32 - bits)))) >>> 0];
}

// The lower 64 bits of a product.
function multiply([high, low], otherHigh, otherLow) {
  // The lower halves' product has 64 bits, more than a number holds: by 16 bits of one of them.
  const first = low * (otherLow & 0xffff);
  const second = low * (otherLow >>> 16);
  const middle = Math.floor(first / 0x10000) + (second % 0x100000000);
  const lower = ((first & 0xffff) | ((middle & 0xffff) << 16)) >>> 0;
  const carry = Math.floor(middle / 0x10000) + Math.floor(second / 0x100000000) * 0x10000;
  const upper = (carry % 0x100000000) + Math.imul(high, otherLow) + Math.imul(low, otherHigh);
  return [upper >>> 0, lower];
}
