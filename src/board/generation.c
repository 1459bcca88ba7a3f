/*
 * See generation.h.
 */
#include "board/generation.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>

static int choose(struct generation *generation)
{
	ssize_t got = getrandom(generation->id, sizeof(generation->id), 0);

	if (got < 0)
		return -errno;
	return got == sizeof(generation->id) ? 0 : -EIO;
}

int generation_init(struct generation *generation, struct irq_line event)
{
	generation->event = event;
	return choose(generation);
}

int generation_renew(struct generation *generation, struct guest_memory *memory, gpa_t page)
{
	int rc = choose(generation);

	if (rc < 0 || !page)
		return rc;
	/* The address is the guest's word: what is not RAM is not written. */
	rc = guest_memory_write(
		memory, page + GENERATION_OFFSET, generation->id, sizeof(generation->id));
	irq_line_pulse(&generation->event);
	return rc;
}

void generation_fill(const struct generation *generation, uint8_t page[GUEST_PAGE_SIZE])
{
	memset(page, 0, GUEST_PAGE_SIZE);
	memcpy(page + GENERATION_OFFSET, generation->id, sizeof(generation->id));
}
