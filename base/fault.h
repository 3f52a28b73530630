/* Faults on demand: in a build with LAG_FAULTS defined the n-th allocation, write, fsync or rename can be made to fail,
 * and the process can be killed (SIGKILL) at the n-th crossing of a named point. Without LAG_FAULTS all of it
 * compiles to nothing.
 *
 * From outside (tests of a real process):  LAG_FAULT=alloc:17   fail the 17th allocation, once
 *                                          LAG_KILL=trial_save:3   SIGKILL at the 3rd crossing of that point
 *                                          LAG_KILL=any:241        ... at the 241st crossing of any point
 * Points stand where a crash is interesting: before and after each durable step. FAULT_POINTS lists their names; a
 * point that is not in the list fails the build's test. Thread rule: any thread (atomic counters). */
#ifndef BASE_FAULT_H
#define BASE_FAULT_H

#include <stdbool.h>
#include <stdint.h>

enum fault_kind { FAULT_ALLOC, FAULT_WRITE, FAULT_FSYNC, FAULT_RENAME, FAULT_KIND_COUNT };

/* X(name): every point where a test may kill the process. */
#define FAULT_POINTS(X)                                                                                             \
    X(admit_before_commit)                                                                                         \
    X(admit_after_commit)                                                                                          \
    X(grow_done)                                                                                                   \
    X(fit_step)                                                                                                    \
    X(trial_save_begin)                                                                                            \
    X(trial_save_before_rename)                                                                                    \
    X(trial_save_after_rename)                                                                                     \
    X(slice_done)                                                                                                  \
    X(learners_joined)                                                                                             \
    X(evaluate_window)                                                                                             \
    X(landscape_step)                                                                                              \
    X(point_before_commit)                                                                                         \
    X(point_after_commit)                                                                                          \
    X(decide)                                                                                                      \
    X(rank_begin)                                                                                                  \
    X(files_write)                                                                                                 \
    X(files_before_rename)                                                                                         \
    X(finish_before_commit)                                                                                        \
    X(finish_after_commit)                                                                                         \
    X(park)                                                                                                        \
    X(recover)

enum fault_point_name {
#define X(name) FAULT_AT_##name,
    FAULT_POINTS(X)
#undef X
    FAULT_POINT_COUNT
};

#ifdef LAG_FAULTS
/* Counts a crossing; true when this is the one that must fail. */
bool fault_strikes(enum fault_kind kind);
/* Counts a crossing of a point; does not return when this is the one. */
void fault_point(enum fault_point_name point);
/* In-process tests: the n-th crossing from now on fails (n counted from 1); 0 disarms. Resets the counter. */
void fault_arm(enum fault_kind kind, int64_t n);
/* Crossings since the last fault_arm of that kind: 0..n-1 passed, so a sweep knows when n is past the end. */
int64_t fault_count(enum fault_kind kind);
#else
static inline bool fault_strikes(enum fault_kind kind) { (void)kind; return false; }
static inline void fault_point(enum fault_point_name point) { (void)point; }
#endif

#define FAULT_POINT(name) fault_point(FAULT_AT_##name)

#endif
