/*
 * What the machine's screen shows. Event loop only; takes the machine lock as long as it copies
 * registers, not while it draws.
 */
#ifndef VMM_SCREEN_H
#define VMM_SCREEN_H

#include "base/error.h"
#include "display/surface.h"
#include "display/text_screen.h"
#include "vmm/devices.h"

/* Returns 0, or fills `err`: there is no screen. */
int screen_draw(struct devices *devices, struct surface *surface, struct error *err);

/*
 * Brings `shown`, an earlier picture, up to date, as surface_update does, and returns as it does or
 * -ENODEV: there is no screen. Cheaper than to draw a picture and to compare: most that are shown
 * lie in the card's memory as they are. `scratch` keeps the others.
 */
int screen_update(struct devices *devices, struct surface *shown, struct surface *scratch,
	surface_damaged_fn *damaged, void *context);

/* The characters, where it shows any; false otherwise. */
bool screen_read_text(struct devices *devices, struct text_screen *text);

/* Makes a VGA and plugs it in. Returns 0, or fills `err`. */
int screen_create(struct devices *devices, struct error *err);

#endif
