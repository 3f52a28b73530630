/* A 1 GiB upload, sent by libcurl: arrives whole, and raises the process by less than 64 MiB. */
#include <curl/curl.h>

#include "tests/server/http_harness.h"

static const uint64_t UPLOAD_BYTES = (uint64_t)1 << 30;
enum { RISE_BYTES = 64 << 20 };

/* Numbers that differ everywhere, with CR in them, so that the multipart parser has something to look at. */
struct source { uint64_t sent; uint64_t state; struct hash_state hash; };

static size_t produce(char *bytes, size_t size, size_t count, void *context)
{
    struct source *source = context;
    size_t room = size * count;
    if (room > UPLOAD_BYTES - source->sent)
        room = (size_t)(UPLOAD_BYTES - source->sent);
    room &= ~(size_t)7;
    for (size_t i = 0; i < room; i += 8) {
        source->state = source->state * 6364136223846793005u + 1442695040888963407u;
        memcpy(bytes + i, &source->state, 8);
    }
    hash_update(&source->hash, bytes, room);
    source->sent += room;
    return room;
}

static size_t discard(char *bytes, size_t size, size_t count, void *context)
{
    (void)bytes;
    (void)context;
    return size * count;
}

static size_t peak_resident_bytes(void)
{
    char line[256];
    size_t kib = 0;
    FILE *file = fopen("/proc/self/status", "r");
    assert_non_null(file);
    while (fgets(line, sizeof line, file))
        if (strncmp(line, "VmHWM:", 6) == 0)
            kib = (size_t)strtoull(line + 6, NULL, 10);
    fclose(file);
    return kib << 10;
}

static long upload(const struct harness *harness, struct source *source, bool multipart)
{
    CURL *curl = curl_easy_init();
    curl_mime *form = NULL;
    struct curl_slist *headers = curl_slist_append(NULL, "Content-Type: application/octet-stream");
    char url[64];
    long status = 0;
    assert_non_null(curl);
    snprintf(url, sizeof url, "http://127.0.0.1:%u/v1/datasets", harness->port);
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, discard);
    if (multipart) {
        form = curl_mime_init(curl);
        curl_mimepart *part = curl_mime_addpart(form);
        curl_mime_name(part, "tokens");
        curl_mime_data_cb(part, (curl_off_t)UPLOAD_BYTES, produce, NULL, NULL, source);
        curl_easy_setopt(curl, CURLOPT_MIMEPOST, form);
    } else {
        curl_easy_setopt(curl, CURLOPT_POST, 1L);
        curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
        curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)UPLOAD_BYTES);
        curl_easy_setopt(curl, CURLOPT_READFUNCTION, produce);
        curl_easy_setopt(curl, CURLOPT_READDATA, source);
    }
    assert_int_equal(curl_easy_perform(curl), CURLE_OK);
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    curl_mime_free(form);
    curl_slist_free_all(headers);
    curl_easy_cleanup(curl);
    return status;
}

static void a_gibibyte_arrives_whole_in_little_memory(void **state)
{
    (void)state;
    struct harness *harness = harness_start(NULL, NULL);
    expect(harness, "POST", "/v1/datasets", NULL, "warm", 201);
    for (int multipart = 0; multipart < 2; multipart++) {
        struct source source = {.state = 7};
        uint8_t digest[HASH_BYTES];
        char hex[HASH_HEX_BYTES];
        size_t before = peak_resident_bytes(), after;
        hash_begin(&source.hash);
        assert_int_equal(upload(harness, &source, multipart), 201);
        after = peak_resident_bytes();
        hash_end(&source.hash, digest);
        hash_hex(digest, hex);
        assert_true(harness->service.received_bytes == UPLOAD_BYTES);
        assert_string_equal(harness->service.hash, hex);
        print_message("%s: peak %zu KiB, then %zu KiB (bound %d KiB more)\n", multipart ? "multipart" : "raw", before >> 10,
                      after >> 10, RISE_BYTES >> 10);
        assert_true(after - before < RISE_BYTES);
    }
    harness_stop(harness);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_gibibyte_arrives_whole_in_little_memory)};
    curl_global_init(CURL_GLOBAL_DEFAULT);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    curl_global_cleanup();
    return failed;
}
