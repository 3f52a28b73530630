/* Learners in a study: the same result for any workers, after a kill in the middle of a round and with trials parked; every
 * combination by `lag train`, saved and gone on with; refusals with pointer and remedy. */
#include "tests/support/support.h"

#include <string.h>

#include "base/memory.h"
#include "tests/support/lag_run.h"

#define SCHEDULE "\"batch\": 4, \"context\": 16, \"steps\": 1000, \"schedule\": {\"name\": \"constant\", \"warmup_steps\": 5}"

static void assert_same_run(const char *place, const char *one, const char *more, const char *out)
{
    char first[FILE_PATH_BYTES], other[FILE_PATH_BYTES];
    assert_identical(one, more);
    assert_same_files(test_path(first, place, "o1"), test_path(other, place, out));
}

static void study_is_the_same_by_any_workers_and_after_kills(void **state)
{
    (void)state;
    static const char *const trainings[] = {
        "{" SCHEDULE ", \"learners\": 4, \"average_every\": 3}",
        "{" SCHEDULE ", \"learners\": 2, \"average_every\": [5, 2], \"outer\": {\"name\": \"nesterov\"}}",
        "{" SCHEDULE ", \"learners\": 2, \"learners_mode\": \"gradients\", \"batch_growth\": 0.01}",
    };
    static const char *const kills[] = {"LAG_KILL=slice_done:31", "LAG_KILL=learners_joined:9", "LAG_KILL=point_after_commit:5"};
    for (int i = 0; i < 3; i++) {
        char place[FILE_PATH_BYTES];
        struct tiny_study study = {.training = trainings[i], .more = ", \"keep\": \"all\""};
        struct process process;
        lag_place_make(place, &study);
        struct lag_run run = {.place = place, .store = "s1", .out = "o1", .flags = {"--workers", "1"}};
        char *one = lag_run_result(&run);
        assert_contains(one, "\"state\": \"succeeded\"");
        assert_contains(one, "\"learners\": ");
        static const char *const others[][3] = {{"s2", "o2", "2"}, {"s4", "o4", "4"}};
        for (int j = 0; j < 2; j++) {
            run = (struct lag_run){.place = place, .store = others[j][0], .out = others[j][1],
                                   .flags = {"--workers", others[j][2]}};
            char *more = lag_run_result(&run);
            assert_same_run(place, one, more, others[j][1]);
            memory_free(more);
        }
        run = (struct lag_run){.place = place, .store = "sk", .flags = {"--workers", "2"}, .environment = {kills[i]}};
        lag_run(&process, &run);
        assert_int_equal(process.signal, 9);
        process_free(&process);
        run = (struct lag_run){.place = place, .store = "sk", .out = "ok", .flags = {"--workers", "4"}};
        char *resumed = lag_run_result(&run);
        assert_same_run(place, one, resumed, "ok");
        memory_free(resumed);
        memory_free(one);
        test_directory_remove(place);
    }
}

static void little_memory_parks_trials_of_learners(void **state)
{
    (void)state;
    char place[FILE_PATH_BYTES], text[32];
    struct tiny_study study = {.training = "{" SCHEDULE ", \"learners\": 2, \"average_every\": 4}",
                               .more = ", \"keep\": \"all\""};
    struct process process;
    const char *memory = tiny_memory_text(text, 1, 2400 << 10);
    lag_place_make(place, &study);
    struct lag_run run = {.place = place, .store = "s1", .out = "o1", .flags = {"--workers", "2"}};
    char *plain = lag_run_result(&run);
    run = (struct lag_run){.place = place, .store = "s2", .out = "o2", .flags = {"--workers", "1", "--memory", memory}};
    char *tight = lag_run_result(&run);
    assert_same_run(place, plain, tight, "o2");
    run = (struct lag_run){.place = place, .store = "s3", .flags = {"--workers", "1", "--memory", memory},
                           .environment = {"LAG_KILL=park:2"}};
    lag_run(&process, &run);
    assert_int_equal(process.signal, 9);
    process_free(&process);
    memory_free(plain);
    memory_free(tight);
    test_directory_remove(place);
}

static void points_are_at_averages(void **state)
{
    (void)state;
    char place[FILE_PATH_BYTES], path[FILE_PATH_BYTES];
    struct tiny_study study = {.training = "{" SCHEDULE ", \"learners\": 2, \"average_every\": 8}",
                               .selection = "{\"k\": 20, \"valid_tokens\": 500}"};
    size_t length;
    lag_place_make(place, &study);
    struct lag_run run = {.place = place, .out = "o1"};
    memory_free(lag_run_result(&run));
    char *curves = test_read_file(test_path(path, place, "o1/curves.csv"), &length);
    assert_contains(curves, ",1,0,0,");
    assert_contains(curves, ",1,8,512,");
    assert_contains(curves, ",1,16,1024,");
    assert_contains(curves, ",1,20,1280,");    /* the last round is cut */
    assert_null(strstr(curves, ",1,4,256,"));
    assert_null(strstr(curves, ",1,9,"));
    memory_free(curves);
    test_directory_remove(place);
}

static void auto_is_measured_once_stored_and_explained(void **state)
{
    (void)state;
    char place[FILE_PATH_BYTES];
    struct tiny_study study = {.training = "{" SCHEDULE ", \"learners\": 2, \"average_every\": \"auto\"}",
                               .selection = "{\"k\": 20, \"valid_tokens\": 500}"};
    lag_place_make(place, &study);
    struct lag_run run = {.place = place, .out = "o1"};
    char *once = lag_run_result(&run);
    assert_contains(once, "\"average_every_why\": \"");
    assert_contains(once, "of a step");
    /* the same study again is found by what was asked, whatever would be measured now */
    run = (struct lag_run){.place = place, .out = "o2", .environment = {"LAG_KILL=slice_done:1"}};
    char *again = lag_run_result(&run);
    assert_string_equal(once, again);
    memory_free(once);
    memory_free(again);
    test_directory_remove(place);
}

/* lag train in a place: its training.json, from a checkpoint there, with further flags. */
static void train(const char *place, const char *checkpoint, const char *out, const char *flag, const char *value)
{
    char from[FILE_PATH_BYTES], data[FILE_PATH_BYTES], training[FILE_PATH_BYTES], to[FILE_PATH_BYTES], log[FILE_PATH_BYTES];
    struct process process;
    const char *const arguments[] = {
        process_lag(), "train", "--checkpoint", test_path(from, place, checkpoint), "--data", test_path(data, place, "train.txt"),
        "--training", test_path(training, place, "training.json"), "--out", test_path(to, place, out), "--log",
        test_path(log, place, "log"), flag, value, NULL,
    };
    process_run(&process, arguments, NULL);
    process_assert_exit(&process, 0, __FILE__, __LINE__);
    process_free(&process);
}

/* The log tells averages alone; training goes on from an average as if it had never stopped. */
static void train_command_runs_and_goes_on_at_averages(void **state)
{
    (void)state;
    static const char training[] =
        "{\"batch\": 4, \"context\": 16, \"steps\": 24, \"learning_rate\": 0.1, \"optimizer\": {\"name\": \"sgd\", "
        "\"momentum\": 0}, \"schedule\": {\"name\": \"constant\", \"warmup_steps\": 2}, \"learners\": 2, "
        "\"average_every\": 4}";
    char place[FILE_PATH_BYTES], path[FILE_PATH_BYTES];
    struct tiny_study study = {0};
    size_t length, other;
    lag_place_make(place, &study);
    test_write_file(test_path(path, place, "training.json"), training, sizeof training - 1);
    train(place, "base", "whole", "--log-every", "1");
    char *lines = test_read_file(test_path(path, place, "log"), &length);
    assert_contains(lines, "{\"step\":4,");
    assert_contains(lines, "{\"step\":24,\"tokens\":1536,");
    assert_null(strstr(lines, "{\"step\":5,"));
    memory_free(lines);
    train(place, "base", "half", "--steps", "12");
    train(place, "half", "more", "--steps", "24");
    char *a = test_read_file(test_path(path, place, "whole/model.safetensors"), &length);
    char *b = test_read_file(test_path(path, place, "more/model.safetensors"), &other);
    assert_int_equal(length, other);
    assert_memory_equal(a, b, length);
    memory_free(a);
    memory_free(b);
    test_directory_remove(place);
}

static void what_can_not_be_is_refused_with_a_remedy(void **state)
{
    (void)state;
    static const struct { const char *training, *pointer, *remedy; } refused[] = {
        {"\"learners\": 3", "/training/learners", "give a batch of 6"},
        {"\"learners\": 2, \"average_every\": 2000", "/training/average_every", "from 1 to 1000"},
        {"\"learners\": 2, \"average_every\": [1, 2, 3]", "/training/average_every", "give a number for each"},
        {"\"average_every\": 4", "/training/average_every", "raise learners"},
        {"\"outer\": {\"name\": \"nesterov\"}", "/training/outer/name", "raise learners"},
        {"\"learners\": 2, \"learners_mode\": \"gradients\", \"average_every\": 4", "/training/average_every",
         "learners_mode weights"},
        {"\"learners\": 2, \"learning_rate\": 0.1, \"optimizer\": {\"name\": \"sgd\", \"momentum\": 0, "
         "\"averaged_moments\": true}", "/training/optimizer/averaged_moments", "sgd a momentum"},
        {"\"learners\": 2, \"optimizer\": {\"name\": \"schedule_free_adamw\"}, \"outer\": {\"name\": \"nesterov\"}",
         "/training/outer/name", "use adamw or sgd"},
        {"\"learners\": 2, \"optimizer\": {\"name\": \"schedule_free_adamw\"}, \"average_every\": [2, 1]",
         "/training/average_every", "give one number"},
        {"\"learners\": 65", "/training/learners", "64"},
        {"\"batch_growth\": 1.5", "/training/batch_growth", "from 0 to 1"},
        {"\"steps\": 1000000, \"batch_growth\": 1", "/training/batch_growth", "smaller batch_growth"},
    };
    char place[FILE_PATH_BYTES], training[512], path[FILE_PATH_BYTES];
    struct tiny_study study = {0};
    lag_place_make(place, &study);
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        struct process process;
        snprintf(training, sizeof training, "{%s%s}", strstr(refused[i].training, "\"steps\"") ? "\"batch\": 4, \"context\": 16, "
                 : SCHEDULE ", ", refused[i].training);
        study.training = training;
        tiny_study_json(test_path(path, place, "study.json"), &study);
        struct lag_run run = {.place = place, .store = "s"};
        lag_run(&process, &run);
        print_message("    %s", process.text[1]);
        assert_int_equal(process.exit_code, 2);
        assert_contains(process.text[1], refused[i].pointer);
        assert_contains(process.text[1], refused[i].remedy);
        process_free(&process);
    }
    test_directory_remove(place);
}

TEST_MAIN(cmocka_unit_test(study_is_the_same_by_any_workers_and_after_kills),
          cmocka_unit_test(little_memory_parks_trials_of_learners),
          cmocka_unit_test(points_are_at_averages),
          cmocka_unit_test(auto_is_measured_once_stored_and_explained),
          cmocka_unit_test(train_command_runs_and_goes_on_at_averages),
          cmocka_unit_test(what_can_not_be_is_refused_with_a_remedy))
