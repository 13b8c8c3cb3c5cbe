/* The contract with the proxy (sluicegate:policy@0.1.0), for C: what a module imports and exports in the fast lane.
 *
 * It is plugin-sdk/wit/policy.wit by the rules of the component model's canonical ABI, written down by hand. The meaning
 * of each function is there. Only what a policy calls becomes an import of its module. */

#ifndef SLUICEGATE_H
#define SLUICEGATE_H

#include <stdbool.h>
#include <stdint.h>

#define SG_IMPORT(interface, name) \
    __attribute__((import_module("sluicegate:policy/" interface "@0.1.0"), import_name(name)))

/* Before the definition of an exported function. */
#define SG_EXPORT(interface, name) __attribute__((export_name("sluicegate:policy/" interface "@0.1.0#" name)))

/* The answer of a pick that leaves the request to the proxy, and the end of `sg_tried`. */
#define SG_NONE UINT32_MAX

/* A string or a list of bytes. What the host returns lies where `cabi_realloc` put it. */
typedef struct {
    char *bytes;
    uint32_t length;
} sg_text;

/* A string that may not be there. */
typedef struct {
    bool is_some;
    sg_text text;
} sg_optional;

/* What `configure` and `restore` return the address of: nothing, or why not. */
typedef struct {
    bool is_error;
    sg_text error;
} sg_result;

typedef enum {
    SG_IN_FLIGHT,
    SG_CONNECTIONS,
    SG_LATENCY_US,
    SG_SUCCESSES,
    SG_FAILURES,
    SG_TIMEOUTS,
    SG_AGE_MS,
    SG_UTILIZATION_PPM,
    SG_QUEUE_DEPTH,
    SG_REQUESTS_MILLI_PER_S,
    SG_ERRORS_MILLI_PER_S,
    SG_REPORT_AGE_MS,
} sg_signal;

typedef enum { SG_ANSWERED, SG_CONNECT_FAILED, SG_BROKEN, SG_TIMED_OUT, SG_CANCELLED } sg_outcome;

typedef enum { SG_ERROR, SG_WARN, SG_INFO, SG_DEBUG } sg_level;

/* 64 values of a column; they want to be aligned to 8 bytes. */
typedef struct {
    _Alignas(8) uint32_t values[64];
} sg_block;

SG_IMPORT("endpoints", "count") uint32_t sg_count(void);
SG_IMPORT("endpoints", "generation") uint64_t sg_generation(void);
SG_IMPORT("endpoints", "id") uint64_t sg_id(uint32_t index);
SG_IMPORT("endpoints", "address") void sg_address(uint32_t index, sg_text *address);
SG_IMPORT("endpoints", "weight") uint32_t sg_weight(uint32_t index);
SG_IMPORT("endpoints", "zone") void sg_zone(uint32_t index, sg_text *zone);
SG_IMPORT("endpoints", "label")
void sg_label(uint32_t index, const char *key, uint32_t length, sg_optional *label);
SG_IMPORT("endpoints", "read") uint64_t sg_read(uint32_t index, sg_signal signal);
SG_IMPORT("endpoints", "read-block") void sg_read_block(uint32_t start, sg_signal signal, sg_block *block);

SG_IMPORT("request", "method") void sg_method(sg_text *method);
SG_IMPORT("request", "path") void sg_path(sg_text *path);
SG_IMPORT("request", "authority") void sg_authority(sg_text *authority);
SG_IMPORT("request", "header") void sg_header(const char *name, uint32_t length, sg_optional *value);
SG_IMPORT("request", "cookie") void sg_cookie(const char *name, uint32_t length, sg_optional *value);
SG_IMPORT("request", "client-address") void sg_client_address(sg_text *address);
SG_IMPORT("request", "tried") uint32_t sg_tried(uint32_t nth);
SG_IMPORT("request", "body") void sg_body(uint32_t start, uint32_t length, sg_text *bytes);

SG_IMPORT("reply", "reject") void sg_reject(uint32_t status, const char *reason, uint32_t length);
SG_IMPORT("reply", "set-response-header")
void sg_set_response_header(const char *name, uint32_t name_length, const char *value, uint32_t value_length);
SG_IMPORT("reply", "set-request-header")
void sg_set_request_header(const char *name, uint32_t name_length, const char *value, uint32_t value_length);
SG_IMPORT("reply", "then") void sg_then(uint32_t index);
SG_IMPORT("reply", "hedge") void sg_hedge(uint32_t index, uint32_t after_us);
SG_IMPORT("reply", "wants-explanation") bool sg_wants_explanation(void);
SG_IMPORT("reply", "explain") void sg_explain(const char *why, uint32_t length);

SG_IMPORT("shared", "get") uint64_t sg_shared_get(uint32_t slot);
SG_IMPORT("shared", "add") uint64_t sg_shared_add(uint32_t slot, uint64_t delta);
SG_IMPORT("shared", "compare-and-set") bool sg_compare_and_set(uint32_t slot, uint64_t expected, uint64_t new_value);

SG_IMPORT("host", "log") void sg_log(sg_level level, const char *message, uint32_t length);
SG_IMPORT("host", "counter") uint32_t sg_counter(const char *name, uint32_t length);
SG_IMPORT("host", "add") void sg_counter_add(uint32_t counter, uint64_t delta);
SG_IMPORT("host", "gauge") uint32_t sg_gauge(const char *name, uint32_t length);
SG_IMPORT("host", "set") void sg_gauge_set(uint32_t gauge, double value);
SG_IMPORT("host", "probe") void sg_probe(uint32_t index);

SG_IMPORT("needs", "body-prefix") void sg_need_body_prefix(uint32_t bytes);
SG_IMPORT("needs", "load-reports") void sg_need_load_reports(void);

#endif
