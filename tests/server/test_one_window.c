/* A validation set of one window has a loss, but no standard error: NaN within, null in every file and answer. Written as
 * "nan" it made a report that no reader accepts, and with it a checkpoint that could not be loaded. */
#include "tests/support/support.h"

#include <string.h>

#include "base/memory.h"
#include "model/checkpoint.h"
#include "server/command.h"

enum { CONTEXT = 8 };

static const char shape[] = "{\"model_type\": \"gpt2\", \"n_layer\": 1, \"n_embd\": 8, \"n_head\": 2, \"n_positions\": 8, "
                            "\"vocab_size\": 256}";

static void run(int (*command)(const struct options *, struct error *), int count, const char **arguments)
{
    struct error error = {0};
    struct options options;
    assert_ok(options_parse(&options, count, (char **)arguments, &error), &error);
    assert_int_equal(command(&options, &error), 0);
    assert_ok((int)error.code, &error);
    options_fini(&options);
}

static void one_window_of_validation_leaves_a_checkpoint_that_loads(void **state)
{
    const char *directory = *state;
    char shape_path[FILE_PATH_BYTES], data[FILE_PATH_BYTES], valid[FILE_PATH_BYTES], out[FILE_PATH_BYTES];
    char log[FILE_PATH_BYTES], report[FILE_PATH_BYTES];
    struct checkpoint checkpoint;
    struct error error = {0};
    test_write_file(test_path(shape_path, directory, "shape.json"), shape, strlen(shape));
    test_write_file(test_path(data, directory, "data.bin"), "the quick brown fox jumps over the lazy dog", 43);
    test_write_file(test_path(valid, directory, "valid.bin"), "the lazy dog", CONTEXT + 1);
    test_path(log, directory, "log.jsonl");
    test_path(out, directory, "out");
    const char *train[] = {"lag", "train", "--shape", shape_path, "--data", data, "--valid", valid, "--steps", "2",
                           "--batch", "2", "--log", log, "--out", out};
    run(command_train, sizeof train / sizeof train[0], train);
    test_path(report, out, "lag_report.json");
    const char *const files[] = {report, log};
    for (size_t i = 0; i < 2; i++) {
        char *text = test_read_file(files[i], NULL);
        assert_contains(text, "\"standard_error\":null");
        assert_null(strstr(text, "nan"));
        memory_free(text);
    }
    assert_ok(checkpoint_load(&checkpoint, out, NULL, &error), &error);
    assert_int_equal(checkpoint.provenance.step, 2);
    checkpoint_fini(&checkpoint);
    const char *eval[] = {"lag", "eval", "--checkpoint", out, "--data", valid};
    run(command_eval, sizeof eval / sizeof eval[0], eval);
}

TEST_MAIN(cmocka_unit_test_setup_teardown(one_window_of_validation_leaves_a_checkpoint_that_loads, test_directory_setup,
                                          test_directory_teardown))
