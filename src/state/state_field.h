/*
 * What the files of src/state share: one element of a field, and the tags of the wire format.
 */
#ifndef STATE_STATE_FIELD_H
#define STATE_STATE_FIELD_H

#include "state/state.h"

/* The tag of a field's kind in a section; docs/state-format.md. */
enum state_tag {
	STATE_TAG_U8 = 0,
	STATE_TAG_U16 = 1,
	STATE_TAG_U32 = 2,
	STATE_TAG_U64 = 3,
	STATE_TAG_BOOL = 4,
	STATE_TAG_RECORD = 5,
};

/* One element of a scalar field, widened. */
uint64_t state_load(const struct state_field *field, const void *element);
void state_store(const struct state_field *field, void *element, uint64_t value);

/* The greatest value of an element: the field's limit or its type's. */
uint64_t state_field_max(const struct state_field *field);

#endif
