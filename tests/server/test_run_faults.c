/* The n-th allocation, write, fsync or rename fails, for every n, while a study of two steps is admitted, saves its trials,
 * loads them, is taken up again after a stop: nothing crashes or leaks, nothing is lost, and it ends with the identical
 * result. (For every n of the whole study's allocations see long_run_faults.) */
#include "tests/server/fault_parts.h"

/* ---- files: the whole study */

static void sweep_study(const struct fault_place *it, enum fault_kind kind, int64_t least)
{
    int64_t rounds = 0;
    SWEEP_FAULTS(kind, n) {
        study_with_fault(it, kind, n);
        rounds = n;
    }
    print_message("%lld rounds\n", (long long)rounds);
    assert_true(rounds >= least);
}

static void study_survives_each_failed_write(void **state)
{
    sweep_study(*state, FAULT_WRITE, 10);
}

static void study_survives_each_failed_fsync(void **state)
{
    sweep_study(*state, FAULT_FSYNC, 30);
}

static void study_survives_each_failed_rename(void **state)
{
    sweep_study(*state, FAULT_RENAME, 10);
}

/* A sample of what long_run_faults does for every n: this one also runs where leaks are looked for. */
static void study_survives_every_ninth_failed_allocation(void **state)
{
    int64_t n = 5;
    for (bool struck = true; struck; n += 9) {
        sweep_begin(FAULT_ALLOC);
        struck = study_with_fault(*state, FAULT_ALLOC, n);
    }
    print_message("up to %lld\n", (long long)n);
    assert_true(n > 1000);
}

/* ---- admission */

static void admission_survives_each_failed_allocation(void **state)
{
    const struct fault_place *it = *state;
    struct service_world world;
    int64_t rounds = 0;
    open_fault_world(&world, it->place, "admit");
    SWEEP_FAULTS(FAULT_ALLOC, n) {
        struct answer answer;
        struct error error = {0};
        enum study_state_name study_state = STUDY_FAILED;
        char key[32];
        snprintf(key, sizeof key, "key%lld", (long long)n);
        world_submit_text(&world, it->text, key, &answer);
        bool struck = fault_struck(FAULT_ALLOC, n);
        if (answer.error.code) {
            assert_true(struck);
            assert_true(may_be_asked_again(answer.error.code));
            world_submit_text(&world, it->text, key, &answer);
            assert_false(answer.existed);
        }
        assert_ok((int)answer.error.code, &answer.error);
        assert_ok(service_study_state(world.service, answer.id, &study_state, &error), &error);
        struct answer cancelled = {0};
        assert_int_equal(service_cancel(world.service, answer.id, world_answer, &cancelled), 0);
        world_wait(&world, &cancelled);
        rounds = n;
    }
    print_message("%lld rounds\n", (long long)rounds);
    assert_true(rounds > 100);
    world_close(&world);
}

/* ---- saving and loading: a stop in the middle, and the next start */

static void until_step(struct service_world *world, const char *id, uint64_t step)
{
    const struct study *study = NULL;
    while (!study || study->candidates[0].step < step) {
        world_turn(world);
        study = service_study(world->service, id);
    }
}

/* Saved by the drain, but the n-th crossing fails: what was not saved is trained again. */
static void sweep_save(const struct fault_place *it, enum fault_kind kind, int64_t least)
{
    int64_t rounds = 0;
    SWEEP_FAULTS(kind, n) {
        struct service_world world;
        struct answer answer;
        fault_arm(kind, 0);
        open_fault_world(&world, it->place, "save");
        submit_again(&world, it, &answer);
        until_step(&world, answer.id, 1);
        fault_arm(kind, n);
        world_close(&world);
        (void)fault_struck(kind, n);
        open_fault_world(&world, it->place, "save");
        end_and_compare(&world, it, answer.id);
        rounds = n;
    }
    print_message("%lld rounds\n", (long long)rounds);
    assert_true(rounds >= least);
}

static void saving_survives_each_failed_allocation(void **state)
{
    sweep_save(*state, FAULT_ALLOC, 10);
}

static void saving_survives_each_failed_write(void **state)
{
    sweep_save(*state, FAULT_WRITE, 1);
}

static void saving_survives_each_failed_fsync(void **state)
{
    sweep_save(*state, FAULT_FSYNC, 3);
}

static void saving_survives_each_failed_rename(void **state)
{
    sweep_save(*state, FAULT_RENAME, 1);
}

/* ---- recovery: opening the store, reading the study, its files, its saved trials, up to its next step */

/* The saved trial is back in memory. */
static void until_loaded(struct service_world *world, const char *id)
{
    const struct run *run = NULL;
    while (!run || !run->seats || !run->seats[0].resident || run->seats[0].trial.step < 1) {
        world_turn(world);
        run = service_run_find(world->service, id);
    }
}

static bool open_with_fault(struct service_world *world, const char *place)
{
    const struct world_options options = {.store = "recover", .inline_pool = true, .recover = true};
    struct error error = {0};
    if (world_open(world, place, &options, &error)) {
        assert_true(may_be_asked_again(error.code));
        return false;
    }
    world_start(world);
    return true;
}

static void recovery_survives_each_failed_allocation(void **state)
{
    const struct fault_place *it = *state;
    int64_t rounds = 0;
    struct answer answer;
    struct service_world world;
    open_fault_world(&world, it->place, "recover");
    submit_again(&world, it, &answer);
    until_step(&world, answer.id, 1);
    world_close(&world);
    SWEEP_FAULTS(FAULT_ALLOC, n) {
        if (!open_with_fault(&world, it->place)) {
            assert_true(fault_struck(FAULT_ALLOC, n));
            assert_true(open_with_fault(&world, it->place));
        }
        until_loaded(&world, answer.id);
        (void)fault_struck(FAULT_ALLOC, n);
        world_close(&world);
        rounds = n;
    }
    print_message("%lld rounds\n", (long long)rounds);
    assert_true(rounds > 100);
    assert_true(open_with_fault(&world, it->place));
    end_and_compare(&world, it, answer.id);
}

/* ---- a real process: what comes before and after the study, too */

static void lag_run_survives_a_failed_allocation_at_its_start(void **state)
{
    const struct fault_place *it = *state;
    int failed = 0;
    fault_arm(FAULT_ALLOC, 0);
    for (int n = 1; n <= 61; n += 4) {
        char variable[32], store[32];
        struct process process;
        snprintf(variable, sizeof variable, "LAG_FAULT=alloc:%d", n);
        snprintf(store, sizeof store, "process%d", n);
        struct lag_run run = {.place = it->place, .store = store, .environment = {variable}};
        lag_run(&process, &run);
        if (process.exit_code != 0) {
            assert_exit(&process, 1);
            assert_contains(process.text[PROCESS_ERR], "emory");
            failed++;
            run.environment[0] = NULL;
            process_free(&process);
            lag_run(&process, &run);
        }
        assert_exit(&process, 0);
        assert_identical(it->reference, process.text[PROCESS_OUT]);
        process_free(&process);
    }
    assert_true(failed > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(study_survives_each_failed_write),
        cmocka_unit_test(study_survives_each_failed_fsync),
        cmocka_unit_test(study_survives_each_failed_rename),
        cmocka_unit_test(study_survives_every_ninth_failed_allocation),
        cmocka_unit_test(admission_survives_each_failed_allocation),
        cmocka_unit_test(saving_survives_each_failed_allocation),
        cmocka_unit_test(saving_survives_each_failed_write),
        cmocka_unit_test(saving_survives_each_failed_fsync),
        cmocka_unit_test(saving_survives_each_failed_rename),
        cmocka_unit_test(recovery_survives_each_failed_allocation),
        cmocka_unit_test(lag_run_survives_a_failed_allocation_at_its_start),
    };
    return cmocka_run_group_tests(tests, fault_place_make, fault_place_remove);
}
