/*
 * The watchdog card of `--watchdog ACTION`.
 */
#ifndef VMM_WATCHDOG_H
#define VMM_WATCHDOG_H

#include "vmm/devices.h"

/* The actions' names, space-separated, of a watchdog and of a crash that the guest reports. */
#define WATCHDOG_ACTIONS "none reset poweroff pause"

/* What an action asks of the machine. */
enum machine_request watchdog_action(const char *name);

/* A devices_create_card; `value` is the action. */
devices_create_card watchdog_create;

#endif
