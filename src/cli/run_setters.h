/*
 * For the table of options (cli/run.c): what run_device_options.c reads. `target` is a struct
 * run_options. All return 0, or fill `err`.
 */
#ifndef CLI_RUN_SETTERS_H
#define CLI_RUN_SETTERS_H

#include "base/error.h"

/* Takes `value` if it is one of `words`, which have spaces between them. */
int run_set_word(const char **target, const char *option, const char *value, const char *words,
	struct error *err);

int run_set_com2(void *target, const char *value, struct error *err);
int run_set_com3(void *target, const char *value, struct error *err);
int run_set_com4(void *target, const char *value, struct error *err);
int run_set_parallel(void *target, const char *value, struct error *err);
int run_set_smbios(void *target, const char *value, struct error *err);
int run_set_watchdog(void *target, const char *value, struct error *err);
int run_set_panic(void *target, const char *value, struct error *err);
int run_set_generation_id(void *target, const char *value, struct error *err);
int run_set_display_device(void *target, const char *value, struct error *err);
int run_set_display(void *target, const char *value, struct error *err);
int run_set_keyboard(void *target, const char *value, struct error *err);
int run_set_tablet(void *target, const char *value, struct error *err);
int run_set_sound(void *target, const char *value, struct error *err);
int run_set_tpm(void *target, const char *value, struct error *err);
int run_set_usb(void *target, const char *value, struct error *err);

#endif
