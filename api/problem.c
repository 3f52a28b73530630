#include "api/json.h"
#include "api/response.h"

/* RFC 9457. `type` is a URN of our own error table: stable, and nothing has to be online for it. */
void response_problem(struct buffer *out, const struct error *error, const char *instance, const char *request_id)
{
    bool first = true;
    buffer_text(out, "{");
    json_key(out, &first, "type");
    buffer_format(out, "\"urn:lag:error:%s\"", error_word(error->code));
    json_key(out, &first, "title");
    buffer_json_string(out, error_title(error->code));
    json_key(out, &first, "status");
    buffer_format(out, "%d", error_http_status(error->code));
    json_key(out, &first, "detail");
    buffer_json_string(out, error->message);
    json_key(out, &first, "instance");
    buffer_json_string(out, instance ? instance : "");
    json_key(out, &first, "request_id");
    buffer_json_string(out, request_id ? request_id : "");
    json_key(out, &first, "errors");
    buffer_text(out, "[");
    for (int i = 0; i < error->detail_count && i < ERROR_DETAILS_MAX; i++) {
        buffer_text(out, i ? ", {\"pointer\": " : "{\"pointer\": ");
        buffer_json_string(out, error->details[i].pointer);
        buffer_text(out, ", \"detail\": ");
        buffer_json_string(out, error->details[i].text);
        buffer_text(out, "}");
    }
    buffer_text(out, "]}\n");
}
