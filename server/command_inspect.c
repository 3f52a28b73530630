/* lag inspect: shape, parameters, dtypes, bytes, FLOPs per token, tensor table. PATH: a directory or a .safetensors file. */
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "model/checkpoint.h"
#include "server/command.h"

static void print_dims(struct buffer *out, const uint64_t *dims, int rank)
{
    buffer_text(out, "[");
    for (int i = 0; i < rank; i++)
        buffer_format(out, "%s%llu", i ? ", " : "", (unsigned long long)dims[i]);
    buffer_text(out, "]");
}

static void entry_json(struct buffer *out, const struct safetensors_entry *entry)
{
    buffer_text(out, "{\"name\":");
    buffer_json_string(out, entry->name);
    buffer_format(out, ",\"dtype\":\"%s\",\"shape\":", dtype_name(entry->dtype));
    print_dims(out, entry->dims, entry->rank);
    buffer_format(out, ",\"bytes\":%llu}", (unsigned long long)(entry->end - entry->begin));
}

static int inspect_file(struct buffer *out, const char *path, bool json, struct error *error)
{
    struct safetensors file;

    if (safetensors_open(&file, path, 0, error))
        return (int)error->code;
    if (json)
        buffer_text(out, "{\"tensors\":[");
    for (int i = 0; i < file.count; i++) {
        const struct safetensors_entry *entry = &file.entries[i];
        if (json) {
            buffer_text(out, i ? "," : "");
            entry_json(out, entry);
        } else {
            buffer_format(out, "%-48s %-5s ", entry->name, dtype_name(entry->dtype));
            print_dims(out, entry->dims, entry->rank);
            buffer_text(out, "\n");
        }
    }
    if (json)
        buffer_format(out, "],\"bytes\":%llu}\n", (unsigned long long)file.reader.size);
    else
        buffer_format(out, "%d tensors, %llu bytes\n", file.count, (unsigned long long)file.reader.size);
    safetensors_close(&file);
    return 0;
}

static void header_json(struct buffer *out, const struct checkpoint_header *header, const struct tensor_table *table)
{
    const struct shape *shape = &header->shape;

    buffer_format(out, "{\"family\":\"%s\",\"layers\":%d,", family_name(shape->family), shape->layers);
    if (shape->decoder_layers > 0)
        buffer_format(out, "\"decoder_layers\":%d,", shape->decoder_layers);
    if (shape->experts > 0)
        buffer_format(out, "\"experts\":%d,\"top_k\":%d,", shape->experts, shape->top_k);
    buffer_format(out, "\"width\":%d,\"heads\":%d,\"kv_heads\":%d,\"head_size\":%d,\"ff\":%d,\"context\":%d,"
                  "\"vocabulary\":%d,\"tied\":%s,\"activation\":\"%s\",\"dtype\":\"%s\",\"parameters\":%llu,"
                  "\"bytes\":%llu,\"flops_per_token\":%.17g,\"moments\":%s,\"tensors\":[",
                  shape->width, shape->heads, shape->kv_heads, shape->head_size, shape->ff, shape->context,
                  shape->vocabulary, shape->tied ? "true" : "false", activation_name(shape->activation),
                  dtype_name(header->dtype), (unsigned long long)table->parameters, (unsigned long long)header->bytes,
                  shape_flops_per_token(shape, shape->context), header->has_moments ? "true" : "false");
    for (int i = 0; i < table->count; i++) {
        const struct tensor *tensor = &table->tensors[i];
        uint64_t dims[2] = { (uint64_t)tensor->dims[0], (uint64_t)tensor->dims[1] };
        buffer_text(out, i ? ",{\"name\":" : "{\"name\":");
        buffer_json_string(out, tensor->name);
        buffer_text(out, ",\"shape\":");
        print_dims(out, dims, tensor->row->rank);
        buffer_text(out, "}");
    }
    buffer_text(out, "]}\n");
}

static void header_text(struct buffer *out, const struct checkpoint_header *header, const struct tensor_table *table)
{
    const struct shape *shape = &header->shape;
    char layers[64], experts[64] = "";

    if (shape->decoder_layers > 0)
        snprintf(layers, sizeof layers, "%d encoder and %d decoder", shape->layers, shape->decoder_layers);
    else
        snprintf(layers, sizeof layers, "%d", shape->layers);
    if (shape->experts > 0)
        snprintf(experts, sizeof experts, "%d experts, %d a token, ", shape->experts, shape->top_k);
    buffer_format(out, "%s: %s layers, width %d, %d heads of %d, %sff %d, context %d, vocabulary %d, %s head, %s\n",
                  family_name(shape->family), layers, shape->width, shape->heads, shape->head_size, experts,
                  shape->ff, shape->context, shape->vocabulary, shape->tied ? "tied" : "untied",
                  activation_name(shape->activation));
    buffer_format(out, "%llu parameters, %s, %llu bytes, optimizer state %s\n", (unsigned long long)table->parameters,
                  dtype_name(header->dtype), (unsigned long long)header->bytes, header->has_moments ? "there" : "none");
    buffer_format(out, "%.4g FLOPs to train one token at context %d\n\n", shape_flops_per_token(shape, shape->context),
                  shape->context);
    for (int i = 0; i < table->count; i++) {
        const struct tensor *tensor = &table->tensors[i];
        buffer_format(out, tensor->row->rank == 2 ? "%-32s [%d, %d]\n" : "%-32s [%d]\n", tensor->name, tensor->dims[0],
                      tensor->dims[1]);
    }
}

int command_inspect(const struct options *options, struct error *error)
{
    const char *path = options->arguments[0];
    bool json = options->values[OPTION_JSON] != NULL;
    struct checkpoint_header header;
    struct tensor_table table;
    struct buffer out;

    buffer_init(&out);
    if (!file_is_directory(path)) {
        inspect_file(&out, path, json, error);
    } else if (checkpoint_read_header(&header, path, error) == 0
               && tensor_table_init(&table, &header.shape, error) == 0) {
        (json ? header_json : header_text)(&out, &header, &table);
        tensor_table_fini(&table);
    }
    if (!error->code)
        command_print(&out, error);
    buffer_fini(&out);
    return 0;
}
