// The power of two choices in Go: of two endpoints drawn at random, the less loaded one. The same picks as the built-in
// p2c, number for number.
//
// The names are the contract's (plugin-sdk/wit/policy.wit), the types what the component model's canonical ABI makes of
// them.
package main

import (
	"slices"
	"unsafe"
)

//go:wasmimport sluicegate:policy/endpoints@0.1.0 count
func count() uint32

//go:wasmimport sluicegate:policy/endpoints@0.1.0 weight
func weight(index uint32) uint32

//go:wasmimport sluicegate:policy/endpoints@0.1.0 read
func read(index, signal uint32) uint64

//go:wasmimport sluicegate:policy/request@0.1.0 tried
func tried(nth uint32) uint32

const inFlight = 0

// The answer of a pick that leaves the request to the proxy, and the end of tried.
const none = ^uint32(0)

var rng uint64
var endpoints uint32

// What the host holds an address of, so that the garbage collector leaves it where it is.
var lent []byte
var refusal = []byte("this policy has nothing to configure")
var result struct {
	isError      bool
	text, length uint32 // Addresses have 32 bits outside, and 64 in here.
}

// Where the host puts what it passes: of this policy's calls only the configuration.
//
//go:wasmexport cabi_realloc
func realloc(_ unsafe.Pointer, _, _, size uint32) unsafe.Pointer {
	lent = make([]byte, max(size, 1))
	return unsafe.Pointer(&lent[0])
}

//go:wasmexport sluicegate:policy/balancer@0.1.0#configure
func configure(config unsafe.Pointer, length uint32, seed uint64, _, _ uint32) unsafe.Pointer {
	result.isError = string(unsafe.Slice((*byte)(config), length)) != "{}"
	result.text, result.length = uint32(uintptr(unsafe.Pointer(&refusal[0]))), uint32(len(refusal))
	rng = seed
	return unsafe.Pointer(&result)
}

//go:wasmexport sluicegate:policy/balancer@0.1.0#endpoints-changed
func endpointsChanged(_ uint64) {
	endpoints = count()
}

//go:wasmexport sluicegate:policy/balancer@0.1.0#pick
func pick(_, _ uint64, attempt uint32) uint32 {
	if attempt > 0 {
		return pickAgain()
	}
	bits := next() // Enough for both.
	first := scaled(uint32(bits), endpoints)
	second := scaled(uint32(bits>>32), max(endpoints, 1)-1)
	switch {
	case endpoints == 0:
		return none
	case endpoints == 1:
		return 0
	case second >= first:
		second++
	}
	return lessLoaded(first, second)
}

// A retry: where the request has not been yet.
func pickAgain() uint32 {
	gone := make([]uint32, 0, 9)
	for nth := range uint32(8) {
		index := tried(nth)
		if index == none {
			break
		}
		if index < endpoints && !slices.Contains(gone, index) {
			gone = append(gone, index)
		}
	}
	slices.Sort(gone)
	left := endpoints - uint32(len(gone))
	if left == 0 {
		return none
	}
	first := past(below(left), gone)
	if left == 1 {
		return first
	}
	gone = append(gone, first)
	slices.Sort(gone)
	return lessLoaded(first, past(below(left-1), gone))
}

// A place among what is left, moved past what is gone.
func past(index uint32, gone []uint32) uint32 {
	for _, other := range gone {
		if other > index {
			break
		}
		index++
	}
	return index
}

// In flight with this request, for the weight, compared as fractions.
func lessLoaded(a, b uint32) uint32 {
	loadA := (read(a, inFlight) + 1) * uint64(weight(b))
	loadB := (read(b, inFlight) + 1) * uint64(weight(a))
	if loadA <= loadB {
		return a
	}
	return b
}

// SplitMix64.
func next() uint64 {
	rng += 0x9e3779b97f4a7c15
	z := rng
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb
	return z ^ (z >> 31)
}

// Of random bits a number below bound, by Lemire's multiplication.
func scaled(bits, bound uint32) uint32 {
	return uint32((uint64(bits) * uint64(bound)) >> 32)
}

func below(bound uint32) uint32 {
	return scaled(uint32(next()), bound)
}

// A library has one all the same.
func main() {}
