#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/memory.h"

int file_join(char path[FILE_PATH_BYTES], const char *directory, const char *name, struct error *error)
{
    size_t length = strlen(directory);
    const char *separator = length > 0 && directory[length - 1] == '/' ? "" : "/";
    int written = snprintf(path, FILE_PATH_BYTES, "%s%s%s", directory, separator, name);
    if (written < 0 || written >= FILE_PATH_BYTES)
        return error_set(error, ERROR_INVALID, "the path of %.200s would be too long; the limit is %d bytes", name,
                         FILE_PATH_BYTES - 1);
    return ERROR_NONE;
}

bool file_exists(const char *path)
{
    struct stat status;
    return stat(path, &status) == 0;
}

bool file_is_directory(const char *path)
{
    struct stat status;
    return stat(path, &status) == 0 && S_ISDIR(status.st_mode);
}

/* Makes one directory of the chain and its name in the parent durable. */
static int make_one(const char *path, struct error *error)
{
    char parent[FILE_PATH_BYTES];
    if (mkdir(path, 0755) != 0) {
        int cause = errno;
        return file_is_directory(path) ? ERROR_NONE : error_set_errno(error, cause, "cannot create directory %s", path);
    }
    snprintf(parent, sizeof parent, "%s", path);
    char *slash = strrchr(parent, '/');
    if (!slash)
        return file_sync_directory(".", error);
    slash[slash == parent ? 1 : 0] = '\0';
    return file_sync_directory(parent, error);
}

int file_make_directory(const char *path, struct error *error)
{
    char prefix[FILE_PATH_BYTES];
    size_t length = strlen(path);
    if (length == 0 || length >= sizeof prefix)
        return error_set(error, ERROR_INVALID, "a directory's path must have 1 to %d bytes, not %zu",
                         FILE_PATH_BYTES - 1, length);
    memcpy(prefix, path, length + 1);
    for (size_t i = 1; i <= length; i++) {
        if (prefix[i] != '/' && prefix[i] != '\0')
            continue;
        prefix[i] = '\0';
        int result = prefix[i - 1] == '/' ? ERROR_NONE : make_one(prefix, error);
        if (result != ERROR_NONE)
            return result;
        prefix[i] = path[i];
    }
    return ERROR_NONE;
}

static int remove_entry(int parent, const char *name, int depth);

/* Empties an open directory; takes the descriptor. 0, or -1 with errno. */
static int remove_children(int fd, int depth)
{
    DIR *stream = fdopendir(fd);
    if (!stream) {
        close(fd);
        return -1;
    }
    int result = 0;
    struct dirent *entry;
    errno = 0;
    while (result == 0 && (entry = readdir(stream)) != NULL) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            result = remove_entry(dirfd(stream), entry->d_name, depth);
        if (result == 0)
            errno = 0;
    }
    int cause = errno;
    closedir(stream);
    errno = cause;
    return cause ? -1 : result;
}

/* Removes what `name` is in the open directory `parent`, a link as a link. 0, or -1 with errno. */
static int remove_entry(int parent, const char *name, int depth)
{
    enum { DEPTH_MAX = 64 };    /* one descriptor each */
    if (unlinkat(parent, name, 0) == 0 || errno == ENOENT)
        return 0;
    if (errno != EISDIR && errno != EPERM)
        return -1;
    if (depth >= DEPTH_MAX) {
        errno = ELOOP;
        return -1;
    }
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || remove_children(fd, depth + 1) != 0)
        return errno == ENOENT ? 0 : -1;
    return unlinkat(parent, name, AT_REMOVEDIR) == 0 || errno == ENOENT ? 0 : -1;
}

int file_remove_tree(const char *path, struct error *error)
{
    if (remove_entry(AT_FDCWD, path, 0) != 0)
        return error_set_errno(error, errno, "cannot remove %s", path);
    return ERROR_NONE;
}

int file_remove(const char *path, struct error *error)
{
    if (unlink(path) != 0 && errno != ENOENT)
        return error_set_errno(error, errno, "cannot remove %s", path);
    return ERROR_NONE;
}

int file_free_bytes(const char *path, uint64_t *bytes, struct error *error)
{
    struct statvfs status;
    if (statvfs(path, &status) != 0)
        return error_set_errno(error, errno, "cannot tell the free space at %s", path);
    *bytes = (uint64_t)status.f_bavail * status.f_frsize;
    return ERROR_NONE;
}

static int append_name(struct file_names *names, int *capacity, const char *name)
{
    if (names->count == *capacity) {
        int grown = *capacity ? *capacity * 2 : 16;
        char **larger = memory_resize(names->names, (size_t)grown * sizeof *larger);
        if (!larger)
            return -1;
        names->names = larger;
        *capacity = grown;
    }
    char *copy = memory_string(name);
    if (!copy)
        return -1;
    names->names[names->count++] = copy;
    return 0;
}

static int compare_names(const void *left, const void *right)
{
    return strcmp(*(char *const *)left, *(char *const *)right);
}

static int list_stream(DIR *stream, const char *directory, struct file_names *names, struct error *error)
{
    int capacity = 0;
    struct dirent *entry;
    while (errno = 0, (entry = readdir(stream)) != NULL) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        if (append_name(names, &capacity, entry->d_name) != 0)
            return error_set(error, ERROR_NO_MEMORY, "no memory to list %s", directory);
    }
    return errno ? error_set_errno(error, errno, "cannot list %s", directory) : ERROR_NONE;
}

int file_list(const char *directory, struct file_names *names, struct error *error)
{
    *names = (struct file_names){0};
    DIR *stream = opendir(directory);
    if (!stream && (errno == ENOENT || errno == ENOTDIR))
        return error_set(error, ERROR_NOT_FOUND, "%s: there is no such directory; check the path", directory);
    if (!stream)
        return error_set_errno(error, errno, "cannot list %s", directory);
    int result = list_stream(stream, directory, names, error);
    closedir(stream);
    if (result != ERROR_NONE)
        file_names_free(names);
    else if (names->count > 1)
        qsort(names->names, (size_t)names->count, sizeof *names->names, compare_names);
    return result;
}

void file_names_free(struct file_names *names)
{
    for (int i = 0; i < names->count; i++)
        memory_free(names->names[i]);
    memory_free(names->names);
    *names = (struct file_names){0};
}

/* Whether `path` is `root` or lies beneath it, both without links, dots or trailing slashes. */
static bool lies_beneath(const char *root, const char *path)
{
    size_t length = strlen(root);
    if (length == 1)    /* "/" */
        return path[0] == '/';
    return strncmp(path, root, length) == 0 && (path[length] == '/' || path[length] == '\0');
}

/* Whether a relative path's ".." climb above where it starts, by its text alone. */
static bool climbs_out(const char *path)
{
    int depth = 0;
    while (*path) {
        size_t length = strcspn(path, "/");
        if (length == 2 && path[0] == '.' && path[1] == '.')
            depth--;
        else if (length > 0 && !(length == 1 && path[0] == '.'))
            depth++;
        if (depth < 0)
            return true;
        path += length;
        path += strspn(path, "/");
    }
    return false;
}

/* The part of a client's path to look up beneath the root; NULL for one that points elsewhere by its text. Such a path
 * is refused before the file system is asked, so that answers don't tell what exists outside. */
static const char *relative_part(const char *root, const char *real_root, const char *path)
{
    const char *prefixes[] = {root, real_root};
    if (path[0] != '/')
        return climbs_out(path) ? NULL : path;
    for (int i = 0; i < 2; i++) {
        size_t length = strlen(prefixes[i]);
        while (length > 0 && prefixes[i][length - 1] == '/')
            length--;
        if (strncmp(path, prefixes[i], length) == 0 && (path[length] == '/' || path[length] == '\0')) {
            const char *rest = path + length + strspn(path + length, "/");
            return climbs_out(rest) ? NULL : rest;
        }
    }
    return NULL;
}

int file_resolve_beneath(const char *root, const char *path, char resolved[FILE_PATH_BYTES], struct error *error)
{
    char real_root[FILE_PATH_BYTES], joined[FILE_PATH_BYTES];
    if (!realpath(root, real_root))
        return error_set_errno(error, errno, "the data directory %s can't be used", root);
    const char *relative = relative_part(root, real_root, path);
    if (!relative)
        return error_set(error, ERROR_FORBIDDEN, "%s lies outside the data directory; give a path beneath it", path);
    int result = file_join(joined, real_root, relative, error);
    if (result != ERROR_NONE)
        return result;
    if (!realpath(joined, resolved)) {
        if (errno == ENOENT || errno == ENOTDIR)
            return error_set(error, ERROR_NOT_FOUND, "%s is not there; check the path and the data directory", path);
        return error_set_errno(error, errno, "cannot look up %s", path);
    }
    if (!lies_beneath(real_root, resolved)) {
        resolved[0] = '\0';
        return error_set(error, ERROR_FORBIDDEN, "%s leads outside the data directory by a link; copy the files",
                         path);
    }
    return ERROR_NONE;
}
