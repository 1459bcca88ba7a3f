/* Free pages. */
#include "payload.h"

#define FIRST_PAGE 0x600000
#define LAST_PAGE  0xe00000

static word next_page = FIRST_PAGE;

void *page_alloc(void)
{
	void *page = (void *)next_page;

	if (next_page == LAST_PAGE) {
		check(false, "free pages");
		finish();
	}
	next_page += PAGE_SIZE;
	return memset(page, 0, PAGE_SIZE);
}
