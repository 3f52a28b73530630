#include "server/run_files.h"

#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"

static int write_document(struct service *service, const char *id, const char *name, const char *directory,
                          struct error *error)
{
    char path[FILE_PATH_BYTES];
    struct buffer text;

    buffer_init(&text);
    if (service_study_document(service, id, name, &text, error) == 0 && file_join(path, directory, name, error) == 0)
        file_write(path, text.data, text.length, error);
    buffer_fini(&text);
    return (int)error->code;
}

/* Every file that lies in `from` (one level of subdirectories), copied below `to`. */
static int copy_tree(const char *from, const char *to, int depth, struct error *error)
{
    struct file_names names;

    if (file_make_directory(to, error) || file_list(from, &names, error))
        return (int)error->code;
    for (int i = 0; i < names.count && !error->code; i++) {
        char source[FILE_PATH_BYTES], target[FILE_PATH_BYTES];
        if (file_join(source, from, names.names[i], error) || file_join(target, to, names.names[i], error))
            break;
        if (!file_is_directory(source))
            file_copy(source, target, error);
        else if (depth > 0)
            copy_tree(source, target, depth - 1, error);
    }
    file_names_free(&names);
    return (int)error->code;
}

int run_files_write(struct service *service, const char *id, const struct buffer *result, const char *directory,
                    struct error *error)
{
    static const char *const documents[] = { "curves.csv", "curves.json", "plot.svg", "report.html" };
    char path[FILE_PATH_BYTES];

    if (file_make_directory(directory, error) || file_join(path, directory, "result.json", error)
        || file_write(path, result->data, result->length, error))
        return (int)error->code;
    for (size_t i = 0; i < sizeof documents / sizeof *documents; i++)
        if (write_document(service, id, documents[i], directory, error))
            return (int)error->code;
    for (int i = 0;; i++) {
        char name[SPEC_NAME_MAX + 1], from[FILE_PATH_BYTES], to[FILE_PATH_BYTES];
        if (service_kept_directory(service, id, i, name, from, error))
            return error->code ? (int)error->code : 0;
        if (file_join(to, directory, name, error) || copy_tree(from, to, 1, error))
            return (int)error->code;
    }
}
