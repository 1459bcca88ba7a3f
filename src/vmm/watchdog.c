#include "vmm/watchdog.h"

#include "watchdog/i6300esb.h"

#include <string.h>

enum machine_request watchdog_action(const char *name)
{
	if (strcmp(name, "reset") == 0)
		return MACHINE_REQUEST_RESET;
	if (strcmp(name, "poweroff") == 0)
		return MACHINE_REQUEST_POWEROFF;
	return strcmp(name, "pause") == 0 ? MACHINE_REQUEST_PAUSE : MACHINE_REQUEST_NONE;
}

static void destroy(void *object)
{
	i6300esb_destroy(object);
}

int watchdog_create(struct devices_card *card, const char *name, const char *value,
	struct machine *machine, struct error *err)
{
	struct i6300esb *chip;

	if (i6300esb_create(&chip, name, machine, watchdog_action(value), err))
		return -1;
	*card = (struct devices_card){
		.function = &chip->function, .object = chip, .destroy = destroy
	};
	return 0;
}
