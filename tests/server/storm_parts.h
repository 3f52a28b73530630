/* A storm: one study in a service where everything that may go wrong does, by a seed: failed allocations, writes, fsyncs
 * and renames, cancels and resumes, drains and new starts, jobs that end in any order, little memory. When the storm is
 * over the study ends, with the identical result. */
#ifndef TESTS_SERVER_STORM_PARTS_H
#define TESTS_SERVER_STORM_PARTS_H

#include "tests/server/control_parts.h"

#include "base/fault.h"
#include "base/rng.h"

struct storm {
    struct service_world world;
    struct rng rng;
    uint64_t seed;
    const char *place;
    char *text;
    char id[SERVICE_ID_BYTES];
    int faults, stops;               /* what happened */
    int64_t left;                    /* turns of bad weather */
};

static inline bool chance(struct storm *storm, uint64_t one_in)
{
    return storm->left > 0 && rng_below(&storm->rng, one_in) == 0;
}

static inline void arm_something(struct storm *storm)
{
    static const int reach[FAULT_KIND_COUNT] = {120, 6, 12, 6};
    enum fault_kind kind = (enum fault_kind)rng_below(&storm->rng, FAULT_KIND_COUNT);
    fault_arm(kind, 1 + (int64_t)rng_below(&storm->rng, (uint64_t)reach[kind]));
    storm->faults++;
}

static inline void disarm(void)
{
    for (int i = 0; i < FAULT_KIND_COUNT; i++)
        fault_arm((enum fault_kind)i, 0);
}

static inline void storm_open(struct storm *storm)
{
    uint64_t workers = 1 + rng_below(&storm->rng, 3);
    struct world_options options = {.inline_pool = true, .recover = true, .workers = (int)workers,
                                    .order_seed = 1 + rng_u64(&storm->rng) % 1000,
                                    .memory_bytes = rng_below(&storm->rng, 2) ? tiny_memory((int)workers, 1536 << 10) : 0};
    struct error error = {0};
    while (world_open(&storm->world, storm->place, &options, &error)) {
        assert_true(error.code == ERROR_NO_MEMORY || error.code == ERROR_IO || error.code == ERROR_DISK_FULL);
        error_clear(&error);
    }
    world_start(&storm->world);
}

static inline void storm_turn(struct storm *storm)
{
    storm->left--;
    if (storm->left == 0)
        disarm();
    if (chance(storm, 12))
        arm_something(storm);
    if (chance(storm, 150)) {
        storm->stops++;
        world_close(&storm->world);
        storm_open(storm);
    }
    world_turn(&storm->world);
}

/* Sends it until it is taken: what fails may pass. */
static inline void storm_submit(struct storm *storm)
{
    struct answer answer;
    do {
        world_submit_text(&storm->world, storm->text, "storm", &answer);
        if (answer.error.code)
            assert_true(answer.error.code == ERROR_NO_MEMORY || answer.error.code == ERROR_IO
                        || answer.error.code == ERROR_DISK_FULL);
    } while (answer.error.code);
    snprintf(storm->id, sizeof storm->id, "%s", answer.id);
}

/* Cancel, or resume what was cancelled; refusals and failures are answers like others. */
static inline void storm_control(struct storm *storm, control_function *function)
{
    struct answer answer = {0};
    if (function(storm->world.service, storm->id, world_answer, &answer) == 0)
        world_wait(&storm->world, &answer);
    storm->stops++;
}

static inline enum study_state_name storm_state(struct storm *storm)
{
    enum study_state_name state;
    struct error error = {0};
    disarm();
    assert_ok(service_study_state(storm->world.service, storm->id, &state, &error), &error);
    return state;
}

static inline void storm_run(uint64_t seed, const char *place, const char *reference)
{
    struct storm storm = {.rng = rng_stream(seed, 0, RNG_PROBE), .seed = seed, .place = place, .left = 1500};
    char path[FILE_PATH_BYTES];
    storm.text = test_read_file(test_path(path, place, "study.json"), NULL);
    storm_open(&storm);
    storm_submit(&storm);
    for (;;) {
        bool worked_on = service_works_on(storm.world.service, storm.id);
        if (!worked_on) {
            enum study_state_name state = storm_state(&storm);
            if (state == STUDY_SUCCEEDED)
                break;
            if (state == STUDY_FAILED)
                fail_msg("seed %llu: the study failed", (unsigned long long)seed);
            if (state == STUDY_CANCELLED)
                storm_control(&storm, service_resume);
        } else if (chance(&storm, 200)) {
            storm_control(&storm, service_cancel);
        }
        storm_turn(&storm);
    }
    disarm();
    char *result = world_result(&storm.world, storm.id);
    if (!tiny_results_equal(reference, result))
        fail_msg("seed %llu: another result", (unsigned long long)seed);
    assert_int_equal(storm.world.service->memory_used, 0);
    print_message("seed %llu: %d faults armed, %d stops\n", (unsigned long long)seed, storm.faults, storm.stops);
    memory_free(result);
    memory_free(storm.text);
    world_close(&storm.world);
    test_directory_remove(test_path(path, place, "store"));
}

static inline void storm_seeds(uint64_t first, uint64_t last)
{
    char place[FILE_PATH_BYTES];
    lag_place_make(place, &control_study);
    char *reference = undisturbed(place, "study.json");
    for (uint64_t seed = first; seed <= last; seed++)
        storm_run(seed, place, reference);
    memory_free(reference);
    test_directory_remove(place);
}

#endif
