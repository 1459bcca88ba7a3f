/*
 * The registers of the IBM VGA (IBM PS/2 Hardware Interface Technical Reference, Video Subsystem)
 * and of the Bochs display interface (VBE DISPI).
 */
#ifndef VGA_VGA_REGS_H
#define VGA_VGA_REGS_H

#include "base/bits.h"

/* Ports. Those of the CRTC are at 0x3bx for monochrome, at 0x3dx for colour. */
enum vga_port {
	VGA_PORT_DISPI_INDEX = 0x1ce,
	VGA_PORT_DISPI_DATA = 0x1cf,
	VGA_PORT_DISPI_DATA_EVEN = 0x1d0, /* the same, for 16-bit accesses that must be even */
	VGA_PORT_MONO = 0x3b0,
	VGA_PORT_ATTRIBUTE = 0x3c0, /* index and data in turn */
	VGA_PORT_ATTRIBUTE_READ = 0x3c1,
	VGA_PORT_MISC_WRITE = 0x3c2, /* read: input status 0 */
	VGA_PORT_ENABLE = 0x3c3,
	VGA_PORT_SEQUENCER_INDEX = 0x3c4,
	VGA_PORT_SEQUENCER = 0x3c5,
	VGA_PORT_DAC_MASK = 0x3c6,
	VGA_PORT_DAC_READ = 0x3c7, /* read: what the DAC is doing */
	VGA_PORT_DAC_WRITE = 0x3c8,
	VGA_PORT_DAC_DATA = 0x3c9,
	VGA_PORT_FEATURE_READ = 0x3ca,
	VGA_PORT_MISC_READ = 0x3cc,
	VGA_PORT_GRAPHICS_INDEX = 0x3ce,
	VGA_PORT_GRAPHICS = 0x3cf,
	VGA_PORT_COLOUR = 0x3d0,
};
/* From VGA_PORT_MONO or VGA_PORT_COLOUR. */
#define VGA_CRTC_INDEX 4
#define VGA_CRTC_DATA  5
#define VGA_STATUS_1   10 /* write: feature control */

#define VGA_PORTS_SIZE 32 /* 0x3c0 to 0x3df */
#define VGA_MONO_SIZE  12 /* 0x3b0 to 0x3bb */

/* The window in the address space. */
#define VGA_WINDOW_BASE 0xa0000
#define VGA_WINDOW_SIZE 0x20000

#define VGA_MISC_COLOUR     BIT(0)
#define VGA_MISC_RAM_ENABLE BIT(1)
#define VGA_MISC_CLOCK      BITS(3, 2)

#define VGA_STATUS_0_SENSE BIT(4)
#define VGA_STATUS_1_BLANK BIT(0)
#define VGA_STATUS_1_SYNC  BIT(3) /* vertical retrace */

enum vga_sequencer_register {
	VGA_SEQ_RESET,
	VGA_SEQ_CLOCKING,
	VGA_SEQ_MAP_MASK,
	VGA_SEQ_CHARACTER_MAP,
	VGA_SEQ_MEMORY_MODE,
	VGA_NR_SEQ = 8
};
#define VGA_CLOCKING_8_DOTS  BIT(0)
#define VGA_CLOCKING_HALF    BIT(3) /* the dot clock by two */
#define VGA_CLOCKING_OFF     BIT(5)
#define VGA_MEMORY_EXTENDED  BIT(1) /* more than 64 KiB */
#define VGA_MEMORY_NO_PARITY BIT(2) /* odd and even addresses are the same to the CPU */
#define VGA_MEMORY_CHAIN_4   BIT(3)

enum vga_crtc_register {
	VGA_CRTC_H_TOTAL,
	VGA_CRTC_H_DISPLAY_END,
	VGA_CRTC_H_BLANK_START,
	VGA_CRTC_H_BLANK_END,
	VGA_CRTC_H_RETRACE_START,
	VGA_CRTC_H_RETRACE_END,
	VGA_CRTC_V_TOTAL,
	VGA_CRTC_OVERFLOW,
	VGA_CRTC_PRESET_ROW,
	VGA_CRTC_MAX_SCAN,
	VGA_CRTC_CURSOR_START,
	VGA_CRTC_CURSOR_END,
	VGA_CRTC_START_HIGH,
	VGA_CRTC_START_LOW,
	VGA_CRTC_CURSOR_HIGH,
	VGA_CRTC_CURSOR_LOW,
	VGA_CRTC_V_RETRACE_START,
	VGA_CRTC_V_RETRACE_END,
	VGA_CRTC_V_DISPLAY_END,
	VGA_CRTC_OFFSET,
	VGA_CRTC_UNDERLINE,
	VGA_CRTC_V_BLANK_START,
	VGA_CRTC_V_BLANK_END,
	VGA_CRTC_MODE,
	VGA_CRTC_LINE_COMPARE,
	VGA_NR_CRTC = 32
};
#define VGA_OVERFLOW_V_TOTAL_8         BIT(0)
#define VGA_OVERFLOW_V_DISPLAY_END_8   BIT(1)
#define VGA_OVERFLOW_V_RETRACE_START_8 BIT(2)
#define VGA_OVERFLOW_LINE_COMPARE_8    BIT(4)
#define VGA_OVERFLOW_V_TOTAL_9         BIT(5)
#define VGA_OVERFLOW_V_DISPLAY_END_9   BIT(6)
#define VGA_OVERFLOW_V_RETRACE_START_9 BIT(7)
#define VGA_MAX_SCAN_ROWS              BITS(4, 0)
#define VGA_MAX_SCAN_LINE_COMPARE_9    BIT(6)
#define VGA_MAX_SCAN_DOUBLE            BIT(7)
#define VGA_CURSOR_OFF                 BIT(5)
#define VGA_RETRACE_END_PROTECT        BIT(7) /* registers 0 to 7 */
#define VGA_UNDERLINE_ROW              BITS(4, 0)
#define VGA_UNDERLINE_COUNT_BY_4       BIT(5)
#define VGA_UNDERLINE_DOUBLEWORD       BIT(6)
#define VGA_MODE_NO_BIT_13             BIT(0) /* clear: address bit 13 is row scan bit 0 */
#define VGA_MODE_NO_BIT_14             BIT(1) /* clear: address bit 14 is row scan bit 1 */
#define VGA_MODE_V_BY_2                BIT(2)
#define VGA_MODE_COUNT_BY_2            BIT(3)
#define VGA_MODE_WRAP_15               BIT(5) /* word mode: bit 0 is bit 15, else bit 13 */
#define VGA_MODE_BYTE                  BIT(6)
#define VGA_MODE_SYNC                  BIT(7)

enum vga_graphics_register {
	VGA_GFX_SET_RESET,
	VGA_GFX_ENABLE_SET_RESET,
	VGA_GFX_COLOUR_COMPARE,
	VGA_GFX_ROTATE,
	VGA_GFX_READ_MAP,
	VGA_GFX_MODE,
	VGA_GFX_MISC,
	VGA_GFX_COLOUR_CARE,
	VGA_GFX_BIT_MASK,
	VGA_NR_GFX = 16
};
#define VGA_ROTATE_COUNT        BITS(2, 0)
#define VGA_ROTATE_FUNCTION     BITS(4, 3)
#define VGA_GFX_MODE_WRITE      BITS(1, 0)
#define VGA_GFX_MODE_READ       BIT(3) /* colour compare */
#define VGA_GFX_MODE_ODD_EVEN   BIT(4)
#define VGA_GFX_MODE_INTERLEAVE BIT(5) /* two bits a pixel, as the CGA */
#define VGA_GFX_MODE_256        BIT(6)
#define VGA_GFX_MISC_GRAPHICS   BIT(0)
#define VGA_GFX_MISC_CHAIN      BIT(1) /* odd/even */
#define VGA_GFX_MISC_MAP        BITS(3, 2)

enum vga_attribute_register {
	VGA_ATTR_MODE = 16,
	VGA_ATTR_OVERSCAN,
	VGA_ATTR_PLANES,
	VGA_ATTR_PAN,
	VGA_ATTR_COLOUR_SELECT,
	VGA_NR_ATTR = 21
};
#define VGA_ATTR_INDEX            BITS(4, 0)
#define VGA_ATTR_SHOW             BIT(5) /* of the index: the palette belongs to the picture */
#define VGA_ATTR_MODE_MONO        BIT(1)
#define VGA_ATTR_MODE_LINE        BIT(2) /* the ninth dot of line characters */
#define VGA_ATTR_MODE_BLINK       BIT(3)
#define VGA_ATTR_MODE_PAN_SPLIT   BIT(5) /* the lower half is not panned */
#define VGA_ATTR_MODE_256         BIT(6)
#define VGA_ATTR_MODE_COLOUR_45   BIT(7) /* palette bits 4 and 5 from the colour select */
#define VGA_ATTR_PLANES_ENABLE    BITS(3, 0)
#define VGA_ATTR_COLOUR_SELECT_45 BITS(1, 0)
#define VGA_ATTR_COLOUR_SELECT_67 BITS(3, 2)

/* The DISPI's registers. */
enum vga_dispi_register {
	VGA_DISPI_ID,
	VGA_DISPI_XRES,
	VGA_DISPI_YRES,
	VGA_DISPI_BPP,
	VGA_DISPI_ENABLE,
	VGA_DISPI_BANK,
	VGA_DISPI_VIRTUAL_WIDTH,
	VGA_DISPI_VIRTUAL_HEIGHT,
	VGA_DISPI_X_OFFSET,
	VGA_DISPI_Y_OFFSET,
	VGA_DISPI_VIDEO_MEMORY, /* in 64 KiB; read only */
	VGA_NR_DISPI
};
#define VGA_DISPI_ID0                0xb0c0
#define VGA_DISPI_ID5                0xb0c5
#define VGA_DISPI_ENABLE_ENABLED     BIT(0)
#define VGA_DISPI_ENABLE_CAPACITIES  BIT(1) /* registers 1 to 3 read as their greatest values */
#define VGA_DISPI_ENABLE_8_BIT_DAC   BIT(5)
#define VGA_DISPI_ENABLE_LINEAR      BIT(6)
#define VGA_DISPI_ENABLE_KEEP_MEMORY BIT(7)
#define VGA_DISPI_MAX_XRES           4096
#define VGA_DISPI_MAX_YRES           4096
#define VGA_DISPI_MAX_BPP            32

#endif
