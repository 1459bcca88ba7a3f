/*
 * What a monitor says of itself (VESA Enhanced EDID 1.4).
 */
#ifndef DISPLAY_EDID_H
#define DISPLAY_EDID_H

#include "base/types.h"

#define EDID_SIZE 128

/* Describes a monitor whose preferred mode has this size, at 60 Hz. Sizes are 8 to 4095. */
void edid_describe(uint8_t edid[EDID_SIZE], unsigned width, unsigned height);

#endif
