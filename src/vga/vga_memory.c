/*
 * The window at 0xa0000: how the CPU reaches the planes (IBM PS/2 Hardware Interface Technical
 * Reference, Video Subsystem: graphics controller, sequencer memory mode), and, in the Bochs modes
 * of 8 bits a pixel and more, 64 KiB of video memory at a time.
 *
 * The four planes are interleaved, so that an address holds one doubleword of them; latches, map
 * mask and the write modes work on all four at once. In the chain-4 mode the two lowest address
 * bits choose the plane and are 0 at it, in the odd/even modes the lowest. Not modelled: the page
 * bit of the miscellaneous register, the 64 KiB limit without extended memory.
 */
#include "vga/vga.h"

#include <string.h>

/* Four bytes, 0xff for each set bit of a nibble. */
static uint32_t spread_nibble(unsigned nibble)
{
	return ((nibble & 0xf) * UINT32_C(0x00204081) & 0x01010101) * 0xff;
}

static uint32_t replicate(uint8_t value)
{
	return value * UINT32_C(0x01010101);
}

static uint32_t load_u32(const uint8_t *from)
{
	uint32_t value;

	memcpy(&value, from, sizeof(value));
	return value;
}

static void store_u32(uint8_t *to, uint32_t value)
{
	memcpy(to, &value, sizeof(value));
}

/* Where in the selected part of the window; false: this address is not decoded. */
static bool decode(const struct vga_state *state, uint64_t offset, uint32_t *at)
{
	static const struct {
		uint32_t base, size;
	} maps[] = { { 0, 0x20000 }, { 0, 0x10000 }, { 0x10000, 0x8000 }, { 0x18000, 0x8000 } };
	unsigned map = (unsigned)field_get(VGA_GFX_MISC_MAP, state->graphics[VGA_GFX_MISC]);

	if (!(state->misc & VGA_MISC_RAM_ENABLE) || offset < maps[map].base ||
		offset >= maps[map].base + maps[map].size)
		return false;
	*at = (uint32_t)offset - maps[map].base;
	return true;
}

static bool dispi_on(const struct vga_state *state)
{
	return state->dispi[VGA_DISPI_ENABLE] & VGA_DISPI_ENABLE_ENABLED;
}

/* Where video memory is linear for the CPU too; false: the planes are used. */
static bool is_linear(const struct vga_state *state)
{
	return dispi_on(state) && state->dispi[VGA_DISPI_BPP] > 4;
}

static uint32_t linear_address(const struct vga *vga, uint64_t offset)
{
	uint32_t bank = vga->state.dispi[VGA_DISPI_BANK];

	return ((bank << 16) + ((uint32_t)offset & 0xffff)) & (vga->memory_size - 1);
}

/* The doubleword of planes at `at`; the Bochs 4-bit modes have more of it than the window shows. */
static uint8_t *planes_at(struct vga *vga, uint32_t at)
{
	uint32_t bank = dispi_on(&vga->state) ? vga->state.dispi[VGA_DISPI_BANK] : 0;

	at = ((bank << 16) + (at & 0xffff)) * VGA_NR_PLANES;
	return vga->memory + (at & (vga->memory_size - 1));
}

/* The address bit that chose a plane is replaced by the window's highest. */
static uint32_t odd_even_address(uint32_t at)
{
	return (at & 0xfffe) | at >> 16;
}

static uint8_t colour_compare(const struct vga_state *state, uint32_t planes)
{
	uint32_t differs = planes ^ spread_nibble(state->graphics[VGA_GFX_COLOUR_COMPARE]);

	differs &= spread_nibble(state->graphics[VGA_GFX_COLOUR_CARE]);
	differs |= differs >> 16;
	return (uint8_t) ~(differs | differs >> 8);
}

static uint8_t planar_read(struct vga *vga, uint32_t at)
{
	struct vga_state *state = &vga->state;
	uint8_t mode = state->graphics[VGA_GFX_MODE];
	unsigned plane = state->graphics[VGA_GFX_READ_MAP];

	if (state->sequencer[VGA_SEQ_MEMORY_MODE] & VGA_MEMORY_CHAIN_4) {
		plane = at & 3;
		at &= 0xfffc;
	} else if (mode & VGA_GFX_MODE_ODD_EVEN) {
		plane = (plane & 2) | (at & 1);
		at = odd_even_address(at);
	}
	memcpy(state->latches, planes_at(vga, at), sizeof(state->latches));
	if (mode & VGA_GFX_MODE_READ)
		return colour_compare(state, load_u32(state->latches));
	return state->latches[plane];
}

static uint32_t combine(const struct vga_state *state, uint32_t value, uint32_t latches)
{
	switch (field_get(VGA_ROTATE_FUNCTION, state->graphics[VGA_GFX_ROTATE])) {
	case 1: return value & latches;
	case 2: return value | latches;
	case 3: return value ^ latches;
	}
	return value;
}

static uint8_t rotate(const struct vga_state *state, uint8_t value)
{
	unsigned count = state->graphics[VGA_GFX_ROTATE] & VGA_ROTATE_COUNT;

	return (uint8_t)(value >> count | value << (8 - count));
}

/* What the graphics controller makes of a byte, for all four planes. */
static uint32_t write_value(const struct vga_state *state, uint8_t byte)
{
	const uint8_t *graphics = state->graphics;
	uint32_t latches = load_u32(state->latches), value, enable;
	uint8_t mask = graphics[VGA_GFX_BIT_MASK];

	switch (graphics[VGA_GFX_MODE] & VGA_GFX_MODE_WRITE) {
	case 0:
		enable = spread_nibble(graphics[VGA_GFX_ENABLE_SET_RESET]);
		value = replicate(rotate(state, byte)) & ~enable;
		value |= spread_nibble(graphics[VGA_GFX_SET_RESET]) & enable;
		break;
	case 1: return latches;
	case 2: value = spread_nibble(byte); break;
	default:
		mask &= rotate(state, byte);
		value = spread_nibble(graphics[VGA_GFX_SET_RESET]);
		break;
	}
	value = combine(state, value, latches);
	return (value & replicate(mask)) | (latches & ~replicate(mask));
}

/* Writes a byte, and returns where in video memory its planes are. */
static uint32_t planar_write(struct vga *vga, uint32_t at, uint8_t byte)
{
	struct vga_state *state = &vga->state;
	uint8_t memory_mode = state->sequencer[VGA_SEQ_MEMORY_MODE];
	unsigned map = state->sequencer[VGA_SEQ_MAP_MASK];
	uint32_t planes;
	uint8_t *to;

	if (memory_mode & VGA_MEMORY_CHAIN_4) {
		map &= 1u << (at & 3);
		at &= 0xfffc;
	} else if (!(memory_mode & VGA_MEMORY_NO_PARITY)) {
		map &= at & 1 ? 0xa : 0x5;
		at = odd_even_address(at);
	}
	to = planes_at(vga, at);
	planes = spread_nibble(map);
	store_u32(to, (load_u32(to) & ~planes) | (write_value(state, byte) & planes));
	return (uint32_t)(to - vga->memory);
}

/* Bytes that have changed and were not announced. */
struct changes {
	uint32_t begin, end;
};

static void announce(const struct vga *vga, const struct changes *changes)
{
	if (changes->begin < changes->end)
		vga_announce(vga, changes->begin, changes->end - changes->begin);
}

/* Adds some; those that an access changes mostly lie together. */
static void add(const struct vga *vga, struct changes *changes, uint32_t offset, uint32_t size)
{
	if (offset < changes->begin || offset > changes->end) {
		announce(vga, changes);
		*changes = (struct changes){ offset, offset };
	}
	if (offset + size > changes->end)
		changes->end = offset + size;
}

uint64_t vga_window_read(struct vga *vga, uint64_t offset, unsigned size)
{
	uint64_t value = 0;

	for (unsigned i = 0; i < size; i++) {
		uint8_t byte = 0xff;
		uint32_t at;

		if (decode(&vga->state, offset + i, &at))
			byte = is_linear(&vga->state) ? vga->memory[linear_address(vga, at)]
						      : planar_read(vga, at);
		value |= (uint64_t)byte << (8 * i);
	}
	return value;
}

void vga_window_write(struct vga *vga, uint64_t offset, unsigned size, uint64_t value)
{
	struct changes changes = { 0, 0 };

	for (unsigned i = 0; i < size; i++) {
		uint8_t byte = (uint8_t)(value >> (8 * i));
		uint32_t at;

		if (!decode(&vga->state, offset + i, &at))
			continue;
		if (is_linear(&vga->state)) {
			at = linear_address(vga, at);
			vga->memory[at] = byte;
			add(vga, &changes, at, 1);
		} else {
			add(vga, &changes, planar_write(vga, at, byte), VGA_NR_PLANES);
		}
	}
	announce(vga, &changes);
}
