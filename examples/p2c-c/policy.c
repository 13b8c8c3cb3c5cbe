/* The power of two choices in C: of two endpoints drawn at random, the less loaded one. The same picks as the built-in
 * `p2c`, number for number. */

#include "sluicegate.h"

/* The host puts what it passes and returns in here: of this policy's calls only the configuration. */
static char arena[4096];
static uint32_t used;

__attribute__((export_name("cabi_realloc"))) void *cabi_realloc(void *old, uint32_t old_size, uint32_t align,
                                                                uint32_t new_size) {
    (void)old, (void)old_size;
    uint32_t start = (used + align - 1) & ~(align - 1);
    if (start > sizeof arena || new_size > sizeof arena - start) {
        __builtin_trap(); /* The call fails, and the proxy says so. */
    }
    used = start + new_size;
    return arena + start;
}

static uint64_t rng;
static uint32_t count;

SG_EXPORT("balancer", "configure")
sg_result *configure(const char *config, uint32_t length, uint64_t seed, uint32_t worker, uint32_t workers) {
    static char refusal[] = "this policy has nothing to configure";
    static sg_result result;
    (void)worker, (void)workers;
    bool is_empty = length == 2 && config[0] == '{' && config[1] == '}';
    result = (sg_result){.is_error = !is_empty, .error = {refusal, sizeof refusal - 1}};
    rng = seed;
    used = 0;
    return &result;
}

SG_EXPORT("balancer", "endpoints-changed") void endpoints_changed(uint64_t now) {
    (void)now;
    count = sg_count();
}

/* SplitMix64. */
static uint64_t next(void) {
    rng += 0x9e3779b97f4a7c15;
    uint64_t z = rng;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
}

/* Of random bits a number below `bound`, by Lemire's multiplication. */
static uint32_t scaled(uint32_t bits, uint32_t bound) {
    return (uint32_t)(((uint64_t)bits * bound) >> 32);
}

static uint32_t below(uint32_t bound) {
    return scaled((uint32_t)next(), bound);
}

/* In flight with this request, for the weight, compared as fractions. */
static uint32_t less_loaded(uint32_t a, uint32_t b) {
    uint64_t load_a = (sg_read(a, SG_IN_FLIGHT) + 1) * sg_weight(b);
    uint64_t load_b = (sg_read(b, SG_IN_FLIGHT) + 1) * sg_weight(a);
    return load_a <= load_b ? a : b;
}

/* Places among what is left, moved past those that are gone, which are in ascending order. */
static uint32_t past(uint32_t index, const uint32_t *gone, uint32_t length) {
    for (uint32_t i = 0; i < length && gone[i] <= index; i++) {
        index++;
    }
    return index;
}

static void insert(uint32_t *sorted, uint32_t length, uint32_t index) {
    uint32_t i = length;
    for (; i > 0 && sorted[i - 1] > index; i--) {
        sorted[i] = sorted[i - 1];
    }
    sorted[i] = index;
}

static bool contains(const uint32_t *list, uint32_t length, uint32_t index) {
    for (uint32_t i = 0; i < length; i++) {
        if (list[i] == index) {
            return true;
        }
    }
    return false;
}

/* A retry: where the request has not been yet. */
static uint32_t pick_again(void) {
    uint32_t gone[9];
    uint32_t length = 0;
    for (uint32_t nth = 0; nth < 8; nth++) {
        uint32_t index = sg_tried(nth);
        if (index == SG_NONE) {
            break;
        }
        if (index < count && !contains(gone, length, index)) {
            insert(gone, length++, index);
        }
    }
    uint32_t left = count - length;
    if (left == 0) {
        return SG_NONE;
    }
    uint32_t first = past(below(left), gone, length);
    if (left == 1) {
        return first;
    }
    insert(gone, length++, first);
    uint32_t second = past(below(left - 1), gone, length);
    return less_loaded(first, second);
}

SG_EXPORT("balancer", "pick") uint32_t pick(uint64_t now, uint64_t hash, uint32_t attempt) {
    (void)now, (void)hash;
    if (attempt > 0) {
        return pick_again();
    }
    uint64_t bits = next(); /* Enough for both. */
    uint32_t first = scaled((uint32_t)bits, count);
    uint32_t second = scaled((uint32_t)(bits >> 32), count > 1 ? count - 1 : 0);
    if (count < 2) {
        return count == 0 ? SG_NONE : 0;
    }
    second += second >= first;
    return less_loaded(first, second);
}
