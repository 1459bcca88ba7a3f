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

/* The characters, where it shows any; false otherwise. */
bool screen_read_text(struct devices *devices, struct text_screen *text);

/* Makes a VGA and plugs it in. Returns 0, or fills `err`. */
int screen_create(struct devices *devices, struct error *err);

#endif
