/*
 * The catalogue: systems that 'atoll run NAME' knows how to make.
 *
 * Each is a program in the catalogue directory (catalogue/debian tells its two commands): it builds
 * an image once, which is kept in $ATOLL_CACHE/images/NAME, by default ~/.cache/atoll; a VM gets a
 * copy-on-write disk over it, the kernel, a key of its own and a seed disk.
 */
#ifndef CLI_CATALOGUE_H
#define CLI_CATALOGUE_H

#include "cli/vm_spec.h"

/* Is there such a system? Otherwise fills `err` with those that there are. */
bool catalogue_has(const char *system, struct error *err);

/*
 * Makes the VM `name` of a system, and builds the image before if need be, with its progress on
 * stderr. `given` are the options of the command line: they replace or, for those that can be given
 * several times, join those of the catalogue. Returns 0, or fills `err`.
 */
int catalogue_create(
	const char *system, const char *name, const struct spec *given, struct error *err);

#endif
