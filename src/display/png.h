/*
 * Pictures as PNG files (PNG Specification, second edition): 24 bits a pixel, one zlib stream.
 */
#ifndef DISPLAY_PNG_H
#define DISPLAY_PNG_H

#include "display/surface.h"

#include <stdio.h>

/* Returns 0, -EINVAL for an empty surface, -ENOMEM, or what writing failed with. */
int png_write(FILE *file, const struct surface *surface);

#endif
