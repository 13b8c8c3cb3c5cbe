;; What Go's runtime asks of the system, for a policy that has none: no arguments, no environment, no files, a clock that
;; stands still, no randomness. What goes to standard error, as a panic does, goes to the proxy's log.
(module
  (import "go" "memory" (memory 0))
  (import "sluicegate:policy/host@0.1.0" "log" (func $log (param i32 i32 i32)))

  (func $none (param $count i32) (param $bytes i32) (result i32)
    (i32.store (local.get $count) (i32.const 0))
    (i32.store (local.get $bytes) (i32.const 0))
    (i32.const 0))
  (export "args_sizes_get" (func $none))
  (export "environ_sizes_get" (func $none))

  (func $nothing (param i32 i32) (result i32) (i32.const 0))
  (export "args_get" (func $nothing))
  (export "environ_get" (func $nothing))

  (func (export "clock_time_get") (param $clock i32) (param $precision i64) (param $time i32) (result i32)
    ;; Not 0, which Go takes for a clock that does not work.
    (i64.store (local.get $time) (i64.const 1))
    (i32.const 0))

  (func (export "random_get") (param $bytes i32) (param $length i32) (result i32)
    (memory.fill (local.get $bytes) (i32.const 0) (local.get $length))
    (i32.const 0))

  (func (export "fd_write") (param $file i32) (param $pieces i32) (param $count i32) (param $written i32) (result i32)
    (local $sum i32)
    (loop $next
      (if (local.get $count)
        (then
          (call $log (i32.const 0) (i32.load (local.get $pieces)) (i32.load offset=4 (local.get $pieces)))
          (local.set $sum (i32.add (local.get $sum) (i32.load offset=4 (local.get $pieces))))
          (local.set $pieces (i32.add (local.get $pieces) (i32.const 8)))
          (local.set $count (i32.sub (local.get $count) (i32.const 1)))
          (br $next))))
    (i32.store (local.get $written) (local.get $sum))
    (i32.const 0))

  ;; There are no files: 8 is "bad file descriptor", 52 "not supported".
  (func (export "fd_fdstat_get") (param i32 i32) (result i32) (i32.const 8))
  (func (export "fd_fdstat_set_flags") (param i32 i32) (result i32) (i32.const 8))
  (func (export "fd_prestat_get") (param i32 i32) (result i32) (i32.const 8))
  (func (export "fd_prestat_dir_name") (param i32 i32 i32) (result i32) (i32.const 8))
  (func (export "fd_close") (param i32) (result i32) (i32.const 8))
  (func (export "fd_read") (param i32 i32 i32 i32) (result i32) (i32.const 8))
  (func (export "poll_oneoff") (param i32 i32 i32 i32) (result i32) (i32.const 52))

  (func (export "sched_yield") (result i32) (i32.const 0))
  (func (export "proc_exit") (param i32) (unreachable)))
