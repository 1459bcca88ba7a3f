/*
 * Placement in guest RAM while loading.
 *
 * The map is the machine's RAM cut by what is reserved; what is claimed is kept beside it. Both
 * are a handful of ranges, so that every search is a scan.
 */
#include "firmware/boot_layout.h"

#include <string.h>

static bool ranges_overlap(const struct boot_range *range, gpa_t base, uint64_t size)
{
	return range->base < base + size && base < range->base + range->size;
}

static int map_append(struct boot_layout *layout, gpa_t base, gpa_t end, enum boot_memory_type type,
	struct error *err)
{
	struct boot_range *last = layout->nr_map ? &layout->map[layout->nr_map - 1] : NULL;

	if (base >= end)
		return 0;
	if (last && last->type == type && last->base + last->size == base) {
		last->size += end - base;
		return 0;
	}
	if (layout->nr_map == BOOT_MAX_MAP)
		return error_set(err, EXIT_CODE_INTERNAL, "the memory map has too many ranges");
	layout->map[layout->nr_map++] = (struct boot_range){ base, end - base, type };
	return 0;
}

/* The reserved range that begins first at or after `from`, or holds it. */
static const struct boot_range *next_reserved(const struct boot_config *config, gpa_t from)
{
	static const struct boot_range legacy = { BOOT_EBDA, BOOT_1MIB - BOOT_EBDA,
		BOOT_MEMORY_RESERVED };
	const struct boot_range *first = from < BOOT_1MIB ? &legacy : NULL;

	for (unsigned i = 0; i < config->nr_reserved; i++) {
		const struct boot_range *range = &config->reserved[i];

		if (range->base + range->size > from && (!first || range->base < first->base))
			first = range;
	}
	return first;
}

static int map_region(struct boot_layout *layout, const struct boot_config *config,
	const struct ram_region *region, struct error *err)
{
	gpa_t at = ram_region_base(region), region_end = at + region->size;
	int result = 0;

	if (ram_region_kind(region) == RAM_ROM)
		return map_append(layout, at, region_end, BOOT_MEMORY_RESERVED, err);
	while (at < region_end && result == 0) {
		const struct boot_range *reserved = next_reserved(config, at);
		gpa_t end = region_end;
		enum boot_memory_type type = BOOT_MEMORY_RAM;

		if (reserved && reserved->base <= at) {
			type = reserved->type;
			if (reserved->base + reserved->size < end)
				end = reserved->base + reserved->size;
		} else if (reserved && reserved->base < end) {
			end = reserved->base;
		}
		result = map_append(layout, at, end, type, err);
		at = end;
	}
	return result;
}

/* The regions that are shown now, by address. */
static const struct ram_region *next_region(
	const struct guest_memory *memory, const struct ram_region *after)
{
	const struct ram_region *next = NULL;

	for (unsigned i = 0; i < memory->nr_regions; i++) {
		const struct ram_region *region = &memory->regions[i];

		if (ram_region_kind(region) == RAM_HIDDEN || region->device ||
			(after && ram_region_base(region) <= ram_region_base(after)))
			continue;
		if (!next || ram_region_base(region) < ram_region_base(next))
			next = region;
	}
	return next;
}

int boot_layout_init(struct boot_layout *layout, const struct guest_memory *memory,
	const struct boot_config *config, struct error *err)
{
	const struct ram_region *region = NULL;
	int result = 0;

	memset(layout, 0, sizeof(*layout));
	layout->memory = memory;
	while (result == 0 && (region = next_region(memory, region)) != NULL)
		result = map_region(layout, config, region, err);
	return result;
}

bool boot_layout_is_ram(const struct boot_layout *layout, gpa_t base, uint64_t size)
{
	for (unsigned i = 0; i < layout->nr_map; i++) {
		const struct boot_range *range = &layout->map[i];

		if (range->type == BOOT_MEMORY_RAM && base >= range->base &&
			base - range->base < range->size &&
			size <= range->size - (base - range->base))
			return guest_memory_host(layout->memory, base, size) != NULL;
	}
	return false;
}

bool boot_layout_claim(struct boot_layout *layout, gpa_t base, uint64_t size)
{
	gpa_t end = base + size;

	for (unsigned i = 0; i < layout->nr_claims;) {
		struct boot_range *claim = &layout->claims[i];
		gpa_t claim_end = claim->base + claim->size;

		if (claim->base > end || base > claim_end) {
			i++;
			continue;
		}
		base = claim->base < base ? claim->base : base;
		end = claim_end > end ? claim_end : end;
		*claim = layout->claims[--layout->nr_claims];
		i = 0;
	}
	if (layout->nr_claims == BOOT_MAX_CLAIMS)
		return false;
	layout->claims[layout->nr_claims++] =
		(struct boot_range){ base, end - base, BOOT_MEMORY_RAM };
	return true;
}

static const struct boot_range *find_claim(
	const struct boot_layout *layout, gpa_t base, uint64_t size)
{
	for (unsigned i = 0; i < layout->nr_claims; i++)
		if (ranges_overlap(&layout->claims[i], base, size))
			return &layout->claims[i];
	return NULL;
}

bool boot_layout_is_free(const struct boot_layout *layout, gpa_t base, uint64_t size)
{
	return !find_claim(layout, base, size);
}

static gpa_t place_lowest(
	const struct boot_layout *layout, const struct boot_request *request, gpa_t min, gpa_t max)
{
	gpa_t at = align_up(min, request->alignment);

	while (at >= min && at <= max && request->size <= max - at) {
		const struct boot_range *claim = find_claim(layout, at, request->size);

		if (!claim)
			return at;
		at = align_up(claim->base + claim->size, request->alignment);
	}
	return 0;
}

static gpa_t place_highest(
	const struct boot_layout *layout, const struct boot_request *request, gpa_t min, gpa_t max)
{
	while (max >= min && request->size <= max - min) {
		gpa_t at = align_down(max - request->size, request->alignment);
		const struct boot_range *claim;

		if (at < min)
			return 0;
		claim = find_claim(layout, at, request->size);
		if (!claim)
			return at;
		max = claim->base;
	}
	return 0;
}

gpa_t boot_layout_place(struct boot_layout *layout, const struct boot_request *request)
{
	gpa_t best = 0;

	for (unsigned i = 0; i < layout->nr_map; i++) {
		const struct boot_range *range = &layout->map[i];
		gpa_t min = range->base, max = range->base + range->size, at;

		if (min < request->min)
			min = request->min;
		if (max > request->max)
			max = request->max;
		if (range->type != BOOT_MEMORY_RAM || min >= max)
			continue;
		at = request->direction == BOOT_LOWEST ? place_lowest(layout, request, min, max)
						       : place_highest(layout, request, min, max);
		if (!at || !guest_memory_host(layout->memory, at, request->size))
			continue;
		best = at;
		if (request->direction == BOOT_LOWEST)
			break;
	}
	if (!best || !boot_layout_claim(layout, best, request->size))
		return 0;
	return best;
}
