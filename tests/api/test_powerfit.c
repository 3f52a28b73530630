/* Files of finished runs: what is written is read back; what is none is refused with its line; memory may fail. */
#include "tests/support/support.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "api/powerfit.h"
#include "base/fault.h"
#include "trainer/training.h"

#define SWEEP "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define OTHER "1123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define RUN "\"batch\": 8, \"context\": 64, \"tokens\": 5120, \"learning_rate\": 0.001"

static struct power_run room[POWER_RUNS_MAX];

static void runs_are_read_back_as_they_were_written(void **state)
{
    (void)state;
    static const struct power_run written[3] = {
        {.tokens = 102400, .batch = 16, .context = 64, .rate = 0.003, .seed = 7, .loss = 3.125},
        {.tokens = 1ull << 52, .batch = 1, .context = 1, .rate = 1.0 / 3, .seed = 0, .loss = 0.1},
        {.tokens = 64, .batch = 1, .context = 64, .rate = 1000, .seed = 1, .loss = (double)NAN},
    };
    struct powerfit_runs runs = {.runs = room};
    struct buffer text;
    struct error error = {0};
    buffer_init(&text);
    for (int i = 0; i < 3; i++) {
        powerfit_write_run(&text, &written[i], SWEEP);
        buffer_text(&text, i == 1 ? "\r\n\n" : "\n");
    }
    assert_ok(powerfit_read(text.data, text.length, &runs, &error), &error);
    assert_int_equal(runs.count, 3);
    assert_string_equal(runs.sweep, SWEEP);
    for (int i = 0; i < 3; i++) {
        assert_true(room[i].tokens == written[i].tokens && room[i].batch == written[i].batch);
        assert_true(room[i].context == written[i].context);
        assert_true(room[i].rate == written[i].rate && room[i].seed == written[i].seed);
        assert_true(i < 2 ? room[i].loss == written[i].loss : isnan(room[i].loss));
    }
    buffer_fini(&text);
    runs = (struct powerfit_runs){.runs = room};
    assert_ok(powerfit_read("{" RUN ", \"loss\": 2}", strlen("{" RUN ", \"loss\": 2}"), &runs, &error), &error);
    assert_true(runs.count == 1 && room[0].seed == 1 && !runs.sweep[0]);
}

static void hostile_files_are_refused_with_their_line(void **state)
{
    (void)state;
    static const struct { const char *text, *words; enum error_code code; } cases[] = {
        {"{" RUN ", \"loss\": 2}\n[1]", "line 2", ERROR_INVALID},
        {"\n\n{", "line 3", ERROR_SYNTAX},
        {"{" RUN "}", "loss is missing", ERROR_INVALID},
        {"{" RUN ", \"loss\": \"2\"}", "loss must be a number", ERROR_INVALID},
        {"{" RUN ", \"loss\": 1e300}", "loss must be a number", ERROR_INVALID},
        {"{" RUN ", \"loss\": NaN}", "line 1", ERROR_SYNTAX},
        {"{" RUN ", \"loss\": 2, \"loss\": 3}", "line 1", ERROR_INVALID},
        {"{" RUN ", \"loss\": 2, \"lossy\": 3}", "lossy is no member", ERROR_INVALID},
        {"{" RUN ", \"loss\": 2, \"seed\": -1}", "seed must be", ERROR_INVALID},
        {"{" RUN ", \"loss\": 2, \"sweep\": \"abc\"}", "64 hex digits", ERROR_INVALID},
        {"{" RUN ", \"loss\": 2, \"sweep\": 3}", "64 hex digits", ERROR_INVALID},
        {"{" RUN ", \"loss\": 2, \"sweep\": \"" SWEEP "\"}\n{" RUN ", \"loss\": 2, \"sweep\": \"" OTHER "\"}", "another sweep",
         ERROR_INVALID},
        {"{\"batch\": 0, \"context\": 64, \"tokens\": 5120, \"learning_rate\": 0.001, \"loss\": 2}", "batch must be",
         ERROR_INVALID},
        {"{\"batch\": 1e9, \"context\": 64, \"tokens\": 5120, \"learning_rate\": 0.001, \"loss\": 2}", "batch must be",
         ERROR_INVALID},
        {"{\"batch\": 8, \"context\": 64, \"tokens\": 511, \"learning_rate\": 0.001, \"loss\": 2}", "those of one step",
         ERROR_INVALID},
        {"{\"batch\": 8, \"context\": 64, \"tokens\": 512.5, \"learning_rate\": 0.001, \"loss\": 2}", "tokens must be a whole",
         ERROR_INVALID},
        {"{\"batch\": 8, \"context\": 64, \"tokens\": 512, \"learning_rate\": 0, \"loss\": 2}", "learning_rate must be",
         ERROR_INVALID},
        {"{\"batch\": 8, \"context\": 64, \"tokens\": 512, \"learning_rate\": null, \"loss\": 2}", "learning_rate must be",
         ERROR_INVALID},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct powerfit_runs runs = {.runs = room};
        struct error error = {0};
        assert_fails(powerfit_read(cases[i].text, strlen(cases[i].text), &runs, &error), cases[i].code, &error);
        assert_contains(error.message, cases[i].words);
    }
}

/* Any prefix and any changed byte of a good file is read or refused, nothing else. */
static void damaged_files_never_do_harm(void **state)
{
    (void)state;
    static const char good[] = "{" RUN ", \"loss\": null, \"seed\": 3, \"sweep\": \"" SWEEP "\"}\n{" RUN ", \"loss\": 2}\n";
    static const char bytes[] = {0, '"', '{', '}', '\\', '-', 'e', '9', '\n', (char)0xff};
    char text[sizeof good];
    int refused = 0;
    for (size_t length = 0; length < sizeof good; length++)
        for (size_t b = 0; b < sizeof bytes; b++) {
            struct powerfit_runs runs = {.runs = room}, cut = {.runs = room};
            struct error error = {0}, other = {0};
            memcpy(text, good, sizeof good);
            text[length] = bytes[b];
            refused += powerfit_read(text, sizeof good - 1, &runs, &error) != 0;
            powerfit_read(good, length, &cut, &other);
            assert_in_range(runs.count, 0, 3);
        }
    assert_true(refused > 500);
    static char large[POWERFIT_LINE_BYTES_MAX + 2];
    struct powerfit_runs runs = {.runs = room};
    struct error error = {0};
    memset(large, '1', sizeof large);
    assert_fails(powerfit_read(large, sizeof large, &runs, &error), ERROR_TOO_LARGE, &error);
}

static void no_more_runs_than_there_is_room_for(void **state)
{
    (void)state;
    struct powerfit_runs runs = {.runs = room, .count = POWER_RUNS_MAX};
    struct error error = {0};
    assert_fails(powerfit_read("{" RUN ", \"loss\": 2}", strlen("{" RUN ", \"loss\": 2}"), &runs, &error), ERROR_INVALID, &error);
    assert_contains(error.message, "more than");
}

static void every_allocation_of_reading_may_fail(void **state)
{
    (void)state;
    static const char good[] = "{" RUN ", \"loss\": 2, \"sweep\": \"" SWEEP "\"}\n";
    int failures = 0;
    for (int64_t nth = 1;; nth++) {
        struct powerfit_runs runs = {.runs = room};
        struct error error = {0};
        fault_arm(FAULT_ALLOC, nth);
        int code = powerfit_read(good, sizeof good - 1, &runs, &error);
        fault_arm(FAULT_ALLOC, 0);
        if (code == 0) break;
        assert_int_equal(code, ERROR_NO_MEMORY);
        failures++;
    }
    print_message("  %d allocations\n", failures);
    assert_true(failures > 0);
}

/* What a run sets by itself is not in the hash of a sweep; what changes losses is. */
static void training_of_a_sweep_is_what_its_runs_share(void **state)
{
    (void)state;
    struct shape shape = {.family = FAMILY_GPT2, .layers = 2, .width = 32, .heads = 2, .kv_heads = 2, .head_size = 16, .ff = 128,
                          .context = 64, .vocabulary = 256};
    struct training one = training_defaults(&shape), other = one;
    struct buffer a, b, c;
    buffer_init(&a), buffer_init(&b), buffer_init(&c);
    other.batch = 3, other.steps = 77, other.seed = 9, other.learning_rate = 0.5;
    powerfit_write_training(&a, &one);
    powerfit_write_training(&b, &other);
    other.optimizer.weight_decay = 0.25;
    powerfit_write_training(&c, &other);
    assert_string_equal(a.data, b.data);
    assert_string_not_equal(a.data, c.data);
    buffer_fini(&a), buffer_fini(&b), buffer_fini(&c);
}

TEST_MAIN(cmocka_unit_test(runs_are_read_back_as_they_were_written),
          cmocka_unit_test(hostile_files_are_refused_with_their_line), cmocka_unit_test(damaged_files_never_do_harm),
          cmocka_unit_test(no_more_runs_than_there_is_room_for), cmocka_unit_test(every_allocation_of_reading_may_fail),
          cmocka_unit_test(training_of_a_sweep_is_what_its_runs_share))
