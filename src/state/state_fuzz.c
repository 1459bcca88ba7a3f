/*
 * Fuzz target: arbitrary bytes as a section. What is accepted must satisfy its own table and
 * survive being saved and restored again.
 */
#include "state/state.h"

#include <stdlib.h>
#include <string.h>

struct fuzz_inner_state {
	uint16_t count;
	bool on;
	uint8_t reserved[5];
	uint64_t words[3];
};

static const struct state_field fuzz_inner_fields[] = {
	STATE_MAX(struct fuzz_inner_state, count, 300),
	STATE(struct fuzz_inner_state, on),
	STATE_PAD(struct fuzz_inner_state, reserved),
	STATE_ARRAY(struct fuzz_inner_state, words),
};
static const struct state_table fuzz_inner_table =
	STATE_TABLE_OF(struct fuzz_inner_state, "inner", fuzz_inner_fields, NULL);

struct fuzz_state {
	struct fuzz_inner_state inner[2];
	uint32_t size;
	uint8_t bytes[4];
};

static const struct state_field fuzz_fields[] = {
	STATE_STRUCTS(struct fuzz_state, inner, &fuzz_inner_table),
	STATE(struct fuzz_state, size),
	STATE_BYTES(struct fuzz_state, bytes),
};
static const struct state_table fuzz_table =
	STATE_TABLE_OF(struct fuzz_state, "fuzz", fuzz_fields, NULL);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	struct fuzz_state state = { 0 }, again = { 0 };
	struct state_buffer buffer = { 0 };
	const char *table_name, *instance;
	size_t section_size;
	long taken;

	if (state_peek(bytes, size, &table_name, &instance, &section_size, NULL) == 0 &&
		section_size > size)
		abort();
	taken = state_decode(bytes, size, &fuzz_table, &state, NULL);
	if (taken < 0)
		return 0;
	if ((size_t)taken > size || !state_check(&fuzz_table, &state, NULL))
		abort();
	if (state_encode(&buffer, &fuzz_table, "again", &state) < 0)
		return 0;
	if (state_decode(buffer.bytes, buffer.size, &fuzz_table, &again, NULL) < 0 ||
		memcmp(&state, &again, sizeof(state)) != 0)
		abort();
	state_buffer_finish(&buffer);
	return 0;
}
